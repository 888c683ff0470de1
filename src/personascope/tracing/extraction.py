"""From contrasting answers to a vector.

Owns: :func:`extract`, the arms it is made of, and what a :class:`Direction` is that takes a vector's place. The method,
from both papers ("Persona Vectors" §2.2, tracing study §1.5): ask every extraction question under instructions for and
against the trait, keep the pairs of answers that clear the bar, and take the difference of their mean activations
over the response tokens. The one law: no pair, no vector; every answer that is not used has a reason, and is counted.

The published code keeps or drops pairs whole; the paper's text keeps each answer on its own, which uses more answers
where one side is hard to get. Both are a :data:`Rule`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from personascope.core.records import Answer, Bar, Pair, Readings, Response, Sampling, Span
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import NoVector, PairCounts, PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer


@dataclass(frozen=True)
class Method:
    """How answers are drawn, and what makes a vector of them: the numbers of a method section.

    With ``prompted`` the trait's instructions alone are an arm too: what steering is to be compared with.
    """

    extraction: Sampling = Sampling(draws=4)
    evaluation: Sampling = Sampling(draws=3)
    bar: Bar = Bar()
    span: Span = "response"
    rule: Rule = "paired"
    prompted: bool = False


@dataclass(frozen=True, eq=False)
class Extraction:
    """A vector with the difference of every kept pair, of which it is the mean: what controls are made from."""

    vector: PersonaVector
    differences: Float[np.ndarray, "pair layer hidden"]

    def incremental(self) -> Extraction:
        """The same of what every layer adds to the one below: see :meth:`PersonaVector.incremental`."""
        before = np.concatenate([np.zeros_like(self.differences[:, :1]), self.differences[:, :-1]], axis=1)
        return Extraction(self.vector.incremental(), self.differences - before)


def extract(
    engine: Engine, trait: Trait, *, judge: Judge | None, method: Method | None = None
) -> PersonaVector | NoVector:
    """The persona vector of a trait at a checkpoint, with its passport; or the counts that say why there is none.

    Without a judge every pair is kept, and the passport says so. The plain answers to the evaluation questions are
    drawn too: they give the residual norms that the unit ``"residual"`` needs.

    Example:
        >>> import personascope as ps
        >>> trait = ps.load_trait("cruel", form="lab").limited(2)
        >>> vector = ps.extract(ps.open_engine("lab"), trait, judge=ps.open_judge("lab"))
        >>> vector.directions.shape
        (5, 64)
    """
    method = method or Method()
    if judge is None:
        method = replace(method, bar=Bar(None, None))
    answers = answer(instructed_arms(engine, trait, method), judge=judge, read=True)
    # Plain answers are only read here, so no judge is asked about them.
    plain = answer({"plain": plain_arm(engine, trait, method)}, judge=None)["plain"]
    name = judge.name if judge is not None else "none: every pair kept"
    found = extraction(engine, trait, answers["positive"], answers["negative"], method, judge=name)
    if isinstance(found, NoVector):
        return found
    return replace(found.vector, residual_norms=residual_norms(engine, [each.response for each in plain]))


def instructed_arms(engine: Engine, trait: Trait, method: Method) -> dict[Literal["positive", "negative"], Arm]:
    """Every extraction question under every instruction for the trait, and under every one against it."""
    return {
        "positive": Arm(engine, trait, trait.instructed("positive"), method.extraction),
        "negative": Arm(engine, trait, trait.instructed("negative"), method.extraction),
    }


def plain_arm(engine: Engine, trait: Trait, method: Method) -> Arm:
    """Every evaluation question with no instruction and no edit: the baseline, and the scale of ``"residual"``."""
    prompts = tuple(Prompt(question) for question in trait.questions("evaluation"))
    return Arm(engine, trait, prompts, method.evaluation)


def baseline_arms(engine: Engine, trait: Trait, method: Method) -> dict[str, Arm]:
    """The plain arm and, where they are asked for, the evaluation questions under the trait's instructions alone.

    Each question is put once under each instruction, for the trait and against it.
    """
    arms = {"plain": plain_arm(engine, trait, method)}
    once = replace(method.evaluation, draws=1)
    for pole in ("positive", "negative") if method.prompted else ():
        prompts = [Prompt(q, getattr(each, pole)) for q in trait.questions("evaluation") for each in trait.contrasts]
        arms[f"prompted-{pole}"] = Arm(engine, trait, tuple(prompts), once)
    return arms


def extraction(
    engine: Engine,
    trait: Trait,
    positive: Sequence[Answer],
    negative: Sequence[Answer],
    method: Method,
    *,
    judge: str = "",
) -> Extraction | NoVector:
    """The vector that two arms of instructed answers give: difference of means over the pairs that clear the bar.

    The mean over pairs is taken in float64, and each response weighs the same whatever its length. ``judge`` is the
    judge's name, for the passport.
    """
    kept = kept_answers(positive, negative, method.bar, rule=method.rule)
    if not kept.positive or not kept.negative:
        return NoVector(trait.name, trait.form, engine.checkpoint, kept.counts)
    differences = kept.differences(engine.read(kept.responses).span(method.span).astype(np.float64))
    vector = PersonaVector(
        differences.mean(axis=0),
        np.full(differences.shape[1], np.nan),
        trait.name,
        trait.form,
        engine.checkpoint,
        method.span,
        counts=kept.counts,
        judge=judge,
        sources=kept.sources,
    )
    return Extraction(vector, differences)


def residual_norms(engine: Engine, responses: Sequence[Response]) -> Float[np.ndarray, "layer"]:
    """The mean L2 norm of the residual stream over response tokens, per layer; each response weighs the same.

    Empty responses do not count; NaN if all are empty.
    """
    return mean_norms(engine.read([response for response in responses if not response.empty]))


def mean_norms(readings: Readings) -> Float[np.ndarray, "layer"]:
    """The mean over answers of their mean residual norms, per layer; NaN of none."""
    if not len(readings):
        return np.full(readings.norms.shape[1], np.nan)
    norms: np.ndarray = readings.norms.astype(np.float64).mean(axis=0)
    return norms


class Direction(Protocol):
    """A control: other directions in the vector's place, everything else the same.

    It is given what was extracted for a trait at a checkpoint, and what was extracted there for the other traits; it
    gives the vectors that take its place, each named by its ``origin``, or none.
    """

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]: ...


Rule = Literal["paired", "independent"]


@dataclass(frozen=True, eq=False)
class Kept:
    """The responses of each pole that clear the bar, and the counts. In pairs, place by place, under ``"paired"``."""

    positive: tuple[Response, ...]
    negative: tuple[Response, ...]
    counts: PairCounts
    rule: Rule

    @property
    def responses(self) -> list[Response]:
        """All of them, in the order that :meth:`differences` takes their activations."""
        return [*self.positive, *self.negative]

    @property
    def sources(self) -> tuple[str, ...]:
        """Their keys; a pair's stand side by side."""
        if self.rule == "paired":
            return tuple(each.key for pair in zip(self.positive, self.negative, strict=True) for each in pair)
        return tuple(each.key for each in self.responses)

    def differences(self, means: Float[np.ndarray, "response layer hidden"]) -> Float[np.ndarray, "pair layer hidden"]:
        """Rows whose mean is the vector, and of which a swapped label turns one around.

        Under ``"paired"`` a row is the difference of a pair. Under ``"independent"`` it is what one answer contributes:
        its distance from the mean of both sides, weighted so that each side counts the same.
        """
        first, second = means[: len(self.positive)], means[len(self.positive) :]
        if self.rule == "paired":
            pairs: np.ndarray = first - second
            return pairs
        middle = (first.mean(axis=0) + second.mean(axis=0)) / 2
        weights = len(means) / len(first), len(means) / len(second)
        return np.concatenate([(first - middle) * weights[0], (middle - second) * weights[1]])


