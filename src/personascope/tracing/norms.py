"""How long the residual stream is: the scale that steering in unit ``"residual"`` is measured by.

Owns: :func:`measure_norms`. The one law: what a norm is taken over is named by its column, because published norms are
of tokens that nobody wrote down (tracing study §1.6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from personascope.core.errors import CheckpointError
from personascope.core.lineages import Lineage, Milestone
from personascope.core.records import Readings, Response, Sampling
from personascope.core.traits import Trait
from personascope.engines import OpenEngine
from personascope.tracing.generation import respond


@dataclass(frozen=True)
class Norm:
    """The residual norms of one layer at one milestone, over the plain answers to one trait's evaluation questions.

    Args:
        mean: The mean over answers of the mean L2 norm of their response tokens: each answer weighs the same. This is
            the number that unit ``"residual"`` multiplies.
        deviation: The standard deviation of the answers' means (n - 1).
        count: How many answers there are that said something.
        token_mean: The mean over all response tokens: a long answer weighs more.
        tokens: How many there are.
        last_prompt_mean: The mean norm at the last prompt token, one number per question.
        last_prompt_deviation: The standard deviation of those numbers (n - 1).
        questions: How many questions were asked.
        reason: Why there are no numbers; empty if there are.
    """

    trait: str
    form: str
    milestone: Milestone
    layer: int
    mean: float = math.nan
    deviation: float = math.nan
    count: int = 0
    token_mean: float = math.nan
    tokens: int = 0
    last_prompt_mean: float = math.nan
    last_prompt_deviation: float = math.nan
    questions: int = 0
    reason: str = ""


def measure_norms(
    lineage: Lineage, traits: Sequence[Trait], *, open_engine: OpenEngine, sampling: Sampling | None = None
) -> list[Norm]:
    """The mean residual norms of every layer at every milestone, for each trait's evaluation questions.

    They are taken over what the models themselves answer, plainly: the answers that a trace of the same sampling calls
    its baseline, so ``mean`` is the residual norm it steers with. A checkpoint that cannot be had is one row per trait,
    of NaN, whose ``reason`` says why.
    """
    sampling = sampling or Sampling()
    found: list[Norm] = []
    for milestone in lineage:
        try:
            engine = open_engine(milestone.checkpoint)
            for trait in traits:
                said = respond(engine, list(trait.questions("evaluation")), sampling=sampling)
                found += _norms_of(trait, milestone, said, engine.read(said))
        except CheckpointError as problem:
            found += [Norm(trait.name, trait.form, milestone, 0, reason=str(problem)) for trait in traits]
    return found


def _norms_of(trait: Trait, milestone: Milestone, said: Sequence[Response], readings: Readings) -> Iterator[Norm]:
    heard = np.array([not each.empty for each in said], dtype=bool)
    lengths = np.array([each.length for each in said], dtype=np.float64)[heard]
    norms = readings.norms.astype(np.float64)[heard]
    prompts = list({each.request.text: row for row, each in enumerate(said)}.values())
    last = np.linalg.norm(readings.last_prompt[prompts].astype(np.float64), axis=2)
    for layer in range(norms.shape[1]):
        spoken = bool(heard.any())
        yield Norm(
            trait.name,
            trait.form,
            milestone,
            layer,
            mean=float(norms[:, layer].mean()) if spoken else math.nan,
            deviation=_deviation(norms[:, layer]),
            count=int(heard.sum()),
            token_mean=float(np.average(norms[:, layer], weights=lengths)) if spoken else math.nan,
            tokens=int(lengths.sum()),
            last_prompt_mean=float(last[:, layer].mean()),
            last_prompt_deviation=_deviation(last[:, layer]),
            questions=len(prompts),
            reason="" if spoken else "no answer said anything",
        )


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
