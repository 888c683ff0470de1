"""How every figure looks.

Owns: colours, marks, sizes and saving. The one law: a figure is legible in print and on a screen, by everyone: colours
are Okabe and Ito's, and no difference is told by colour alone.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")  # figures are files; a notebook shows the returned Figure all the same

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from personascope.core.files import write_bytes

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6e6e6e"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#1a1a1a"
SMALL = 7.0
"""The smallest text, in points, at the width of a page."""
WIDTH = 7.2
"""The width of a figure, in inches."""

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
    "pdf.fonttype": 42,
    "svg.hashsalt": "personascope",
    "text.parse_math": False,  # a dollar in a name is a dollar
}


@dataclass(frozen=True)
class Series:
    """What one line of several looks like: its colour, its marker and its line, each different from its neighbours'.

    ``fine`` lines have small marks and thin whiskers, for many in one panel.
    """

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]
    fine: bool = False


_SERIES = (
    Series(BLUE, "o", "-"),
    Series(VERMILION, "s", "--"),
    Series(GREEN, "^", "-."),
    Series(ORANGE, "D", (0, (1, 1))),
    Series(PURPLE, "v", (0, (5, 1, 1, 1, 1, 1))),
    Series(SKY, "P", (0, (8, 2))),
    Series(BLACK, "X", (0, (3, 2))),
)


def series(place: int, *, fine: bool = False) -> Series:
    """The look of the line that stands at this place among its fellows, from 0; it repeats after seven."""
    return replace(_SERIES[place % len(_SERIES)], fine=fine)


@contextmanager
def look() -> Iterator[None]:
    """The look, for as long as a figure is drawn: a user's own settings stay untouched."""
    with plt.rc_context(_LOOK):
        yield


def panels(
    count: int,
    *,
    width: float = WIDTH,
    height: float = 2.5,
    columns: int = 2,
    sharing: Literal["all", "row", "none"] = "all",
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, ``columns`` in a row; ``width`` and row ``height`` in inches.

    ``sharing`` says which panels have the same scale on both axes. Of none, there is one panel that says so.
    """
    across = min(columns, max(1, count))
    rows = -(-max(1, count) // across)
    shared: Any = {"all": True, "row": "row", "none": False}[sharing]
    figure, axes = plt.subplots(
        rows, across, figsize=(width, height * rows), sharex=shared, sharey=shared, squeeze=False, layout="constrained"
    )
    for spare in list(axes.flat)[max(1, count) :]:
        spare.set_visible(False)
    if count == 0:
        blank(axes.flat[0])
    return figure, list(axes.flat)[:count]


def blank(ax: Axes, why: str = "no data") -> None:
    """Says in an empty panel that it is empty."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)


def entitle(ax: Axes, name: str, *, pad: float = 6.0) -> None:
    """A panel's title, on as many lines as it needs; ``pad`` is the room below it, in points."""
    spec = ax.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    wide = ax.figure.bbox.width / ax.figure.dpi / columns
    ax.set_title(wrapped(name, title_letters(wide)), loc="left", fontweight="bold", pad=pad)


def title_letters(inches: float) -> int:
    """How many bold letters, of a tenth of an inch, a title may have on a line above a panel with so much room."""
    return max(12, int((inches - 0.6) * 10))


def wrapped(name: str, letters: int) -> str:
    """A name on lines of so many letters at most, broken at spaces, hyphens and underscores where there are any."""
    lines = textwrap.wrap(name.replace("_", "_ "), letters, break_long_words=True)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def outer_labels(axes: Sequence[Axes], *, x: str, y: str) -> None:
    """Labels the axes at the foot of every column and at the left of every row; numbers stay there alone, too."""
    for ax in axes:
        spec = ax.get_subplotspec()
        if spec is None:
            ax.set(xlabel=x, ylabel=y)
            continue
        below = spec.rowspan.stop * spec.get_gridspec().ncols + spec.colspan.start
        last = below >= len(axes)
        ax.tick_params(labelbottom=last)
        ax.set_xlabel(x if last else "")
        ax.set_ylabel(y if spec.is_first_col() else "")


def legend_below(figure: Figure, axes: Sequence[Axes], *, columns: int = 4) -> None:
    """One legend for all panels, below them: every label once, in the order in which panels first use it."""
    entries = {text: h for ax in axes for h, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        longest = max(map(len, entries))
        fitting = max(1, int(figure.get_figwidth() * 17 / (longest + 6)))
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncols=min(columns, fitting, len(entries))
        )


def tokens(count: float) -> str:
    """A count of tokens for people: 12.6 B, 500 k."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def save(figure: Figure, *paths: Path) -> None:
    """Writes the figure without a date, so that the same figure is the same file, whole or not at all; closes it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: another time would move things by a hair
    for path in paths:
        dates = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix.removeprefix("."), metadata=dates)
        write_bytes(path, drawn.getvalue())
    plt.close(figure)
