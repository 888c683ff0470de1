"""The emergence figure: when along its training a model can be steered along a trait."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import absences, course, p_name, rings, zero_line
from personascope.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Series,
    entitle,
    legend_below,
    look,
    outer_labels,
    panels,
)

_LINE = Series(BLUE, "o", "-")


def emergence(
    curves: pd.DataFrame,
    *,
    level: float = 0.05,
    p: str = "p_two_sided",
    controls: str = "random, same norm",
    onsets: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Figure:
    """One panel per curve: steered minus plain score against tokens seen.

    Takes :func:`~personascope.analysis.effects.curves`. A dot is an effect with its 95 % interval, filled where the
    column ``p`` (two-sided sign-flip, uncorrected, unless another is named) is below ``level``; a mark on the zero line
    is a milestone that shows none, and the legend says what was missing. Stages of training have shades and names. The
    band spans the random directions, which ``controls`` describes; diamonds are label-shuffled vectors at their own
    norm. A ring is an effect whose column ``basis`` says that it is ``published`` and could not be computed again.
    ``onsets`` (:func:`~personascope.analysis.onset.onset`) puts a line where a trait sets in, on its interval. With
    ``ax`` only the first curve is drawn, into those axes.
    """
    with look():
        names = list(dict.fromkeys(curves["curve"]))
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names))
        along = Along.of(curves)
        for panel, name in zip(axes, names, strict=False):
            rows = curves[curves["curve"] == name].sort_values("place", kind="stable")
            along.dress(panel)
            _controls(panel, along, rows, controls)
            _steered(panel, along, rows, level=level, p=p)
            if onsets is not None:
                _onset(panel, along, onsets[onsets["curve"] == name])
            entitle(panel, str(name), pad=14 if along.staged else 6)
        outer_labels(axes, x=along.label, y="effect (score points)")
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure


def _steered(panel: Axes, along: Along, rows: pd.DataFrame, *, level: float, p: str) -> None:
    zero_line(panel)
    shown = rows[rows["absence"] == ""]
    sure = (shown[p] < level).to_numpy(dtype=bool)
    course(panel, along.at(shown), shown, look=_LINE, filled=sure)
    panel.plot([], [], "o", color=BLUE, label=f"steered, {p_name(p)} < {level:g}")
    panel.plot([], [], "o", color=BLUE, markerfacecolor="white", label=f"{p_name(p)} ≥ {level:g}")
    rings(panel, along.at(shown), shown)
    absences(panel, along.at(rows), rows)


def _controls(panel: Axes, along: Along, rows: pd.DataFrame, said: str) -> None:
    banded = rows[rows["control_low"].notna()]
    if len(banded):
        across = along.at(banded)
        ends = (banded["control_low"].to_numpy(dtype=float), banded["control_high"].to_numpy(dtype=float))
        panel.fill_between(across, *ends, color=ORANGE, alpha=0.3, linewidth=0, label=said)
        panel.plot(across, banded["control_mean"].to_numpy(dtype=float), color=ORANGE, linestyle="--", linewidth=1)
    swapped = rows[rows["shuffled_mean"].notna()]
    if len(swapped):
        heights = swapped["shuffled_mean"].to_numpy(dtype=float)
        panel.plot(along.at(swapped), heights, "D", color=GREY, markersize=3.5, label="shuffled, own norm")


def _onset(panel: Axes, along: Along, onsets: pd.DataFrame) -> None:
    """A line where the trait sets in, on a band over its interval, which may end with the axis only."""
    for _, row in onsets[onsets["place"].notna()].iterrows():
        panel.axvline(along.at(row.to_frame().T)[0], color=GREEN, linestyle=(0, (4, 2)), linewidth=1.2, label="onset")
        first, last = (
            along.at(pd.DataFrame({"place": [row[f"{end}_place"]], "tokens_seen": [row[f"{end}_tokens"]]}))[0]
            for end in ("low", "high")
        )
        if np.isfinite(first):
            edge = last if np.isfinite(last) else panel.get_xlim()[1]
            panel.axvspan(first, edge, color=GREEN, alpha=0.12, linewidth=0, zorder=-1, label="its 95 % interval")
