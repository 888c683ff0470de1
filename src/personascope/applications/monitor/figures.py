"""The monitoring figures: projections against scores, correlations beside random directions', and while speaking."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.marks import course, zero_line
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
)

_MAP = "viridis"


def scatter(points: pd.DataFrame, correlations: pd.DataFrame, *, across: str) -> Figure:
    """Mean scores against projections, one panel per trait; a number in a ring stands at the mean of its condition.

    Takes points with trait, place, projection and score, and for each trait a row with pearson, low, high and within.
    Each point is a question under a condition; its shade and the numbers go with ``place``, which ``across`` names.
    """
    with look():
        traits = list(dict.fromkeys(points["trait"]))
        figure, axes = panels(len(traits), height=2.7, sharing="none")
        places = points["place"].to_numpy(dtype=float)
        norm = matplotlib.colors.Normalize(places.min(initial=0), places.max(initial=1))
        for ax, trait in zip(axes, traits, strict=True):
            mine = points[points["trait"] == trait]
            ax.scatter(mine["projection"], mine["score"], c=mine["place"], cmap=_MAP, norm=norm, s=9, alpha=0.75,
                       linewidths=0)  # fmt: skip
            _means(ax, mine, norm)
            ax.set_ylim(-4, 104)
            entitle(ax, str(trait), pad=16)
            _note(ax, correlations[correlations["trait"] == trait])
        outer_labels(axes, x="projection of the last prompt token", y="mean score of the answers")
        for ax in axes:
            ax.tick_params(labelbottom=True)  # panels have projections of their own
        if axes:
            shades = matplotlib.cm.ScalarMappable(norm, _MAP)
            bar = figure.colorbar(shades, ax=axes, shrink=0.7, aspect=30, pad=0.02)
            bar.set_label(across)
            bar.set_ticks(sorted(set(places)))
    return figure


def random_band(random: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """The size of each correlation, beside the band that 95 % of random directions fall into: pooled, and within.

    Takes random correlations (trait, series, pearson, within) and the vectors' own (trait, series, seed and the same).
    Bands hold the directions of all seeds; each mark is one seed.
    """
    with look():
        rows = list(dict.fromkeys(zip(correlations["trait"], correlations["series"], strict=True)))
        figure, axes = panels(2 if rows else 0, height=0.9 + 0.28 * len(rows), sharing="all")
        titles = {"pearson": "pooled over conditions", "within": "within conditions, averaged"}
        for ax, (column, title) in zip(axes, titles.items(), strict=False):
            for height, (trait, name) in enumerate(rows):
                drawn, found = (
                    frame.loc[(frame["trait"] == trait) & (frame["series"] == name), column].to_numpy(dtype=float)
                    for frame in (random, correlations)
                )
                _strip(ax, height, drawn, found, first=height == 0)
            ax.set_yticks(range(len(rows)), [f"{trait}, {name}" for trait, name in rows])
            ax.invert_yaxis() if column == "pearson" else None
            ax.set_xlim(0, 1)
            ax.set_xlabel("size of the correlation")
            ax.tick_params(labelleft=ax is axes[0])
            entitle(ax, title)
        legend_below(figure, axes, columns=3)
    return figure


def speaking(heard: pd.DataFrame) -> Figure:
    """How well single answers' scores can be told from what was heard of them: one panel per series, a line per trait.

    Takes trait, series, seed, tokens (0 is the last prompt token) and pearson; whiskers are the least and the greatest
    over seeds.
    """
    with look():
        names = list(dict.fromkeys(heard["series"]))
        figure, axes = panels(len(names), height=2.8)
        moments = sorted(set(heard["tokens"]))
        for ax, name in zip(axes, names, strict=True):
            zero_line(ax)
            mine = heard[heard["series"] == name]
            for place, trait in enumerate(dict.fromkeys(heard["trait"])):
                found = mine[mine["trait"] == trait].groupby("tokens")["pearson"].agg(["mean", "min", "max"])
                rows = found.rename(columns={"mean": "value", "min": "low", "max": "high"}).reindex(moments)
                across = np.arange(len(moments)) + 0.06 * (place - 1.5)
                course(ax, across, rows, look=series(place), value="value", label=str(trait))
            ax.set_xticks(range(len(moments)), ["prompt" if not count else str(count) for count in moments])
            ax.set_ylim(min(-0.05, float(heard["pearson"].min()) - 0.05), 1.02)
            entitle(ax, str(name))
        outer_labels(axes, x="answer tokens heard", y="r with the answer's score")
        legend_below(figure, axes)
    return figure


def _means(ax: Axes, points: pd.DataFrame, norm: matplotlib.colors.Normalize) -> None:
    colours = matplotlib.colormaps[_MAP]
    for place in sorted(set(points["place"])):
        some = points[points["place"] == place]
        middle = float(some["projection"].mean()), float(some["score"].mean())
        if not np.isfinite(middle).all():
            continue
        ax.plot(*middle, "o", markersize=10, markerfacecolor="white", markeredgecolor=colours(norm(place)), zorder=3)
        ax.annotate(f"{place:g}", middle, ha="center", va="center", fontsize=SMALL, color=BLACK, zorder=4)


def _note(ax: Axes, found: pd.DataFrame) -> None:
    """The correlations, in a line between title and panel."""
    if found.empty:
        return
    row = found.iloc[0]
    within = f"within {row['within']:+.2f}" if np.isfinite(row["within"]) else "within: none"
    text = f"r {row['pearson']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {within}"
    ax.annotate(text, (0.0, 1.0), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL,
                color=GREY, ha="left", va="bottom")  # fmt: skip


def _strip(ax: Axes, height: int, drawn: np.ndarray, found: np.ndarray, *, first: bool) -> None:
    sizes = np.abs(drawn[np.isfinite(drawn)])
    if len(sizes):
        edge, middle = np.quantile(sizes, [0.95, 0.5])
        ax.barh(height, edge, height=0.55, color="#d9d9d9", edgecolor="none",
                label="95 % of random directions" if first else None)  # fmt: skip
        ax.plot([middle, middle], [height - 0.275, height + 0.275], color=GREY, linewidth=1.2,
                label="median of random directions" if first else None)  # fmt: skip
    ends = np.abs(found[np.isfinite(found)])
    look_of = series(0)
    if len(ends):
        ax.plot(ends, np.full(len(ends), height), look_of.marker, color=look_of.colour, markersize=4.5,
                markerfacecolor="none", label="the trait's vector, each seed" if first else None)  # fmt: skip
    else:
        ax.annotate("no condition varies", (0.02, height), va="center", fontsize=SMALL, color=GREY)
