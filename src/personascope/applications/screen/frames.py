"""What scores of training samples say: which to drop, how a dataset stands, and how well two kinds are told apart.

What was not measured (NaN) is never dropped and never counted as low; how many there are is said. Arrays are ``[sample
gauge]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from personascope.analysis.bootstrap import bootstrap

Filter = Literal["projection", "judge", "either", "both"]
"""What drops a sample: the projection score, the judge's, either of them, or only both at once."""

RESAMPLES: Final = 999
_CELLS: Final = 1_000_000
SUMMARY: Final = (
    "dataset", "gauge", "samples", "unmeasured", "mean", "low", "high", "p05", "p50", "p95", "dropped",
)  # fmt: skip
"""Columns of :func:`summary`: counts of samples, and the mean score with its interval and percentiles."""
TABLE: Final = (
    "trait",
    "arm",
    "seeds",
    "trained_on",
    "contaminated_left",
    "score",
    "coherence",
    "change",
    "low",
    "high",
)
"""Columns of :func:`filtering_table`; score, coherence and change are score points."""


def above(
    scores: Float[np.ndarray, "sample gauge"], thresholds: Float[np.ndarray, "gauge"]
) -> Bool[np.ndarray, "sample"]:
    """Which samples exceed the threshold of any gauge."""
    exceeding: np.ndarray = np.any(scores > np.asarray(thresholds), axis=1)
    return exceeding


def top_share(scores: Float[np.ndarray, "sample gauge"], share: float) -> Bool[np.ndarray, "sample"]:
    """The given share of samples (rounded to whole ones) that stand highest; ties go to the earlier sample.

    Over several gauges a sample stands where its highest rank is, so that gauges of different spread count alike.
    """
    measured = ~np.isnan(scores).all(axis=1)
    ranks = np.column_stack([_ranks(column) for column in scores.T])
    standing = np.where(np.isnan(ranks), -np.inf, ranks).max(axis=1)
    count = min(round(share * len(scores)), int(measured.sum()))
    taken = np.zeros(len(scores), dtype=bool)
    taken[np.argsort(-standing, kind="stable")[:count]] = True
    return taken


def percentile_of(scores: Float[np.ndarray, "sample gauge"], percentile: float) -> Float[np.ndarray, "gauge"]:
    """Each gauge's percentile (0 to 100) of the scores of a reference set; NaN where nothing was measured."""
    ends = [np.nan if np.isnan(column).all() else np.nanpercentile(column, percentile) for column in scores.T]
    return np.array(ends, dtype=np.float64)


def combined(
    by_projection: Bool[np.ndarray, "sample"], by_judge: Bool[np.ndarray, "sample"] | None, how: Filter
) -> Bool[np.ndarray, "sample"]:
    """What is dropped when projection and judge are put together; without a judge, what the projection drops."""
    if by_judge is None:
        return by_projection
    if how == "projection":
        return by_projection
    if how == "judge":
        return by_judge
    put: np.ndarray = by_projection | by_judge if how == "either" else by_projection & by_judge
    return put


