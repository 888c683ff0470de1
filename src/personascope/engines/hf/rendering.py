"""From a prompt to the tokens a model sees, and back to text.

Prompt and response are never tokenised together, so their boundary is a count of tokens; and a begin-of-text token is
neither doubled nor lost.

The encoding rule reads the text alone: the tokenizer adds what it adds by default (usually a begin-of-text token, or
nothing), unless the text already begins with the begin-of-text token, as most chat templates make it; an
end-of-text token that a tokenizer would append is left out, for the response follows.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, Final

from jinja2.exceptions import TemplateError

from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.traits import Prompt

PINNED_DATE: Final = datetime.datetime(2025, 1, 1)
"""The date every chat template is told, so that a rendered text does not change overnight."""

# transformers 5 lets no function of ours into a template: the pinned clock is written in the template's own language.
_PINNED_CLOCK: Final = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{each}', '{PINNED_DATE.strftime('%' + each)}')" for each in "YymdeBbAaHMSIpjFTDxXc")
    + "".join(f" | replace('%-{each}', '{PINNED_DATE.strftime('%' + each).lstrip('0') or 0}')" for each in "mdHMSI")
    + " }}{% endmacro %}\n"
)


def render(tokenizer: Any, prompt: Prompt) -> str:
    """The text a model sees for a prompt.

    Without a chat template: the instruction, the earlier turns, and the question, with a space between them. With one:
    a system turn, the earlier turns, the question as the user's turn, and the beginning of the answer; where the
    template refuses a system turn, or drops it without a word, the instruction goes to the head of the first user turn.
    """
    if not getattr(tokenizer, "chat_template", None):
        said = (part for turn in prompt.earlier for part in turn)
        return " ".join([*([] if prompt.instruction is None else [prompt.instruction]), *said, prompt.question])
    turns = [
        {"role": role, "content": content}
        for turn in prompt.earlier
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    turns.append({"role": "user", "content": prompt.question})
    if prompt.instruction is None:
        return _required(tokenizer, turns)
    first = {"role": "user", "content": f"{prompt.instruction}\n\n{turns[0]['content']}"}
    try:
        text = _templated(tokenizer, [{"role": "system", "content": prompt.instruction}, *turns])
    except TemplateError:
        text = ""
    return text if prompt.instruction.strip() in text else _required(tokenizer, [first, *turns[1:]])


def _required(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    """User turns, and answers between them, which every chat template has to take."""
    try:
        text = _templated(tokenizer, turns)
        lost = [turn["content"] for turn in turns if turn["content"].strip() not in text]
        if lost and len(turns) > 1:
            raise TemplateError(f"it drops {lost[0][:40]!r}")
        return text
    except TemplateError as problem:
        what = "no user turn" if len(turns) == 1 else "no user and assistant turns"
        raise EngineError(
            f"the chat template of {tokenizer.name_or_path} takes {what} ({problem}): mend its chat_template, or "
            "remove it to prompt as a base model"
        ) from None


def _templated(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = _PINNED_CLOCK + template
    text: str = tokenizer.apply_chat_template(
        turns,
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
        date_string=PINNED_DATE.strftime("%d %b %Y"),
    )
    return text


def encode(tokenizer: Any, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The tokens of each distinct text.

    A lone surrogate, which no tokenizer can encode, is read as U+FFFD; a surrogate pair as the character it means.

    Raises:
        EngineError: for a text of no tokens, after which no model can say anything.
    """
    tokens = {text: _encoded(tokenizer, text) for text in dict.fromkeys(texts)}
    for text, ids in tokens.items():
        if not ids:
            raise EngineError(f"the prompt {text!r} has no token for {tokenizer.name_or_path}: give it some text")
    return tokens


def _encoded(tokenizer: Any, text: str) -> tuple[int, ...]:
    clean = _clean(text)
    bos = tokenizer.bos_token
    begun = bool(bos) and clean.startswith(bos)
    ids = tokenizer(clean, add_special_tokens=not begun, verbose=False)["input_ids"]
    if not begun and ids and ids[-1] == tokenizer.eos_token_id and not clean.endswith(tokenizer.eos_token):
        ids = ids[:-1]
    return tuple(int(each) for each in ids)


def _clean(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encode_answers(tokenizer: Any, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The tokens of each distinct text that follows a prompt: as it stands, with no token put before or after it."""
    return {
        text: tuple(int(each) for each in tokenizer(_clean(text), add_special_tokens=False, verbose=False)["input_ids"])
        if text
        else ()
        for text in dict.fromkeys(texts)
    }


def decode(tokenizer: Any, responses: Sequence[Sequence[int]]) -> list[str]:
    """The text of each response, from its own tokens alone, special tokens left out."""
    return [
        str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))
        if tokens
        else ""
        for tokens in responses
    ]


def token_texts(checkpoint: Checkpoint, texts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """What each token of each text adds to it, special tokens included; needs the tokenizer, no weights.

    Put together, the pieces read as the text does; where a character takes several tokens, its parts show as a
    replacement mark.
    """
    from personascope.engines.hf import loading  # brings torch, which nothing else here needs

    tokenizer = loading.load_tokenizer(checkpoint, loading.text_folder(checkpoint))
    return [_pieces(tokenizer, tokens) for tokens in texts]


def _pieces(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """Each token's text as it stands after the one before it: tokenizers drop or add spaces at a beginning."""
    found = []
    for place, token in enumerate(tokens):
        before = _decoded(tokenizer, tokens[place - 1 : place]) if place else ""
        both = _decoded(tokenizer, tokens[max(0, place - 1) : place + 1])
        found.append(both.removeprefix(before) if both.startswith(before) else _decoded(tokenizer, [token]))
    return tuple(found)


def _decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
