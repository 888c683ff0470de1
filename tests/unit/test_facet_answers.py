"""Answers to annotate: those of an imported study with the words that were published, and files of one's own."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path

import pytest

import published_world as world_of
from personascope.applications.facets.answers import load_answers, load_labels, recorded_answers
from personascope.core.errors import JudgeError
from personascope.core.facets import Facet, FacetSet
from personascope.interop.published import open_published
from personascope.published.importing import import_published
from personascope.store.store import Store
from published_world import REVISIONS, TRAITS, World, column, steered_file

MOODS = FacetSet("moods", (Facet("glee"), Facet("gloom")), "{facets}{question}{answer}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of.build(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    import_published(open_published(world.root), store)
    return store


def test_the_answers_of_an_imported_study_are_the_published_ones(world: World, store: Store) -> None:
    found = recorded_answers(store, trait=TRAITS[0], name="moods")
    mine = found[found["facet_set"].str.contains("emergence") & (found["milestone"] == REVISIONS[0])]
    with world.path(steered_file(TRAITS[0], REVISIONS[0], REVISIONS[0])).open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    told = Counter(zip(mine["question"], mine["answer"], mine["score"].round(9).fillna(-1), strict=True))
    score = column(TRAITS[0])
    assert told == Counter((row["question"], row["answer"], round(float(row[score] or -1), 9)) for row in published)


def test_curves_of_a_store_are_named_by_what_differs(store: Store) -> None:
    names = recorded_answers(store, trait=TRAITS[0], name="moods")["facet_set"].unique().tolist()
    assert all(name.startswith("moods: ") for name in names)
    assert not any(TRAITS[0] in name for name in names), "one trait was asked for, so it tells nothing apart"
    assert len(set(names)) == len(names) > 1


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
