"""Transfer figures: what vectors from along the training of one model do to others."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import absences, course, significance_key, zero_line
from personascope.figures.style import BLACK, entitle, legend_below, look, outer_labels, panels, series

_DODGE = 0.012  # of the axis: whiskers of several lines at one milestone stand side by side


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
    other way round. Marks are filled where ``p`` is below ``level``. With ``ax`` only the first panel is drawn.
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
            significance_key(axes[0], level)
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
        course(ax, along.at(shown) + shift, shown, look=series(number), filled=sure, label=str(name))
        absences(ax, along.at(mine) + shift, mine)


def transfer_bins(bins: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Mean effects of the vectors of a stretch of training, one panel per curve.

    Takes a frame with the columns curve, target, bin (in order of training, as the rows come), effect, low, high and
    milestones (how many a mean is over, written at its foot). Whiskers reach from ``low`` to ``high``. With ``ax`` only
    the first curve is drawn.
    """
    with look():
        names = list(dict.fromkeys(bins["curve"]))
        stretches, targets = list(dict.fromkeys(bins["bin"])), list(dict.fromkeys(bins["target"]))
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names), height=2.4)
        for panel, name in zip(axes, names, strict=False):
            zero_line(panel)
            for number, target in enumerate(targets):
                rows = bins[(bins["curve"] == name) & (bins["target"] == target)]
                across = np.array([stretches.index(each) for each in rows["bin"]], dtype=float)
                across = across + (number - (len(targets) - 1) / 2) * 0.16
                if len(rows):
                    course(panel, across, rows, look=series(number), label=str(target))
                    _counts(panel, across, rows["milestones"].to_numpy())
            panel.set_xticks(range(len(stretches)), [str(each).replace(" (", "\n(") for each in stretches])
            panel.tick_params(axis="x", labelsize=7.5)
            panel.set_xlim(-0.6, len(stretches) - 0.4)
            panel.grid(visible=False, axis="x")
            entitle(panel, str(name))
        outer_labels(axes, x="", y="mean effect (score points)")
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure


def _counts(ax: Axes, across: np.ndarray, counts: np.ndarray) -> None:
    for place, count in zip(across, counts, strict=True):
        if np.isfinite(count):
            ax.annotate(f"{int(count)}", (place, 0.0), (0, 2), xycoords=ax.get_xaxis_transform(), fontsize=7,
                        textcoords="offset points", ha="center", va="bottom", color=BLACK)  # fmt: skip


def transfer_pairs(pairs: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Whether vectors do to another model what they did to their own: a point per vector, one panel per target.

    Takes a frame with the columns curve, target, own (the effect on the checkpoint the vector is from), transferred
    (the effect on the target), both in score points. Panels have one scale on both axes; on the dotted line the two effects
    are the same. With ``ax`` only the first target is drawn.
    """
    with look():
        names, lines = list(dict.fromkeys(pairs["target"])), list(dict.fromkeys(pairs["curve"]))
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names), columns=3 if len(names) > 2 else 2, height=2.6)
        for panel, name in zip(axes, names, strict=False):
            zero_line(panel)
            panel.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
            panel.axline((0, 0), slope=1, color=BLACK, linestyle=":", linewidth=1, zorder=1)
            for number, line in enumerate(lines):
                rows = pairs[(pairs["target"] == name) & (pairs["curve"] == line)]
                style = series(number)
                points = (rows["own"].to_numpy(dtype=float), rows["transferred"].to_numpy(dtype=float))
                panel.plot(*points, style.marker, color=style.colour, markersize=4.5, alpha=0.85, label=str(line))
            entitle(panel, str(name))
        outer_labels(axes, x="effect on its own checkpoint", y="effect on the target")
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure
