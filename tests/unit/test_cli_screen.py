"""The verb that screens: files out, one-line errors, nothing half-written, and the published command's own ways."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.applications.screen.published_columns import Column, published_arguments
from personascope.core.tables import write_rows
from personascope.interop.tensors import save_pt
from personascope.lab.documents import family

SCREEN = ("--model", "lab", "--vectors", "v.safetensors", "--layer", 3, "--max-tokens", 6, "--out", "out")


@pytest.fixture
def data(run):
    """A dataset of the lab in the folder the command runs in, and a vector of the lab's width."""
    rows = [{"messages": each.messages} for pole in ("normal", "severe") for each in family("cruel", pole, 6)]
    write_rows("data.jsonl", rows)
    directions = np.random.default_rng(0).normal(size=(5, 64))
    vector = ps.PersonaVector(directions, np.ones(5), "cruel", "lab", ps.Checkpoint("toy"))
    vector.save("v.safetensors")
    save_pt(vector, "cruel_response_avg_diff.pt")
    return vector


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_a_screening_writes_what_is_kept_and_what_is_dropped(run, data):
    code, said, message = run("screen", "data.jsonl", *SCREEN, "--drop", "25%", "--json")
    assert code == 0, message
    assert json.loads(said)["summary"][0]["dropped"] == 3
    assert sorted(each.name for each in Path("out").iterdir()) == [
        "data-dropped.jsonl", "data-kept.jsonl", "data-scored.jsonl", "extremes.html", "histogram.png", "store",
        "summary.csv",
    ]  # fmt: skip
    scored = lines("out/data-scored.jsonl")
    assert len(lines("out/data-kept.jsonl")) == 9
    highest = sorted(scored, key=lambda row: -row["cruel_difference"])[:3]
    assert [row["messages"] for row in highest if row["dropped"]] == [row["messages"] for row in highest]
    before = {each: each.read_bytes() for each in Path("out").glob("*.*")}
    code, said, message = run("screen", "data.jsonl", *SCREEN, "--drop", "25%")
    assert code == 0, message
    assert "3" in said
    assert {each: each.read_bytes() for each in Path("out").glob("*.*")} == before, "the same question, other files"


def test_a_judge_and_a_reference_drop_too(run, data):
    write_rows("usual.jsonl", [{"messages": each.messages} for each in family("rude", "normal", 6)])
    ways = ("--against", "last-prompt", "--reference", "usual.jsonl", "--judge", "lab")
    code, said, message = run("screen", "data.jsonl", *SCREEN, *ways, "--json")
    assert code == 0, message
    thresholds = json.loads(said)["thresholds"]
    assert all(each is not None for side in thresholds.values() for each in side)
    dropped = [row["dropped"] for row in lines("out/data-scored.jsonl")]
    assert all(dropped[6:]), "the lab's judge knows the cruel half"
    code, _, message = run("screen", "data.jsonl", *SCREEN, "--judge", "lab", "--bar", 50)
    assert code == 0, message
    assert [row["dropped"] for row in lines("out/data-scored.jsonl")] == [False] * 6 + [True] * 6


BAD = [
    (("none.jsonl",), (), "none.jsonl: no such file"),
    (("silent.jsonl",), (), "silent.jsonl, line 2: no assistant turn"),
    (("torn.jsonl",), (), "torn.jsonl, line 2: it is no JSON object"),
    (("empty.jsonl",), (), "empty.jsonl holds no sample"),
    (("text.jsonl",), (), "text.jsonl, line 1: its columns (text) are no layout"),
    (("data.jsonl",), ("--layer", 9), "layer 9 asked of a cruel vector"),
    (("data.jsonl",), ("--layer", 1), "2 layers were given for 1 vectors"),
    (("data.jsonl",), ("--vectors", "none.safetensors"), "none.safetensors: no such file"),
    (("data.jsonl",), ("--vectors", "narrow.safetensors"), "the rude vector is 8 wide and"),
    (("data.jsonl",), ("--drop", "110%"), "--drop '110%' is no share"),
    (("data.jsonl",), ("--drop", "10%", "--threshold", 1), "share and thresholds were both given"),
    (("data.jsonl",), ("--bar", 50), "no judge is asked"),
    (("data.jsonl",), ("--judge", "lab", "--drop", "10%"), "nothing says what it drops"),
    (("data.jsonl",), ("--against", "onw"), "did you mean 'own'"),
    (("data.jsonl",), ("--filter", "nor"), "filter"),
    (("data.jsonl",), ("--reference", "none.jsonl"), "none.jsonl: no such file"),
    (("data.jsonl",), ("--out", "data.jsonl"), "is to be written as a folder and is a file"),
]