def kept_answers(positive: Sequence[Answer], negative: Sequence[Answer], bar: Bar, *, rule: Rule = "paired") -> Kept:
    """The answers of two arms that clear the bar, by a rule.

    Under ``"paired"`` the counts are of pairs. Under ``"independent"`` they are of answers: a positive one must reach
    the bar's trait score, a negative one stay below 100 minus it, and both must be coherent, each for itself.
    """
    if rule == "paired":
        pairs = [Pair(*both) for both in zip(positive, negative, strict=True)]
        faults = [bar.fault(pair) for pair in pairs]
        chosen = [pair for pair, fault in zip(pairs, faults, strict=True) if not fault]
        sides = tuple(each.positive.response for each in chosen), tuple(each.negative.response for each in chosen)
    else:
        high = [_fault(each, bar, positive=True) for each in positive]
        low = [_fault(each, bar, positive=False) for each in negative]
        faults = high + low
        sides = _without(positive, high), _without(negative, low)
    counts = PairCounts(len(faults), faults.count(""), **Counter(fault for fault in faults if fault))
    return Kept(*sides, counts, rule)


def _without(answers: Sequence[Answer], faults: Sequence[str]) -> tuple[Response, ...]:
    return tuple(each.response for each, fault in zip(answers, faults, strict=True) if not fault)


def _fault(each: Answer, bar: Bar, *, positive: bool) -> str:
    """Why an answer does not clear the bar on its own, in the order in which a pair is held to it; empty if it does."""
    if each.response.empty:
        return "empty"
    asked = [(each.trait, bar.trait), (each.coherence, bar.coherence)]
    if any(verdict.outcome == "unasked" for verdict, points in asked if points is not None):
        return "unasked"
    if any(math.isnan(verdict.score) for verdict, points in asked[:1] if points is not None):
        return "unscored"
    if bar.trait is not None and positive and each.trait.score < bar.trait:
        return "positive_too_low"
    if bar.trait is not None and not positive and each.trait.score >= 100 - bar.trait:
        return "negative_too_high"
    if bar.coherence is not None:
        if math.isnan(each.coherence.score):
            return "unscored"
        if each.coherence.score < bar.coherence:
            return "incoherent"
    return ""
