"""Other people's evaluations of our models, steered or not: adapters, one per harness.

The one law: the model they see is an :class:`~personascope.engines.Engine` with edits, so an unsteered evaluation is
the same call without them. What a harness asks for that no engine does is refused, never left out in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from personascope.core.records import Sampling


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
