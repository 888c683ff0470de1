"""Studies of kind ``facets``: what kinds of a trait do answers show, and can the judge be believed about it?

Rates are taken over answers drawn evenly from questions, and stand beside an agreement with labels that somebody else
gave.

Source: tracing study §5.2, whose answers are those instructed to show the trait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from personascope.analysis.agreement import AGREEMENT
from personascope.applications.facets.answers import load_labels
from personascope.applications.facets.core import COMMON, GROUP, annotate, facet_agreement, facet_curves
from personascope.core.errors import CheckpointError, StudyError, nearest
from personascope.core.facets import FacetSet, load_facets
from personascope.core.lineages import Lineage, Milestone
from personascope.core.records import Answer
from personascope.core.tables import frame_of
from personascope.core.traits import Trait
from personascope.judges import Judge
from personascope.studies.along_series import SeriesStudy, Tracing
from personascope.studies.base import Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext
from personascope.tracing.extraction import instructed_arms, plain_arm
from personascope.tracing.generation import Arm, answer

Subjects = Sequence[tuple[FacetSet, Trait, Trait]]


@dataclass(frozen=True, kw_only=True)
class FacetsStudy(SeriesStudy):
    """Sets of facets, each of a trait among ``traits``; by default all milestones of the lineage.

    ``answers`` are those to the extraction questions under the instructions for the trait, or plain ones to the
    evaluation questions. Those that reach the ``bar`` on trait and coherence are annotated, at most ``per_question`` of
    each question and milestone, by the ``annotator`` if it is another judge. ``labels`` names, by set, a file of
    answers that people labelled. On the lab ``planted`` texts of each facet are written by the grammar, and characters
    of each facet described to the last checkpoint that can be had.
    """

    FILES: ClassVar = ("facets.csv", "rates.csv", "facets.png", "facets.pdf", "agreement.csv", "labelled.csv")

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
        loaded = self.as_trace().load_traits()
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

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table, with the files it names found beside its own."""
        study = super().read(table, source=source)
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

    def run(self, context: RunContext) -> Iterator[Item]:
        """Asks along the lineage, annotates, and yields rates, their figure and the agreement."""
        tracing = Tracing(self, context)
        annotator = context.open_judge(self.annotator) if self.annotator else tracing.judge
        subjects, rows, absent = self.subjects(), [], list[str]()
        last: Milestone | None = None
        for order, milestone in reversed(list(enumerate(tracing.lineage))):
            try:
                rows.append(_answered(self, subjects, milestone, tracing).assign(place=order))
                last = last or milestone
            except CheckpointError as problem:
                absent.append(f"{milestone.label}: {problem}")
        context.checkpoint_cache.prefetch_order(())  # asking the last one once more is no step of the walk
        if not rows:
            raise CheckpointError(f"study '{self.name}': no checkpoint could be had: {absent[0]}")
        answers = pd.concat(rows[::-1], ignore_index=True)
        annotated = [
            annotate(
                answers[answers["facet_set"] == chosen.name], chosen, judge=annotator, by=[GROUP], bar=self.bar,
                per_question=self.per_question, seed=self.seed,
            )
            for chosen, _, _ in subjects
        ]  # fmt: skip
        agreed, labelled = _agreements(self, subjects, last, tracing, annotator)
        if context.asks_only:
            return
        sets = [chosen for chosen, _, _ in subjects]
        curves = pd.concat(map(facet_curves, annotated, sets), ignore_index=True)
        named = [
            found.drop(columns=list(chosen.names)).assign(facets=_named(found, chosen))
            for found, chosen in zip(annotated, sets, strict=True)
        ]
        yield Table("facets", pd.concat(named, ignore_index=True))
        yield Table("rates", curves)
        yield Figure("facets", lambda: _drawn(curves))
        yield Table("agreement", agreed)
        yield Table("labelled", labelled)
        yield from _summaries(curves, agreed)
        if absent:
            yield Summary("milestones that could not be had", ("milestone",), tuple((each,) for each in absent))


def _answered(study: FacetsStudy, subjects: Subjects, milestone: Milestone, tracing: Tracing) -> pd.DataFrame:
    """The answers of one milestone, one row each, with what names their curve."""
    engine, method = tracing.open_engine(milestone.checkpoint), study.as_trace().method
    arms = {}
    for chosen, extract, evaluate in subjects:
        if study.answers == "instructed":
            arms[chosen.name] = instructed_arms(engine, extract, method)["positive"]
        else:
            arms[chosen.name] = plain_arm(engine, evaluate, method)
    said = answer(arms, judge=tracing.judge)
    rows = [{"facet_set": name, **_row(each)} for name, some in said.items() for each in some]
    seen = np.nan if milestone.tokens_seen is None else float(milestone.tokens_seen)
    return frame_of(rows).assign(milestone=milestone.label, tokens_seen=seen, stage=milestone.stage)


