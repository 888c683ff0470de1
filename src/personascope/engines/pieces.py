"""The text of every token, for people to look at.

Owns: :func:`token_texts`. The one law: put together, the pieces read as the text does; where a character takes several
tokens, its parts show as a replacement mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personascope.core.lineages import Checkpoint
from personascope.engines import loading


def token_texts(checkpoint: Checkpoint, texts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """What each token of each text adds to it, special tokens included; needs the tokenizer, no weights."""
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
