"""What a model has no room or no word for, said before it computes.

Owns: :class:`Limits`. The one law: what a model cannot be asked is refused by name, with what is true of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personascope.core.errors import EngineError
from personascope.engines.reading import Spoken


@dataclass(frozen=True)
class Limits:
    """A checkpoint's name, its vocabulary and how many positions it has (``None``: no limit is known)."""

    label: str
    vocabulary: int
    positions: int | None
    can_end: bool

    def check_end(self) -> None:
        """Answers need an end-of-text token to end with."""
        if not self.can_end:
            raise EngineError(
                f"{self.label} names no end-of-text token, so no answer of its could end: name eos_token "
                "in its tokenizer_config.json, or eos_token_id in its generation_config.json"
            )

    def check_prompt(self, tokens: Sequence[int], more: int) -> None:
        """A prompt and the tokens to follow it."""
        self._check_vocabulary(tokens)
        self._check_length(len(tokens), more)

    def check_spoken(self, row: Spoken) -> None:
        """A response with its prompt."""
        if not 1 <= row.response_start <= len(row.tokens):
            raise EngineError(
                f"a response of {len(row.tokens)} tokens that starts at {row.response_start} cannot be read: "
                "it needs a prompt token before it"
            )
        self._check_vocabulary(row.tokens)
        self._check_length(len(row.tokens), 0)

    def _check_length(self, tokens: int, more: int) -> None:
        if self.positions is not None and tokens + more > self.positions:
            raise EngineError(
                f"{tokens} tokens and {more} more were asked of {self.label}, which has room for {self.positions}: "
                "shorten the prompt or lower max_tokens"
            )

    def _check_vocabulary(self, tokens: Sequence[int]) -> None:
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocabulary:
            raise EngineError(
                f"token {max(tokens)} cannot be read by {self.label}, which has {self.vocabulary} tokens: "
                "use the tokenizer of this checkpoint, and responses it gave"
            )
