"""Folders of trained models: what a run leaves there, and finding it again, so that the same run is not trained twice.

A folder is taken for a run's only if it was made from the same weights, numbers, vectors and samples, wherever they lie
and whatever they are called; so a changed number trains anew, and a killed study goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from personascope.applications.finetune.config import Finetuning, Vectors
from personascope.core.errors import StudyError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Sample

PASSPORT: Final = "passport.json"
_NAMES: Final = ("model", "revision", "adapter", "data", "limit")
"""What a configuration calls things that are given themselves, as weights and samples."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run did: where it was saved, the loss of every logged step, and where the model moved.

    ``losses`` are (step, nats per response token); under a penalty they hold it. ``held_out_loss`` is NaN where no
    sample was held out. ``projections`` are the rows of :attr:`ProjectionWatch.history`.
    """

    folder: Path
    losses: tuple[tuple[int, float], ...]
    held_out_loss: float
    projections: tuple[dict[str, float], ...]
    stopped_early: bool
    passport: dict[str, Any]

    def last_loss(self, share: float = 0.2) -> float:
        """The mean loss over the last share of the logged steps, in nats."""
        count = max(1, round(share * len(self.losses)))
        return float(np.mean([loss for _, loss in self.losses[-count:]])) if self.losses else float("nan")


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


def check_target(out: Path) -> Path:
    """The folder, if a model can be written there.

    Raises:
        StudyError: if something is there already, or nothing can be written beside it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError(f"{out} is there already and is not written over: give another folder, or move it away")
    above = next(each for each in out.absolute().parents if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise StudyError(f"{out} cannot be written: {above} is no folder you may write in; give another place")
    return out
