"""Figures of screened training samples: how scores are spread, and how well two kinds are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.style import GREY, SMALL, Series, blank, entitle, legend_below, look, panels, series

BINS = 40


def histograms(
    scores: Mapping[str, Float[np.ndarray, "sample gauge"]],
    gauges: Sequence[str],
    *,
    unit: str,
    thresholds: Sequence[float] = (),
) -> Figure:
    """How the scores of each dataset are spread, one panel per vector; ``unit`` says what a score is.

    Every curve has its own dataset's size as its whole, so that datasets of different size compare. A threshold is a
    dashed line, unless it is NaN. Scores that are NaN are left out.
    """
    with look():
        figure, axes = panels(len(gauges), sharing="none", columns=min(2, max(1, len(gauges))))
        for place, (ax, name) in enumerate(zip(axes, gauges, strict=True)):
            columns = {dataset: each[:, place] for dataset, each in scores.items()}
            columns = {dataset: each[~np.isnan(each)] for dataset, each in columns.items()}
            entitle(ax, name)
            if not any(map(len, columns.values())):
                blank(ax, "nothing measured")
                continue
            edges = np.histogram_bin_edges(np.concatenate(list(columns.values())), bins=BINS)
            for number, (dataset, each) in enumerate(columns.items()):
                drawn = series(number)
                shares = np.histogram(each, edges)[0] / max(1, len(each))
                ax.stairs(100 * shares, edges, color=drawn.colour, linestyle=drawn.line, label=dataset, linewidth=1.6)
                ax.stairs(100 * shares, edges, color=drawn.colour, fill=True, alpha=0.12)
            if len(thresholds) and np.isfinite(thresholds[place]):
                ax.axvline(thresholds[place], color=GREY, linestyle="--", linewidth=1.2, label="threshold")
            ax.set(xlabel=unit, ylabel="samples, %", ylim=(0, None))
        legend_below(figure, axes)
    return figure


def separation(rows: pd.DataFrame) -> Figure:
    """How well samples with a trait are told from samples without it: a panel per kind of set, with intervals.

    Takes a frame with the columns trait, set, measure, auroc, low and high; equal rows of several seeds stand side by
    side. The dashed line is chance.
    """
    with look():
        traits, sets = (list(dict.fromkeys(rows[name])) for name in ("trait", "set"))
        figure, axes = panels(len(sets), columns=1, height=2.0)
        for ax, name in zip(axes, sets, strict=True):
            mine = rows[rows["set"] == name]
            _separated(ax, mine, traits)
            entitle(ax, name)
            ax.axhline(0.5, color=GREY, linestyle="--", linewidth=1)
            ax.set(xticks=range(len(traits)), xticklabels=traits, ylim=(0.45, 1.02), ylabel="area under\nROC curve")
            ax.grid(visible=False, axis="x")
        legend_below(figure, axes, columns=2)
    return figure


def _separated(ax: Axes, rows: pd.DataFrame, traits: Sequence[str]) -> None:
    """The marks of one panel: a group per trait, in it a cluster per measure, in that a mark per seed."""
    measures = list(dict.fromkeys(rows["measure"]))
    for number, measure in enumerate(measures):
        drawn, label = series(number), str(measure)
        for trait, some in rows[rows["measure"] == measure].groupby("trait", sort=False):
            middle = traits.index(str(trait)) + 0.2 * (number - (len(measures) - 1) / 2)
            spots = middle + 0.05 * (np.arange(len(some)) - (len(some) - 1) / 2)
            ends = np.abs(np.stack([some["auroc"] - some["low"], some["high"] - some["auroc"]]))
            ax.errorbar(spots, some["auroc"], np.nan_to_num(ends), label=label, **_dots(drawn))
            label = "_nolegend_"


def filtering(table: pd.DataFrame) -> Figure:
    """The trait's mean score after training on what each arm left, in bars, one group per trait.

    Takes a frame with the columns trait, arm, score (points) and contaminated_left (samples), which stands on the bar.
    """
    with look():
        figure, (ax,) = panels(1, columns=1, height=3.0)
        traits, arms = (list(dict.fromkeys(table[name])) for name in ("trait", "arm"))
        width = 0.8 / max(1, len(arms))
        for number, arm in enumerate(arms):
            mine = table[table["arm"] == arm]
            spots = [traits.index(each) + width * (number - (len(arms) - 1) / 2) for each in mine["trait"]]
            drawn = series(number)
            hatch = ("", "//", "\\\\", "..", "xx", "++", "--")[number % 7]
            bars = ax.bar(spots, mine["score"], 0.9 * width, color=drawn.colour, alpha=0.75, hatch=hatch, label=arm)
            ax.bar_label(bars, [f"{each:.0f}" for each in mine["contaminated_left"]], fontsize=SMALL, padding=1)
        entitle(ax, "above each bar: contaminated samples that were trained on")
        top = 1.08 * max([1.0, *table["score"].dropna()])
        ax.set(xticks=range(len(traits)), xticklabels=traits, ylabel="trait score after training", ylim=(0, top))
        ax.grid(visible=False, axis="x")
        legend_below(figure, [ax], columns=8)
    return figure


def _dots(drawn: Series) -> dict[str, Any]:
    """Marks with whiskers and no line between them."""
    return {"color": drawn.colour, "marker": drawn.marker, "linestyle": "none", "markersize": 4, "linewidth": 1}
