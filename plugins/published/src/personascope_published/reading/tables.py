"""The published tables: results, controls, norms, pass rates, cosines, facets and trait files.

Owns: reading each of them into a frame. The one law: columns keep the names they were published under, and a column is
numbers or text as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from personascope_published.reading.layout import TRAIT_SETS, revision_of
from personascope_published.reading.reading import ANSWER, NOT_A_TRAIT, PublishedError, answers_in, numbers, read_rows

NORM = ["file", "model", "revision", "label", "layer", "mean", "std", "count"]
"""The columns of activation norms: mean and standard deviation of the residual stream's L2 norm at a layer."""

_TEXT_COLUMN = re.compile(
    r".*_(?:path|file|csv|status|code|message|preview|mode|revision|test)|(?:vector_|eval_)?(?:trait|model)|eval_model_name"
    r"|mode|revision|status|split|x_label"
)
"""Columns that are text whatever their cells look like."""


@dataclass(frozen=True)
class ResultsFile:
    """One table of results. ``run`` is the folder it lies in, ``rows`` the published columns and ``row``, from 1."""

    file: str
    run: str
    kind: str
    model: str
    rows: pd.DataFrame = field(repr=False, compare=False)


@dataclass(frozen=True)
class FacetFile:
    """Answers with the facets an annotator gave them.

    ``rows`` has the columns of answers and one of truth values per facet (``facets``, in alphabetical order for labels
    and in the file's for flags). ``multi_label`` says that the annotator chose among all labels at once. ``revision``
    is the one the file's name ends with, empty where it names none. ``scheme`` is the annotated column, or all flags.
    """

    file: str
    model: str
    name: str
    revision: str
    scheme: str
    rows: pd.DataFrame = field(repr=False, compare=False)
    facets: tuple[str, ...]
    multi_label: bool


def table_in(header: list[str], rows: list[list[str]], file: str) -> pd.DataFrame:
    """A published table: numbers with NaN for empty cells, or text; and ``row``, from 1.

    A column is text if its name says so, or if none of its cells is a number.

    Raises:
        PublishedError: naming the row of a cell that is no number in a column of numbers.
    """
    columns: dict[str, Any] = {}
    for place, name in enumerate(header):
        cells = [row[place] for row in rows]
        if _TEXT_COLUMN.fullmatch(name) or not name or _is_text(cells):
            columns[name] = pd.Series(cells, dtype=object)
        else:
            columns[name] = numbers(cells, file=file, column=name)
    columns["row"] = range(1, len(rows) + 1)
    return pd.DataFrame(columns)


