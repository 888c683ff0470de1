"""Studies of kind ``facets``: what kinds of a trait do answers show, and can the judge be believed about it?

Owns: :class:`FacetsStudy`. The one law: rates are taken over answers drawn evenly from questions, and stand beside an
agreement with labels that somebody else gave.

Source: tracing study §5.2, whose answers are those instructed to show the trait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from personascope.core.errors import CheckpointError, StudyError, nearest
from personascope.core.facets import FacetSet, load_facets
from personascope.core.lineages import Lineage, Milestone
from personascope.core.traits import Trait
from personascope.studies.along_series import UNSTEERED, Asked, Tracing, Writing, cost_of, read_asked
from personascope.studies.context import Report, Table, Workplace
from personascope.studies.registry import beside

if TYPE_CHECKING:
    import pandas as pd

    from personascope.providers.costs import Estimate

FILES: Final = ("facets.csv", "rates.csv", "facets.png", "facets.pdf", "agreement.csv", "labelled.csv")


@dataclass(frozen=True, kw_only=True)
class FacetsStudy(Asked):
    """Sets of facets, each of a trait among ``traits``; by default all milestones of the lineage.

    ``answers`` are those to the extraction questions under the instructions for the trait, or plain ones to the
    evaluation questions. Those that reach the ``bar`` on trait and coherence are annotated, at most ``per_question`` of
    each question and milestone, by the ``annotator`` if it is another judge. ``labels`` names, by set, a file of
    answers that people labelled. On the lab ``planted`` texts of each facet are written by the grammar, and characters
    of each facet described to the last checkpoint that can be had.
    """

    kind: Literal["facets"]
    sets: tuple[str, ...]
    answers: Literal["instructed", "plain"] = "instructed"
    per_question: int = 5
    annotator: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    planted: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sets or self.per_question < 1 or self.planted < 0:
            raise StudyError(f"study '{self.name}': give one or more sets and answers per question, and planted >= 0")
        if self.planted and self.lineage != "lab":
            raise StudyError(f"study '{self.name}': facets can be planted on the lab alone: give labels instead")

    def cut(self, lineage: Lineage) -> Lineage:
        """The milestones it is about, by default all."""
        return lineage.only(self.milestones) if self.milestones else lineage

    def subjects(self) -> list[tuple[FacetSet, Trait, Trait]]:
        """Each set with its trait: in the form that is instructed, and in the form of plain questions."""
        loaded = self.trace(selection=UNSTEERED).load_traits()
        found = []
        for name in self.sets:
            chosen = load_facets(name)
            mine = [both for both in loaded if both[0].name == chosen.trait]
            if not mine:
                known = [extract.name for extract, _ in loaded]
                raise StudyError(
                    f"study '{self.name}': the facets '{name}' are of trait '{chosen.trait}', which is not among its "
                    f"traits; {nearest(chosen.trait, known)}"
                )
            found += [(chosen, *both) for both in mine]
        return found


def read(table: dict[str, Any], *, source: str) -> FacetsStudy:
    """The study of a table."""
    study = read_asked(table, FacetsStudy, source=source)
    study = replace(
        study,
        sets=tuple(beside(each, source) for each in study.sets),
        labels={name: beside(path, source) for name, path in study.labels.items()},
    )
    known = [chosen.name for chosen, _, _ in study.subjects()]
    for name in study.labels:
        if name not in known:
            raise StudyError(f"{source}: labels of '{name}', which is not one of its sets; {nearest(name, known)}")
    return study


def run(study: FacetsStudy, place: Workplace) -> Report:
    """Asks along the lineage, annotates, and writes rates, their figure and the agreement."""
    import pandas as pd

    from personascope.applications.facets.core import COMMON, GROUP, annotate, facet_curves
    from personascope.applications.facets.figures import facets as draw
    from personascope.applications.facets.labelled import agreements, answered

    tracing, writing = Tracing(study, place), Writing(place)
    annotator = place.open_judge(study.annotator) if study.annotator else tracing.judge
    subjects, rows, absent = study.subjects(), [], list[str]()
    last: Milestone | None = None
    for order, milestone in reversed(list(enumerate(tracing.lineage))):
        try:
            rows.append(answered(study, subjects, milestone, tracing).assign(place=order))
            last = last or milestone
        except CheckpointError as problem:
            absent.append(f"{milestone.label}: {problem}")
    place.cache.prefetch_order(())  # what is asked of the last milestone once more is no step of the walk
    if not rows:
        raise CheckpointError(f"study '{study.name}': no checkpoint could be had: {absent[0]}")
    answers = pd.concat(rows[::-1], ignore_index=True)
    annotations, rates = [], []
    for chosen, _, _ in subjects:
        mine = answers[answers["facet_set"] == chosen.name]
        found = annotate(
            mine, chosen, judge=annotator, by=[GROUP], bar=study.bar, per_question=study.per_question,
            seed=study.seed,
        )  # fmt: skip
        annotations.append(found.drop(columns=list(chosen.names)).assign(facets=_named(found, chosen)))
        rates.append(facet_curves(found, chosen))
    curves = pd.concat(rates, ignore_index=True)
    agreed, labelled = agreements(study, subjects, last, tracing, annotator)
    writing.frame("facets.csv", pd.concat(annotations, ignore_index=True))
    writing.frame("rates.csv", curves)
    writing.figure("facets", draw(curves[curves["over"] != COMMON]))
    writing.frame("agreement.csv", agreed)
    writing.frame("labelled.csv", labelled)
    missing = Table("milestones that could not be had", ("milestone",), tuple((each,) for each in absent))
    return Report((*_tables(curves, agreed), *([missing] if absent else [])), tuple(writing.files))


def counts(study: FacetsStudy) -> dict[str, int]:
    """Answers of every milestone with two verdicts each, and at most as many annotations as may be drawn."""
    from personascope.applications.facets.labelled import labels_of
    from personascope.engines.opening import open_lineage

    milestones = len(study.cut(open_lineage(study.lineage)))
    responses = verdicts = tokens = 0
    for chosen, extract, evaluate in study.subjects():
        instructed = study.answers == "instructed"
        questions = extract.questions("extraction") if instructed else evaluate.questions("evaluation")
        sampling = study.extraction if instructed else study.evaluation
        asked = (len(extract.instructed("positive")) if instructed else len(questions)) * sampling.draws
        drawn = min(asked, study.per_question * len(questions))
        responses += milestones * asked
        tokens += milestones * asked * sampling.max_tokens
        verdicts += milestones * (2 * asked + drawn * len(chosen.rubrics))
        given, described = labels_of(study, chosen, evaluate)
        responses, tokens = responses + described, tokens + described * study.evaluation.max_tokens
        verdicts += (given + described) * len(chosen.rubrics) + 2 * described
    return {"responses": responses, "verdicts": verdicts, "loads": milestones, "tokens": tokens}


def cost(study: FacetsStudy) -> Estimate | None:
    """About what the judge takes, annotations taken to be as dear as scores."""
    return cost_of(study.trace(selection=UNSTEERED), counts(study)["verdicts"])


def _named(found: pd.DataFrame, chosen: FacetSet) -> list[str]:
    """The facets of each row by name; empty where none is shown, or it was not annotated."""
    shown = found[list(chosen.names)].fillna(False).astype(bool).to_numpy()
    return [";".join(name for name, mark in zip(chosen.names, row, strict=True) if mark) for row in shown]


def _tables(curves: pd.DataFrame, agreed: pd.DataFrame) -> tuple[Table, ...]:
    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:.3g}"
        return str(value)

    shares = []
    for names, group in curves.groupby(["facet_set", "over", "milestone"], sort=False):
        one = group.iloc[0]
        said = ", ".join(
            f"{facet} {100 * rate:.0f} %" for facet, rate in zip(group["facet"], group["rate"], strict=True)
        )
        unread = one["refused"] + one["unreadable"] + one["unasked"]
        shares.append(
            (*map(str, names), said if one["answers"] else "", *map(cell, (one["answers"], one["questions"], unread)))
        )
    heads = ("facets", "over", "milestone", "shown", "answers", "questions", "unread")
    columns = ["facet_set", "labels", "facet", "items", "both", "agreement", "chance", "guess", "kappa", "unread"]
    found = tuple(tuple(map(cell, row)) for row in agreed[columns].itertuples(index=False, name=None))
    return (
        Table("the share of answers that show each facet, of those the judge could be read on", heads, tuple(shares)),
        Table("labels that were given, and the judge; 'guess' is how often one of the facets is right by chance",
              tuple(columns), found),
    )  # fmt: skip
