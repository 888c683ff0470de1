"""Configuration files of fine-tuning runs, and the vectors they name.

Owns: :func:`read_finetuning` and :func:`vectors_of`. The one law: files that a configuration names lie beside it, or
where the path says; and none is opened before all of the configuration is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personascope.applications.finetune.config import Finetuning, Guarding, Penalising, Watching
from personascope.applications.finetune.published_config import read_training
from personascope.core.errors import StudyError
from personascope.core.files import read_toml, value_of
from personascope.core.lineages import Checkpoint
from personascope.core.vectors import PersonaVector, load_vector


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
