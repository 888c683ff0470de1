"""Doses: effect and coherence against how strongly one steers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.marks import course, zero_line
from personascope.figures.style import entitle, legend_below, look, panels, series

_DODGE = 0.012  # of the axis: whiskers of several lines at one norm stand side by side


def doses(effects: pd.DataFrame, *, line: str, panel: str = "trait") -> Figure:
    """Effects against the applied norm, and below them the coherence of the steered answers.

    Takes :func:`~personascope.analysis.effects.effects` with the columns that ``line`` and ``panel`` name: there is a
    column of two panels for every value of the one, and a line for every value of the other. Where there are several
    milestones, each has columns of its own.
    """
    with look():
        shown = effects[effects["effect"].notna()].assign(_panel=lambda rows: _names(rows, panel))
        names, lines = list(dict.fromkeys(shown["_panel"])), list(dict.fromkeys(shown[line]))
        across = max(1, min(4, len(names)))
        rows = -(-len(names) // across)
        figure, axes = panels(2 * rows * across if names else 0, columns=across, height=2.0, sharing="row")
        grid = [(axes[at], axes[at + across]) for at in (2 * n - n % across for n in range(len(names)))]
        for spare in set(axes) - {each for pair in grid for each in pair}:
            spare.set_visible(False)
        widest = float(shown["applied_norm"].max()) if len(shown) else 1.0
        for (above, below), name in zip(grid, names, strict=True):
            zero_line(above)
            for number, each in enumerate(lines):
                mine = shown[(shown["_panel"] == name) & (shown[line] == each)].sort_values("applied_norm")
                if len(mine):
                    shift = (number - (len(lines) - 1) / 2) * _DODGE * widest
                    norms = mine["applied_norm"].to_numpy(dtype=float) + shift
                    course(above, norms, mine, look=series(number, fine=True), label=str(each))
                    _coherence(below, norms, mine, number)
            below.set_ylim(0, 103)
            entitle(above, str(name))
        for place, (above, below) in enumerate(grid):
            first = place % across == 0
            above.set_ylabel("effect (score points)" if first else "")
            below.set(xlabel="norm of what is added", ylabel="coherence" if first else "")
        legend_below(figure, [above for above, _ in grid], columns=4)
    return figure


def _names(rows: pd.DataFrame, panel: str) -> pd.Series:
    several = "milestone" in rows and rows["milestone"].nunique() > 1
    named: pd.Series = rows[panel].astype(str)
    return named + ", " + rows["milestone"].astype(str) if several else named


def _coherence(ax: Axes, across: np.ndarray, rows: pd.DataFrame, number: int) -> None:
    style = series(number, fine=True)
    heights = rows["steered_coherence"].to_numpy(dtype=float)
    ax.plot(across, heights, marker=style.marker, color=style.colour, linestyle=style.line, markersize=3, linewidth=1)
