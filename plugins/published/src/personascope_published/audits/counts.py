"""Counts that belong to other answers, and rates that count too much.

Owns: :func:`find_counts`. The one law: what a status file or a table of pass rates counts is counted again from the
answers that lie there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.extraction import BAR
from personascope_published.audits.findings import Finding, Kind, greatest, named, records, several, span
from personascope_published.audits.pairs import counted_vectors

OTHER = Kind(
    "extraction answers that are not the ones counted",
    "{which} counted other answers than lie there: they were drawn again after they were counted",
    "counted from the present answers, {changed_pairs} of the status files' numbers of pairs changed; a vector "
    "older than its answers cannot be checked against them",
)
LOOSE = Kind(
    "pass rates that ignore coherence",
    "in {cells} of {of} cells the published pass rate counted more than twice the pairs that cleared the whole "
    "bar ({revision}, {column}: {passed} passed, {kept} pairs kept), because it asks for the trait alone",
    "by the whole bar the rates of these cells were {strict} % instead of {loose} %; {no_pair_left} had no pair left",
)
SIZES = Kind(
    "extractions that asked for different numbers of pairs",
    "{extractions} extractions from {model} asked for other numbers of pairs than their trait's other milestones "
    "({which} instead of {usual})",
    "compare shares of kept pairs and not their counts: {shares}",
)


def find_counts(evidence: Evidence) -> Iterator[Finding]:
    """Counts of other answers, pass rates that ignore coherence, and milestones asked more or fewer questions."""
    rates = _rates(evidence)
    yield from _other(evidence, rates)
    yield from _loose(evidence, rates)
    yield from _sizes(evidence)


def _rates(evidence: Evidence) -> pd.DataFrame:
    """The published pass rates (``total``, ``passed``) beside those of the files (``rows``, ``passed_now``)."""
    table, survey = evidence.study.pass_rates(), evidence.survey
    head = ["file", "model", "revision", "trait", "split", "total", "passed"]
    if not set(head) <= set(table):
        return pd.DataFrame(columns=[*head, "answers_file", "rows", "passed_now"])
    mine = survey[(survey["kind"] == "extraction") & (survey["variant"] == "")]
    held = [evidence.answers(file) for file in mine["file"]]
    beside = pd.DataFrame({
        "model": mine["model"],
        "revision": mine["revision"],
        "trait": mine["column"],
        "split": mine["pole"].map({"positive": "pos", "negative": "neg"}),
        "answers_file": mine["file"],
        "rows": mine["rows"],
        "passed_now": [0 if each is None else int((each["score"] >= BAR).sum()) for each in held],
    })  # fmt: skip
    return table[head].merge(beside, on=["model", "revision", "trait", "split"])


def _other(evidence: Evidence, rates: pd.DataFrame) -> Iterator[Finding]:
    said = counted_vectors(evidence)
    said = said[said["asked"].notna() & (said["effective_rows"].notna() | said["pos_rows"].notna())]
    rows = said["pos_rows"].notna() & (said["pos_rows"] != said["asked"])
    kept = said["effective_rows"].notna() & (said["effective_rows"] != said["kept"])
    wrong = said[rows | kept]
    off = rates[(rates["total"] != rates["rows"]) | (rates["passed"] != rates["passed_now"])]
    if wrong.empty and off.empty:
        return
    numbers = {
        "status_files": len(wrong),
        "pass_rates": len(off),
        "pass_rates_compared": len(rates),
        "changed_pairs": int((wrong["effective_rows"] != wrong["kept"]).sum()),
    }
    counted = f"(rows {span(wrong['pos_rows'], '.0f')}, now {span(wrong['asked'].astype('float64'), '.0f')})"
    parts = [f"{several(len(wrong), 'status file')} {counted}"] if len(wrong) else []
    parts += [f"{len(off)} of {len(rates)} pass rates"] if len(off) else []
    details = (
        *records(wrong, ["status_file", "revision", "column", "pos_rows", "asked", "effective_rows", "kept"]),
        *records(off),
    )
    changed = bool(numbers["changed_pairs"] or len(off))
    where = (*wrong["status_file"], *off["file"])
    yield OTHER.found(
        where, "number" if changed else "record", numbers, words={"which": " and ".join(parts)}, details=details
    )


def _loose(evidence: Evidence, rates: pd.DataFrame) -> Iterator[Finding]:
    strict = evidence.pairs[evidence.pairs["variant"] == ""][["model", "revision", "column", "asked", "kept"]]
    positive = rates[(rates["split"] == "pos") & (rates["passed"] > 0)].rename(columns={"trait": "column"})
    mine = positive.merge(strict, on=["model", "revision", "column"])
    half = mine[mine["kept"] < 0.5 * mine["passed"]]
    if half.empty:
        return
    worst = greatest(half, half["passed"] - half["kept"])
    numbers = {"cells": len(half), "of": len(mine), "no_pair_left": int((half["kept"] == 0).sum())}
    words = {
        "revision": str(worst["revision"]),
        "column": str(worst["column"]),
        "passed": f"{worst['passed']:.0f}",
        "kept": f"{worst['kept']:.0f}",
        "strict": span(100 * half["kept"] / half["asked"], ".2g"),
        "loose": span(100 * half["passed"] / half["total"], ".2g"),
    }
    yield LOOSE.found(half["file"], "number", numbers, words=words, details=records(half))


def _sizes(evidence: Evidence) -> Iterator[Finding]:
    pairs = evidence.pairs[evidence.pairs["variant"] == ""]
    for model, mine in pairs.groupby("model"):
        usual = mine.groupby("column")["asked"].agg(lambda each: each.mode().iloc[0])
        other = mine[mine["asked"] != mine["column"].map(usual)]
        if other.empty:
            continue
        said = other.groupby("revision", sort=False)["asked"].agg(lambda each: span(each, ".0f"))
        shares = (
            "{revision} {column} {kept} of {asked} ({share:.0f} %)".format(**row)
            for row in records(other.assign(share=100 * other["kept"] / other["asked"]))
        )
        words = {
            "model": str(model),
            "which": ", ".join(f"{revision}: {count}" for revision, count in said.items()),
            "usual": span(usual[other["column"]], ".0f"),
            "shares": named(shares, 3),
        }
        numbers = {"extractions": len(other), "least": other["asked"].min(), "greatest": other["asked"].max()}
        details = records(other, ["revision", "column", "asked", "kept"])
        yield SIZES.found(other["positive"], "number", numbers, words=words, details=details)
