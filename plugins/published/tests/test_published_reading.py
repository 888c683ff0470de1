"""The published layout, read from a small repository of another family: what is there, damaged or absent."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import published_world as world_of
from personascope_published.reading import ANSWER, Published, PublishedError, open_published, revision_of, trait_of
from personascope_published.reading.layout import Place, response_place
from personascope_published.reading.reading import numbers, read_rows
from personascope_published.reading.tables import table_in
from published_damage import DAMAGES, damage
from published_world import MODEL, REVISIONS, TARGETS, TRAITS, World, baseline_file, column, steered_file, vector_file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of.build(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def study(world: World) -> Published:
    return open_published(world.root)


@pytest.fixture
def damaged(world: World, tmp_path: Path) -> Callable[[str], tuple[Published, str]]:
    """A copy of the world with one thing broken, and the file it is in."""

    def broken(what: str) -> tuple[Published, str]:
        copy = World(tmp_path / "copy", world.rows, world.answers)
        shutil.copytree(world.root, copy.root)
        file = damage(copy, what)
        return open_published(copy.root), file

    return broken


# What is there.


def test_every_responses_file_of_an_unknown_family_is_found_and_placed(study: Published) -> None:
    files = study.response_files()
    counts = files.groupby(["kind", "model", "run"]).size().to_dict()
    assert counts == {
        ("extraction", MODEL, ""): 20,
        ("baseline", MODEL, ""): 10,
        ("steered", MODEL, ""): 5 + 4 + 1 + 4,
        ("baseline", MODEL, "extraction_ablation"): 2,
        ("steered", MODEL, "extraction_ablation"): 4,
        **{("baseline", target, world_of.TRANSFER): 1 for target in TARGETS},
        **{("steered", target, world_of.TRANSFER): 5 for target in TARGETS},
    }
    assert set(files["trait"]) == set(TRAITS)
    assert set(files["form"]) == {"character", "dialogue", "assistant"}
    one = files.set_index("file").loc[steered_file(TRAITS[0], "main", REVISIONS[1])]
    assert (one["revision"], one["source_revision"], one["coef"]) == ("main", REVISIONS[1], 0.2)
    assert files["extended"].fillna(False).sum() == 1
    assert study.problems == []


def test_answers_come_back_to_the_letter_with_their_rows_counted_from_one(world: World, study: Published) -> None:
    for file, written in world.answers.items():
        read = study.answers(file)
        assert list(read.columns) == ANSWER
        assert read["row"].tolist() == list(range(1, len(written) + 1)), file
        assert set(read["file"]) == {file}
        assert read["question_id"].tolist() == [each[0] for each in written]
        for name, place in (("score", 3), ("coherence", 4)):
            wanted = [np.nan if each[place] is None else each[place] for each in written]
            np.testing.assert_array_equal(read[name], wanted, err_msg=f"{name} of {file} lost a bit")
        if read["answer"].notna().any():
            assert read["answer"].tolist() == [each[2] for each in written], f"an answer of {file} was changed"


def test_words_that_look_absent_stay_words_and_what_is_absent_is_none(world: World, study: Published) -> None:
    said = study.answers(baseline_file(TRAITS[1], REVISIONS[0]))["answer"].tolist()
    assert said[: len(world_of.AWKWARD)] == list(world_of.AWKWARD), "NA, null and the empty answer are answers"
    bare = study.answers(f"data/model_responses/extract/{MODEL}/{REVISIONS[1]}/{column(TRAITS[0])}_pos_instruct.csv")
    assert len(bare) == 32
    for name in ("question", "prompt", "answer"):
        assert all(value is None for value in bare[name]), f"a file without {name} has none, not an empty one"


def test_a_lineage_is_what_the_repository_holds_in_order_of_training(study: Published) -> None:
    lineage = study.lineage(MODEL)
    assert [each.label for each in lineage] == list(REVISIONS)
    assert [each.tokens_seen for each in lineage] == [210e9, 1050e9, 4200e9, 15e12, 15e12]
    assert lineage.milestones[-1].same_weights_as == REVISIONS[3], "the bundled lineage knows main as an alias"
    assert [each.label for each in lineage.targets] == ["instruct", TARGETS[1]], (
        "known targets by name, others as they are"
    )
    assert study.place(MODEL, "step700000-tokens2940B").tokens_seen == 2_940_000_000_000
    assert study.models == sorted((MODEL, *TARGETS))


@pytest.mark.parametrize(
    ("model", "revision", "tokens", "stage"),
    [
        ("Olmo-3-1025-7B", "stage2-step1000", 5_932_062_867_456, "2"),
        ("OLMO-3-1025-7b", "main", 6_079_966_609_408, "3"),
        ("Olmo-3-7B-Instruct-DPO", "main", None, "dpo"),
        ("Pythia-9B", "step3000", None, ""),
        ("Pythia-9B", "step3000-tokens6B", 6_000_000_000, ""),
        ("folder", "main", None, ""),
    ],
)
def test_tokens_come_from_the_name_or_from_the_bundled_lineage_or_not_at_all(
    study: Published, model: str, revision: str, tokens: int | None, stage: str
) -> None:
    place = study.place(model, revision)
    assert (place.label, place.tokens_seen, place.stage) == (revision, tokens, stage)


def test_results_keep_their_columns_and_say_what_they_are(world: World, study: Published) -> None:
    results = study.results()
    assert [(each.kind, len(each.rows)) for each in results] == [("grid", 11), ("grid", 5), ("transfer", 10)]
    assert {each.model for each in results} == {MODEL}
    assert results[2].run == world_of.TRANSFER
    rows = results[1].rows
    assert rows["row"].tolist() == [1, 2, 3, 4, 5]
    with world.path(results[1].file).open(newline="", encoding="utf-8") as opened:
        written = list(csv.DictReader(opened))
    assert list(rows.columns) == [*written[0], "row"]
    for name in written[0]:
        assert [str(v) for v in rows[name]] == [w[name] for w in written] or np.allclose(
            rows[name].astype(float), [float(w[name] or "nan") for w in written], rtol=0, atol=0, equal_nan=True
        ), name
    assert [each.file.rsplit("/", 1)[1] for each in study.other_results()] == ["combined_significance_plot.csv"]
    assert [len(each.rows) for each in study.combined()] == [11, 6]
    assert [len(each.rows) for each in study.controls()] == [18]
    assert [each.kind for each in study.cosines()] == ["reference"]


def test_vectors_and_what_there_is_none_of_have_a_row_each(study: Published) -> None:
    vectors = study.vectors()
    assert len(vectors) == 10
    absent = vectors[vectors["file"] == ""]
    assert absent[["trait", "revision", "status", "effective_rows"]].to_numpy().tolist() == [
        [TRAITS[1], REVISIONS[0], "nonextractable", 0.0]
    ]
    assert vectors.loc[vectors["file"] != "", "effective_rows"].isna().all(), "what was not counted is not 0"
    vector = study.vector(vector_file(TRAITS[0], "main"))
    assert vector.directions.shape == (world_of.LAYERS, world_of.WIDTH)
    assert (vector.trait, vector.form, vector.span) == (TRAITS[0], "character", "response")
    assert vector.checkpoint.model.endswith(MODEL)
    assert vector.checkpoint.revision == "main"


def test_norms_facets_annotations_rates_and_traits_are_read(study: Published) -> None:
    norms = study.norms()
    assert set(norms["label"]) == {"shared"}
    assert len(norms) == world_of.LAYERS * (len(REVISIONS) + len(TARGETS))
    mean = norms.query("model == @MODEL and revision == 'main' and layer == 2")["mean"].item()
    assert mean == pytest.approx(world_of.norm_of("main"))
    facets = {each.name: each for each in study.facets()}
    assert len(facets) == 6
    roots = facets[f"roots_checkpoints_extract_{REVISIONS[2]}"]
    assert (roots.facets, roots.multi_label, roots.revision) == (("envy", "pride", "vanity"), True, REVISIONS[2])
    assert roots.rows.loc[0, ["envy", "pride", "vanity"]].tolist() == [True, True, False]
    assert roots.rows.loc[2, ["envy", "pride", "vanity"]].tolist() == [False, False, False]
    flags = facets["flags_checkpoints_main"]
    assert (flags.facets, flags.multi_label, flags.revision) == (("loud", "long"), False, "main")
    assert flags.rows["loud"].tolist() == [bool(place % 2) for place in range(len(flags.rows))]
    ((_, people),) = study.human_facets()
    assert people["human_roots"].map(len).tolist() == [0, 1, 1, 1]
    rates = study.pass_rates()
    assert (rates["passed"] + rates["failed"] == rates["total"]).all()
    assert len(rates) == 20
    assert study.traits().groupby("set").size().to_dict() == {"eval": 2, "extract": 2, "upstream_eval": 2}
    assert study.problems == []


def test_a_flag_nobody_set_is_not_known_and_refused(damaged: Callable) -> None:
    """Counted as a facet that was not shown it would lower the rate; a single column of flags is no list of labels."""
    study, _ = damaged("damaged trait")
    several, single = (each for each in study.files("results", ".csv") if "flags_checkpoints_step" in each)
    for file, last in ((several, 2), (single, 1)):
        header, rows = read_rows(study.path(file), file)
        kept = [[*row[: len(row) - 2], *row[-2:][:last]] for row in rows]
        kept[1][-1] = ""
        world_of.write_csv(study.path(file), header[: len(kept[0])], kept)
    held = {each.file for each in study.facets()}
    assert not {several, single} & held
    assert all("row 2 has a facet that is neither 0 nor 1" in each.reason for each in study.problems)


@pytest.mark.parametrize(
    ("name", "revision", "label"),
    [
        ("main_norms", "main", ""),
        ("main_shared_norms", "main", "shared"),
        ("main_gloomy_instruct", "main", "gloomy_instruct"),
        ("step50000-tokens210B_shared_norms", "step50000-tokens210B", "shared"),
        ("final_norms", "final", ""),
    ],
)
def test_a_norm_file_names_its_revision_and_its_label(tmp_path: Path, name: str, revision: str, label: str) -> None:
    file = f"results/M/activation_norms/{name}.csv"
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("layer,mean_l2,std_l2,count\n0,1.5,0.1,20\n", encoding="utf-8")
    row = open_published(tmp_path).norms().iloc[0]
    assert (row["revision"], row["label"], row["mean"]) == (revision, label, 1.5)


def test_labels_are_shared_within_a_scheme_and_not_beyond_it(damaged: Callable) -> None:
    study, _ = damaged("damaged trait")
    file = next(each for each in study.files("results", ".csv") if "roots" in each)
    header, rows = read_rows(study.path(file), file)
    world_of.write_csv(study.path(file), [*header[:-1], "kinds"], [[*row[:-1], "grim"] for row in rows])
    schemes = {each.scheme: each.facets for each in study.facets() if each.multi_label}
    assert schemes == {"kinds": ("grim",), "roots": ("envy", "pride", "vanity")}


def test_a_target_has_no_revisions_of_the_model_whose_vectors_steer_it(study: Published) -> None:
    assert [each.label for each in study.lineage(world_of.TARGETS[0])] == ["main"]


def test_a_label_nobody_chose_in_one_file_is_a_column_of_it_all_the_same(damaged: Callable) -> None:
    study, _ = damaged("damaged trait")
    file = next(each for each in study.files("results", ".csv") if "roots" in each)
    header, rows = read_rows(study.path(file), file)
    world_of.write_csv(study.path(file), header, [[*row[:-1], "pride"] for row in rows])
    first = next(each for each in study.facets() if each.file == file)
    assert first.facets == ("envy", "pride", "vanity")
    assert not first.rows[["envy", "vanity"]].any(axis=None)


# Names.


@pytest.mark.parametrize(
    ("folder", "revision", "variant"),
    [
        ("main", "main", ""),
        ("main_deepseek_v4_flash_non_think_openai_params", "main", "deepseek_v4_flash_non_think_openai_params"),
        ("stage1-step3000", "stage1-step3000", ""),
        ("step50000-tokens210B", "step50000-tokens210B", ""),
        ("step50000-tokens210B_other_judge", "step50000-tokens210B", "other_judge"),
        ("step2627139-tokens15T_shared_norms", "step2627139-tokens15T", "shared_norms"),
        ("ingredient1-step2000-tokens9B", "ingredient1-step2000-tokens9B", ""),
        ("step_1000", "step_1000", ""),
        ("step_1000_other", "step_1000", "other"),
        ("v1.0", "v1.0", ""),
        ("before_annealing", "before_annealing", ""),
    ],
)
def test_a_folder_is_a_revision_and_what_follows_it(folder: str, revision: str, variant: str) -> None:
    assert revision_of(folder) == (revision, variant)


@pytest.mark.parametrize(
    ("name", "trait", "form"),
    [
        ("evil_character_neutral_q", "evil", "character"),
        ("evil_dialogue_neutral_q", "evil", "dialogue"),
        ("evil_stories_neutral_q", "evil", "story"),
        ("evil_combined", "evil", "combined"),
        ("evil", "evil", "assistant"),
        ("power_seeking_character_neutral_q", "power_seeking", "character"),
        ("power_seeking", "power_seeking", "assistant"),
    ],
)
def test_a_trait_column_names_a_trait_and_a_form(name: str, trait: str, form: str) -> None:
    assert trait_of(name) == (trait, form)


EVAL = "data/model_responses/eval"
PLACED = {
    f"{EVAL}/M/step3-tokens1B/baseline_character.csv": Place("baseline", "M", "step3-tokens1B"),
    f"{EVAL}/M/main/stage1-step3/steering_results_evil_character_to_evil_unit_norm_coef0.30.csv": Place(
        "steered", "M", "main", "stage1-step3", "", "", "", "evil_character", coef=0.3, scaling="unit_norm"
    ),
    f"{EVAL}/M/main/main/steering_results_character_to_character_layer20_targetnorm371p4_coef0.3.csv": Place(
        "steered", "M", "main", "main", "", "", "", "character", 20.0, 0.3, "targetnorm", 371.4
    ),
    f"{EVAL}/T/instruct_transfer/run_v1/baselines/baseline_evil.csv": Place("baseline", "T", "main", run="run_v1"),
    f"{EVAL}/T/instruct_transfer/run_v1/steered/main/steering_results_a_to_b_layer16_targetnorm17p2_coef0p5.csv": Place(
        "steered", "T", "main", "main", "run_v1", "", "", "a", 16.0, 0.5, "targetnorm", 17.2
    ),
    f"{EVAL}/M/extraction_ablation/main_judge/steer_a_on_b_layer16_coef0.5.csv": Place(
        "steered", "M", "main", "main", "extraction_ablation", "judge", "", "a", 16.0, 0.5
    ),
    f"{EVAL}/M/main/controls/run_v1/baselines/baseline_a.csv": Place("baseline", "M", "main", run="run_v1"),
    f"{EVAL}/M/step3/controls/run_v1/steered/random/seed0/steering_results_a_to_a_layer16_coef0p5.csv": Place(
        "steered", "M", "step3", "", "run_v1", "", "", "a", 16.0, 0.5
    ),
    f"{EVAL}/M/main/settings/run_v1/steered/evil_character_neutral_q/steering_results_a_to_a_coef0p2.csv": Place(
        "steered", "M", "main", "", "run_v1", "", "", "a", coef=0.2
    ),
    "data/model_responses/extract/M/main_judge/a_neg_instruct.csv": Place(
        "extraction", "M", "main", variant="judge", pole="negative"
    ),
}


@pytest.mark.parametrize("file", PLACED)
def test_a_responses_file_is_what_its_place_and_name_say(file: str) -> None:
    found, wanted = response_place(file), PLACED[file]
    assert found is not None
    for name, value in vars(wanted).items():
        assert getattr(found, name) == value or (value != value and getattr(found, name) != getattr(found, name)), name


@pytest.mark.parametrize("file", [f"{EVAL}/M/main/notes.csv", "data/model_responses/extract/M/main/evil.csv", "x.csv"])
def test_a_file_named_like_none_of_the_layout_has_no_place(file: str) -> None:
    assert response_place(file) is None


# Rows.

CELLS = some.text(some.sampled_from('ab,"\n\r\t\0 \u00e9\U0001f600'), max_size=6)


@given(some.lists(some.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_and_no_cut_passes_unnoticed(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """A file cut anywhere is refused, or is a whole file of fewer rows: cut exactly at the end of one."""
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["one", "two"], *rows])
    whole = text.getvalue().encode()
    path.write_bytes(whole)
    assert read_rows(path, "f") == (["one", "two"], rows)
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        with contextlib.suppress(PublishedError):
            found = read_rows(path, "f")
            assert found == (["one", "two"], rows[: len(found[1])]), f"cut at byte {end} of {whole!r}"


def test_a_lone_carriage_return_is_part_of_an_answer_quoted_or_not(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b'a,b\r\none\rline,"two\rlines"\r\n1,2\r\n')
    assert read_rows(path, "f.csv") == (["a", "b"], [["one\rline", "two\rlines"], ["1", "2"]])


def test_a_long_answer_is_whole_and_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n" + "x" * 300_000 + ",1\n", encoding="utf-8")
    assert read_rows(path, "f.csv")[1] == [["x" * 300_000, "1"]]


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-inf", "1_000", "1,5", "high", "0x10", "--1", "."])
def test_what_is_no_number_is_refused_with_its_row(cell: str) -> None:
    with pytest.raises(PublishedError, match=r"f\.csv: row 3: score is") as caught:
        numbers(["1", "", cell], file="f.csv", column="score")
    assert "\n" not in str(caught.value)


def test_numbers_keep_their_bits_and_empty_cells_are_nan() -> None:
    cells = ["2.842170943040401e-14", "", " 5", "1e-20", "100", "-0.0"]
    np.testing.assert_array_equal(
        numbers(cells, file="f", column="c"), [2.842170943040401e-14, np.nan, 5, 1e-20, 100, 0]
    )


def test_a_table_column_is_numbers_or_text_as_a_whole() -> None:
    header = ["mean", "first_answer_preview", "flag", "note", "p_within_trait", ""]
    frame = table_in(header, [["1", "12", "True", "", "", "a"], ["", "13", "False", "", "0.5", "b"]], "f")
    assert [frame[name].dtype.kind for name in header] == ["f", "O", "O", "f", "f", "O"]
    assert frame["note"].isna().all(), "an empty column of no telling name is unknown numbers"
    with pytest.raises(PublishedError, match="row 2: mean is 'x'"):
        table_in(["mean"], [["1"], ["x"]], "f")


# Damage.


def everything(study: Published) -> dict[str, pd.DataFrame]:
    """All that can be read, by file; what cannot is missing."""
    held: dict[str, pd.DataFrame] = {}
    for file in study.response_files()["file"]:
        with contextlib.suppress(PublishedError):
            held[file] = study.answers(file)
    tables = (*study.results(), *study.other_results(), *study.combined(), *study.controls(), *study.cosines())
    held |= {each.file: each.rows for each in tables}
    held |= {each.file: each.rows for each in study.facets()}
    held |= dict(study.human_facets())
    held |= {str(file): rows.reset_index(drop=True) for file, rows in study.norms().groupby("file")}
    held |= {row["file"]: pd.DataFrame([row]) for row in study.traits().to_dict("records")}
    for file in filter(None, study.vectors()["file"]):
        with contextlib.suppress(PublishedError):
            held[file] = pd.DataFrame(study.vector(file).directions)
    return held


@pytest.fixture(scope="module")
def whole(study: Published) -> dict[str, pd.DataFrame]:
    held = everything(study)
    assert len(held) > 90
    return held


@pytest.mark.parametrize("what", DAMAGES)
def test_one_damaged_file_is_named_in_one_line_and_all_others_are_read(
    what: str, damaged: Callable, whole: dict[str, pd.DataFrame]
) -> None:
    study, broken = damaged(what)
    held = everything(study)
    assert not (study.root / "executed").exists(), "code in a file was executed"
    for file, rows in whole.items():
        if file != broken:
            assert file in held, f"{what} in {broken} kept {file} from being read"
            pd.testing.assert_frame_equal(held[file], rows, obj=file)
    if what == "results without output_path":
        assert study.problems == [], "a table may lack a column: who needs it says so"
        return
    assert broken not in held
    (problem,) = study.problems
    assert problem.file == broken
    assert broken in problem.reason
    assert "\n" not in problem.reason


def test_a_problem_met_twice_is_told_once(damaged: Callable) -> None:
    study, broken = damaged("not UTF-8")
    for _ in range(2):
        with pytest.raises(PublishedError, match="is not UTF-8 at byte"):
            study.answers(broken)
    assert [each.file for each in study.problems] == [broken]


def test_a_file_named_for_one_trait_and_holding_another_is_told(damaged: Callable) -> None:
    study, _ = damaged("damaged trait")
    folder = f"data/model_responses/extract/{MODEL}/main"
    one, other = (study.path(f"{folder}/{column(trait)}_pos_instruct.csv") for trait in TRAITS)
    one.write_bytes(other.read_bytes())
    study.response_files()
    assert any("holds the scores of gloomy" in each.reason for each in study.problems)


def test_answers_nobody_judged_are_answers_without_scores(damaged: Callable) -> None:
    study, _ = damaged("damaged trait")
    file = steered_file(TRAITS[0], "main", "main")
    header, rows = read_rows(study.path(file), file)
    world_of.write_csv(study.path(file), header[:4], [row[:4] for row in rows])
    answers = study.answers(file)
    assert set(answers["column"]) == {""}
    assert answers["score"].isna().all()
    assert answers["answer"].tolist() == [row[2] for row in rows]


@pytest.mark.parametrize("what", ["nothing", "something else", "a file", "an inner folder"])
def test_a_folder_that_is_something_else_is_refused(what: str, tmp_path: Path, world: World) -> None:
    path = tmp_path / "here"
    if what == "something else":
        for file in ("docs/index.md", "results/summary.csv", "data/table.csv"):
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text("a,b\n")
    if what == "a file":
        path.write_text("Hello")
    if what == "an inner folder":
        path = world.root / "data"
    with pytest.raises(PublishedError) as caught:
        open_published(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["../outside.csv", "data/../../outside.csv", "/etc/passwd"])
def test_a_path_that_leaves_the_repository_is_refused(file: str, study: Published) -> None:
    with pytest.raises(PublishedError, match="outside the published data"):
        Published(study.root).answers(file)


def test_links_in_a_circle_and_pipes_do_not_stop_the_reading(tmp_path: Path) -> None:
    root = tmp_path / "linked"
    shutil.copytree(world_of.build(tmp_path / "true", vectors=False).root, root)
    (root / "data" / "again").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "results" / "pipe.csv")
    (root / "results" / "dead.csv").symlink_to(root / "nowhere")
    study = open_published(root)
    assert len(study.files()) == len(open_published(tmp_path / "true").files())
    assert study.problems == []
