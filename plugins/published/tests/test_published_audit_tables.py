"""The audit of norms, controls, corrections, facets and vectors: what was planted is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import published_plants as plants
import published_world as world_of
from personascope_published.audits import annotations, controls, counts, facets, families, geometry, norm_files, norms
from personascope_published.audits.evidence import Evidence
from personascope_published.reading import open_published
from published_plants import edit, found, of, only
from published_world import MODEL, REVISIONS, TRAITS, World, column, norm_of, results_file, write_csv

BOASTFUL, GLOOMY = results_file("boastful_diagonal_v1"), results_file("gloomy_diagonal_v1")
TRANSFER = results_file(world_of.TRANSFER, kind="instruct_transfer")
CONTROLS = results_file("boastful_controls_layer2_coef0p2_v1", kind="controls", table="combined.csv")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of.build(tmp_path_factory.mktemp("published"), vectors=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world that may be changed."""
    return world_of.build(tmp_path / "world", vectors=False)


# Norms.


def test_norms_that_agree_with_their_files_give_no_finding(untouched):
    kinds = {each.kind for each in found(untouched, norms.find_norms)}
    assert kinds <= {norms.RIVAL.name}
    assert found(untouched, norm_files.find_norm_files) == []


def test_a_norm_file_written_again_is_found_in_every_row_that_names_it(world):
    plants.write_norms(world, plants.norm_file(REVISIONS[1]), 1.1 * norm_of(REVISIONS[1]))
    mine = of(found(world, norms.find_norms), norms.STALE.name)
    target = {(each["file"], each["row"]) for finding in mine for each in finding.details if each["target_off"]}
    assert target == {(BOASTFUL, 2), (BOASTFUL, 11), (GLOOMY, 1)}, "row 11 is the one without scores"
    boastful = next(each for each in mine if BOASTFUL in each.where[0])
    assert [boastful.numbers[name] for name in ("target_rows", "source_rows", "points_of_curves")] == [2, 3, 1]
    assert boastful.numbers["greatest_factor"] == pytest.approx(1.1)


def test_source_norms_alone_are_told_apart(world):
    edit(world, BOASTFUL, lambda rows: [row.update(source_activation_norm="7") for row in rows[6:9]] and None)
    finding = only(found(world, norms.find_norms), norms.STALE.name)
    assert finding.numbers["source_rows"] == 3
    assert finding.severity == "record"


def test_two_norms_in_one_curve_are_found_with_their_milestones(world):
    edit(world, TRANSFER, lambda rows: [row.update(target_vector_norm="10.45") for row in rows[1:3]] and None)
    finding = only(found(world, norms.find_norms), norms.MIXED.name)
    assert [finding.numbers[name] for name in ("curves", "points")] == [1, 5]
    assert finding.numbers["greatest_ratio"] == pytest.approx(1.1)
    assert {each["target_norm"]: len(each["milestones"]) for each in finding.details} == {9.5: 3, 10.45: 2}


def test_a_curve_through_its_own_checkpoints_may_have_other_norms_everywhere(untouched):
    assert not of(found(untouched, norms.find_norms), norms.MIXED.name)


def test_a_cell_pooled_at_two_norms_is_found(world):
    edit(world, BOASTFUL, lambda rows: rows[5].update(target_activation_norm="50"))
    finding = only(found(world, norms.find_norms), norms.POOLED.name)
    assert finding.where == (f"{BOASTFUL} row 3",)
    assert finding.numbers["greatest_ratio"] == pytest.approx(50 / norm_of(REVISIONS[2]))


def test_one_steered_file_with_two_recorded_norms_is_found(world):
    path = world.path("results") / MODEL / "checkpoint_grid" / "again_v1" / "combined_significance.csv"
    path.parent.mkdir()
    path.write_bytes(world.path(BOASTFUL).read_bytes())
    assert not of(found(world, norms.find_norms), norms.RIVAL.name)
    edit(world, BOASTFUL, lambda rows: rows[0].update(target_activation_norm="44"))
    finding = only(found(world, norms.find_norms), norms.RIVAL.name)
    assert [finding.numbers[name] for name in ("files", "largest_ratio")] == [1, pytest.approx(1.1)]


