"""What guarded training leaves of a trait: a picture of ways and strengths.

Owns: :func:`prevention`. The one law: the untrained and the plainly trained model are lines that every way is read
against.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.style import BLACK, GREY, blank, entitle, legend_below, look, panels, series


def prevention(
    ways: pd.DataFrame, choices: pd.DataFrame, runs: pd.DataFrame, *, names: tuple[str, str] = ("untrained", "plain")
) -> Figure:
    """Above, the trait score by strength and at the chosen strength; below, what each strength costs.

    ``ways`` has rows of one trait, as :func:`~personascope.applications.finetune.frames.compare_ways` gives them;
    ``choices`` has columns ``way`` and ``strength``; ``runs`` is that of
    :func:`~personascope.applications.finetune.frames.run_rows`. ``names`` are the ways drawn as lines. Whiskers of
    scores are the frame's intervals, those of costs reach from the least seed to the greatest.
    """
    with look():
        figure, axes = panels(4, height=2.9, sharing="none")
        if not len(ways):
            for ax in axes:
                blank(ax)
            return figure
        counted = ways.groupby("way")["strength"].nunique()
        tried = [way for way in choices["way"] if counted.get(way, 0) > 1]
        _by_strength(axes[0], ways, tried)
        axes[0].set(ylabel="trait score after training", ylim=(-2, 102))
        _at_choice(axes[1], ways, choices)
        frames = [ways, ways]
        for ax, column, label in (
            (axes[2], "accuracy", "share of right choices"),
            (axes[3], "perplexity", "perplexity"),
        ):
            cost = runs.groupby(["way", "strength"], dropna=False, sort=False)[column].agg(["mean", "min", "max"])
            frames.append(cost.set_axis(["score", "score_low", "score_high"], axis=1).reset_index())
            _by_strength(ax, frames[-1], tried)
            ax.set_ylabel(label)
        for name, colour, line in zip(names, (GREY, BLACK), (":", "--"), strict=True):
            for ax, frame in zip(axes, frames, strict=True):
                _reference(ax, frame, name, colour=colour, line=line, vertical=ax is axes[1])
        for ax, title in zip(axes, ("by strength", "at the chosen strength", "choices", "held-out texts"), strict=True):
            entitle(ax, title)
        legend_below(figure, [axes[0]], columns=4)
        return figure


def _by_strength(ax: Axes, values: pd.DataFrame, tried: list[str]) -> None:
    """A line for every way tried at several strengths, with whiskers from ``score_low`` to ``score_high``."""
    for place, way in enumerate(tried):
        rows = values[values["way"] == way].assign(size=lambda frame: frame["strength"].abs()).sort_values("size")
        look_of, score = series(place), rows["score"].to_numpy()
        whiskers = [score - rows["score_low"], rows["score_high"] - score]
        ax.errorbar(
            rows["size"],
            score,
            yerr=np.maximum(0, np.nan_to_num(whiskers)),
            color=look_of.colour,
            marker=look_of.marker,
            linestyle=look_of.line,
            capsize=2,
            label=way,
        )
    ax.set_xlabel("strength, each way in its own unit")
    sizes = sorted(set(values.loc[values["way"].isin(tried), "strength"].abs()))
    if sizes and sizes[0] > 0:
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
        ax.minorticks_off()


def _at_choice(ax: Axes, ways: pd.DataFrame, choices: pd.DataFrame) -> None:
    names = list(choices["way"])
    for place, (way, strength) in enumerate(zip(names, choices["strength"], strict=True)):
        same = ways["strength"].isna() if np.isnan(strength) else ways["strength"] == strength
        for row in ways[(ways["way"] == way) & same].to_dict(orient="records"):
            ends = np.nan_to_num([[row["score"] - row["score_low"]], [row["score_high"] - row["score"]]])
            ax.errorbar(
                row["score"],
                place,
                xerr=np.maximum(0, ends),
                color=series(0).colour,
                marker="o",
                capsize=2,
                linestyle="",
            )
    ax.set_yticks(range(len(names)), [name.replace("-", " ") for name in names])
    ax.invert_yaxis()
    ax.set(xlabel="trait score after training", xlim=(-2, 102))


def _reference(ax: Axes, ways: pd.DataFrame, name: str, *, colour: str, line: str, vertical: bool) -> None:
    rows = ways[ways["way"] == name]
    if len(rows):
        draw = ax.axvline if vertical else ax.axhline
        draw(float(rows["score"].iloc[0]), color=colour, linestyle=line, linewidth=1.2, label=name)
