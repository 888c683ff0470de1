"""The small store of the starting commit: packed, unpacked anywhere, redrawn; and tables compared by their values."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from golden import names

HERE = Path(__file__).parent
DATA, STUDIES = HERE / "data", HERE / "studies"
SMALL = DATA / "small.tar.xz"
TOLERANCE = 1e-9
NOT_FROM_RECORDS = {"capability", "finetune"}
"""Studies that the starting commit cannot redraw: likelihoods are in no store. They are held by running them again."""


def personascope(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command, run by itself; lines are 120 columns wide."""
    command = [sys.executable, *names.COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})


def drawn_again(root: Path) -> tuple[Path, set[str]]:
    """Draws a root's store again in its folder ``drawn``; gives the folder, and the studies that cannot be drawn."""
    done = personascope("figures", "out", "--out", "drawn", "--json", cwd=root)
    failed = json.loads(done.stdout).get("failed", {})
    assert done.returncode == bool(failed), done.stderr
    return root / "drawn", set(failed)


def pack(root: Path, archive: Path) -> None:
    """Packs a root's ``out/store``, ``out/models`` and ``tables``, with no path of this machine in the store."""
    stage = root / "stage"
    for part in ("out/store", "out/models", "tables"):
        shutil.copytree(root / part, stage / part)
    _put(stage, {str(root): "@ROOT@", str(names.LAB_WEIGHTS): "@WEIGHTS@"})
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                about = packed.gettarinfo(path, str(path.relative_to(stage)))
                about.uid = about.gid = about.mtime = 0
                about.uname = about.gname = ""
                about.mode = 0o644
                with path.open("rb") as file:
                    packed.addfile(about, file)
    shutil.rmtree(stage)


def unpack(archive: Path, root: Path) -> None:
    """Unpacks a store in a folder, with its study files beside it, as if it had been made there."""
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")
    shutil.copytree(STUDIES / "small", root / "studies")
    _put(root, {"@ROOT@": str(root), "@WEIGHTS@": str(names.LAB_WEIGHTS)})


def _put(root: Path, places: dict[str, str]) -> None:
    """Replaces paths in the kept studies of a root's store; a study's key is the sha256 of its text."""
    database = sqlite3.connect(root / "out/store/records.sqlite")
    for key, text in database.execute("SELECT key, value FROM studies").fetchall():
        changed = text
        for old, new in places.items():
            changed = changed.replace(old, new)
        new_key = hashlib.sha256(changed.encode()).hexdigest()
        database.execute("UPDATE studies SET key = ?, value = ? WHERE key = ?", (new_key, changed, key))
    database.commit()
    database.execute("VACUUM")
    database.close()


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, by its path from there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def tables_in(folder: Path) -> dict[str, str]:
    """The CSV and TeX tables below a folder, by their paths from there; stores and tuned models are left out."""
    return {
        name: (folder / name).read_text(encoding="utf-8")
        for name in files_in(folder)
        if name.endswith((".csv", ".tex")) and not {"store", "models"} & set(Path(name).parts)
    }


def differences(expected: str, found: str) -> Iterator[str]:
    """Where two tables differ: other text, or numbers further apart than ``TOLERANCE`` of the larger one."""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (expected, found))
    if [len(row) for row in old] != [len(row) for row in new]:
        yield f"{len(old)} rows became {len(new)}, or rows have other lengths"
        return
    for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
        for column, (one, other) in enumerate(zip(before, after, strict=True)):
            if one != other and not _alike(one, other):
                yield f"line {number}, {old[0][column]}: {one!r} became {other!r}"


def _alike(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False


def fingerprint(text: str) -> dict[str, object]:
    """A large table in short: its columns, how many rows it has, and a sha256 of its cells to nine digits."""
    rows = list(csv.reader(io.StringIO(text)))
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\x1f".join(map(_nine, row)).encode() + b"\n")
    return {"columns": rows[0], "rows": len(rows) - 1, "sha256": digest.hexdigest()}


def _nine(cell: str) -> str:
    try:
        return f"{float(cell):.9g}" if "." in cell else cell
    except ValueError:
        return cell
