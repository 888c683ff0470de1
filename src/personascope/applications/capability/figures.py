"""The capability figure: what steering gains above what it costs, strength by strength."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.style import GREY, Series, entitle, legend_below, look, panels, series

_MEASURES = (
    ("score", "trait score"),
    ("coherence", "coherence"),
    ("accuracy", "multiple choice\n(share right)"),
    ("perplexity", "perplexity"),
)


def capability(costs: pd.DataFrame) -> Figure:
    """Trait score, coherence, multiple-choice accuracy and perplexity against strength: a column per trait.

    Takes a frame with the columns trait, direction (``"plain"`` for the unsteered model), strength, score, coherence,
    accuracy and perplexity; a measure of which nothing is known is left out. Every direction is a line, from the
    unsteered model's point on.
    """
    with look():
        measures = [(name, label) for name, label in _MEASURES if name in costs and costs[name].notna().any()]
        names = list(dict.fromkeys(costs["trait"])) if measures else []
        columns = max(1, len(names))
        figure, axes = panels(
            len(measures) * len(names), height=1.55, columns=columns, sharing="row", width=max(3.6, 1.9 * columns)
        )
        kinds = list(dict.fromkeys(costs.loc[costs["direction"] != "plain", "direction"]))
        for place, ax in enumerate(axes):
            (measure, label), trait = measures[place // columns], names[place % columns]
            mine = costs[costs["trait"] == trait]
            _lines(ax, mine, measure, {kind: series(number) for number, kind in enumerate(kinds)})
            if place < columns:
                entitle(ax, str(trait))
            ax.set_ylabel(label if place % columns == 0 else "")
            lowest = place >= columns * (len(measures) - 1)
            ax.set_xlabel("strength" if lowest else "")
            ax.tick_params(labelbottom=lowest, labelleft=place % columns == 0)
            if measure in ("score", "coherence"):
                ax.set_ylim(-4, 104)
        legend_below(figure, axes)
    return figure


def _lines(ax: Axes, rows: pd.DataFrame, measure: str, looks: dict[str, Series]) -> None:
    plain = rows[rows["direction"] == "plain"]
    for kind, mark in looks.items():
        mine = pd.concat([plain, rows[rows["direction"] == kind]]).sort_values("strength")
        ax.plot(mine["strength"], mine[measure], color=mark.colour, marker=mark.marker, linestyle=mark.line, label=kind)
    if len(plain):
        ax.axhline(float(plain[measure].iloc[0]), color=GREY, linewidth=0.8, linestyle=":", label="unsteered")
