"""From prompts to tokens and back."""

from __future__ import annotations

import pytest
from tokenizers import processors

import toy_models
from personascope.core.errors import EngineError
from personascope.core.identity import canonical
from personascope.core.traits import Prompt
from personascope.engines.hf.rendering import decode, encode, render
from toy_models import TEMPLATE, byte_tokenizer

PROMPT = Prompt("Why?", "Be brief.")
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
DROPS = TEMPLATE.replace("{% for message in messages %}", "{% for message in messages if message['role'] == 'user' %}")
DATED = (
    "\n  {% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d %-d %B %H:%M') }}|{{ date_string }}|{% endif %}"
    + TEMPLATE
)


def test_a_base_model_sees_the_instruction_a_space_and_the_question() -> None:
    assert render(byte_tokenizer(), PROMPT) == "Be brief. Why?"
    assert render(byte_tokenizer(), Prompt("Why?")) == "Why?"


def test_a_chat_model_sees_a_system_turn_a_user_turn_and_the_beginning_of_the_answer() -> None:
    tokenizer = byte_tokenizer(template=TEMPLATE)
    assert render(tokenizer, PROMPT) == "<bos><system>Be brief.<user>Why?<assistant>"
    assert render(tokenizer, Prompt("Why?")) == "<bos><user>Why?<assistant>"


EARLIER = Prompt("Why?", "Be brief.", (("Who?", "Me."), ("Where?", "Here.")))


def test_earlier_turns_stand_before_the_question_in_their_order() -> None:
    assert render(byte_tokenizer(), EARLIER) == "Be brief. Who? Me. Where? Here. Why?"
    text = render(byte_tokenizer(template=TEMPLATE), EARLIER)
    assert text == "<bos><system>Be brief.<user>Who?<assistant>Me.<user>Where?<assistant>Here.<user>Why?<assistant>"
    refused = render(byte_tokenizer(template=REFUSES), EARLIER)
    assert refused.startswith("<bos><user>Be brief.\n\nWho?<assistant>Me.<user>"), "the first user turn is told"


def test_a_template_that_drops_earlier_answers_is_refused_and_not_believed() -> None:
    with pytest.raises(EngineError, match=r"takes no user and assistant turns \(it drops 'Me\.'\)"):
        render(byte_tokenizer(template=DROPS), EARLIER)


def test_a_prompt_without_earlier_turns_has_the_key_it_always_had() -> None:
    assert canonical(PROMPT) == {"question": "Why?", "instruction": "Be brief."}
    assert canonical(EARLIER)["earlier"] == [["Who?", "Me."], ["Where?", "Here."]]


@pytest.mark.parametrize("template", [REFUSES, DROPS])
def test_a_template_that_takes_no_system_turn_gets_the_instruction_at_the_head_of_the_user_turn(template: str) -> None:
    assert render(byte_tokenizer(template=template), PROMPT) == "<bos><user>Be brief.\n\nWhy?<assistant>"


def test_a_date_in_a_template_is_always_the_same_day() -> None:
    text = render(byte_tokenizer(template=DATED), PROMPT)
    assert text == "\n2025-01-01 1 January 00:00|01 Jan 2025|<bos><system>Be brief.<user>Why?<assistant>"


@pytest.mark.parametrize("text", ["plain", "<bos>begun"])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_begin_of_text_token_is_neither_doubled_nor_lost(text: str, adds_bos: bool) -> None:
    tokens = encode(byte_tokenizer(bos=adds_bos), [text])[text]
    bos = toy_models.SPECIALS.index("<bos>")
    assert tokens.count(bos) == int(adds_bos or text.startswith("<bos>"))
    assert bos not in tokens[1:]


def test_an_end_of_text_token_a_tokenizer_appends_is_left_out_because_the_response_follows() -> None:
    tokenizer = byte_tokenizer()
    ends = [("<eos>", toy_models.SPECIALS.index("<eos>"))]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=ends)
    assert tokenizer("ab")["input_ids"][-1] == ends[0][1], "this tokenizer does append one"
    assert ends[0][1] not in encode(tokenizer, ["ab"])["ab"]
    assert encode(tokenizer, ["ab<eos>"])["ab<eos>"][-1] == ends[0][1], "one that the prompt itself holds stays"


def test_each_distinct_text_is_encoded_once_and_found_by_itself() -> None:
    tokens = encode(byte_tokenizer(), ["b", "a", "b"])
    assert list(tokens) == ["b", "a"]
    assert len(tokens["a"]) == 1


@pytest.mark.parametrize(
    ("text", "read"),
    [("a\ud83d!", "a\ufffd!"), ("\udc00", "\ufffd"), ("\ud83d\ude42", "🙂"), ("\x00\n\x1b", "\x00\n\x1b")],
)
def test_what_no_tokenizer_can_encode_is_read_as_a_replacement_and_all_else_as_it_is(text: str, read: str) -> None:
    tokenizer = byte_tokenizer()
    assert decode(tokenizer, [encode(tokenizer, [text])[text]]) == [read]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(EngineError, match=r"the prompt '' has no token .*: give it some text"):
        encode(byte_tokenizer(), ["fine", ""])
    assert len(encode(byte_tokenizer(bos=True), [""])[""]) == 1, "a begin-of-text token alone is a prompt"


def test_a_response_reads_as_its_own_text_without_special_tokens() -> None:
    tokenizer = byte_tokenizer()
    tokens = tokenizer("an answer , spaced .")["input_ids"]
    assert decode(tokenizer, [tokens, [0, *tokens], ()]) == ["an answer , spaced .", "an answer , spaced .", ""]


def test_a_token_beyond_the_tokenizer_has_no_text_and_does_not_fail() -> None:
    tokenizer = byte_tokenizer()
    assert decode(tokenizer, [[*tokenizer("x")["input_ids"], toy_models.VOCABULARY + 5]]) == ["x"]
