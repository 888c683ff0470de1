"""Cells of a results table that were pooled from several files of answers.

Owns: :func:`merges_of`. The one law: a cell is explained by files only if their rows, each file counted so many times,
give the recorded number of rows and the recorded mean; all that is assumed of a companion file's name is that it goes
on where the name of the row's file ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from personascope.published.audits.findings import records

MOST_TIMES = 3
MOST_COMPANIONS = 4
TOLERANCE = 1e-9

Composition = Mapping[str, int]
"""How often each file was counted."""


def merges_of(
    rows: pd.DataFrame, files: Iterable[str], answers: Callable[[str], pd.DataFrame | None]
) -> dict[tuple[str, int], Composition]:
    """The composition of every row that counts more answers than its steered file holds, where files explain it."""
    found = {}
    known = list(files)
    for row in records(rows, ["file", "row", "steered_file", "steered_rows", "steered_mean"]):
        own = answers(row["steered_file"])
        if own is None or not row["steered_rows"] > len(own):
            continue
        stem = row["steered_file"].removesuffix(".csv")
        companions = [file for file in known if file.startswith(f"{stem}_")][:MOST_COMPANIONS]
        held = {file: answers(file) for file in (row["steered_file"], *companions)}
        sides = {file: each for file, each in held.items() if each is not None and len(each)}
        if composition := _composition(sides, row["steered_rows"], row["steered_mean"]):
            found[(row["file"], row["row"])] = composition
    return found


def _composition(sides: Mapping[str, pd.DataFrame], count: float, mean: float) -> Composition | None:
    scores = {file: each["score"].dropna() for file, each in sides.items()}
    more = [range(MOST_TIMES + 1)] * (len(sides) - 1)
    for counts in itertools.product(range(1, MOST_TIMES + 1), *more):
        times = dict(zip(sides, counts, strict=True))
        if sum(n * len(sides[file]) for file, n in times.items()) != count:
            continue
        total = sum(n * scores[file].sum() for file, n in times.items())
        number = sum(n * len(scores[file]) for file, n in times.items())
        if number and abs(total / number - mean) <= TOLERANCE * max(1.0, abs(mean)):
            return {file: n for file, n in times.items() if n}
    return None
