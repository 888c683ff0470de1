"""Ways to train a model, compared: frames of scores, and what each way changed, with intervals.

Owns: :func:`score_rows`, :func:`run_rows` and :func:`compare_ways`. The one law: what is resampled is a training seed
and a question, never an answer, so that many draws of few questions, or of one run, make no interval narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.applications.finetune.core import Measured

SCORES = ["way", "strength", "seed", "trait", "questions", "question", "score", "coherence"]
"""Columns of :func:`score_rows`; the last two are score points, means over a question's answers."""
RUNS = ["way", "strength", "seed", "last_loss", "accuracy", "perplexity"]
"""Columns of :func:`run_rows`: nats, a share, and a perplexity."""
WAYS = [
    *("way", "strength", "trait", "seeds", "questions", "score", "score_low", "score_high"),
    *("change", "change_low", "change_high", "coherence", "coherence_change"),
]
"""Columns of :func:`compare_ways`, all but the first five score points; changes are from the untrained model."""
RESAMPLES = 9999
UNTRAINED = "untrained"


def score_rows(found: Sequence[Measured]) -> pd.DataFrame:
    """One row per model, trait, question set and question, columns ``SCORES``; ``seed`` is -1 of an untrained model."""
    rows = []
    for measured in found:
        for (trait, questions), answers in measured.answers.items():
            for question in dict.fromkeys(each.question for each in answers):
                some = [each for each in answers if each.question == question]
                rows.append(
                    (
                        *_named(measured),
                        trait,
                        questions,
                        question,
                        _mean([each.trait.score for each in some]),
                        _mean([each.coherence.score for each in some]),
                    )
                )
    return pd.DataFrame(rows, columns=SCORES)


def run_rows(found: Sequence[Measured]) -> pd.DataFrame:
    """One row per model and way to ask it, columns ``RUNS``."""
    rows = [(*_named(each), each.last_loss, each.accuracy, each.perplexity) for each in found]
    return pd.DataFrame(rows, columns=RUNS)


def compare_ways(
    scores: pd.DataFrame, *, questions: str = "evaluation", level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """One row per way, strength and trait, columns ``WAYS``, in the order in which ways first stand in the frame.

    Takes :func:`score_rows`. Intervals are percentiles of ``RESAMPLES`` means over training seeds and questions drawn
    with replacement, each crossed with the other; questions are the same for all models, so changes are resampled as
    pairs. With three seeds the spread between runs is underestimated (by about a third of its variance).
    """
    asked = scores[scores["questions"] == questions]
    before = asked[asked["way"] == UNTRAINED]
    rows = []
    for (way, strength, trait), group in asked.groupby(["way", "strength", "trait"], sort=False, dropna=False):
        table = group.pivot(index="seed", columns="question", values="score")
        own = before[before["trait"] == trait].set_index("question")
        base = own["score"].reindex(table.columns).to_numpy(dtype=np.float64)
        values = table.to_numpy(dtype=np.float64)
        ends = _interval(values, level=level, seed=seed)
        moved = _interval(values - base, level=level, seed=seed)
        coherence = float(group["coherence"].mean())
        mean, change = _mean(values), _mean(values - base)
        coherence_change = coherence - float(own["coherence"].mean())
        rows.append((way, strength, trait, *table.shape, mean, *ends, change, *moved, coherence, coherence_change))
    return pd.DataFrame(rows, columns=WAYS)


def _interval(values: Float[np.ndarray, "seed question"], *, level: float, seed: int) -> tuple[float, float]:
    """The percentile interval of the mean over seeds and questions; NaN if there is too little to resample."""
    if values.shape[1] < 2 or np.isnan(values).all():
        return np.nan, np.nan
    generator = np.random.default_rng(seed)
    seeds, questions = values.shape
    # The mean over a resample is a bilinear form of how often each seed and each question was drawn.
    known, filled = ~np.isnan(values), np.nan_to_num(values)
    runs = generator.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(np.float64)
    asked = generator.multinomial(questions, np.full(questions, 1 / questions), RESAMPLES).astype(np.float64)
    sums = np.einsum("rs,sq,rq->r", runs, filled, asked, optimize=True)
    counts = np.einsum("rs,sq,rq->r", runs, known.astype(np.float64), asked, optimize=True)
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _named(measured: Measured) -> tuple[str, float, int]:
    condition = measured.condition
    return condition.way, condition.strength, -1 if condition.seed is None else condition.seed


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of what is known; NaN of nothing."""
    every = np.asarray(values, dtype=np.float64)
    known = every[~np.isnan(every)]
    return float(known.mean()) if len(known) else np.nan
