"""Norm files of one revision that say different things.

Owns: :func:`find_norm_files`. The one law: a norm belongs to the texts it was measured on, which a file's label names;
files are compared layer by layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding, Kind, greatest, named, records, several, span

LABELS = Kind(
    "norm files of one revision that disagree",
    "the norm files of {revisions} of {model} gave different norms at the steering layers ({apart} % apart; "
    "{revision}, layer {layer}: {least:.4g} to {greatest:.4g}){same}",
    "name a norm with the questions it was measured on; a reader that drops the label takes any of them, and the "
    "dose changes by the same percentage",
)
TOLERANCE = 1e-9


def find_norm_files(evidence: Evidence) -> Iterator[Finding]:
    """Per model whose revisions have norm files that differ at the layers steered at (at any, where none is known)."""
    used = {int(layer) for layer in evidence.results["layer"].dropna()}
    for model, norms in evidence.study.norms().groupby("model"):
        mine = norms[norms["layer"].isin(used)] if used else norms
        spread = mine.groupby(["revision", "layer"])["mean"].agg(["min", "max"]).reset_index()
        spread["ratio"] = spread["max"] / spread["min"]
        apart = spread[spread["ratio"] - 1 > TOLERANCE]
        if not apart.empty:
            yield _apart(str(model), norms, apart)


def _apart(model: str, norms: pd.DataFrame, apart: pd.DataFrame) -> Finding:
    worst = greatest(apart, apart["ratio"])
    same = _equal_labels(norms)
    numbers = {
        "revisions": apart["revision"].nunique(),
        "largest_ratio": worst["ratio"],
        "least": worst["min"],
        "greatest": worst["max"],
        "equal_labels": len(same),
    }
    words = {
        "revisions": several(numbers["revisions"], "revision"),
        "model": model,
        "apart": span(100 * (apart["ratio"] - 1), ".0f"),
        "revision": str(worst["revision"]),
        "layer": f"{worst['layer']:.0f}",
        "same": f", and {len(same)} were equal under two labels ({named(same, 2)})" if same else "",
    }
    details = (*records(apart), *({"equal": each} for each in same))
    return LABELS.found(norms["file"].unique(), "record", numbers, words=words, details=details)


def _equal_labels(norms: pd.DataFrame) -> list[str]:
    """The files of one revision that are the same measurement under two labels."""
    profiles = {key: tuple(mine["mean"]) for key, mine in norms.groupby(["revision", "label"])}
    return [
        f"{one[0]}: {one[1] or 'no label'} = {two[1] or 'no label'}"
        for (one, mine), (two, theirs) in itertools.combinations(profiles.items(), 2)
        if one[0] == two[0] and mine == theirs
    ]
