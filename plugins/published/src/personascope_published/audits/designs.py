"""Comparisons between things that were not set up alike.

Owns: :func:`find_designs`. The one law: what is drawn as one line, or set side by side, should differ in one thing
only; every other difference is found by comparing the rows, the questions and the prompts themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding, Kind, named, places, records, several, span
from personascope_published.audits.rows import FEWEST, ITSELF
from personascope_published.reading import trait_of

SIZES = Kind(
    "milestones with different numbers of answers",
    "the points of {curves} rested on different numbers of steered answers ({which})",
    "questions are the unit of the test, so p-values stay comparable, but a question's mean is noisier the fewer "
    "its draws: draw intervals, and do not read the precise points as the strong ones",
)
STRENGTHS = Kind(
    "strengths mixed within a curve",
    "{trait} on {target} at layer {layer:g} had {milestones} milestones only with strengths mixed ({which}): a "
    "line through them changes with the strength as well as with training",
    "at the strength with the most milestones the curve has {largest} points; draw one line per strength",
)
QUESTIONS = Kind(
    "curves of one vector on different questions",
    "{vectors} vectors were evaluated on {sets} sets of questions that shared none ({one} against {other}), "
    "{rubrics} of them with another judge prompt as well",
    "do not compare the size of effects between the two groups of targets; within a group all were asked the same",
)
COMBINED = Kind(
    "an evaluation set that covers one form of several",
    "all {questions} evaluation questions of {column} were those of {same}, and none was of {absent}",
    "a vector of all forms was evaluated on one form only; read the column as a second judgement of that form",
)
DATES = Kind(
    "prompts that hold different dates",
    "the prompts of {model} held {dates} dates outside the questions ({days}) in {files} files: a template wrote "
    "the current date, and {mixed} of {comparisons} comparisons set prompts of one day against those of another",
    "the answers cannot be drawn again without the model; pin the date in the template",
)


def find_designs(evidence: Evidence) -> Iterator[Finding]:
    """Numbers of answers, strengths, questions and dates that differ where they should not."""
    yield from _sizes(evidence)
    yield from _strengths(evidence)
    yield from _questions(evidence)
    yield from _combined(evidence)
    yield from _dates(evidence)


def _sizes(evidence: Evidence) -> Iterator[Finding]:
    """Pooled cells are another finding and left out."""
    curves = evidence.curves[~evidence.merged(evidence.curves)]
    varied = curves[curves.groupby(["file", "curve"])["steered_rows"].transform("nunique") > 1]
    for file, mine in varied.groupby("file", sort=False):
        counts = mine["steered_rows"].value_counts().sort_index()
        numbers = {"curves": mine["curve"].nunique(), "least": counts.index.min(), "greatest": counts.index.max()}
        told = several(mine["curve"].nunique(), "curve")
        words = {
            "curves": told,
            "which": ", ".join(f"{several(n, 'point')} of {rows:,.0f}" for rows, n in counts.items()),
        }
        details = records(mine, ["file", "row", "curve", "source", "steered_rows"])
        yield SIZES.found([str(file)], "record", numbers, words=words, details=details)


def _strengths(evidence: Evidence) -> Iterator[Finding]:
    """One trait, target and layer at several strengths, none of which covers all milestones they have together."""
    rows = evidence.results[evidence.results["p"].notna() & evidence.results["strength"].notna()]
    elsewhere = rows["evaluated"].where(rows["model"] == rows["source_model"], rows["model"])
    rows = rows.assign(target=elsewhere.mask(rows["steers_itself"].astype(bool), ITSELF))
    for (file, trait, target, layer), mine in rows.groupby(["file", "trait", "target", "layer"], sort=False):
        cover = mine.groupby("strength")["source"].agg(set)
        whole, largest = set().union(*cover), max(map(len, cover))
        if len(cover) < 2 or len(whole) < FEWEST or largest == len(whole):
            continue
        words = {
            "trait": str(trait),
            "target": str(target),
            "which": ", ".join(f"{strength:g}: {len(sources)}" for strength, sources in cover.items()),
        }
        numbers = {"layer": layer, "milestones": len(whole), "largest": largest, "strengths": len(cover)}
        columns = ["file", "row", "source", "strength", "effect", "p", "coherence_change"]
        details = records(mine.sort_values(["place", "strength"]), columns)
        yield STRENGTHS.found([str(file)], "conclusion", numbers, words=words, details=details)


def _questions(evidence: Evidence) -> Iterator[Finding]:
    """The vectors whose targets were asked disjoint questions: their effects are of two evaluations."""
    asked: dict[tuple[str, str], dict[frozenset[str], set[str]]] = {}
    for row in records(evidence.curves.drop_duplicates(["vector", "baseline_file"])):
        held = evidence.answers(row["baseline_file"])
        if held is not None and held["question"].notna().all():
            sets = asked.setdefault((row["source_model"], row["vector"]), {})
            sets.setdefault(frozenset(held["question"]), set()).add(row["target"])
    rubrics = {frozenset(row["questions"]): row["eval_prompt"] for row in records(evidence.study.traits())}
    details: list[dict[str, Any]] = []
    for (model, vector), sets in asked.items():
        if len(sets) > 1 and not any(one & two for one, two in itertools.combinations(sets, 2)):
            prompts = {rubrics[each] for each in sets if each in rubrics}
            targets = [sorted(each) for each in sets.values()]
            details.append({"model": model, "vector": vector, "targets": targets, "rubrics": len(prompts)})
    if details:
        first = details[0]["targets"]
        words = {
            "sets": span([len(each["targets"]) for each in details], ".0f"),
            "one": named(first[0], 2),
            "other": named(first[1], 2),
        }
        numbers = {"vectors": len(details), "rubrics": sum(each["rubrics"] > 1 for each in details)}
        files = sorted(set(evidence.curves["file"]))
        yield QUESTIONS.found(files, "number", numbers, words=words, details=details)


def _combined(evidence: Evidence) -> Iterator[Finding]:
    traits = evidence.study.traits()
    sets = traits[traits["set"] == "eval"]
    asked = {str(row["column"]): frozenset(row["questions"]) for row in records(sets)}
    files = dict(zip(sets["column"], sets["file"], strict=True))
    for column, mine in asked.items():
        trait, form = trait_of(column)
        forms = [other for other in asked if other != column and trait_of(other)[0] == trait]
        forms = [other for other in forms if trait_of(other)[1] != "assistant"]
        same = [other for other in forms if mine <= asked[other]]
        absent = [other for other in forms if not mine & asked[other]]
        if form == "combined" and same and absent:
            words = {"column": column, "same": named(same), "absent": named(absent)}
            yield COMBINED.found([files[column]], "number", {"questions": len(mine)}, words=words)


def _dates(evidence: Evidence) -> Iterator[Finding]:
    dated = evidence.survey[evidence.survey["dates"].map(len) > 0]
    for model, mine in dated.groupby("model"):
        days = sorted({day for held in mine["dates"] for day in held})
        if len(days) < 2:
            continue
        by_file = dict(zip(mine["file"], mine["dates"], strict=True))
        rows = evidence.results[evidence.results["model"] == model]
        apart = rows[_on_other_days(rows, by_file)]
        numbers = {"dates": len(days), "files": len(mine), "mixed": len(apart), "comparisons": len(rows)}
        words = {"model": str(model), "days": named(days)}
        where = (*places(apart), *mine["file"])
        details = [{"file": file, "dates": held} for file, held in by_file.items()]
        yield DATES.found(where, "number" if len(apart) else "record", numbers, words=words, details=details)


def _on_other_days(rows: pd.DataFrame, by_file: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Which rows compare prompts of one day with prompts of another."""
    sides = zip(rows["baseline_file"], rows["steered_file"], strict=True)
    return np.array([by_file.get(one, ()) != by_file.get(two, ()) for one, two in sides], dtype=bool)
