"""The verb ``shift`` and the studies of its kind, on toy checkpoints: what is written, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from personascope.core.lineages import load_lineage
from personascope.core.vectors import PersonaVector
from personascope.store.store import Store
from personascope.studies.registry import open_study
from refusals import refused

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lab() -> dict[str, Path]:
    """The folders of the lab's checkpoints, by label."""
    lineage = load_lineage("lab")
    return {each.label: Path(str(each.checkpoint.path)) for each in (*lineage.milestones, *lineage.targets)}


@pytest.fixture
def vector(tmp_path: Path) -> PersonaVector:
    """A vector of the lab's shape, in ``cruel.safetensors``."""
    checkpoint = load_lineage("lab").milestones[-1].checkpoint
    directions = np.random.default_rng(0).standard_normal((5, 64))
    found = PersonaVector(directions, np.full(5, 20.0), "cruel", "lab", checkpoint)
    found.save(tmp_path / "cruel.safetensors")
    return found


OPTIONS = ("--vectors", "cruel.safetensors", "--layer", 3, "--limit", 3, "--draws", 1, "--max-tokens", 12)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_checkpoints_of_one_run_are_taken_in_their_order_and_a_report_is_written(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    labels = [label for label in lab if label.startswith("step-")][-5:-1]
    for step, label in zip((2, 10, 100, 1000), labels, strict=True):
        shutil.copytree(lab[label], tmp_path / "run" / f"checkpoint-{step}")
    (tmp_path / "run" / "runs").mkdir()
    code, _, err = run("shift", "lab", "run", *OPTIONS)
    assert code == 0, err
    rows = rows_of(tmp_path / "shift" / "shift.csv")
    assert [row["model"] for row in rows] == [f"run/checkpoint-{step}" for step in (2, 10, 100, 1000)]
    assert {row["group"] for row in rows} == {"run"}
    assert all(np.isfinite(float(row["shift"])) for row in rows)
    page = (tmp_path / "shift" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("https://www.w3.org", ""), "the page asks for nothing else"
    assert "run/checkpoint-1000" in page
    again = (tmp_path / "shift" / "shift.csv").read_bytes()
    assert run("shift", "lab", "run", *OPTIONS)[0] == 0
    assert (tmp_path / "shift" / "shift.csv").read_bytes() == again


def test_the_base_against_itself_has_not_moved(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    last = [folder for label, folder in lab.items() if label.startswith("step-")][-1]
    shutil.copytree(last, tmp_path / "same")
    code, out, err = run("shift", "lab", "same", *OPTIONS, "--span", "response", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["shifts"]
    assert (row["shift"], row["change"]) == (0.0, 0.0)


def test_bad_input_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/Other-7B"}))
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "adapter_config.json").write_text("{")
    sft = str(lab["sft"])
    narrow = PersonaVector(np.ones((5, 32)), np.full(5, 1.0), "cruel", "lab", vector.checkpoint)
    narrow.save(tmp_path / "narrow.safetensors")
    there = sorted(path.name for path in tmp_path.iterdir())
    refused(run("shift", "lab", "adapter", *OPTIONS), "adapter is an adapter of some/Other-7B", "the base is")
    refused(run("shift", "lab", "spoilt", *OPTIONS), "adapter_config.json is not readable")
    refused(run("shift", "lab", "empty", *OPTIONS), "empty holds no model", "no PEFT adapter")
    refused(run("shift", "lab", sft, sft, *OPTIONS), "two models are named 'sft'")
    refused(run("shift", "lab", sft, *OPTIONS, "--layer", 2), "2 layers were given for 1 vectors")
    layer = ("--vectors", "cruel.safetensors", "--layer", 9)
    refused(run("shift", "lab", sft, *layer), "layer 9", "4 blocks")
    wrong = ("--vectors", "narrow.safetensors", "--layer", 2)
    refused(run("shift", "lab", sft, *wrong), "[5, 32] [layer, hidden]", "give a vector of that base")
    twice = ("--vectors", "cruel.safetensors", *OPTIONS)
    refused(run("shift", "lab", sft, *twice), "'cruel' is watched twice")
    refused(run("shift", "lab", sft, *OPTIONS, "--span", "respons"), "did you mean 'response'?")
    refused(run("shift", str(lab["sft"]), sft, *OPTIONS), "no judge was named")
    refused(run("shift", "lab", sft, *OPTIONS, "--judge", "nobody:x"), "nobody")
    refused(run("shift", "lab", sft, *OPTIONS, "--out", "cruel.safetensors"), "is to be written as a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def small_study(tmp_path: Path, models: str, traits: str = "") -> None:
    """The lab's study with one trait (and those given), few questions and these models, in ``mine.toml``."""
    table = Path(open_study("lab-shift").source).read_text(encoding="utf-8").split("[[traits]]")[0]
    table = table.replace("directions = 1000", "directions = 20\nlimit = 3")
    table += '[[traits]]\ntrait = "cruel"\nform = "lab"\nlayer = 3\nvector = "cruel.safetensors"\n'
    (tmp_path / "mine.toml").write_text(table + traits + models)


def test_a_study_tunes_what_is_not_there_and_tunes_nothing_twice(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    models = '[[models]]\nname = "worse"\ndata = ["lab:cruel/severe"]\nsamples = 32\n'
    models += f'[[models]]\nname = "chat"\npath = "{lab["sft"]}"\n'
    small_study(tmp_path, models)
    study = open_study(tmp_path / "mine.toml").study
    assert study.counts()["models_tuned"] == 1
    code, _, err = run("run", "mine.toml", "--out", "done")
    assert code == 0, err
    (weights,) = (tmp_path / "done" / "models").glob("*/model.safetensors")
    made = weights.stat().st_mtime_ns
    assert [row["model"] for row in rows_of(tmp_path / "done" / "shift.csv")] == ["worse", "chat"]
    first = (tmp_path / "done" / "shift.csv").read_bytes()
    assert run("run", "mine.toml", "--out", "done")[0] == 0
    assert weights.stat().st_mtime_ns == made
    assert run("figures", "done", "--out", "again")[0] == 0
    assert (tmp_path / "again" / "shift.csv").read_bytes() == first, "drawn again from the records and the kept model"
    small_study(tmp_path, models.replace("samples = 32", "samples = 48"))
    assert run("run", "mine.toml", "--out", "done")[0] == 0
    assert len(list((tmp_path / "done" / "models").iterdir())) == 2, "other samples make another model"
    assert (tmp_path / "done" / "shift.csv").read_bytes() != first


def test_nothing_is_tuned_to_draw_a_figure(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    small_study(tmp_path, '[[models]]\nname = "worse"\ndata = ["lab:cruel/severe"]\nsamples = 16\n')
    assert run("run", "mine.toml", "--out", "done")[0] == 0
    shutil.rmtree(tmp_path / "done" / "models")
    refused(run("figures", "done", "--out", "again"), "does not hold the model tuned on lab:cruel/severe", "run the")
    assert not (tmp_path / "done" / "models").exists()


def test_folders_of_one_name_are_told_apart_by_the_studys_names(
    run: Run, tmp_path: Path, lab: dict[str, Path], vector: PersonaVector
) -> None:
    models = ""
    for name, label in (("one", "sft"), ("two", next(label for label in lab if label.startswith("step-")))):
        shutil.copytree(lab[label], tmp_path / name / "final")
        shutil.copytree(lab[label], tmp_path / f"{name}-run" / "run" / "checkpoint-1")
        shutil.copytree(lab[label], tmp_path / f"{name}-run" / "run" / "checkpoint-2")
        models += f'[[models]]\nname = "{name}"\npath = "{name}/final"\n'
        models += f'[[models]]\nname = "{name}-steps"\npath = "{name}-run/run"\ngroup = "steps"\n'
    small_study(tmp_path, models)
    code, _, err = run("run", "mine.toml", "--out", "done")
    assert code == 0, err
    rows = rows_of(tmp_path / "done" / "shift.csv")
    assert [(row["model"], row["group"]) for row in rows] == [
        (f"{name}{step}", "steps" if step else name)
        for name in ("one", "two")
        for step in ("", "-steps/checkpoint-1", "-steps/checkpoint-2")
    ]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ('[[models]]\nname = "a"\n', "needs a path, or data"),
        ('[[models]]\nname = "a"\npath = "x"\n[[models]]\nname = "a"\npath = "y"\n', "two models named 'a'"),
        ('[[models]]\nname = "a"\ndata = ["lab:cruel/severest"]\n', "names no family of the lab"),
        ('[[models]]\nname = "a"\ndata = ["none.jsonl"]\n', "none.jsonl"),
        ('[[models]]\nname = "a"\ndata = ["lab:cruel/mild"]\n[[models]]\nname = "b"\npath = "."\n', "holds no model"),
        ('[[models]]\nname = "a/b"\npath = "x"\n', "cannot name a file"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_anything_is_tuned(
    models: str, told: str, run: Run, tmp_path: Path, vector: PersonaVector
) -> None:
    small_study(tmp_path, models)
    code, out, message = run("run", "mine.toml", "--out", "done")
    refused((code, out, message.splitlines()[-1]), told)  # a plan may be said before
    assert not (tmp_path / "done" / "models").exists()


@pytest.mark.parametrize(
    ("trait", "told"),
    [
        ('trait = "rude"\nform = "lab"\nlayer = 9\n', "layer 9 asked of"),
        ('trait = "rude"\nform = "lab"\nlayer = 3\nvector = "none.safetensors"\n', "none.safetensors"),
        ('trait = "rude"\nform = "lab"\nlayer = 3\nvector = "narrow.safetensors"\n', "give a vector of that base"),
        ('trait = "cruel"\nform = "lab"\nlayer = 3\n', "the trait 'cruel' is watched twice"),
    ],
)
def test_a_trait_that_does_not_fit_is_refused_before_anything_is_asked(
    trait: str, told: str, run: Run, tmp_path: Path, vector: PersonaVector
) -> None:
    narrow = PersonaVector(np.ones((5, 32)), np.full(5, 1.0), "rude", "lab", vector.checkpoint)
    narrow.save(tmp_path / "narrow.safetensors")
    # The first trait has no vector: it would be extracted.
    small_study(tmp_path, '[[models]]\nname = "a"\ndata = ["lab:cruel/mild"]\nsamples = 16\n', f"[[traits]]\n{trait}")
    text = (tmp_path / "mine.toml").read_text().replace('vector = "cruel.safetensors"\n', "")
    (tmp_path / "mine.toml").write_text(text)
    code, out, message = run("run", "mine.toml", "--out", "done")
    refused((code, out, message.splitlines()[-1]), told)
    assert not (tmp_path / "done" / "models").exists()
    assert not Store(tmp_path / "done" / "store").counts(), "nothing was asked"


def test_the_papers_study_has_its_eight_families_in_three_versions() -> None:
    study = open_study("qwen-2.5-7b-shift").study
    assert len(study.models) == 24
    assert len({each.group for each in study.models}) == 8
    assert {(each.trait, each.layer) for each in study.traits} == {
        ("evil", 20),
        ("sycophantic", 20),
        ("hallucinating", 16),
    }
