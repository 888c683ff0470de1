"""Studies of kind ``trace``: traits followed along a lineage, by :mod:`personascope.studies.trace_study`.

Owns: the face of the main path among the other kinds. The one law: everything it writes can be written again from the
store alone (:mod:`personascope.studies.run`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from personascope.studies import artifacts as drawables
from personascope.studies.context import Report, Workplace

if TYPE_CHECKING:
    import pandas as pd

    from personascope.providers.costs import Estimate
    from personascope.studies.trace_study import Study, StudyResult

FILES: Final = drawables.FILES


@dataclass(frozen=True, eq=False)
class TraceReport(Report):
    """A report with the result behind it, and its effects: one row per arm."""

    result: StudyResult | None = None
    effects: pd.DataFrame | None = None


def read(table: dict[str, Any], *, source: str) -> Study:
    """The study of a table."""
    from personascope.studies.trace_study import study_of

    return study_of(table, source=source).beside(Path(source).parent)


def run(study: Study, place: Workplace) -> TraceReport:
    """Traces, and writes every table and figure."""
    from personascope.studies.run import run_in, write_results

    judge = place.open_judge(study.judge)
    result = run_in(
        place.store,
        study,
        device=place.device,
        dtype=place.dtype,
        engine=place.engine,
        notice=place.notice,
        judge=judge,
        shelf=place.shelf,
    )
    made: list[Path] = []

    def noted(path: Path) -> None:
        made.append(path)
        place.made(path)

    summary = write_results(result, place.out, made=noted)
    return TraceReport(files=tuple(made), result=result, effects=summary)


def counts(study: Study) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most, with what the responses are for."""
    from personascope.engines.opening import open_lineage
    from personascope.studies.planning import plan_study

    plan = plan_study(study, open_lineage(study.lineage))
    parts = ("milestones", "traits", "instructed", "plain", "steered", "selection", "responses", "verdicts", "loads")
    return {name: getattr(plan, name) for name in (*parts, "tokens")}


def cost(study: Study) -> Estimate | None:
    """About what the judge's calls will take, at most; None where the judge costs nothing."""
    from personascope.engines.opening import open_lineage
    from personascope.studies.planning import estimate_study, plan_study

    return estimate_study(study, plan_study(study, open_lineage(study.lineage)))
