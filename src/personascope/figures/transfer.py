"""Transfer figures: what vectors from along the training of one model do to others."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import absences, course, line_names, p_name, rings, significance_key, zero_line
from personascope.figures.style import (
    BLACK,
    GREY,
    SMALL,
    entitle,
    legend_below,
    look,
    outer_labels,
    panels,
    series,
    wrapped,
)

_DODGE = 0.007  # of the axis: whiskers of several lines at one milestone stand side by side


def transfer(
    curves: pd.DataFrame,
    *,
    panel: str = "curve",
    line: str = "target",
    level: float = 0.05,
    p: str = "p_two_sided",
    ax: Axes | None = None,
) -> Figure:
    """Effects of transferred vectors against the tokens seen where they are from.

    Takes :func:`~personascope.analysis.effects.curves` of vectors that steered other models (columns curve, target,
    place, tokens_seen, stage, effect, low, high, absence, and the one that ``p`` names). There is a panel for every
    value of the column ``panel`` and a line for every value of ``line``: a trait per panel, or a target per panel the
    other way round. Marks are filled where ``p`` is below ``level``, and ringed where a column ``basis`` says that the
    effect is ``published`` and could not be computed again. With ``ax`` only the first panel is drawn.
    """
    with look():
        names = list(dict.fromkeys(curves[panel]))
        lines = list(dict.fromkeys(curves[line]))
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names), columns=3 if len(names) == 3 else 2)
        along = Along.of(curves)
        for each, name in zip(axes, names, strict=False):
            along.dress(each)
            zero_line(each)
            rows = curves[curves[panel] == name]
            _lines(each, along, rows, lines=lines, line=line, significant=(p, level))
            entitle(each, str(name), pad=14 if along.staged else 6)
        if axes and lines:
            significance_key(axes[0], level, test=p_name(p))
        outer_labels(axes, x=along.label, y="effect (score points)")
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure


def _lines(
    ax: Axes, along: Along, rows: pd.DataFrame, *, lines: list[str], line: str, significant: tuple[str, float]
) -> None:
    p, level = significant
    for number, name in enumerate(lines):
        mine = rows[rows[line] == name].sort_values("place", kind="stable")
        if mine.empty:
            continue
        shift = (number - (len(lines) - 1) / 2) * _DODGE * (along.high - along.low)
        shown = mine[mine["absence"] == ""]
        sure = (shown[p] < level).to_numpy(dtype=bool)
        course(ax, along.at(shown) + shift, shown, look=series(number, fine=True), filled=sure, label=str(name))
        rings(ax, along.at(shown) + shift, shown)
    absent = rows[rows["absence"] != ""].drop_duplicates(["place", "absence"])
    absences(ax, along.at(absent), absent)


def transfer_bins(bins: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Mean effects of the vectors of a stretch of training on each target, one panel per curve.

    Takes :func:`~personascope.analysis.transfer.binned` (columns target, bin, bin_place, milestones, effect,
    standard_error, and ``curve`` or ``trait``). Whiskers are one standard error over milestones either way; the numbers
    at the foot say how many milestones a mean is over. With ``ax`` only the first curve is drawn.
    """
    with look():
        called, targets = line_names(bins), list(dict.fromkeys(bins["target"]))
        names = list(dict.fromkeys(called))
        stretches = list(dict.fromkeys(bins.sort_values("bin_place", kind="stable")["bin"]))
        ends = {"low": bins["effect"] - bins["standard_error"], "high": bins["effect"] + bins["standard_error"]}
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names), height=2.4)
        for panel, name in zip(axes, names, strict=False):
            zero_line(panel)
            for number, target in enumerate(targets):
                rows = bins.assign(**ends)[(called == name) & (bins["target"] == target)]
                shift = (number - (len(targets) - 1) / 2) * 0.8 / max(4, len(targets))
                across = np.array([stretches.index(each) for each in rows["bin"]], dtype=float) + shift
                if len(rows):
                    course(panel, across, rows, look=series(number), label=str(target))
                    _counts(panel, across, rows["milestones"].to_numpy(dtype=float))
            panel.set_xticks(range(len(stretches)), stretches)
            panel.set_xlim(-0.6, len(stretches) - 0.4)
            panel.margins(y=0.12)
            panel.grid(visible=False, axis="x")
            entitle(panel, str(name))
        outer_labels(
            axes, x="tokens seen where the vectors are from\n(grey: how many vectors)", y="mean effect ± SE (points)"
        )
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure


def _counts(ax: Axes, across: np.ndarray, counts: np.ndarray) -> None:
    for place, count in zip(across, counts, strict=True):
        if np.isfinite(count):
            ax.annotate(f"{int(count)}", (place, 0.0), (0, 1), xycoords=ax.get_xaxis_transform(), fontsize=SMALL,
                        textcoords="offset points", ha="center", va="bottom", color=GREY)  # fmt: skip


def transfer_pairs(pairs: pd.DataFrame) -> Figure:
    """Whether a vector that acts on one target acts on another: a point per vector, one panel per pair of targets.

    Takes :func:`~personascope.analysis.transfer.target_pairs` (columns first, second, first_effect, second_effect, and
    ``curve`` or ``trait``). Both axes of a panel have one scale; on the dotted line the two effects are the same.
    """
    with look():
        called = line_names(pairs)
        lines, names = (
            list(dict.fromkeys(called)),
            list(dict.fromkeys(zip(pairs["first"], pairs["second"], strict=True))),
        )
        figure, axes = panels(len(names), columns=3 if len(names) > 2 else 2, height=2.3, sharing="none")
        for panel, (first, second) in zip(axes, names, strict=True):
            panel.axhline(0, color=BLACK, linewidth=0.7, zorder=1)
            panel.axvline(0, color=BLACK, linewidth=0.7, zorder=1)
            panel.axline((0, 0), slope=1, color=GREY, linestyle=":", linewidth=1, zorder=1)
            here = (pairs["first"] == first) & (pairs["second"] == second)
            for number, line in enumerate(lines):
                rows, style = pairs[here & (called == line)], series(number)
                points = (rows["first_effect"].to_numpy(dtype=float), rows["second_effect"].to_numpy(dtype=float))
                panel.plot(*points, style.marker, color=style.colour, markersize=4, alpha=0.85, label=line)
            both = pairs.loc[here, ["first_effect", "second_effect"]].to_numpy(dtype=float)
            low, high = min(0.0, float(np.nanmin(both))), max(1.0, float(np.nanmax(both)))
            margin = 0.06 * (high - low)
            panel.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
            panel.set_aspect("equal")
            panel.set_xlabel(wrapped(f"effect on {first}", 22))
            panel.set_ylabel(wrapped(f"effect on {second}", 22))
        legend_below(figure, axes, columns=5)
    return figure
