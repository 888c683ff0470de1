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

from personascope.applications.finetune.config import Finetuning, Vectors, samples_named
from personascope.core.errors import StudyError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Message, Sample
from personascope.studies.context import RunContext

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


def trained_model(
    context: RunContext,
    config: Finetuning,
    samples: Sequence[Sample],
    *,
    base: Checkpoint,
    vectors: Vectors | None = None,
    what: str = "trainings",
) -> Run:
    """The run of a configuration: the one that a study's folder of models holds, else it is trained.

    Every run has a folder of its own there, named by what it depends on. ``base`` is the configuration's model as its
    engine resolved it. ``what`` is what a plan calls such runs.

    Raises:
        StoreError: if a study is drawn again and the model is not there.
    """
    known = vectors or Vectors()
    out = place_of(config, context.models, base=base, vectors=known, samples=samples)

    def make() -> Run:
        from personascope.applications.finetune.run import finetune

        return finetune(config, out, vectors=known, samples=samples, device=context.device)

    def stand_in() -> Run:
        context.open_engine(base).read(())  # a training loads the weights
        return Run(out, (), float("nan"), (), False, {})

    called = f"the model tuned on {', '.join(config.data)}"
    return context.obtain(what, load=lambda: kept(out), make=make, stand_in=stand_in, called=called)


def samples_for(context: RunContext, names: Sequence[str], *, limit: int | None, seed: int) -> list[Sample]:
    """:func:`samples_named`; where a study is only counted, one that stands for them: files may not be there yet."""
    if not context.asks_only:
        return samples_named(names, limit=limit, seed=seed)
    return [Sample((Message("user", f"{[*names]} {limit} {seed}"), Message("assistant", "")))]


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
