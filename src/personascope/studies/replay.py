"""Studies of any kind, kept in a store and drawn again from its records alone.

Owns: :func:`keep`, :func:`kept_studies` and :class:`RecordedWorkplace`. The one law: nothing is asked; a study that
needs what no record holds says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.core.errors import CheckpointError, PersonascopeError, StoreError
from personascope.core.files import value_of
from personascope.core.lineages import Checkpoint
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.store.caching import RecordedEngine, RecordedJudge, RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.studies.context import Workplace, facts_of, name_of
from personascope.studies.registry import Chosen, study_in

if TYPE_CHECKING:
    from personascope.applications.finetune.config import Finetuning
    from personascope.applications.finetune.reading import Vectors
    from personascope.applications.finetune.run import Run
    from personascope.core.samples import Sample

_KEPT_OTHERWISE = ("trace", "several")
"""Kinds that are kept in a way of their own, or are made of others that are."""


@dataclass(frozen=True, eq=False)
class RecordedWorkplace(Workplace):
    """A workplace whose engines and judges are not there: what the store recorded of them, and nothing else.

    ``engines`` says of each checkpoint that was opened what it was, or why it was absent.
    """

    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def open_engine(self, checkpoint: Checkpoint | str) -> RememberingEngine:
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

    def tuned(
        self, config: Finetuning, samples: Sequence[Sample], *, base: Checkpoint, vectors: Vectors | None = None
    ) -> Run:
        """The run of a fine-tuning that is kept beside the store.

        Raises:
            StoreError: if it is not there: nothing is trained to draw a figure.
        """
        from personascope.applications.finetune.keeping import kept, place_of
        from personascope.applications.finetune.reading import Vectors

        found = kept(place_of(config, self.models, base=base, vectors=vectors or Vectors(), samples=samples))
        if found is None:
            raise StoreError(
                f"{self.models} does not hold the model tuned on {', '.join(config.data)}, and none is tuned to draw a "
                "figure: run the study again"
            )
        return found

    def open_judge(self, name: str) -> Judge:
        """The record of a judge; no key is needed."""
        judge = open_judge(name, asking=False, open_engine=self.open_engine)
        return RememberingJudge(RecordedJudge(judge, self.store), self.store)


@dataclass(frozen=True)
class Kept:
    """A study of a store, and the engines it opened."""

    chosen: Chosen
    engines: Mapping[str, Mapping[str, Any]]


def keep(chosen: Chosen, place: Workplace) -> None:
    """Keeps a study that was run in a workplace in its store, so that it can be drawn again."""
    if chosen.kind in _KEPT_OTHERWISE:
        return
    # What a study names lies beside its file, wherever it is drawn from.
    source = str(Path(chosen.source).absolute())
    about = {"kind": chosen.kind, "name": chosen.name, "table": chosen.table, "source": source}
    engines = {name: facts_of(engine) for name, engine in place.opened.items()}
    place.store.keep_study(chosen.name, json.loads(json.dumps({"study": about, "engines": engines}, default=str)))


def kept_studies(store: Store) -> list[tuple[str, Kept | PersonascopeError]]:
    """The studies that :func:`keep` kept in a store, by name; or why one cannot be read any more: a file is gone.

    The others are :func:`personascope.studies.run.finished_studies`.
    """
    found: list[tuple[str, Kept | PersonascopeError]] = []
    for each in store.studies():
        about = each["study"]
        if "table" not in about:
            continue
        try:
            found.append((about["name"], Kept(study_in(about["table"], source=about["source"]), each["engines"])))
        except PersonascopeError as problem:
            found.append((about["name"], problem))
    return found
