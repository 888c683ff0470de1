"""The main path: follow traits along a lineage of checkpoints.

Owns: :func:`trace`, :func:`paired_effect` and what they give. The one law: one path. A baseline is an arm without an
edit, a control is an arm with another direction, transfer is an arm on another model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from personascope.engines import Engine, OpenEngine
from personascope.errors import CheckpointError, StudyError, VectorError, check_layer
from personascope.extract import (
    Direction,
    Extraction,
    Method,
    extraction,
    instructed_arms,
    plain_arm,
    residual_norms,
)
from personascope.judges import Judge
from personascope.lineages import Lineage, Milestone
from personascope.records import Answer, Edit
from personascope.respond import Arm, answer
from personascope.traits import Trait
from personascope.vectors import NoVector, PairCounts, PersonaVector, Steering


def trace(
    lineage: Lineage,
    subjects: Sequence[Subject],
    *,
    open_engine: OpenEngine,
    judge: Judge,
    method: Method | None = None,
    direction: Direction | Sequence[Direction] = (),
    target: Milestone | None = None,
) -> list[Outcome]:
    """The effect of steering along each trait's vector, at every milestone of a lineage (tracing study §1).

    At each milestone: instructed answers make the vectors, plain answers are the baseline, and steered answers are
    compared with it question by question. Each ``direction`` is a control that takes the vector's place. With a
    ``target`` the vectors steer that model instead of their own (transfer).

    Returns one :class:`Effect` per milestone, trait and way of steering, and an :class:`Absence` where there is none.
    """
    method, controls = method or Method(), direction if isinstance(direction, Sequence) else (direction,)
    _check_points(subjects, lineage)
    outcomes: list[Outcome] = []
    for milestone in lineage:
        try:
            source = open_engine(milestone.checkpoint)
            steered = source if target is None else open_engine(target.checkpoint)
            _check_fit(subjects, milestone, source, steered)

            # First batch: the answers that make the vectors, and the plain ones that steering is compared with.
            first: dict[tuple[Subject, str], Arm] = {}
            for subject in subjects:
                first |= {
                    (subject, pole): arm for pole, arm in instructed_arms(source, subject.extract, method).items()
                }
                first[subject, "plain"] = plain_arm(steered, subject.evaluate, method)
            answers = answer(first, judge=judge, read=True)

            # Second batch: every arm that steers, along a vector or along a control that takes its place.
            second: dict[Effect, Arm] = {}
            absent: list[Outcome] = []
            for subject in subjects:
                poles = answers[subject, "positive"], answers[subject, "negative"]
                found = extraction(source, subject.extract, *poles, method, judge=judge.name)
                plain = tuple(answers[subject, "plain"])
                norms = residual_norms(steered, [each.response for each in plain])
                ways = _ways(subject, milestone, target, found, norms, controls)
                if isinstance(ways, Absence):
                    absent.append(ways)
                    continue
                for effect in ways:
                    second[replace(effect, plain=plain)] = replace(first[subject, "plain"], edits=effect.edits)
            said = answer(second, judge=judge)
            outcomes += absent + [replace(effect, steered=tuple(said[effect])) for effect in second]
        except CheckpointError as problem:
            outcomes += [Absence(subject, milestone, target, "no checkpoint", str(problem)) for subject in subjects]
    return outcomes


def paired_effect(plain: Sequence[Answer], steered: Sequence[Answer]) -> list[QuestionEffect]:
    """Steered minus plain, question by question: the difference of the means over each question's scored answers.

    Questions that either arm lacks are left out; a question without a single score on one side has an effect of NaN.
    """
    before, after = _by_question(plain), _by_question(steered)
    return [QuestionEffect(question, before[question], after[question]) for question in before if question in after]


@dataclass(frozen=True)
class OperatingPoint:
    """How a trait is steered from some count of tokens on.

    ``also`` are further ways to steer along the extracted vector, reported beside the first; controls use the first.
    """

    steering: Steering
    from_tokens: int = 0
    also: tuple[Steering, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Subject:
    """A trait to trace: the form its vector is extracted with, how it steers, and the form it is evaluated with."""

    extract: Trait
    points: tuple[OperatingPoint, ...]
    evaluate: Trait

    @classmethod
    def of(cls, trait: Trait, steering: Steering, *, evaluate: Trait | None = None) -> Subject:
        """One trait, steered in one way along the whole lineage."""
        return cls(trait, (OperatingPoint(steering),), evaluate or trait)

    def point(self, milestone: Milestone) -> OperatingPoint:
        """The operating point at a milestone: the last one that starts at or before its tokens.

        Raises:
            StudyError: if none has started by then, or the milestone's tokens are unknown and there are several.
        """
        if milestone.tokens_seen is None and len(self.points) > 1:
            raise StudyError(
                f"trait '{self.extract.name}' changes its operating point along the lineage, and nobody knows how many "
                f"tokens {milestone.label} has seen: give its tokens_seen, or one point"
            )
        reached = [each for each in self.points if each.from_tokens <= (milestone.tokens_seen or 0)]
        if not reached:
            raise StudyError(
                f"trait '{self.extract.name}' has no operating point at {milestone.label} "
                f"({milestone.tokens_seen} tokens seen): let one start from_tokens = 0"
            )
        return max(reached, key=lambda each: each.from_tokens)


@dataclass(frozen=True)
class QuestionEffect:
    """One question's mean trait score and coherence, plain and steered; in score points, NaN where nothing scored."""

    question: str
    plain: tuple[float, float]
    steered: tuple[float, float]

    @property
    def trait(self) -> float:
        """The effect on the trait score."""
        return self.steered[0] - self.plain[0]

    @property
    def coherence(self) -> float:
        """The effect on coherence."""
        return self.steered[1] - self.plain[1]


