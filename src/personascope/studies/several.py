"""Studies of kind ``several``: a list of other studies, run one after the other on one store.

Owns: :class:`Several`. The one law: what one part asked no other asks again, and a part that fails stops no other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal

from personascope.core.errors import PersonascopeError, StudyError
from personascope.core.files import check_name, value_of, write_text
from personascope.studies.context import Report, Table, Workplace
from personascope.studies.registry import Chosen, beside, open_study

FILES: Final = ("studies.csv",)


@dataclass(frozen=True)
class Several:
    """Other studies: bundled names, or .toml files beside this one. Each writes in a folder of its name.

    ``judge`` and ``limit`` replace those of every part that has such a thing.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Literal["several"]
    name: str
    studies: tuple[str, ...]
    about: str = ""
    judge: str = ""
    limit: int | None = None

    @property
    def lineage(self) -> str:
        """The lineage of all parts, if it is one."""
        named = {getattr(part.study, "lineage", "") for part in self.parts()}
        return named.pop() if len(named) == 1 else ""

    def parts(self) -> list[Chosen]:
        """The studies, read.

        Raises:
            StudyError: if one cannot be read, is itself of this kind, has a budget of its own, or two have one name.
        """
        read = [open_study(each) for each in self.studies]
        for each in read:
            if each.kind == "several":
                raise StudyError(f"study '{self.name}' names '{each.name}', which is itself several: name its parts")
            if each.budget:
                raise StudyError(f"'{each.name}' has a budget of its own in '{self.name}': give one to the whole")
        if twice := [name for name, count in Counter(each.name for each in read).items() if count > 1]:
            raise StudyError(f"study '{self.name}' has two parts named '{twice[0]}': give one another name")
        return [self._changed(each) for each in read]

    def _changed(self, part: Chosen) -> Chosen:
        options = {"judge": self.judge or None, "limit": self.limit}
        return part.changed(**{name: value for name, value in options.items() if hasattr(part.study, name)})


def read(table: dict[str, Any], *, source: str) -> Several:
    """The study of a table; its parts are read too, so that what is wrong with one is said before any runs."""
    found = value_of(table, Several, source=source, error=StudyError)
    check_name(found.name, "study", StudyError)
    if not found.studies:
        raise StudyError(f'{source}: studies: there are none; name one or more, such as "lab"')
    study = replace(found, studies=tuple(beside(each, source) for each in found.studies))
    study.parts()
    return study


def files(study: Several) -> tuple[str, ...]:
    """What is written: the list, and in each part's folder what that part writes."""
    return (*FILES, *(f"{part.name}/{name}" for part in study.parts() for name in part.files))


def run(study: Several, place: Workplace) -> Report:
    """Runs every part in its folder, all on one store; an error of ours in one is noted, and the others go on."""
    from personascope.studies.replay import keep

    rows: list[tuple[str, ...]] = []
    failed: list[str] = []
    for part in study.parts():
        wrote: list[Any] = []
        here = replace(place, out=place.out / part.name, made=wrote.append, opened={}, judges=[])
        place.shelf.prefetch_order(())  # the order of one part is not that of the next
        try:
            report = part.run(here)
            keep(part, here)
            told = "; ".join(report.failed) or "done"
            told += f"; {here.unasked} verdicts could not be had" if here.unasked else ""
            failed += [f"{part.name}: {why}" for why in report.failed]
        except PersonascopeError as problem:
            told = str(problem)
            failed.append(f"{part.name}: {problem}")
        place.judges.extend(here.judges)
        rows.append((part.name, part.kind, told, str(here.out), str(len(wrote))))
    columns = ("study", "kind", "outcome", "folder", "files")
    path = place.out / FILES[0]
    write_text(path, "".join(_line(each) for each in (columns, *rows)))
    place.made(path)
    return Report((Table(f"studies of '{study.name}'", columns, tuple(rows)),), (path,), tuple(failed))


def counts(study: Several) -> dict[str, int]:
    """The sums over the parts; what two of them ask alike is asked once, so it may be less."""
    parts = study.parts()
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.counts())
    order = dict.fromkeys(name for part in parts for name in part.counts() if name in ("responses", "verdicts"))
    rest = [name for name in ("loads", "tokens") if name in total]
    return {"studies": len(parts), **{name: total[name] for name in (*order, *rest)}}


def cost(study: Several) -> str:
    """What each part's judge will take."""
    said = [(part.name, part.cost()) for part in study.parts()]
    priced = [f"{name}: {told}" for name, told in said if told != "costs nothing"]
    return "; ".join(priced) or "costs nothing"


def _line(cells: tuple[str, ...]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell for cell in cells) + "\n"
