"""Datasets out: rows into JSON lines, CSV or Parquet.

Owns: :class:`RowWriter` and :func:`write_rows`. The one law: a file appears whole or not at all. Rows go to a draft as
they come, and the draft takes the file's place when the last one is written.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from personascope.core.errors import SampleError
from personascope.interop.samples.reading import LINES

_BATCH = 256


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
            said = str(problem).partition("\n")[0]
            raise SampleError(f"{self.path}: its rows have no common types ({said}): write .jsonl") from None
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
