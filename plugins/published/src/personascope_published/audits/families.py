"""Corrections over another family than the one that is shown.

Owns: :func:`find_families`. The one law: the family is the points of one curve, each checkpoint once; what a table was
corrected by is worked out from its own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.corrections import adjusted
from personascope_published.audits.evidence import SIGNIFICANT, Evidence
from personascope_published.audits.findings import Finding, Kind, greatest, places, records, span
from personascope_published.corrections import families
from personascope_published.reading import ResultsFile

FAMILY = Kind(
    "corrections over another family than the curve",
    "{tables} tables multiplied p-values by {used}, the number of all rows of a file or of a trait in it, while "
    "the curves in them had {sizes} points{inherited}",
    "with Holm over each curve {by_holm} of {points} points had a corrected p < 0.05 instead of {by_table} "
    "({changed} changed)",
)
RAW = Kind(
    "significance without a correction for the curve",
    "{raw} of {points} points of {curves} curves had p < 0.05 uncorrected, and {holm} after Holm within the "
    "curve ({worst}: {worst_raw} and {worst_holm} of {worst_points})",
    "a figure that stars p < 0.05 would lose {lost} stars",
)
SMALL = Kind(
    "significant effects of no size",
    "{small} of {significant} points with p < 0.05 had an effect below {least:g} point of 100 ({first}: "
    "{effect:+.2g}, p {p:.2g}, baseline {baseline:.2g})",
    "ask for an effect of 5 points beside the p-value; Holm within the curve alone left {after_holm} of them "
    "significant",
)
LEAST_EFFECT = 1.0
"""Score points of 100. Less than that no reader of answers would notice."""


def find_families(evidence: Evidence) -> Iterator[Finding]:
    """The families tables corrected over, what Holm over each curve changes, and effects of no size."""
    points = curve_points(evidence)
    if points.empty:
        return
    yield from _family(evidence, points)
    yield from _raw(points)
    yield from _small(points)


def curve_points(evidence: Evidence) -> pd.DataFrame:
    """The points of curves, aliases left out, with the Holm-corrected p within the curve (``holm``) and its size.

    A curve that is a part of another one, in another table, is left out, so that no point counts twice.
    """
    curves = evidence.curves
    second = {(model, alias) for model in evidence.study.models for alias in evidence.aliases(model)}
    sources = zip(curves["source_model"], curves["source"], strict=True)
    points = curves[np.array([key not in second for key in sources], dtype=bool)]
    held = {
        key: set(zip(mine["baseline_file"], mine["steered_file"], strict=True))
        for key, mine in points.groupby(["file", "curve"], sort=False)
    }
    order = sorted(held, key=lambda key: -len(held[key]))
    parts = {key for place, key in enumerate(order) if any(held[key] <= held[other] for other in order[:place])}
    keys = zip(points["file"], points["curve"], strict=True)
    points = points[np.array([key not in parts for key in keys], dtype=bool)]
    grouped = points.groupby(["file", "curve"])["p"]
    return points.assign(
        size=grouped.transform("size"), holm=grouped.transform(lambda p: adjusted(p.to_numpy(), "holm"))
    )


def _family(evidence: Evidence, points: pd.DataFrame) -> Iterator[Finding]:
    found = [_of_table(each, points[points["file"] == each.file]) for each in evidence.study.results()]
    details = [each for each in found if each]
    if not details:
        return
    names = ("points", "by_table", "by_holm", "changed")
    other = [each for each in details if each["inherited_rows"]]
    numbers = {
        **{name: sum(each[name] for each in details) for name in names},
        "tables": len(details),
        "inherited_tables": len(other),
    }
    taken = span((family for each in other for family in each["used"]), ".0f")
    rows = span((each["rows"] for each in other), ".0f")
    words = {
        "used": span((family for each in details for family in each["used"]), ".0f"),
        "sizes": span((size for each in details for size in each["sizes"]), ".0f"),
        "inherited": f"; in {len(other)} by {taken}, taken over from smaller tables, for {rows} rows" if other else "",
    }
    files = [each["file"] for each in details]
    yield FAMILY.found(files, "number" if numbers["changed"] else "record", numbers, words=words, details=details)


def _of_table(results: ResultsFile, points: pd.DataFrame) -> dict[str, Any]:
    """What a table corrected by, and what Holm over its curves changes; empty where both families are the same."""
    corrected = families(results.rows)
    known = corrected[corrected["family"].notna()]
    used, sizes = sorted(set(known["family"])), sorted(set(points["size"]))
    if not used or points.empty or set(used) == set(sizes):
        return {}
    table, curve = points["corrected_p"] < SIGNIFICANT, points["holm"] < SIGNIFICANT
    return {
        "file": results.file,
        "used": used,
        "sizes": sizes,
        "rows": len(results.rows),
        "inherited_rows": int((~known["family_is"].isin(["rows of the file", "any"])).sum()),
        "points": len(points),
        "by_table": int(table.sum()),
        "by_holm": int(curve.sum()),
        "changed": int((table != curve).sum()),
    }


def _raw(points: pd.DataFrame) -> Iterator[Finding]:
    raw, corrected = points["p"] < SIGNIFICANT, points["holm"] < SIGNIFICANT
    lost = points[raw & ~corrected]
    if lost.empty:
        return
    grouped = points.assign(raw=raw, corrected=corrected).groupby(["file", "curve"], sort=False)
    per = grouped.agg(points=("p", "size"), raw=("raw", "sum"), holm=("corrected", "sum")).reset_index()
    worst = greatest(per, per["raw"] - per["holm"])
    numbers = {
        "points": len(points),
        "curves": len(per),
        "raw": int(raw.sum()),
        "holm": int(corrected.sum()),
        "lost": len(lost),
        **{f"worst_{name}": worst[name] for name in ("raw", "holm", "points")},
    }
    columns = ["file", "row", "curve", "source", "effect", "p", "holm", "size"]
    details = (*records(per), *records(lost, columns))
    words = {"worst": str(worst["curve"])}
    yield RAW.found(places(lost), "conclusion", numbers, words=words, details=details)


def _small(points: pd.DataFrame) -> Iterator[Finding]:
    significant = points[points["p"] < SIGNIFICANT]
    small = significant[significant["effect"].abs() < LEAST_EFFECT]
    if small.empty:
        return
    first = greatest(small, -small["effect"].abs())
    numbers = {
        "small": len(small),
        "significant": len(significant),
        "after_holm": int((small["holm"] < SIGNIFICANT).sum()),
        "least": LEAST_EFFECT,
        "effect": first["effect"],
        "p": first["p"],
        "baseline": first["baseline_mean"],
    }
    columns = ["file", "row", "curve", "source", "effect", "p", "holm", "baseline_mean"]
    words = {"first": f"{first['source']} on {first['target']}"}
    yield SMALL.found(places(small), "conclusion", numbers, words=words, details=records(small, columns))
