"""Matrices as colours and numbers.

Owns: :func:`heat_map` and :func:`colour_bar`. The one law: colours run evenly from dark to light, so that they can be
told apart in grey as well, and what is unknown is hatched, in no colour of the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from personascope.figures.style import BLACK, SMALL, wrapped

MAP, BOTH_WAYS = "cividis", "PuOr"
_LETTERS = 22  # of a label on one line


def heat_map(
    ax: Axes,
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
    texts: Sequence[Sequence[str]] | None = None,
) -> AxesImage:
    """A matrix with its first row at the top; ``texts`` are written into the cells that have a value.

    Limits that zero halves have two colours that meet at white there; others run from dark to light.
    """
    two_sided = limits[0] < 0 < limits[1] and np.isclose(-limits[0], limits[1])
    colours = matplotlib.colormaps[BOTH_WAYS if two_sided else MAP]
    ax.set_facecolor("white")
    ax.patch.set_hatch("////")
    ax.patch.set_edgecolor("#c0c0c0")
    norm = Normalize(*limits)
    image = ax.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="equal", interpolation="nearest")
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks(range(len(columns)), [wrapped(each, _LETTERS) for each in columns])
    ax.set_yticks(range(len(rows)), [wrapped(each, _LETTERS) for each in rows])
    ax.tick_params(length=0, labelsize=SMALL + 0.5)
    longest = max((len(each) for each in columns), default=0)
    if longest * len(columns) > 34:
        steep = len(columns) > 8 or longest > _LETTERS
        for label in ax.get_xticklabels():
            label.set(
                rotation=90 if steep else 35,
                ha="center" if steep else "right",
                rotation_mode="default" if steep else "anchor",
            )
    for (row, column), value in np.ndenumerate(values):
        if texts is not None and np.isfinite(value):
            red, green, blue, _ = colours(norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            ax.text(column, row, texts[row][column], ha="center", va="center", fontsize=SMALL + 0.5,
                    color=BLACK if light else "white")  # fmt: skip
    return image


def colour_bar(figure: Figure, axes: Sequence[Axes], image: AxesImage, label: str) -> Any:
    """The scale of the panels' colours, at their right."""
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=SMALL + 1)
    bar.ax.tick_params(labelsize=SMALL + 0.5)
    return bar
