"""Trained models that are kept: the same run is not trained twice.

Owns: :func:`trained` and :func:`kept`. The one law: a folder is taken for a run's only if it was made from the same
weights, numbers, vectors and samples, wherever they lie and whatever they are called; so a changed number trains anew,
and a killed study goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from personascope.applications.finetune.config import Finetuning
from personascope.applications.finetune.reading import Vectors
from personascope.applications.finetune.run import Run, finetune
from personascope.applications.finetune.saving import PASSPORT
from personascope.applications.finetune.trainers import Told
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Sample

_NAMES: Final = ("model", "revision", "adapter", "data", "limit")
"""What a configuration calls things that are given themselves, as weights and samples."""


def trained(
    config: Finetuning,
    folder: Path,
    *,
    base: Checkpoint,
    vectors: Vectors,
    samples: Sequence[Sample],
    device: str | None = None,
    told: Told | None = None,
) -> Run:
    """The run of a configuration, from the folder of kept models if it was trained before.

    Every run has a folder of its own in ``folder``, named by what it depends on. ``base`` is the configuration's model
    as its engine resolved it.
    """
    out = place_of(config, folder, base=base, vectors=vectors, samples=samples)
    return kept(out) or finetune(config, out, vectors=vectors, samples=samples, device=device, told=told)


def place_of(
    config: Finetuning, folder: Path, *, base: Checkpoint, vectors: Vectors, samples: Sequence[Sample]
) -> Path:
    """Where the run of a configuration is kept, if it was trained: a folder named by what it depends on."""
    configuration = {name: value for name, value in asdict(config).items() if name not in _NAMES}
    said = {
        "base": [base.model, base.revision, base.adapter_revision],
        "configuration": json.loads(json.dumps(configuration)),
        "vectors": {name: [each.digest for each in some] for name, some in vars(vectors).items()},
        "samples": [[message.table for message in sample.messages] for sample in samples],
    }
    return folder / key_of("finetuning", said)[:16]


def kept(out: Path) -> Run | None:
    """The run that is kept in a folder; ``None`` if there is none."""
    file = out / PASSPORT
    if not file.is_file():
        return None
    passport = json.loads(file.read_text(encoding="utf-8"))
    found = passport["run"]
    return Run(
        out,
        tuple((int(step), float(loss)) for step, loss in found["losses"]),
        float("nan") if found["held_out_loss"] is None else float(found["held_out_loss"]),
        tuple(found["projections"]),
        bool(found["stopped_early"]),
        passport,
    )
