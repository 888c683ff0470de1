"""The published command that projects in place, under its own names: the file before and after, and bad arguments."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from personascope.core.tables import write_rows
from personascope.lab.documents import family
from screened_data import SCREEN, data, lines

__all__ = ["data"]

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
