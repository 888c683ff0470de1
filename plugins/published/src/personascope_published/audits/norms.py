"""The norms that vectors were scaled to.

Owns: :func:`find_norms`. The one law: a recorded norm is compared with the norm file it names, at the row's own layer;
the factor between the two is the factor by which the dose may have been another one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding, Kind, last, places, records, span
from personascope_published.audits.rows import ITSELF

STALE = Kind(
    "recorded norms that are not in the norm files",
    "the target norms of {target_rows} of {compared} rows, {points_of_curves} of them points of curves, were not "
    "those of the norm files they name (file over recorded {factors}; {first}: recorded {recorded:.4g}, file "
    "{now:.4g}): the files were written again",
    "the answers cannot be steered again without the model; take the factor as an uncertainty of the dose of up "
    "to {percent:.0f} %, and repeat the runs with the recorded norms",
)
SOURCE = Kind(
    STALE.name,
    "the source norms of {source_rows} rows in {tables} tables were not those of the norm files they name (file "
    "over recorded {factors}); their target norms were",
    "a vector scaled to its target's norm is the same whatever its source's norm; only the recorded scale of the "
    "transfer is off",
)
MIXED = Kind(
    "norms mixed within a curve",
    "{curves} curves through one target mixed norms (milestones in parentheses: {which}), a factor of {ratios} "
    "in dose within one line",
    "compare only milestones of one norm; the others would have to be steered again{absent}",
)
POOLED = Kind(
    "cells pooled from answers steered at two norms",
    "{cells} cells pooled answers with different recorded norms (companion over own {ratios}; {first}: {own:.4g} "
    "and {companion:.4g}): one cell, two doses",
    "use one of the two files alone; the finding of rows counted twice gives the effects of the named file alone",
)
RIVAL = Kind(
    "one steered file with two recorded norms",
    "{files} steered files carried two target norms in two tables of significance (a factor of up to "
    "{largest_ratio:.3f}; {first}: {norms}), {with_lists} with the lists of all rows: the column was filled in "
    "when a table was made, not when the model was steered",
    "the norm really applied is not known for them, nor strictly for any row whose file name does not give it; "
    "only steering again would tell",
)
TOLERANCE = 1e-9

_COLUMNS = [
    "file", "row", "source", "evaluated", "strength", "source_norm", "source_now", "source_factor", "target_norm",
    "target_now", "target_factor", "target_off",
]  # fmt: skip


def find_norms(evidence: Evidence) -> Iterator[Finding]:
    """Recorded norms against the files they name, within curves, within cells, and across tables."""
    yield from _stale(evidence)
    yield from _mixed(evidence)
    yield from _pooled(evidence)
    yield from _rival(evidence)


def _beside(evidence: Evidence) -> pd.DataFrame:
    """The results with the norms that the files they name have now at the row's layer; NaN where there is none."""
    rows = evidence.results.copy()
    for side in ("source", "target"):
        keys = zip(rows[f"{side}_norm_file"], rows["layer"], strict=True)
        now = [np.nan if np.isnan(layer) else evidence.norms.get((file, int(layer)), np.nan) for file, layer in keys]
        rows[f"{side}_now"] = np.array(now, dtype=np.float64)
        rows[f"{side}_factor"] = rows[f"{side}_now"] / rows[f"{side}_norm"]
        rows[f"{side}_off"] = (rows[f"{side}_factor"] - 1).abs() > TOLERANCE
    return rows


def _stale(evidence: Evidence) -> Iterator[Finding]:
    """One finding per table whose target norms differ, and one for all tables in which only the source norms do."""
    only_source = []
    for file, rows in _beside(evidence).groupby("file", sort=False):
        if rows["target_off"].any():
            curves = evidence.curves
            yield _stale_targets(rows, set(curves.loc[curves["file"] == file, "row"]))
        elif rows["source_off"].any():
            only_source.append(rows[rows["source_off"]])
    if only_source:
        off = pd.concat(only_source, ignore_index=True)
        numbers = {"source_rows": len(off), "tables": len(only_source)}
        words = {"factors": span(off["source_factor"], ".3f")}
        yield SOURCE.found(places(off), "record", numbers, words=words, details=records(off, _COLUMNS))


def _stale_targets(rows: pd.DataFrame, on_curve: set[int]) -> Finding:
    off, target = rows[rows["target_off"] | rows["source_off"]], rows[rows["target_off"]]
    first = target.iloc[0]
    numbers = {
        "rows": len(rows),
        "compared": int(rows["target_factor"].notna().sum()),
        "target_rows": len(target),
        "source_rows": int(rows["source_off"].sum()),
        "points_of_curves": int(target["row"].isin(on_curve).sum()),
        "least_factor": target["target_factor"].min(),
        "greatest_factor": target["target_factor"].max(),
        "recorded": first["target_norm"],
        "now": first["target_now"],
        "percent": 100 * (target["target_factor"] - 1).abs().max(),
    }
    words = {"factors": span(target["target_factor"], ".3f"), "first": str(first["evaluated"])}
    return STALE.found(
        places(off),
        "number" if numbers["points_of_curves"] else "record",
        numbers,
        words=words,
        details=records(off, _COLUMNS),
    )