def _agreements(
    study: FacetsStudy, subjects: Subjects, last: Milestone | None, tracing: Tracing, annotator: Judge
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well the judge finds the labels that were given, set by set, and the annotations of those answers.

    ``labels`` says whose they are: ``people``, the ``grammar`` that wrote the text, or the ``description`` that a model
    answered to. ``guess`` is how often a guess at one of exclusive facets is right.
    """
    tables, items = [], []
    for chosen, _, evaluate in subjects:
        given: dict[str, pd.DataFrame] = {}
        if chosen.name in study.labels:
            given["people"] = load_labels(Path(study.labels[chosen.name]), chosen)[0]
        if study.planted:
            given["grammar"] = _written(chosen, study)
            if last is not None:
                given["description"] = _described(chosen, evaluate, study, last, tracing)
        for whose, labelled in given.items():
            table, found = facet_agreement(labelled, chosen, judge=annotator)
            guess = 1 / len(chosen.names) if chosen.exclusive else np.nan
            tables.append(table.assign(facet_set=chosen.name, labels=whose, guess=guess))
            flags = {f"labelled_{name}": labelled[name].to_numpy() for name in chosen.names}
            items.append(found.assign(facet_set=chosen.name, labels=whose, **flags))
    if not tables:
        nothing = pd.DataFrame(columns=["question", "answer", "facet_set", "labels"])
        return pd.DataFrame(columns=["facet_set", "labels", *AGREEMENT, "chance", "guess", "unread"]), nothing
    return pd.concat(tables, ignore_index=True), pd.concat(items, ignore_index=True)


def _written(chosen: FacetSet, study: FacetsStudy) -> pd.DataFrame:
    """Texts of the lab's grammar, with the facet each was written in."""
    from personascope.lab.planting import planted_texts

    texts = planted_texts(chosen.trait, count=study.planted, seed=study.seed)
    rows = [{"question": each.question, "answer": each.answer, "planted": each.facet} for each in texts]
    return _labelled(frame_of(rows), chosen)


def _described(
    chosen: FacetSet, evaluate: Trait, study: FacetsStudy, milestone: Milestone, tracing: Tracing
) -> pd.DataFrame:
    """What a checkpoint makes of described characters, where it shows the trait: with the facet that was described."""
    from personascope.lab.planting import planted_prompts

    engine = tracing.open_engine(milestone.checkpoint)
    asked = planted_prompts(chosen.trait, evaluate.questions("evaluation"))
    arm = Arm(engine, evaluate, tuple(prompt for _, prompt in asked), study.evaluation)
    said = answer({"described": arm}, judge=tracing.judge)["described"]
    draws = study.evaluation.draws
    rows = frame_of([{**_row(each), "planted": asked[place // draws][0]} for place, each in enumerate(said)])
    shown = rows[(rows["score"] >= (study.bar.trait or 0)) & (rows["coherence"] >= (study.bar.coherence or 0))]
    return _labelled(shown.reset_index(drop=True), chosen)


def _labelled(rows: pd.DataFrame, chosen: FacetSet) -> pd.DataFrame:
    return rows.assign(**{name: rows["planted"] == name for name in chosen.names})


def _row(each: Answer) -> dict[str, object]:
    return {
        "question": each.question,
        "draw": each.draw,
        "answer": each.response.words,
        "score": each.trait.score,
        "coherence": each.coherence.score,
        "response_key": each.response.key,
    }


def _drawn(curves: pd.DataFrame) -> Any:
    from personascope.applications.facets.figures import facets

    return facets(curves[curves["over"] != COMMON])


def _named(found: pd.DataFrame, chosen: FacetSet) -> list[str]:
    """The facets of each row by name; empty where none is shown, or it was not annotated."""
    shown = found[list(chosen.names)].fillna(False).astype(bool).to_numpy()
    return [";".join(name for name, mark in zip(chosen.names, row, strict=True) if mark) for row in shown]


def _summaries(curves: pd.DataFrame, agreed: pd.DataFrame) -> tuple[Summary, ...]:
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
        Summary("the share of answers that show each facet, of those the judge could be read on", heads, tuple(shares)),
        Summary("labels that were given, and the judge; 'guess' is how often one of the facets is right by chance",
              tuple(columns), found),
    )  # fmt: skip
