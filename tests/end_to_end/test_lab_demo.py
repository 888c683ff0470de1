"""The demonstration at a smaller size: a real model, really killed and resumed, and the five lines of the README."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import personascope as ps
from personascope.studies.artifacts import FILES

STUDY_FILES = {name for name in (*FILES, "study.toml", "run.json") if not name.startswith("transfer")}
COMMAND = [sys.executable, "-m", "personascope.cli"]
README = Path(__file__).parents[2] / "README.md"


def personascope(*arguments: object, **how) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, **how)


LAST = ps.load_lineage("lab").milestones[-1].label

SMALL = f"""
kind = "trace"
name = "small"
lineage = "lab"
judge = "lab"
milestones = ["step-00040", "step-00640", "{LAST}"]
limit = 6
extraction = {{ max_tokens = 32, temperature = 1.0, repetition_penalty = 1.0, draws = 1 }}
evaluation = {{ max_tokens = 32, temperature = 1.0, repetition_penalty = 1.0, draws = 2 }}
controls = {{ random = 1, shuffled = 1 }}
selection = {{ layers = [2, 3], strengths = [1.0, 2.0], unit = "vector", where = ["response", "all"] }}
traits = [{{ trait = "cruel", extract = "lab" }}, {{ trait = "rude", extract = "lab" }}]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    done = personascope("run", study, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def chosen(out: Path) -> pd.DataFrame:
    effects = pd.read_csv(out / "effects.csv")
    return effects[effects["chosen"] & (effects["direction"] == "extracted")]


def test_vectors_form_during_training(finished):
    table = chosen(finished)
    early, late = table[table["milestone"] == "step-00040"], table[table["milestone"] == LAST]
    assert early["effect"].isna().all()
    assert early["reason"].str.contains("0 of 30 pairs kept").all(), "an absence says its counts"
    assert (late["effect"] > 25).all(), f"steering the finished model moves it: {late['effect'].tolist()}"
    assert (late["steered_coherence"] > 65).all()


def test_everything_a_run_promises_is_written(finished):
    files = {path.name for path in finished.iterdir() if path.is_file()}
    assert files == STUDY_FILES, "what is written is what was checked to be writable before the run"
    assert (finished / "emergence.png").read_bytes().startswith(b"\x89PNG")
    vector = ps.load_vector(finished / "vectors" / f"cruel.{LAST}.safetensors")
    assert vector.counts.kept == len(vector.sources) // 2
    assert np.isfinite(vector.residual_norms).all()


def recorded(out: Path) -> int:
    return sum(ps.Store(out / "store").counts().values()) if (out / "store" / "records.sqlite").exists() else 0


def test_a_run_killed_at_random_moments_and_resumed_gives_the_same_table_to_the_byte(study, finished, tmp_path):
    """Each kill comes a random moment after something new was recorded; the first comes at once, in mid run."""
    generator = random.Random(int.from_bytes(os.urandom(4), "big"))
    killed_with = []
    for moment in (0.0, generator.uniform(0, 1), generator.uniform(0, 2)):
        before = recorded(tmp_path)
        process = subprocess.Popen(
            [*COMMAND, "run", str(study), "--out", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and recorded(tmp_path) == before:
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed_with.append(recorded(tmp_path))
    whole = recorded(finished)
    in_flight = [count for count in killed_with if 0 < count < whole]
    assert in_flight, f"no process was killed in mid run: {killed_with} of {whole} records were there"
    done = personascope("run", study, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert recorded(tmp_path) == whole
    for name in ("effects.csv", "answers.csv", "selection.csv", "emergence.tex"):
        same = (tmp_path / name).read_bytes() == (finished / name).read_bytes()
        assert same, f"{name} differs after kills with {killed_with} of {whole} records"


COUNTING = """
import sys
from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter
from personascope.cli import main
made = []
on_parameter(lambda module, name, parameter: made.append(name))
try:
    main()
finally:
    print(len(made), file=sys.stderr)
"""


def parameters_made(*arguments: object) -> int:
    """How many parameters of models a command makes: torch tells of each."""
    command = [sys.executable, "-c", COUNTING, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


def test_a_second_run_loads_no_weights_and_changes_nothing(study, finished, tmp_path):
    tables = {path: path.read_bytes() for path in finished.glob("*.csv")}
    assert parameters_made("run", study, "--out", finished) == 0
    assert {path: path.read_bytes() for path in tables} == tables
    one = ("--limit", 1, "--draws", 1, "--no-judge", "--store", tmp_path / "store", "--out", tmp_path / "answers.csv")
    assert parameters_made("respond", "lab", "cruel", *one) > 0, "a command that does load must be noticed"


def test_figures_are_drawn_again_from_the_records_alone(finished, tmp_path):
    """The store alone is copied; neither a model nor the study's file is needed."""
    shutil.copytree(finished / "store", tmp_path / "store")
    done = personascope("figures", tmp_path, "--out", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    files = [Path(path) for path in json.loads(done.stdout)["files"]]
    assert {path.name for path in files if path.parent == tmp_path / "again"} == STUDY_FILES - {
        "study.toml",
        "run.json",
    }
    for name in ("effects.csv", "answers.csv", "selection.csv", "emergence.tex", "emergence.png"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), f"{name} differs"


def test_a_figure_is_traced_back_to_an_answer_and_a_verdict(finished):
    answers = pd.read_csv(finished / "answers.csv")
    row = answers[(answers["pole"] == "steered") & (answers["outcome"] == "scored")].iloc[0]
    done = personascope("show", finished, "--key", row["response_key"])
    behind = json.loads(done.stdout)
    assert behind["by"]["request"]["draw"] == row["draw"]
    assert row["question"] in behind["by"]["request"]["text"]
    said = json.loads(personascope("show", finished, "--key", row["verdict_key"]).stdout)
    assert said["by"]["case"]["answer"] == behind["value"]["text"]
    assert said["value"]["score"] == pytest.approx(row["score"])


def test_the_five_lines_of_the_readme_run():
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL).group(1)
    lines = [line for line in code.strip().splitlines() if line and not line.startswith("import")]
    assert len(lines) == 5
    names: dict = {}
    exec(code, names)
    assert isinstance(names["vector"], ps.PersonaVector)
    engine, questions = names["engine"], names["trait"].evaluation_questions[:2]
    steered = ps.respond(engine, questions, edits=names["steering"].along(names["vector"]))
    plain = ps.respond(engine, questions)
    assert [each.text for each in steered] != [each.text for each in plain]


def test_extract_steer_respond_and_show_on_the_command_line(tmp_path):
    vector = tmp_path / "cruel.safetensors"
    store = ("--store", tmp_path / "store")
    small = ("--limit", 5, "--draws", 1)
    done = personascope("extract", "lab", "cruel", *small, "--out", vector, "--pt", "--json", *store)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["counts"]["asked"] == 25
    assert said["counts"]["kept"] > 0
    torch = pytest.importorskip("torch")
    tensor = torch.load(vector.with_suffix(".pt"), weights_only=True)
    assert np.array_equal(tensor.numpy(), ps.load_vector(vector).directions)
    question = ps.load_trait("cruel", form="lab").evaluation_questions[0]
    way = ("--vector", vector, "--layer", 3, "--strength", 0.6, "--unit", "residual", "--where", "all")
    done = personascope("steer", "lab", question, *way, "--draws", 2, "--json", *store)
    rows = json.loads(done.stdout)
    assert [set(row) for row in rows] == [{"prompt", "plain", "steered"}] * 2, done.stderr
    assert any(row["plain"] != row["steered"] for row in rows)
    out = tmp_path / "answers.csv"
    scores = {}
    for pole in ("positive", "negative"):
        done = personascope(
            "respond", "lab", "cruel", "--instruction", pole, "--limit", 4, "--draws", 1, "--out", out, "--json", *store
        )
        scores[pole] = json.loads(done.stdout)["mean_score"]
        assert len(pd.read_csv(out)) == 4 * 5
    assert scores["positive"] > scores["negative"] + 20
    assert "cruel" in personascope("show", vector).stdout
    assert "response" in personascope("show", tmp_path / "store").stdout


def test_without_a_judge_every_pair_is_kept_on_the_command_line(tmp_path):
    vector = tmp_path / "rude.safetensors"
    done = personascope(
        "extract", "lab", "rude", "--revision", "step-00040", "--no-judge", "--limit", 3, "--draws", 1,
        "--out", vector, "--store", tmp_path / "store",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = ps.load_vector(vector)
    assert loaded.counts.kept + loaded.counts.empty == loaded.counts.asked
    assert "every pair kept" in loaded.judge


def test_no_vector_is_an_answer_with_an_exit_code_of_its_own(tmp_path):
    done = personascope(
        "extract",
        "lab",
        "rude",
        "--revision",
        "step-00040",
        "--limit",
        3,
        "--draws",
        1,
        "--store",
        tmp_path / "s",
        "--out",
        tmp_path / "rude.safetensors",
    )
    assert done.returncode == 3
    assert "no vector of rude: 0 of 15 pairs kept" in done.stdout
