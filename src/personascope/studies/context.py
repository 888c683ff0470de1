"""Where a study runs: its folder, the store in it, and ports that remember.

Owns: :class:`Workplace`, :class:`Table` and :class:`Report`. The one law: a kind of study asks through these ports
alone, so whatever was answered once is not asked again, whoever asked it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.core.errors import CheckpointError
from personascope.core.lineages import Checkpoint, load_lineage
from personascope.engines import Engine
from personascope.engines.opening import open_engine
from personascope.engines.shelf import Shelf
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.store.caching import Notice, RememberingEngine, RememberingJudge, silent
from personascope.store.store import Store

if TYPE_CHECKING:
    from personascope.applications.finetune.config import Finetuning
    from personascope.applications.finetune.reading import Vectors
    from personascope.applications.finetune.run import Run
    from personascope.core.samples import Sample
    from personascope.providers.costs import Ledger


@dataclass(frozen=True, eq=False)
class Workplace:
    """A folder to write in, a store to remember in, and how models are to be computed.

    ``made`` is told of every file that was written; ``notice`` of progress. ``ledger`` counts what calls of a judge
    take, and stops them where a budget ends; ``engine`` is what computes models. ``opened`` notes every engine that was
    asked for, or why there is none: with it a study can be drawn again from the records alone. ``judges`` are the
    opened ones. Weights come from the ``shelf``: a kind that walks a lineage tells it the order.
    """

    out: Path
    store: Store
    device: str | None = None
    dtype: str | None = None
    notice: Notice = silent
    made: Callable[[Path], None] = lambda path: None
    ledger: Ledger | None = None
    opened: dict[str, Engine | str] = field(default_factory=dict)
    engine: str = "transformers"
    judges: list[RememberingJudge] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)

    def open_engine(self, checkpoint: Checkpoint | str) -> Engine:
        """The engine of a checkpoint; what the store knows is not asked again."""
        return RememberingEngine(self._noted(checkpoint), self.store, notice=self.notice)

    def open_judge(self, name: str) -> Judge:
        """The judge of a name; what the store knows is not asked again."""
        judge = open_judge(name, meter=self.ledger, open_engine=self._noted)
        if self.ledger is not None:
            self.ledger.check(judge)
        self.judges.append(RememberingJudge(judge, self.store, notice=self.notice))
        return self.judges[-1]

    @property
    def unasked(self) -> int:
        """How many verdicts could not be had: they count as unscored, and another run asks for them."""
        return sum(each.unasked for each in self.judges)

    @property
    def models(self) -> Path:
        """The folder of the models that are tuned here, beside the store: what was tuned once is not tuned again."""
        return self.store.path.absolute().parent / "models"

    def tuned(
        self, config: Finetuning, samples: Sequence[Sample], *, base: Checkpoint, vectors: Vectors | None = None
    ) -> Run:
        """The run of a fine-tuning: the one that is there, if all it depends on is the same, else a new one.

        ``base`` is the configuration's model as its engine resolved it.
        """
        from personascope.applications.finetune.keeping import trained
        from personascope.applications.finetune.reading import Vectors

        known = vectors or Vectors()
        return trained(config, self.models, base=base, vectors=known, samples=samples, device=self.device)

    def _noted(self, checkpoint: Checkpoint | str) -> Engine:
        name = name_of(checkpoint)
        try:
            opened = open_engine(checkpoint, device=self.device, dtype=self.dtype, engine=self.engine)
        except CheckpointError as problem:
            self.opened[name] = str(problem)
            raise
        engine = self.opened[name] = self.shelf.serve(opened)
        return engine


def checkpoint_named(model: str, revision: str = "") -> Checkpoint:
    """The checkpoint that a study names: a folder's, a repository's, or the lab's (its last, or the one of a label).

    Raises:
        LineageError: if the lab has no milestone and no post-trained model of that label.
    """
    if model != "lab" or Path("lab").is_dir():
        return Checkpoint.at(model, revision=revision or None)
    lineage = load_lineage("lab")
    if not revision:
        return lineage.milestones[-1].checkpoint
    targets = [each.label for each in lineage.targets]
    return (lineage.target(revision) if revision in targets else lineage.only((revision,)).milestones[0]).checkpoint


def name_of(checkpoint: Checkpoint | str) -> str:
    """What tells checkpoints apart before they are opened."""
    return checkpoint if isinstance(checkpoint, str) else json.dumps(asdict(checkpoint), default=str, sort_keys=True)


def facts_of(engine: Engine | str) -> dict[str, Any]:
    """What is kept of an engine, or of why there is none, so that a record of it can stand for it."""
    if isinstance(engine, str):
        return {"absent": engine}
    shape = {"last_layer": engine.last_layer, "hidden_size": engine.hidden_size}
    return {"checkpoint": asdict(engine.checkpoint), "identity": dict(engine.identity), **shape}


@dataclass(frozen=True)
class Table:
    """A table to show: its title, the names of its columns, and its rows as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a study of any kind gives back: tables to show, and the files it wrote.

    ``failed`` says of parts that could not be done why not; what was done stands, and the exit code tells.
    """

    tables: tuple[Table, ...] = ()
    files: tuple[Path, ...] = ()
    failed: tuple[str, ...] = ()
