"""Traces run on a store, and given again by it, as values."""

from __future__ import annotations

from typing import Any

from personascope.store.store import Store
from personascope.studies.context import RunContext
from personascope.studies.registry import StudyFile, study_in
from personascope.studies.replay import KeptStudy
from personascope.studies.run import keep
from personascope.studies.trace import Study, StudyResult


def trace_study(table: dict[str, Any]) -> Study:
    """The trace that a table describes."""
    study = study_in(table, source="test").study
    assert isinstance(study, Study)
    return study


def run_in(store: Store, study: Study, **how: Any) -> StudyResult:
    """Runs a trace on a store, which keeps it."""
    context = RunContext(store.path.parent, store, **how)
    result = study.result(context)
    keep(StudyFile(study, {}, "test"), context)
    return result


def run_again(store: Store, kept: KeptStudy) -> StudyResult:
    """A kept trace from the records alone."""
    assert isinstance(kept.study, Study)
    return kept.study.result(kept.context(store, store.path.parent))
