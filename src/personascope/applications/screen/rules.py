"""Which samples are dropped.

Owns: :class:`Rule` and :func:`decided`. The one law: one rule, with one set of thresholds, is held over all datasets of
a screening, so that more is dropped from the worse one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool

from personascope.applications.screen.core import Against
from personascope.applications.screen.datasets import Scores
from personascope.applications.screen.frames import Filter, above, combined, percentile_of, top_share
from personascope.core.errors import StudyError


@dataclass(frozen=True)
class Rule:
    """When a sample is dropped, as one of three ways says, and what the judge has to do with it.

    ``share`` drops that share of all samples, those that stand highest; ``thresholds`` (one, or one per vector) drop
    what is above; ``reference`` is a dataset whose ``percentile`` is the threshold ("Persona Vectors" appendix K: the
    95th of 20,000 UltraChat samples). A judge's scores above ``bar`` drop too, as ``filter`` says; with a reference
    the bar, unless it is given, is the same percentile of the judge's scores there.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    share: float | None = None
    thresholds: tuple[float, ...] = ()
    reference: str = ""
    percentile: float = 95.0
    bar: float | None = None
    filter: Filter = "either"

    def __post_init__(self) -> None:
        ways = [name for name in ("share", "thresholds", "reference") if getattr(self, name) not in (None, (), "")]
        if len(ways) > 1:
            raise StudyError(f"{' and '.join(ways)} were both given to drop by: choose one way")
        if self.share is not None and not 0 < self.share < 1:
            raise StudyError(f"a share of {self.share:g} cannot be dropped: give one between 0 and 1, or 0 and 100 %")
        if not 0 <= self.percentile <= 100:
            raise StudyError(f"percentile {self.percentile:g} is none: give 0 to 100")
        if self.bar is not None and not 0 <= self.bar <= 100:
            raise StudyError(f"a bar of {self.bar:g} is no score: give 0 to 100 points")

    @property
    def by_projection(self) -> bool:
        """Whether projections drop anything."""
        return bool(self.share is not None or self.thresholds or self.reference)

    @property
    def drops(self) -> bool:
        """Whether anything is dropped at all."""
        return self.by_projection or self.bar is not None

    def check(self, gauges: int, *, judged: bool) -> None:
        """Refuses a rule that does not fit the vectors or the judge.

        Raises:
            StudyError: saying what does not fit.
        """
        if len(self.thresholds) not in (0, 1, gauges):
            raise StudyError(f"{len(self.thresholds)} thresholds for {gauges} vectors: give one, or one for each")
        if self.bar is not None and not judged:
            raise StudyError(f"a bar of {self.bar:g} was given and no judge is asked: name one")
        if judged and self.by_projection and self.bar is None and not self.reference and self.filter != "projection":
            raise StudyError("a judge was named and nothing says what it drops: give a bar, or a reference")


@dataclass(frozen=True, eq=False)
class Decision:
    """What a rule drops: a mask for every dataset, and the thresholds it came to (NaN where a share was dropped)."""

    dropped: tuple[Bool[np.ndarray, "sample"], ...]
    thresholds: tuple[float, ...]
    bars: tuple[float, ...]


def decided(rule: Rule, scored: Sequence[Scores], *, against: Against, reference: Scores | None = None) -> Decision:
    """Which samples of each dataset are dropped.

    Raises:
        StudyError: if of the reference nothing could be measured, so that there is no threshold.
    """
    gauges = scored[0].projection.shape[1]
    scores = np.concatenate([each.difference(against) for each in scored])
    judged = np.concatenate([each.judged for each in scored])
    thresholds, bars = np.full(gauges, np.nan), np.full(gauges, np.nan)
    if reference is not None:
        thresholds = percentile_of(reference.difference(against), rule.percentile)
        bars = percentile_of(reference.judged, rule.percentile)
        if not np.isfinite(thresholds).all():
            raise StudyError(
                f"{rule.reference or 'the reference'} gives no threshold, because none of its {len(reference)} samples "
                "could be measured: give another reference, or thresholds"
            )
    if rule.thresholds:
        thresholds = np.broadcast_to(np.array(rule.thresholds, dtype=np.float64), gauges)
    if rule.bar is not None:
        bars = np.full(gauges, rule.bar)
    by_projection = above(scores, thresholds) if rule.share is None else top_share(scores, rule.share)
    by_judge = above(judged, bars) if np.isfinite(bars).any() else None
    if by_judge is not None and not rule.by_projection:
        by_projection = by_judge
    taken = combined(by_projection, by_judge, rule.filter)
    parts = np.split(taken, np.cumsum([len(each) for each in scored])[:-1])
    return Decision(tuple(parts), tuple(map(float, thresholds)), tuple(map(float, bars)))
