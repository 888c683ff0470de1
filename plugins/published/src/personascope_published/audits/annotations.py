"""Annotations of answers that say less than they seem to.

Owns: :func:`find_annotations`. The one law: an annotation is looked at with the answer it is of: how coherent that is,
whether it was annotated before, and whether anybody checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from personascope.analysis.agreement import agreement
from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding, Kind, last, named, span
from personascope_published.reading import FacetFile

INCOHERENT = Kind(
    "facets of incoherent answers",
    "{incoherent:,} of {rows:,} annotated answers had a coherence below 50, up to {most:.0f} % of a file "
    "({most_file}): they were chosen by the trait alone",
    "without them shares moved by up to {largest_move:.0f} percentage points ({moved_file})",
)
AGAIN = Kind(
    "one set of answers annotated under two names",
    "{sets} sets of answers were annotated under {files} names ({which}), and two passes agreed on {agreement} % "
    "of labels",
    "take one pass of each, and its disagreement with the other for the noise of a share; the names do not tell "
    "different answers",
)
HUMAN = Kind(
    "few answers checked by a person",
    "{answers} answers were checked by a person, {per_label} per label, so agreement is known to no better than "
    "{error:.0f} percentage points",
    "none with these data",
)
COHERENT = 50.0
FEWEST = 20
ENOUGH_CHECKED = 100
SOME = 0.02
"""Share of incoherent answers below which they change nothing."""


def find_annotations(evidence: Evidence) -> Iterator[Finding]:
    """Incoherent answers among the annotated, answers annotated twice, and how many a person checked."""
    files = evidence.study.facets()
    yield from _incoherent(files)
    yield from _again(files)
    for file, rows in evidence.study.human_facets():
        if len(rows) < ENOUGH_CHECKED:
            labels = sorted({label for held in rows["model_roots"] for label in held or []})
            per = {name: int(sum(name in (held or []) for held in rows["model_roots"])) for name in labels}
            numbers = {"answers": len(rows), "error": 100 / np.sqrt(max(len(rows), 1)), **per}
            yield HUMAN.found([file], "record", numbers, words={"per_label": span(per.values(), ".0f")})


def _incoherent(files: list[FacetFile]) -> Iterator[Finding]:
    low = [found for each in files if (found := _moved(each))["incoherent"]]
    rows, count = sum(len(each.rows) for each in files), sum(each["incoherent"] for each in low)
    if not low or count < SOME * rows:
        return
    # Shares of few answers move by chance; the largest move is taken where enough coherent answers are left.
    solid = [each for each in low if each["answers"] - each["incoherent"] >= FEWEST] or low
    moved = max(solid, key=lambda each: each["largest_move"])
    most = max(low, key=lambda each: each["incoherent"] / each["answers"])
    numbers = {
        "incoherent": count,
        "rows": rows,
        "files": len(low),
        "most": 100 * most["incoherent"] / most["answers"],
        "largest_move": moved["largest_move"],
    }
    words = {"most_file": last(most["file"]), "moved_file": last(moved["file"])}
    yield INCOHERENT.found([each["file"] for each in low], "number", numbers, words=words, details=low)


def _moved(file: FacetFile) -> dict[str, Any]:
    """How many of a file's answers are incoherent, and how far its shares move without them."""
    bad = file.rows["coherence"] < COHERENT
    shares = [file.rows.loc[mask, list(file.facets)].astype(float).mean() for mask in (~bad, bad | ~bad)]
    moved = (100 * (shares[0] - shares[1])).abs().max()
    about = {"file": file.file, "answers": len(file.rows), "incoherent": int(bad.sum())}
    return {**about, "largest_move": 0.0 if np.isnan(moved) else float(moved)}


def _again(files: list[FacetFile]) -> Iterator[Finding]:
    """Files of one kind with the same answers: annotated twice, whatever their names say."""
    groups: dict[tuple[object, ...], list[FacetFile]] = {}
    for each in files:
        if len(each.rows) >= FEWEST and each.rows["answer"].notna().all():
            key = (each.facets, tuple(each.rows["question_id"]), tuple(each.rows["answer"]))
            groups.setdefault(key, []).append(each)
    same = [members for members in groups.values() if len(members) > 1]
    if not same:
        return
    details = [_passes(members[0], other) for members in same for other in members[1:]]
    shares = [share for each in details for share in each["labels"].values()]
    numbers = {
        "sets": len(same),
        "files": sum(map(len, same)),
        "least_agreement": min(shares),
        "greatest_agreement": max(shares),
    }
    words = {
        "which": named((" = ".join(each.name for each in members) for members in same), 3),
        "agreement": span([100 * share for share in shares], ".0f"),
    }
    where = [each.file for members in same for each in members]
    yield AGAIN.found(where, "number", numbers, words=words, details=details)


def _passes(first: FacetFile, second: FacetFile) -> dict[str, Any]:
    """The share of answers on which two passes say the same, per label."""
    found = agreement(first.rows, second.rows, facets=first.facets)
    labels = dict(zip(found["facet"], found["agreement"], strict=True))
    return {"first": first.file, "second": second.file, "answers": len(first.rows), "labels": labels}
