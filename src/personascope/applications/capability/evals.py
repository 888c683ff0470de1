"""What the adapters of evaluation harnesses share.

The model that a harness sees is an :class:`~personascope.engines.Engine` with edits, so an unsteered evaluation is the
same call without them. What a harness asks for that no engine does is refused, never left out in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from personascope.core.errors import EngineError
from personascope.core.records import Sampling
from personascope.core.traits import Prompt


class Draws:
    """Numbers what is asked again: a harness that wants several answers asks the same several times.

    A draw that repeats gives the same answer, so the second asking of one text is the second draw of it.
    """

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, Sampling]] = Counter()

    def next(self, text: str, sampling: Sampling) -> int:
        """The number of the draw: 0 the first time. A greedy answer is always the same, and always the first."""
        if sampling.temperature == 0:
            return 0
        self._asked[text, sampling] += 1
        return self._asked[text, sampling] - 1


def cut(text: str, ends: Sequence[str]) -> str:
    """A text up to the first of those that end it."""
    for end in filter(None, ends):
        text = text.split(end)[0]
    return text


def prompt_of(turns: Sequence[tuple[str, str]]) -> Prompt:
    """A conversation, as roles and texts, as a prompt.

    Raises:
        EngineError: if user and assistant do not take turns, or it does not end with the user's.
    """
    instruction = "\n".join(text for role, text in turns if role == "system") or None
    roles, texts = [role for role, _ in turns if role != "system"], [text for role, text in turns if role != "system"]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise EngineError(
            f"a conversation with the turns {roles} was asked: they must take turns and end with the user's"
        )
    return Prompt(texts[-1], instruction, tuple(zip(texts[:-1:2], texts[1:-1:2], strict=True)))
