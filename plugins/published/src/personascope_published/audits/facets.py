"""Facets of answers that were chosen otherwise than at random.

Owns: :func:`find_facets` and :func:`series_of`. The one law: a share of facets is compared between milestones only on
questions that all of them have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.agreement import on_common_questions
from personascope_published.audits.evidence import Evidence
from personascope_published.audits.extraction import question_of
from personascope_published.audits.findings import Finding, Kind, named
from personascope_published.reading import FacetFile

FEW = Kind(
    "facets sampled from few questions",
    "{cut_files} of {files} files of {name} held exactly {cut_at} answers{head}, so they covered "
    "{most_questions} questions at {most_at} and {least_questions} at {least_at}: a trend along training is one "
    "of questions too",
    "{matched}; the other answers were never annotated",
)
TINY = Kind(
    "facet shares of few answers",
    "in {name} the shares at {which} rested on fewer than 20 answers",
    "a Wilson interval of such a share is 40 percentage points wide and more: draw it",
)
FEWEST = 20
"""Answers behind a share."""
TRAIT = 50.0
"""Score points: only answers above were annotated."""


@dataclass(frozen=True)
class Series:
    """The annotation files of one model along training: what they are called without their revision, in order."""

    model: str
    name: str
    files: tuple[FacetFile, ...]

    @property
    def rows(self) -> pd.DataFrame:
        """All annotated answers, with ``revision`` and ``asked``, the question."""
        parts = [
            each.rows.assign(revision=each.revision, asked=question_of(each.rows["question_id"])) for each in self.files
        ]
        return pd.concat(parts, ignore_index=True)


def find_facets(evidence: Evidence) -> Iterator[Finding]:
    """Per series of annotation files along training."""
    for series in series_of(evidence):
        yield from _few(evidence, series)
        tiny = [each for each in series.files if len(each.rows) < FEWEST]
        if tiny:
            words = {
                "name": series.name,
                "which": named(f"{each.revision} ({len(each.rows)} answers)" for each in tiny),
            }
            numbers = {"files": len(tiny), "least": min(len(each.rows) for each in tiny)}
            details = [{"revision": each.revision, **_shares(each.rows, each.facets)} for each in tiny]
            yield TINY.found([each.file for each in tiny], "number", numbers, words=words, details=details)


def series_of(evidence: Evidence) -> list[Series]:
    """The annotation files that differ in nothing but their revision, in order of training; at least two."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[FacetFile]] = {}
    for each in evidence.study.facets():
        if each.revision:
            name = each.name.removesuffix(f"_{each.revision}")
            groups.setdefault((each.model, name, each.facets), []).append(each)
    found = []
    for (model, name, _), members in groups.items():
        order = {milestone.label: place for place, milestone in enumerate(evidence.study.lineage(model))}
        members = sorted(members, key=lambda each: _place(each, order))
        if len(members) > 1:
            found.append(Series(model, name, tuple(members)))
    return found


def _place(file: FacetFile, order: dict[str, int]) -> int:
    return order.get(file.revision, len(order))


