"""Kinds of study: what a study file can ask for, a small module each.

Owns: :func:`open_study` and :class:`Chosen`. The one law: a kind is the module of its name, with ``FILES``, ``read``,
``run`` and ``counts``; nothing else knows which kinds there are.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from personascope.core.errors import StudyError, nearest
from personascope.core.files import bundled, check_name, found_beside, read_toml

if TYPE_CHECKING:
    from personascope.studies.context import Report, Workplace

_BESIDE = frozenset({"workplace", "recorded"})
"""Modules of this package that are no kind."""


class Kind(Protocol):
    """What a kind's module has.

    It may also have ``files(study)``, where what is written depends on the study, and ``cost(study)``: what the judge
    will take, as anything that prints as a sentence, or None where it costs nothing.
    """

    FILES: tuple[str, ...]
    """The files it writes in its folder: whether they can be is checked before anything runs."""

    def read(self, table: dict[str, Any], *, source: str) -> Any:
        """The study that a file's whole table describes, ``kind`` included; ``source`` is the file."""

    def run(self, study: Any, place: Workplace) -> Report:
        """Runs a study: asks through the workplace's ports and writes in its folder."""

    def counts(self, study: Any) -> dict[str, int]:
        """What a study asks for at most: ``responses``, ``verdicts``, ``tokens``, ``loads`` and others of its own."""


@dataclass(frozen=True)
class Chosen:
    """A study of any kind: its kind's module, what was read, and the file it was read from.

    ``budget`` is the most that its judge and writers may take, as ``--budget`` gives it; empty for no bound.
    """

    kind: str
    name: str
    module: Any
    study: Any
    table: dict[str, Any]
    source: str
    budget: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that it writes in its folder."""
        own = getattr(self.module, "files", None)
        return tuple(own(self.study) if own is not None else self.module.FILES)

    def run(self, place: Workplace) -> Report:
        """Runs the study in a workplace."""
        report: Report = self.module.run(self.study, place)
        return report

    def counts(self) -> dict[str, int]:
        """What it asks for, at most; opens no model."""
        counted: dict[str, int] = self.module.counts(self.study)
        return counted

    def cost(self) -> str:
        """About what the judge's calls will take, in words; says plainly where nobody knows."""
        if not hasattr(self.module, "cost"):
            asked = self.counts().get("verdicts", 0)
            judge = getattr(self.study, "judge", "")
            if judge == "lab" or judge.startswith("engine:") or not asked:
                return "costs nothing"
            return (
                f"{asked:,} calls of {judge or 'a judge'} at most, whose cost is not estimated for kind '{self.kind}'"
            )
        found = self.module.cost(self.study)
        return str(found) if found is not None else "costs nothing"

    def changed(self, **options: Any) -> Chosen:
        """The same study with some of its fields replaced, those that are not None.

        Raises:
            StudyError: if its kind has no such field.
        """
        given = {name: value for name, value in options.items() if value is not None}
        known = [field.name for field in dataclasses.fields(self.study)]
        for name in given:
            if name not in known:
                raise StudyError(
                    f"'{name}' was given for {self.source}, a study of kind '{self.kind}', which has no such thing: "
                    "leave it out"
                )
        if not given:
            return self
        return dataclasses.replace(self, study=dataclasses.replace(self.study, **given), table=self.table | given)


def kinds() -> list[str]:
    """The kinds of study that exist.

    Example:
        >>> "trace" in kinds()
        True
    """
    found = (each.name for each in pkgutil.iter_modules(__path__))
    return sorted(each for each in found if each not in _BESIDE and not each.startswith("_"))


def open_study(name: str | Path) -> Chosen:
    """A bundled study of any kind by name, or the one in a TOML file.

    Raises:
        StudyError: naming the file, the key and the nearest known one.

    Example:
        >>> open_study("lab").kind
        'trace'
    """
    known = bundled("studies")
    if not str(name).endswith(".toml") and str(name) not in known:
        raise StudyError(f"study '{name}' is neither bundled nor a .toml file; {nearest(str(name), known)}")
    path = known.get(str(name), Path(name))
    return study_in(read_toml(path, error=StudyError), source=str(path))


def study_in(table: dict[str, Any], *, source: str) -> Chosen:
    """The study that a table (of a TOML file, or kept in a store) describes.

    Raises:
        StudyError: if its kind does not exist, naming the nearest one, or the kind refuses it.
    """
    kind, known = table.get("kind"), kinds()
    if kind not in known:
        raise StudyError(f"{source}: a study of kind '{kind}' was asked for; {nearest(str(kind), known)}")
    module = importlib.import_module(f"personascope.studies.registry.{kind}")
    study = module.read({key: value for key, value in table.items() if key != "budget"}, source=source)
    budget = table.get("budget", "")
    if not isinstance(budget, (str, int, float)):
        raise StudyError(f'{source}: budget: give US dollars, as in "5.00", or "200000 tokens"')
    called = str(getattr(study, "name", "") or Path(source).stem)
    check_name(called, "study", StudyError)
    return Chosen(str(kind), called, module, study, table, source, str(budget))


def beside(name: str, source: str) -> str:
    """A file or folder that a study names, beside its own: :func:`personascope.core.files.found_beside`."""
    return found_beside(name, Path(source).parent)
