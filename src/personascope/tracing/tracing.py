"""The main path: follow traits along a lineage of checkpoints.

A baseline is an arm without an edit, a control is an arm with another direction, transfer is an arm on another model.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from personascope.core.errors import CheckpointError, StudyError, VectorError, check_layer
from personascope.core.lineages import Lineage, Milestone
from personascope.core.outcomes import Absence as Absence
from personascope.core.outcomes import Effect as Effect
from personascope.core.outcomes import OperatingPoint as OperatingPoint
from personascope.core.outcomes import Outcome as Outcome
from personascope.core.outcomes import Prompted as Prompted
from personascope.core.outcomes import QuestionEffect as QuestionEffect
from personascope.core.outcomes import Subject as Subject
from personascope.core.outcomes import Target
from personascope.core.records import Answer, Response
from personascope.core.steering import Steering
from personascope.core.vectors import NoVector, PersonaVector
from personascope.engines import Engine, OpenEngine
from personascope.judges import Judge
from personascope.tracing.extraction import (
    Direction,
    Extraction,
    Method,
    baseline_arms,
    extraction,
    instructed_arms,
    mean_norms,
)
from personascope.tracing.generation import speak
from personascope.tracing.judging import Listener

_Before = Mapping[tuple[Subject, Target, str], list[Answer]]
_After = Mapping[Effect, list[Answer]]
POLES: Final[tuple[Literal["positive", "negative"], ...]] = ("positive", "negative")


def trace(
    lineage: Lineage,
    subjects: Sequence[Subject],
    *,
    open_engine: OpenEngine,
    judge: Judge,
    method: Method | None = None,
    direction: Direction | Sequence[Direction] = (),
    target: Target | Sequence[Target] = None,
) -> list[Outcome]:
    """The effect of steering along each trait's vector, at every milestone of a lineage (tracing study §1).

    At each milestone: instructed answers make the vectors, plain answers are the baseline, and steered answers are
    compared with it question by question. Each ``direction`` is a control that takes the vector's place. With a
    ``target`` the vectors steer that model instead of their own (transfer); with several, each of them, and their own
    where one is ``None``.

    Returns one :class:`Effect` per milestone, trait and way of steering, and an :class:`Absence` where there is none.
    """
    method, controls = method or Method(), direction if isinstance(direction, Sequence) else (direction,)
    targets = target if isinstance(target, Sequence) else (target,)
    check_points(subjects, lineage)
    found: list[tuple[list[Outcome], _Before, _After]] = []
    with Listener(judge) as listener:  # what was said is judged while the engines go on
        for milestone in lineage:
            try:
                source = open_engine(milestone.checkpoint)
                steered, here = _opened(subjects, milestone, targets, source, open_engine)
                _check_fit(subjects, milestone, source, steered.values())

                # The answers that make the vectors, then the plain ones that steering is compared with.
                instructed = {
                    (subject, pole): arm
                    for subject in subjects
                    for pole, arm in instructed_arms(source, subject.extract, method).items()
                }
                baselines = {
                    (subject, each, name): arm
                    for subject, (each, engine) in itertools.product(subjects, steered.items())
                    for name, arm in baseline_arms(engine, subject.evaluate, method).items()
                }
                answers = speak(instructed, listener=listener, read=True)
                before = speak(baselines, listener=listener, read=True)
                made: dict[Subject, Extraction | NoVector] = {}
                for subject in subjects:
                    positive, negative = (answers[subject, pole] for pole in POLES)
                    made[subject] = extraction(source, subject.extract, positive, negative, method, judge=judge.name)

                # Every arm that steers, along a vector or along a control that takes its place.
                for subject, (each, engine) in itertools.product(subjects, steered.items()):
                    plain = before.responses((subject, each, "plain"))
                    here += _ways(_Place(subject, milestone, each, engine), made, plain, method, controls)
                arms = [each for each in here if isinstance(each, Effect)]
                edited = {
                    each: replace(baselines[each.subject, each.target, "plain"], edits=each.edits) for each in arms
                }
                found.append((here, before, speak(edited, listener=listener)))
            except CheckpointError as problem:
                found.append((_no_checkpoint(subjects, milestone, targets, problem), {}, {}))
        return [_answered(outcome, before, after) for here, before, after in found for outcome in here]


def paired_effect(plain: Sequence[Answer], steered: Sequence[Answer]) -> list[QuestionEffect]:
    """Steered minus plain, question by question: the difference of the means over each question's scored answers.

    Questions that either arm lacks are left out; a question without a single score on one side has an effect of NaN.
    """
    before, after = _by_question(plain), _by_question(steered)
    return [QuestionEffect(question, before[question], after[question]) for question in before if question in after]


def check_points(subjects: Sequence[Subject], lineage: Lineage) -> None:
    """At the door: every subject is another one, and knows how to steer at every milestone."""
    for place, subject in enumerate(subjects):
        if subject in subjects[:place]:
            raise StudyError(f"trait '{subject.extract.name}' was given twice: its answers would count twice; drop one")
        for milestone in lineage:
            subject.point(milestone)


def _opened(
    subjects: Sequence[Subject],
    milestone: Milestone,
    targets: Sequence[Target],
    source: Engine,
    open_engine: OpenEngine,
) -> tuple[dict[Target, Engine], list[Outcome]]:
    """The engines to steer, and an absence for every subject where a target cannot be had."""
    engines: dict[Target, Engine] = {}
    absent: list[Outcome] = []
    for target in targets:
        try:
            engines[target] = source if target is None else open_engine(target.checkpoint)
        except CheckpointError as problem:
            absent += _no_checkpoint(subjects, milestone, [target], problem)
    return engines, absent


def _no_checkpoint(
    subjects: Sequence[Subject], milestone: Milestone, targets: Sequence[Target], problem: CheckpointError
) -> list[Outcome]:
    return [
        Absence(subject, milestone, target, "no checkpoint", str(problem)) for subject in subjects for target in targets
    ]


def _answered(outcome: Outcome, before: _Before, after: _After) -> Outcome:
    """The outcome with its answers. Nothing earlier needs the verdicts on these, so nothing earlier waits for them."""
    if isinstance(outcome, Absence):
        return outcome
    plain = tuple(before[outcome.subject, outcome.target, "plain"])
    if isinstance(outcome, Effect):
        return replace(outcome, plain=plain, steered=tuple(after[outcome]))
    return replace(outcome, plain=plain, prompted=tuple(before[outcome.subject, outcome.target, outcome.arm]))


def _check_fit(subjects: Sequence[Subject], milestone: Milestone, source: Engine, engines: Iterable[Engine]) -> None:
    """At the door, before weights load: the layers exist, and the vectors will fit the models they steer."""
    for subject, steered in itertools.product(subjects, engines):
        if source.hidden_size != steered.hidden_size or source.last_layer != steered.last_layer:
            raise VectorError(
                f"vectors [{source.last_layer + 1}, {source.hidden_size}] from {source.checkpoint.label} cannot steer "
                f"{steered.checkpoint.label} [{steered.last_layer + 1}, {steered.hidden_size}]: choose another target"
            )
        point = subject.point(milestone)
        for layer in {layer for steering in (point.steering, *point.also) for layer in steering.layers}:
            check_layer(layer, steered.last_layer, steered.checkpoint.label)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where arms are steered: a subject at a milestone, on an engine."""

    subject: Subject
    milestone: Milestone
    target: Target
    engine: Engine