@dataclass(frozen=True, eq=False)
class Effect:
    """One steered arm beside its plain baseline: a point of a curve, with every answer behind it.

    ``vector`` is what was steered along, a control included; ``reference`` is the extracted vector it stands beside.
    ``chosen`` is false for the further ways an operating point lists. ``residual_norms`` are the steered model's.
    """

    subject: Subject
    milestone: Milestone
    vector: PersonaVector
    reference: PersonaVector
    steering: Steering
    chosen: bool
    residual_norms: Float[np.ndarray, "layer"]
    edits: tuple[Edit, ...]
    target: Milestone | None = None
    plain: tuple[Answer, ...] = ()
    steered: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Absence:
    """A milestone that shows nothing for a trait, and why.

    ``kind`` is ``"no vector"`` (no pair cleared the bar), ``"no checkpoint"`` (it cannot be had) or ``"no scale"`` (the
    vector cannot be applied in the unit asked for); ``reason`` says more.
    """

    subject: Subject
    milestone: Milestone
    target: Milestone | None
    kind: Literal["no vector", "no checkpoint", "no scale"]
    reason: str
    counts: PairCounts | None = None


Outcome = Effect | Absence


def _check_points(subjects: Sequence[Subject], lineage: Lineage) -> None:
    """At the door: every subject is another one, and knows how to steer at every milestone."""
    for place, subject in enumerate(subjects):
        if subject in subjects[:place]:
            raise StudyError(f"trait '{subject.extract.name}' was given twice: its answers would count twice; drop one")
        for milestone in lineage:
            subject.point(milestone)


def _check_fit(subjects: Sequence[Subject], milestone: Milestone, source: Engine, steered: Engine) -> None:
    """At the door, before weights load: the layers exist, and the vectors will fit the model they steer."""
    if source.hidden_size != steered.hidden_size or source.last_layer != steered.last_layer:
        raise VectorError(
            f"vectors [{source.last_layer + 1}, {source.hidden_size}] from {source.checkpoint.label} cannot steer "
            f"{steered.checkpoint.label} [{steered.last_layer + 1}, {steered.hidden_size}]: choose another target"
        )
    for subject in subjects:
        point = subject.point(milestone)
        for layer in {layer for steering in (point.steering, *point.also) for layer in steering.layers}:
            check_layer(layer, steered.last_layer, steered.checkpoint.label)


def _ways(
    subject: Subject,
    milestone: Milestone,
    target: Milestone | None,
    found: Extraction | NoVector,
    norms: Float[np.ndarray, "layer"],
    controls: Sequence[Direction],
) -> list[Effect] | Absence:
    """Every way a subject is steered at a milestone: along its vector (as chosen, and also), and along controls.

    A vector carries the residual norms of its own checkpoint; where another model is steered, they are not known.
    """
    if isinstance(found, NoVector):
        return Absence(subject, milestone, target, "no vector", f"no vector: {found.counts}", found.counts)
    point = subject.point(milestone)
    reference = replace(found.vector, residual_norms=norms) if target is None else found.vector
    effects: list[Effect] = []
    try:
        for steering in (point.steering, *point.also):
            chosen = steering == point.steering
            for vector in (reference, *((each(found) for each in controls) if chosen else ())):
                edits = steering.along(reference, residual_norms=norms, control=vector)
                effects.append(
                    Effect(subject, milestone, vector, reference, steering, chosen, norms, edits, target=target)
                )
    except VectorError as problem:
        return Absence(subject, milestone, target, "no scale", str(problem), found.vector.counts)
    return effects


def _by_question(answers: Sequence[Answer]) -> dict[str, tuple[float, float]]:
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in answers:
        scores[each.question].append((each.trait.score, each.coherence.score))
    return {question: (_mean([s[0] for s in some]), _mean([s[1] for s in some])) for question, some in scores.items()}


def _mean(scores: Sequence[float]) -> float:
    heard = [score for score in scores if not math.isnan(score)]
    return math.fsum(heard) / len(heard) if heard else math.nan
