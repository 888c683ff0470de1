"""What steering gains and what it costs, in rows.

Owns: :func:`cost_rows`. The one law: every figure of a steered model stands beside the unsteered one's, and the
interval of their difference resamples what was asked (questions, texts), never tokens or draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.analysis.bootstrap import bootstrap
from personascope.applications.capability.core import Cost
from personascope.core.steering import applied_norm
from personascope.tracing.eval_data import Perplexity
from personascope.tracing.tracing import paired_effect

RESAMPLES = 2000
WAY = ["trait", "direction", "layer", "strength", "unit", "where", "applied_norm"]
COST = [
    *WAY,
    "questions", "score", "effect", "effect_low", "effect_high", "coherence",
    "choices", "accuracy", "accuracy_per_token", "accuracy_change", "accuracy_change_low", "accuracy_change_high",
    "texts", "tokens", "perplexity", "perplexity_ratio", "perplexity_ratio_low", "perplexity_ratio_high",
]  # fmt: skip
"""Columns of :func:`cost_rows`. Scores and effects are score points; accuracies are shares."""


def cost_rows(costs: Sequence[Cost], *, seed: int = 0) -> pd.DataFrame:
    """One row per way of steering, beside the unsteered row of its trait (``direction`` is ``"plain"``).

    ``effect`` and ``accuracy_change`` are differences from the unsteered model, ``perplexity_ratio`` is the quotient
    with it; ``_low`` and ``_high`` are the 95 % percentile interval over questions, or over texts. NaN where nothing
    was asked.
    """
    plain = {each.trait: each for each in costs if each.steering is None}
    rows = [_row(each, plain[each.trait], seed) for each in costs]
    return pd.DataFrame(rows, columns=COST)


def _row(cost: Cost, plain: Cost, seed: int) -> dict[str, object]:
    way = cost.steering
    effects = paired_effect(plain.answers, cost.answers)
    moved = _interval(np.array([each.trait for each in effects]), seed)
    changed = _interval(cost.chosen.correct - plain.chosen.correct, seed)
    ratio = _ratio(plain.perplexity, cost.perplexity, seed)
    return {
        "trait": cost.trait,
        "direction": cost.origin,
        "layer": "+".join(map(str, way.layers)) if way is not None else "",
        "strength": way.strength if way is not None else 0.0,
        "unit": way.unit if way is not None else "",
        "where": way.where if way is not None else "",
        "applied_norm": applied_norm(cost.edits),
        "questions": len(effects),
        "score": _mean([each.steered[0] for each in effects]),
        "effect": moved[0],
        "effect_low": moved[1],
        "effect_high": moved[2],
        "coherence": _mean([each.steered[1] for each in effects]),
        "choices": len(cost.chosen.right),
        "accuracy": cost.chosen.accuracy,
        "accuracy_per_token": cost.chosen.accuracy_per_token,
        "accuracy_change": changed[0],
        "accuracy_change_low": changed[1],
        "accuracy_change_high": changed[2],
        "texts": len(cost.perplexity.tokens),
        "tokens": int(cost.perplexity.tokens.sum()),
        "perplexity": cost.perplexity.per_token,
        "perplexity_ratio": ratio[0],
        "perplexity_ratio_low": ratio[1],
        "perplexity_ratio_high": ratio[2],
    }


def _interval(differences: Float[np.ndarray, "asked"], seed: int) -> tuple[float, float, float]:
    found = bootstrap(differences, resamples=RESAMPLES, seed=seed)
    return found.mean, found.percentile_low, found.percentile_high


def _ratio(plain: Perplexity, steered: Perplexity, seed: int) -> tuple[float, float, float]:
    """The quotient of two perplexities of the same texts, and its interval over texts."""
    total = int(plain.tokens.sum())
    if total == 0:
        return math.nan, math.nan, math.nan
    lost = plain.log_likelihoods - steered.log_likelihoods
    drawn = np.random.default_rng(seed).integers(0, len(lost), (RESAMPLES, len(lost)))
    quotients = np.exp(lost[drawn].sum(1) / np.maximum(1, plain.tokens[drawn].sum(1)))
    low, high = np.quantile(quotients, [0.025, 0.975]) if len(lost) > 1 else (math.nan, math.nan)
    return math.exp(float(lost.sum()) / total), float(low), float(high)


def _mean(scores: Sequence[float]) -> float:
    heard = [each for each in scores if not math.isnan(each)]
    return math.fsum(heard) / len(heard) if heard else math.nan
