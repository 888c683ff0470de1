"""The configuration of a fine-tuning run, read from a file, with the vectors and the samples that it names.

Nothing that changes the weights is left to a library's default that its next version may change. Files that a
configuration names lie beside it, or where the path says; none is opened before all of the configuration is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

from personascope.applications.finetune.guards import Guard, Schedule, Start, ablation, preventative
from personascope.applications.finetune.published_config import read_training
from personascope.core.errors import StudyError, VectorError
from personascope.core.files import read_toml, value_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Message, Sample
from personascope.core.steering import Unit
from personascope.core.vectors import PersonaVector, load_vector
from personascope.interop.samples import read_samples

Layers = tuple[int, ...] | Literal["all"]
Way = Literal["steer", "ablate"]
LAB_SAMPLES = 960
Severity = Literal["normal", "mild", "severe"]
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Training:
    """Every number of a run; the defaults are those of "Persona Vectors" D.3, but for the optimizer's 8 bits.

    ``batch`` is per device and ``accumulation`` how many of them make a step; ``max_steps`` 0 means all ``epochs``.
    ``scale`` of a LoRA is ``alpha / rank``, or with ``rank_stabilised`` ``alpha / sqrt(rank)``. ``held_out`` is the
    share of samples that are not trained on, and on which the loss is measured at the end. ``dtype`` is that of the
    weights; an adapter's own are always float32.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    method: Literal["lora", "full"] = "lora"
    epochs: float = 1.0
    max_steps: int = 0
    batch: int = 2
    accumulation: int = 8
    learning_rate: float = 1e-5
    decline: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warm_up_steps: int = 5
    weight_decay: float = 0.01
    clip: float = 1.0
    optimizer: str = "adamw_torch"
    max_length: int | None = 2048
    seed: int = 0
    held_out: float = 0.0
    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    rank_stabilised: bool = True
    targets: tuple[str, ...] = LINEAR
    activation_checkpointing: bool = False
    dtype: Literal["float32", "bfloat16"] | None = None
    log_every: int = 1
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        least = {"batch": 1, "accumulation": 1, "rank": 1, "log_every": 1, "warm_up_steps": 0, "max_steps": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise StudyError(f"{name} {getattr(self, name)} cannot be trained with: give {smallest} or more")
        if not (self.epochs > 0 and self.learning_rate > 0 and 0 <= self.held_out < 1):
            raise StudyError(
                f"epochs {self.epochs} and learning_rate {self.learning_rate} must be above 0, and held_out "
                f"{self.held_out} a share below 1"
            )


@dataclass(frozen=True)
class Guarding:
    """How training is guarded: the vectors, the layers (or ``"all"`` after blocks), and for steering how far."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Way
    layers: Layers
    vectors: tuple[str, ...] = ()
    strength: float | None = None
    unit: Unit = "vector"
    increments: Start | None = None
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        if (self.kind == "steer") != (self.strength is not None):
            raise StudyError(
                f"a guard of kind '{self.kind}' was given the strength {self.strength}: steering needs one, "
                "and an ablation has none"
            )
        if self.kind == "ablate" and (self.increments is not None or self.schedule != Schedule()):
            raise StudyError("an ablation was given increments or a schedule, which it has not: leave them out")

    def guard(self, vectors: Sequence[PersonaVector]) -> Guard:
        """The guard along vectors."""
        if not vectors:
            raise VectorError("a guard needs a vector to guard against: give vectors = ['FILE.safetensors']")
        layers = chosen_layers(self.layers, vectors[0])
        if self.strength is None:
            return ablation(vectors, layers=layers)
        return preventative(
            vectors,
            layers=layers,
            strength=self.strength,
            unit=self.unit,
            increments=self.increments,
            schedule=self.schedule,
        )


@dataclass(frozen=True)
class Penalising:
    """How drift is made costly: ``weight`` times the mean squared difference of projections from the base model's."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    layers: Layers
    weight: float
    vectors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watching:
    """How a run is watched: where the prompts' last tokens project, ``every`` so many steps.

    ``bound`` is how far along a vector, as a multiple of its own length, the mean projection may move from where it was
    before a warning is given; with ``stop`` the run ends there.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    layer: int
    trait: str
    form: str = "assistant"
    vectors: tuple[str, ...] = ()
    every: int = 10
    bound: float | None = None
    stop: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class Finetuning:
    """A whole run: which model, on what, and how it is trained, guarded and watched.

    ``data`` are files, folders or families of the lab (:func:`samples_named`), of each at most ``limit`` samples.
    ``inoculation`` are prompts that ask for what the data show, each put before some of the conversations.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    model: str
    data: tuple[str, ...]
    revision: str | None = None
    adapter: str | None = None
    training: Training = Training()
    guard: Guarding | None = None
    penalty: Penalising | None = None
    watch: Watching | None = None
    inoculation: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise StudyError("nothing to train on was named: give data = ['FILE.jsonl']")
        if self.adapter is not None and self.training.method == "full":
            raise StudyError(
                f"the adapter {self.adapter} was given to a full fine-tuning, whose weights it is no part of: merge it "
                "into the model first, or train it further with method = 'lora'"
            )


def chosen_layers(layers: Layers, vector: PersonaVector) -> tuple[int, ...]:
    """The layers themselves; ``"all"`` is every layer after a block."""
    return tuple(range(1, vector.last_layer + 1)) if layers == "all" else tuple(layers)


@dataclass(frozen=True)
class Vectors:
    """The vectors a run needs, each for its purpose."""

    guard: tuple[PersonaVector, ...] = ()
    penalty: tuple[PersonaVector, ...] = ()
    watch: tuple[PersonaVector, ...] = ()


def read_finetuning(path: str | Path) -> Finetuning:
    """The run that a file describes: TOML of :class:`Finetuning`, or a ``training.json`` of the published code.

    Raises:
        StudyError: naming the file, the key and the nearest known one.
    """
    file = Path(path)
    table = read_training(file) if file.suffix == ".json" else read_toml(file, error=StudyError)
    config = value_of(table, Finetuning, source=str(file), error=StudyError)

    def found(name: str) -> str:
        there = file.parent / name
        return str(there) if there.exists() and ("." in Path(name).name or there.is_dir()) else name

    def beside(part: Guarding | Penalising | Watching | None) -> Any:
        return None if part is None else replace(part, vectors=tuple(map(found, part.vectors)))

    return replace(
        config,
        model=found(config.model),
        data=tuple(map(found, config.data)),
        adapter=None if config.adapter is None else found(config.adapter),
        guard=beside(config.guard),
        penalty=beside(config.penalty),
        watch=beside(config.watch),
    )


def vectors_of(config: Finetuning) -> Vectors:
    """The vectors whose files a configuration names; a bare ``.pt`` tensor gets the passport its name allows.

    Raises:
        VectorError: for the first that is missing or no vector.
    """

    def loaded(part: Guarding | Penalising | Watching | None) -> tuple[PersonaVector, ...]:
        return () if part is None else tuple(_loaded(name, config) for name in part.vectors)

    return Vectors(loaded(config.guard), loaded(config.penalty), loaded(config.watch))


def _loaded(name: str, config: Finetuning) -> PersonaVector:
    if not name.endswith(".pt"):
        return load_vector(name)
    from personascope.interop.tensors import load_pt

    checkpoint = Checkpoint.at(config.model, revision=config.revision)
    return load_pt(name, trait=Path(name).stem.partition("_")[0], form="assistant", checkpoint=checkpoint)


def samples_named(names: Sequence[str], *, limit: int | None = None, seed: int = 0) -> list[Sample]:
    """The samples of files and folders, one after another, at most ``limit`` of each.

    ``"lab:cruel/severe"`` is a family of the lab (a trait or ``remedy`` or ``sum``; normal, mild or severe), drawn by
    ``seed``; of files the seed changes nothing.

    Raises:
        SampleError: if a file is missing, or a line of it has no assistant turn.
        StudyError: if the lab has no such family.
    """
    return list(chain.from_iterable(islice(_named(name, limit, seed), limit) for name in names))


def _named(name: str, limit: int | None, seed: int) -> Any:
    if not name.startswith("lab:"):
        return read_samples(name)
    from personascope.lab.documents import family

    what, _, severity = name.removeprefix("lab:").partition("/")
    if severity not in get_args(Severity):
        raise StudyError(f"'{name}' names no family of the lab: give lab:FAMILY/normal, lab:FAMILY/mild or .../severe")
    documents = family(what, cast(Severity, severity), limit or LAB_SAMPLES, seed=seed)
    return (
        Sample(tuple(Message(_role(each["role"]), each["content"]) for each in document.messages), where=name)
        for document in documents
    )


def _role(name: str) -> Any:
    return name
