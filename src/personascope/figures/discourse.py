"""The discourse matrix: vectors extracted from one form of text, judged on another."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.heat import colour_bar, heat_map, matrix_panels
from personascope.figures.style import entitle, look, outer_labels


def discourse(cells: pd.DataFrame, *, level: float = 0.05, p: str = "p_two_sided", ax: Axes | None = None) -> Figure:
    """Effects by the form of text a vector is from (rows) and the form it was evaluated on, one panel per judge.

    Takes a frame with the columns judge, extracted_as, evaluated_as, effect (score points) and the one that ``p``
    names. Every cell has its number, with a star where ``p`` is below ``level``; a cell without data is hatched. All
    panels have one scale of colours, beside them, with two colours only where effects of both signs matter. With ``ax``
    only the first judge is drawn.
    """
    with look():
        judges = list(dict.fromkeys(cells["judge"]))
        rows, columns = list(dict.fromkeys(cells["extracted_as"])), list(dict.fromkeys(cells["evaluated_as"]))
        if ax is not None:
            figure, axes, judges = cast(Figure, ax.figure), [ax], judges[:1]
        else:
            figure, axes = matrix_panels(judges, rows, columns)
        limits, image = _limits(cells["effect"].to_numpy(dtype=float)), None
        for panel, judge in zip(axes, judges, strict=False):
            mine = cells[cells["judge"] == judge]
            at = mine.set_index(["extracted_as", "evaluated_as"])
            values = at["effect"].unstack().reindex(index=rows, columns=columns).to_numpy(dtype=float)
            stars = (at[p] < level).unstack().reindex(index=rows, columns=columns).eq(True).to_numpy(dtype=bool)
            texts = [
                [f"{v:.1f}{'*' if s else ''}" for v, s in zip(*each, strict=True)]
                for each in zip(values, stars, strict=True)
            ]
            image = heat_map(panel, values, rows=rows, columns=columns, limits=limits, texts=texts)
            entitle(panel, str(judge))
        outer_labels(axes, x="evaluated on", y="vector extracted from")
        if image is not None and ax is None:
            colour_bar(figure, axes, image, f"effect (score points); * p < {level:g}")
    return figure


def _limits(effects: np.ndarray) -> tuple[float, float]:
    """From the least to the greatest effect, zero included; as far on both sides of it where both are large."""
    known = effects[np.isfinite(effects)]
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    if low == high:
        return 0.0, 1.0
    largest = max(high, -low)
    return (-largest, largest) if min(high, -low) > 0.2 * largest else (low, high)
