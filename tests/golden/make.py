"""Wrote what is in ``tests/golden/data``. Made by commit 0e4f2ab.

Do not run it again to silence a failure: a golden test that fails says that a number, a key or a name has changed, and
what changed it is to be mended. To hold something more, add it and run that part alone, on commit 0e4f2ab:

    PYTHONPATH=CHECKOUT_OF_0e4f2ab/src:tests python tests/golden/make.py FOLDER [values store runs published]

The runs take an hour of processor time; one whose folder is in FOLDER already is not run again.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from golden import published, stores, values
from golden.test_golden_runs import RUNS

LARGE = 150_000
"""Tables of more characters are held by their fingerprint, but for those of the applications."""


def write(name: str, value: Any) -> None:
    """A table of golden values."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    (stores.DATA / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def make_values(work: Path) -> None:
    """Keys, directions, places and judges."""
    write("keys", values.keys(Path(tempfile.mkdtemp(dir=work))))
    for name in ("directions", "places", "judges"):
        write(name, getattr(values, name)())


def make_store(work: Path) -> None:
    """The small store with a kept study of every kind, and what is drawn from it."""
    root = work / "small"
    if not root.is_dir():
        shutil.copytree(stores.STUDIES / "small", root / "studies")
        _done("run", "studies/small.toml", "--out", "out", cwd=root)
    drawn, failed = stores.drawn_again(root)
    assert failed == stores.NOT_FROM_RECORDS, failed
    tables = stores.tables_in(root / "out")
    del tables["studies.csv"]  # says where it was run
    assert stores.tables_in(drawn).items() <= tables.items(), "the run and the records give the same"
    for name, text in tables.items():
        (root / "tables" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tables" / name).write_text(text, encoding="utf-8")
    (stores.DATA / "drawn.txt").write_text("\n".join(stores.files_in(drawn)) + "\n", encoding="utf-8")
    stores.pack(root, stores.SMALL)


def make_runs(work: Path) -> None:
    """The tables of the lab's whole runs; of large ones what they come to; the folders of tuned models."""
    large: dict[str, dict[str, Any]] = {}
    tuned: dict[str, list[str]] = {}
    with tarfile.open(stores.DATA / "runs.tar.xz", "w:xz", preset=9) as packed:
        for name, command in RUNS.items():
            if not (work / name).is_dir():
                _done(*command, "--out", name, cwd=work)
            large[name] = {}
            for table, text in stores.tables_in(work / name).items():
                if len(text) > LARGE and name != "applications":
                    large[name][table] = stores.fingerprint(text)
                    continue
                about = packed.gettarinfo(work / name / table, f"{name}/{table}")
                about.uid = about.gid = about.mtime = 0
                about.uname = about.gname = ""
                with (work / name / table).open("rb") as file:
                    packed.addfile(about, file)
            tuned[name] = sorted(each.name for each in (work / name / "models").glob("*"))
    write("large", large)
    write("tuned", tuned)


def make_published(work: Path) -> None:
    """What is said of the published study."""
    folder = Path(tempfile.mkdtemp(dir=work))
    found: dict[str, Any] = {way: published.told(way, folder) for way in published.WAYS}
    write("published", {**found, "import": published.imported(folder)})


def _done(*command: object, cwd: Path) -> None:
    done = stores.personascope(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    parts = {"values": make_values, "store": make_store, "runs": make_runs, "published": make_published}
    work = Path(sys.argv[1]).resolve()
    stores.DATA.mkdir(exist_ok=True)
    for part in sys.argv[2:] or list(parts):
        parts[part](work)