def _ways(
    place: _Place,
    found: Mapping[Subject, Extraction | NoVector],
    plain: Sequence[Response],
    method: Method,
    controls: Sequence[Direction],
) -> list[Outcome]:
    """Every arm beside the plain one: along the vector (as chosen, and also), along controls, and prompted.

    A vector carries the residual norms of its own checkpoint; where another model is steered, they are not known.
    """
    about, mine = (place.subject, place.milestone), found[place.subject]
    heard = place.engine.read([each for each in plain if not each.empty])
    norms = mean_norms(heard)
    counts = mine.counts if isinstance(mine, NoVector) else mine.vector.counts
    prompted: list[Outcome] = [
        Prompted(*about, place.target, pole, counts) for pole in (POLES if method.prompted else ())
    ]
    if isinstance(mine, NoVector):
        return [Absence(*about, place.target, "no vector", f"no vector: {counts}", counts), *prompted]
    reference = replace(mine.vector, residual_norms=norms) if place.target is None else mine.vector
    point, steered = place.subject.point(place.milestone), list[Outcome]()
    try:
        for steering in (point.steering, *point.also):
            chosen = steering == point.steering
            for vector in (reference, *(_drawn(controls, place.subject, found, steering) if chosen else ())):
                edits = steering.along(
                    reference,
                    residual_norms=norms,
                    control=None if vector is reference else vector,
                    plain=heard.response,
                )
                steered.append(Effect(*about, vector, reference, steering, chosen, norms, edits, target=place.target))
    except VectorError as problem:
        return [Absence(*about, place.target, "no scale", str(problem), counts), *prompted]
    return steered + prompted


def _drawn(
    controls: Sequence[Direction],
    subject: Subject,
    found: Mapping[Subject, Extraction | NoVector],
    steering: Steering,
) -> list[PersonaVector]:
    """The vectors that take a subject's vector's place; where increments are steered along, they are made of those."""
    known = {each: one for each, one in found.items() if isinstance(one, Extraction)}
    made = {each: one.incremental() for each, one in known.items()} if steering.increments else known
    others = [one for each, one in made.items() if each is not subject]
    return [vector for control in controls for vector in control(made[subject], others)]


def _by_question(answers: Sequence[Answer]) -> dict[str, tuple[float, float]]:
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in answers:
        scores[each.question].append((each.trait.score, each.coherence.score))
    return {question: (_mean([s[0] for s in some]), _mean([s[1] for s in some])) for question, some in scores.items()}


def _mean(scores: Sequence[float]) -> float:
    heard = [score for score in scores if not math.isnan(score)]
    return math.fsum(heard) / len(heard) if heard else math.nan
