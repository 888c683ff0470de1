"""The shift figure: where models moved along their vectors, against what that did; and the matrix across traits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.heat import colour_bar, heat_map, matrix_panels
from personascope.figures.marks import zero_line
from personascope.figures.style import GREY, SMALL, entitle, legend_below, look, panels, series


def shifts(rows: pd.DataFrame, correlations: pd.DataFrame, null: pd.DataFrame) -> Figure:
    """One panel per trait: change in score against shift, a mark per model, with r, its interval and the random null.

    Takes the frames of :mod:`personascope.applications.shift.frames`. Models of one group have one mark; with more
    than seven groups all have the same.
    """
    with look():
        names = list(dict.fromkeys(rows["trait"]))
        figure, axes = panels(len(names), sharing="none", height=2.7)
        groups = list(dict.fromkeys(rows["group"]))
        for ax, name in zip(axes, names, strict=True):
            zero_line(ax)
            ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
            _marks(ax, rows[rows["trait"] == name], groups)
            entitle(ax, str(name), pad=16)
            _say(ax, str(name), correlations, null)
            ax.set(xlabel="finetuning shift", ylabel="change (score points)")
        if 1 < len(groups) <= 7:
            legend_below(figure, axes, columns=7)
    return figure


def _marks(ax: Axes, rows: pd.DataFrame, groups: list[str]) -> None:
    few = len(groups) <= 7
    for place, group in enumerate(groups):
        mine, style = rows[rows["group"] == group], series(place if few else 0)
        across, up = (mine[name].to_numpy(dtype=float) for name in ("shift", "change"))
        ends = mine[["low", "high"]].to_numpy(dtype=float)
        reach = np.maximum(np.stack([up - ends[:, 0], ends[:, 1] - up]), 0)
        reach = np.where(np.isfinite(reach), reach, 0)
        ax.errorbar(across, up, yerr=reach, fmt="none", ecolor=style.colour, elinewidth=0.6, alpha=0.5, zorder=2)
        ax.plot(across, up, style.marker, color=style.colour, markersize=4.5, label=str(group) if few else "", zorder=3)


def _say(ax: Axes, name: str, correlations: pd.DataFrame, null: pd.DataFrame) -> None:
    own = correlations[(correlations["vector"] == name) & (correlations["trait"] == name)]
    beside = null[null["trait"] == name]
    if own.empty or not np.isfinite(own["pearson"].iloc[0]):
        return
    row, other = own.iloc[0], beside.iloc[0]
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if np.isfinite(row["low"]) else ""
    said = f"r = {row['pearson']:.2f}{interval}"
    said += f"; 95 % of random |r| below {other['random_95']:.2f}"
    note = ax.annotate(said, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL,
                       color=GREY)  # fmt: skip
    note.set_in_layout(False)


def shift_matrix(correlations: pd.DataFrame) -> Figure:
    """Correlations over models of the shift along each vector (rows) with the change in each trait (columns)."""
    with look():
        names = list(dict.fromkeys(correlations["vector"]))
        wide = correlations.pivot_table(index="vector", columns="trait", values="pearson", sort=False, dropna=False)
        values = wide.reindex(index=names, columns=names).to_numpy(dtype=float)
        figure, axes = matrix_panels(["shift along (row), change in (column)"], names, names, across=1)
        texts = [[f"{value:.2f}" for value in row] for row in values]
        image = heat_map(axes[0], values, rows=names, columns=names, limits=(-1, 1), texts=texts)
        entitle(axes[0], "shift (row) with change (column)")
        colour_bar(figure, axes, image, "Pearson's r over models")
    return figure
