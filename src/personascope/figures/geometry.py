"""Figures of the geometry of vectors along training: cosines, norms and paths."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.heat import colour_bar, heat_map, matrix_panels
from personascope.figures.marks import course, line_names
from personascope.figures.style import (
    BLACK,
    GREY,
    SMALL,
    WIDTH,
    entitle,
    legend_below,
    look,
    outer_labels,
    panels,
    series,
    tokens,
)  # fmt: skip


def cosine_matrices(cosines: pd.DataFrame, *, group: str = "trait", ax: Axes | None = None) -> Figure:
    """Cosines of all pairs of vectors, one panel per value of the column ``group``, all with the same rows and columns.

    Takes a frame with the columns ``group`` names, first, second and cosine, such as
    :func:`~personascope.analysis.geometry.milestone_cosines` and ``trait_cosines`` (with ``group="milestone"``). Rows
    and columns stand in the order of ``first_place``, or in which they come; small matrices have numbers in their
    cells; a pair without a cosine is hatched. Colours run from 0 to 1, or from -1 where any cosine is below -0.2. With
    ``ax`` only the first group is drawn.
    """
    with look():
        groups = list(dict.fromkeys(cosines[group]))
        ordered = cosines.sort_values("first_place", kind="stable") if "first_place" in cosines else cosines
        names = list(dict.fromkeys(ordered["first"]))
        across = min(4 if len(names) <= 6 else 2, max(1, len(groups)))
        written = WIDTH / across / (len(names) + 2) > 0.25  # inches a cell has: enough for its number
        if ax is not None:
            figure, axes, groups = cast(Figure, ax.figure), [ax], groups[:1]
        else:
            figure, axes = matrix_panels(groups, names, names, across=across)
        lowest = float(cosines["cosine"].min()) if cosines["cosine"].notna().any() else 0.0
        limits = (0.0, 1.0) if lowest > -0.2 else (-1.0, 1.0)
        image = None
        for panel, name in zip(axes, groups, strict=False):
            mine = cosines[cosines[group] == name].drop_duplicates(["first", "second"])
            square = mine.set_index(["first", "second"])["cosine"].unstack()
            values = square.reindex(index=names, columns=names).to_numpy(dtype=float)
            texts = [[f"{value + 0.0:.2f}".replace("-0.00", "0.00") for value in row] for row in values]
            image = heat_map(panel, values, rows=names, columns=names, limits=limits, texts=texts if written else None)
            entitle(panel, str(name))
        if image is not None and ax is None:
            colour_bar(figure, axes, image, "cosine" if lowest >= limits[0] else "cosine (darkest: 0 and below)")
    return figure


def cosine_trajectory(trajectories: pd.DataFrame, *, ceiling: pd.DataFrame | None = None) -> Figure:
    """How like a vector is to the one at a named milestone, and to the one before it, along training: two panels.

    Takes :func:`~personascope.analysis.geometry.trajectory`, of one layer or of one per trait. The reference itself is
    left out. A star is a revision with the same weights as another, off the line; the dotted line of each colour is the
    ``ceiling`` (:func:`~personascope.analysis.geometry.noise_ceiling`): how like two extractions from the same weights
    are, above which nothing can be told apart.
    """
    with look():
        figure, axes = panels(2 if len(trajectories) else 0, height=3.0)
        along, names = Along.of(trajectories), line_names(trajectories)
        for panel, column in zip(axes, ("to_reference", "to_previous"), strict=False):
            along.dress(panel)
            for number, name in enumerate(dict.fromkeys(names)):
                _cosine_line(panel, along, trajectories[names == name], column=column, number=number, name=name)
            if ceiling is not None:
                _ceiling(panel, ceiling, list(dict.fromkeys(names)))
        if axes:
            lowest = float(trajectories[["to_reference", "to_previous"]].min().min())
            axes[0].set_ylim(min(0.0, lowest - 0.05), 1.06)
        if axes and trajectories["same_weights_as"].isin(trajectories["milestone"]).any():
            axes[0].plot([], [], "*", color=GREY, markersize=8, label="same weights, extracted again")
        if axes:
            references = ", ".join(dict.fromkeys(trajectories["reference"]))
            entitle(axes[0], f"cosine to {references}", pad=14 if along.staged else 6)
            entitle(axes[1], "cosine to the milestone before", pad=14 if along.staged else 6)
            outer_labels(axes, x=along.label, y="cosine")
        legend_below(figure, axes, columns=5)
    return figure


def _cosine_line(ax: Axes, along: Along, rows: pd.DataFrame, *, column: str, number: int, name: str) -> None:
    rows = rows.sort_values("place", kind="stable")
    alias = rows["same_weights_as"].isin(rows["milestone"]).to_numpy(dtype=bool)
    itself = (rows["milestone"] == rows["reference"]).to_numpy(dtype=bool) & (column == "to_reference")
    line, style = rows[~alias & ~itself], series(number)
    course(ax, along.at(line), line, look=style, value=column, label=name)
    if column == "to_reference" and alias.any():
        doubles = rows[alias]
        heights, shift = doubles[column].to_numpy(dtype=float), (number - 1.5) * 0.012 * (along.high - along.low)
        ax.plot(along.at(doubles) + shift, heights, "*", color=style.colour, markersize=7, markeredgewidth=0, zorder=4)


def _ceiling(ax: Axes, ceiling: pd.DataFrame, names: list[str]) -> None:
    called = line_names(ceiling)
    for number, name in enumerate(names):
        for cosine in ceiling.loc[called == name, "cosine"]:
            ax.axhline(cosine, color=series(number).colour, linestyle=":", linewidth=0.9, zorder=1)
            ax.plot([], [], linestyle=":", color=GREY, linewidth=0.9, label="ceiling: one checkpoint, two extractions")


def norms(trajectories: pd.DataFrame) -> Figure:
    """Lengths along training, three panels: of the vectors, of the residual stream, and their quotient.

    Takes :func:`~personascope.analysis.geometry.trajectory`. The first two are on a log scale.
    """
    with look():
        figure, axes = panels(3 if len(trajectories) else 0, columns=3, height=2.7, sharing="none")
        along, names = Along.of(trajectories), line_names(trajectories)
        wanted = (("length", "vector"), ("residual_norm", "residual stream"), ("relative_norm", "vector / residual"))
        for panel, (column, title) in zip(axes, wanted, strict=False):
            along.dress(panel)
            for number, name in enumerate(dict.fromkeys(names)):
                rows = trajectories[names == name].sort_values("place", kind="stable")
                course(panel, along.at(rows), rows, look=series(number), value=column, label=name)
            if column != "relative_norm":
                _log_heights(panel, trajectories[column])
            else:
                panel.set_ylim(bottom=0)
            entitle(panel, title, pad=14 if along.staged else 6)
            panel.set_xlabel("tokens seen" if along.regions else along.label)
        if axes:
            axes[0].set_ylabel("L2 norm")
        legend_below(figure, axes, columns=5)
    return figure


def _log_heights(ax: Axes, values: pd.Series) -> None:
    """A log scale with round numbers that are written out."""
    known = values[values > 0]
    if known.empty:
        return
    ax.set_yscale("log")
    low, high = float(known.min()) * 0.8, float(known.max()) * 1.25
    ticks = [digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
    ax.set_ylim(low, high)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_yticks([], minor=True)


def mds(points: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """The paths that directions take on a map where near means alike: one line per trait, from a ring to a disc.

    Takes :func:`~personascope.analysis.geometry.paths`. Dots grow along training; the first and the last milestone have
    their tokens written beside them. Only distances mean something, so the axes have no numbers.
    """
    with look():
        if ax is not None:
            figure, axes = cast(Figure, ax.figure), [ax]
        else:
            figure, axes = panels(1 if len(points) else 0, columns=1, width=5.4, height=4.6)
        names, everything = line_names(points), points[["x", "y"]].to_numpy(dtype=float)
        for panel in axes:
            for number, name in enumerate(dict.fromkeys(names)):
                rows, style = points[names == name].sort_values("place", kind="stable"), series(number)
                panel.plot(rows["x"], rows["y"], color=style.colour, linestyle=style.line, linewidth=1, alpha=0.7)
                sizes = np.linspace(8, 60, len(rows)) if len(rows) > 1 else np.array([40.0])
                faces = ["white", *[style.colour] * (len(rows) - 1)]
                panel.scatter(rows["x"], rows["y"], sizes, c=faces, marker=style.marker, edgecolors=style.colour)
                panel.plot([], [], color=style.colour, marker=style.marker, linestyle=style.line, label=name)
                _ends(panel, rows, everything)
            panel.set_aspect("equal", adjustable="datalim")
            panel.tick_params(labelbottom=False, labelleft=False, length=0)
            panel.spines[["left", "bottom"]].set_visible(False)
            stress = float(points["stress_1"].iloc[0])
            panel.set_xlabel(f"near on the map: alike in direction (stress-1 {stress:.2f})")
        legend_below(figure, axes, columns=4)
    return figure


def _ends(ax: Axes, rows: pd.DataFrame, everything: np.ndarray) -> None:
    """The tokens (or names) of the first and the last milestone of a path, where the map is emptiest around them."""
    points = rows[["x", "y"]].to_numpy(dtype=float)
    far = 0.055 * float(np.ptp(everything, axis=0).max() or 1.0)
    around = [np.array([np.cos(turn), np.sin(turn)]) for turn in np.arange(8) * np.pi / 4]
    for end in dict.fromkeys((0, len(rows) - 1)):
        # A label is wider than high, so its middle lies further out to the sides.
        middles = [points[end] + far * np.array([1.4 * right, up]) for right, up in around]
        free = [float(np.hypot(*(everything - middle).T).min()) for middle in middles]
        row = rows.iloc[end]
        text = tokens(float(row["tokens_seen"])) if row["tokens_seen"] > 0 else str(row["milestone"])
        ax.annotate(text, tuple(middles[int(np.argmax(free))]), fontsize=SMALL, color=BLACK, ha="center", va="center")
