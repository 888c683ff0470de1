"""Answers to annotate: files of one's own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from personascope.applications.facets.answers import load_answers, load_labels
from personascope.core.errors import JudgeError
from personascope.core.facets import Facet, FacetSet

MOODS = FacetSet("moods", (Facet("glee"), Facet("gloom")), "{facets}{question}{answer}")


def test_a_file_of_answers_keeps_its_columns_and_reads_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [
        {"question": "q", "answer": "", "group": 2, "score": "", "coherence": 50, "glee": "x", "standing": "old"},
        {
            "question": "NA",
            "answer": "null",
            "group": 1,
            "score": "nan",
            "coherence": "7.5",
            "glee": "",
            "standing": "",
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = load_answers(path, name="moods")
    assert found["milestone"].tolist() == ["2", "1"]
    assert found["place"].tolist() == [0, 1], "groups stand in the order they come"
    assert found["score"].isna().all()
    assert found["coherence"].tolist() == [50, 7.5]
    assert found[["question", "answer"]].to_numpy().tolist() == [["q", ""], ["NA", "null"]], "text stays text"
    assert found["tokens_seen"].isna().all()
    assert found["glee"].tolist() == ["x", ""]
    assert "standing" not in found, "what annotating writes is not taken from a file"


def test_labels_are_names_or_flags_and_an_empty_cell_is_not_none(tmp_path: Path) -> None:
    named = tmp_path / "named.csv"
    named.write_text("question,answer,labels\nq,a,Glee; gloom\nq,b,none\nq,c,\nq,d,gloom;\n")
    found, without = load_labels(named, MOODS)
    assert found[["answer", "glee", "gloom"]].to_numpy().tolist() == [
        ["a", True, True],
        ["b", False, False],
        ["d", False, True],
    ]
    assert without == 1, "what nobody labelled is no answer without facets"
    flagged = tmp_path / "flagged.csv"
    flagged.write_text("question,answer,glee,gloom\nq,a,1,yes\nq,b,0,False\nq,c,,\n")
    found, without = load_labels(flagged, MOODS)
    assert found[["glee", "gloom"]].to_numpy().tolist() == [[True, True], [False, False]]
    assert without == 1
    listed = tmp_path / "listed.jsonl"
    listed.write_text(json.dumps({"question": "q", "answer": "a", "labels": ["glee"]}))
    assert load_labels(listed, MOODS)[0][["glee", "gloom"]].to_numpy().tolist() == [[True, False]]


def test_a_row_half_flagged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flagged.csv"
    path.write_text("question,answer,glee,gloom\nq,a,1,\n")
    with pytest.raises(JudgeError, match="line 2: '' does not say whether 'gloom' is shown"):
        load_labels(path, MOODS)
    assert math.isnan(load_answers(path)["tokens_seen"].item())
