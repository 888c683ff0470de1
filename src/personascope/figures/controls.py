"""The controls figures: directions that should do nothing, beside the vectors they stand in for.

Owns: :func:`controls` (along training) and :func:`control_strips` (at one milestone). The one law: every control is a
mark of its own; nothing is averaged away.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import course, significance_key, zero_line
from personascope.figures.style import (
    BLACK,
    BLUE,
    GREY,
    SMALL,
    Series,
    blank,
    entitle,
    legend_below,
    look,
    outer_labels,
    panels,
    series,
)

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


_KINDS = {
    "random": "random\n",
    "orthogonal": "orthogonal\n",
    "other": "other\ntraits",
    "shuffled-renormed": "shuffled,\nre-normed",
    "shuffled": "shuffled,\nown norm",
    "prompted-negative": "prompt\nagainst",
    "prompted-positive": "prompt\nfor",
}
"""What the kinds of control are called, in the order in which they stand."""


def control_strips(arms: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """The real effect as a line across each panel, and beside it every control as a mark, in a column of its kind.

    Takes the columns curve, milestone, kind (extracted, random, ...), effect, low, high and norm_share
    (:func:`~personascope.analysis.controls.last_arms`). The shaded band is the real effect's interval. A box spans the
    controls of a kind from the 2.5th to the 97.5th percentile, with their mean; below the names stands the norm they
    were applied at, relative to the vector's, and above the column ``p_greater``, where the frame has one. With ``ax``
    only the first curve is drawn.
    """
    with look():
        names = list(dict.fromkeys(arms["curve"]))
        kinds = [kind for kind in dict.fromkeys([*_KINDS, *arms["kind"]]) if kind in set(arms["kind"]) - {"extracted"}]
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names), columns=2 if len(kinds) < 6 else 1, height=2.1)
        for panel, name in zip(axes, names, strict=False):
            rows = arms[arms["curve"] == name]
            zero_line(panel)
            _real(panel, rows[rows["kind"] == "extracted"])
            for place, kind in enumerate(kinds):
                _strip(panel, place, rows[rows["kind"] == kind], series(place + 1))
            panel.set_xlim(-0.6, len(kinds) - 0.4)
            panel.grid(visible=False, axis="x")
            entitle(panel, f"{name}, {rows['milestone'].iloc[0]}")
            panel.set_xticks(range(len(kinds)), [_label(kind, arms[arms["kind"] == kind]) for kind in kinds])
        if axes and not kinds:
            blank(axes[0], "no controls")
        outer_labels(axes, x="", y="effect (score points)")
        if ax is None:
            legend_below(figure, axes, columns=3)
    return figure


def _real(ax: Axes, real: pd.DataFrame) -> None:
    for row in real.to_dict(orient="records"):
        height, ends = float(row["effect"]), np.array([row["low"], row["high"]], dtype=float)
        if np.isfinite(ends).all():
            ax.axhspan(ends[0], ends[1], color=BLUE, alpha=0.15, linewidth=0, label="its 95 % interval")
        ax.axhline(height, color=BLUE, linewidth=2, label="real vector")
        ax.annotate(f"{height:+.0f}", (1.0, height), (3, 0), xycoords=ax.get_yaxis_transform(), ha="left", va="center",
                    textcoords="offset points", color=BLUE, fontweight="bold")  # fmt: skip


def _strip(ax: Axes, place: int, rows: pd.DataFrame, look: Series) -> None:
    """Marks side by side in the order of their height, so that none hides another, over the box they span."""
    heights = np.sort(rows["effect"].to_numpy(dtype=float))
    several = len(heights) > 1
    if several:
        low, high = np.quantile(heights, [0.025, 0.975])
        ax.bar(place, high - low, 0.72, bottom=low, color=look.colour, alpha=0.12, linewidth=0)
        ends, mean = [place - 0.36, place + 0.36], [heights.mean()] * 2
        ax.plot(ends, mean, color=BLACK, linewidth=1.4, label="mean of the controls")
    # The fractional parts of multiples of the golden ratio are even, and the same in every drawing.
    spread = 0.5 * (np.arange(1, len(heights) + 1) * 0.6180339887 % 1 - 0.5) if several else np.zeros(len(heights))
    ax.plot(place + spread, heights, look.marker, color=look.colour, markersize=3.6 if several else 6,
            markerfacecolor="white", markeredgewidth=0.9)  # fmt: skip
    for known in rows["p_greater"].dropna().iloc[:1] if "p_greater" in rows else ():
        ax.annotate(f"p = {known:.2g}", (place, 1.0), (0, 1), xycoords=ax.get_xaxis_transform(), ha="center",
                    va="bottom", textcoords="offset points", fontsize=SMALL, color=GREY)  # fmt: skip


def _label(kind: str, rows: pd.DataFrame) -> str:
    shares = rows["norm_share"].to_numpy(dtype=float) if "norm_share" in rows else np.array([])
    shares = shares[np.isfinite(shares) & (shares > 0)]
    norm = f"\n{shares.mean():.2f} x norm" if len(shares) else "\n"
    return f"{_KINDS.get(kind, kind)}{norm}"
