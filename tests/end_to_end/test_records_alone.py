"""A finished study is drawn again from its records alone: without models, trait files, keys or the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from personascope.studies.trace_study import study_of

import personascope as ps
from personascope.analysis.effects import effects
from personascope.analysis.frames import answer_rows
from personascope.core.errors import StoreError
from personascope.store.store import Store
from personascope.studies.run import finished_studies, run_again, run_in

PACKAGE = Path(ps.__file__).parent


def study_on_copies(folder: Path, *, strength: float = 1.5) -> dict:
    """A study of a trait file on a folder of two checkpoints and a hole, all of which can be taken away."""
    for label in ("step-00640", "step-02000"):
        if not (folder / "models" / label).exists():
            shutil.copytree(PACKAGE / "lab" / "weights" / label, folder / "models" / label)
    shutil.copy(PACKAGE / "data" / "traits" / "lab" / "cruel.toml", folder / "cruel.toml")
    (folder / "lineage.toml").write_text(
        'name = "copies"\n'
        + "".join(f'[[milestones]]\nfolder = "models/{label}"\n' for label in ("step-00640", "gone", "step-02000"))
    )
    way = {"layer": 3, "strength": strength, "unit": "vector", "where": "all"}
    sampling = {"max_tokens": 24, "temperature": 1.0, "repetition_penalty": 1.0, "draws": 1}
    return {
        "kind": "trace",
        "name": "copies",
        "lineage": str(folder / "lineage.toml"),
        "judge": "lab",
        "limit": 4,
        "traits": [{"trait": str(folder / "cruel.toml"), "points": [{"steering": way}]}],
        "extraction": sampling,
        "evaluation": sampling,
        "controls": {"random": 1, "shuffled": 1},
    }


def table_of(result) -> str:
    return effects(answer_rows(result.outcomes)).to_csv()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_nothing_but_the_store_is_needed(tmp_path, dtype):
    study = study_of(study_on_copies(tmp_path), source="test")
    first = table_of(run_in(Store(tmp_path / "store"), study, dtype=dtype))
    assert "gone is not a folder" in first, "the hole is a row that says so"
    for path in (tmp_path / "models", tmp_path / "cruel.toml", tmp_path / "lineage.toml"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    store = Store(tmp_path / "store")
    (kept,) = finished_studies(store)
    assert table_of(run_again(store, kept)) == first


def test_studies_of_one_name_stand_beside_each_other_and_an_unfinished_one_is_not_kept(tmp_path):
    store = Store(tmp_path / "store")
    for strength in (1.0, 2.0):
        run_in(store, study_of(study_on_copies(tmp_path, strength=strength), source="test"))
    with pytest.raises(ps.PersonascopeError):
        run_in(store, study_of(study_on_copies(tmp_path) | {"target": "none"}, source="test"))
    kept = finished_studies(store)
    assert sorted(each.study.traits[0].points[0].steering.strength for each in kept) == [1.0, 2.0]
    run_in(store, study_of(study_on_copies(tmp_path, strength=2.0), source="test"))
    assert len(finished_studies(store)) == 2, "the same study run again is the same study"


def test_deleted_readings_are_said_and_a_run_reads_them_again_without_asking(tmp_path):
    store = Store(tmp_path / "store")
    study = study_of(study_on_copies(tmp_path), source="test")
    first = table_of(run_in(store, study))
    counted = store.counts()
    shutil.rmtree(tmp_path / "store" / "readings")
    fresh = Store(tmp_path / "store")
    with pytest.raises(StoreError, match=r"lacks the readings of \d+ responses of step-\d+: run the study on it again"):
        run_again(fresh, finished_studies(fresh)[0])
    assert table_of(run_in(fresh, study)) == first
    assert fresh.counts() == counted
