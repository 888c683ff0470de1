"""The answers of a study of facets, and the labels its judge is held to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from personascope.analysis.agreement import AGREEMENT
from personascope.applications.facets.answers import load_labels
from personascope.applications.facets.core import facet_agreement
from personascope.core.facets import FacetSet
from personascope.core.lineages import Milestone
from personascope.core.records import Answer
from personascope.core.tables import frame_of
from personascope.core.traits import Trait
from personascope.judges import Judge
from personascope.studies.along_series import UNSTEERED, Tracing
from personascope.tracing.extraction import instructed_arms, plain_arm
from personascope.tracing.generation import Arm, answer

if TYPE_CHECKING:
    from personascope.applications.facets.study import FacetsStudy

Subjects = Sequence[tuple[FacetSet, Trait, Trait]]
_DESCRIPTIONS = 6  # of characters, two to each of a lab trait's three facets


def answered(study: FacetsStudy, subjects: Subjects, milestone: Milestone, tracing: Tracing) -> pd.DataFrame:
    """The answers of one milestone, one row each, with what names their curve."""
    engine, method = tracing.open_engine(milestone.checkpoint), study.trace(selection=UNSTEERED).method
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


def labels_of(study: FacetsStudy, chosen: FacetSet, evaluate: Trait) -> tuple[int, int]:
    """How many labelled answers the judge will be asked about: given ones, and those a model has yet to give."""
    given = len(load_labels(_path(study, chosen), chosen)[0]) if chosen.name in study.labels else 0
    given += len(chosen.names) * study.planted
    return given, len(evaluate.questions("evaluation")) * _DESCRIPTIONS if study.planted else 0


def agreements(
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
            given["people"] = load_labels(_path(study, chosen), chosen)[0]
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


def _path(study: FacetsStudy, chosen: FacetSet) -> Path:
    return Path(study.labels[chosen.name])
