"""The verb ``sae`` and the studies of its kind, on the lab: what is shown, what is written, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from personascope.applications.sae.load import save_dictionary
from personascope.core.dictionaries import Dictionary
from personascope.core.lineages import Checkpoint, load_lineage
from personascope.core.vectors import PersonaVector
from personascope.studies.registry import open_study
from refusals import refused

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vector(tmp_path: Path) -> PersonaVector:
    """A vector of the lab's shape, in ``cruel.safetensors``."""
    directions = np.random.default_rng(0).standard_normal((5, 64))
    checkpoint = load_lineage("lab").milestones[-1].checkpoint
    found = PersonaVector(directions, np.full(5, 20.0), "cruel", "lab", checkpoint)
    found.save(tmp_path / "cruel.safetensors")
    return found


@pytest.fixture
def decoder(tmp_path: Path) -> np.ndarray:
    """Forty features, in ``mine.safetensors`` and, with an encoder, in the SAELens folder ``sae``."""
    drawn = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
    save_file({"decoder": drawn}, tmp_path / "mine.safetensors")
    save_dictionary(Dictionary(drawn, 3, "x", drawn, np.zeros(40, np.float32)), tmp_path / "sae", model="lab")
    return drawn


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_without_a_model_it_lists_cosines_and_rebuilds(
    run: Run, tmp_path: Path, vector: PersonaVector, decoder: np.ndarray
) -> None:
    code, out, err = run("sae", "cruel.safetensors", "mine.safetensors", "--layer", 2, "--top", 7, "--json")
    assert code == 0, err
    said = json.loads(out)
    along = vector.at(2).astype(float)
    cosines = decoder @ along / np.linalg.norm(decoder, axis=1) / np.linalg.norm(along)
    assert [row["feature"] for row in said["rows"]] == np.argsort(-cosines)[:7].tolist()
    assert len(said["cosine_rebuilt"]) == 32
    assert {path.name for path in (tmp_path / "features").iterdir()} == {
        "cosines.csv", "rebuilding.csv", "sae.png", "sae.pdf",
    }  # fmt: skip


def test_with_a_model_every_feature_is_tried_and_a_corpus_looked_through(
    run: Run, tmp_path: Path, vector: PersonaVector, decoder: np.ndarray
) -> None:
    assert run("data", "lab", "cruel", "--count", 20)[0] == 0
    options = ("--model", "lab", "--tested", 2, "--random", 3, "--limit", 3, "--draws", 1, "--max-tokens", 12)
    corpus = ("--corpus", "dataset/cruel/misaligned_2.jsonl", "--keep", 2)
    code, out, err = run("sae", "cruel.safetensors", "sae", *options, *corpus)
    assert code == 0, err
    assert "cruel at layer 3 in sae (40 features)" in out
    rows = rows_of(tmp_path / "features" / "features.csv")
    kinds = [row["kind"] for row in rows]
    wanted = {"vector": 1, "feature": 2, "without feature": 2, "random feature": 3, "rebuilt": 1, "remainder": 1}
    assert {kind: kinds.count(kind) for kind in wanted} == wanted
    norms = [float(row["applied_norm"]) for row in rows if row["kind"] in ("vector", "feature", "random feature")]
    np.testing.assert_allclose(norms, np.linalg.norm(vector.at(3)), rtol=1e-5)
    samples = rows_of(tmp_path / "features" / "samples.csv")
    assert {row["feature"] for row in samples} == {row["feature"] for row in rows if row["kind"] == "feature"}
    assert all(row["where"].startswith("dataset/cruel/misaligned_2.jsonl") for row in samples)


