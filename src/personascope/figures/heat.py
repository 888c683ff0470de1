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

from personascope.figures.style import BLACK, SMALL, WIDTH, panels, title_letters, wrapped

MAP, BOTH_WAYS = "cividis", "PuOr"
_LETTERS = 22  # of a label on one line
_LETTER, _BAR = 0.065, 0.95  # inches that a letter and the scale of colours take
_TILTED = 35


def matrix_panels(
    names: Sequence[str], rows: Sequence[str], columns: Sequence[str], *, across: int = 2
) -> tuple[Figure, list[Axes]]:
    """A panel for each name, for matrices with these rows and columns, ``across`` in a row, as high as they need to be.

    A cell is at most 0.9 inches wide: a figure of few cells is narrower than a page.
    """
    across = max(1, min(across, len(names)))
    down = -(-max(1, len(names)) // across)
    left = 0.45 + _LETTER * min(_LETTERS, max(map(len, rows), default=0))
    longest = _LETTER * min(_LETTERS, max(map(len, columns), default=0))
    foot = 0.35 + {0: 0.15, _TILTED: 0.7 * longest, 90: longest}[_angle(columns)]
    cell = min(0.9, (WIDTH - left - _BAR) / (across * max(1, len(columns))) - 0.02)
    width = min(WIDTH, left + _BAR + across * (cell * max(1, len(columns)) + 0.1))
    lines = max(wrapped(name, title_letters(width / across)).count("\n") + 1 for name in [*names, ""])
    height = cell * max(1, len(rows)) + 0.15 + 0.18 * lines + (foot + 0.3) / down
    return panels(len(names), width=width, height=height, columns=across)


def _angle(columns: Sequence[str]) -> int:
    """How the names of columns are turned, so that they fit."""
    longest = max(map(len, columns), default=0)
    if longest * len(columns) <= 34:
        return 0
    return 90 if len(columns) > 8 or longest > _LETTERS else _TILTED


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
    if (angle := _angle(columns)) > 0:
        turned: Any = {"ha": "right", "rotation_mode": "anchor"} if angle == _TILTED else {"ha": "center"}
        for label in ax.get_xticklabels():
            label.set(rotation=angle, **turned)
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
