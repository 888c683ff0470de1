"""Rows in files: CSV with a header, JSON lines, Parquet, and folders that the datasets library saved.

Rows are streamed in constant memory, and a file appears whole or not at all. Text stays the text it is ("NA" is two
letters), and an error names the file and the line.

Parquet is read and written by pyarrow, CSV and JSON lines by the standard library: pyarrow's readers of text name no
line, take a quote that never closes, refuse lone surrogates and columns of mixed types, turn texts that look like dates
into dates, and fill keys that a row lacks.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from personascope.core.errors import JudgeError, PersonascopeError, SampleError
from personascope.core.files import write_text

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, dict[str, Any]]
"""Where a row stands, for messages ("FILE, line 3"), and the row."""

LINES: Final = (".jsonl", ".ndjson", ".json")
"""Endings of files of JSON lines."""

_LONGEST_FIELD = 10_000_000
_BATCH = 256


def read_rows(path: str | Path, *, error: type[PersonascopeError]) -> Iterator[Row]:
    """The rows of a file, one after another, each with where it stands.

    A ``.csv`` file has a header, a ``.parquet`` file is one, a folder was written by ``Dataset.save_to_disk``, and any
    other file holds one JSON object to a line. Blank lines are passed over. A file may hold no row.

    Raises:
        error: naming file and line (or row), when that row is reached: no such file, a file of another format, a line
            that is no JSON object, or more or fewer fields than the header.
    """
    file = Path(path)
    if not file.exists():
        raise error(f"{file}: no such file or folder; check the path")
    if file.is_dir():
        yield from _saved_rows(file, error)
    elif file.suffix.casefold() == ".parquet":
        yield from _parquet_rows(file, error)
    else:
        yield from _text_rows(file, error)


def _text_rows(file: Path, error: type[PersonascopeError]) -> Iterator[Row]:
    rows = _csv_rows if file.suffix.casefold() == ".csv" else _json_rows
    unreadable = f"{file} is not a readable file of CSV or JSON lines"
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield from rows(file, opened, error)
    except OSError as problem:
        raise error(f"{file} cannot be read ({problem}): check the file") from None
    except UnicodeDecodeError as problem:
        raise error(f"{unreadable}: it is not UTF-8 ({problem}), save it as UTF-8") from None
    except csv.Error as problem:
        raise error(f"{unreadable} ({problem}): save it again with quoted texts") from None


def _json_rows(file: Path, opened: IO[str], error: type[PersonascopeError]) -> Iterator[Row]:
    for number, line in enumerate(opened, 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            whole = number == 1 and re.match(r"\s*\[\s*(\{|$)", line)
            hint = "it is one JSON list, which cannot be streamed: write" if whole else "it is no JSON object: give"
            raise error(f"{where}: {hint} one object to a line, or a .csv file with a header")
        yield where, row


def _csv_rows(file: Path, opened: IO[str], error: type[PersonascopeError]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.DictReader(opened, strict=True)
    for row in reader:
        where = f"{file}, line {reader.line_num}"
        if None in row or None in row.values():
            raise error(f"{where}: it has more or fewer fields than the header: quote texts with commas")
        yield where, dict(row)


def _parquet_rows(file: Path, error: type[PersonascopeError]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            batches = opened.iter_batches(batch_size=_BATCH)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError) as problem:
        raise error(f"{file} is no readable Parquet file ({_first_line(problem)}): write it again") from None


def _saved_rows(folder: Path, error: type[PersonascopeError]) -> Iterator[Row]:
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(each.name for each in folder.iterdir() if (each / "state.json").is_file())
        raise error(f"{folder} holds several datasets ({', '.join(splits)}): give the folder of one of them")
    if not (folder / "state.json").is_file():
        raise error(f"{folder} is a folder that no Dataset.save_to_disk wrote: give a file, or such a folder")
    import datasets

    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as problem:  # the library raises what the broken part raises
        raise error(f"{folder} is no readable dataset ({_first_line(problem)}): save it again") from None
    for number, row in enumerate(dataset, 1):
        yield f"{folder}, row {number}", dict(row)


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0]


def text_of(row: Mapping[str, Any], name: str, where: str) -> str:
    """A row's text; an empty one is a text too.

    Raises:
        JudgeError: if the row has no such column, or it holds no text.
    """
    if not isinstance(row.get(name), str):
        raise JudgeError(f"{where}: there is no text '{name}', and the columns are {', '.join(map(str, row))}: add it")
    return str(row[name])


def number_of(row: Mapping[str, Any], name: str, where: str) -> float:
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


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of rows, whatever characters their texts hold.

    By default pandas keeps strings in pyarrow, which takes no lone surrogate; early checkpoints emit them.
    """
    import pandas as pd

    with pd.option_context("mode.string_storage", "python"):
        return pd.DataFrame(rows)


