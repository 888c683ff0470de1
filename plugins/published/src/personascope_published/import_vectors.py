"""Published vectors with a passport: what they were made from, as far as the published files say.

Owns: :func:`import_vectors` and :class:`Pairs`. The one law: a count is what the files give; where a status file
recorded another one, the vector was made from other answers than those published, and no answer is named as its source.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from personascope.applications.screen import recovery as filtering
from personascope.core.errors import PersonascopeError, StudyError
from personascope.core.records import Bar
from personascope.core.vectors import PairCounts, PersonaVector
from personascope.store.store import Store
from personascope_published.import_rows import Source, judge_of, rows_of
from personascope_published.reading import Published, PublishedError
from personascope_published.reading.layout import VECTORS

BAR = 50.0  # tracing study §1.5, where a status file names no other


@dataclass(frozen=True)
class Pairs:
    """The pairs behind a vector: how many, why not more, the kept rows (from 1), and a note where a count differs."""

    counts: PairCounts
    rows: tuple[int, ...] = ()
    note: str = ""


@dataclass
class Vectors:
    """What became of the published vectors.

    ``files`` are the written ones by published file, from the store's folder; ``pairs`` are by model, revision, variant
    and trait column, also where there is no vector; ``norms`` counts the vectors by the norm file's label.
    """

    files: dict[str, str] = field(default_factory=dict)
    pairs: dict[tuple[str, str, str, str], Pairs] = field(default_factory=dict)
    norms: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def import_vectors(study: Published, rows: pd.DataFrame, sources: Mapping[str, Source], store: Store) -> Vectors:
    """Writes every vector as ``vectors/MODEL/REVISION/COLUMN.safetensors`` in a store, with its passport.

    Args:
        rows: Those rows of :meth:`~personascope_published.reading.Published.vectors` that are wanted.
        sources: The imported files of answers, by path.
    """
    made, norms, poles = Vectors(), study.norms(), _poles(study)
    for row in rows_of(rows):
        place = (row["model"], row["revision"], row["variant"], row["column"])
        both = poles.get(place, {})
        pairs = _pairs(study, row, both)
        made.pairs[place] = pairs
        made.notes += [pairs.note] if pairs.note else []
        if not row["file"]:
            continue
        try:
            vector = study.vector(row["file"])
        except PersonascopeError:
            continue  # noted by the study
        label, measured = _norms(norms, row, vector)
        made.norms[label] += 1
        keys = _keys(pairs, [sources.get(both.get(pole, "")) for pole in ("positive", "negative")])
        path = made.files[row["file"]] = vector_path(row["file"])
        whole = replace(vector, residual_norms=measured, counts=pairs.counts, judge=judge_of(row), sources=keys)
        store.keep_vector(path, whole)
    return made


def vector_path(file: str) -> str:
    """Where a published vector is kept below the store's folder: its own path, in our words."""
    stem = file.removeprefix(f"{VECTORS}/").removesuffix(".pt").removesuffix("_diff").removesuffix("_response_avg")
    return f"vectors/{stem}.safetensors"


def _poles(study: Published) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """The extraction files of every model, revision, variant and trait column, by pole."""
    files = study.response_files()
    found: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for row in rows_of(files[files["kind"] == "extraction"]):
        place = (row["model"], row["revision"], row["variant"], row["column"])
        found.setdefault(place, {})[row["pole"]] = row["file"]
    return found


def _pairs(study: Published, row: Mapping[str, Any], files: Mapping[str, str]) -> Pairs:
    """The pairs as the published answers give them, else as the status file counted them."""
    recorded = None if math.isnan(row["effective_rows"]) else int(row["effective_rows"])
    try:
        positive, negative = study.answers(files["positive"]), study.answers(files["negative"])
    except (KeyError, PublishedError):
        return Pairs(_recorded(row, recorded))
    try:
        pairs = filtered(positive, negative, bar=BAR if math.isnan(row["threshold"]) else float(row["threshold"]))
    except StudyError as problem:
        study.note(row["status_file"], str(problem))
        return Pairs(_recorded(row, recorded))
    if recorded is None or recorded == pairs.counts.kept:
        return pairs
    name = row["file"] or row["status_file"]
    note = f"{name} was made from {recorded} pairs, and {pairs.counts.kept} of the published answers' clear the bar"
    return Pairs(_recorded(row, recorded), note=note)


def _recorded(row: Mapping[str, Any], kept: int | None) -> PairCounts:
    asked = [row[name] for name in ("pos_rows", "neg_rows") if not math.isnan(row[name])]
    return PairCounts(int(min(asked)) if asked else kept or 0, kept or 0)


def filtered(positive: pd.DataFrame, negative: pd.DataFrame, *, bar: float = BAR) -> Pairs:
    """The published filter over two files of answers, row by row (tracing study §1.5), with the reasons in our words.

    An empty answer that clears the bar is kept: the published filter does not look at the text.
    """
    sides = (side[["score", "coherence"]] for side in (positive, negative))
    found = filtering.pairs(*sides, bar=Bar(bar, BAR))
    return Pairs(filtering.pair_counts(found), tuple((np.flatnonzero(found["kept"]) + 1).tolist()))


def _keys(pairs: Pairs, sources: list[Source | None]) -> tuple[str, ...]:
    positive, negative = sources
    if positive is None or negative is None:
        return ()
    return tuple(source.response_key(row) for row in pairs.rows for source in (positive, negative))


def _norms(norms: pd.DataFrame, row: Mapping[str, Any], vector: PersonaVector) -> tuple[str, np.ndarray]:
    """The residual norms of a vector's checkpoint, and the label of the file they are from.

    The file of the trait itself comes first, then the one shared by all traits, then the only one there is. Where none
    of these is, or it lacks a layer, the norms are NaN.
    """
    mine = norms[(norms["model"] == row["model"]) & (norms["revision"] == row["revision"])]
    labels = set(mine["label"])
    wanted = [each for each in (row["column"], "shared") if each in labels] or (
        list(labels) if len(labels) == 1 else []
    )
    unknown = np.full(len(vector.directions), np.nan)
    if not wanted:
        return "none", unknown
    chosen = mine[mine["label"] == wanted[0]].sort_values("layer")
    if chosen["layer"].tolist() != list(range(len(unknown))):
        return "none", unknown
    name = "its own trait's" if wanted[0] == row["column"] else wanted[0] or "the only one"
    return name, chosen["mean"].to_numpy(dtype=float)
