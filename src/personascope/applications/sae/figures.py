"""The features figure: what each feature of a vector does, and how few of them rebuild it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.marks import zero_line
from personascope.figures.style import BLACK, GREY, entitle, legend_below, look, panels, series


def features(tried: pd.DataFrame, rebuilding: pd.DataFrame, *, coherence: float = 75.0) -> Figure:
    """Two panels per trait: every feature's effect against its cosine with the vector, and cosine by number of
    features.

    Takes frames with the columns of :mod:`personascope.applications.sae.frames`. Marks are hollow where the mean
    coherence is below ``coherence``. Several SAEs of one trait share its panels.
    """
    with look():
        names = list(dict.fromkeys([*rebuilding["trait"], *tried["trait"]]))
        figure, axes = panels(2 * len(names), columns=2, sharing="none", height=2.4)
        for place, name in enumerate(names):
            left, right = axes[2 * place : 2 * place + 2]
            _effects(left, tried[tried["trait"] == name], coherence)
            _rebuilt(right, rebuilding[rebuilding["trait"] == name])
            entitle(left, str(name))
            last = place == len(names) - 1
            left.set(xlabel="cosine with the vector" if last else "", ylabel="effect (score points)")
            right.set(xlabel="features, in the order taken" if last else "", ylabel="cosine rebuilt")
        legend_below(figure, axes, columns=4)
    return figure


_MARKS = (
    ("feature", 0, "best aligned feature"),
    ("random feature", 6, "random feature"),
    ("without feature", 2, "vector without the feature"),
)


def _effects(ax: Axes, rows: pd.DataFrame, coherence: float) -> None:
    zero_line(ax)
    for kind, place, label in _MARKS:
        mine, style = rows[rows["kind"] == kind], series(place)
        clear = (mine["coherence"] >= coherence).to_numpy(dtype=bool)
        across, heights = mine["cosine"].to_numpy(dtype=float), mine["effect"].to_numpy(dtype=float)
        for which, face in ((clear, style.colour), (~clear, "white")):
            ax.plot(across[which], heights[which], style.marker, color=style.colour, markerfacecolor=face, markersize=4)
        if len(mine):
            ax.plot([], [], style.marker, color=style.colour, markersize=4, label=label)
    whole = rows.loc[rows["kind"] == "vector", "effect"]
    if len(whole):
        ax.axhline(float(whole.mean()), color=BLACK, linestyle="--", linewidth=1, label="the vector itself")


def _rebuilt(ax: Axes, rows: pd.DataFrame) -> None:
    for _, group in rows.groupby("sae", sort=False):
        ax.plot(group["features"], group["cosine"], color=GREY, linewidth=1, marker=".", markersize=3)
    if len(rows):
        ax.set_ylim(min(0.0, float(np.nanmin(rows["cosine"]))), 1.03)
        ax.set_xlim(0.5, float(rows["features"].max()) + 0.5)
