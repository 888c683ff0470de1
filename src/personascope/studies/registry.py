"""Kinds of study by name, and opening a study file.

A kind is an entry point of the group ``personascope.studies`` that names a
:class:`~personascope.studies.base.BaseStudy`; a package of one's own adds one the same way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personascope.core.errors import StudyError, nearest
from personascope.core.files import bundled, check_name, read_toml
from personascope.core.plugins import STUDIES, entry_points, load
from personascope.studies.base import BaseStudy


@dataclass(frozen=True)
class StudyFile:
    """A study of any kind, the table it was read from, and the file that held it.

    ``budget`` is the most that its judge and writers may cost, as ``--budget`` gives it; empty for no bound.
    """

    study: BaseStudy
    table: dict[str, Any]
    source: str
    budget: str = ""

    @property
    def kind(self) -> str:
        """The kind of study."""
        return str(self.study.kind)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.name)

    def cost(self) -> str:
        """About what the judges' calls will take, at most, in words."""
        return "; ".join(self.study.costs()) or "costs nothing"

    def changed(self, **options: Any) -> StudyFile:
        """The same study with some of its fields replaced, those that are not None.

        Raises:
            StudyError: if its kind has no such field.
        """
        given = {name: value for name, value in options.items() if value is not None}
        known = [each.name for each in dataclasses.fields(self.study)]  # type: ignore[arg-type]
        for name in given:
            if name not in known:
                raise StudyError(
                    f"'{name}' was given for {self.source}, a study of kind '{self.kind}', which has no such thing: "
                    "leave it out"
                )
        if not given:
            return self
        study = dataclasses.replace(self.study, **given)  # type: ignore[type-var]
        return dataclasses.replace(self, study=study, table=self.table | given)


def kinds() -> list[str]:
    """The kinds of study that exist.

    Example:
        >>> "trace" in kinds()
        True
    """
    return sorted(entry_points(STUDIES))


def kind_named(kind: Any, *, source: str) -> type[BaseStudy]:
    """The class of a kind of study.

    Raises:
        StudyError: if there is none, naming the nearest one.
    """
    known = kinds()
    if kind not in known:
        raise StudyError(f"{source}: a study of kind '{kind}' was asked for; {nearest(str(kind), known)}")
    found: type[BaseStudy] = load(STUDIES, str(kind))
    return found


def open_study(name: str | Path) -> StudyFile:
    """A bundled study of any kind by name, or the one in a TOML file.

    Raises:
        StudyError: naming the file, the key and the nearest known one.

    Example:
        >>> open_study("lab").kind
        'trace'
    """
    path = study_path(name)
    return study_in(read_toml(path, error=StudyError), source=str(path))


def study_path(name: str | Path) -> Path:
    """Where a study's file lies."""
    known = bundled("studies")
    if not str(name).endswith(".toml") and str(name) not in known:
        raise StudyError(f"study '{name}' is neither bundled nor a .toml file; {nearest(str(name), known)}")
    return known.get(str(name), Path(name))


def study_in(table: dict[str, Any], *, source: str) -> StudyFile:
    """The study that a table (of a TOML file, or kept in a store) describes.

    Raises:
        StudyError: if its kind does not exist, naming the nearest one, or the kind refuses it.
    """
    kind = kind_named(table.get("kind"), source=source)
    study = kind.read({key: value for key, value in table.items() if key != "budget"}, source=source)
    budget = table.get("budget", "")
    if not isinstance(budget, (str, int, float)):
        raise StudyError(f'{source}: budget: give US dollars, as in "5.00", or "200000 tokens"')
    check_name(str(study.name), "study", StudyError)
    return StudyFile(study, table, source, str(budget))
