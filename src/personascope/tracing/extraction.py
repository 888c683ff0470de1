"""From contrasting answers to a vector.

Owns: :func:`extract`, the arms it is made of, and what a :class:`Direction` is that takes a vector's place. The method,
from both papers ("Persona Vectors" §2.2, tracing study §1.5): ask every extraction question under instructions for and
against the trait, keep the pairs of answers that clear the bar, and take the difference of their mean activations
over the response tokens. The one law: no pair, no vector, and the counts say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from personascope.core.records import Answer, Bar, Readings, Response, Sampling, Span
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer
from personascope.tracing.pairs import Rule, kept_answers


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
