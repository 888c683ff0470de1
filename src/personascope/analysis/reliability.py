"""Reliability: would measuring again give the same?

The one law: what is compared are two measurements of the same items, and how many there were is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from jaxtyping import Float


@dataclass(frozen=True)
class Agreement:
    """How well two measurements of the same items agree; NaN where it cannot be said.

    ``difference`` is the mean absolute difference and ``bias`` the mean of second minus first, in the scores' unit;
    ``kappa`` is Cohen's, of the two yes-or-no verdicts that ``bar`` makes of the scores.
    """

    items: int
    pearson: float
    spearman: float
    difference: float
    bias: float
    bar: float
    kappa: float


def agreement(first: Float[np.ndarray, "item"], second: Float[np.ndarray, "item"], *, bar: float = np.nan) -> Agreement:
    """The agreement of two measurements of the same items, those without a score on either side left out.

    A correlation is NaN where either side does not vary, kappa where no ``bar`` is given or both sides say the same of
    all items.
    """
    from scipy.stats import rankdata

    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    scored = ~(np.isnan(one) | np.isnan(other))
    one, other = one[scored], other[scored]
    if len(one) == 0:
        return Agreement(0, np.nan, np.nan, np.nan, np.nan, bar, np.nan)
    ranks = rankdata(one), rankdata(other)
    gap = other - one
    return Agreement(
        len(one), _pearson(one, other), _pearson(*ranks), float(np.abs(gap).mean()), float(gap.mean()), bar,
        np.nan if np.isnan(bar) else _kappa(one >= bar, other >= bar),
    )  # fmt: skip


def agreements(
    frame: pd.DataFrame, columns: Mapping[str, tuple[str, str]], *, bars: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """One row per named quantity, with the fields of :class:`Agreement`, of two columns of one frame.

    Args:
        frame: One row per item: an answer that was judged twice, or a condition whose effect was measured twice.
        columns: The first and the second column of each quantity.
        bars: The score that makes a yes of it, where there is one.
    """
    rows = [
        {"quantity": name, **asdict(agreement(frame[one].to_numpy(), frame[other].to_numpy(), bar=_bar(bars, name)))}
        for name, (one, other) in columns.items()
    ]
    return pd.DataFrame(rows, columns=["quantity", *(each.name for each in fields(Agreement))])


def same_items(first: pd.DataFrame, second: pd.DataFrame, *, on: Sequence[str]) -> pd.DataFrame:
    """The items that two frames share, side by side: the columns ``on``, then all others ending in _first and _second.

    Items that look alike are paired in the order they come, so no item of either frame is used twice.
    """
    keys = list(on)
    sides = [each.assign(_occurrence=each.groupby(keys, dropna=False).cumcount()) for each in (first, second)]
    on_both = [*keys, "_occurrence"]
    one, other = (
        side.rename(columns={name: f"{name}_{which}" for name in side.columns.difference(on_both)})
        for side, which in zip(sides, ("first", "second"), strict=True)
    )
    return one.merge(other, on=on_both).drop(columns="_occurrence")


def measured_twice(
    answers: pd.DataFrame, *, on: Sequence[str], by: str = "file", scores: Sequence[str] = ("score", "coherence")
) -> pd.DataFrame:
    """Answers that were judged more than once: one row each, the columns ``on`` and each score as _first and _second.

    An answer counts as judged again if it stands in several groups of ``by``, such as files, with other scores:
    published files repeat rows, and a copy of a verdict is no second verdict. So judges that repeat themselves to the
    digit look worse here than they are; where two files are known to hold independent verdicts, use
    :func:`same_items`. The first two different verdicts are given.

    Args:
        on: What makes two answers the same, such as question, text and the trait that was judged.
    """
    keys = list(on)
    columns = [*keys, *(f"{name}_{side}" for name in scores for side in ("first", "second"))]
    seen = answers.drop_duplicates([*keys, by]).drop_duplicates([*keys, *scores])
    turns = seen.groupby(keys, dropna=False, sort=False).cumcount()
    first, second = (seen.loc[turns == turn, [*keys, *scores]] for turn in (0, 1))
    return first.merge(second, on=keys, suffixes=("_first", "_second"))[columns]


def _bar(bars: Mapping[str, float] | None, name: str) -> float:
    return np.nan if bars is None else bars.get(name, np.nan)


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation; NaN where either side does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def _kappa(one: np.ndarray, other: np.ndarray) -> float:
    if (one.all() and other.all()) or not (one.any() or other.any()):
        return np.nan
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(one, other))
