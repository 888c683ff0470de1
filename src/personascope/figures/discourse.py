"""The discourse matrix: vectors extracted from one form of text, judged on another."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.figures.heat import colour_bar, heat_map
from personascope.figures.style import WIDTH, entitle, look, panels


def discourse(cells: pd.DataFrame, *, level: float = 0.05, p: str = "p_two_sided", ax: Axes | None = None) -> Figure:
    """Effects by the form of text a vector is from (rows) and the form it was evaluated on, one panel per judge.

    Takes a frame with the columns judge, extracted_as, evaluated_as, effect (score points) and the one that ``p``
    names. Every cell has its number, with a star where ``p`` is below ``level``; a cell without data is hatched. All
    panels have one scale of colours, beside them. With ``ax`` only the first judge is drawn.
    """
    with look():
        judges = list(dict.fromkeys(cells["judge"]))
        rows, columns = list(dict.fromkeys(cells["extracted_as"])), list(dict.fromkeys(cells["evaluated_as"]))
        if ax is not None:
            figure, axes, judges = cast(Figure, ax.figure), [ax], judges[:1]
        else:
            across = min(2, max(1, len(judges)))
            cell = WIDTH / across / (len(columns) + 2)
            figure, axes = panels(len(judges), height=1.0 + cell * max(1, len(rows)), sharing="none")
        largest = float(np.nanmax(np.abs(cells["effect"]), initial=1e-9)) if cells["effect"].notna().any() else 1.0
        image = None
        for panel, judge in zip(axes, judges, strict=False):
            mine = cells[cells["judge"] == judge]
            at = mine.set_index(["extracted_as", "evaluated_as"])
            values = at["effect"].unstack().reindex(index=rows, columns=columns).to_numpy(dtype=float)
            stars = (at[p] < level).unstack().reindex(index=rows, columns=columns).eq(True).to_numpy(dtype=bool)
            texts = [
                [f"{v:.1f}{'*' if s else ''}" for v, s in zip(*each, strict=True)]
                for each in zip(values, stars, strict=True)
            ]
            image = heat_map(panel, values, rows=rows, columns=columns, limits=(-largest, largest), texts=texts)
            panel.set(ylabel="vector extracted from", xlabel="evaluated on")
            entitle(panel, str(judge))
        if image is not None and ax is None:
            colour_bar(figure, axes, image, f"effect (score points); * p < {level:g}")
    return figure
