"""A package of one file each adds a judge, a kind of study with its figure, and a command; all three run as ours do."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin"
STUDY = """
kind = "lengths"
name = "how-long"
model = "lab"
judge = "words:6"
questions = ["Who is kind?", "Who is cruel?"]
sampling = { max_tokens = 8, temperature = 1.0, repetition_penalty = 1.0, draws = 2 }
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package is installed."""
    root = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, root / "source")  # building writes beside the source
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", root / "site", root / "source"]
    subprocess.run(command, check=True, capture_output=True)
    return root / "site"


@pytest.fixture
def shell(site: Path, tmp_path: Path):
    """Runs a command in an empty folder, with the package installed; gives what it printed."""
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "personascope.cli", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_its_command_runs_and_is_listed(shell) -> None:
    assert shell("count-words", "one two three") == "3\n"
    assert "Count the words of a text." in shell("--help")


def test_its_kind_of_study_is_planned_run_and_drawn_again_from_the_records(shell, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    planned = json.loads(shell("plan", "study.toml", "--json"))
    assert (planned["responses"], planned["verdicts"], planned["tokens"]) == (4, 4, 32)
    assert "Who is cruel?" in shell("run", "study.toml", "--out", "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "lengths.csv", "lengths.png", "lengths.pdf", "study.toml", "run.json", "store",
    }  # fmt: skip
    records = sqlite3.connect(tmp_path / "out/store/records.sqlite").execute("SELECT count(*) FROM records").fetchone()
    shell("figures", "out", "--out", "again")
    table = (tmp_path / "out/lengths.csv").read_text()
    assert (tmp_path / "again/lengths.csv").read_text() == table
    shell("run", "out/study.toml", "--out", "out")
    assert (tmp_path / "out/lengths.csv").read_text() == table
    again = sqlite3.connect(tmp_path / "out/store/records.sqlite").execute("SELECT count(*) FROM records").fetchone()
    assert again == records, "what was asked once is not asked again"


def test_its_judge_works_where_a_judge_is_named(shell, tmp_path: Path) -> None:
    few = ("--limit", 1, "--judge", "words:2")
    shell("respond", "lab", "cruel", *few, "--out", "answers.csv")
    assert "100" in (tmp_path / "answers.csv").read_text()
    way = ("--layer", 2, "--strength", 1, "--unit", "vector")
    shell("trace", "lab", "cruel", *way, *few, "--random", 0, "--shuffled", 0, "--out", "traced")
    assert (tmp_path / "traced/effects.csv").is_file()
