"""Where in its training a milestone stands: the horizontal axis of every course.

Owns: :class:`Along`. The one law: within a stage of training the axis is the logarithm of the tokens seen, and every
panel of a figure has the same one. A later stage is often so short beside the first that its milestones would lie on
one another: it begins at least a fixed step further right, and its milestones are spread until they can be told apart.
It then has a shade of its own, and the axis says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from personascope.figures.style import GREY, SMALL, tokens

_STEP = 0.075  # the least distance between stages, as a share of the axis
_APART, _WIDEST = 0.025, 0.15  # room for each milestone of a stage, and for all of them together, as shares of the axis
_LABEL = 0.46  # inches that the number of a tick takes
_LETTER = 0.062  # inches that a small letter takes
_SHADES = ("#ffffff", "#eef3f7")


@dataclass(frozen=True)
class _Region:
    """A stretch of the axis: one stage of training, from ``first`` to ``last`` (logarithms of tokens).

    It is drawn from ``start``, ``scale`` times as wide as its logarithms are.
    """

    stage: str
    first: float
    last: float
    start: float
    scale: float

    @property
    def end(self) -> float:
        return self.at(self.last)

    def at(self, log: float) -> float:
        """Where a logarithm stands."""
        return self.start + (log - self.first) * self.scale


@dataclass(frozen=True)
class Along:
    """The axis of one figure; make it of all rows that the figure draws.

    Takes rows with ``place`` (the order of the milestones) and ``tokens_seen``; ``stage`` may be absent. Where any
    milestone's tokens are unknown, the axis counts milestones in order instead.
    """

    regions: tuple[_Region, ...]
    order: tuple[float, ...]
    low: float
    high: float

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Along:
        """The axis for these rows."""
        counts = rows["tokens_seen"].astype(float)
        if rows.empty or not (counts > 0).all():
            places = sorted(set(rows["place"].astype(float)))
            return cls((), tuple(places), 0.0, max(1.0, len(places) - 1.0))
        staged = rows["stage"].fillna("").astype(str) if "stage" in rows else pd.Series("", index=rows.index)
        regions = _regions(sorted(set(zip(np.log10(counts), staged, strict=True))))
        low, high = regions[0].start, regions[-1].end
        return cls(regions, (), low, high if high > low else low + 0.3)

    @property
    def label(self) -> str:
        """What the axis counts."""
        if not self.regions:
            return "milestone, in order of training"
        moved = not math.isclose(self.high - self.low, self.regions[-1].last - self.regions[0].first, abs_tol=1e-9)
        return (
            "tokens seen in training (log scale within a stage)" if moved and self.staged else "tokens seen in training"
        )

    @property
    def staged(self) -> bool:
        """Whether there are several stages to be told apart."""
        return len(self.regions) > 1

    def at(self, rows: pd.DataFrame) -> np.ndarray:
        """Where rows stand; NaN for rows whose tokens or place the axis was not made of."""
        if not self.regions:
            order = {place: float(number) for number, place in enumerate(self.order)}
            return np.array([order.get(float(place), math.nan) for place in rows["place"]], dtype=float)
        counts = rows["tokens_seen"].astype(float).to_numpy(dtype=float)
        logs = np.log10(np.where(counts > 0, counts, math.nan))
        return np.array([self._moved(each) for each in logs], dtype=float)

    def _moved(self, log: float) -> float:
        home = next((each for each in self.regions if log <= each.last + 1e-9), None)
        return math.nan if home is None or math.isnan(log) else home.at(log)

    def dress(self, ax: Axes) -> None:
        """Ticks, limits, the shades of the stages and their names above the panel."""
        margin = 0.04 * (self.high - self.low)
        ax.set_xlim(self.low - margin, self.high + margin)
        inches = ax.get_window_extent().width / ax.figure.dpi
        apart = _LABEL / inches * (self.high - self.low + 2 * margin)
        if not self.regions:
            every = max(1, math.ceil(apart * 0.6))
            ax.set_xticks(range(0, len(self.order), every), [str(n + 1) for n in range(0, len(self.order), every)])
            return
        labelled, bare = self._ticks(apart, margin)
        ax.set_xticks([place for place, _ in labelled], [text for _, text in labelled])
        ax.set_xticks(bare, minor=True)
        if self.staged:
            self._shade(ax, margin, inches / (self.high - self.low + 2 * margin))

    def _ticks(self, apart: float, margin: float) -> tuple[list[tuple[float, str]], list[float]]:
        """Round counts: those with a number, the rounder first, no two nearer than ``apart``; and those without."""
        wanted: list[tuple[int, float, float]] = []
        for region in self.regions:
            first = region.first - (margin if region is self.regions[0] else 0)
            last = region.last + (margin if region is self.regions[-1] else 0)
            for power in range(math.floor(first), math.ceil(last) + 1):
                for rank, digit in enumerate((1, 5, 2)):
                    if first <= (log := power + math.log10(digit)) <= last:
                        wanted.append((rank, region.at(log), digit * 10.0**power))
        labelled: list[tuple[float, str]] = []
        for _, place, count in sorted(wanted):
            if all(abs(place - taken) >= apart for taken, _ in labelled):
                labelled.append((place, tokens(count)))
        if len(labelled) < 2:  # so short a stretch has no round counts
            ends = [(region.end, tokens(10**region.last)) for region in self.regions]
            labelled = [end for end in ends if all(abs(end[0] - taken) >= apart for taken, _ in labelled)] + labelled
        return sorted(labelled), [place for _, place, _ in wanted if place not in {p for p, _ in labelled}]

    def _shade(self, ax: Axes, margin: float, scale: float) -> None:
        starts, ends = [each.start for each in self.regions], [each.end for each in self.regions]
        middles = [(end + start) / 2 for end, start in zip(ends, starts[1:], strict=False)]
        edges = [self.low - margin, *middles, self.high + margin]
        for number, region in enumerate(self.regions):
            left, right = edges[number], edges[number + 1]
            ax.axvspan(left, right, facecolor=_SHADES[number % 2], edgecolor="none", zorder=-2)
            room, full = (right - left) * scale, f"stage {region.stage}" if region.stage.isdigit() else region.stage
            fits = [text for text in (full, region.stage) if len(text) * _LETTER <= room or len(text) < 3]
            place = ((left + right) / 2, 1.0)
            if fits:
                ax.annotate(fits[0], place, (0, 2), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
                            ha="center", va="bottom", fontsize=SMALL, color=GREY)  # fmt: skip
            else:
                ax.annotate(full, place, (0, -2), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
                            ha="center", va="top", fontsize=SMALL, color=GREY, rotation=90)  # fmt: skip


def _regions(milestones: list[tuple[float, str]]) -> tuple[_Region, ...]:
    """Neighbouring milestones of one stage are a region, wide enough for all of them."""
    span = milestones[-1][0] - milestones[0][0]
    runs: list[tuple[str, list[float]]] = []
    for log, stage in milestones:
        if not runs or runs[-1][0] != stage:
            runs.append((stage, []))
        if log not in runs[-1][1]:
            runs[-1][1].append(log)
    regions: list[_Region] = []
    for stage, logs in runs:
        width = logs[-1] - logs[0]
        room = min(_WIDEST, _APART * (len(logs) - 1)) * span
        scale = max(1.0, room / width) if width > 0 and len(runs) > 1 else 1.0
        before = regions[-1] if regions else None
        start = before.end + max(logs[0] - before.last, _STEP * span) if before else logs[0]
        regions.append(_Region(stage, logs[0], logs[-1], start, scale))
    return tuple(regions)
