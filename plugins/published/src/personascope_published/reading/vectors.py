"""The published vectors and what was noted when they were built.

Owns: the list of vectors with their status files, and loading one. The one law: a vector that could not be extracted
has a row as well, with its reason; and a file is data that is never executed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from personascope.core.errors import VectorError
from personascope.core.records import Span
from personascope.core.vectors import PersonaVector
from personascope_published.reading.layout import VECTORS, revision_of, trait_of
from personascope_published.reading.places import place_of
from personascope_published.reading.reading import PublishedError
from personascope_published.reading.tables import read_json

ABOUT = ["file", "model", "revision", "variant", "column", "trait", "form", "span"]
STATUS = ["status_file", "status", "reason_code", "message"]
COUNTS = [
    "effective_rows", "threshold", "inverse_threshold", "pos_rows", "neg_rows",
    "pos_trait_ge_threshold_count", "neg_trait_lt_inverse_threshold_count",
    "pos_coherence_ge_50_count", "neg_coherence_ge_50_count",
    "pos_trait_mean", "neg_trait_mean", "pos_coherence_mean", "neg_coherence_mean",
]  # fmt: skip
"""What a status file may count; NaN where it does not."""

_NAME = re.compile(r"(?P<column>.+)_(?P<span>response_avg|prompt_avg|prompt_last)_diff")
_SPANS: dict[str, Span] = {"response_avg": "response", "prompt_avg": "prompt", "prompt_last": "last_prompt"}


def vector_rows(files: Iterable[str], root: Path, note: Callable[[str, str], None]) -> pd.DataFrame:
    """One row per vector or status, columns ``ABOUT``, ``STATUS`` and ``COUNTS``.

    Args:
        note: What is told of a file that cannot be read, and why.
    """
    endings = (".pt", ".status.json")
    held = {file for file in files if file.endswith(endings)}
    stems = sorted({file.removesuffix(".pt").removesuffix(".status.json") for file in held})
    rows = []
    for stem in stems:
        try:
            about = about_vector(stem)
        except PublishedError as problem:
            note(stem, str(problem))
            continue
        file = f"{stem}.pt" if f"{stem}.pt" in held else ""
        status_file = f"{stem}.status.json" if f"{stem}.status.json" in held else ""
        status: dict[str, Any] = {}
        if status_file:
            try:
                status = _status(root, status_file)
            except PublishedError as problem:
                note(status_file, str(problem))
        rows.append({**about, "file": file, "status_file": status_file, **status})
    frame = pd.DataFrame(rows, columns=[*ABOUT, *STATUS, *COUNTS])
    words = [*ABOUT, *STATUS]
    frame[words] = frame[words].astype(object).where(frame[words].notna(), "")
    return frame.astype(dict.fromkeys(COUNTS, "float64"))


def about_vector(file: str) -> dict[str, str]:
    """What a vector's path says: model, revision, variant, trait column, trait, form and span.

    Raises:
        PublishedError: if it says nothing of the kind.
    """
    parts = file.removeprefix(f"{VECTORS}/").split("/")
    found = _NAME.fullmatch(re.sub(r"\.pt$", "", parts[-1]))
    if not found or len(parts) < 3:
        raise PublishedError(f"{file} is not named like a vector (MODEL/REVISION/TRAIT_response_avg_diff.pt)")
    revision, variant = revision_of(parts[1])
    trait, form = trait_of(found["column"])
    place = {"model": parts[0], "revision": revision, "variant": variant}
    return {**place, "column": found["column"], "trait": trait, "form": form, "span": _SPANS[found["span"]]}


def load_vector(path: Path, file: str) -> PersonaVector:
    """The vector in a published file; its passport is what the path says.

    Raises:
        PublishedError: if it is missing, damaged, would execute code, or holds no vector.
    """
    from personascope.interop.tensors import load_pt  # imports torch

    about = about_vector(file)
    checkpoint = place_of(about["model"], about["revision"]).checkpoint
    span: Span = next(each for each in _SPANS.values() if each == about["span"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            return load_pt(path, trait=about["trait"], form=about["form"], checkpoint=checkpoint, span=span)
    except VectorError as problem:
        raise PublishedError(str(problem)) from None


def _status(root: Path, file: str) -> dict[str, Any]:
    held = read_json(root / file, file)
    if not isinstance(held, dict) or not isinstance(held.get("status"), str):
        raise PublishedError(f"{file} says no status: it is not a status file; fetch it again")
    counts = {name: held[name] for name in COUNTS if held.get(name) is not None}
    if wrong := [name for name, value in counts.items() if not isinstance(value, (int, float))]:
        raise PublishedError(f"{file}: {wrong[0]} is {counts[wrong[0]]!r}, which is no number: fetch the file again")
    return {name: held[name] for name in STATUS if isinstance(held.get(name), str)} | counts
