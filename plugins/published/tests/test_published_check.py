"""The check of published results, on a small repository whose faults are known to the row."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import naive_statistics as naive
import published_world as world_of
from personascope_published.agreement import GROUPS, LIMITS, agreement
from personascope_published.check import FILE, ROW, Check, check, constant_columns
from personascope_published.corrections import families
from personascope_published.reading import open_published
from personascope_published.reasons import contradictions
from published_damage import damage
from published_world import REVISIONS, TRAITS, World, baseline_file, column, results_file, steered_file, write_csv

BOASTFUL = results_file("boastful_diagonal_v1")
GLOOMY = results_file("gloomy_diagonal_v1")
TRANSFER = results_file(world_of.TRANSFER, kind="instruct_transfer")
PLANTED = {
    "duplicated": ("reproduced", "duplicated rows"),
    "overwritten": ("not reproduced", "overwritten baseline"),
    "rewritten": ("not reproduced", "overwritten output"),
    "missing": ("not reproduced", "missing file"),
    "raw_output": ("partly checked", "raw output"),
    "inherited": ("reproduced", "inherited correction"),
    "constant": ("not reproduced", "constant placeholder"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of.build(tmp_path_factory.mktemp("published"), vectors=False)


@pytest.fixture(scope="module")
def checked(world: World) -> Check:
    return check(open_published(world.root))


@pytest.fixture
def changed(world: World, tmp_path: Path) -> World:
    """A copy that may be changed."""
    copy = World(tmp_path / "copy", world.rows, world.answers)
    shutil.copytree(world.root, copy.root)
    return copy


def row_of(checked: Check, file: str, row: int) -> pd.Series:
    return checked.rows.set_index(["file", "row"]).loc[(file, row)]


def edit(
    world: World, file: str, change: Callable[[list[dict[str, str]]], None], *, more: tuple[str, ...] = ()
) -> None:
    """Changes the rows of a results file; ``more`` are new columns."""
    with world.path(file).open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    header = [*rows[0], *more]
    for name in more:
        for row in rows:
            row[name] = ""
    change(rows)
    write_csv(world.path(file), header, [list(row.values()) for row in rows])


# Verdicts.


def test_every_row_is_reproduced_but_for_those_made_not_to_be(world: World, checked: Check) -> None:
    assert list(checked.rows.columns) == ROW
    assert len(checked.rows) == 11 + 5 + 10 + 5
    planted = {place: PLANTED[what] for what, places in world.rows.items() for place in places}
    for place, row in checked.rows.set_index(["file", "row"]).iterrows():
        assert (row["verdict"], row["reason"]) == planted.get(place, ("reproduced", "")), f"{place}: {row['detail']}"


def test_reproduced_rows_are_reproduced_in_every_number_within_the_limits(checked: Check) -> None:
    good = checked.rows[checked.rows["verdict"] == "reproduced"]
    for group, limit in LIMITS.items():
        assert (good[group] <= limit).all(), f"{group} beyond {limit}"
    assert (good["corrections"] <= 1e-15).all()
    assert set(good["compared"]) == {sum(map(len, GROUPS.values()))}, "every column of every row was compared"


def test_recomputed_numbers_are_those_of_the_plain_formulas(world: World, checked: Check) -> None:
    found = checked.statistics.set_index(["file", "row"])
    for row, source in enumerate(REVISIONS, start=1):
        baseline = world.answers[baseline_file(TRAITS[0], source)]
        steered = world.answers[steered_file(TRAITS[0], source, source)]
        if source == REVISIONS[2]:
            steered = steered + 2 * world.answers[steered_file(TRAITS[0], source, source)[:-4] + "_extended.csv"]
        for name, value in world.statistics(baseline, steered).items():
            assert found.loc[(BOASTFUL, row), name] == pytest.approx(value, abs=1e-12), f"{name} at {source}"


def test_rows_counted_twice_are_reproduced_and_told_without_the_second_count(world: World, checked: Check) -> None:
    row = row_of(checked, BOASTFUL, 3)
    assert row["pool"] == "output and extension twice"
    assert "136 rows are 24 of the output and 56 of its extension, counted twice" in row["detail"]
    pools = checked.pools.set_index(["file", "row", "pool"]).loc[(BOASTFUL, 3)]
    file = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])
    alone, more = world.answers[file], world.answers[file[:-4] + "_extended.csv"]
    wanted = {
        "output alone": alone,
        "output and extension": alone + more,
        "output and extension twice": alone + 2 * more,
    }
    assert set(pools.index) == set(wanted)
    for name, steered in wanted.items():
        for statistic, value in world.statistics(
            world.answers[baseline_file(TRAITS[0], REVISIONS[2])], steered
        ).items():
            assert pools.loc[name, statistic] == pytest.approx(value, abs=1e-12), f"{statistic} of {name}"


def test_reasons_name_the_file_and_both_numbers(world: World, checked: Check) -> None:
    published = {each.file: each.rows.set_index("row") for each in open_published(world.root).results()}
    for what, row, name in (("overwritten", 4, "baseline_trait_mean"), ("rewritten", 2, "output_trait_mean")):
        detail = row_of(checked, GLOOMY, row)["detail"]
        recorded = published[GLOOMY].loc[row]
        file = recorded["baseline_path" if what == "overwritten" else "output_path"]
        now = naive.described([answer[3] for answer in world.answers[file]])["mean"]
        assert f"{name} was {recorded[name]:.6g} and is {now:.6g} in {file} now" in detail
    assert steered_file(TRAITS[1], "main", REVISIONS[1]) in row_of(checked, GLOOMY, 5)["detail"]
    raw = row_of(checked, BOASTFUL, 11)
    assert column(TRAITS[1]) in raw["detail"]
    assert raw["compared"] == 13, "two counts, three numbers of the baseline's trait and eight of the coherence"


def test_the_family_of_a_correction_is_found_from_the_numbers(checked: Check) -> None:
    rows = checked.rows.set_index("file")
    assert set(rows.loc[BOASTFUL, "family"].dropna()) == {10}
    assert set(rows.loc[TRANSFER, "family"]) == {5}, "a table of two targets keeps the family of each"
    assert set(rows.loc[TRANSFER, "family_is"]) == {"rows of its target"}
    told = "corrected for 5 tests, the rows of its target; the file has 10 rows of its trait"
    assert rows.loc[TRANSFER, "detail"].str.contains(told).all()
    assert rows.loc[BOASTFUL, "family_is"].tolist() == ["rows of the file"] * 10 + [""]


def test_the_summary_of_a_file_counts_its_rows(checked: Check) -> None:
    assert list(checked.files.columns) == FILE
    files = checked.files.set_index("file")
    counts = files[["rows", "reproduced", "partly_checked", "not_reproduced"]]
    assert counts.loc[BOASTFUL].tolist() == [11, 10, 1, 0]
    assert counts.loc[GLOOMY].tolist() == [5, 2, 0, 3]
    assert files.loc[GLOOMY, "reasons"] == {"overwritten output": 1, "overwritten baseline": 1, "missing file": 1}
    assert files.loc[TRANSFER, "families"] == {5: 10}
    placeholder = files.loc[GLOOMY.replace(".csv", "_plot.csv")]
    assert placeholder["reasons"] == {"constant placeholder": 5}
    assert math.isnan(placeholder["sign_flip_p"]), "no row is reproduced, so there is no greatest difference"


def test_the_check_is_plain_json_and_says_everything(checked: Check) -> None:
    told = json.loads(json.dumps(checked.to_json(), allow_nan=False))
    assert [len(told[name]) for name in ("files", "rows", "pools", "controls", "problems")] == [4, 31, 3, 18, 0]
    assert told["rows"][0]["verdict"] == "reproduced"
    assert told["files"][3]["sign_flip_p"] is None


# Controls.


def test_controls_without_answers_are_checked_against_themselves(world: World, checked: Check, changed: World) -> None:
    assert set(checked.controls["reason"]) == {"raw absent, consistent"}
    file = checked.controls["file"].iloc[0]

    def spoil(rows: list[dict[str, str]]) -> None:
        rows[0]["delta_trait_mean"] = "55.5"
        rows[1]["trait_primary_p_two_sided"] = "0.01"

    edit(changed, file, spoil)
    again = check(open_published(changed.root)).controls
    assert again["reason"].value_counts().to_dict() == {"raw absent, consistent": 16, "raw absent, contradictory": 2}
    assert "delta_trait_mean is 55.5" in again["detail"].iloc[0]
    assert "no multiple of 2^-20" in again["detail"].iloc[1]


def test_controls_whose_answers_are_published_are_recomputed(world: World, changed: World, checked: Check) -> None:
    name = column(TRAITS[0])
    plain, steered = (world_of.draw(world, world_of.ids_of(name), level=level, draws=2) for level in (10, 20))
    files = ["data/model_responses/eval/made/baseline_made.csv", "data/model_responses/eval/made/steer_made.csv"]
    for file, answers in zip(files, (plain, steered), strict=True):
        world_of.write_answers(changed, file, name, answers)
    found = changed.statistics(plain, steered)

    def publish(rows: list[dict[str, str]]) -> None:
        for row in rows[:2]:
            row.update({"baseline_csv": files[0], "output_csv": files[1]})
            row.update({each: str(found[each]) for each in row if each in found})
            row["trait_primary_p_two_sided"] = str(found["trait_sign_flip_p_two_sided"])
        rows[1]["delta_trait_mean"] = "55.5"

    edit(changed, checked.controls["file"].iloc[0], publish)
    again = check(open_published(changed.root)).controls
    assert again["verdict"].tolist()[:2] == ["reproduced", "not reproduced"], again["detail"].tolist()[:2]
    assert again["reason"].value_counts()["raw absent, consistent"] == 16


# What else may be wrong with a results file.


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("trait_sign_flip_p_greater", "0.3", "trait_sign_flip_p_greater is 0.3, recomputed"),
        ("delta_trait_median", "7", "delta_trait_median is 7, recomputed"),
        ("trait_sign_test_positive_pairs", "1", "trait_sign_test_positive_pairs is 1, recomputed"),
        ("trait_sign_test_p_greater_bonferroni_within_trait", "0.777", "no whole multiple"),
    ],
)
def test_a_single_wrong_number_makes_a_row_unexplained(changed: World, name: str, value: str, said: str) -> None:
    def spoil(rows: list[dict[str, str]]) -> None:
        rows[1][name] = value

    edit(changed, TRANSFER, spoil)
    rows = check(open_published(changed.root)).rows
    mine = rows[rows["file"] == TRANSFER]
    wrong = mine[mine["verdict"] != "reproduced"]
    assert wrong[["row", "reason"]].to_numpy().tolist() == [[2, "unexplained"]]
    assert said in wrong["detail"].iloc[0]


@pytest.mark.parametrize("digits", [1e-11, 1e-13])
def test_the_limit_lies_where_it_is_said_to(changed: World, digits: float) -> None:
    def shift(rows: list[dict[str, str]]) -> None:
        rows[0]["output_trait_mean"] = repr(float(rows[0]["output_trait_mean"]) + digits)

    edit(changed, TRANSFER, shift)
    row = row_of(check(open_published(changed.root)), TRANSFER, 1)
    assert (row["verdict"] == "reproduced") == (digits <= LIMITS["descriptives"])


def test_a_p_value_may_be_off_by_its_last_digit_alone(changed: World) -> None:
    def spoil(rows: list[dict[str, str]]) -> None:
        for row, name in zip(rows, ("trait_sign_flip_p_greater", "trait_sign_test_p_two_sided"), strict=False):
            row[name] = repr(float(row[name]) + 1e-13)

    edit(changed, TRANSFER, spoil)
    verdicts = check(open_published(changed.root)).rows.set_index(["file", "row"])["verdict"]
    assert [verdicts[TRANSFER, row] for row in (1, 2, 3)] == ["not reproduced", "not reproduced", "reproduced"]


def test_a_number_that_cannot_be_recomputed_agrees_with_nothing() -> None:
    found = agreement({"delta_trait_mean": 1.0, "output_rows": 3}, {"delta_trait_mean": math.nan, "output_rows": 3})
    assert found.bad == ("delta_trait_mean",)


def test_a_baseline_written_over_with_another_trait_is_told_as_such(changed: World) -> None:
    """It happened: the study kept the baselines of several traits at one path."""
    file, foreign = baseline_file(TRAITS[1], REVISIONS[1]), column(TRAITS[0])
    write_csv(
        changed.path(file), ["question_id", foreign, "coherence"], [[f"{foreign}_{n}", 9.0, 50.0] for n in range(8)]
    )
    row = row_of(check(open_published(changed.root)), GLOOMY, 1)
    assert (row["verdict"], row["reason"]) == ("not reproduced", "overwritten baseline")
    assert f"{file} holds the scores of {foreign} now, not of {column(TRAITS[1])}" in row["detail"]


def test_an_extension_that_cannot_be_read_is_named(changed: World) -> None:
    extended = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])[:-4] + "_extended.csv"
    changed.path(extended).write_bytes(b"cut")
    done = check(open_published(changed.root))
    for row in (3, 6):
        assert row_of(done, BOASTFUL, row)["reason"] == "file unreadable"
        assert extended in row_of(done, BOASTFUL, row)["detail"]


def test_rows_pooled_once_are_reproduced_and_told_as_pooled(changed: World, world: World) -> None:
    file = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])
    once = world.answers[file] + world.answers[file[:-4] + "_extended.csv"]
    numbers = world.statistics(world.answers[baseline_file(TRAITS[0], REVISIONS[2])], once)
    numbers |= naive.corrected(numbers, 10)

    def pool(rows: list[dict[str, str]]) -> None:
        rows[2] |= {name: repr(value) for name, value in numbers.items() if name in rows[2]}

    edit(changed, BOASTFUL, pool)
    row = row_of(check(open_published(changed.root)), BOASTFUL, 3)
    assert (row["verdict"], row["reason"], row["pool"]) == ("reproduced", "pooled rows", "output and extension")


def test_combined_tables_are_judged_with_their_rows_that_were_never_tested(checked: Check) -> None:
    found = checked.combined.groupby(["run", "reason"]).size().to_dict()
    assert found == {
        ("boastful_diagonal_v1", ""): 9,
        ("boastful_diagonal_v1", "duplicated rows"): 1,
        ("boastful_diagonal_v1", "raw output"): 1,
        ("gloomy_diagonal_v1", ""): 2,
        ("gloomy_diagonal_v1", "missing file"): 1,
        ("gloomy_diagonal_v1", "no vector"): 1,
        ("gloomy_diagonal_v1", "overwritten baseline"): 1,
        ("gloomy_diagonal_v1", "overwritten output"): 1,
    }


def test_a_row_without_a_vector_has_nothing_to_check(changed: World) -> None:
    def empty(rows: list[dict[str, str]]) -> None:
        for name in rows[0]:
            rows[0][name] = "" if name not in ("trait", "extract_revision") else rows[0][name]
        rows[0] |= {"status": "nonextractable", "vector_status_message": "0 rows passed"}

    edit(changed, GLOOMY, empty, more=("vector_status_message",))
    row = row_of(check(open_published(changed.root)), GLOOMY, 1)
    assert (row["verdict"], row["reason"], row["detail"]) == ("partly checked", "no vector", "0 rows passed")


def test_paths_that_lead_nowhere_are_named_and_never_followed_out_of_the_folder(changed: World) -> None:
    outside = changed.root.parent / "outside.csv"
    shutil.copy(changed.path(baseline_file(TRAITS[0], "main")), outside)

    def mislead(rows: list[dict[str, str]]) -> None:
        rows[0]["output_path"] = "../outside.csv"
        rows[1]["output_path"] = str(outside)
        rows[2]["baseline_path"] = ""

    edit(changed, TRANSFER, mislead)
    done = check(open_published(changed.root))
    for row, said in ((1, "../outside.csv is not in"), (2, f"{outside} is not in"), (3, "baseline_path is empty")):
        told = row_of(done, TRANSFER, row)
        assert told["reason"] == "missing file"
        assert said in told["detail"]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("cut inside quotes", "file unreadable"),
        ("cut inside a row", "file unreadable"),
        ("two trait columns", "file unreadable"),
        ("no coherence", "file unreadable"),
        ("not UTF-8", "file unreadable"),
    ],
)
def test_a_damaged_answers_file_costs_the_rows_that_name_it_and_no_other(
    what: str, reason: str, checked: Check, changed: World
) -> None:
    broken = damage(changed, what)
    done = check(open_published(changed.root))
    with changed.path(BOASTFUL).open(newline="", encoding="utf-8") as opened:
        hit = [n for n, row in enumerate(csv.DictReader(opened), start=1) if broken in row.values()]
    assert hit
    before = checked.rows.set_index(["file", "row"])
    for place, row in done.rows.set_index(["file", "row"]).iterrows():
        if place[0] == BOASTFUL and place[1] in hit:
            assert (row["verdict"], row["reason"]) == ("not reproduced", reason)
            assert broken in row["detail"]
        else:
            assert row["verdict"] == before.loc[place, "verdict"], place
    assert [problem.file for problem in done.problems] == [broken]


def test_a_results_file_that_cannot_be_read_is_in_the_summary_with_its_reason(checked: Check, changed: World) -> None:
    broken = damage(changed, "results cut inside a row")
    done = check(open_published(changed.root))
    lost = done.files.set_index("file").loc[broken]
    assert (lost["rows"], lost["reasons"]) == (0, {"file unreadable": 0})
    assert len(done.rows) == len(checked.rows) - 11
    assert "row 11 has" in done.problems[0].reason


def test_a_results_file_without_rows_is_in_the_summary(checked: Check, changed: World) -> None:
    edit(changed, BOASTFUL, list.clear)
    files = check(open_published(changed.root)).files.set_index("file")
    assert set(files.index) == set(checked.files["file"]), "a file that holds nothing is still a file"
    assert (files.loc[BOASTFUL, "rows"], files.loc[BOASTFUL, "reasons"]) == (0, {"no rows": 0})


def test_a_results_file_without_a_path_column_says_so_in_every_row(changed: World) -> None:
    broken = damage(changed, "results without output_path")
    rows = check(open_published(changed.root)).rows
    mine = rows[rows["file"] == broken]
    assert set(mine["reason"]) == {"missing column"}
    assert set(mine["detail"]) == {"the file has no column output_path"}


def test_a_repository_without_results_gives_empty_frames_with_their_columns(tmp_path: Path) -> None:
    (tmp_path / "results" / "M").mkdir(parents=True)
    (tmp_path / "results" / "M" / "pass_rate.csv").write_text("model,passed\nM,1\n")
    done = check(open_published(tmp_path))
    assert (list(done.rows.columns), list(done.files.columns), len(done.rows)) == (ROW, FILE, 0)
    assert json.dumps(done.to_json(), allow_nan=False)


# Families and contradictions, alone.


def corrected_rows(p_values: list[float], family: list[float], target: list[str]) -> pd.DataFrame:
    table = {"trait": "x", "eval_model_name": target, "trait_primary_p_two_sided": p_values}
    corrected = [min(1.0, p * k) for p, k in zip(p_values, family, strict=True)]
    return pd.DataFrame({**table, "trait_primary_p_two_sided_bonferroni_within_trait": corrected})


@pytest.mark.parametrize(
    ("p_values", "family", "target", "wanted", "whose"),
    [
        ([0.1, 0.2, 0.9], [3, 3, 3], "aab", [3, 3, 3], ["rows of the file"] * 3),
        ([0.1, 0.9, 0.1], [2, 2, 1], "aab", [2, 2, 1], ["rows of its target"] * 3),
        ([0.01, 0.9, 0.01], [28, 28, 28], "aab", [28, 28, 28], ["another file"] * 3),
        ([0.01, 0.02, 0.03], [10, 16, 10], "aaa", [10, 16, 10], ["another file"] * 3),
        ([0.01, 0.02, 0.03], [10, 2.5, 10], "aaa", [10, math.nan, 10], ["another file", "none", "another file"]),
        ([0.2, 0.2], [99, 99], "aa", [math.nan, math.nan], ["any", "any"]),
    ],
)
def test_families_are_inferred_from_the_corrected_values(
    p_values: list[float], family: list[float], target: str, wanted: list[float], whose: list[str]
) -> None:
    found = families(corrected_rows(p_values, family, list(target)))
    assert found["family_is"].tolist() == whose
    pd.testing.assert_series_equal(found["family"], pd.Series(wanted, dtype=float), check_names=False)


def test_rows_without_corrections_have_no_family() -> None:
    rows = pd.DataFrame({"trait": ["x", "x"], "trait_primary_p_two_sided": [0.1, 0.2]})
    assert families(rows)["family_is"].tolist() == ["", ""]
    assert families(rows.iloc[:0]).empty


def test_a_few_equal_p_values_are_no_sign_of_a_table_that_was_not_computed() -> None:
    rows = pd.DataFrame({"trait_primary_p_two_sided": [0.01, 0.01], "coef": [0.5, 0.5]})
    assert constant_columns(rows) == frozenset()
    assert constant_columns(pd.concat([rows, rows])) == {"trait_primary_p_two_sided"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"delta_trait_mean": 2.0, "output_trait_mean": 5.0, "baseline_trait_mean": 3.0}, 0),
        ({"delta_trait_mean": 2.1, "output_trait_mean": 5.0, "baseline_trait_mean": 3.0}, 1),
        ({"delta_trait_mean": math.nan, "output_trait_mean": 5.0, "baseline_trait_mean": 3.0}, 0),
        ({"trait_primary_p_two_sided": 2**-19}, 0),
        ({"trait_primary_p_two_sided": 0.05}, 1),
        ({"trait_primary_p_two_sided": 0.0}, 1),
        ({"trait_primary_p_two_sided": 2**-5, "paired_questions": 5.0}, 0),
        ({"trait_primary_p_two_sided": 2**-6, "paired_questions": 5.0}, 1),
    ],
)
def test_a_row_can_contradict_itself(row: dict[str, float], said: int) -> None:
    assert len(contradictions(row)) == said
