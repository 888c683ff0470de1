"""The verb that screens: files out, one-line errors, nothing half-written; and what a published column is called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.applications.screen.published_columns import Column, published_arguments
from personascope.core.tables import write_rows
from personascope.lab.documents import family
from screened_data import SCREEN, data, lines

__all__ = ["data"]


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


def test_a_column_says_what_it_is_and_is_read_again():
    column = Column.of("Qwen/Qwen2.5-7B-Instruct", "vectors/evil_response_avg_diff.pt", "proj", 20)
    assert column.name == "Qwen2.5-7B-Instruct_evil_response_avg_diff_proj_layer20"
    last = Column.of("m", "evil.v2.pt", "prompt_last_proj", 3)
    assert last.name == "m_evil_prompt_last_proj_layer3", "a stem is cut at its first dot"


def test_published_names_may_be_shortened_and_lists_are_lists():
    given = "--file_path f.jsonl --vector_path a.pt b.pt --layer 1 2 --model_name m --overwrite"
    found = published_arguments(given.split())
    assert [column.name for column in found.columns] == [f"m_{v}_proj_layer{k}" for v in "ab" for k in (1, 2)]
    assert found.overwrite
