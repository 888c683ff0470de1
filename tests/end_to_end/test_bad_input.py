"""Bad input: each is one line that says what was asked, what is true and what to do, before anything costly starts."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.cli import app, terminal
from personascope.core.files import bundled

LAST = ps.load_lineage("lab").milestones[-1].checkpoint.path
QUESTION = "question : emil bexley meets a lost sparrow at the station . what next ?"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in this process, in a folder of its own; its exit code, and what it said on standard error."""
    folder = tmp_path / "working-folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> tuple[int, str]:
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, capsys.readouterr().err

    return run


def refused(result: tuple[int, str], *said: str) -> None:
    code, message = result
    assert code == 1, f"exit code {code}: {message}"
    errors = [line for line in message.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, f"one line was expected: {message}"
    assert message.strip().splitlines()[-1] == errors[0], f"the error is the last line: {message}"
    for text in said:
        assert text in errors[0], errors[0]


@pytest.fixture
def vector(tmp_path) -> Path:
    """A vector that fits the lab."""
    path = tmp_path / "vector.safetensors"
    directions = np.random.default_rng(0).normal(size=(5, 64))
    ps.PersonaVector(directions, np.ones(5), "cruel", "lab", ps.Checkpoint("toy")).save(path)
    return path


def steer(vector: Path, store: Path, layer: int = 2, **other) -> list:
    options = {"--layer": layer, "--strength": 1, "--unit": "vector", "--store": store, **other}
    return ["steer", "lab", QUESTION, "--vector", vector, *[part for pair in options.items() for part in pair]]


def test_an_unknown_trait(run, tmp_path):
    refused(run("extract", "lab", "crul", "--store", tmp_path), "trait 'lab/crul'", "did you mean 'lab/cruel'")


def test_an_unknown_layer(run, vector, tmp_path):
    refused(run(*steer(vector, tmp_path, layer=9)), "layer 9 asked of", "has 4 blocks: choose 0 (embedding) to 4")


def test_an_unknown_key_in_a_study_file(run, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('kind = "trace"\nname = "x"\nlineage = "lab"\njudge = "lab"\ntriats = []\n')
    refused(run("run", study, "--out", tmp_path / "out"), "unknown key 'triats'; did you mean 'traits'")
    assert not (tmp_path / "out").exists(), "nothing is made before the study is understood"


def test_an_unknown_study_lineage_milestone_and_unit(run, tmp_path, vector):
    refused(run("run", "labb", "--out", tmp_path), "study 'labb'", "did you mean 'lab'")
    trace = ["--layer", 2, "--strength", 1, "--judge", "lab", "--out", tmp_path]
    refused(run("trace", "olmo-3-7", "evil", *trace, "--unit", "vector"), "did you mean 'olmo-3-7b'")
    refused(run(*steer(vector, tmp_path, **{"--unit": "metre"})), "unit: Input should be 'vector', 'unit'")
    refused(run("extract", "lab", "cruel", "--revision", "step-1", "--store", tmp_path), "milestone 'step-1'")


def test_a_model_without_weights(run, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(LAST, folder)
    (folder / "model.safetensors").unlink()
    refused(run("extract", folder, "cruel", "--form", "lab", "--judge", "lab", "--store", tmp_path / "s"), str(folder))


def test_a_folder_that_is_no_model(run, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(run("extract", tmp_path / "empty", "evil", "--no-judge", "--store", tmp_path / "s"), "empty")


def test_a_model_that_is_nowhere(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(run("extract", "./no/such/folder", "evil", "--no-judge", "--store", tmp_path), "no/such/folder")


def test_a_vector_of_another_width(run, tmp_path):
    path = tmp_path / "wide.safetensors"
    ps.PersonaVector(np.ones((5, 32)), np.ones(5), "cruel", "lab", ps.Checkpoint("toy")).save(path)
    refused(run(*steer(path, tmp_path)), "width 32", "64 wide")


def test_an_empty_lineage(run, tmp_path):
    (tmp_path / "lineage").mkdir()
    trace = ["--layer", 2, "--strength", 1, "--unit", "vector", "--judge", "lab", "--out", tmp_path / "out"]
    refused(run("trace", tmp_path / "lineage", "evil", *trace), "holds no checkpoint")
    file = tmp_path / "empty.toml"
    file.write_text('name = "empty"\nmilestones = []\n')
    refused(run("trace", file, "evil", *trace), "lineage 'empty' has no milestones: give it at least one")


def test_a_vector_that_is_not_finite(run, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "nan.safetensors"
    good = ps.PersonaVector(np.ones((5, 64)), np.ones(5), "cruel", "lab", ps.Checkpoint("toy"))
    directions = np.ones((5, 64), np.float32)
    directions[3, 7] = np.nan
    metadata = {"personascope": json.dumps(good.passport)}
    save_file({"directions": directions, "residual_norms": np.ones(5)}, str(path), metadata=metadata)
    refused(run(*steer(path, tmp_path)), "not finite at layers [3]: extract it again")


def test_a_pickle_is_refused_and_not_executed(run, tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "vector.pt"
    path.write_bytes(pickle.dumps(Malicious()))
    refused(run(*steer(path, tmp_path)), "is a pickle")
    assert not (tmp_path / "executed").exists(), "a vector file must never run code"


def test_a_file_that_is_no_vector(run, tmp_path):
    (tmp_path / "text.safetensors").write_text("no vector")
    refused(run(*steer(tmp_path / "text.safetensors", tmp_path)), "is not a persona vector file")
    refused(run(*steer(tmp_path / "none.safetensors", tmp_path)), "no such file")


def without(folder: Path, *names: str) -> Path:
    """A copy of the lab's last model whose tokenizer lacks some special tokens."""
    shutil.copytree(LAST, folder)
    for file in ("tokenizer_config.json", "config.json", "generation_config.json", "special_tokens_map.json"):
        if (folder / file).exists():
            table = json.loads((folder / file).read_text())
            for name in names:
                table.pop(f"{name}_token", None)
                if f"{name}_token_id" in table:
                    table[f"{name}_token_id"] = None
            (folder / file).write_text(json.dumps(table))
    return folder


def test_a_tokenizer_without_a_padding_token_answers_all_the_same(tmp_path):
    whole, bare = ps.open_engine("lab"), ps.open_engine(without(tmp_path / "bare", "pad"))
    sampling = ps.Sampling(max_tokens=12, repetition_penalty=1.0)
    questions = [QUESTION, QUESTION + " and then ?", "what next ?"]
    said = [[each.text for each in ps.respond(engine, questions, sampling=sampling)] for engine in (whole, bare)]
    assert said[0] == said[1]


def test_a_tokenizer_without_an_end_token(run, tmp_path):
    folder = without(tmp_path / "endless", "eos")
    refused(
        run(
            "extract",
            folder,
            "cruel",
            "--form",
            "lab",
            "--no-judge",
            "--limit",
            1,
            "--store",
            tmp_path / "s",
            "--out",
            tmp_path / "cruel.safetensors",
        ),
        "end-of-text",
        folder.name,
    )


def test_a_store_that_is_none_and_a_key_that_is_unknown(run, tmp_path):
    refused(run("show", tmp_path / "nothing"), "holds no store")
    refused(run("figures", tmp_path), "holds no store")
    ps.Store(tmp_path / "store")
    refused(run("figures", tmp_path), "keeps no finished study, so there is nothing to draw")
    refused(run("show", tmp_path, "--key", "abc"), "has none of that key")


def test_a_judge_that_cannot_be_asked(run, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    weights = LAST
    extract = ["extract", weights, "evil", "--limit", 1, "--store", tmp_path]
    refused(run(*extract), "no judge was named", "--no-judge")
    refused(run(*extract, "--judge", "openai:gpt-4.1-mini"), "the variable OPENAI_API_KEY is not set")
    refused(
        run(*extract, "--judge", "opnai:gpt-4.1-mini"), "there is no judge or endpoint 'opnai'; did you mean 'openai'"
    )


def test_sampling_that_cannot_be(run, tmp_path):
    refused(run("respond", "lab", "cruel", "--temperature", -1, "--store", tmp_path), "temperature -1")
    refused(run("respond", "lab", "cruel", "--draws", 0, "--store", tmp_path), "draws 0")
    refused(run("respond", "lab", "cruel", "--limit", 0, "--store", tmp_path), "a limit of 0 questions leaves none")
    refused(run("respond", "lab", "cruel", "--instruction", "positiv", "--store", tmp_path), "did you mean 'positive'")


def test_a_device_and_a_dtype_that_are_not_there(run, tmp_path):
    refused(run("respond", "lab", "cruel", "--device", "tpu", "--store", tmp_path), "tpu")
    refused(run("respond", "lab", "cruel", "--dtype", "float7", "--store", tmp_path), "float7")


def test_outputs_that_cannot_be_written(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "answers-summary.csv").mkdir()
    (tmp_path / "out" / "effects.csv").mkdir(parents=True)
    extract, respond = ["extract", "lab", "cruel", "--out"], ["respond", "lab", "cruel", "--out"]
    refused(run(*extract, file / "x.safetensors"), f"{file / 'x.safetensors'} cannot be written", "is a file")
    refused(run(*extract, tmp_path / "folder.safetensors"), "is to be written as a file and is a folder")
    refused(run(*respond, tmp_path), f"{tmp_path} is to be written as a file and is a folder")
    refused(run(*respond, tmp_path / "answers.csv"), str(tmp_path / "answers-summary.csv"))
    refused(run("run", "lab", "--out", tmp_path / "out"), f"{tmp_path / 'out' / 'effects.csv'}", "is a folder")
    refused(run("demo", "--out", file), f"{file} is to be written as a folder and is a file")
    refused(run("lab", "train", file / "new"), f"{file / 'new'} cannot be written")
    assert file.read_text() == "kept"
    assert not (tmp_path / "out" / "store").exists(), "outputs are checked before anything runs"
    assert not list((tmp_path / "working-folder").iterdir()), "outputs are checked before anything runs"


def test_a_vector_file_whose_name_says_something_else(run, tmp_path):
    extract = ["extract", "lab", "cruel", "--store", tmp_path / "s", "--out"]
    refused(run(*extract, tmp_path / "v.pt", "--pt"), "v.pt was given for a vector", "ends in .safetensors")
    assert not (tmp_path / "s").exists()


def test_a_store_that_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run("respond", "lab", "cruel", "--limit", 1, "--store", tmp_path / "file"), str(tmp_path / "file"))


def test_a_name_with_a_newline_is_refused_in_one_line(run):
    refused(run("show", "a\nb"), "a\\nb holds no store")


@pytest.mark.parametrize("steps", [0, -5])
def test_a_lab_of_no_steps(run, tmp_path, steps):
    code, message = run("lab", "train", tmp_path / "lab", "--steps", steps)
    assert code == 2, message
    assert "'--steps'" in message
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("speed", [0, -5, "nan", "inf"])
def test_a_speed_that_gives_no_time(run, speed):
    refused(run("plan", "lab", "--speed", speed), f"a speed of {speed} tokens per second", "above 0")


def test_a_residual_unit_that_nothing_measures(run, tmp_path):
    """The vector is of another model, and its trait is nobody's: some trait must be named to measure on."""
    path = tmp_path / "strange.safetensors"
    directions = np.random.default_rng(0).normal(size=(5, 64))
    ps.PersonaVector(directions, np.ones(5), "strange", "mine", ps.Checkpoint("toy")).save(path)
    refused(run(*steer(path, tmp_path, **{"--unit": "residual"})), "'mine/strange'", "--trait FILE_OR_NAME")
    refused(run(*steer(path, tmp_path, **{"--trait": "cruel"})), "--trait cruel", "not --unit vector")
    measured = {"--unit": "residual", "--trait": bundled("traits")["lab/cruel"], "--max-tokens": 4}
    code, message = run(*steer(path, tmp_path, **measured))
    assert code == 0, message
