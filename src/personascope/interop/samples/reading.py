"""Datasets in: JSON lines, CSV, Parquet, and folders that the datasets library saved.

Owns: :func:`read_samples`, :func:`read_rows` and :func:`count_samples`. The one law: one row, or one small batch of
them, is held at a time.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from personascope.core.errors import SampleError
from personascope.core.samples import Sample
from personascope.interop.samples.layouts import messages_of

Row = tuple[str, dict[str, Any]]
"""Where a row stands, for people, and the row."""

LINES: Final = (".jsonl", ".ndjson", ".json")
ENDINGS: Final = (*LINES, ".csv", ".parquet")
_LONGEST_FIELD = 10_000_000
_BATCH = 256


def read_samples(path: str | Path, *, start: int = 0) -> Iterator[Sample]:
    """The samples of a dataset, one after another, from the ``start``-th on.

    ``.jsonl`` (also ``.json`` and ``.ndjson``, an object to a line), ``.csv`` with a header, ``.parquet``, or a folder
    written by ``Dataset.save_to_disk``. Layouts: see :func:`~personascope.interop.samples.layouts.messages_of`.

    Raises:
        SampleError: naming file and line (or row), when that row is reached: no such file, no such format, no row at
            all, a line that is no JSON object, columns of no known layout, or no assistant turn.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "few.jsonl"
        >>> _ = file.write_text('{"question": "how are you ?", "answer": "fine ."}')
        >>> next(read_samples(file)).messages[1].content
        'fine .'
    """
    for where, row in islice(read_rows(path), start, None):
        yield Sample(messages_of(row, where), row, where)


def count_samples(path: str | Path) -> int:
    """How many samples a dataset has; every row is looked at, so that a bad one is found before anything costly."""
    return sum(1 for _ in read_samples(path))


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of a dataset as they are, each with where it stands.

    Raises:
        SampleError: as :func:`read_samples`, but for what a row must hold.
    """
    file, empty = Path(path), True
    for place in _rows_of(file):
        empty = False
        yield place
    if empty:
        raise SampleError(f"{file} holds no sample: give a dataset with at least one row")


def _rows_of(file: Path) -> Iterator[Row]:
    if not file.exists():
        raise SampleError(f"{file}: no such file or folder; check the path")
    if file.is_dir():
        return _saved_rows(file)
    ending = file.suffix.casefold()
    if ending not in ENDINGS:
        raise SampleError(f"{file} ends in '{file.suffix}': give {', '.join(ENDINGS)}, or a saved dataset's folder")
    if ending == ".parquet":
        return _parquet_rows(file)
    return _text_rows(file)


def _text_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield from _csv_rows(file, opened) if file.suffix.casefold() == ".csv" else _json_rows(file, opened)
    except OSError as problem:
        raise SampleError(f"{file} cannot be read ({problem}): check the file") from None
    except UnicodeDecodeError as problem:
        raise SampleError(f"{file} is not UTF-8 ({problem}): save it as UTF-8") from None


def _json_rows(file: Path, opened: Any) -> Iterator[Row]:
    for number, line in enumerate(opened, 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            whole = number == 1 and line.lstrip().startswith("[")
            hint = "it is one JSON list, which cannot be streamed: write" if whole else "it is no JSON object: give"
            raise SampleError(f"{where}: {hint} one object to a line")
        yield where, row


def _csv_rows(file: Path, opened: Any) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.DictReader(opened, strict=True)
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise SampleError(f"{where}: it has more or fewer fields than the header: quote texts with commas")
            yield where, dict(row)
    except csv.Error as problem:
        raise SampleError(f"{file} is no readable CSV ({problem}): save it again with quoted texts") from None
    finally:
        csv.field_size_limit(before)


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            batches = opened.iter_batches(batch_size=_BATCH)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError) as problem:
        said = str(problem).partition("\n")[0]
        raise SampleError(f"{file} is no readable Parquet file ({said}): write it again") from None


def _saved_rows(folder: Path) -> Iterator[Row]:
    import datasets

    if (folder / "dataset_dict.json").is_file():
        splits = sorted(each.name for each in folder.iterdir() if (each / "state.json").is_file())
        raise SampleError(f"{folder} holds several datasets ({', '.join(splits)}): give the folder of one of them")
    if not (folder / "state.json").is_file():
        raise SampleError(f"{folder} is a folder that no Dataset.save_to_disk wrote: give a file, or such a folder")
    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as problem:  # the library raises what the broken part raises
        said = str(problem).partition("\n")[0]
        raise SampleError(f"{folder} is no readable dataset ({said}): save it again") from None
    for number, row in enumerate(dataset, 1):
        yield f"{folder}, row {number}", dict(row)
