"""Studies of kind ``several``: a list of other studies, run one after the other on one store.

What one part asked no other asks again, and a part that fails stops no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import pandas as pd

from personascope.core.errors import PersonascopeError, StudyError
from personascope.core.files import check_name
from personascope.studies.base import BaseStudy, Failure, Item, Summary, Table, beside
from personascope.studies.context import RunContext
from personascope.studies.registry import StudyFile, open_study
from personascope.studies.run import context_for_part, keep, write_items


@dataclass(frozen=True)
class Several(BaseStudy):
    """Other studies: bundled names, or .toml files beside this one. Each writes in a folder of its name.

    ``judge`` and ``limit`` replace those of every part that has such a thing.
    """

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

    def parts(self) -> list[StudyFile]:
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

    def _changed(self, part: StudyFile) -> StudyFile:
        options = {"judge": self.judge or None, "limit": self.limit}
        return part.changed(**{name: value for name, value in options.items() if hasattr(part.study, name)})

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; its parts are read too, so that what is wrong with one is known before any runs."""
        found = super().read(table, source=source)
        check_name(found.name, "study", StudyError)
        if not found.studies:
            raise StudyError(f'{source}: studies: there are none; name one or more, such as "lab"')
        study = replace(found, studies=tuple(beside(each, source) for each in found.studies))
        study.parts()
        return study

    def files(self) -> tuple[str, ...]:
        """The list, and in each part's folder what that part writes."""
        return ("studies.csv", *(f"{part.name}/{name}" for part in self.parts() for name in part.study.files()))

    def run(self, context: RunContext) -> Iterator[Item]:
        """Runs every part in its folder, all on one store; an error of ours in one is noted, and the others go on."""
        rows: list[tuple[str, ...]] = []
        for part in self.parts():
            written: list[Any] = []
            here = replace(context_for_part(context, part.name), written=written.append)
            context.checkpoint_cache.prefetch_order(())  # the order of one part is not that of the next
            try:
                report = write_items(part.study, here)
                keep(part, here)
                outcome = "; ".join(report.failures) or "done"
                outcome += f"; {here.unasked} verdicts could not be had" if here.unasked else ""
                yield from (Failure(f"{part.name}: {why}") for why in report.failures)
            except PersonascopeError as problem:
                outcome = str(problem)
                yield Failure(f"{part.name}: {problem}")
            context.judges.extend(here.judges)
            rows.append((part.name, part.kind, outcome, str(here.out), str(len(written))))
        columns = ("study", "kind", "outcome", "folder", "files")
        yield Table("studies", pd.DataFrame(rows, columns=columns))
        yield Summary(f"studies of '{self.name}'", columns, tuple(rows))

    def kept(self, context: RunContext, *, table: dict[str, Any], source: str) -> dict[str, Any]:
        """Nothing: each part is kept by itself."""
        return {}

    def counts(self) -> dict[str, int]:
        """The sums over the parts; what two of them ask alike is asked once, so it may be less."""
        counted = [part.study.counts() for part in self.parts()]
        total: Counter[str] = Counter()
        for each in counted:
            total.update(each)
        order = dict.fromkeys(name for each in counted for name in each if name in ("responses", "verdicts"))
        rest = [name for name in ("loads", "tokens") if name in total]
        return {"studies": len(counted), **{name: total[name] for name in (*order, *rest)}}

    def costs(self) -> list[str]:
        """What each part's judges will take."""
        return [f"{part.name}: {cost}" for part in self.parts() for cost in part.study.costs()]
