"""From what a trace gave to tidy frames.

Owns: :func:`answer_rows`. The one law: one row per answer, with the keys of the records behind it; a trait, a model or
a control is a value in a row, never the name of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from personascope.trace import Absence, Effect, Outcome
from personascope.vectors import PairCounts, applied_norm

ARM = [
    "trait", "extracted_as", "evaluated_as", "milestone", "place", "tokens_seen", "stage", "same_weights_as", "target",
    "direction", "chosen", "layer", "strength", "unit", "where", "vector_length", "residual_norm", "applied_norm",
    "pairs_asked", "pairs_kept", "absence", "reason",
]  # fmt: skip
"""The columns that say which arm a row belongs to. Lengths and norms are in units of the residual stream; ``absence``
is empty, or says what there is not: no vector, no checkpoint, no scale, no scores."""

ANSWER = [
    "pole", "question", "draw", "score", "outcome", "coherence", "coherence_outcome",
    "response_key", "verdict_key", "coherence_key",
]  # fmt: skip
"""The columns of one answer. ``pole`` is plain or steered; scores are 0 to 100, NaN where there is none."""


def answer_rows(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per answer of every arm (columns ``ARM`` and ``ANSWER``), in the order of the lineage.

    Plain answers stand once beside every arm they are compared with. A milestone without a vector, or without a
    checkpoint, is one row whose ``reason`` says why and whose scores are NaN.
    """
    order = {label: place for place, label in enumerate(dict.fromkeys(each.milestone.label for each in outcomes))}
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        arm = {**_about(outcome), "place": order[outcome.milestone.label]}
        if isinstance(outcome, Absence):
            rows.append(arm)
            continue
        arm |= _way(outcome)
        for pole, answers in (("plain", outcome.plain), ("steered", outcome.steered)):
            rows += [
                {
                    **arm,
                    "pole": pole,
                    "question": each.question,
                    "draw": each.draw,
                    "score": each.trait.score,
                    "outcome": each.trait.outcome,
                    "coherence": each.coherence.score,
                    "coherence_outcome": each.coherence.outcome,
                    "response_key": each.response.key,
                    "verdict_key": each.trait.key,
                    "coherence_key": each.coherence.key,
                }
                for each in answers
            ]
    return pd.DataFrame(rows, columns=ARM + ANSWER)


def _about(outcome: Outcome) -> dict[str, Any]:
    """What an arm and an absence have in common."""
    milestone, subject = outcome.milestone, outcome.subject
    counts = outcome.counts if isinstance(outcome, Absence) else outcome.reference.counts
    counts = counts or PairCounts(0, 0)
    return {
        "trait": subject.extract.name,
        "extracted_as": subject.extract.form,
        "evaluated_as": subject.evaluate.form,
        "milestone": milestone.label,
        "tokens_seen": np.nan if milestone.tokens_seen is None else milestone.tokens_seen,
        "stage": milestone.stage,
        "same_weights_as": milestone.same_weights_as,
        "target": outcome.target.label if outcome.target is not None else "",
        "direction": "extracted",
        "chosen": True,
        "pairs_asked": counts.asked,
        "pairs_kept": counts.kept,
        "absence": outcome.kind if isinstance(outcome, Absence) else "",
        "reason": outcome.reason if isinstance(outcome, Absence) else "",
    }


def _way(effect: Effect) -> dict[str, Any]:
    """How an arm was steered: lengths and norms at its first layer, the applied norm over all its layers."""
    layers = effect.steering.layers
    return {
        "direction": effect.vector.origin,
        "chosen": effect.chosen,
        "layer": "+".join(map(str, layers)),
        "strength": effect.steering.strength,
        "unit": effect.steering.unit,
        "where": effect.steering.where,
        "vector_length": float(effect.vector.lengths[layers[0]]),
        "residual_norm": float(effect.residual_norms[layers[0]]),
        "applied_norm": applied_norm(effect.edits),
    }
