"""The command line: its output is valid whatever a model says, and it ends as it should."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.cli import terminal

# A shell that runs tests in the background has its children ignore the interrupt; this command listens again.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from personascope.cli import main"
COMMAND = [sys.executable, "-c", f"{LISTENING}; main()"]


def test_json_of_any_text_is_valid_and_the_same_text(capsysbinary):
    text = "a\x00b\ud800c\u202e😀\nNA\udcff"
    terminal.print_json({"text": text, "score": float("nan"), "inf": float("inf")})
    said = capsysbinary.readouterr().out
    assert json.loads(said.decode("ascii")) == {"text": text, "score": None, "inf": None}


def test_a_record_that_no_encoding_holds_is_shown(tmp_path):
    ps.Store(tmp_path).record("response", [("key", {"text": "\ud800"}, {"label": "x"})])
    done = subprocess.run([*COMMAND, "show", str(tmp_path), "--key", "key"], capture_output=True, check=True)
    assert json.loads(done.stdout)["value"]["text"] == "\ud800"


def test_a_prompt_that_is_no_text_is_asked_and_shown(run):
    """A terminal may send any bytes; those that are no text reach a command as lone surrogates."""
    directions = np.random.default_rng(0).normal(size=(5, 64))
    ps.PersonaVector(directions, np.ones(5), "cruel", "lab", ps.Checkpoint("toy")).save("v.safetensors")
    way = ["--vector", "v.safetensors", "--layer", 2, "--strength", 1, "--unit", "unit", "--max-tokens", 4]
    code, said, message = run("steer", "lab", "\udcff hello", *way, "--json")
    assert code == 0, message
    assert json.loads(said)[0]["prompt"] == "\udcff hello"
    code, said, message = run("steer", "lab", "\udcff hello", *way)
    assert code == 0, message
    assert "\\udcff hello" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, ""),
        (["plan"], 2, "Missing argument"),
        (["plan", "lab", "--sped", "3"], 2, "No such option"),
        (["plam"], 2, "No such command"),
        (["plan", "labb"], 1, "error: study 'labb'"),
    ],
)
def test_usage_errors_and_exits_keep_their_codes(run, arguments, code, said):
    got, _, message = run(*arguments)
    assert got == code, message
    assert said in message


def test_an_error_of_the_system_is_one_line_that_names_the_path(capsys):
    def write() -> None:
        Path("/proc/none/file").write_text("")

    assert terminal.guarded(write) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /proc/none/file: No such file or directory")


def test_an_interrupt_is_heard_and_what_was_recorded_stays(tmp_path):
    """The interrupt comes as soon as something is recorded; the same command then goes on from there."""
    command = [*COMMAND, "respond", "lab", "cruel", "--draws", "400", "--store", "store", "--out", "answers.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not recorded(tmp_path / "store") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert message.strip().splitlines()[-1].startswith("stopped; everything recorded stays"), message
    assert "Traceback" not in message
    assert recorded(tmp_path / "store")
    assert not (tmp_path / "answers.csv").exists()


def recorded(store: Path) -> int:
    return sum(ps.Store(store).counts().values()) if (store / "records.sqlite").exists() else 0


def test_a_plan_always_gives_a_time_and_says_what_it_assumes(run):
    for study, speed, source in (("lab", 10_000, "measured"), ("olmo-3-7b-emergence", 1_000, "not measured")):
        code, said, _ = run("plan", study, "--json")
        plan = json.loads(said)
        assert code == 0
        assert plan["tokens_per_second"] == speed
        assert source in plan["speed_is"]
        assert plan["seconds"] == pytest.approx(plan["tokens"] / speed)
    _, said, _ = run("plan", "lab", "--speed", 50)
    assert "roughly" in said
    assert "at 50 new tokens per second, as given" in said


def test_respond_writes_answers_and_means_by_question_and_poles_stand_beside_each_other(run, tmp_path):
    for arguments in ([], ["--instruction", "positive"], ["--instruction", "negative"]):
        code, _, message = run("respond", "lab", "cruel", "--limit", 2, "--draws", 2, *arguments)
        assert code == 0, message
    names = {path.name for path in tmp_path.glob("*.csv")}
    stems = {"cruel-answers", "cruel-positive-answers", "cruel-negative-answers"}
    assert names == {f"{stem}.csv" for stem in stems} | {f"{stem}-summary.csv" for stem in stems}
    for stem in stems:
        answers, summary = (rows_of(tmp_path / f"{stem}{ending}.csv") for ending in ("", "-summary"))
        assert [row["question"] for row in summary] == list(dict.fromkeys(row["question"] for row in answers))
        for row in summary:
            mine = [each for each in answers if each["question"] == row["question"]]
            scores = [float(each["score"]) for each in mine if each["outcome"] == "scored"]
            assert int(row["answers"]) == len(mine)
            assert int(row["scored"]) == len(scores)
            assert float(row["mean_score"]) == pytest.approx(sum(scores) / len(scores))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_verb_takes_the_options_that_make_sense_for_it(run):
    wanted = {
        "demo": ("--device", "--dtype", "--limit", "--json"),
        "extract": ("--revision", "--device", "--dtype", "--judge", "--no-judge", "--limit", "--json"),
        "respond": ("--revision", "--device", "--dtype", "--judge", "--no-judge", "--limit", "--json"),
        "steer": ("--revision", "--device", "--dtype", "--json"),
        "trace": ("--device", "--dtype", "--judge", "--limit", "--json"),
        "run": ("--device", "--dtype", "--judge", "--limit", "--json"),
        "plan": ("--limit", "--json"),
        "show": ("--json",),
        "figures": ("--json",),
    }
    for verb, options in wanted.items():
        _, said, _ = run(verb, "--help")
        missing = [option for option in options if option not in said]
        assert not missing, f"{verb} lacks {missing}"