def test_norm_files_of_one_revision_that_disagree_are_found_and_equal_ones_named(world):
    plants.write_norms(world, plants.norm_file(REVISIONS[1], ""), norm_of(REVISIONS[1]))
    assert found(world, norm_files.find_norm_files) == []
    plants.write_norms(world, plants.norm_file(REVISIONS[2], ""), 0.8 * norm_of(REVISIONS[2]))
    finding = only(found(world, norm_files.find_norm_files), norm_files.LABELS.name)
    assert [finding.numbers[name] for name in ("revisions", "equal_labels")] == [1, 1]
    assert finding.numbers["largest_ratio"] == pytest.approx(1.25)


# Controls.


def test_controls_that_do_nothing_are_found_where_the_vectors_do_something(world):
    assert not of(found(world, controls.find_controls), controls.IDLE.name), "no vector costs coherence here"
    edit(world, BOASTFUL, plants.lose_coherence)
    edit(world, CONTROLS, lambda rows: [row.update(delta_coherence_mean="0.5") for row in rows] and None)
    finding = only(found(world, controls.find_controls), controls.IDLE.name)
    assert [finding.numbers[name] for name in ("rows", "pushed")] == [18, 18]
    assert (finding.numbers["moved"], finding.numbers["real"]) == (pytest.approx(0.5), pytest.approx(-20))
    assert finding.numbers["matched_greatest"] == pytest.approx(0.2 * norm_of("main"))


def test_controls_that_cost_as_much_as_the_vectors_are_not_called_idle(world):
    edit(world, BOASTFUL, plants.lose_coherence)
    edit(world, CONTROLS, lambda rows: [row.update(delta_coherence_mean="-19") for row in rows] and None)
    assert not of(found(world, controls.find_controls), controls.IDLE.name)


def test_controls_at_another_strength_are_counted(world):
    assert not of(found(world, controls.find_controls), controls.STRENGTH.name)
    edit(world, CONTROLS, lambda rows: [row.update(coef="0.1") for row in rows[:6]] and None)
    finding = only(found(world, controls.find_controls), controls.STRENGTH.name)
    assert [finding.numbers[name] for name in ("rows", "of", "without_a_point")] == [6, 18, 0]


def test_controls_whose_answers_are_not_there_are_counted_and_those_that_are_there_are_not(world):
    there = world_of.baseline_file(TRAITS[0], REVISIONS[2])
    edit(world, CONTROLS, lambda rows: [row.update(baseline_csv=there) for row in rows] and None)
    edit(world, CONTROLS, lambda rows: [row.update(output_csv=there) for row in rows[:4]] and None)
    finding = only(found(world, controls.find_controls), controls.ABSENT.name)
    assert [finding.numbers[name] for name in ("rows", "of", "files")] == [14, 18, 14]
    edit(world, CONTROLS, lambda rows: [row.update(output_csv=there) for row in rows] and None)
    assert not of(found(world, controls.find_controls), controls.ABSENT.name)


def test_three_seeds_are_few_directions_and_thirty_nine_are_not(world):
    finding = only(found(world, controls.find_controls), controls.SEEDS.name)
    assert [finding.numbers[name] for name in ("rows", "cells", "seeds", "per_milestone")] == [9, 9, 3, 3]
    edit(world, CONTROLS, lambda rows: [{**row, "seed": str(n)} for row in rows for n in range(39)])
    assert not of(found(world, controls.find_controls), controls.SEEDS.name)


