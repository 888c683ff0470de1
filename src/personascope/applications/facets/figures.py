"""The facet figure: what kinds of a trait a model shows along its training."""

from __future__ import annotations

from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.along import Along
from personascope.figures.marks import course
from personascope.figures.style import GREY, SMALL, WIDTH, blank, entitle, look, series

_STRIP = 0.34  # the height of the strip of questions, as a share of its panel's


def facets(rates: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """The share of answers with each facet along training, one panel per set of facets, with Wilson intervals.

    Takes a frame with the columns facet_set, facet, place, tokens_seen, stage, rate, low, high (shares from 0 to 1),
    answers and questions. The strip below a panel shows over how many questions the answers are spread, and the title
    how many answers there are: shares of few questions are not comparable. With ``ax`` only the first set is drawn,
    without its strip.
    """
    with look():
        names = list(dict.fromkeys(rates["facet_set"]))
        along = Along.of(rates)
        if ax is not None:
            figure, pairs = cast(Figure, ax.figure), [(ax, cast(Axes | None, None))]
        else:
            figure, pairs = _panels(len(names))
        for (panel, strip), name in zip(pairs, names, strict=False):
            rows = rates[rates["facet_set"] == name]
            _shares(panel, along, rows)
            entitle(panel, f"{name}{_answers(rows)}", pad=14 if along.staged else 6)
            if strip is not None:
                _questions(strip, along, rows)
                panel.tick_params(labelbottom=False)
            (panel if strip is None else strip).set_xlabel(along.label)
    return figure


def _panels(count: int) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    """A panel and the strip below it for each set, one set below the other."""
    size = (WIDTH, 3.2 * max(1, count))
    heights = [1.0, _STRIP] * max(1, count)
    figure, axes = plt.subplots(2 * max(1, count), 1, figsize=size, height_ratios=heights, layout="constrained")
    if count == 0:
        blank(axes[0])
        axes[1].set_visible(False)
    return figure, [(axes[2 * number], axes[2 * number + 1]) for number in range(count)]


def _shares(ax: Axes, along: Along, rows: pd.DataFrame) -> None:
    along.dress(ax)
    names = list(dict.fromkeys(rows["facet"]))
    for number, facet in enumerate(names):
        mine = rows[rows["facet"] == facet].sort_values("place", kind="stable")
        shift = (number - (len(names) - 1) / 2) * 0.005 * (along.high - along.low)
        course(ax, along.at(mine) + shift, mine, look=series(number), value="rate", label=str(facet))
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    ax.set_ylabel("share of answers")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _questions(ax: Axes, along: Along, rows: pd.DataFrame) -> None:
    """How many questions each milestone's answers are to; numbers where there is room for them."""
    once = rows.drop_duplicates("place").sort_values("place", kind="stable")
    along.dress(ax)
    for note in ax.texts:
        note.set_visible(False)  # the stages are named above the panel
    across, counts = along.at(once), once["questions"].to_numpy(dtype=float)
    ax.vlines(across, 0, counts, color=GREY, linewidth=2)
    room = 0.2 / (ax.get_window_extent().width / ax.figure.dpi) * (along.high - along.low)
    taken: list[float] = []
    for number in [len(across) - 1, *range(len(across) - 1)]:
        place, count = across[number], counts[number]
        if np.isfinite(place) and np.isfinite(count) and all(abs(place - each) >= room for each in taken):
            taken.append(place)
            ax.annotate(f"{int(count)}", (place, count), (0, 1), textcoords="offset points", ha="center", va="bottom",
                        fontsize=SMALL, color=GREY)  # fmt: skip
    top = float(np.nanmax(counts, initial=1.0))
    ax.set_ylim(0, 1.55 * top)
    ax.set_yticks([0, top], ["0", f"{int(top)}"])
    ax.set_ylabel("questions", fontsize=SMALL + 1)


def _answers(rows: pd.DataFrame) -> str:
    counts = rows["answers"].dropna()
    if counts.empty:
        return ""
    least, most = int(counts.min()), int(counts.max())
    return f" ({least} answers)" if least == most else f" ({least} to {most} answers)"
