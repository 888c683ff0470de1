"""A store of the starting commit with a kept study of every kind: it opens, redraws the same and asks nothing anew."""

from __future__ import annotations

from pathlib import Path

import pytest

import personascope as ps
from golden import stores, values


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    stores.unpack(stores.SMALL, folder)
    return folder


@pytest.fixture(scope="module")
def drawn(root: Path) -> Path:
    before = values.recorded(root / "out/store")
    done = stores.personascope("figures", "out", "--out", "drawn", cwd=root)
    assert done.returncode == 0, done.stderr
    assert values.recorded(root / "out/store") == before, "drawing recorded something"
    return root / "drawn"


def same(expected: Path, found: Path) -> None:
    """Every expected table is there with the same values, and TeX to the letter."""
    known, there = stores.tables_in(expected), stores.tables_in(found)
    assert set(known) == set(there)
    for name, text in known.items():
        if name.endswith(".tex"):
            assert there[name] == text, name
        assert not list(stores.differences(text, there[name]))[:5], name


def test_a_store_of_the_starting_commit_opens(root: Path) -> None:
    store = ps.Store(root / "out/store")
    known = {kind: len(keys) for kind, keys in values.recorded(root / "out/store").items()}
    counted = dict.fromkeys(known, 0)
    for (kind, _), count in store.counts().items():
        counted[kind] += count
    assert counted == known
    assert set(known) == {"rendering", "response", "verdict"}
    done = stores.personascope("show", "out", cwd=root)
    assert done.returncode == 0, done.stderr


def test_every_study_is_drawn_again_with_the_same_tables(root: Path, drawn: Path) -> None:
    same(root / "tables", drawn)


def test_the_same_files_are_drawn(drawn: Path) -> None:
    listed = (stores.DATA / "drawn.txt").read_text(encoding="utf-8").splitlines()
    assert stores.files_in(drawn) == listed


def test_running_every_study_again_asks_reads_and_trains_nothing(root: Path) -> None:
    before = (values.recorded(root / "out/store"), sorted(values.readings(root / "out/store")))
    models, scores = stores.files_in(root / "out/models"), stores.files_in(root / "out/store/scores")
    done = stores.personascope("run", "studies/small.toml", "--out", "out", cwd=root)
    assert done.returncode == 0, done.stderr
    after = (values.recorded(root / "out/store"), sorted(values.readings(root / "out/store")))
    assert after == before
    assert stores.files_in(root / "out/models") == models
    assert stores.files_in(root / "out/store/scores") == scores
    (root / "out/studies.csv").unlink()  # says where it was run
    same(root / "tables", root / "out")
