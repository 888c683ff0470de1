"""Answers of an imported study, to annotate: with the words that were published."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

import published_world as world_of
from personascope.applications.facets.answers import recorded_answers
from personascope.store.store import Store
from personascope_published.importing import import_published
from personascope_published.reading import open_published
from published_world import REVISIONS, TRAITS, World, column, steered_file


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
