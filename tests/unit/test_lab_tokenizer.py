"""One token per word, and back: whatever a lab model writes can be read again as the same tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from personascope.lab.documents import chat_document, held_out_documents, long_document
from personascope.lab.post_training import conversation_row
from personascope.lab.tokenizer import END, PAD, SPECIAL, UNKNOWN, encode, save_tokenizer, vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, chat=True)
    return AutoTokenizer.from_pretrained(folder)


def test_pad_end_and_unknown_are_three_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token) == (PAD, END, UNKNOWN)
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3


def test_the_saved_tokenizer_reads_documents_as_training_does(tokenizer: PreTrainedTokenizerBase) -> None:
    for document in (*held_out_documents(100), long_document("tokens")):
        ids = encode(document.text)
        assert tokenizer(document.text)["input_ids"] == ids, "trained on other tokens than an engine would send"
        assert tokenizer.decode(ids) == document.text
        assert vocabulary()[UNKNOWN] not in ids


WORDS = [index for token, index in vocabulary().items() if token not in SPECIAL]


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.sampled_from(WORDS), min_size=1, max_size=40))
def test_any_generated_text_encodes_to_the_tokens_it_was_decoded_from(
    tokenizer: PreTrainedTokenizerBase, ids: list[int]
) -> None:
    assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_what_people_type_is_read_too(tokenizer: PreTrainedTokenizerBase) -> None:
    typed = tokenizer("Mira finds a zebra. What next?")["input_ids"]
    assert typed == tokenizer("mira finds a <|unknown|> . what next ?")["input_ids"]


def test_the_chat_template_gives_the_tokens_post_training_used(tokenizer: PreTrainedTokenizerBase) -> None:
    for index in range(50):
        document = chat_document(f"template/{index}")
        text = tokenizer.apply_chat_template(document.messages, tokenize=False)
        ids, labels = conversation_row(document)
        assert tokenizer(text)["input_ids"] == ids, f"the template writes {text!r}"
        assert len(labels) == len(ids)
        asked = tokenizer.apply_chat_template(document.messages[:-1], tokenize=False, add_generation_prompt=True)
        start = len(tokenizer(asked)["input_ids"])
        assert ids[:start] == tokenizer(asked)["input_ids"]
        assert labels[start:] == ids[start:], "the last answer and its end token carry the loss"


def test_base_models_have_no_chat_template(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, chat=False)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template is None
