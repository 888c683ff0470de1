"""The lab's whole runs give the numbers of the starting commit; ``PERSONASCOPE_GOLDEN=all`` runs these, for minutes.

``demo``, the bundled ``lab-all``, and the studies of ``lab-applications`` at one seed each. Large tables are held by a
sha256 of their cells to nine digits.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from golden import stores

RUNS = {
    "demo": ("demo",),
    "lab-all": ("run", "lab-all"),
    "applications": ("run", stores.STUDIES / "applications" / "applications.toml"),
}
pytestmark = pytest.mark.skipif(
    os.environ.get("PERSONASCOPE_GOLDEN") != "all", reason="takes minutes: set PERSONASCOPE_GOLDEN=all"
)


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    done = stores.personascope(*RUNS[name], "--out", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(stores.DATA / "runs.tar.xz") as packed:
        packed.extractall(tmp_path / "known", filter="data")
    known, found = stores.tables_in(tmp_path / "known" / name), stores.tables_in(tmp_path / name)
    large = json.loads((stores.DATA / "large.json").read_text(encoding="utf-8"))[name]
    assert set(found) == {*known, *large}
    for table, text in known.items():
        assert not list(stores.differences(text, found[table]))[:5], table
    for table, about in large.items():
        assert stores.fingerprint(found[table]) == about, table
    models = tmp_path / name / "models"
    tuned = json.loads((stores.DATA / "tuned.json").read_text(encoding="utf-8"))[name]
    assert sorted(each.name for each in models.glob("*")) == tuned
