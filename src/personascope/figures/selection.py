"""Selection maps: what every layer and strength that was tried did to the trait, and what it left of coherence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from personascope.figures.heat import colour_bar, heat_map, matrix_panels
from personascope.figures.style import BLACK, VERMILION, entitle, look, outer_labels

_FADED = 0.6


def selection_maps(selections: pd.DataFrame, *, floor: float = 0.0, ax: Axes | None = None) -> Figure:
    """Mean trait scores by layer (rows) and strength (columns): a panel for each trait, place and milestone.

    Takes the columns trait, layer, strength, unit, where, score, coherence, chosen, and milestone if there are several.
    In each cell the score stands above the coherence. Cells less coherent than ``floor`` are faded, for nothing is
    chosen from them; the way that was chosen is framed. With ``ax`` only the first panel is drawn.
    """
    with look():
        named = selections.assign(_panel=_names(selections))
        names = list(dict.fromkeys(named["_panel"]))
        layers = sorted(dict.fromkeys(named["layer"].astype(str)), key=lambda each: [int(n) for n in each.split("+")])
        strengths = sorted(dict.fromkeys(named["strength"]))
        columns = [f"{each:g}" for each in strengths]
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = matrix_panels(names, layers[::-1], columns)
        image = None
        for panel, name in zip(axes, names, strict=False):
            mine = named[named["_panel"] == name]
            at = mine.assign(layer=mine["layer"].astype(str)).set_index(["layer", "strength"])
            tables = {
                each: at[each].unstack().reindex(index=layers[::-1], columns=strengths).to_numpy(dtype=float)
                for each in ("score", "coherence", "chosen")
            }
            texts = _texts(tables["score"], tables["coherence"])
            image = heat_map(
                panel, tables["score"], rows=layers[::-1], columns=columns, limits=(0.0, 100.0), texts=texts
            )
            _mark(panel, tables["coherence"] < floor, tables["chosen"] == 1)
            entitle(panel, str(name))
        unit = ", ".join(dict.fromkeys(named["unit"].astype(str)))
        outer_labels(axes, x=f"strength ({unit})" if unit else "strength", y="layer")
        if image is not None and ax is None:
            label = "trait score (below it in each cell: coherence)"
            colour_bar(figure, axes, image, f"{label}\nfaded: coherence below {floor:g}; framed: chosen")
    return figure


def _names(rows: pd.DataFrame) -> list[str]:
    """What each row's panel is called: its trait, with the place and the milestone where there are several."""
    telling = [name for name in ("where", "milestone") if name in rows and rows[name].nunique() > 1]
    return [", ".join(map(str, each)) for each in zip(*(rows[name] for name in ("trait", *telling)), strict=True)]


def _texts(scores: np.ndarray, coherence: np.ndarray) -> Sequence[Sequence[str]]:
    return [
        [f"{one:.0f}\n{other:.0f}" for one, other in zip(*both, strict=True)]
        for both in zip(scores, coherence, strict=True)
    ]


def _mark(ax: Axes, low: np.ndarray, chosen: np.ndarray) -> None:
    written = {(round(each.get_position()[1]), round(each.get_position()[0])): each for each in ax.texts}
    for (row, column), faded in np.ndenumerate(low):
        corner = (column - 0.5, row - 0.5)
        if faded:
            ax.add_patch(Rectangle(corner, 1, 1, facecolor="white", alpha=_FADED, edgecolor="none"))
            if (row, column) in written:
                written[row, column].set_color(BLACK)
        if chosen[row, column]:
            frame = Rectangle(corner, 1, 1, fill=False, edgecolor=VERMILION, linewidth=2, zorder=5, clip_on=False)
            ax.add_patch(frame)
