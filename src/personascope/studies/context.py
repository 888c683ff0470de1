"""Where a study runs: its output folder, the store that keeps every answer, and the ports it asks through.

:class:`RunContext` asks engines and judges and records their answers. :mod:`personascope.studies.replay` has one that
answers from the records alone, :mod:`personascope.studies.counting` one that counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from personascope.core.errors import CheckpointError
from personascope.core.lineages import Checkpoint, Lineage, load_lineage
from personascope.engines import Engine
from personascope.engines.hub.prefetch import CheckpointCache
from personascope.engines.opening import open_engine, open_lineage
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.store.caching import Notice, RememberingEngine, RememberingJudge, RememberingWriter, silent
from personascope.store.store import Store
from personascope.writers import Writer

if TYPE_CHECKING:
    from personascope.providers.costs import Ledger

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class RunContext:
    """A folder to write in, a store, and how models are computed.

    ``written`` is called with every file that was written, ``notice`` with progress. ``ledger`` counts what calls cost
    and stops them where a budget ends; ``engine`` names what computes models. ``opened`` notes every engine that was
    opened, or why there is none, so that the study can be drawn again from the records alone. ``judges`` are the opened
    ones. Weights come from the ``checkpoint_cache``: a study that follows a lineage gives it the order. ``inputs`` are
    values that a kept study carries in itself, in the place of files that may have changed since.
    """

    out: Path
    store: Store
    device: str | None = None
    dtype: str | None = None
    notice: Notice = silent
    written: Callable[[Path], None] = lambda path: None
    ledger: Ledger | None = None
    opened: dict[str, Engine | str] = field(default_factory=dict)
    engine: str = "transformers"
    judges: list[RememberingJudge] = field(default_factory=list)
    checkpoint_cache: CheckpointCache = field(default_factory=CheckpointCache)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    asks_only: bool = False
    """Whether answers are made up, to be counted: a study may then end once it has asked, and tabulate nothing."""

    def open_engine(self, checkpoint: Checkpoint | str) -> Engine:
        """The engine of a checkpoint; what the store has is not asked again."""
        return RememberingEngine(self._noted(checkpoint), self.store, notice=self.notice)

    def open_judge(self, name: str) -> Judge:
        """The judge of a name; what the store has is not asked again."""
        judge = open_judge(name, meter=self.ledger, open_engine=self._noted)
        if self.ledger is not None:
            self.ledger.check(judge)
        self.judges.append(RememberingJudge(judge, self.store, notice=self.notice))
        return self.judges[-1]

    def open_writer(self, name: str) -> Writer:
        """The writer of a name; what the store has is not asked again."""
        from personascope.writers.opening import open_writer

        return RememberingWriter(open_writer(name, open_engine=self.open_engine), self.store)

    def open_lineage(self, name: str) -> Lineage:
        """The lineage of a name: the one that a kept study carries, else the one that is there now."""
        lineage: Lineage = self.inputs.get("lineage") or open_lineage(name)
        return lineage

    def obtain(
        self,
        what: str,
        *,
        load: Callable[[], Made | None],
        make: Callable[[], Made],
        stand_in: Callable[[], Made],
        called: str = "",
    ) -> Made:
        """Something that is costly to make and kept in a folder, such as a trained model.

        ``load`` gives it if it was made before, else ``None``; ``make`` makes it. ``stand_in`` gives what takes its
        place where a study is only counted. ``what`` names its kind in the plural, as a plan does; ``called`` is this
        one's name in errors.
        """
        found = load()
        return found if found is not None else make()

    @property
    def unasked(self) -> int:
        """How many judgements could not be had: they count as unscored, and another run asks for them."""
        return sum(each.unasked for each in self.judges)

    @property
    def models(self) -> Path:
        """The folder of the models that are trained here, beside the store: what was trained once is not again."""
        return self.store.path.absolute().parent / "models"

    def _noted(self, checkpoint: Checkpoint | str) -> Engine:
        name = name_of(checkpoint)
        try:
            opened = open_engine(checkpoint, device=self.device, dtype=self.dtype, engine=self.engine)
        except CheckpointError as problem:
            self.opened[name] = str(problem)
            raise
        engine = self.opened[name] = self.checkpoint_cache.attach(opened)
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