def test_a_control_baseline_far_from_the_curves_is_found_where_it_is(world):
    def near(rows: list[plants.Row]) -> None:
        for row in rows:
            row["baseline_coherence_mean"] = coherence[row["revision"]]

    def remember(rows: list[plants.Row]) -> None:
        for row in rows:
            name = row["eval_revision"]
            coherence[name] = row["baseline_coherence_mean"]
            errors[name] = float(row["baseline_coherence_std"]) * (2 / int(row["baseline_rows"])) ** 0.5

    coherence: dict[str, str] = {}
    errors: dict[str, float] = {}
    edit(world, BOASTFUL, remember)
    edit(world, CONTROLS, near)
    assert not of(found(world, controls.find_controls), controls.BASELINE.name)
    coherence["main"] = str(float(coherence["main"]) - 30)
    edit(world, CONTROLS, near)
    finding = only(found(world, controls.find_controls), controls.BASELINE.name)
    assert [finding.numbers[name] for name in ("cells", "of")] == [1, 3]
    assert finding.numbers["least_apart"] == pytest.approx(-30)
    mine = next(each for each in finding.details if each["revision"] == "main")
    assert mine["errors"] == pytest.approx(30 / errors["main"]), "of the difference of two baselines, not of one"


# Corrections.


def test_the_family_a_table_was_corrected_in_is_told_beside_the_curves(untouched):
    finding = only(found(untouched, families.find_families), families.FAMILY.name)
    used = {each["file"]: (each["used"], each["sizes"], each["inherited_rows"] > 0) for each in finding.details}
    # main is the alias of the last step, so curves have a point less than there are vectors.
    assert used == {
        BOASTFUL: ([10], [4], False),
        GLOOMY: ([5], [3], False),
        TRANSFER: ([5], [4], True),
    }


def test_holm_within_the_curve_is_the_textbook_one(untouched):
    points = families.curve_points(Evidence(open_published(untouched.root)))
    for _, curve in points.groupby(["file", "curve"]):
        order = curve.sort_values("p")
        largest = 0.0
        for place, (p, holm) in enumerate(zip(order["p"], order["holm"], strict=True)):
            largest = max(largest, min(1.0, (len(order) - place) * p))
            assert holm == pytest.approx(largest, abs=1e-15)
        assert set(curve["size"]) == {len(curve)}


def test_a_curve_that_stands_in_two_tables_counts_once(world):
    before = len(families.curve_points(Evidence(open_published(world.root))))
    path = world.path("results") / MODEL / "checkpoint_grid" / "again_v1" / "combined_significance.csv"
    path.parent.mkdir()
    path.write_bytes(world.path(BOASTFUL).read_bytes())
    assert len(families.curve_points(Evidence(open_published(world.root)))) == before


def test_a_significant_effect_of_no_size_is_found(world):
    def shrink(rows: list[plants.Row]) -> None:
        rows[2]["trait_primary_p_two_sided"] = "0.001"
        rows[2]["delta_trait_mean"] = "0.02"

    assert not of(found(world, families.find_families), families.SMALL.name)
    edit(world, TRANSFER, shrink)
    finding = only(found(world, families.find_families), families.SMALL.name)
    assert finding.where == (f"{TRANSFER} row 3",)
    assert finding.numbers["effect"] == pytest.approx(0.02)


# Facets.


def test_a_series_cut_at_one_number_of_answers_is_matched_on_common_questions(world):
    plants.remove(world, f"results/{MODEL}/facet_annotation")
    first, second, third = REVISIONS[2:]
    spread = [q for q in range(10) for _ in range(3)]
    plants.annotate(world, first, spread)
    plants.annotate(world, second, spread)
    plants.annotate(world, third, spread)
    assert not of(found(world, facets.find_facets), facets.FEW.name)
    plants.annotate(world, third, [0] * 20 + [1] * 10)
    finding = only(found(world, facets.find_facets), facets.FEW.name)
    names = ("cut_at", "cut_files", "most_questions", "least_questions", "common_questions")
    assert [finding.numbers[name] for name in names] == [30, 3, 10, 2, 2]
    trend = next(each for each in finding.details if each.get("facet") == "loud")
    # Even questions are loud: half of ten, but two thirds of the last file; on questions 0 and 1 it is half at first.
    assert (trend["first"], trend["last"]) == (pytest.approx(50), pytest.approx(200 / 3))
    assert (trend["first_common"], trend["last_common"]) == (pytest.approx(50), pytest.approx(200 / 3))


