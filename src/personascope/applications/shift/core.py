"""Where fine-tuning moved a model along its persona vectors, and what that did to what it says.

Owns: :class:`Watched`, :class:`Standing`, :func:`stand` and :func:`check_related`. The one law: the base and every
tuned model are asked the same questions with the same random numbers and are read at the same tokens, so that all that
differs is the weights.

Source: "Persona Vectors" §4.2: the finetuning shift is the difference of the mean hidden states at the last prompt
token of the trait's evaluation questions, projected on the unit vector at the chosen layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from personascope.core.errors import StudyError, VectorError, check_layer
from personascope.core.records import Answer, Sampling, Span
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer


@dataclass(frozen=True, eq=False)
class Watched:
    """A trait whose questions are asked, the vector that is projected on, and the layer at which."""

    trait: Trait
    vector: PersonaVector
    layer: int

    @property
    def unit(self) -> Float[np.ndarray, "hidden"]:
        """The unit direction of the vector at the layer.

        Raises:
            LayerError: if there is no such layer.
            VectorError: if it has no length there.
        """
        return self.vector.unit(self.layer)


@dataclass(frozen=True, eq=False)
class Standing:
    """A model on every watched trait's evaluation questions.

    ``means[trait]`` is the mean activation over questions at every layer; ``answers[trait]`` are its plain answers with
    their verdicts.
    """

    name: str
    means: Mapping[str, Float[np.ndarray, "layer hidden"]]
    answers: Mapping[str, Sequence[Answer]]
    group: str = ""


def stand(
    engine: Engine,
    watched: Sequence[Watched],
    *,
    name: str,
    judge: Judge,
    sampling: Sampling,
    span: Span = "last_prompt",
    group: str = "",
) -> Standing:
    """A model's plain answers to the evaluation questions of every watched trait, and where it stands while it answers.

    ``span`` is what is read: the last prompt token as in the paper, or the response. Answers weigh the same within a
    question, and questions within a trait; an empty answer has no response to read and is left out.
    """
    check_names([each.trait for each in watched])
    arms = {
        each.trait.name: Arm(engine, each.trait, tuple(map(Prompt, each.trait.questions("evaluation"))), sampling)
        for each in watched
    }
    answers = answer(arms, judge=judge, read=True)
    means = {trait: _mean(engine, said, span) for trait, said in answers.items()}
    return Standing(name, means, answers, group or name)


def check_names(traits: Sequence[Trait]) -> None:
    """Refuses two watched traits of one name: their answers could not be told apart."""
    names = [each.name for each in traits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"the trait '{twice[0]}' is watched twice: give each trait once")


def check_related(base: Engine, tuned: Sequence[Engine], watched: Sequence[Watched]) -> None:
    """At the door: every tuned model has the base's shape, and every vector and layer fits it.

    Raises:
        VectorError: for the first model or vector of another shape.
        LayerError: for a layer that the base does not have.
        StudyError: if two traits have one name.
    """
    check_names([each.trait for each in watched])
    shape = (base.last_layer, base.hidden_size)
    for engine in tuned:
        if (engine.last_layer, engine.hidden_size) != shape:
            raise VectorError(
                f"{engine.checkpoint.label} has {engine.last_layer} blocks of width {engine.hidden_size}, and the base "
                f"{base.checkpoint.label} {shape[0]} of {shape[1]}: give models that were tuned from that base"
            )
    for each in watched:
        if each.vector.directions.shape != (shape[0] + 1, shape[1]):
            raise VectorError(
                f"the {each.vector.trait} vector of {each.vector.checkpoint.label} is "
                f"{list(each.vector.directions.shape)} [layer, hidden], and {base.checkpoint.label} has {shape[0]} "
                f"blocks of width {shape[1]}: give a vector of that base"
            )
        check_layer(each.layer, base.last_layer, base.checkpoint.label)
        each.unit  # noqa: B018  # refuses a vector without length


def _mean(engine: Engine, answers: Sequence[Answer], span: Span) -> Float[np.ndarray, "layer hidden"]:
    heard = [each for each in answers if span == "last_prompt" or not each.response.empty]
    if not heard:
        return np.full((engine.last_layer + 1, engine.hidden_size), np.nan)
    rows = engine.read([each.response for each in heard]).span(span).astype(np.float64)
    questions = [each.question for each in heard]
    of = [np.flatnonzero([each == question for each in questions]) for question in dict.fromkeys(questions)]
    mean: np.ndarray = np.mean([rows[places].mean(axis=0) for places in of], axis=0)
    return mean
