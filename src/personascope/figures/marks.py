"""The marks that several figures share: a course with intervals, and the milestones that show nothing.

Owns: :func:`course` and :func:`absences`. The one law: a filled mark is significant, a hollow one is not, a cross is an
absence; and what is unknown leaves a gap.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from personascope.figures.style import BLACK, GREY, Series

ABSENCES = {"no vector": "x", "no checkpoint": "+", "no scale": "1", "no scores": "2"}


def course(
    ax: Axes,
    across: np.ndarray,
    rows: pd.DataFrame,
    *,
    look: Series,
    value: str = "effect",
    filled: np.ndarray | None = None,
    label: str = "",
) -> None:
    """One line of marks with whiskers: ``rows`` in order, with the column ``value`` and its ends ``low`` and ``high``.

    Marks are hollow where ``filled`` is false. Ends that are absent, unknown or infinite (an interval of too few
    questions has none) are not drawn, and a value that is unknown leaves a gap in the line.
    """
    size, thick, cap = (3.4, 0.6, 0.0) if look.fine else (5.0, 0.9, 2.0)
    values = rows[value].to_numpy(dtype=float)
    ax.plot(across, values, color=look.colour, linestyle=look.line, linewidth=1.1 if look.fine else 1.4, zorder=2)
    if {"low", "high"} <= set(rows):
        ends = rows[["low", "high"]].to_numpy(dtype=float)
        reach = np.maximum(np.stack([values - ends[:, 0], ends[:, 1] - values]), 0)
        reach = np.where(np.isfinite(reach), reach, 0)
        ax.errorbar(
            across, values, yerr=reach, fmt="none", ecolor=look.colour, capsize=cap, elinewidth=thick,
            alpha=0.6 if look.fine else 1.0, zorder=2,
        )  # fmt: skip
    sure = np.ones(len(rows), dtype=bool) if filled is None else np.asarray(filled, dtype=bool)
    for which, face in ((sure, look.colour), (~sure, "white")):
        if which.any():
            ax.plot(across[which], values[which], look.marker, color=look.colour, markerfacecolor=face, markersize=size,
                    zorder=3)  # fmt: skip
    if label:
        ax.plot([], [], color=look.colour, linestyle=look.line, marker=look.marker, linewidth=1.4, label=label)


def absences(ax: Axes, across: np.ndarray, rows: pd.DataFrame) -> None:
    """A mark for every row whose ``absence`` says that there is nothing to show, by its kind, in no line's colour."""
    kinds = rows["absence"].fillna("").astype(str).to_numpy(dtype=str)
    for kind in dict.fromkeys(kinds[kinds != ""]):
        here = kinds == kind
        ax.plot(
            across[here], np.zeros(here.sum()), ABSENCES.get(str(kind), "*"),
            color=BLACK, markersize=6, label=str(kind), zorder=4,
        )  # fmt: skip


def significance_key(ax: Axes, level: float, *, test: str = "p") -> None:
    """Two entries of the legend that say what filled and hollow marks are, in no line's colour."""
    for face, sign in ((GREY, "<"), ("white", "≥")):
        ax.plot([], [], "o", color=GREY, markerfacecolor=face, label=f"{test} {sign} {level:g}")


def rings(ax: Axes, across: np.ndarray, rows: pd.DataFrame) -> None:
    """A ring around every effect whose ``basis`` is not the answers themselves, where rows have such a column."""
    if "basis" not in rows:
        return
    taken = (rows["basis"].fillna("") == "published").to_numpy(dtype=bool) & rows["effect"].notna().to_numpy(dtype=bool)
    if taken.any():
        heights = rows["effect"].to_numpy(dtype=float)[taken]
        ax.plot(across[taken], heights, "o", markersize=8, markerfacecolor="none", color=GREY, markeredgewidth=0.8,
                label="as published, answers missing", zorder=4)  # fmt: skip


def line_names(rows: pd.DataFrame) -> pd.Series:
    """What each row's line is called: its ``curve``, else its trait, with the form where a trait has several."""
    if "curve" in rows:
        return rows["curve"].astype(str)
    if "form" not in rows or rows.empty:
        return rows["trait"].astype(str)
    forms = rows.groupby("trait")["form"].transform("nunique")
    return rows["trait"].where(forms <= 1, rows["trait"] + ", " + rows["form"]).astype(str)


def p_name(column: str) -> str:
    """What a legend calls a column of p-values: ``p_two_sided`` is p, ``p_holm`` is Holm's p."""
    word = {"p_holm": "Holm's ", "p_bonferroni": "Bonferroni's ", "p_benjamini_hochberg": "Benjamini-Hochberg "}
    return f"{word.get(column, '')}p"


def zero_line(ax: Axes) -> None:
    """The line of no effect."""
    ax.axhline(0, color=BLACK, linewidth=0.8, zorder=1)