def test_files_of_different_length_are_no_cut_series(world):
    plants.remove(world, f"results/{MODEL}/facet_annotation")
    for revision, count in zip(REVISIONS[2:], (30, 22, 25), strict=True):
        plants.annotate(world, revision, [n % (2 if revision == plants.LAST else 10) for n in range(count)])
    assert found(world, facets.find_facets) == []


def test_the_first_rows_above_the_bar_are_recognised_as_such(world):
    plants.remove(world, f"results/{MODEL}/facet_annotation")
    name = column(TRAITS[0])
    for number, revision in enumerate(REVISIONS[2:]):
        asked = [q for q in range(10 if number < 2 else 2) for _ in range(6 if number < 2 else 30)]
        world_of.write_answers(
            world,
            plants.extraction_file(TRAITS[0], revision, "pos"),
            name,
            [(f"{name}_{q}_pos_0", f"Q{q}?", f"answer {n}", 60.0 + n % 40, 80.0) for n, q in enumerate(asked)],
        )
        plants.annotate(world, revision, asked[:30])
    finding = only(found(world, facets.find_facets), facets.FEW.name)
    names = ("compared_with_source", "first_rows_of_source", "available_most")
    assert [finding.numbers[name] for name in names] == [3, 3, 60]


def test_shares_of_few_answers_are_found(world):
    plants.remove(world, f"results/{MODEL}/facet_annotation")
    for revision in REVISIONS[2:]:
        plants.annotate(world, revision, list(range(25)))
    assert found(world, facets.find_facets) == []
    plants.annotate(world, REVISIONS[2], list(range(12)))
    assert only(found(world, facets.find_facets), facets.TINY.name).numbers["least"] == 12


def test_incoherent_and_doubly_annotated_answers_are_found(world):
    plants.remove(world, f"results/{MODEL}/facet_annotation")
    for revision in REVISIONS[2:]:
        rows = plants.annotate(world, revision, list(range(25)))
    assert not of(found(world, annotations.find_annotations), annotations.INCOHERENT.name)
    header = ["question", "prompt", "answer", "question_id", column(TRAITS[0]), "coherence", "loud", "long"]
    low = [[*row[:5], 30 if n < 5 else 80, *row[6:]] for n, row in enumerate(rows)]
    write_csv(world.path(plants.facet_file("main")), header, low)
    finding = only(found(world, annotations.find_annotations), annotations.INCOHERENT.name)
    assert [finding.numbers[name] for name in ("incoherent", "rows", "most")] == [5, 75, pytest.approx(20)]
    # Questions 0 to 4 hold three of the thirteen loud ones.
    assert finding.numbers["largest_move"] == pytest.approx(100 * (13 / 25 - 10 / 20))
    again = only(found(world, annotations.find_annotations), annotations.AGAIN.name)
    assert again.numbers["sets"] == 1
    assert again.numbers["least_agreement"] == 1


def test_few_answers_checked_by_a_person_are_counted(untouched):
    finding = only(found(untouched, annotations.find_annotations), annotations.HUMAN.name)
    assert [finding.numbers[name] for name in ("answers", "pride")] == [4, 4]


# Counts.


def test_pass_rates_of_other_answers_are_found_and_those_of_these_are_not(world):
    assert not of(found(world, counts.find_counts), counts.OTHER.name)
    edit(world, f"results/{MODEL}/pass_rate.csv", lambda rows: rows[0].update(total="1000"))
    finding = only(found(world, counts.find_counts), counts.OTHER.name)
    assert [finding.numbers[name] for name in ("pass_rates", "pass_rates_compared")] == [1, 20]


