"""Where a study runs: its folder, the store in it, and ports that remember.

Owns: :class:`Workplace`, :class:`Table` and :class:`Report`. The one law: a kind of study asks through these ports
alone, so whatever was answered once is not asked again, whoever asked it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from personascope.engines import Engine
from personascope.engines.opening import open_engine
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.lineages import Checkpoint
from personascope.remembering import Notice, RememberingEngine, RememberingJudge, silent
from personascope.store import Store


@dataclass(frozen=True, eq=False)
class Workplace:
    """A folder to write in, a store to remember in, and how models are to be computed.

    ``made`` is told of every file that was written; ``notice`` of progress.
    """

    out: Path
    store: Store
    device: str | None = None
    dtype: str | None = None
    notice: Notice = silent
    made: Callable[[Path], None] = lambda path: None

    def open_engine(self, checkpoint: Checkpoint | str) -> Engine:
        """The engine of a checkpoint; what the store knows is not asked again."""
        engine = open_engine(checkpoint, device=self.device, dtype=self.dtype)
        return RememberingEngine(engine, self.store, notice=self.notice)

    def open_judge(self, name: str) -> Judge:
        """The judge of a name; what the store knows is not asked again."""
        return RememberingJudge(open_judge(name), self.store, notice=self.notice)


@dataclass(frozen=True)
class Table:
    """A table to show: its title, the names of its columns, and its rows as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a study of any kind gives back: tables to show, and the files it wrote."""

    tables: tuple[Table, ...] = ()
    files: tuple[Path, ...] = ()
