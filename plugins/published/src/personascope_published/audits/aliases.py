"""Two names for one checkpoint, and answers that stand in two files.

What is counted under two names is one measurement of the model, and the difference between the two is what a repetition
gives. Two revisions are one checkpoint if the lineage says so, if their residual norms are equal at every layer, or if
they gave the same answers word for word; equal tokens alone are no evidence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import SIGNIFICANT, Evidence
from personascope_published.audits.findings import Finding, Kind, greatest, last, named, places, records, several, span
from personascope_published.audits.rows import ITSELF

Copy = tuple[str, str]
"""Two files that hold the same questions and answers in the same order."""


@dataclass
class Twins:
    """Two revisions of a model that are one checkpoint, and why that is so."""

    model: str
    first: str
    second: str
    listed: bool = False
    same_tokens: bool = False
    norm_labels: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, str]:
        """The two revisions, in order of training."""
        return self.first, self.second

    @property
    def reasons(self) -> str:
        """The evidence in words."""
        said = ["the lineage lists them as one"] if self.listed else []
        said += ["equal tokens seen"] if self.same_tokens else []
        said += [f"equal norms at every layer in {several(len(self.norm_labels), 'file')}"] if self.norm_labels else []
        said += [f"the same answers in {several(len(self.copies), 'file')}"] if self.copies else []
        return ", ".join(said)


def copies_in(survey: pd.DataFrame) -> list[Copy]:
    """Every two files whose questions and answers are the same, in the same order."""
    groups = survey[survey["digest"] != ""].groupby("digest")["file"]
    return [pair for _, files in groups for pair in itertools.combinations(sorted(files), 2)]


def twins_in(evidence: Evidence) -> list[Twins]:
    """Every two revisions of a model that are one checkpoint, with all the evidence for it."""
    found: dict[tuple[str, str, str], Twins] = {}

    def twins(model: str, names: tuple[str, str]) -> Twins:
        order = {each.label: place for place, each in enumerate(evidence.study.lineage(model))}
        first, second = sorted(names, key=lambda name: (order.get(name, len(order)), name))
        return found.setdefault((model, first, second), Twins(model, first, second))

    for model in evidence.study.models:
        for names in evidence.aliases(model).items():
            twins(model, names).listed = True
    for model, label, names in _equal_norms(evidence.study.norms()):
        twins(model, names).norm_labels.append(label)
    about = evidence.survey.set_index("file")
    for one, two in copies_in(evidence.survey):
        pair = about.loc[[one, two]]
        # What a steered model says depends on its vector as well, so equal steered answers are another finding.
        if pair["model"].nunique() == 1 and pair["revision"].nunique() == 2 and "steered" not in set(pair["kind"]):
            names = (str(pair["revision"].iloc[0]), str(pair["revision"].iloc[1]))
            twins(str(pair["model"].iloc[0]), names).copies.append((one, two))
    for each in found.values():
        tokens = {evidence.study.place(each.model, name).tokens_seen for name in each.names}
        each.same_tokens = len(tokens) == 1 and None not in tokens
    return list(found.values())


def _equal_norms(table: pd.DataFrame) -> list[tuple[str, str, tuple[str, str]]]:
    """Model, label and the two revisions of norm files of one label that agree at every layer."""
    found = []
    for (model, label), norms in table.groupby(["model", "label"]):
        profiles = {str(revision): tuple(mine["mean"]) for revision, mine in norms.groupby("revision")}
        for (first, mine), (second, theirs) in itertools.combinations(profiles.items(), 2):
            if len(mine) > 1 and mine == theirs:
                found.append((str(model), str(label), (first, second)))
    return found


ALIAS = Kind(
    "alias checkpoints",
    "{first} and {second} of {model} were one checkpoint ({reasons}), and both were counted in {curves} curves, "
    "where their effects differed by {median_difference:.1f} points in the median and up to "
    "{largest_difference:.1f} ({disagree} times one had p < 0.05 and the other not)",
    "count one of them: families shrink by one, and the last step of a trajectory is no step (cosine of the two "
    "vectors {cosines} at the steering layers; taking one or the other for the final one moved a cosine by up to "
    "{swing:.3f}); an effect of one milestone is known to about the difference between the two",
)
CEILING = Kind(
    "a noise ceiling that shares its answers",
    "the {rows} {pole} extraction answers of {column} at {first} and {second} were the same text, so their "
    "cosine of {cosine:.3f} at layer {layer:.0f} ({others} for other traits) is no ceiling of extraction noise: "
    "one of its two sides was not drawn again",
    "take the ceiling from traits whose answers were drawn twice; the shared side cannot be drawn again without "
    "the model",
)
COPIED = Kind(
    "one set of answers in two files",
    "{pairs} pairs of files held the same answers under two names ({which}): they were generated once",
    "the two are one measurement of the model, and only the judgements differ (by {distance} points an answer on "
    "average); what rests on both is not independent",
)


def find_aliases(evidence: Evidence) -> Iterator[Finding]:
    """Per pair of names of one checkpoint, and for files that hold the same answers."""
    twins = twins_in(evidence)
    extraction: set[Copy] = set()
    kinds = dict(zip(evidence.survey["file"], evidence.survey["kind"], strict=True))
    for each in twins:
        cosines = _cosines(evidence, each)
        yield from _counted_twice(evidence, each, cosines)
        for copy in each.copies:
            if kinds[copy[0]] == "extraction":
                extraction.add(copy)
                yield from _ceiling(evidence, each, copy, cosines)
    copies = [each for each in copies_in(evidence.survey) if each not in extraction]
    if copies:
        yield _copied(evidence, copies)


def _counted_twice(evidence: Evidence, twins: Twins, cosines: pd.DataFrame) -> Iterator[Finding]:
    """The curves of the model that have both names, and how far the two lie apart in each."""
    curves = evidence.curves[evidence.curves["source_model"] == twins.model]
    both = curves.groupby(["file", "curve"])["source"].transform(lambda sources: set(twins.names) <= set(sources))
    mine = curves[both.astype(bool) & curves["source"].isin(twins.names)]
    if mine.empty:
        return
    sides = [
        mine[mine["source"] == name].drop_duplicates(["file", "curve"]).set_index(["file", "curve"])
        for name in twins.names
    ]
    beside = pd.DataFrame({
        "target": sides[0]["target"],
        "effect_first": sides[0]["effect"],
        "effect_second": sides[1]["effect"],
        "p_first": sides[0]["p"],
        "p_second": sides[1]["p"],
    }).reset_index()  # fmt: skip
    apart = (beside["effect_first"] - beside["effect_second"]).abs()
    swing = _swing(evidence, twins, cosines)
    numbers = {
        "curves": len(beside),
        "median_difference": apart.median(),
        "largest_difference": apart.max(),
        "largest_difference_on_itself": apart[beside["target"] == ITSELF].max(),
        "disagree": int(((beside["p_first"] < SIGNIFICANT) != (beside["p_second"] < SIGNIFICANT)).sum()),
        "cosine_least": cosines["cosine"].min(),
        "cosine_greatest": cosines["cosine"].max(),
        "swing": swing,
    }
    words = {
        "first": twins.first,
        "second": twins.second,
        "model": twins.model,
        "reasons": twins.reasons,
        "cosines": span(cosines["cosine"], ".3f"),
    }
    details = (*records(beside), *records(cosines))
    yield ALIAS.found(places(mine), "conclusion", numbers, words=words, details=details)


def _cosines(evidence: Evidence, twins: Twins) -> pd.DataFrame:
    """The cosine of the two vectors of each trait column at the layers it is steered at."""
    curves = evidence.curves[evidence.curves["source_model"] == twins.model]
    used = curves[["vector", "layer"]].dropna().drop_duplicates().sort_values(["vector", "layer"])
    found = [evidence.cosine(twins.model, row["vector"], *twins.names, layer=row["layer"]) for row in records(used)]
    return used.assign(cosine=found).dropna().reset_index(drop=True)


def _swing(evidence: Evidence, twins: Twins, cosines: pd.DataFrame) -> float:
    """By how much a cosine to the final vector depends on which of the two names is taken for it."""
    others = [each.label for each in evidence.study.lineage(twins.model) if each.label not in twins.names]
    moved = [0.0]
    for row in records(cosines):
        for name in others:
            ends = [evidence.cosine(twins.model, row["vector"], name, end, layer=row["layer"]) for end in twins.names]
            moved.append(abs(ends[0] - ends[1]))
    return float(np.nanmax(moved))


def _ceiling(evidence: Evidence, twins: Twins, copy: Copy, cosines: pd.DataFrame) -> Iterator[Finding]:
    about = evidence.survey[evidence.survey["file"] == copy[0]].iloc[0]
    mine, others = (cosines[(cosines["vector"] == about["column"]) == own] for own in (True, False))
    if mine.empty:
        return
    best = greatest(mine, mine["cosine"])
    numbers = {
        "rows": about["rows"],
        "cosine": best["cosine"],
        "layer": best["layer"],
        "others_least": others["cosine"].min(),
        "others_greatest": others["cosine"].max(),
    }
    words = {
        "pole": str(about["pole"]),
        "column": str(about["column"]),
        "first": twins.first,
        "second": twins.second,
        "others": span(others["cosine"], ".3f"),
    }
    yield CEILING.found(copy, "number", numbers, words=words, details=records(cosines))


def _copied(evidence: Evidence, copies: list[Copy]) -> Finding:
    details: list[dict[str, Any]] = [
        {"first": one, "second": two, **_rejudged(evidence, one, two)} for one, two in copies
    ]
    words = {
        "which": named(f"{last(one, 2)} = {last(two, 2)}" for one, two in copies),
        "distance": span([each["mean_distance"] for each in details], ".2f"),
    }
    files = [file for copy in copies for file in copy]
    return COPIED.found(files, "number", {"pairs": len(copies)}, words=words, details=details)


def _rejudged(evidence: Evidence, one: str, two: str) -> dict[str, float]:
    """How far two judgements of the same answers lie apart."""
    first, second = evidence.answers(one), evidence.answers(two)
    if first is None or second is None:
        return {"mean_distance": np.nan}
    apart = np.abs(first["score"].to_numpy() - second["score"].to_numpy())
    known = apart[~np.isnan(apart)]
    return {
        "mean_first": float(first["score"].mean()),
        "mean_second": float(second["score"].mean()),
        "mean_distance": float(known.mean()) if len(known) else np.nan,
    }