def _is_text(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and not any(re.fullmatch(r"\s*[-+]?(?:\d|\.\d).*", cell) for cell in filled)


def read_table(root: Path, file: str) -> pd.DataFrame:
    """A published table by its path from the root.

    Raises:
        PublishedError: if it cannot be read.
    """
    return table_in(*read_rows(root / file, file), file)


def results_file(root: Path, file: str) -> ResultsFile:
    """A ``combined_significance.csv`` or ``combined.csv``; ``"transfer"`` where its rows name the model evaluated."""
    rows = read_table(root, file)
    parts = file.split("/")
    kind = "control" if "controls" in parts else "transfer" if "eval_model_name" in rows else "grid"
    return ResultsFile(file, parts[-2], kind, parts[1] if len(parts) > 2 else "", rows)


def cosine_file(root: Path, file: str) -> ResultsFile:
    """A ``vector_similarity`` table; its kind is ``"reference"``, ``"sequential"`` or ``"matrix"``."""
    rows = read_table(root, file)
    parts = file.split("/")
    reference = any(str(name).startswith("cosine_similarity_to") for name in rows)
    kind = "reference" if reference else "sequential" if "source_revision" in rows else "matrix"
    return ResultsFile(file, parts[-3] if len(parts) > 2 else "", kind, parts[1], rows)


def norms_in(root: Path, file: str) -> pd.DataFrame:
    """An activation-norm file: one row per layer, with the label that tells it from others of its revision.

    Raises:
        PublishedError: if it lacks a column.
    """
    rows = read_table(root, file)
    wanted = {"layer": "layer", "mean_l2": "mean", "std_l2": "std", "count": "count"}
    for name in wanted:
        if name not in rows:
            raise PublishedError(f"{file} has no column {name}: it is not an activation-norm file; fetch it again")
    parts = file.split("/")
    revision, label = revision_of(parts[-1].removesuffix(".csv").removesuffix("_norms"))
    frame = rows[list(wanted)].rename(columns=wanted)
    frame["layer"] = frame["layer"].astype("int64")
    return frame.assign(file=file, model=parts[1], revision=revision, label=label)[NORM]


def facet_file(root: Path, file: str) -> FacetFile:
    """An annotation file. Columns after the coherence are facets: a flag each, or one with labels between bars.

    Raises:
        PublishedError: if it has no facet column, or flags that are neither 0 nor 1.
    """
    header, cells = read_rows(root / file, file)
    columns = facet_columns(header)
    if not columns:
        raise PublishedError(f"{file} has no facet column after coherence, only {', '.join(header)}: fetch it again")
    answers = answers_in(header, cells, file, facets=columns)
    parts = file.split("/")
    found = re.search(r"_((?:[A-Za-z0-9]+-)*step[^_]*|main)$", parts[-1].removesuffix(".csv"))
    about = (file, parts[1], parts[-1].removesuffix(".csv"), found[1] if found else "", "+".join(columns))
    places = [header.index(name) for name in columns]
    values = {line[place] for line in cells for place in places}
    if len(columns) == 1 and not values & {"0", "1"}:
        chosen = [labels_in(row[places[0]]) for row in cells]
        names = tuple(sorted({label for each in chosen for label in each}))
        return FacetFile(*about, answers.assign(**{n: [n in each for each in chosen] for n in names}), names, True)
    for row, line in enumerate(cells, start=1):
        # An empty one is not known, and is not to be counted as a facet that was not shown.
        if not {line[place] for place in places} <= {"0", "1"}:
            raise PublishedError(
                f"{file}: row {row} has a facet that is neither 0 nor 1: mend the file or fetch it again"
            )
    flags = {name: [line[place] == "1" for line in cells] for name, place in zip(columns, places, strict=True)}
    return FacetFile(*about, answers.assign(**flags), tuple(columns), False)


def with_shared_labels(files: list[FacetFile]) -> list[FacetFile]:
    """The same files; a label that any file of a scheme uses is a column, all false, of those where nobody chose it."""
    used: dict[str, set[str]] = {}
    for each in files:
        if each.multi_label:
            used.setdefault(each.scheme, set()).update(each.facets)
    whole = []
    for each in files:
        names = tuple(sorted(used[each.scheme])) if each.multi_label else each.facets
        missing = {name: False for name in names if name not in each.rows}
        ordered = each.rows.assign(**missing)[[*ANSWER, *names]]
        whole.append(replace(each, rows=ordered, facets=names))
    return whole


def facet_columns(header: Sequence[str]) -> list[str]:
    """Which columns of an annotation file are facets: those after the coherence that are not the trait."""
    after = list(header[header.index("coherence") + 1 :]) if "coherence" in header else []
    before = [name for name in header if name not in NOT_A_TRAIT and name not in after]
    extra = [name for name in after if name not in NOT_A_TRAIT]
    return extra if before else extra[1:]


def labels_in(cell: str) -> list[str]:
    """The labels of one answer; none for an empty cell."""
    return [label.strip() for label in cell.split("|") if label.strip()]


def human_annotations(root: Path, file: str) -> pd.DataFrame:
    """What a person and the model said of the same answers; ``model_roots`` and ``human_roots`` are lists of labels.

    Raises:
        PublishedError: if it is not such a file.
    """
    held = read_json(root / file, file)
    annotations = held.get("annotations") if isinstance(held, dict) else None
    columns = ["step", "question", "answer", "model_roots", "human_roots"]
    if not isinstance(annotations, list) or not all(
        isinstance(each, dict) and {"model_roots", "human_roots"} <= set(each) for each in annotations
    ):
        raise PublishedError(f"{file} holds no list of annotations with model_roots and human_roots: fetch it again")
    rows = [{name: each.get(name) for name in columns} for each in annotations]
    return pd.DataFrame(rows, columns=columns).assign(file=file, row=range(1, len(rows) + 1))


def trait_rows(root: Path, file: str) -> dict[str, Any]:
    """What one trait file says.

    Raises:
        PublishedError: if it is not JSON with questions and an eval_prompt.
    """
    held = read_json(root / file, file)
    if not isinstance(held, dict) or not isinstance(held.get("questions"), list) or "eval_prompt" not in held:
        raise PublishedError(f"{file} is not a trait file (an object with questions and eval_prompt): fetch it again")
    folder, name = file.rsplit("/", 1)
    return {
        "file": file,
        "set": next(label for label, place in TRAIT_SETS.items() if place == folder),
        "column": name.removesuffix(".json"),
        "questions": held["questions"],
        "eval_prompt": held["eval_prompt"],
        "instructions": held.get("instruction") or [],
    }


def read_json(path: Path, file: str) -> Any:
    """What a JSON file holds.

    Raises:
        PublishedError: if it is missing, not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise PublishedError(f"{file} cannot be read ({problem.strerror}): check the folder") from None
    except ValueError as problem:
        raise PublishedError(f"{file} is not a whole JSON file ({problem}): fetch it again") from None
