"""Answers that count more than once.

Owns: :func:`find_duplicates`. The one law: an answer counts once per question it was given to; what counting it twice
changed is computed, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import Evidence, contrast, crossing
from personascope_published.audits.findings import Finding, Kind, places, records, several, span

TWICE = Kind(
    "rows counted twice",
    "{cells} of {table_rows} cells held {recorded} rows: {own} of the file the cell names, and {companion} of a "
    "companion file counted {times} times, so {counted_twice} answers counted more than once",
    "with every answer once ({once} rows) the effects changed by {change} points and {crossing} p-values crossed "
    "0.05; from the named file alone they were {effect_own} (p {p_own})",
)
POOLED = Kind(
    "cells pooled from several files",
    "{cells} of {table_rows} cells held {recorded} rows: {own} of the file the cell names and {companion} of a "
    "companion file that it does not name",
    "from the named file alone the effects were {effect_own} (p {p_own}); {crossing} p-values of the pooled "
    "cells differ from what the table says across 0.05",
)
REPEATED = Kind(
    "the same answer again and again",
    "in {files} {rates} % of the answers repeated an earlier answer to the same question word for word",
    "draws that repeat one another are no independent evidence: a question's mean is then known less well than "
    "the number of its draws suggests; the effect over questions stays as it is",
)
MOST_REPEATED = 0.05
"""Share of a file. Sampling gives a few equal answers; more are copies, or a model that always says the same."""


def find_duplicates(evidence: Evidence) -> Iterator[Finding]:
    """Per results file with pooled cells, and for files in which many answers recur."""
    for _, rows in evidence.results.groupby("file", sort=False):
        merged = rows[evidence.merged(rows)]
        if merged.empty:
            continue
        redone = pd.DataFrame([_once(evidence, row, rows) for row in records(merged)])
        for kind, mine in ((TWICE, redone["counted_twice"] > 0), (POOLED, redone["counted_twice"] == 0)):
            if mine.any():
                yield _pooled(kind, redone[mine], table_rows=len(rows))
    survey = evidence.survey
    many = survey[(survey["repeated"] > MOST_REPEATED * survey["rows"]) & (survey["digest"] != "")]
    if not many.empty:
        words = {"files": several(len(many), "file"), "rates": span(100 * many["repeated"] / many["rows"], ".0f")}
        numbers = {"files_concerned": len(many), "repeated": many["repeated"].sum(), "rows": many["rows"].sum()}
        details = records(many, ["file", "rows", "repeated"])
        yield REPEATED.found(many["file"], "number", numbers, words=words, details=details)


def _pooled(kind: Kind, redone: pd.DataFrame, *, table_rows: int) -> Finding:
    change = redone["effect_once"] - redone["effect"]
    numbers = {
        "cells": len(redone),
        "table_rows": table_rows,
        "least_change": change.min(),
        "greatest_change": change.max(),
        "crossing": crossing(redone["p"], redone["p_once"]),
        "listed_again": redone["listed_again"].sum(),
    }
    words = {
        "recorded": span(redone["recorded_rows"], ".0f"),
        "once": span(redone["rows_once"], ".0f"),
        "own": span(redone["own_rows"], ".0f"),
        "companion": span(redone["companion_rows"], ".0f"),
        "times": span(redone["times"], ".0f"),
        "counted_twice": span(redone["counted_twice"], ".0f"),
        "change": span(change, "+.2f"),
        "effect_own": span(redone["effect_own"], ".1f"),
        "p_own": span(redone["p_own"], ".2g"),
    }
    files = [file for composition in redone["composition"] for file in composition]
    where = (*places(redone), *files)
    return kind.found(
        where, "conclusion" if numbers["crossing"] else "number", numbers, words=words, details=records(redone)
    )


def _once(evidence: Evidence, row: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """A pooled cell with every answer counted once, and with the named file alone."""
    composition = evidence.merges[(row["file"], row["row"])]
    frames = {file: evidence.answers(file) for file in composition}
    held = {file: frame for file, frame in frames.items() if frame is not None}
    pooled = pd.concat(list(held.values()), ignore_index=True)
    if pooled["answer"].notna().all():
        # An answer that two of the files share is one answer; the same words with other scores are another draw.
        pooled = pooled.drop_duplicates(["question_id", "answer", "score", "coherence"])
    others = [file for file in held if file != row["steered_file"]]
    found = {
        **{name: row[name] for name in ("file", "row", "source", "target_norm", "effect", "p")},
        "composition": dict(composition),
        "recorded_rows": row["steered_rows"],
        "rows_once": len(pooled),
        "own_rows": len(held[row["steered_file"]]),
        "companion_rows": sum(len(held[file]) for file in others),
        "times": max(composition.values()),
        "counted_twice": sum((times - 1) * len(held[file]) for file, times in composition.items()),
        "listed_again": int(table["steered_file"].isin(others).sum()),
    }
    plain, _ = evidence.sides(row)
    if plain is None:
        return found | dict.fromkeys(("effect_once", "p_once", "effect_own", "p_own"), np.nan)
    once, alone = contrast(plain, pooled), contrast(plain, held[row["steered_file"]])
    return found | {"effect_once": once.effect, "p_once": once.p, "effect_own": alone.effect, "p_own": alone.p}
