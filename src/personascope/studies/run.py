"""From a study to its files: the one place where science, store and figures are put together.

Owns: :func:`run_in` and :func:`run_again`. The one law: a study that was finished on a store can be run again from the
store alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from personascope.core.errors import CheckpointError, StoreError
from personascope.core.files import value_of
from personascope.core.lineages import Checkpoint, Lineage
from personascope.core.traits import Trait
from personascope.engines import Engine
from personascope.engines.hub.prefetch import CheckpointCache
from personascope.engines.opening import Opener, open_engine, open_lineage
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.published.imported import Imported
from personascope.published.imported import answer_rows as imported_answer_rows
from personascope.store.caching import (
    Notice,
    RecordedEngine,
    RecordedJudge,
    RememberingEngine,
    RememberingJudge,
    silent,
)
from personascope.store.store import Store
from personascope.studies.artifacts import Drawable
from personascope.studies.artifacts import drawable as drawable
from personascope.studies.artifacts import write_results as write_results
from personascope.studies.context import facts_of, name_of
from personascope.studies.trace_study import ITSELF, Study, StudyResult, run_study, target_named
from personascope.tracing.tracing import Absence


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished study with all it was run on: what a store keeps of it."""

    study: Study
    lineage: Lineage
    traits: tuple[tuple[Trait, Trait], ...]
    engines: Mapping[str, Mapping[str, Any]]
    """By milestone or target label: the resolved checkpoint, identity and shape, or why it was absent."""


def run_in(
    store: Store,
    study: Study,
    *,
    notice: Notice = silent,
    judge: Judge | None = None,
    shelf: CheckpointCache | None = None,
    **how: Any,
) -> StudyResult:
    """Runs a study on a store: what it holds is not asked again, and the finished study is kept beside its records.

    ``judge`` is the study's own, opened already (with a budget, for instance). Weights come from the ``shelf``, and
    ``how`` is what :func:`open_engine` is told of device, dtype and engine.

    Raises:
        DiskError: if the shelf has no room for a checkpoint and the models that stay loaded beside it.
    """
    lineage, traits = open_lineage(study.lineage), study.load_traits()
    shelf = shelf or CheckpointCache()
    beside = [target_named(lineage, each).checkpoint for each in study.steered if each != ITSELF]
    shelf.prefetch_order([each.checkpoint for each in reversed(study.cut(lineage).milestones)], beside=beside)

    def open_one(checkpoint: Checkpoint | str) -> Engine:
        return shelf.attach(open_engine(checkpoint, **how))

    if judge is None:
        judge = RememberingJudge(open_judge(study.judge, open_engine=open_one), store, notice=notice)
    opener = Opener(
        open_one,
        keep=1 + sum(each != ITSELF for each in study.steered),
        wrap=lambda engine: RememberingEngine(engine, store, notice=notice),
    )
    opened: dict[str, Engine | str] = {}

    def noted(checkpoint: Checkpoint) -> Engine:
        try:
            engine = opened[name_of(checkpoint)] = opener(checkpoint)
        except CheckpointError as problem:
            opened[name_of(checkpoint)] = str(problem)
            raise
        return engine

    try:
        result = run_study(study, lineage, traits, open_engine=noted, judge=judge)
    finally:
        shelf.prefetch_order(())  # nobody waits for the next checkpoint any more
    for outcome in result.outcomes:
        if isinstance(outcome, Absence) and outcome.kind == "no checkpoint":
            opened[name_of(outcome.milestone.checkpoint)] = outcome.reason
    engines = {name: facts_of(engine) for name, engine in opened.items()}
    # A milestone that is steered and not traced is needed to run it again.
    whole = any(each.label in study.steered for each in lineage)
    kept = Finished(study, lineage if whole else study.cut(lineage), tuple(traits), engines)
    store.keep_study(study.name, json.loads(json.dumps(asdict(kept), default=str)))
    return result


def finished_studies(store: Store) -> list[Finished | Imported]:
    """The traces that were finished on a store, and those that were imported into it.

    Studies of other kinds are kept there too: see :mod:`personascope.studies.replay`.
    """
    source = f"a study kept in {store.path}"
    kinds: dict[str, type[Finished | Imported]] = {"trace": Finished, "published": Imported}
    return [
        value_of(value, kinds[value["study"]["kind"]], source=source, error=StoreError)
        for value in store.studies()
        if value["study"]["kind"] in kinds
    ]


def run_again(store: Store, kept: Finished) -> StudyResult:
    """A finished study from the records alone: no model, tokenizer, key or network; nothing is asked.

    Raises:
        StoreError: if the store lacks a record, or the disposable readings were deleted.
    """
    asked = open_judge(kept.study.judge, asking=False, open_engine=open_engine)
    judge = RememberingJudge(RecordedJudge(asked, store), store)

    def open_recorded(checkpoint: Checkpoint) -> Engine:
        facts = dict(kept.engines[name_of(checkpoint)])
        if "absent" in facts:
            raise CheckpointError(facts["absent"])
        was = value_of(facts.pop("checkpoint"), Checkpoint, source=str(store.path), error=StoreError)
        return RememberingEngine(RecordedEngine(was, store=store, **facts), store)

    return run_study(kept.study, kept.lineage, kept.traits, open_engine=open_recorded, judge=judge)


def drawable_again(store: Store, kept: Finished | Imported) -> Drawable:
    """What the files of a finished or an imported study are made of, from the store alone.

    Raises:
        StoreError: as :func:`run_again`.
    """
    if isinstance(kept, Finished):
        return drawable(run_again(store, kept))
    return Drawable(imported_answer_rows(store, kept), kept.vectors(store), pd.DataFrame())
