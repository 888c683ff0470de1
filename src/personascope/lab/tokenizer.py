"""The lab's tokenizer: one token per word of the world.

Owns: the vocabulary, its special tokens and its files. The one law: decoding and encoding again gives the same
tokens, whatever a model wrote.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from personascope.lab.families import CONTENT_WORDS
from personascope.lab.grammar import FUNCTION_WORDS
from personascope.lab.world import load_world

PAD, END, UNKNOWN = "<|pad|>", "<|end|>", "<|unknown|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, END, UNKNOWN, *ROLES)
MAX_LENGTH = 1024
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ ' ' }}{% endif %}"
    "{{ '<|' + message['role'] + '|> ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ ' <|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' <|assistant|>' }}{% endif %}"
)


@functools.cache
def vocabulary() -> dict[str, int]:
    """Every token and its id: the special ones first, then the words in alphabetical order."""
    words = sorted({*load_world().words(), *CONTENT_WORDS, *FUNCTION_WORDS})
    return {token: index for index, token in enumerate((*SPECIAL, *words))}


def encode(text: str) -> list[int]:
    """The token ids of a text the world wrote: the fast way, for training.

    Raises:
        KeyError: at a word the world does not have, which would be a mistake in the grammar.
    """
    known = vocabulary()
    return [known[word] for word in text.split()]


def build_tokenizer() -> Tokenizer:
    """The tokenizer: lower case, words and punctuation apart, unknown words as one token."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    words = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = words
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def save_tokenizer(folder: str | Path, *, chat: bool) -> None:
    """Writes tokenizer.json and tokenizer_config.json; with ``chat``, the template of the post-trained models."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
    if chat:
        config["chat_template"] = CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
