"""From a study to its files: the one place where science, store and figures are put together.

Owns: :func:`run_in` and :func:`run_again`. The one law: a study that was finished on a store can be run again from the
store alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from personascope import plugins
from personascope.core.errors import CheckpointError, PluginError, StoreError
from personascope.core.files import value_of
from personascope.core.lineages import Checkpoint, Lineage
from personascope.core.traits import Trait
from personascope.engines import Engine
from personascope.engines.opening import Opener, open_engine, open_lineage
from personascope.engines.shelf import Shelf
from personascope.judges import Judge
from personascope.judges.opening import open_judge
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
    shelf: Shelf | None = None,
    **how: Any,
) -> StudyResult:
    """Runs a study on a store: what it holds is not asked again, and the finished study is kept beside its records.

    ``judge`` is the study's own, opened already (with a budget, for instance). Weights come from the ``shelf``, and
    ``how`` is what :func:`open_engine` is told of device, dtype and engine.

    Raises:
        DiskError: if the shelf has no room for a checkpoint and the models that stay loaded beside it.
    """
    lineage, traits = open_lineage(study.lineage), study.load_traits()
    shelf = shelf or Shelf()
    beside = [target_named(lineage, each).checkpoint for each in study.steered if each != ITSELF]
    shelf.follow([each.checkpoint for each in reversed(study.cut(lineage).milestones)], beside=beside)

    def open_one(checkpoint: Checkpoint | str) -> Engine:
        return shelf.serve(open_engine(checkpoint, **how))

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
        shelf.follow(())  # nobody waits for the next checkpoint any more
    for outcome in result.outcomes:
        if isinstance(outcome, Absence) and outcome.kind == "no checkpoint":
            opened[name_of(outcome.milestone.checkpoint)] = outcome.reason
    engines = {name: facts_of(engine) for name, engine in opened.items()}
    # A milestone that is steered and not traced is needed to run it again.
    whole = any(each.label in study.steered for each in lineage)
    kept = Finished(study, lineage if whole else study.cut(lineage), tuple(traits), engines)
    store.keep_study(study.name, json.loads(json.dumps(asdict(kept), default=str)))
    return result


class Named(Protocol):
    """What a kept study is called."""

    @property
    def name(self) -> str: ...


class KeptStudy(Protocol):
    """A study that a plugin keeps whole in a store, as :meth:`Store.keep_study` takes it: ``study`` names it.

    The plugin's class is a dataclass of all that is kept; ``study`` has a ``kind``, by which it is found among the
    entry points ``personascope.studies.trace_study``.
    """

    @property
    def study(self) -> Named: ...

    def drawable(self, store: Store) -> Drawable:
        """What its files are made of, from the store alone."""


@dataclass(frozen=True)
class Name:
    """The name of a study of which nothing else can be read."""

    name: str


@dataclass(frozen=True)
class Unreadable:
    """A kept study of a kind that no installed package reads, and what to do about it."""

    study: Name
    problem: PluginError

    def drawable(self, store: Store) -> Drawable:
        """Nothing.

        Raises:
            PluginError: always.
        """
        raise self.problem


def finished_studies(store: Store) -> list[Finished | KeptStudy]:
    """The traces that were finished on a store, and the studies that plugins keep there.

    A study whose plugin is missing is :class:`Unreadable`. Studies of other kinds are kept there too: see
    :mod:`personascope.studies.replay`.
    """
    return [_finished(value, store) for value in store.studies() if "table" not in value["study"]]


def _finished(value: dict[str, Any], store: Store) -> Finished | KeptStudy:
    name, kind = value["study"]["name"], value["study"]["kind"]
    try:
        reads: type[Any] = Finished if kind == "trace" else plugins.load(plugins.STUDIES, kind)
    except PluginError as problem:
        return Unreadable(Name(name), PluginError(f"study '{name}' in {store.path}: {problem}"))
    kept: Finished | KeptStudy = value_of(value, reads, source=f"a study kept in {store.path}", error=StoreError)
    return kept


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


def drawable_again(store: Store, kept: Finished | KeptStudy) -> Drawable:
    """What the files of a finished study are made of, from the store alone.

    Raises:
        StoreError: as :func:`run_again`.
        PluginError: if no installed package reads studies of its kind.
    """
    return drawable(run_again(store, kept)) if isinstance(kept, Finished) else kept.drawable(store)
