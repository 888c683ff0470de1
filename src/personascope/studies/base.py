"""The contract of a study: a validated dataclass with one method, ``run``, which yields what it found.

A kind of study is a subclass of :class:`BaseStudy` named by an entry point of the group ``personascope.studies``. It
asks engines and judges through a :class:`~personascope.studies.context.RunContext` and yields items. Files, progress,
resuming, drawing again from records and counting before a run are done here and in :mod:`personascope.studies.run`,
the same for every kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from personascope.core.errors import StudyError
from personascope.core.files import found_beside, value_of

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd

    from personascope.core.traits import Trait
    from personascope.core.vectors import PersonaVector
    from personascope.studies.context import RunContext
    from personascope.studies.counting import Tally


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that are written as ``name.csv``. A function in the place of a frame is called when the file is written."""

    name: str
    rows: pd.DataFrame | Callable[[], pd.DataFrame]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows."""
        return self.rows() if callable(self.rows) else self.rows


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure, written as ``name.png`` and ``name.pdf``. ``draw`` is called when the files are written."""

    name: str
    draw: Callable[[], matplotlib.figure.Figure]


@dataclass(frozen=True)
class Page:
    """A text file with its whole name: a page (``report.html``), a LaTeX table, a TOML file.

    A function in the place of the text is called with the output folder, after the files yielded before were written.
    """

    name: str
    text: str | Callable[[], str]


@dataclass(frozen=True, eq=False)
class VectorFile:
    """A vector, written as ``vectors/name.safetensors``."""

    name: str
    vector: PersonaVector


@dataclass(frozen=True)
class Summary:
    """A small table for the terminal: its title, the names of its columns, and its rows as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Failure:
    """A part that could not be done, and why. What was done stands; the exit code says that something is missing."""

    reason: str


Item = Table | Figure | Page | VectorFile | Summary | Failure


class BaseStudy(ABC):
    """What a study file of one kind says. Subclasses are frozen dataclasses whose fields are the keys of the file.

    Each has the fields ``kind`` and ``name``. ``FILES`` names the files it writes in its folder, so that whether they
    can be written is checked before anything runs.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    FILES: ClassVar[tuple[str, ...]] = ()
    JSON_TABLE: ClassVar[str] = ""
    """The table whose rows ``--json`` prints; empty for all summaries."""

    kind: Any
    name: Any

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study that a file's whole table describes; ``source`` is the file, beside which others are found.

        Raises:
            StudyError: naming the file, the key and the nearest known one.
        """
        return value_of(table, cls, source=source, error=StudyError)

    @abstractmethod
    def run(self, context: RunContext) -> Iterator[Item]:
        """Ask through the context's ports, and yield tables, figures and pages."""

    def files(self) -> tuple[str, ...]:
        """The names of the files it writes in its folder."""
        return self.FILES

    def loaded_traits(self) -> Sequence[Trait]:
        """Every trait whose vector or answers it asks for: counting scripts its answers by their instructions."""
        return ()

    def counts(self) -> dict[str, int]:
        """What it asks for, at most: ``responses``, ``verdicts``, ``tokens``, ``loads`` and what the kind adds."""
        return self.tally.totals()

    def costs(self) -> list[str]:
        """About what each judge's calls will take, at most, in words; none where they cost nothing."""
        from personascope.studies.counting import costs_of

        return costs_of(self.tally)

    @cached_property
    def tally(self) -> Tally:
        """What it asks for, counted once."""
        return self.counted()

    def counted(self, **inputs: Any) -> Tally:
        """What a run on scripted ports asks for, in which every pair is kept; ``inputs`` are those of its context."""
        from personascope.studies.counting import count

        return count(self.run, self.loaded_traits(), inputs=inputs)

    def table(self) -> dict[str, Any]:
        """The study as the table of a file that reads as the same study, with every default written out."""
        found: dict[str, Any] = _without_none(asdict(self))  # type: ignore[call-overload]
        return found

    def kept(self, context: RunContext, *, table: dict[str, Any], source: str) -> dict[str, Any]:
        """What a store keeps of it, beside the engines it opened, so that :meth:`from_kept` gives it again."""
        return {"study": {"kind": self.kind, "name": self.name, "table": table, "source": source}}

    @classmethod
    def from_kept(cls, value: dict[str, Any], *, source: str) -> tuple[BaseStudy, dict[str, Any]]:
        """The study that a store kept, and the inputs of its context; ``source`` is the store."""
        return cls.read(value["study"]["table"], source=value["study"]["source"]), {}


def beside(name: str, source: str) -> str:
    """A file or folder that a study names, beside its own: :func:`personascope.core.files.found_beside`."""
    return found_beside(name, Path(source).parent)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(each) for each in value]
    return value
