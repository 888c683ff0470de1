"""How every figure looks.

Owns: colours, sizes and saving. The one law: a figure is legible in print and on a screen, by everyone: colours are
Okabe and Ito's, and no difference is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # figures are files; a notebook shows the returned Figure all the same

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6e6e6e"

_LOOK: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "svg.hashsalt": "personascope",
}


@contextmanager
def look() -> Iterator[None]:
    """The look, for as long as a figure is drawn: a user's own settings stay untouched."""
    with plt.rc_context(_LOOK):
        yield


def panels(count: int, *, width: float = 7.2, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, two in a row, sharing their axes; ``width`` and row ``height`` in inches."""
    columns = min(2, max(1, count))
    rows = -(-max(1, count) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for spare in list(axes.flat)[count:]:
        spare.set_visible(False)
    return figure, list(axes.flat)[:count]


def tokens(count: float) -> str:
    """A count of tokens for people: 12.6 B, 500 k."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def save(figure: Figure, path: Path) -> None:
    """Writes the figure without a date, so that the same figure is the same file, and closes it."""
    dates = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    figure.savefig(path, metadata=dates)
    plt.close(figure)
