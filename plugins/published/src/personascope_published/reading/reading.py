"""CSV files, strictly: what is damaged is said, with the file's name, and never guessed.

Owns: :func:`read_rows`, :func:`numbers` and the answers of a responses file. The one law: every row that was written is
read as it was written (``NA``, line breaks and empty answers included), or the file is refused.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from personascope.core.errors import PersonascopeError

ANSWER = ["file", "row", "question_id", "question", "prompt", "answer", "column", "score", "coherence"]
"""The columns of published answers. ``row`` counts data rows from 1, as a CSV reader does."""

TEXT = ("question", "prompt", "answer")
NOT_A_TRAIT = ("question_id", *TEXT, "coherence", "method")


class PublishedError(PersonascopeError, ValueError):
    """A folder or a file is not what the published study's layout says it is."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, or not as what its place says it is."""

    file: str
    reason: str


def files_below(root: Path) -> tuple[list[str], list[Problem]]:
    """The paths of all files below a folder, in alphabetical order, and the folders that cannot be looked into.

    Links to folders are followed, a folder that is met again is not. What is no file (a pipe, a dead link) is left out.
    """
    found: list[str] = []
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()

    def told(problem: OSError) -> None:
        folder = Path(str(problem.filename)).relative_to(root).as_posix()
        problems.append(Problem(folder, f"{folder} cannot be looked into ({problem.strerror}): check its permissions"))

    for folder, inner, names in os.walk(root, followlinks=True, onerror=told):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inner[:] = [name for name in inner if not name.startswith(".")]
        whole = [Path(folder) / name for name in names if not name.startswith(".")]
        found += [path.relative_to(root).as_posix() for path in whole if path.is_file()]
    return sorted(found), problems


def read_rows(path: Path, file: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, every cell as text.

    Raises:
        PublishedError: if the file is missing, empty, not UTF-8, cut off (inside quotes, inside a row, or before its
            last line end), or has a row of another width than its header.
    """
    text = _text_of(path, file)
    if not text.endswith("\n"):
        raise PublishedError(f"{file} is cut off: its last row does not end with a line end; fetch the file again")
    try:
        table = [row for row in _parsed(text) if row]
    except csv.Error as problem:
        raise PublishedError(
            f"{file} is not a whole CSV file ({problem}): it was cut off or edited; fetch it again"
        ) from None
    if not table:
        raise PublishedError(f"{file} has no header: fetch the file again")
    header, rows = table[0], table[1:]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise PublishedError(
                f"{file}: row {number} has {len(row)} cells and the header {len(header)}: "
                "the file was cut off or edited; fetch it again"
            )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise PublishedError(f"{file} has two columns named '{twice}': say which one counts by renaming the other")
    return header, rows


def read_header(path: Path, file: str) -> list[str]:
    """The header of a CSV file alone.

    Raises:
        PublishedError: if there is none that can be read.
    """
    try:
        with path.open("rb") as opened:
            first = opened.readline()
    except OSError as problem:
        raise PublishedError(f"{file} cannot be read ({problem.strerror}): check the folder") from None
    try:
        rows = list(csv.reader([first.decode("utf-8-sig")], strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise PublishedError(f"{file} has no readable header ({problem}): fetch the file again") from None
    if not rows or not rows[0]:
        raise PublishedError(f"{file} has no header: fetch the file again")
    return rows[0]


def _text_of(path: Path, file: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise PublishedError(f"{file}: no such file in the published data; check the path that names it") from None
    except UnicodeDecodeError as problem:
        raise PublishedError(f"{file} is not UTF-8 at byte {problem.start:,}: fetch the file again") from None
    except OSError as problem:
        raise PublishedError(f"{file} cannot be read ({problem.strerror}): check the path") from None


def _parsed(text: str) -> list[list[str]]:
    """The cells. A carriage return alone is part of an answer, quoted or not, and never the end of a row."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a long answer is whole: Python stops at 131,072
    if not re.search(r"\r(?!\n)", text):
        return list(csv.reader(io.StringIO(text, newline="\n"), strict=True))
    mark = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    rows = csv.reader(io.StringIO(re.sub(r"\r(?!\n)", mark, text), newline="\n"), strict=True)
    return [[cell.replace(mark, "\r") if mark in cell else cell for cell in row] for row in rows]


def numbers(cells: Sequence[str], *, file: str, column: str) -> np.ndarray:
    """A column of numbers, NaN where a cell is empty.

    Raises:
        PublishedError: naming the file and the row of a cell that is neither empty nor a finite number.
    """
    try:
        values = np.array([float(cell) if cell else math.nan for cell in cells], dtype=np.float64)
    except ValueError:
        values = np.full(len(cells), math.inf)
    suspect = ~np.isfinite(values) | np.array(["_" in cell for cell in cells], dtype=bool)
    for index in np.flatnonzero(suspect).tolist():
        if cells[index] and not _is_number(cells[index]):
            raise PublishedError(
                f"{file}: row {index + 1}: {column} is {cells[index]!r}, which is no number: "
                "mend the file or fetch it again"
            )
    return values


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False


def trait_column(header: Sequence[str], file: str, *, facets: Sequence[str] = ()) -> str:
    """The one column that holds a trait's scores; empty for answers nobody judged.

    Raises:
        PublishedError: if the file has several, has none beside a coherence, or lacks another column of the layout.
    """
    extra = [name for name in header if name not in NOT_A_TRAIT and name not in facets]
    if "question_id" not in header:
        raise PublishedError(f"{file} has no column question_id, only {', '.join(header)}: it is not a responses file")
    if len(extra) > 1:
        raise PublishedError(f"{file} has {len(extra)} trait columns ({', '.join(extra)}): a responses file has one")
    if len(extra) == 1 and "coherence" not in header:
        raise PublishedError(f"{file} has no column coherence beside {extra[0]}: fetch the file again")
    if not extra and "coherence" in header:
        raise PublishedError(f"{file} has no trait column beside coherence: fetch the file again")
    if not extra and "answer" not in header:
        raise PublishedError(
            f"{file} has neither answers nor scores, only {', '.join(header)}: it is not a responses file"
        )
    return extra[0] if extra else ""


def answers_in(header: list[str], rows: list[list[str]], file: str, *, facets: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a responses file as a frame with the columns ``ANSWER``.

    Text the file lacks is ``None``; scores are NaN where the judge gave none, or where nobody was asked.

    Raises:
        PublishedError: as :func:`trait_column` and :func:`numbers` do.
    """
    column = trait_column(header, file, facets=facets)
    cells = (
        dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in header}
    )

    def text(name: str) -> pd.Series:
        return pd.Series(cells.get(name, [None] * len(rows)), dtype=object)

    def score(name: str) -> np.ndarray:
        return numbers(cells[name], file=file, column=name) if name in cells else np.full(len(rows), math.nan)

    frame = {
        "file": pd.Series([file] * len(rows), dtype=object),
        "row": np.arange(1, len(rows) + 1),
        "question_id": text("question_id"),
        **{name: text(name) for name in TEXT},
        "column": pd.Series([column] * len(rows), dtype=object),
        "score": score(column),
        "coherence": score("coherence"),
    }
    return pd.DataFrame(frame, columns=ANSWER)
