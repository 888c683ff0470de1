"""The controls figure: directions that should do nothing, beside the vectors they stand in for."""

from __future__ import annotations

from typing import cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import course, significance_key, zero_line
from personascope.figures.style import GREY, SMALL, Series, entitle, legend_below, look, outer_labels, panels, series

_SPREAD = 0.012  # of the axis: controls of several kinds at one milestone stand side by side


def controls(
    effects: pd.DataFrame,
    *,
    curves: pd.DataFrame | None = None,
    level: float = 0.05,
    p: str = "p_two_sided",
    ax: Axes | None = None,
) -> Figure:
    """Every control's effect against tokens seen, one panel per curve, with the real vectors' effects above them.

    Takes a frame with the columns curve, place, tokens_seen, stage, direction (the kind: random, shuffled), effect and
    the one that ``p`` names; marks are filled where it is below ``level``. A column ``note`` is written below a panel's
    title: the place to say with what norm the controls were applied. ``curves`` are the real vectors
    (:func:`~personascope.analysis.effects.curves`), at the milestones that have controls. With ``ax`` only the first
    curve is drawn.
    """
    with look():
        names = list(dict.fromkeys(effects["curve"]))
        real = effects.iloc[:0] if curves is None else curves[curves["curve"].isin(names) & curves["effect"].notna()]
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names))
        along = Along.of(pd.concat([effects[_ALONG], real[_ALONG]]) if len(real) else effects)
        kinds = list(dict.fromkeys(effects["direction"]))
        for panel, name in zip(axes, names, strict=False):
            along.dress(panel)
            zero_line(panel)
            if len(mine := real[real["curve"] == name].sort_values("place", kind="stable")):
                filled = (mine[p] < level).to_numpy(dtype=bool)
                course(panel, along.at(mine), mine, look=series(0), filled=filled, label="real vector")
            rows = effects[effects["curve"] == name]
            _spread(panel, along, rows, kinds=kinds, significant=(p, level))
            _entitle(panel, str(name), rows, along)
        if axes:
            significance_key(axes[0], level)
        outer_labels(axes, x=along.label, y="effect (score points)")
        if ax is None:
            legend_below(figure, axes, columns=5)
    return figure


_ALONG = ["place", "tokens_seen", "stage"]


def _spread(ax: Axes, along: Along, rows: pd.DataFrame, *, kinds: list[str], significant: tuple[str, float]) -> None:
    """The controls of every kind as single marks: there are few, so nothing is averaged."""
    p, level = significant
    for number, kind in enumerate(kinds):
        mine = rows[rows["direction"] == kind]
        look: Series = series(number + 1)
        shift = (number - (len(kinds) - 1) / 2) * _SPREAD * (along.high - along.low)
        across, heights = along.at(mine) + shift, mine["effect"].to_numpy(dtype=float)
        sure = (mine[p] < level).to_numpy(dtype=bool)
        for which, face in ((sure, look.colour), (~sure, "white")):
            ax.plot(across[which], heights[which], look.marker, color=look.colour, markerfacecolor=face, markersize=4)
        ax.plot([], [], look.marker, color=look.colour, label=str(kind))


def _entitle(ax: Axes, name: str, rows: pd.DataFrame, along: Along) -> None:
    said = dict.fromkeys(rows["note"]) if "note" in rows else ()
    notes = [line for each in said if isinstance(each, str) for line in each.splitlines()]
    lift = 14 if along.staged else 6
    entitle(ax, name, pad=lift + 9 * len(notes) + (2 if notes else 0))
    for number, note in enumerate(reversed(notes)):
        written = ax.annotate(note, (0.0, 1.0), (0, lift - 1 + 9 * number), xycoords="axes fraction", fontsize=SMALL,
                              color=GREY, textcoords="offset points", ha="left", va="bottom")  # fmt: skip
        written.set_in_layout(False)  # a long note must not make the panel narrower
