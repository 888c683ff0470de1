"""How well what is read before an answer predicts the answer.

Owns: :func:`correlations`, :func:`random_correlations`, :func:`beside_random` and :func:`while_speaking`. The one law:
a correlation pooled over conditions and one within conditions are two statements, and stand beside each other: the
first is high wherever conditions move both, the second says whether questions of one condition can be told apart
("Persona Vectors" C.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

GROUP: Final = ["model", "seed", "trait", "vector", "layer", "series"]
"""Columns that say which points are correlated: ``trait`` is scored, ``vector`` is projected on."""
POINT: Final = [
    *GROUP, "place", "condition", "question", "projection", "score", "noise", "spoken", "coherence",
]  # fmt: skip
"""One row per question under one condition. ``score`` is the mean over draws, 0 to 100, ``noise`` the variance of that
mean (NaN for a single draw), ``projection`` of the last prompt token, ``spoken`` of the responses' mean."""
CORRELATION: Final = [
    *GROUP, "points", "questions", "conditions", "pearson", "low", "high", "spearman", "spearman_low", "spearman_high",
    "ceiling", "within", "within_low", "within_high", "within_spearman", "within_ceiling", "within_conditions",
    "left_out", "spoken_pearson",
]  # fmt: skip
LEAST_SPREAD: Final = 1.0
"""Score points: a condition whose questions' scores have a smaller standard deviation has no correlation within it."""
RESAMPLES: Final = 2000


