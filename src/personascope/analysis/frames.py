"""From what a trace gave to tidy frames.

Owns: :func:`answer_rows`. The one law: one row per answer, with the keys of the records behind it; a trait, a model or
a control is a value in a row, never the name of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from personascope.core.outcomes import Absence, Effect, Outcome, Prompted
from personascope.core.records import Answer
from personascope.core.steering import applied_norm
from personascope.core.vectors import PairCounts

ARM = [
    "trait", "extracted_as", "evaluated_as", "milestone", "place", "tokens_seen", "stage", "same_weights_as", "target",
    "direction", "chosen", "layer", "strength", "unit", "where", "operation", "vector_length", "residual_norm",
    "applied_norm", "pairs_asked", "pairs_kept", "absence", "reason",
]  # fmt: skip
"""The columns that say which arm a row belongs to. ``direction`` is extracted, a control with its seed (random-0), or
prompted-positive and -negative: the trait's instructions in the place of steering. ``operation`` is add, add
increments, ablate or cap. Lengths and norms are in units of the residual stream; ``absence`` is empty, or says what
there is not: no vector, no checkpoint, no scale, no scores."""

KINDS = ("extracted", "random", "orthogonal", "other", "shuffled-renormed", "shuffled", "prompted-positive",
         "prompted-negative")  # fmt: skip
"""What ``direction`` can be, without seeds and names."""


def kinds_of(directions: pd.Series) -> pd.Series:
    """Of each ``direction`` its kind: what it is without seed or name, one of ``KINDS`` where it is known."""
    kinds = {name: next((kind for kind in KINDS if f"{name}-".startswith(f"{kind}-")), name.rsplit("-", 1)[0])
             for name in directions.unique()}  # fmt: skip
    return directions.map(kinds)


ANSWER = [
    "pole", "question", "draw", "score", "outcome", "coherence", "coherence_outcome",
    "response_key", "verdict_key", "coherence_key",
]  # fmt: skip
"""The columns of one answer. ``pole`` is plain or steered; scores are 0 to 100, NaN where there is none."""


def answer_rows(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per answer of every arm (columns ``ARM`` and ``ANSWER``), in the order of the lineage.

    Plain answers stand once beside every arm they are compared with; answers to the instructions alone have the pole
    "steered" too, for they are what stands beside the plain ones there. A milestone without a vector, or without a
    checkpoint, is one row whose ``reason`` says why and whose scores are NaN.
    """
    order = {label: place for place, label in enumerate(dict.fromkeys(each.milestone.label for each in outcomes))}
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        arm = {**_about(outcome), "place": order[outcome.milestone.label]}
        if isinstance(outcome, Absence):
            rows.append(arm)
            continue
        arm |= _way(outcome) if isinstance(outcome, Effect) else _prompted(outcome)
        said = outcome.steered if isinstance(outcome, Effect) else outcome.prompted
        for pole, answers in (("plain", outcome.plain), ("steered", said)):
            rows += [{**arm, "pole": pole, **_answer(each)} for each in answers]
    return pd.DataFrame(rows, columns=ARM + ANSWER)


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "draw": answer.draw,
        "score": answer.trait.score,
        "outcome": answer.trait.outcome,
        "coherence": answer.coherence.score,
        "coherence_outcome": answer.coherence.outcome,
        "response_key": answer.response.key,
        "verdict_key": answer.trait.key,
        "coherence_key": answer.coherence.key,
    }


def _about(outcome: Outcome) -> dict[str, Any]:
    """What an arm and an absence have in common."""
    milestone, subject = outcome.milestone, outcome.subject
    counts = outcome.reference.counts if isinstance(outcome, Effect) else outcome.counts
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
    steering, layers = effect.steering, effect.steering.layers
    return {
        "direction": effect.vector.origin,
        "chosen": effect.chosen,
        "layer": "+".join(map(str, layers)),
        "strength": steering.strength,
        "unit": steering.unit,
        "where": steering.where,
        "operation": f"{steering.operation} increments" if steering.increments else steering.operation,
        "vector_length": float(effect.vector.lengths[layers[0]]),
        "residual_norm": steering.norm_at(layers[0], effect.residual_norms),
        "applied_norm": applied_norm(effect.edits),
    }


def _prompted(arm: Prompted) -> dict[str, Any]:
    """Nothing was added: the instructions alone."""
    way = {"layer": "", "unit": "", "where": "", "operation": "", "applied_norm": 0.0}
    return {**way, "direction": f"prompted-{arm.pole}", "chosen": True}