class RowWriter:
    """A file that rows are written to one by one; the ending of its name says how.

    Left by an exception it leaves what was there before, and no draft. ``like`` is the dataset that rows come from: a
    Parquet file takes the types of its columns from it, where it has any.

    Raises:
        SampleError: for an ending that is not known, or a row whose columns are not those of the first (CSV, Parquet).
    """

    def __init__(self, path: str | Path, *, like: str | Path | None = None) -> None:
        self.path = Path(path)
        self.count = 0
        self._ending = self.path.suffix.casefold()
        if self._ending not in (*LINES, ".csv", ".parquet"):
            raise SampleError(f"{self.path} ends in '{self.path.suffix}': write .jsonl, .csv or .parquet")
        self._draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.draft")
        self._like = None if like is None else Path(like)
        self._file: IO[str] | None = None
        self._columns: list[str] = []
        self._waiting: list[dict[str, Any]] = []
        self._parquet: Any = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._ending != ".parquet":
            self._file = self._draft.open("w", encoding="utf-8", newline="")
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        self._columns = self._columns or list(row)
        if list(row) != self._columns and self._ending not in LINES:
            raise SampleError(f"{self.path}: row {self.count + 1} has other columns than the first: write .jsonl")
        if self._file is None:
            self._waiting.append(dict(row))
            if len(self._waiting) == _BATCH:
                self._flush()
        elif self._ending == ".csv":
            if not self.count:
                csv.writer(self._file).writerow(self._columns)
            csv.writer(self._file).writerow([_cell(each) for each in row.values()])
        else:
            self._file.write(_line(row))
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._file is None:
                self._flush(last=True)
            if self._file is not None:
                self._file.close()
            if self._parquet is not None:
                self._parquet.close()
            if kind is None:
                self._draft.replace(self.path)
        finally:
            self._draft.unlink(missing_ok=True)

    def _flush(self, *, last: bool = False) -> None:
        """Writes the rows that wait as one batch; of no row at all, an empty table."""
        import pyarrow
        import pyarrow.parquet

        if not self._waiting and not (last and self._parquet is None):
            return
        try:
            schema = self._schema(pyarrow) if self._parquet is None else self._parquet.schema
            table = pyarrow.Table.from_pylist(self._waiting, schema=schema)
            if self._parquet is None:
                self._parquet = pyarrow.parquet.ParquetWriter(self._draft, table.schema)
            self._parquet.write_table(table)
        except pyarrow.ArrowException as problem:
            raise SampleError(
                f"{self.path}: its rows have no common types ({_first_line(problem)}): write .jsonl"
            ) from None
        self._waiting.clear()

    def _schema(self, pyarrow: Any) -> Any:
        """The types of the columns: those of the dataset the rows come from, and for the others those of the rows."""
        known = _schema_of(self._like) if self._like is not None else None
        found = pyarrow.Table.from_pylist(self._waiting).schema
        if known is None:
            return found
        added = [each for each in found if each.name not in known.names]
        return pyarrow.schema([*known, *added])


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]], *, like: str | Path | None = None) -> int:
    """Writes rows to a ``.jsonl``, ``.csv`` or ``.parquet`` file, whole or not at all, and returns how many.

    Raises:
        SampleError: as :class:`RowWriter`.
    """
    with RowWriter(path, like=like) as writer:
        for row in rows:
            writer.write(row)
    return writer.count


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
    """Rows or a frame as a CSV file with a header, whole or not at all; what UTF-8 does not hold becomes escapes."""
    if isinstance(rows, Sequence):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        held = text.getvalue()
    else:
        held = rows.to_csv(index=False)
    write_text(path, held.encode("utf-8", errors="backslashreplace").decode("utf-8"))


def _schema_of(path: Path) -> Any:
    """The columns of a Parquet file or a saved dataset, without the notes other libraries left; else ``None``."""
    if path.is_dir():
        import datasets

        return datasets.load_from_disk(str(path)).features.arrow_schema.remove_metadata()
    if path.suffix.casefold() == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_schema(path).remove_metadata()
    return None


def _line(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON; a number that is none is null, and what UTF-8 does not hold is written as escapes."""
    held = {name: None if each != each else each for name, each in row.items()}
    text = json.dumps(held, ensure_ascii=False, default=str)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(held, default=str)
    return text + "\n"


def _cell(held: Any) -> Any:
    """A cell of a CSV file: structured values as JSON, NaN as nothing."""
    if isinstance(held, (list, dict)):
        return json.dumps(held, ensure_ascii=False)
    return "" if held is None or held != held else held