def test_pass_rates_that_count_incoherent_answers_are_found(world):
    for trait in TRAITS:
        for revision in REVISIONS:
            plants.extract(world, trait, revision, kept=20)
    table = f"results/{MODEL}/pass_rate.csv"
    edit(
        world,
        table,
        lambda rows: [r.update(total="40", passed="20" if r["split"] == "pos" else "0") for r in rows] and None,
    )
    assert found(world, counts.find_counts) == []
    file = plants.extraction_file(TRAITS[0], REVISIONS[0], "pos")
    mumbled = [(*a[:4], 10.0 if n < 15 else 80.0) for n, a in enumerate(world.answers[file])]
    world_of.write_answers(world, file, column(TRAITS[0]), mumbled)
    finding = only(found(world, counts.find_counts), counts.LOOSE.name)
    assert [(each["passed"], each["kept"]) for each in finding.details] == [(20, 5)]


def test_milestones_with_other_numbers_of_extraction_answers_are_found(world):
    for trait in TRAITS:
        for revision in REVISIONS:
            plants.extract(
                world, trait, revision, kept=20, asked=20 if (trait, revision) == (TRAITS[0], "main") else 40
            )
    finding = only(found(world, counts.find_counts), counts.SIZES.name)
    assert [(each["revision"], each["asked"], each["kept"]) for each in finding.details] == [("main", 20, 20)]


# Vectors.


def write_vectors(world: World, vectors: dict[str, torch.Tensor]) -> None:
    for revision, tensor in vectors.items():
        path = world.path(world_of.vector_file(TRAITS[0], revision))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensor, path)


def test_vectors_rounded_before_they_were_subtracted_are_found(world):
    generator = torch.Generator().manual_seed(1)
    means = torch.randn((2, 5, 512), generator=generator)
    write_vectors(world, dict.fromkeys(REVISIONS[:1], means[0] - means[1]))
    assert not of(found(world, geometry.find_geometry), geometry.GRID.name)
    rounded = means.to(torch.bfloat16).to(torch.float32)
    write_vectors(world, dict.fromkeys(REVISIONS[1:3], rounded[0] - rounded[1]))
    finding = only(found(world, geometry.find_geometry), geometry.GRID.name)
    assert [finding.numbers[name] for name in ("vectors", "of")] == [2, 3]
    assert finding.numbers["greatest_distinct"] == len(np.unique((rounded[0] - rounded[1])[2].numpy()))


def test_cosines_of_other_vectors_are_found_and_true_ones_are_not(world):
    generator = torch.Generator().manual_seed(2)
    vectors = {revision: torch.randn((5, 6), generator=generator) for revision in REVISIONS}
    write_vectors(world, vectors)
    last = vectors["main"][2]
    cosines = [float(torch.cosine_similarity(each[2], last, dim=0)) for each in vectors.values()]
    grid = BOASTFUL.rsplit("/", 1)[0]
    file = f"{grid}/vector_similarity/vector_cosine_to_main_{column(TRAITS[0])}_layer2.csv"
    header = ["revision", "cosine_similarity_to_main"]
    write_csv(world.path(file), header, [list(pair) for pair in zip(REVISIONS, cosines, strict=True)])
    assert not of(found(world, geometry.find_geometry), geometry.COSINES.name)
    cosines[1] += 0.01
    write_csv(world.path(file), header, [list(pair) for pair in zip(REVISIONS, cosines, strict=True)])
    finding = only(found(world, geometry.find_geometry), geometry.COSINES.name)
    assert [finding.numbers[name] for name in ("off", "compared", "tables")] == [1, 5, 1]
    assert finding.numbers["largest"] == pytest.approx(0.01, abs=1e-5)
