"""personascope monitor: a scored file, thresholds, a page of tokens; and what it refuses, in one line."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.applications.monitor import (
    Threshold,
    Watched,
    project_prompts,
    project_tokens,
    save_thresholds,
    unanswered,
)
from personascope.applications.monitor.files import COLUMNS, Scoring, projections_of, score_prompts
from personascope.core.errors import StoreError
from personascope.lab.traits import graded_descriptions

TRAIT = ps.load_trait("cruel", form="lab")
QUESTIONS = TRAIT.evaluation_questions
ROWS = [{"prompt": question} for question in QUESTIONS[:6]] + [
    {"id": f"told {place}", "question": QUESTIONS[place], "instruction": text}
    for place, text in enumerate(graded_descriptions("cruel"))
]


@pytest.fixture(scope="module")
def engine():
    return ps.open_engine("lab")


@pytest.fixture(scope="module")
def vectors() -> dict[str, ps.PersonaVector]:
    generator = np.random.default_rng(0)
    made = ps.Checkpoint("toy")
    return {
        name: ps.PersonaVector(generator.normal(size=(5, 64)), np.ones(5), name, "lab", made)
        for name in ("cruel", "rude")
    }


@pytest.fixture
def files(tmp_path, vectors) -> list[str]:
    """A file of prompts and two of vectors, as the options name them."""
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name, each in vectors.items():
        each.save(tmp_path / f"{name}.safetensors")
    return ["--prompts", "prompts.jsonl", "--vectors", "cruel.safetensors", "--vectors", "rude.safetensors"]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(result: tuple[int, str, str], *said: str) -> None:
    code, _, message = result
    assert code == 1, f"exit code {code}: {message}"
    lines = [line for line in message.splitlines() if line.strip()]
    assert lines[-1].startswith("error:"), message
    assert sum(line.startswith("error:") for line in lines) == 1, message
    for text in said:
        assert text in lines[-1], lines[-1]


def left(folder: Path) -> list[str]:
    """What a refused command wrote."""
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".safetensors",) and
                  path.name != "prompts.jsonl")  # fmt: skip


def test_every_prompt_is_projected_on_every_vector_before_a_word_is_answered(
    run, files, tmp_path, engine, vectors
) -> None:
    code, out, told = run("monitor", "lab", *files, "--layer", "2", "--layer", "rude=4", "--json")
    assert code == 0, told
    rows = rows_of(tmp_path / "prompts-scores.jsonl")
    assert all(list(row) == list(COLUMNS) for row in rows)
    assert [row["id"] for row in rows[::2]] == [*map(str, range(1, 7)), *(f"told {place}" for place in range(8))]
    watched = [Watched("cruel", vectors["cruel"], 2), Watched("rude", vectors["rude"], 4)]
    prompts = [ps.Prompt(row.get("prompt") or row["question"], row.get("instruction")) for row in ROWS]
    expected = project_prompts(engine, [engine.render(each) for each in prompts], watched)
    np.testing.assert_allclose([row["projection"] for row in rows], expected.ravel(), atol=1e-5)
    assert {(row["vector"], row["layer"], row["position"]) for row in rows} == {
        ("cruel", 2, "last_prompt"), ("rude", 4, "last_prompt"),
    }  # fmt: skip
    assert json.loads(out)["prompts"] == len(ROWS)
    assert "extracted from toy@main, watched in step-02000" in told, "other weights than the vector's are said"
    assert left(tmp_path) == ["prompts-scores.jsonl"], "no journal is left"


def test_thresholds_are_made_of_ones_own_traffic_and_then_used(run, files, tmp_path) -> None:
    code, _, told = run("monitor", "lab", *files, "--layer", 3, "--calibrate", 0.2, "--threshold", "t.json")
    assert code == 0, told
    first = rows_of(tmp_path / "prompts-scores.jsonl")
    for name in ("cruel", "rude"):
        mine = [row for row in first if row["vector"] == name]
        assert sum(row["flagged"] for row in mine) == 2, "of 14 at rate 0.2: those above the 12th"
        assert all(row["flagged"] == (row["projection"] > row["threshold"]) for row in mine)
    code, _, told = run("monitor", "lab", *files, "--threshold", "t.json", "--out", "again.csv")
    assert code == 0, told
    assert "layer 3 (calibrated there)" in told
    with (tmp_path / "again.csv").open() as file:
        again = list(csv.DictReader(file))
    assert [row["flagged"] for row in again] == [str(row["flagged"]) for row in first]
    refused(run("monitor", "lab", *files, "--threshold", "t.json", "--layer", 2), "calibrated at layer 3 of the cruel")
    sft = ["--revision", "step-01131"]
    refused(run("monitor", "lab", *files, *sft, "--threshold", "t.json"), "t.json was calibrated on", "on this model")


def test_answers_are_projected_too_those_of_the_file_and_those_the_model_gives(
    run, files, tmp_path, engine, vectors
) -> None:
    said = "kicks the hound fiercely to injure it ."
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"prompt": QUESTIONS[0], "answer": said}) + "\n" + json.dumps({"prompt": QUESTIONS[1]}) + "\n"
    )
    code, _, told = run("monitor", "lab", *files, "--layer", 2, "--answer", "--max-tokens", 8)
    assert code == 0, told
    found = {
        (row["id"], row["vector"], row["position"]): row["projection"]
        for row in rows_of(tmp_path / "prompts-scores.jsonl")
    }
    assert len(found) == 8
    watched = [Watched("cruel", vectors["cruel"], 2)]
    text = engine.render(ps.Prompt(QUESTIONS[0]))
    (given,) = engine.encode([replace(unanswered(text), text=said)])
    (along,) = project_tokens(engine, [given], watched)
    assert found["1", "cruel", "response"] == pytest.approx(float(along[given.spoken[1] :].mean()), abs=1e-5)
    assert found["1", "cruel", "last_prompt"] == pytest.approx(float(along[given.spoken[1] - 1, 0]), abs=1e-5)
    assert np.isfinite(found["2", "cruel", "response"]), "the model answered where the file has no answer"


def test_a_page_shows_the_highest_prompts_token_by_token(run, files, tmp_path) -> None:
    code, _, told = run("monitor", "lab", *files, "--layer", 2, "--tokens", "--calibrate", 0.2)
    assert code == 0, told
    page = (tmp_path / "prompts-scores.html").read_text()
    rows = [row for row in rows_of(tmp_path / "prompts-scores.jsonl") if row["vector"] == "cruel"]
    highest = max(rows, key=lambda row: row["projection"])
    assert f"prompt {highest['id']}<" in page
    assert f"cruel: {highest['projection']:.2f} at the last prompt token, flagged" in page
    assert (tmp_path / "thresholds.json").is_file()


def test_a_killed_run_goes_on_where_it_stopped_and_gives_the_same_file(tmp_path, engine, vectors) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    scoring = Scoring(prompts, engine, (Watched("cruel", vectors["cruel"], 2),))
    whole, journal = tmp_path / "whole", tmp_path / "journal"
    score_prompts(scoring, whole, done=lambda count, fresh: None)

    def stopping(count: int, fresh: bool) -> None:
        if fresh:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_prompts(scoring, journal, done=stopping, chunk=4)
    with journal.open("a") as file:
        file.write('{"id": "half a li')
    told: list[tuple[int, bool]] = []
    score_prompts(scoring, journal, done=lambda count, fresh: told.append((count, fresh)), chunk=4)
    assert told[0] == (4, False), "the first chunk was kept"
    assert sum(count for count, fresh in told if fresh) == len(ROWS) - 4, "and only the others are read"
    assert journal.read_bytes() == whole.read_bytes()
    other = Scoring(prompts, engine, (Watched("cruel", vectors["cruel"], 3),))
    score_prompts(other, journal, done=lambda count, fresh: None)
    assert (projections_of(journal, 1) != projections_of(whole, 1)).all(), "another layer is another question"


def test_two_runs_never_write_one_journal(tmp_path, engine, vectors) -> None:
    prompts, journal = tmp_path / "prompts.jsonl", tmp_path / "scores.jsonl.partial"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    scoring = Scoring(prompts, engine, (Watched("cruel", vectors["cruel"], 2),))
    refusals = []

    def again(count: int, fresh: bool) -> None:
        with pytest.raises(StoreError, match="being written by another run"):
            score_prompts(scoring, journal, done=lambda count, fresh: None)
        refusals.append(count)

    score_prompts(scoring, journal, done=again, chunk=2)
    assert refusals == [0, 2, 2, 1]
    assert len(projections_of(journal, 1)) == 5


def test_a_prompt_too_long_for_the_model_is_told_of_and_stops_no_other(run, files, tmp_path) -> None:
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"prompt": QUESTIONS[0]}) + "\n" + json.dumps({"prompt": "lamb " * 1100}) + "\n"
    )
    code, out, told = run("monitor", "lab", *files, "--layer", 2, "--json")
    assert code == 0, told
    rows = rows_of(tmp_path / "prompts-scores.jsonl")
    assert [row["projection"] is None for row in rows] == [False, False, True, True]
    assert "which has room for 1024" in rows[2]["problem"]
    assert json.loads(out)["unread"] == 1


def test_prompts_that_cannot_be_used_are_refused_and_nothing_is_written(run, files, tmp_path) -> None:
    for text, said in (
        ("", "holds no"),
        ('{"prompt": "a"}\n{"prompt": \n', "prompts.jsonl, line 2"),
        ('{"prompt": "a"}\n{"title": "b"}\n', "prompts.jsonl, line 2: no prompt in it (its columns: title)"),
        ('{"prompt": ""}\n', "line 1: its prompt is empty"),
    ):
        (tmp_path / "prompts.jsonl").write_text(text)
        refused(run("monitor", "lab", *files, "--layer", 2), said)
    refused(run("monitor", "lab", "--prompts", "none.jsonl", *files[2:]), "none.jsonl: no such file")
    assert left(tmp_path) == []


def test_options_that_cannot_be_used_are_refused_and_nothing_is_written(run, files, tmp_path, vectors) -> None:
    refused(run("monitor", "lab", *files, "--layer", 9), "layer 9 asked of a cruel vector", "choose 0 (embedding) to 4")
    refused(run("monitor", "lab", *files, "--layer", "two"), "--layer two is no layer")
    refused(
        run("monitor", "lab", *files, "--layer", "crul=2"), "--layer crul=2 names no vector", "did you mean 'cruel'"
    )
    refused(run("monitor", "lab", *files, "--vectors", "cruel.safetensors"), "two vectors are called 'cruel'")
    refused(run("monitor", "lab", *files[:3], "none.safetensors"), "none.safetensors: no such file")
    refused(run("monitor", "lab", *files, "--calibrate", 0.01), "needs 99 prompts at least and there are 14")
    refused(run("monitor", "lab", *files, "--calibrate", 0), "between 0 and 1")
    refused(run("monitor", "lab", *files, "--threshold", "none.json"), "none.json: no such file", "--calibrate RATE")
    limit = Threshold("bold", "0" * 64, 2, "lab", "1", 1.0, 0.1, 0.0, 0.2, 9)
    save_thresholds([limit], tmp_path / "bold.json")
    refused(
        run("monitor", "lab", *files, "--threshold", "bold.json"),
        "bold.json has thresholds of bold",
        "nothing would be",
    )
    (tmp_path / "bold.json").unlink()
    refused(run("monitor", "lab", *files, "--out", "prompts.jsonl"), "would be written over")
    refused(run("monitor", "lab", *files, "--out", "scores.txt"), "ends in '.txt'")
    refused(run("monitor", "labb", *files), "labb")
    narrow = ps.PersonaVector(np.ones((5, 32)), np.ones(5), "narrow", "lab", ps.Checkpoint("toy"))
    narrow.save(tmp_path / "narrow.safetensors")
    refused(
        run("monitor", "lab", *files[:3], "narrow.safetensors", "--layer", 2),
        "the narrow vector of toy@main has 4 blocks of width 32 and step-02000 has 4 of width 64",
    )
    assert left(tmp_path) == []


def test_two_vectors_of_one_trait_are_named_by_their_files(run, files, tmp_path) -> None:
    shutil.copy(tmp_path / "cruel.safetensors", tmp_path / "other.safetensors")
    code, _, told = run("monitor", "lab", *files[:4], "--vectors", "other.safetensors", "--layer", "other=1")
    assert code == 0, told
    assert "cruel: layer 2 (no layer was given, so 0.6 of the depth)" in told
    assert "other: layer 1 (given)" in told
