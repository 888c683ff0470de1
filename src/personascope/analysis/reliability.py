"""Reliability: would measuring again give the same?

Owns: :func:`agreement` of two columns of scores with its frames, and :func:`split_half` of a vector. The one law: what
is compared are two measurements of the same items, and how many there were is said.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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


@dataclass(frozen=True)
class SplitHalf:
    """How like two halves of the pairs behind a vector are, and what that says of the whole.

    ``cosine`` is the mean over splits of the cosine between the halves' vectors; 95 % of splits lie between ``low`` and
    ``high``, which is the spread of the splitting and no confidence interval. ``again`` is the cosine to expect with a
    vector from as many new pairs, ``true`` the cosine with the vector that infinitely many pairs would give. Both are
    NaN where the halves do not agree at all (a cosine of 0 or less) or there are fewer than two pairs.
    """

    pairs: int
    splits: int
    cosine: float
    low: float
    high: float
    again: float
    true: float


def split_half(
    differences: Float[np.ndarray, "pair hidden"],
    *,
    splits: int = 200,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> SplitHalf:
    """The split-half reliability of a vector at one layer, from the difference of every kept pair.

    Pairs are split at random into two equal halves (of an odd number, one is left out), ``splits`` times. With S the
    squared length of the true vector and V the summed variance of one pair, the vector of m pairs has a squared length
    of about S + V/m, and two of them share S: their cosine is c(m) = S / (S + V/m). Hence the step from halves of h
    pairs to the whole of n, with k = n/h: ``again`` = k c / (1 + (k - 1) c), the formula of Spearman and Brown, and
    ``true`` = sqrt(again). The step is right where noise fills many dimensions, so that its length hardly varies; where
    it fills few, a mean of cosines is not the cosine of means, and the step is only near.

    Args:
        differences: Positive minus negative mean activations of each pair.
        splits: How many times to split.
        groups: What each pair belongs to, such as its question: a group is never split, and pairs of one question
            share more than the trait. Halves then have equally many groups, and the step to the whole counts groups.
    """
    values = np.asarray(differences, dtype=np.float64)
    sums, sizes = _summed(values, groups)
    half = len(sums) // 2
    if half == 0:
        return SplitHalf(len(values), splits, *[np.nan] * 5)
    draw = np.random.default_rng(seed)
    found = np.empty(splits)
    for turn in range(splits):
        order = draw.permutation(len(sums))
        ends = order[:half], order[half : 2 * half]
        one, other = (sums[each].sum(axis=0) / sizes[each].sum() for each in ends)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[turn] = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    cosine, times = float(found.mean()), len(sums) / half
    low, high = (float(each) for each in np.quantile(found, [0.025, 0.975]))
    again = times * cosine / (1 + (times - 1) * cosine) if cosine > 0 else np.nan
    return SplitHalf(len(values), splits, cosine, low, high, again, float(np.sqrt(again)))


def _summed(values: np.ndarray, groups: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """The sum of each group's differences, and how many they are; where no groups are given, every pair is one."""
    if groups is None:
        return values, np.ones(len(values))
    codes, names = pd.factorize(pd.Series(list(groups), dtype=object))
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, codes, values)
    return sums, np.bincount(codes, minlength=len(names)).astype(np.float64)


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
