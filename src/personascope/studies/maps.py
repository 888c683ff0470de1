"""Studies of kind ``maps``: at which layer, how strongly and where in the text must one steer?

Source: "Persona Vectors" B.4, figures 3 and 13, which take the layer of the highest score at each coefficient.

Owns: :class:`MapsStudy`. The one law: maps are of the selection questions, so what is chosen by them can be evaluated
on questions that had no say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from personascope.core.errors import CheckpointError
from personascope.studies.base import Asked, Tracing, Writing, cost_of, read_asked, way
from personascope.studies.context import Report, Table, Workplace
from personascope.studies.trace_study import choose_steering
from personascope.tracing.operating_point import Grid
from personascope.tracing.tracing import Subject

if TYPE_CHECKING:
    from personascope.providers.costs import Estimate

FILES: Final = ("selection.csv", "selection.png", "selection.pdf")


@dataclass(frozen=True, kw_only=True)
class MapsStudy(Asked):
    """Every way of the ``selection`` is tried with each trait's vector at each milestone."""

    kind: Literal["maps"]
    selection: Grid


def read(table: dict[str, Any], *, source: str) -> MapsStudy:
    """The study of a table."""
    study = read_asked(table, MapsStudy, source=source)
    study.trace(selection=study.selection).load_traits()
    return study


def run(study: MapsStudy, place: Workplace) -> Report:
    """Maps every milestone, the last first, and writes the scores with their figure."""
    import pandas as pd

    from personascope.analysis.selection import SELECTION, selection_rows
    from personascope.figures.selection import selection_maps

    tracing, writing = Tracing(study, place), Writing(place)
    trace = study.trace(selection=study.selection)
    subjects = [Subject(extract, (), evaluate) for extract, evaluate in trace.load_traits()]
    frames, chosen = [], []
    for milestone in reversed(tracing.lineage.milestones):
        try:
            engine = tracing.open_engine(milestone.checkpoint)
            found = choose_steering(subjects, trace.method, study.selection, engine, engine, tracing.judge)
        except CheckpointError as problem:
            chosen.append((milestone.label, "", "", f"no checkpoint: {problem}"))
            continue
        frames.append(selection_rows(tuple(found.values())).assign(milestone=milestone.label))
        chosen += [(milestone.label, each.trait, way(each.steering), each.reason) for each in found.values()]
    if not frames:
        raise CheckpointError(f"study '{study.name}': no checkpoint could be had: {chosen[0][-1]}")
    columns = ["milestone", *SELECTION]
    rows = pd.concat(frames[::-1], ignore_index=True)[columns]
    writing.frame("selection.csv", rows)
    writing.figure("selection", selection_maps(rows, floor=study.selection.coherence_floor))
    head = ("milestone", "trait", "way", "why")
    table = Table("how to steer, chosen on the selection questions", head, tuple(chosen))
    return Report((table,), tuple(writing.files))


def counts(study: MapsStudy) -> dict[str, int]:
    """Instructed, plain and steered responses; plain ones are read and not judged."""
    from personascope.engines.opening import open_lineage

    milestones = len(study.cut(open_lineage(study.lineage)))
    instructed = plain = steered = 0
    for extract, evaluate in study.trace(selection=study.selection).load_traits():
        instructed += 2 * len(extract.instructed("positive")) * study.extraction.draws
        plain += len(evaluate.questions("evaluation")) * study.evaluation.draws
        steered += len(study.selection.cells()) * len(evaluate.questions("selection")) * study.selection.draws
    tokens = instructed * study.extraction.max_tokens + (plain + steered) * study.evaluation.max_tokens
    per = {
        "responses": instructed + plain + steered,
        "verdicts": 2 * (instructed + steered),
        "loads": 1,
        "tokens": tokens,
    }
    return {name: milestones * count for name, count in per.items()}


def cost(study: MapsStudy) -> Estimate | None:
    """About what the judge takes."""
    return cost_of(study.trace(selection=study.selection), counts(study)["verdicts"])
