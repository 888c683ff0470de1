"""How far would an effect move with other questions? Intervals from resampling questions.

Owns: :func:`bootstrap` and :func:`question_intervals`. The one law: what is resampled is a question, with all of its
draws, plain and steered; so many draws of few questions never make an interval narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.analysis.frames import ARM

RESAMPLES = 9999
INTERVAL = [*ARM, "questions", "effect", "percentile_low", "percentile_high", "bca_low", "bca_high"]
"""Columns of :func:`question_intervals`; the last five are score points."""


@dataclass(frozen=True)
class Resampled:
    """The mean difference and two bootstrap intervals of it, all in score points; NaN where there is none."""

    questions: int
    mean: float
    percentile_low: float
    percentile_high: float
    bca_low: float
    bca_high: float


def bootstrap(
    differences: Float[np.ndarray, "question"], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """The mean of the questions' differences, with its percentile and its BCa interval (Efron 1987; scipy's).

    Unlike the interval that inverts the sign-flip test these assume no symmetry, but with few questions both are too
    narrow (``benchmarks/null.py`` measures by how much). NaN differences are left out. Fewer than two questions say
    nothing about others, so that the ends are NaN; differences that are all alike give the point they are.

    Example:
        >>> bootstrap(np.array([2.0, 2.0, 2.0])).percentile_low
        2.0
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Resampled(0, np.nan, np.nan, np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Resampled(1, mean, np.nan, np.nan, np.nan, np.nan)
    if np.ptp(values) == 0:
        return Resampled(len(values), mean, *[float(values[0])] * 4)
    from scipy import stats

    generator = np.random.default_rng(seed)
    drawn = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=resamples, method="percentile", rng=generator
    )
    # The second interval is read off the same resamples.
    better = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=0, method="BCa", bootstrap_result=drawn
    )
    ends = (*drawn.confidence_interval, *better.confidence_interval)
    return Resampled(len(values), mean, *map(float, ends))


def question_intervals(
    questions: pd.DataFrame, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per arm, columns ``INTERVAL``: its effect with the intervals of :func:`bootstrap`.

    Takes :func:`~personascope.analysis.effects.question_effects`, in which draws are already averaged within questions:
    resampling its rows resamples questions. Every arm is resampled from the same seed.
    """
    rows = []
    for arm, group in questions.groupby(ARM, dropna=False, sort=False, observed=True):
        found = bootstrap(group["effect"].to_numpy(dtype=np.float64), level=level, resamples=resamples, seed=seed)
        ends = (found.percentile_low, found.percentile_high, found.bca_low, found.bca_high)
        rows.append([*arm, found.questions, found.mean, *ends])
    return pd.DataFrame(rows, columns=INTERVAL)