def correlations(points: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Pearson's and Spearman's correlation of projections with scores, one row per group, columns ``CORRELATION``.

    Takes columns ``POINT``. Pooled correlations are over all points of all conditions. Within-condition ones are taken
    inside each condition and averaged, without those whose scores hardly vary (``left_out`` names them). Intervals are
    percentiles of 2.5 and 97.5 over resampled questions, each with all of its conditions; with 20 questions they are
    somewhat narrow. ``ceiling`` is how high a perfect predictor of each point's expected score could reach, given that
    scores are means of few draws. NaN where there is nothing to correlate.
    """
    rows: list[dict[str, Any]] = []
    for group, some in points.groupby(GROUP, sort=False, dropna=False):
        along, scores, spoken = (_grid(some, name) for name in ("projection", "score", "spoken"))
        noise = _grid(some, "noise")
        spread = _spread(scores)
        kept = spread >= LEAST_SPREAD
        names = some.drop_duplicates("place").sort_values("place")["condition"].to_numpy(dtype=str)
        generator = np.random.default_rng(seed)
        drawn = generator.integers(0, along.shape[1], (resamples, along.shape[1]))
        rows.append(
            dict(zip(GROUP, group, strict=True))
            | {"points": int((np.isfinite(along) & np.isfinite(scores)).sum()), "questions": along.shape[1]}
            | {"conditions": len(along), "within_conditions": int(kept.sum()), "left_out": "; ".join(names[~kept])}
            | _pooled(along, scores, drawn)
            | _within(along[kept], scores[kept], drawn)
            | {"ceiling": _ceiling(scores, noise, pooled=True), "within_ceiling": _ceiling(scores[kept], noise[kept])}
            | {"spoken_pearson": float(pearson(spoken.ravel(), scores.ravel()))}
        )
    return pd.DataFrame(rows, columns=CORRELATION)


def pearson(first: Float[np.ndarray, "*rows item"], second: Float[np.ndarray, "*rows item"]) -> Any:
    """Pearson's r along the last axis, over the items both sides know; NaN where either does not vary."""
    known = np.isfinite(first) & np.isfinite(second)
    count = known.sum(axis=-1)
    one, other = (np.where(known, each, 0.0) for each in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (np.where(known, each - each.sum(axis=-1, keepdims=True) / count[..., None], 0.0) for each in
                      (one, other))  # fmt: skip
        squares = [(each**2).sum(axis=-1) for each in (one, other)]
        # What does not vary but for rounding does not vary.
        tiny = [np.square(1e-10 * np.abs(np.where(known, each, 0.0)).max(axis=-1, initial=0.0)) * count
                for each in (first, second)]  # fmt: skip
        varies = (squares[0] > tiny[0]) & (squares[1] > tiny[1]) & (count > 1)
        return np.where(varies, (one * other).sum(axis=-1) / np.sqrt(squares[0] * squares[1]), np.nan)


def random_correlations(
    streams: Float[np.ndarray, "point hidden"],
    scores: Float[np.ndarray, "point"],
    conditions: Sequence[Any],
    *,
    directions: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The correlations that random directions reach: columns ``direction``, ``pearson`` and ``within``.

    Directions are Gaussian and, like the vector, projected on at length 1; a length is in no correlation. The same
    last-prompt-token readings are projected, so a thousand directions cost one matrix product. A residual stream that
    conditions move along few dimensions gives random directions high correlations too: that is what this is for.
    """
    values = np.asarray(scores, dtype=np.float64)
    drawn = np.random.default_rng(seed).standard_normal((directions, streams.shape[1]))
    along = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)) @ np.asarray(streams, dtype=np.float64).T
    labels = pd.factorize(np.asarray(conditions))[0]
    inside = [labels == label for label in range(labels.max(initial=-1) + 1)]
    kept = [which for which in inside if _spread(values[which][None])[0] >= LEAST_SPREAD]
    within = [pearson(along[:, which], np.broadcast_to(values[which], (directions, which.sum()))) for which in kept]
    return pd.DataFrame(
        {
            "direction": np.arange(directions),
            "pearson": pearson(along, np.broadcast_to(values, along.shape)),
            "within": np.mean(within, axis=0) if within else np.full(directions, np.nan),
        }
    )


def beside_random(found: float, drawn: Float[np.ndarray, "direction"]) -> dict[str, float]:
    """A correlation beside those of random directions: the median and 95th percentile of their absolute values, and p.

    p is the share of directions, the found one counted among them, whose absolute value is at least as large.
    """
    sizes = np.abs(np.asarray(drawn, dtype=np.float64))
    sizes = sizes[np.isfinite(sizes)]
    if not len(sizes) or not np.isfinite(found):
        return {"random_median": np.nan, "random_95": np.nan, "p_random": np.nan}
    p = (1 + int((sizes >= abs(found)).sum())) / (1 + len(sizes))
    return {"random_median": float(np.median(sizes)), "random_95": float(np.quantile(sizes, 0.95)), "p_random": p}


def while_speaking(
    projections: Float[np.ndarray, "answer moment"],
    scores: Float[np.ndarray, "answer"],
    questions: Sequence[Any],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """How well single answers' scores can be told at each moment: columns ``moment``, ``pearson``, ``low``, ``high``.

    ``projections`` are those of the last prompt token and of running means after so many tokens, one column per moment.
    Intervals are over resampled questions, each with all of its answers.
    """
    values = np.asarray(scores, dtype=np.float64)
    labels = pd.factorize(np.asarray(questions))[0]
    members = [np.flatnonzero(labels == label) for label in range(labels.max(initial=-1) + 1)]
    generator = np.random.default_rng(seed)
    picked = [
        np.concatenate([members[place] for place in generator.integers(0, len(members), len(members))])
        for _ in range(resamples if members else 0)
    ]
    rows = []
    for moment, column in enumerate(np.asarray(projections, dtype=np.float64).T):
        low, high = _ends(np.array([float(pearson(column[some], values[some])) for some in picked]))
        rows.append({"moment": moment, "pearson": float(pearson(column, values)), "low": low, "high": high})
    return pd.DataFrame(rows, columns=["moment", "pearson", "low", "high"])


def _grid(points: pd.DataFrame, column: str) -> Float[np.ndarray, "condition question"]:
    """One column by condition, in their order, and question."""
    table = points.pivot(index="place", columns="question", values=column).sort_index()
    grid: np.ndarray = table.to_numpy(dtype=np.float64)
    return grid


def _spread(scores: Float[np.ndarray, "condition question"]) -> Float[np.ndarray, "condition"]:
    """The standard deviation (of samples) of each condition's known scores; 0 where there are fewer than two."""
    known = [row[np.isfinite(row)] for row in scores]
    return np.array([row.std(ddof=1) if len(row) > 1 else 0.0 for row in known])


def _pooled(along: np.ndarray, scores: np.ndarray, drawn: Int[np.ndarray, "resample question"]) -> dict[str, float]:
    flat = along.ravel(), scores.ravel()
    again = tuple(_resampled(each, drawn).reshape(len(drawn), -1) for each in (along, scores))
    low, high = _ends(pearson(*again))
    spearman_low, spearman_high = _ends(pearson(*_ranked(*again)))
    return {
        "pearson": float(pearson(*flat)), "low": low, "high": high,
        "spearman": float(pearson(*_ranked(*flat))), "spearman_low": spearman_low, "spearman_high": spearman_high,
    }  # fmt: skip


def _within(along: np.ndarray, scores: np.ndarray, drawn: Int[np.ndarray, "resample question"]) -> dict[str, float]:
    if not len(along):
        return {}
    low, high = _ends(_known_mean(pearson(_resampled(along, drawn), _resampled(scores, drawn))))
    found = float(_known_mean(pearson(along, scores)))
    ranked = float(_known_mean(pearson(*_ranked(along, scores))))
    return {"within": found, "within_low": low, "within_high": high, "within_spearman": ranked}


def _known_mean(values: Float[np.ndarray, "*rows condition"]) -> Any:
    """The mean of what is known along the last axis; NaN of nothing."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=-1) / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)


def _resampled(
    grid: Float[np.ndarray, "condition question"], drawn: Int[np.ndarray, "resample question"]
) -> Float[np.ndarray, "resample condition question"]:
    moved: np.ndarray = np.moveaxis(grid[:, drawn], 1, 0)
    return moved


def _ranked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks along the last axis among the items both sides know."""
    from scipy.stats import rankdata

    known = np.isfinite(first) & np.isfinite(second)
    one, other = (rankdata(np.where(known, each, np.nan), axis=-1, nan_policy="omit") for each in (first, second))
    return one, other


def _ends(values: Float[np.ndarray, "resample"]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _ceiling(scores: np.ndarray, noise: np.ndarray, *, pooled: bool = False) -> float:
    """The square root of the share of the scores' variance that is not noise of few draws; 0 where all of it is."""
    known = np.isfinite(scores) & np.isfinite(noise)
    if known.sum() < 2:
        return np.nan
    centred = scores - (scores[known].mean() if pooled else np.array([_known_mean(row) for row in scores])[:, None])
    freedom = int(known.sum()) - (1 if pooled else int(known.any(axis=1).sum()))
    total = float((centred[known] ** 2).sum()) / max(1, freedom)
    return float(np.sqrt(max(0.0, 1 - float(noise[known].mean()) / total))) if total > 0 else np.nan
