"""A store of the starting commit with a kept study of every kind: it opens, redraws the same and asks nothing anew."""

from __future__ import annotations

from collections.abc import Iterable
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
    folder, failed = stores.drawn_again(root)
    assert failed <= stores.NOT_FROM_RECORDS
    assert values.recorded(root / "out/store") == before, "drawing recorded something"
    return folder


def from_records(names: Iterable[str]) -> set[str]:
    """Without what the starting commit could not redraw: whether it is there is nobody's promise."""
    return {name for name in names if name.partition("/")[0] not in stores.NOT_FROM_RECORDS}


def check_tables(known: dict[str, str], found: dict[str, str]) -> None:
    """Every table has the values it had; TeX is the same to the letter."""
    for name, text in known.items():
        if name.endswith(".tex"):
            assert found[name] == text, name
        assert not list(stores.differences(text, found[name]))[:5], name


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


def test_every_study_is_drawn_again_with_the_same_files_and_values(root: Path, drawn: Path) -> None:
    listed = (stores.DATA / "drawn.txt").read_text(encoding="utf-8").splitlines()
    assert from_records(stores.files_in(drawn)) == set(listed)
    # What a study projects token by token is in no store: of all tables, those that were drawn from the records.
    known = {name: text for name, text in stores.tables_in(root / "tables").items() if name in listed}
    assert len(known) > 40
    check_tables(known, stores.tables_in(drawn))


def test_running_every_study_again_asks_reads_and_trains_nothing(root: Path) -> None:
    before = (values.recorded(root / "out/store"), sorted(values.readings(root / "out/store")))
    models, scores = stores.files_in(root / "out/models"), stores.files_in(root / "out/store/scores")
    done = stores.personascope("run", "studies/small.toml", "--out", "out", cwd=root)
    assert done.returncode == 0, done.stderr
    after = (values.recorded(root / "out/store"), sorted(values.readings(root / "out/store")))
    assert after == before
    assert stores.files_in(root / "out/models") == models
    assert stores.files_in(root / "out/store/scores") == scores
    known, found = stores.tables_in(root / "tables"), stores.tables_in(root / "out")
    del found["studies.csv"]  # says where it was run
    assert set(found) == set(known)
    check_tables(known, found)