def _mixed(evidence: Evidence) -> Iterator[Finding]:
    curves = evidence.curves[(evidence.curves["target"] != ITSELF) & evidence.curves["target_norm"].notna()]
    varied = curves[curves.groupby(["file", "curve"])["target_norm"].transform("nunique") > 1]
    for _, mine in varied.groupby("file", sort=False):
        grouped = mine.groupby(["curve", "target", "target_norm"])
        held = grouped.agg(milestones=("source", list), mean_effect=("effect", "mean")).reset_index()
        norms = held.groupby("curve")["target_norm"]
        ratios = norms.max() / norms.min()
        parts = (
            f"{target}: {' and '.join(f'{norm:.4g} ({count})' for norm, count in each)}"
            for target, each in ((target, _counted(group)) for target, group in held.groupby("target"))
        )
        absent = int((~mine["steered_file"].map(evidence.study.has).astype(bool)).sum())
        words = {
            "which": "; ".join(parts),
            "ratios": span(ratios, ".3f"),
            "absent": f" (the answers of {absent} points are not published either)" if absent else "",
        }
        numbers = {
            "curves": len(ratios),
            "points": len(mine),
            "least_ratio": ratios.min(),
            "greatest_ratio": ratios.max(),
        }
        yield MIXED.found(places(mine), "conclusion", numbers, words=words, details=records(held))


def _counted(norms: pd.DataFrame) -> list[tuple[float, int]]:
    """Each norm of a curve with its number of milestones."""
    return [(row["target_norm"], len(row["milestones"])) for row in records(norms)]


def _pooled(evidence: Evidence) -> Iterator[Finding]:
    """Cells made of files that have rows of their own in the same table, with other norms."""
    rows = evidence.results
    merged = rows[evidence.merged(rows)]
    found = []
    for row in records(merged):
        composition = evidence.merges[(row["file"], row["row"])]
        parts = rows[(rows["file"] == row["file"]) & rows["steered_file"].isin(composition)]
        for other in records(parts[parts["row"] != row["row"]]):
            ratio = other["target_norm"] / row["target_norm"]
            if abs(ratio - 1) > TOLERANCE:
                about = {name: row[name] for name in ("file", "row", "source")} | {"own": row["target_norm"]}
                found.append({**about, "companion": other["target_norm"], "ratio": ratio, "of": other["steered_file"]})
    if not found:
        return
    frame = pd.DataFrame(found)
    for _, mine in frame.groupby("file", sort=False):
        first = mine.iloc[0]
        numbers = {
            "cells": mine["row"].nunique(),
            "least_ratio": mine["ratio"].min(),
            "greatest_ratio": mine["ratio"].max(),
            "own": first["own"],
            "companion": first["companion"],
        }
        words = {"ratios": span(mine["ratio"], ".3f"), "first": str(first["source"])}
        yield POOLED.found(places(mine), "number", numbers, words=words, details=records(mine))


def _rival(evidence: Evidence) -> Iterator[Finding]:
    """Tables with different norms for the same steered answers: looked up afterwards, not kept from the run."""
    tested = _spread(evidence.results)
    if tested.empty:
        return
    columns = ["steered_file", "target_norm"]
    every = _spread(pd.concat([evidence.results[columns], evidence.listed[columns]], ignore_index=True))
    ratio = tested["max"] / tested["min"]
    first = str(ratio.idxmax())
    mine = evidence.results[evidence.results["steered_file"].isin(tested.index)]
    numbers = {"files": len(tested), "with_lists": len(every), "largest_ratio": ratio.max()}
    words = {
        "first": last(first, 2),
        "norms": span(mine.loc[mine["steered_file"] == first, "target_norm"], ".4g"),
    }
    details = records(tested.reset_index())
    yield RIVAL.found(places(mine), "number", numbers, words=words, details=details)


def _spread(rows: pd.DataFrame) -> pd.DataFrame:
    """The least and the greatest norm of every steered file whose norms differ."""
    known = rows[rows["target_norm"].notna() & (rows["steered_file"] != "")]
    spread = known.groupby("steered_file")["target_norm"].agg(["min", "max"]).astype("float64")
    return spread[spread["max"] - spread["min"] > TOLERANCE * spread["max"]]
