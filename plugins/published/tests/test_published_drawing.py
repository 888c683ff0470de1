"""A published study drawn: every point traced to its rows, nothing counted twice, and what is missing named."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest

import naive_statistics as naive
import published_plants as plants
from personascope_published.arms import arms_of
from personascope_published.curves import answer_frame, failures, led
from personascope_published.directions import directions_of, shared_extractions
from personascope_published.drawing import PARTS, draw, pieces_of
from personascope_published.frames import ways_frame
from personascope_published.reading import open_published
from published_world import (
    MODEL,
    REVISIONS,
    TARGETS,
    TRAITS,
    World,
    baseline_file,
    build,
    column,
    results_file,
    steered_file,
    write_answers,
)

FIGURES = {
    "emergence", "transfer_by_trait", "transfer_by_target", "transfer_binned", "transfer_pairs", "controls",
    "cosine_trajectory", "norms", "cosines_of_milestones", "cosines_of_traits", "paths", "facets", "discourse",
}  # fmt: skip
TABLES = {"ways", "onset", "emergence", "transfer_by_trait", "controls", "cosine_trajectory", "facets", "discourse"}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return build(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def study(world):
    return open_published(world.root)


@pytest.fixture(scope="module")
def pieces(study):
    return {piece.name: piece for piece in pieces_of(study)[MODEL][0]}


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    out, made = tmp_path_factory.mktemp("drawn"), []
    notes = draw(study, out, made=made.append)
    return out / MODEL, made, notes


def naive_effect(plain: list, steered: list) -> float | None:
    found = naive.compared([(a[0], a[3], a[4]) for a in plain], [(a[0], a[3], a[4]) for a in steered])
    return found["paired_trait_mean_diff"]


def effect_of(frame: pd.DataFrame, trait: str, milestone: str, target: str = "") -> pd.Series:
    rows = frame[(frame["trait"] == trait) & (frame["milestone"] == milestone) & (frame["target"] == target)]
    assert len(rows) == 1, f"{trait} at {milestone} on '{target}' has {len(rows)} rows"
    return rows.iloc[0]


# Files.


def test_every_figure_is_there_as_png_and_pdf_with_tables_and_the_frames_behind_them(drawn):
    folder, made, _ = drawn
    held = {path.name for path in folder.iterdir()}
    assert {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")} <= held
    assert {f"{name}.tex" for name in TABLES} <= held
    assert {path.name for path in made} == held, "every file is told of, and no draft is left"
    assert len(made) == len(set(made))
    assert {path.suffix for path in made} == {".png", ".pdf", ".tex", ".csv"}


def test_drawing_again_gives_the_same_frames_and_tables(pieces, drawn):
    folder, _, _ = drawn
    for piece in pieces.values():
        for name, frame in piece.frames.items():
            assert frame.to_csv(index=False, lineterminator="\n") == (folder / f"{name}.csv").read_text("utf-8"), name
        if piece.table is not None:
            assert piece.table() == (folder / f"{piece.name}.tex").read_text("utf-8"), piece.name


def test_the_frame_of_a_figure_has_a_row_for_every_mark_of_it(drawn, pieces):
    folder, _, _ = drawn
    with (folder / "emergence.csv").open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    figure = pieces["emergence"].figure()
    marks = [
        float(height)
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() == "o" and len(line.get_ydata()) and line.get_markersize() < 8
        for height in line.get_ydata()
    ]
    assert sorted(marks) == sorted(float(row["effect"]) for row in rows if row["effect"])
    assert all(row["results"] for row in rows if row["effect"]), "every point names its results file and row"


# Curves.


def test_an_effect_is_that_of_its_files_and_says_what_was_published(world, pieces):
    frame = pieces["emergence"].frames["emergence"]
    for revision in REVISIONS[:2]:
        row = effect_of(frame, TRAITS[0], revision)
        plain = world.answers[baseline_file(TRAITS[0], revision)]
        steered = world.answers[steered_file(TRAITS[0], revision, revision)]
        assert row["effect"] == pytest.approx(naive_effect(plain, steered), abs=1e-12)
        assert row["results"].startswith(results_file("boastful_diagonal_v1"))


def test_answers_that_a_row_counted_twice_count_once(world, pieces):
    plain = world.answers[baseline_file(TRAITS[0], REVISIONS[2])]
    steered = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])
    once = world.answers[steered] + world.answers[steered.replace(".csv", "_extended.csv")]
    row = effect_of(pieces["emergence"].frames["emergence"], TRAITS[0], REVISIONS[2])
    assert row["effect"] == pytest.approx(naive_effect(plain, once), abs=1e-12)
    assert row["effect"] != pytest.approx(row["published_effect"], abs=1e-6), "the published row counts them twice"


def test_no_arm_has_an_answer_twice_and_every_answer_is_a_row_of_a_file(study):
    answers = answer_frame(study, led(study, arms_of(study)))
    heard = answers[answers["pole"].notna()]
    arm = ["trait", "evaluated_as", "target", "milestone", "layer", "strength", "chosen", "pole"]
    assert not heard.duplicated([*arm, "response_key"]).any()
    for row in heard.sample(40, random_state=1).to_dict("records"):
        file, number = row["response_key"].rsplit(":", 1)
        published = study.answers(file).iloc[int(number) - 1]
        assert (published["question_id"], published["row"]) == (row["question"], int(number))
        assert published["score"] == row["score"] or (pd.isna(published["score"]) and pd.isna(row["score"]))


def test_the_way_that_is_drawn_has_the_most_milestones(study):
    ways = ways_frame(led(study, arms_of(study)))
    for _, mine in ways.groupby(["trait", "target"]):
        assert mine["drawn"].sum() == 1
        assert mine.loc[mine["drawn"], "milestones"].iloc[0] == mine["milestones"].max()


def test_a_milestone_without_a_vector_is_a_failure_and_an_alias_stands_in_the_table_alone(pieces):
    frame = pieces["emergence"].frames["emergence"]
    assert effect_of(frame, TRAITS[1], REVISIONS[0])["absence"] == "no vector"
    assert "main" not in set(frame["milestone"]), "main has the weights of the last milestone"
    table = pieces["emergence"].table()
    assert f"main (= {REVISIONS[3]})" in table
    assert "main (=" not in table.replace(f"main (= {REVISIONS[3]})", "")


def test_failures_are_known_from_status_files_and_from_tables(study, tmp_path, world):
    rows = failures(study)
    assert list(rows["revision"]) == [REVISIONS[0]]
    bare = tmp_path / "bare"
    shutil.copytree(world.root / "results", bare / "results")
    found = failures(open_published(bare))
    assert list(found["revision"]) == [REVISIONS[0]]
    assert "combined.csv: row 1" in found["reason"].iloc[0]


def test_transfer_goes_to_every_target_with_enough_vectors(world, pieces):
    frame = pieces["transfer_by_trait"].frames["transfer"]
    assert set(frame["trait"]) == {TRAITS[0]}, "one vector of the other trait was steered onto main: no curve"
    assert list(dict.fromkeys(frame["target"])) == ["main", "instruct", TARGETS[1]], "its own revision comes first"
    assert set(frame.groupby("target")["effect"].count()) == {4}, "main repeats the last milestone's weights"
    assert set(frame["family_size"]) == {4}, "the family is one line: one target, not all of them"


# Controls, geometry, facets, discourse.


def test_controls_stand_beside_the_vectors_and_say_that_their_norm_is_not_known(study, pieces, drawn):
    frame = pieces["controls"].frames["controls"]
    assert len(frame) == sum(len(each.rows) for each in study.controls())
    assert frame["norm"].isna().all()
    assert frame["note"].str.contains("norm not published").all()
    assert frame["results"].str.fullmatch(r"results/.*/combined\.csv:\d+").all()
    first = frame.iloc[0]
    file, row = first["results"].rsplit(":", 1)
    published = next(each.rows for each in study.controls() if each.file == file).iloc[int(row) - 1]
    assert (first["effect"], first["kind"]) == (published["delta_trait_mean"], published["mode"])
    assert any("norms of 18 of 18" in note for note in drawn[2])


def test_the_geometry_says_which_reference_layer_and_norms_it_took(study):
    found = directions_of(study, MODEL, led(study, arms_of(study)))
    assert found.reference == REVISIONS[3], (
        "main is the same weights, and the last that repeats nothing is the reference"
    )
    assert set(found.layers.values()) == {2}, "the layer that the curves were steered at"
    course = found.trajectories()
    norms = study.norms()
    for row in course.to_dict("records"):
        wanted = norms[(norms["revision"] == row["milestone"]) & (norms["model"] == MODEL) & (norms["layer"] == 2)]
        assert row["residual_norm"] == wanted["mean"].iloc[0]
    assert set(found.ceiling()["milestone"]) == {"main"}


def test_a_ceiling_whose_answers_were_not_drawn_again_is_named(tmp_path):
    world = build(tmp_path, vectors=False)
    names = (REVISIONS[3], "main")
    files = [plants.extraction_file(TRAITS[0], revision, "pos") for revision in names]
    said = plants.long_answers(world.answers[files[0]], seed=1)
    write_answers(world, files[0], column(TRAITS[0]), said)
    write_answers(world, files[1], column(TRAITS[0]), plants.long_answers(said, seed=2))
    assert shared_extractions(open_published(world.root), MODEL) == []
    write_answers(world, files[1], column(TRAITS[0]), said)
    assert shared_extractions(open_published(world.root), MODEL) == [column(TRAITS[0])]


def test_facets_of_files_with_a_revision_are_drawn_along_training(pieces, study):
    frame = pieces["facets"].frames["facets"]
    assert set(frame["facet_set"]) == {"flags checkpoints", "roots checkpoints extract"}
    for (_, milestone, facet), mine in frame.groupby(["facet_set", "milestone", "facet"]):
        file = next(each for each in study.facets() if each.file == mine["file"].iloc[0])
        assert file.revision == milestone
        if facet in file.rows:
            assert mine["count"].iloc[0] == file.rows[facet].sum()


def test_the_discourse_matrix_has_a_cell_per_vector_and_set_of_questions(world, pieces):
    cells = pieces["discourse"].frames["discourse"]
    assert len(cells) == 4
    assert set(cells["judge"]) == {"main"}
    folder = f"data/model_responses/eval/{MODEL}/extraction_ablation/main"
    name = f"{TRAITS[0]}_dialogue_neutral_q"
    plain = world.answers[f"{folder}/baseline_{name}.csv"]
    steered = world.answers[f"{folder}/steer_{TRAITS[0]}_character_neutral_q_on_{name}_layer2_coef0.5.csv"]
    cell = cells[(cells["extracted_as"] == "character") & (cells["evaluated_as"] == "dialogue")].iloc[0]
    assert cell["effect"] == pytest.approx(naive_effect(plain, steered), abs=1e-12)


# What is missing.


def said(root: Path) -> tuple[set[str], str]:
    pieces, notes = pieces_of(open_published(root))[MODEL]
    return {piece.name for piece in pieces if piece.figure is not None}, "\n".join(notes)


def without(world: World, root: Path, *patterns: str) -> Path:
    shutil.copytree(world.root, root)
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return root


def test_parts_that_are_not_there_are_named_and_the_rest_is_drawn(world, tmp_path):
    root = without(
        world, tmp_path / "some", "results/*/controls", "results/*/facet_annotation", "data/persona_vectors",
        "data/model_responses/eval/*/extraction_ablation", "results/*/instruct_transfer",
    )  # fmt: skip
    figures, notes = said(root)
    assert {"emergence", "transfer_by_trait"} <= figures
    for part in ("no controls", "no geometry", "no facets", "no discourse matrix"):
        assert part in notes


def test_without_results_there_is_still_what_needs_none(world, tmp_path):
    figures, notes = said(without(world, tmp_path / "none", "results/*/checkpoint_grid", "results/*/instruct_transfer"))
    assert {"controls", "cosine_trajectory", "facets", "discourse"} <= figures
    assert "emergence" not in figures
    assert "no effects" in notes
    assert "no transfer" in notes


def test_missing_answers_leave_the_published_effect_without_an_interval(world, tmp_path):
    gone = steered_file(TRAITS[0], REVISIONS[1], REVISIONS[1])
    root = without(world, tmp_path / "gone", gone)
    pieces, notes = pieces_of(open_published(root))[MODEL]
    frame = next(piece.frames["emergence"] for piece in pieces if piece.name == "emergence")
    row = effect_of(frame, TRAITS[0], REVISIONS[1])
    assert row["basis"] == "published"
    assert row["effect"] == row["published_effect"]
    assert row["p_two_sided"] == row["published_p"], "with the p-value beside it"
    assert pd.isna(row["low"])
    assert pd.isna(row["high"])
    others = frame[(frame["trait"] == TRAITS[0]) & (frame["milestone"] != REVISIONS[1])]
    assert set(others["basis"]) == {"answers"}
    assert any("emergence: 1 of 7 effects are drawn as published" in note for note in notes)


def test_a_damaged_vector_is_left_out_and_the_course_goes_on(world, tmp_path):
    root = without(world, tmp_path / "damaged")
    vector = next(root.glob(f"data/persona_vectors/{MODEL}/{REVISIONS[1]}/{TRAITS[0]}*.pt"))
    vector.write_bytes(vector.read_bytes()[:200])
    study = open_published(root)
    pieces, _ = pieces_of(study)[MODEL]
    course = next(piece.frames["geometry"] for piece in pieces if piece.name == "cosine_trajectory")
    assert REVISIONS[1] not in set(course.loc[course["trait"] == TRAITS[0], "milestone"])
    assert any(vector.name in problem.file for problem in study.problems)


def test_a_model_that_only_others_steer_has_no_folder(study, drawn):
    folder, _, _ = drawn
    assert [path.name for path in folder.parent.iterdir()] == [MODEL]
    assert len(study.models) > 1
    assert len(PARTS) == 6
