"""Vectors made of almost nothing, and what is recorded of how they were made.

Owns: :func:`find_pairs`. The one law: a vector's pairs are those recorded when it was made, else those counted again
from its answers; a status file that counts nothing is never taken for a count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import SIGNIFICANT, Evidence
from personascope_published.audits.findings import Finding, Kind, records, span
from personascope_published.audits.rows import ITSELF

FEW = Kind(
    "vectors from few pairs",
    "{below_10} of {vectors} vectors of {column} of {model} rested on fewer than 10 pairs ({which}), {below_30} "
    "on fewer than 30; that of {first} had a cosine of {first_cosine:.3f} to {last}{effect}",
    "no effect at these milestones ({points_below_10} points of curves, {significant_below_10} of them with p < "
    "0.05) can be put down to the trait without random directions of the same norm; left out, curves begin at "
    "{begins}",
)
NONE = Kind(
    "milestones without a vector",
    "{milestones} extractions from {model} gave no vector ({which}), and {unlisted} of them had no row in any "
    "table of significance",
    "count them as tests that showed nothing: a curve that begins where vectors begin hides when there was "
    "nothing to show, and its family of tests is smaller than what was tried",
)
UNCOUNTED = Kind(
    "vectors whose pairs nobody recorded",
    "{unrecorded} of {vectors} vectors had no record of how many pairs they were made from ({silent} status "
    "files said only that the vector existed already, {without_status} vectors had none)",
    "counted again from the answers for {recounted}: {pairs} pairs; whether the answers are those the vector was "
    "made from cannot be checked",
)
VERY_FEW, SOME = 10, 30
"""Pairs. Below the first a vector is mostly noise; below the second it should not be compared without an interval."""


def find_pairs(evidence: Evidence) -> Iterator[Finding]:
    """Vectors from few pairs, milestones without a vector, and vectors whose pairs nobody recorded."""
    vectors = counted_vectors(evidence)
    held = vectors[(vectors["file"] != "") & (vectors["variant"] == "")]
    for _, mine in held.groupby(["model", "column"]):
        yield from _few(evidence, mine)
    absent = vectors[(vectors["file"] == "") & (vectors["status"] != "complete")]
    for model, mine in absent.groupby("model"):
        yield _absent(evidence, str(model), mine)
    yield from _uncounted(vectors[vectors["file"] != ""])


def counted_vectors(evidence: Evidence) -> pd.DataFrame:
    """Every vector or status with its pairs, recorded (``effective_rows``) and counted again (``kept``), by training.

    ``pairs`` is what was recorded when the vector was made, where it was: answers may have been drawn again since.
    """
    keys = ["model", "revision", "variant", "column"]
    vectors = evidence.study.vectors().merge(evidence.pairs, on=keys, how="left")
    places = {
        (model, each.label): place
        for model in vectors["model"].unique()
        for place, each in enumerate(evidence.study.lineage(model))
    }
    order = [places.get(key, np.nan) for key in zip(vectors["model"], vectors["revision"], strict=True)]
    pairs = vectors["effective_rows"].fillna(vectors["kept"].astype("float64"))
    return vectors.assign(place=order, pairs=pairs).sort_values("place", kind="stable", ignore_index=True)


def _few(evidence: Evidence, vectors: pd.DataFrame) -> Iterator[Finding]:
    few = vectors[vectors["pairs"] < SOME]
    if not (few["pairs"] < VERY_FEW).any():
        return
    model, column = str(vectors["model"].iloc[0]), str(vectors["column"].iloc[0])
    curves = evidence.curves[(evidence.curves["source_model"] == model) & (evidence.curves["vector"] == column)]
    aliases = evidence.aliases(model)
    final = [name for name in vectors["revision"] if name not in aliases][-1]
    frame = pd.DataFrame([_one(evidence, row, curves, final) for row in records(few)])
    worst = frame[frame["pairs"] < VERY_FEW]
    first = worst.iloc[0]
    points = curves[curves["source"].isin(worst["revision"])]
    numbers = {
        "vectors": len(vectors),
        "below_10": len(worst),
        "below_30": len(frame),
        "least": worst["pairs"].min(),
        "first_cosine": first["cosine_to_last"],
        "first_effect": first["effect"],
        "points_below_10": len(points),
        "significant_below_10": int((points["p"] < SIGNIFICANT).sum()),
    }
    begins = vectors.loc[vectors["pairs"] >= VERY_FEW, "revision"]
    effect = f", and moved the score by {first['effect']:+.1f} all the same (p {first['p']:.2g})"
    words = {
        "model": model,
        "column": column,
        "which": ", ".join(f"{row['revision']}: {row['pairs']:.0f}" for row in records(worst)),
        "first": str(first["revision"]),
        "last": final,
        "effect": effect if first["p"] < SIGNIFICANT else "",
        "begins": str(begins.iloc[0]) if len(begins) else "no milestone",
    }
    severe = bool(numbers["significant_below_10"])
    files = worst["vector_file"]
    yield FEW.found(files, "conclusion" if severe else "number", numbers, words=words, details=records(frame))


def _one(evidence: Evidence, row: dict[str, Any], curves: pd.DataFrame, final: str) -> dict[str, Any]:
    """A vector of few pairs: what it rests on, how near it is to the last one, and what it did to its checkpoint."""
    mine = curves[curves["source"] == row["revision"]]
    points = records(pd.concat([mine[mine["target"] == ITSELF], mine[mine["target"] != ITSELF]]))
    point = points[0] if points else {"layer": np.nan, "effect": np.nan, "p": np.nan}
    return {
        "revision": row["revision"],
        "vector_file": row["file"],
        "pairs": row["pairs"],
        "asked": row["asked"],
        "questions": row["kept_questions"],
        "layer": point["layer"],
        "cosine_to_last": evidence.cosine(row["model"], row["column"], row["revision"], final, layer=point["layer"]),
        "effect": point["effect"],
        "p": point["p"],
        "points": len(points),
    }


def _absent(evidence: Evidence, model: str, absent: pd.DataFrame) -> Finding:
    tables = evidence.results[evidence.results["source_model"] == model]
    listed = set(zip(tables["source"], tables["vector"], strict=True))
    unlisted = [key not in listed for key in zip(absent["revision"], absent["column"], strict=True)]
    by_column = absent.groupby("column")["revision"].agg(", ".join)
    numbers = {"milestones": len(absent), "unlisted": sum(unlisted)}
    words = {"model": model, "which": "; ".join(f"{column}: {names}" for column, names in by_column.items())}
    columns = ["revision", "column", "reason_code", "pos_rows", "effective_rows", "asked", "kept", "message"]
    where = absent.loc[absent["status_file"] != "", "status_file"]
    return NONE.found(where, "number", numbers, words=words, details=records(absent, columns))


def _uncounted(vectors: pd.DataFrame) -> Iterator[Finding]:
    silent = vectors[vectors["effective_rows"].isna()]
    if silent.empty:
        return
    spoken = silent[silent["status_file"] != ""]
    numbers = {
        "vectors": len(vectors),
        "unrecorded": len(silent),
        "silent": len(spoken),
        "without_status": len(silent) - len(spoken),
        "recounted": int(silent["kept"].notna().sum()),
    }
    words = {"pairs": span(silent["kept"].astype("float64"), ".0f")}
    columns = ["file", "revision", "variant", "column", "reason_code", "asked", "kept"]
    yield UNCOUNTED.found(silent["file"], "record", numbers, words=words, details=records(silent, columns))
