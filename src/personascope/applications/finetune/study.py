"""Studies of kind ``finetune``: what fine-tuning teaches a model, and which way of training or asking prevents it.

Owns: :class:`FinetuneStudy` and :class:`Way`. The one law: all ways train on the same samples from the same seeds and
are measured alike; a strength is chosen on the selection questions and reported on the evaluation questions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal

from personascope.applications.finetune.config import Guarding, Penalising, Training
from personascope.applications.finetune.core import Tolerance
from personascope.core.errors import StudyError
from personascope.core.files import check_name, value_of
from personascope.core.records import Bar, Sampling
from personascope.core.vectors import Steering
from personascope.studies.context import Report, Workplace
from personascope.studies.registry import beside

FILES: Final = ("scores.csv", "runs.csv", "ways.csv", "choices.csv", "prevention.png", "prevention.pdf")
PLAIN: Final = "plain"


@dataclass(frozen=True)
class Way:
    """A way to train, or to ask a model that was trained plainly.

    ``guard``, ``penalty`` and ``inoculate`` (a prompt that asks for the trait, drawn from the positive instructions,
    before every sample) change training; with ``random`` a random direction takes the vector's place. ``inference``
    steers the plainly trained model while it answers, and ``negative_prompt`` gives it the trait's first negative
    instruction. ``strengths`` are tried in place of the guard's or the steering's strength or the penalty's weight;
    ``like`` names a way whose chosen strength this one takes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    guard: Guarding | None = None
    penalty: Penalising | None = None
    inoculate: bool = False
    inference: Steering | None = None
    negative_prompt: bool = False
    random: bool = False
    strengths: tuple[float, ...] = ()
    like: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "way", StudyError)
        if (self.strengths or self.like) and self.strength is None:
            raise StudyError(
                f"way '{self.name}' has nothing that strengths are of: give a guard that steers, a penalty"
            )
        if self.asks_plain and (self.guard or self.penalty or self.inoculate):
            raise StudyError(
                f"way '{self.name}' changes both training and asking, and what asks is asked of the plainly trained "
                "model: make two ways of it"
            )
        if any(part is not None and part.vectors for part in (self.guard, self.penalty)):
            raise StudyError(
                f"way '{self.name}' names vectors, and a study guards along the one it extracts: leave them out"
            )
        if self.strengths and self.like:
            raise StudyError(f"way '{self.name}' has strengths and takes that of '{self.like}': leave one out")

    @property
    def asks_plain(self) -> bool:
        """Whether it only asks a plainly trained model in another way."""
        return self.inference is not None or self.negative_prompt

    @property
    def strength(self) -> float | None:
        """The strength it is written with; None where it has none."""
        if self.guard is not None:
            return self.guard.strength
        if self.penalty is not None:
            return self.penalty.weight
        return self.inference.strength if self.inference is not None else None

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer it names; none where it says ``"all"``."""
        parts = (each.layers for each in (self.guard, self.penalty, self.inference) if each is not None)
        return tuple(layer for layers in parts if layers != "all" for layer in layers)

    def at(self, strength: float) -> Way:
        """The same way at another strength."""
        if self.guard is not None and self.guard.strength is not None:
            return replace(self, guard=replace(self.guard, strength=strength))
        if self.penalty is not None:
            return replace(self, penalty=replace(self.penalty, weight=strength))
        if self.inference is not None:
            return replace(self, inference=replace(self.inference, strength=strength))
        return self


@dataclass(frozen=True)
class FinetuneStudy:
    """What a study file of this kind says.

    ``data`` are files, folders or families of the lab, of each at most ``samples``; the lab's are drawn anew by every
    training seed. ``texts`` and ``choices`` are what capability is measured by, as in kind ``capability``. ``limit``
    cuts questions, texts and choices.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Literal["finetune"]
    name: str
    model: str
    judge: str
    trait: str
    data: tuple[str, ...]
    training: Training
    ways: tuple[Way, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    form: str = "assistant"
    others: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int | None = None
    texts: str = ""
    choices: str = ""
    bar: Bar = Bar()
    tolerance: Tolerance = Tolerance()
    limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        names = [way.name for way in self.ways]
        if names[:1] != [PLAIN] or len(set(names)) < len(names) or self.ways[0] != Way(PLAIN):
            raise StudyError(
                f"study '{self.name}' compares {names}: let the first be named 'plain', without guard or prompt, and "
                "each other have a name of its own"
            )
        for place, way in enumerate(self.ways):
            if way.like and not any(each.name == way.like and each.strengths for each in self.ways[:place]):
                raise StudyError(
                    f"way '{way.name}' takes the strength of '{way.like}': let that come first, with strengths"
                )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise StudyError(
                f"study '{self.name}' trains from the seeds {list(self.seeds)}: give one or more, all different"
            )


def read(table: dict[str, Any], *, source: str) -> FinetuneStudy:
    """The study of a table; the files it names lie beside its own."""
    study = value_of(table, FinetuneStudy, source=source, error=StudyError)
    found: Any = {name: beside(getattr(study, name), source) for name in ("model", "trait", "texts", "choices")}
    several: Any = {name: tuple(beside(each, source) for each in getattr(study, name)) for name in ("data", "others")}
    return replace(study, **found, **several)


def counts(study: FinetuneStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most, and how many models are trained."""
    from personascope.core.traits import load_trait

    trait = load_trait(study.trait, form=study.form).limited(study.limit)
    others = [load_trait(each, form=study.form).limited(study.limit) for each in study.others]
    instructed = 2 * len(trait.instructed("positive")) * study.extraction.draws
    norms = len(trait.questions("evaluation")) * study.evaluation.draws
    asked = len(trait.questions("selection")) + sum(len(each.questions("evaluation")) for each in (trait, *others))
    trainings = len(study.seeds) * sum(max(1, len(way.strengths)) for way in study.ways if not way.asks_plain)
    conditions = 1 + len(study.seeds) * sum(max(1, len(way.strengths)) for way in study.ways)
    answered = conditions * asked * study.evaluation.draws
    tokens = instructed * study.extraction.max_tokens + (answered + norms) * study.evaluation.max_tokens
    return {
        "responses": instructed + norms + answered,
        "verdicts": 2 * (instructed + answered),
        "tokens": tokens,
        "loads": 1 + trainings + conditions,
        "trainings": trainings,
    }


def run(study: FinetuneStudy, place: Workplace) -> Report:
    """Trains the model in every way, measures each, and chooses strengths."""
    from personascope.applications.finetune.comparison import compare

    return compare(study, place)
