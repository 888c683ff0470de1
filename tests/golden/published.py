"""What ``personascope published`` and ``import`` say of the published study, in short."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from golden import names

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[3] / "shared" / "published"))
WAYS = ("check", "audit")


def told(way: str, folder: Path) -> dict[str, Any]:
    """The lines that a command prints, and a sha256 of every part of what it writes, numbers to nine digits."""
    done = _run("published", way, ROOT, "--json", folder / f"{way}.json")
    found = json.loads((folder / f"{way}.json").read_text(encoding="utf-8"))
    return {
        "printed": [_short(line) for line in done.splitlines()],
        "written": {part: [len(rows), _digest(rows)] for part, rows in found.items()},
    }


def imported(folder: Path) -> dict[str, Any]:
    """How many records of each kind an import makes, and a sha256 of their keys."""
    _run("import", ROOT, "--store", folder / "store")
    with sqlite3.connect(folder / "store/records.sqlite") as database:
        rows = database.execute("SELECT kind, key FROM records ORDER BY kind, key").fetchall()
    kinds = dict.fromkeys(kind for kind, _ in rows)
    by_kind = {kind: [key for what, key in rows if what == kind] for kind in kinds}
    return {kind: [len(keys), _digest(keys)] for kind, keys in by_kind.items()}


def _run(*arguments: object) -> str:
    command = [sys.executable, *names.COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def _short(line: str) -> str:
    """A line, or its sha256 where it is long and may quote the data."""
    return line if len(line) <= 100 else hashlib.sha256(line.encode()).hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(_nine(value), sort_keys=True).encode()).hexdigest()[:24]


def _nine(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, dict):
        return {name: _nine(each) for name, each in value.items()}
    return [_nine(each) for each in value] if isinstance(value, list) else value
