"""Vectors as files: how finely they are written, and whether published cosines are theirs.

Owns: :func:`find_geometry`. The one law: every published cosine is computed again from the vectors that lie beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding, Kind, greatest, records, span
from personascope_published.reading import PublishedError, ResultsFile

GRID = Kind(
    "vectors on a coarse grid",
    "{vectors} of {of} vectors had the last {bits} bits of {coarse} % of their entries empty at their middle layer, "
    "and {distinct} distinct values among {width}: means were rounded to 16 bits before they were subtracted",
    "none without activations; cosines carry the rounding noise of the grid, most where two means are close",
)
COSINES = Kind(
    "published cosines of other vectors",
    "{off} of {compared} published cosines, in {tables} of {of_tables} tables, were not those of the published "
    "vectors (up to {largest:.3f} off; {pair}: {published:.3f}, now {now:.3f}): the vectors were extracted again",
    "use cosines computed from the vectors; a figure drawn from these tables shows vectors that are not published",
)
BITS = 8
"""Of the 24 of a float32. Differences of 16-bit numbers leave them empty; otherwise one entry in 256 does."""
COARSE = 0.9
"""Share of entries."""
WIDTH = 64
"""Entries. In narrower vectors a share of them says nothing."""
CLOSE = 1e-4
"""Cosines closer than this are the same: the published ones were computed in float32."""
TO = "cosine_similarity_to_"


def find_geometry(evidence: Evidence) -> Iterator[Finding]:
    """Vectors that were rounded before they were subtracted, and cosines that do not fit the vectors."""
    yield from _grid(evidence)
    yield from _cosines(evidence)


def _grid(evidence: Evidence) -> Iterator[Finding]:
    rows = []
    for file in evidence.study.vectors()["file"]:
        try:
            directions = evidence.study.vector(file).directions if file else None
        except PublishedError:
            continue
        if directions is not None and directions.shape[1] >= WIDTH:
            # Early layers have few tokens behind them; the middle is where vectors are used.
            middle = np.ascontiguousarray(directions[len(directions) // 2])
            empty = (middle.view(np.uint32) & (2**BITS - 1)) == 0
            about = {"file": file, "width": len(middle), "distinct": len(np.unique(middle))}
            rows.append({**about, "coarse": float(empty.mean())})
    frame = pd.DataFrame(rows, columns=["file", "width", "distinct", "coarse"])
    mine = frame[frame["coarse"] > COARSE]
    if mine.empty:
        return
    numbers = {
        "vectors": len(mine),
        "of": len(frame),
        "bits": BITS,
        "least_coarse": mine["coarse"].min(),
        "least_distinct": mine["distinct"].min(),
        "greatest_distinct": mine["distinct"].max(),
    }
    words = {
        "coarse": span(100 * mine["coarse"], ".1f"),
        "distinct": span(mine["distinct"], ".0f"),
        "width": span(mine["width"], ".0f"),
    }
    yield GRID.found(mine["file"], "record", numbers, words=words, details=records(mine))


def _cosines(evidence: Evidence) -> Iterator[Finding]:
    frames = [_of_table(evidence, each) for each in evidence.study.cosines()]
    held = [each for each in frames if len(each)]
    if not held:
        return
    every = pd.concat(held, ignore_index=True)
    every["apart"] = (every["cosine"] - every["now"]).abs()
    off = every[every["apart"] > CLOSE]
    if off.empty:
        return
    worst = greatest(off, off["apart"])
    numbers = {
        "off": len(off),
        "compared": int(every["apart"].notna().sum()),
        "tables": off["file"].nunique(),
        "of_tables": len(frames),
        "largest": worst["apart"],
        "published": worst["cosine"],
        "now": worst["now"],
    }
    words = {"pair": f"{worst['one']}, {worst['two']}"}
    yield COSINES.found(off["file"].unique(), "number", numbers, words=words, details=records(off))


def _of_table(evidence: Evidence, table: ResultsFile) -> pd.DataFrame:
    """The cosines of a table beside those of the vectors; empty where its name says no trait column and layer."""
    pairs = _published(table)
    vectors = evidence.study.vectors()
    columns = sorted(set(vectors.loc[vectors["model"] == table.model, "column"]), key=len, reverse=True)
    layer = re.search(r"_layer(\d+)\.csv$", table.file)
    column = next((name for name in columns if layer and f"_{name}{layer[0]}" in table.file), None)
    if layer is None or column is None:
        return pd.DataFrame(columns=["file", "one", "two", "cosine", "now"])
    both = zip(pairs["one"], pairs["two"], strict=True)
    now = [evidence.cosine(table.model, column, one, two, layer=int(layer[1])) for one, two in both]
    return pairs.assign(file=table.file, column=column, now=np.array(now, dtype=np.float64))


def _published(table: ResultsFile) -> pd.DataFrame:
    """The cosines of a table as pairs of revisions, each pair of a matrix once."""
    rows = table.rows
    to = next((str(name) for name in rows if str(name).startswith(TO)), "")
    if table.kind == "reference" and "revision" in rows:
        pairs = pd.DataFrame({"one": rows["revision"], "two": to.removeprefix(TO), "cosine": rows[to]})
    elif table.kind == "sequential" and {"target_revision", "cosine_similarity"} <= set(rows):
        pairs = rows[["source_revision", "target_revision", "cosine_similarity"]].set_axis(
            ["one", "two", "cosine"], axis=1
        )
    elif table.kind == "matrix" and "" in rows:
        long = (
            rows.drop(columns="row").melt(id_vars="", var_name="two", value_name="cosine").rename(columns={"": "one"})
        )
        pairs = long[long["one"] < long["two"]]
    else:
        pairs = pd.DataFrame(columns=["one", "two", "cosine"])
    return pairs.reset_index(drop=True).astype({"cosine": "float64"})