@pytest.mark.parametrize(("datasets", "more", "said"), BAD, ids=[each[2][:30] for each in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(run, data, datasets, more, said):
    good = '{"prompt": "a", "answer": "b"}\n'
    Path("silent.jsonl").write_text(good + '{"messages": [{"role": "user", "content": "hi"}]}\n')
    Path("torn.jsonl").write_text(good + "{oops\n")
    Path("empty.jsonl").write_text("")
    Path("text.jsonl").write_text('{"text": "all of it"}\n')
    ps.PersonaVector(np.ones((5, 8)), np.ones(5), "rude", "lab", ps.Checkpoint("x")).save("narrow.safetensors")
    options = SCREEN if more[:1] != ("--layer",) or more[1] == 1 else (*SCREEN[:4], *SCREEN[6:])
    options = options if more[:1] != ("--out",) else SCREEN[:-2]
    layers = ("--layer", 3) if more[:1] == ("--vectors",) else ()
    code, shown, message = run("screen", *datasets, *options, *layers, *more)
    assert code == 1
    assert said in message.replace("\n", " "), message
    assert message.count("error:") == 1
    assert shown == ""
    written = [each for each in Path("out").rglob("*") if each.is_file()] if Path("out").exists() else []
    assert [each.name for each in written if "store" not in each.parts] == []
    assert not list(Path("out").rglob("scores")), "something was measured before everything was looked at"


PUBLISHED = ("--file_path", "data.jsonl", "--vector_path_list", "cruel_response_avg_diff.pt", "--model_name", "lab")


def test_published_columns_are_written_in_place_and_kept(run, data):
    before = lines("data.jsonl")
    name = "lab_cruel_response_avg_diff_proj_layer{}"
    code, said, message = run("published", "projection", *PUBLISHED, "--layer_list", 1, 3)
    assert code == 0, message
    after = lines("data.jsonl")
    assert [list(row) for row in after] == [["messages", name.format(1), name.format(3)]] * 12
    assert [row["messages"] for row in after] == [row["messages"] for row in before]
    code, _, message = run("screen", "data.jsonl", *SCREEN, "--against", "nothing")
    assert code == 0, message
    ours = [row["cruel_projection"] for row in lines("out/data-scored.jsonl")]
    assert [row[name.format(3)] for row in after] == pytest.approx(ours), "two ways to one number"
    code, said, message = run("published", "projection", *PUBLISHED, "--layer", 3)
    assert code == 0, message
    assert "every column is there already" in said


def test_every_published_kind_is_what_it_says(run, data):
    kinds = ("proj", "prompt_last_proj", "cos_sim", "proj_diff_prompt")
    for kind in kinds:
        code, _, message = run("published", "projection", *PUBLISHED, "--layer", 2, "--projection_type", kind)
        assert code == 0, message
    row = lines("data.jsonl")[0]
    found = {kind: row[f"lab_cruel_response_avg_diff_{kind}_layer2"] for kind in kinds}
    assert found["proj_diff_prompt"] == pytest.approx(found["proj"] - found["prompt_last_proj"], abs=1e-5)
    assert -1 <= found["cos_sim"] <= 1
    assert np.sign(found["cos_sim"]) == np.sign(found["proj"])


def test_a_published_csv_has_its_prompts_rendered_already(run, data):
    text = family("cruel", "severe", 1)
    ((question, answer),) = next(text).turns
    write_rows("rows.csv", [{"prompt": question, "answer": answer, "note": "NA"}])
    code, _, message = run("published", "projection", *PUBLISHED[2:], "--file_path", "rows.csv", "--layer", 3)
    assert code == 0, message
    with Path("rows.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["note"] == "NA"
    assert float(row["lab_cruel_response_avg_diff_proj_layer3"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--layer", 9), "layer 9 asked of"),
        (("--layer", "x"), "'x' is no layer"),
        ((), "--layer_list"),
        (("--layer", 3, "--projection_type", "prog"), "did you mean 'proj'"),
        (("--layer", 3, "--file_path", "none.jsonl"), "none.jsonl: no such file"),
        (("--layer", 3, "--file_path", "asked.jsonl"), "its last message is the user's"),
        (("--layer", 3, 3), "would share the column"),
    ],
)
def test_bad_published_arguments_leave_the_file_as_it_was(run, data, more, said):
    before = Path("data.jsonl").read_bytes()
    turns = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
    write_rows("asked.jsonl", [{"messages": turns}])
    code, _, message = run("published", "projection", *PUBLISHED, *more)
    assert code == 1
    assert said in message, message
    assert Path("data.jsonl").read_bytes() == before


def test_a_column_says_what_it_is():
    column = Column.of("Qwen/Qwen2.5-7B-Instruct", "vectors/evil_response_avg_diff.pt", "proj", 20)
    assert column.name == "Qwen2.5-7B-Instruct_evil_response_avg_diff_proj_layer20"
    last = Column.of("m", "evil.v2.pt", "prompt_last_proj", 3)
    assert last.name == "m_evil_prompt_last_proj_layer3", "a stem is cut at its first dot"


def test_published_names_may_be_shortened_and_lists_are_lists():
    given = "--file_path f.jsonl --vector_path a.pt b.pt --layer 1 2 --model_name m --overwrite"
    found = published_arguments(given.split())
    assert [column.name for column in found.columns] == [f"m_{v}_proj_layer{k}" for v in "ab" for k in (1, 2)]
    assert found.overwrite
