"""The disposable folder of readings.

Owns: :class:`ReadingsFolder`. The one law: nothing here is needed. Any file, or the whole folder, may be deleted at
any time, and a file that cannot be read is as good as absent: the engine reads again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from personascope.core.records import Readings

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
