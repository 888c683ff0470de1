"""The store: what was asked and answered, recorded once.

Owns: :class:`Store`. The one law: a record, once written, is never changed or lost. Records are committed in chunks as
they arrive, so a killed run loses at most the chunk in flight; the first answer to a question stands, whoever else asks
it. There is nothing to overwrite: to get another answer, ask another question.

Readings are kept too (:class:`ReadingsFolder`), in a folder that may be deleted at any time: a file that cannot be read
is as good as absent, and the engine reads again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from personascope.core.errors import StoreError
from personascope.core.identity import canonical
from personascope.core.records import Readings
from personascope.core.vectors import PersonaVector

Kind = Literal["response", "verdict", "rendering", "file", "rubric", "text"]
"""What a record is of. Files and rubrics are those of published data: what its responses and verdicts refer to."""

Record = tuple[str, Mapping[str, Any], Mapping[str, Any]]  # key, value, by
Item = TypeVar("Item")

_PAGE = 8192
"""Bytes of a page of a new file. A record longer than a quarter of one takes pages of its own: 309,554 published
records take 382 MB in pages of 4096 bytes, and 220 MB in these."""

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, provenance TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files ON records (key) WHERE kind = 'file';
CREATE TABLE IF NOT EXISTS studies (key TEXT PRIMARY KEY, name TEXT NOT NULL, value TEXT NOT NULL);
"""