def _few(evidence: Evidence, series: Series) -> Iterator[Finding]:
    """A series cut at one number of answers, whose later milestones have fewer questions than others."""
    counts = [len(each.rows) for each in series.files]
    cap, times = Counter(counts).most_common(1)[0]
    rows = series.rows
    asked = rows.groupby("revision", sort=False)["asked"].nunique()
    if times < max(3, len(counts) // 2) or cap < max(counts) or asked.min() > 0.8 * asked.max():
        return
    chosen = [found for each in series.files if (found := _chosen(evidence, each)) is not None]
    cut = [each for each in chosen if each["annotated"] == cap]
    common = on_common_questions(rows, by=["revision"], question="asked")
    numbers = {
        "files": len(counts),
        "cut_at": cap,
        "cut_files": times,
        "most_questions": int(asked.max()),
        "least_questions": int(asked.min()),
        "common_questions": common["asked"].nunique(),
        "compared_with_source": len(cut),
        "first_rows_of_source": sum(each["is_head"] for each in cut),
        "available_most": max((each["available"] for each in chosen), default=0),
    }
    trends = _trends(series, common)
    words = {
        "name": series.name,
        "most_at": str(asked.idxmax()),
        "least_at": str(asked.idxmin()),
        "head": _head(numbers),
        "matched": _matched(trends, numbers["common_questions"]),
    }
    milestones = [_milestone(each, rows, common) for each in series.files]
    details = (*milestones, *trends, *chosen)
    yield FEW.found([each.file for each in series.files], "conclusion", numbers, words=words, details=details)


def _head(numbers: dict[str, Any]) -> str:
    """How the answers were chosen, where that can be told."""
    if not numbers["first_rows_of_source"]:
        return ""
    return (
        f", in {numbers['first_rows_of_source']} of {numbers['compared_with_source']} that can be compared the first "
        f"ones above {TRAIT:g} in the order of the questions (of up to {numbers['available_most']})"
    )


def _matched(trends: list[dict[str, Any]], common: int) -> str:
    if not common:
        return "no question is asked at all milestones, so no trend can be compared"
    told = (
        f"{each['facet']} went from {each['first_common']:.0f} to {each['last_common']:.0f} % (all answers "
        f"{each['first']:.0f} to {each['last']:.0f} %)"
        for each in trends
    )
    return f"on the {common} questions that all milestones have, {'; '.join(told)}"


def _chosen(evidence: Evidence, file: FacetFile) -> dict[str, Any] | None:
    """What the annotated answers were chosen from: are they the first rows above the bar of a file of answers?"""
    column = str(file.rows["column"].iloc[0]) if len(file.rows) else ""
    survey = evidence.survey
    same = (survey["model"] == file.model) & (survey["revision"] == file.revision) & (survey["variant"] == "")
    for source in survey[same & (survey["column"] == column) & (survey["pole"] == "positive")]["file"]:
        held = evidence.answers(source)
        above = held[held["score"] > TRAIT] if held is not None else pd.DataFrame()
        if len(above) >= len(file.rows):
            head = above.head(len(file.rows))
            in_order = head["question_id"].tolist() == file.rows["question_id"].tolist()
            alike = np.allclose(head["score"], file.rows["score"], atol=1e-9, equal_nan=True)
            about = {"annotations": file.file, "answers": source, "annotated": len(file.rows), "available": len(above)}
            return {**about, "is_head": in_order and bool(alike)}
    return None


def _shares(rows: pd.DataFrame, facets: tuple[str, ...]) -> dict[str, float]:
    """The percentage of answers with each facet."""
    return {name: 100 * float(rows[name].mean()) if len(rows) else np.nan for name in facets}


def _milestone(file: FacetFile, rows: pd.DataFrame, common: pd.DataFrame) -> dict[str, Any]:
    """A milestone's questions and shares, on all of them and on the common ones."""
    mine, matched = (frame[frame["revision"] == file.revision] for frame in (rows, common))
    return {
        "revision": file.revision,
        "annotated": len(mine),
        "questions": mine["asked"].nunique(),
        **_shares(mine, file.facets),
        "common_answers": len(matched),
        **{f"{name}_common": share for name, share in _shares(matched, file.facets).items()},
    }


def _trends(series: Series, common: pd.DataFrame) -> list[dict[str, Any]]:
    """Every facet's share at the first and the last milestone, on all their questions and on the common ones."""
    if common.empty:
        return []
    first, final = series.files[0], series.files[-1]
    ends = [_milestone(each, series.rows, common) for each in (first, final)]
    return [
        {
            "facet": name,
            "first": ends[0][name],
            "last": ends[1][name],
            "first_common": ends[0][f"{name}_common"],
            "last_common": ends[1][f"{name}_common"],
        }
        for name in first.facets
    ]
