"""Where fine-tuning moved a model along its persona vectors, and what that did to what it says.

The base and every tuned model are asked the same questions with the same random numbers and are read at the same
tokens, so that all that differs is the weights. Every model is looked at before the first is asked, and one is loaded
at a time.

Source: "Persona Vectors" §4.2: the finetuning shift is the difference of the mean hidden states at the last prompt
token of the trait's evaluation questions, projected on the unit vector at the chosen layer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from personascope.core.errors import CheckpointError, StudyError, VectorError, check_layer
from personascope.core.lineages import Checkpoint
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


@dataclass(frozen=True)
class Tuned:
    """A tuned model: its name for people, where it is, and the group of models that it belongs to."""

    name: str
    checkpoint: Checkpoint
    group: str = ""


@dataclass(frozen=True, eq=False)
class Asking:
    """How models are asked: the judge, the sampling, what is read, and how many random directions stand beside."""

    judge: Judge
    sampling: Sampling
    span: Span = "last_prompt"
    directions: int = 1000
    seed: int = 0


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


def tuned_models(base: Checkpoint, names: Sequence[str]) -> list[Tuned]:
    """The models of names: a folder or repository of weights, a PEFT adapter of the base, or a folder of a run's
    checkpoints (``checkpoint-10``, ``checkpoint-20``, ...), which are taken in their order and make one group.

    Raises:
        CheckpointError: if a folder holds neither, or an adapter says that it is another model's.
        StudyError: if two have one name.
    """
    found = [each for name in names for each in _at(base, name)]
    labels = [each.name for each in found]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise StudyError(f"two models are named '{twice[0]}': give each once, or rename a folder")
    return found


def stand_all(
    base: Engine,
    tuned: Sequence[tuple[Tuned, Engine]],
    watched: Sequence[Watched],
    asking: Asking,
) -> list[Standing]:
    """Where the base and every tuned model stand, the base first; one model's weights are kept at a time."""
    check_related(base, [engine for _, engine in tuned], watched)
    found: list[Standing] = []
    for name, group, engine in (("base", "", base), *((each.name, each.group, engine) for each, engine in tuned)):
        found.append(
            stand(
                engine, watched, name=name, judge=asking.judge, sampling=asking.sampling, span=asking.span, group=group
            )
        )
        engine.close()
    return found


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


def _at(base: Checkpoint, name: str) -> list[Tuned]:
    folder = Path(name)
    if not folder.is_dir():
        return [Tuned(name, Checkpoint.at(name))]
    if (folder / "adapter_config.json").is_file():
        _check_adapter(folder, base)
        adapted = Checkpoint(base.model, base.revision, path=base.path, adapter=str(folder))
        return [Tuned(folder.name, adapted)]
    if (folder / "config.json").is_file():
        return [Tuned(folder.name, Checkpoint.at(folder))]
    inside = [each for each in folder.iterdir() if each.is_dir() and re.fullmatch(r"\D*\d+", each.name)]
    inside = [each for each in inside if any((each / f"{kind}config.json").is_file() for kind in ("adapter_", ""))]
    if not inside:
        raise CheckpointError(
            f"{folder} holds no model (config.json), no PEFT adapter (adapter_config.json) and no checkpoints of a run "
            "(checkpoint-100, ...): check the path"
        )
    ordered = sorted(inside, key=lambda each: int(re.sub(r"\D", "", each.name)))
    steps = [tuned for each in ordered for tuned in _at(base, str(each))]
    return [Tuned(f"{folder.name}/{each.name}", each.checkpoint, folder.name) for each in steps]


def _check_adapter(folder: Path, base: Checkpoint) -> None:
    """Refuses an adapter that says it is of another model than the base."""
    try:
        said = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as problem:
        raise CheckpointError(f"{folder / 'adapter_config.json'} is not readable ({problem}): save it again") from None
    # A snapshot in the Hub's cache lies in a folder named by its commit, below one named by its repository.
    above = [] if base.path is None else [each.name for each in base.path.parents if each.name.startswith("models--")]
    known = {Path(base.path or base.model).name, *(name.rsplit("--", 1)[-1] for name in above)}
    if said and Path(str(said)).name not in known:
        raise CheckpointError(f"{folder} is an adapter of {said}, and the base is {base.label}: give that as the base")