class Store:
    """A folder with one SQLite file of records and a disposable folder of readings.

    Several processes may share it, and several threads one object. A store that cannot be written (a read-only folder)
    can still be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.readings = ReadingsFolder(self.path / "readings")
        self._one_at_a_time = threading.RLock()
        file = self.path / "records.sqlite"
        with self._explained("open"):
            self.path.mkdir(parents=True, exist_ok=True)
            self.writable = os.access(self.path, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))
            mode = "rwc" if self.writable else "ro"
            self._database = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=120,
                isolation_level=None,
                check_same_thread=False,
            )
            if self.writable:
                self._database.execute(f"PRAGMA page_size = {_PAGE}")
                self._database.executescript(_TABLES)

    def close(self) -> None:
        """Closes the file. Everything recorded is already on disk."""
        with self._one_at_a_time:
            self._database.close()

    def lookup(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The values recorded under those of the keys that have one."""
        found: dict[str, dict[str, Any]] = {}
        with self._explained("read"):
            for some in chunked(list(dict.fromkeys(keys)), 500):
                marks = ",".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, value FROM records WHERE key IN ({marks})", some)
                found.update((key, json.loads(value)) for key, value in rows)
        return found

    def record(self, kind: Kind, records: Sequence[Record]) -> dict[str, dict[str, Any]]:
        """Writes records in one transaction and gives back what now stands under their keys.

        Raises:
            StoreError: if the disk is full or the store is read-only. Nothing recorded before is lost.
        """
        self.add([(kind, record) for record in records])
        return self.lookup(key for key, _, _ in records)

    def add(self, records: Iterable[tuple[Kind, Record]]) -> int:
        """Writes records of several kinds in one transaction, all or none, and gives back how many were new.

        Raises:
            StoreError: as :meth:`record`.
        """
        rows = [(key, kind, _json(value), _json(provenance)) for kind, (key, value, provenance) in records]
        with self._explained("write"):
            if not self.writable:
                raise sqlite3.OperationalError("attempt to write a readonly database")
            try:
                self._database.execute("BEGIN IMMEDIATE")
                written = self._database.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)", rows).rowcount
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise
        return max(0, written)

    def provenance(self, key: str) -> dict[str, Any]:
        """Everything a record's key was made from, and the record itself: what a figure is traced back to."""
        found = self.entries([key])
        if not found:
            raise StoreError(f"record '{key}' asked of {self.path}, which has none of that key: give a whole key")
        return found[key]

    def entries(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Of those of the keys that have a record: all of it (key, kind, value and by)."""
        found: list[tuple[str, str, str, str]] = []
        with self._explained("read"):
            for some in chunked(list(dict.fromkeys(keys)), 500):
                marks = ",".join("?" * len(some))
                found += self._database.execute(f"SELECT * FROM records WHERE key IN ({marks})", some)
        return {entry[0]: _entry(*entry) for entry in found}

    def files(self) -> list[dict[str, Any]]:
        """The records of the published files whose rows are in the store, as :meth:`entries` gives them."""
        with self._explained("read"):
            return [_entry(*row) for row in self._database.execute("SELECT * FROM records WHERE kind = 'file'")]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many records there are, by kind and by what gave them (a checkpoint or a judge)."""
        giver = "COALESCE(json_extract(provenance, '$.label'), json_extract(provenance, '$.judge'))"
        query = f"SELECT kind, {giver}, COUNT(*) FROM records GROUP BY 1, 2 ORDER BY 1, 2"
        with self._explained("read"):
            return {(kind, str(giver)): count for kind, giver, count in self._database.execute(query)}

    def keep_study(self, name: str, value: Mapping[str, Any]) -> None:
        """Keeps a finished study with all it was run on, so that it can be drawn again from the records alone.

        Studies of one name stand beside each other: another study overwrites none. The last that was run comes first.
        """
        text = _json(value)
        with self._explained("write"):
            if self.writable:
                row = (hashlib.sha256(text.encode()).hexdigest(), name, text)
                self._database.execute("INSERT OR REPLACE INTO studies VALUES (?, ?, ?)", row)

    def studies(self) -> list[dict[str, Any]]:
        """The studies that were finished on this store, by name; of one name the last that was run first."""
        with self._explained("read"):
            rows = self._database.execute("SELECT value FROM studies ORDER BY name, rowid DESC").fetchall()
        return [json.loads(value) for (value,) in rows]

    def keep_vector(self, path: str, vector: PersonaVector) -> None:
        """Writes a vector to a path below the store's folder, whole or not at all.

        Raises:
            StoreError: as :meth:`record`.
        """
        with self._explained("write"):
            vector.save(self.path / path)

    def keep_readings(self, keys: Sequence[str], readings: Readings) -> None:
        """Keeps readings in the disposable folder; a store that is read-only does without."""
        if self.writable:
            with self._explained("write"):
                self.readings.keep(keys, readings)

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            with self._one_at_a_time:
                yield
        except (sqlite3.Error, OSError) as problem:
            said = str(problem)
            if "full" in said or "No space" in said or "too large" in said or "disk I/O" in said:
                remedy = f"the disk is full ({said}): free some space and run again, it goes on where it stopped"
            elif "readonly" in said or "read-only" in said or "Permission" in said:
                remedy = "it is read-only: give a store you may write to, or copy this one"
            elif "unable to open" in said and not self.writable:
                remedy = "it is read-only and holds no records yet: give a store you may write to"
            elif "locked" in said:
                remedy = "another process held it for two minutes: wait for that one and run again"
            else:
                remedy = f"SQLite says '{said}': if the file is not a store, give another folder"
            raise StoreError(f"cannot {verb} the store {self.path}: {remedy}") from problem


def chunked(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in runs of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _entry(key: str, kind: str, value: str, provenance: str) -> dict[str, Any]:
    return {"key": key, "kind": kind, "value": json.loads(value), "by": json.loads(provenance)}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(canonical(value), separators=(",", ":"))


_ARRAYS = ("response", "prompt", "last_prompt", "norms")


class ReadingsFolder:
    """Readings in safetensors files, one file per chunk that was read together.

    Each file's metadata lists the keys of its rows, so the folder needs no index beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[Path, int]] = {}
        self._seen: set[str] = set()

    def keep(self, keys: Sequence[str], readings: Readings) -> None:
        """Writes one chunk. It appears whole or not at all."""
        from safetensors.numpy import save

        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / f"{hashlib.sha256(''.join(keys).encode()).hexdigest()[:24]}.safetensors"
        draft = file.with_suffix(f".{os.getpid()}.draft")
        arrays = {name: getattr(readings, name) for name in _ARRAYS}
        try:
            draft.write_bytes(save(arrays, metadata={"keys": json.dumps(list(keys))}))
            os.replace(draft, file)
        finally:
            draft.unlink(missing_ok=True)

    def lookup(self, keys: Iterable[str]) -> dict[str, Readings]:
        """The readings (of one row each) that are there, by key."""
        self._look_for_files()
        wanted: dict[Path, list[tuple[str, int]]] = {}
        for key in keys:
            if key in self._places:
                file, row = self._places[key]
                wanted.setdefault(file, []).append((key, row))
        found: dict[str, Readings] = {}
        for file, rows in wanted.items():
            readings = _load(file)
            if readings is not None:
                found.update((key, readings.row(row)) for key, row in rows)
        return found

    def _look_for_files(self) -> None:
        if not self.path.is_dir():
            return
        for name in sorted(os.listdir(self.path)):
            if name.endswith(".safetensors") and name not in self._seen:
                self._seen.add(name)
                file = self.path / name
                self._places.update((key, (file, row)) for row, key in enumerate(_keys(file)))


def _keys(file: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as opened:
            keys: list[str] = json.loads((opened.metadata() or {})["keys"])
            return keys
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        return []


def _load(file: Path) -> Readings | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(file))
        return Readings(*(arrays[name] for name in _ARRAYS))
    except (SafetensorError, OSError, KeyError):
        return None
