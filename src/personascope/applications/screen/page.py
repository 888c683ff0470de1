"""A page that people read: a screening's figures, and the samples that stand highest and lowest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personascope.core.traits import Prompt
from personascope.figures.pages import render

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 2000  # characters shown of a text


@dataclass(frozen=True, eq=False)
class Extreme:
    """One of the samples that stand highest (or lowest) along a vector, and what the model itself answers."""

    gauge: str
    high: bool
    score: float
    exchange: tuple[Prompt, str]
    where: str
    own_answer: str = ""
    dropped: bool = False

    @property
    def turns(self) -> tuple[tuple[str, str | None], ...]:
        """What is shown of it, each text with whose it is."""
        prompt, answer = self.exchange
        asked = ("system", prompt.instruction), ("prompt", prompt.question)
        return (*asked, ("training answer", answer), ("the model's own answer", self.own_answer))


def page_of(
    title: str, about: Sequence[str], summary: pd.DataFrame, picture: bytes, extremes: Sequence[Extreme]
) -> str:
    """A screening as HTML: what was done, the table, the histograms (a PNG), and the samples of every vector."""
    gauges = dict.fromkeys(each.gauge for each in extremes)
    groups = {
        (gauge, high): [each for each in extremes if each.gauge == gauge and each.high == high]
        for gauge in gauges
        for high in (True, False)
    }
    shown = {ends: some for ends, some in groups.items() if some}
    return render(
        "screening", title=title, about=about, summary=summary, picture=picture, groups=shown, longest=_LONGEST
    )