def mean_interval(
    values: Float[np.ndarray, "sample"], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """The mean with the percentile interval of the bootstrap over samples; NaN where there are too few.

    A million numbers are drawn at a time, whatever the dataset's size.
    """
    measured = np.asarray(values, dtype=np.float64)
    measured = measured[~np.isnan(measured)]
    if len(measured) == 0:
        return np.nan, np.nan, np.nan
    mean = float(measured.mean())
    if len(measured) == 1:
        return mean, np.nan, np.nan
    draw = np.random.default_rng(seed)
    means = _in_parts(
        lambda some: measured[draw.integers(0, len(measured), (some, len(measured)))].mean(axis=1),
        resamples,
        len(measured),
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def auroc(negative: Float[np.ndarray, "negative"], positive: Float[np.ndarray, "positive"]) -> float:
    """The probability that a positive sample scores above a negative one, ties counting half; NaN without either.

    Example:
        >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        0.875
    """
    low, high = (each[~np.isnan(each)] for each in (np.asarray(negative, float), np.asarray(positive, float)))
    if not len(low) or not len(high):
        return float("nan")
    low = np.sort(low)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.sum() / (2 * len(low) * len(high)))


def auroc_interval(
    negative: Float[np.ndarray, "negative"],
    positive: Float[np.ndarray, "positive"],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """:func:`auroc` with the percentile interval of a bootstrap that resamples each side by itself.

    It is a point where the two sides do not overlap: resampling cannot make them.
    """
    draw = np.random.default_rng(seed)
    low, high = (each[~np.isnan(each)] for each in (np.asarray(negative, float), np.asarray(positive, float)))
    if len(low) < 2 or len(high) < 2:
        return auroc(low, high), np.nan, np.nan
    found = [
        auroc(low[draw.integers(0, len(low), len(low))], high[draw.integers(0, len(high), len(high))])
        for _ in range(resamples)
    ]
    ends = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return auroc(low, high), float(ends[0]), float(ends[1])


def summary(
    scores: Float[np.ndarray, "sample gauge"],
    *,
    dataset: str,
    gauges: Sequence[str],
    dropped: Bool[np.ndarray, "sample"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per gauge, columns ``SUMMARY``: the dataset's mean score (its projection difference) with its interval.

    ``dropped`` is how many of its samples are dropped by all gauges together; NaN where no rule was given.
    """
    rows = []
    for name, column in zip(gauges, scores.T, strict=True):
        measured = column[~np.isnan(column)]
        percentiles = np.percentile(measured, [5, 50, 95]) if len(measured) else [np.nan] * 3
        gone = np.nan if dropped is None else float(dropped.sum())
        counts = (len(column), len(column) - len(measured))
        rows.append([dataset, name, *counts, *mean_interval(column, seed=seed), *percentiles, gone])
    return pd.DataFrame(rows, columns=list(SUMMARY))


def separation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per trait, set and measure: the mean AUROC over seeds, and the widest of the seeds' intervals.

    Takes a frame with the columns trait, set, measure, seed, positives, negatives, auroc, low and high.
    """
    found = rows.groupby(["trait", "set", "measure"], sort=False, as_index=False).agg(
        seeds=("seed", "nunique"),
        samples=("positives", "sum"),
        auroc=("auroc", "mean"),
        least=("auroc", "min"),
        low=("low", "min"),
        high=("high", "max"),
    )
    return found


def filtering_table(rows: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """One row per trait and arm, columns ``TABLE``: the mean score over questions and seeds.

    ``change`` is what was gained over training on everything, negative where the trait fell: per question over all
    seeds, with the percentile interval of a bootstrap over questions.
    """
    found = []
    for trait, some in rows.groupby("trait", sort=False):
        by_question = some.groupby(["arm", "question"], sort=False)["score"].mean()
        for arm, mine in some.groupby("arm", sort=False):
            seeds = mine.drop_duplicates("seed")
            counts = (len(seeds), seeds["trained_on"].mean(), seeds["contaminated_left"].mean())
            means = (mine["score"].mean(), mine["coherence"].mean())
            compared = "all" in some["arm"].values and arm not in ("all", "untrained")
            gained = (by_question[arm] - by_question["all"]).to_numpy() if compared else np.array([])
            moved = bootstrap(gained, seed=seed)
            found.append([trait, arm, *counts, *means, moved.mean, moved.percentile_low, moved.percentile_high])
    return pd.DataFrame(found, columns=list(TABLE))


def _ranks(column: Float[np.ndarray, "sample"]) -> Float[np.ndarray, "sample"]:
    """The place of every score in its column, from 0 for the lowest; equal scores share a place; NaN keeps NaN."""
    ranks = np.full(len(column), np.nan)
    known = ~np.isnan(column)
    ranks[known] = np.searchsorted(np.sort(column[known]), column[known], side="left")
    return ranks


def _in_parts(draw: Callable[[int], np.ndarray], resamples: int, size: int) -> np.ndarray:
    """So many resamples of a statistic over so many samples, a million numbers at a time."""
    some = max(1, _CELLS // size)
    parts = [draw(min(some, resamples - start)) for start in range(0, resamples, some)]
    return np.concatenate(parts)