def test_bad_input_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, vector: PersonaVector, decoder: np.ndarray
) -> None:
    save_file({"decoder": np.ones((4, 32), np.float32)}, tmp_path / "narrow.safetensors")
    (tmp_path / "empty.jsonl").write_text("")
    there = sorted(path.name for path in tmp_path.iterdir())
    sae = ("sae", "cruel.safetensors")
    refused(run(*sae, "narrow.safetensors", "--layer", 2), "features of width 32", "64 wide")
    refused(run(*sae, "mine.safetensors"), "does not say which layer it reads: give --layer")
    refused(run(*sae, "mine.safetensors", "--layer", 9), "layer 9", "4 blocks")
    refused(run(*sae, "sae", "--layer", 2), "layer 2 was asked for", "reads layer 3")
    refused(run(*sae, "nowhere"), "is no sparse autoencoder")
    refused(run(*sae, "lab:x", "--layer", 3), "lab or lab:SEED")
    refused(run("sae", "none.safetensors", "sae"), "no such file")
    refused(run(*sae, "sae", "--judge", "lab"), "give --model")
    refused(run(*sae, "sae", "--corpus", "empty.jsonl"), "give --model")
    refused(run(*sae, "sae", "--model", "lab", "--corpus", "empty.jsonl"), "empty.jsonl", "no sample")
    refused(run(*sae, "sae", "--model", "lab", "--corpus", "none.jsonl"), "no such file")
    refused(run(*sae, "sae", "--model", "some/other"), "no judge was named")
    refused(run(*sae, "sae", "--model", "lab", "--trait", "crule"), "crule")
    refused(run(*sae, "sae", "--model", "lab", "--judge", "nobody:x"), "nobody")
    refused(run(*sae, "sae", "--model", "lab", "--where", "respons"), "where")
    other = PersonaVector(np.ones((5, 64)), np.full(5, 1.0), "cruel", "lab", Checkpoint.at(tmp_path))
    (tmp_path / "other.safetensors").unlink(missing_ok=True)
    other.save(tmp_path / "other.safetensors")
    refused(run("sae", "other.safetensors", "lab", "--layer", 3), "is trained on the lab's models")
    (tmp_path / "other.safetensors").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_study_of_the_kind_runs_and_writes_its_files(run: Run, tmp_path: Path, decoder: np.ndarray) -> None:
    text = open_study("lab-sae").source
    table = Path(text).read_text(encoding="utf-8")
    cut = table.split("[[traits]]")[0].replace("top = 20", "limit = 3\ntop = 20").replace("tested = 10", "tested = 2")
    cut = cut.replace("random = 20", "random = 2")
    one = '[[traits]]\ntrait = "cruel"\nform = "lab"\nsaes = ["sae"]\nstrength = 1.0\n'
    (tmp_path / "mine.toml").write_text(cut + one)
    code, _, err = run("run", "mine.toml", "--out", "done")
    assert code == 0, err
    assert {"summary.csv", "features.csv", "rebuilding.csv", "cosines.csv", "sae.png"} <= {
        path.name for path in (tmp_path / "done").iterdir()
    }
    (summary,) = rows_of(tmp_path / "done" / "summary.csv")
    assert (summary["aligned"], summary["random"]) == ("2", "2")
    assert run("figures", "done", "--out", "again")[0] == 0
    for name in ("summary.csv", "features.csv", "cosines.csv"):
        drawn = (tmp_path / "again" / name).read_bytes()
        assert drawn == (tmp_path / "done" / name).read_bytes(), f"{name} is not the same from the records alone"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('saes = ["sae"]', "saes = []"),
        ("tested = 10", "tested = 0"),
        ('kind = "sae"', 'kind = "sea"'),
        ("points = 20", "pionts = 20"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_it_does(change: str, told: str, run: Run, tmp_path: Path) -> None:
    table = Path(open_study("lab-sae").source).read_text(encoding="utf-8").split("[[traits]]")[0]
    table += '[[traits]]\ntrait = "cruel"\nform = "lab"\nsaes = ["sae"]\nstrength = 1.0\n'
    (tmp_path / "mine.toml").write_text(table.replace(change, told))
    refused(run("run", "mine.toml", "--out", "done"))
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("sae", "layer", "told"),
    [
        ("nowhere", "layer = 3", "is no sparse autoencoder"),
        ("narrow.safetensors", "layer = 3", "features of width 32"),
        ("mine.safetensors", "", "does not say which layer it reads"),
        ("sae", "layer = 2", "at layer 2, and"),
        ("sae", "layer = 9", "layer 9"),
        ("sae", 'vector = "shallow.safetensors"', "give a vector of that model"),
        ("sae", 'vector = "none.safetensors"', "none.safetensors"),
    ],
)
def test_an_sae_that_does_not_fit_stops_a_study_before_anything_is_asked(
    sae: str, layer: str, told: str, run: Run, tmp_path: Path, decoder: np.ndarray
) -> None:
    save_file({"decoder": np.ones((4, 32), np.float32)}, tmp_path / "narrow.safetensors")
    lab = load_lineage("lab").milestones[-1].checkpoint
    PersonaVector(np.ones((3, 64)), np.full(3, 1.0), "cruel", "lab", lab).save(tmp_path / "shallow.safetensors")
    table = Path(open_study("lab-sae").source).read_text(encoding="utf-8").split("[[traits]]")[0]
    table += f'[[traits]]\ntrait = "cruel"\nform = "lab"\nsaes = ["{sae}"]\nstrength = 1.0\n{layer}\n'
    (tmp_path / "mine.toml").write_text(table)
    code, out, message = run("run", "mine.toml", "--out", "done")
    refused((code, out, message.splitlines()[-1]), told)
    assert not list((tmp_path / "done").glob("*.csv"))


def test_the_papers_study_loads() -> None:
    study = open_study("qwen-2.5-7b-sae").study
    assert [(each.trait, each.layer, each.strength) for each in study.traits] == [
        ("evil", 20, 2.5),
        ("sycophantic", 20, 2.5),
        ("hallucinating", 16, 1.5),
    ]
