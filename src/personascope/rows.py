"""Rows of text in files that people make: CSV with a header, or JSON lines.

Owns: :func:`read_rows`, :func:`frame_of`, :func:`text_of` and :func:`number_of`. The one law: text stays the text it is
("NA" is two letters), and what is wrong with a file is said with its line.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.core.errors import JudgeError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_FIELD = 10_000_000


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a ``.csv`` or ``.jsonl`` file with the place it stands at, for messages.

    Raises:
        JudgeError: if there is no such file, or it is neither.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv_rows(path, file) if path.suffix.casefold() == ".csv" else _json_rows(path, file)
    except FileNotFoundError:
        raise JudgeError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise JudgeError(f"{path} is a folder: give a file of CSV or JSON lines") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise JudgeError(f"{path}: not a readable file of CSV or JSON lines ({problem}): save it as UTF-8") from None


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of rows, whatever characters their texts hold.

    Where pyarrow is installed pandas keeps strings in it, and it takes no lone surrogate, which early checkpoints emit.
    """
    import pandas as pd

    with pd.option_context("mode.string_storage", "python"):
        return pd.DataFrame(rows)


def text_of(row: dict[str, Any], name: str, where: str) -> str:
    """A row's text; an empty one is a text too.

    Raises:
        JudgeError: if the row has no such column, or it holds no text.
    """
    if not isinstance(row.get(name), str):
        raise JudgeError(f"{where}: there is no text '{name}', and the columns are {', '.join(map(str, row))}: add it")
    return str(row[name])


def number_of(row: dict[str, Any], name: str, where: str) -> float:
    """A row's number.

    Raises:
        JudgeError: if it holds none.
    """
    try:
        number = float(row[name])
    except (KeyError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise JudgeError(f"{where}: '{row.get(name, '')}' is no number for '{name}': mend it")
    return number


def _csv_rows(path: Path, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise JudgeError(f"{where}: it has more or fewer fields than the header: quote texts with commas")
            yield where, dict(row)
    finally:
        csv.field_size_limit(before)


def _json_rows(path: Path, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise JudgeError(f"{where}: it is no JSON object: give one to a line, or a .csv file with a header")
        yield where, row
