"""Studies kept in a store, drawn again from its records alone: nothing is asked and no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personascope.core.errors import CheckpointError, PersonascopeError, StoreError
from personascope.core.files import value_of
from personascope.core.lineages import Checkpoint
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.store.caching import RecordedEngine, RecordedJudge, RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.studies.base import BaseStudy
from personascope.studies.context import Made, RunContext, name_of
from personascope.studies.registry import kind_named
from personascope.studies.run import Report, write_items


@dataclass(frozen=True, eq=False)
class ReplayContext(RunContext):
    """A context whose engines and judges are what the store recorded of them, and nothing else.

    ``engines`` says of each checkpoint that was opened what it was, or why it was absent.
    """

    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def open_engine(self, checkpoint: Checkpoint | str) -> Engine:
        """The record of an engine.

        Raises:
            StoreError: if the study never opened it.
            CheckpointError: if it was absent then.
        """
        if name_of(checkpoint) not in self.engines:
            label = checkpoint if isinstance(checkpoint, str) else checkpoint.label
            raise StoreError(f"the store {self.store.path} has no record of the model {label}: run the study again")
        facts = dict(self.engines[name_of(checkpoint)])
        if "absent" in facts:
            raise CheckpointError(facts["absent"])
        was = value_of(facts.pop("checkpoint"), Checkpoint, source=str(self.store.path), error=StoreError)
        return RememberingEngine(RecordedEngine(was, store=self.store, **facts), self.store)

    def open_judge(self, name: str) -> Judge:
        """The record of a judge; no key is needed."""
        judge = open_judge(name, asking=False, open_engine=self.open_engine)
        return RememberingJudge(RecordedJudge(judge, self.store), self.store)

    def obtain(
        self,
        what: str,
        *,
        load: Callable[[], Made | None],
        make: Callable[[], Made],
        stand_in: Callable[[], Made],
        called: str = "",
    ) -> Made:
        """What was made before.

        Raises:
            StoreError: if it is not there: nothing is made to draw a figure.
        """
        found = load()
        if found is None:
            raise StoreError(
                f"{self.models} does not hold {called or f'one of the {what} of this study'}, and none is made to draw "
                "a figure: run the study again"
            )
        return found


@dataclass(frozen=True, eq=False)
class KeptStudy:
    """A study of a store, with what a replay needs; ``study`` is the reason where it cannot be read any more."""

    name: str
    study: BaseStudy | PersonascopeError
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files it writes."""
        return () if isinstance(self.study, PersonascopeError) else self.study.files()

    def draw(self, store: Store, out: Path, *, written: Callable[[Path], None] = lambda path: None) -> Report:
        """Writes its tables and figures in a folder again.

        Raises:
            StoreError: if the store lacks a record, or the disposable readings were deleted.
            PersonascopeError: if the study could not be read.
        """
        if isinstance(self.study, PersonascopeError):
            raise self.study
        return write_items(self.study, self.context(store, out, written=written))

    def context(self, store: Store, out: Path, *, written: Callable[[Path], None] = lambda path: None) -> ReplayContext:
        """Where it is drawn again: the records of what it opened."""
        return ReplayContext(out, store, written=written, inputs=self.inputs, engines=self.engines)


def kept_studies(store: Store) -> list[KeptStudy]:
    """The studies of a store in the order they were kept, traces first."""
    values = sorted(store.studies(), key=lambda value: value["study"]["kind"] != "trace")
    return [_kept(value, str(store.path)) for value in values]


def _kept(value: dict[str, Any], store: str) -> KeptStudy:
    name, source = str(value["study"]["name"]), f"a study kept in {store}"
    try:
        study, inputs = kind_named(value["study"]["kind"], source=source).from_kept(value, source=source)
    except PersonascopeError as problem:
        return KeptStudy(name, problem)
    return KeptStudy(name, study, value.get("engines", {}), inputs)
