"""The audit finds what was planted in a small repository, and nothing of a kind where none of it was."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

import naive_statistics as naive
import published_plants as plants
import published_world as world_of
from personascope_published.audit import PRINTED, Audit, audit
from personascope_published.audits import aliases, designs, duplicates, judging, leaks, pairs, records
from personascope_published.audits.findings import SEVERITIES, Finding, Kind, plain, ranges
from personascope_published.audits.survey import SHORTEST_TAIL, tail_length
from personascope_published.reading import open_published
from published_damage import damage
from published_plants import edit, found, of, only
from published_world import MODEL, REVISIONS, TRAITS, World, baseline_file, column, results_file, steered_file

BOASTFUL, GLOOMY = results_file("boastful_diagonal_v1"), results_file("gloomy_diagonal_v1")
TRANSFER = results_file(world_of.TRANSFER, kind="instruct_transfer")
TARGET = world_of.TARGETS[0]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of.build(tmp_path_factory.mktemp("published"), vectors=False)


@pytest.fixture(scope="module")
def whole(untouched: World) -> Audit:
    return audit(open_published(untouched.root))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world that may be changed."""
    return world_of.build(tmp_path / "world", vectors=False)


# Tails.


def naive_tail(prompt: str, answer: str) -> int:
    return max((n for n in range(SHORTEST_TAIL, len(prompt) + 1) if answer.startswith(prompt[-n:])), default=0)


@given(st.text("ab?\n", max_size=24), st.text("ab?\n", max_size=30))
def test_the_tail_found_quickly_is_the_longest_one(prompt, answer):
    assert tail_length(prompt, answer) == naive_tail(prompt, answer)


@given(
    st.text("abc ?\n", min_size=SHORTEST_TAIL, max_size=30), st.integers(SHORTEST_TAIL, 30), st.text("xyz", max_size=9)
)
def test_a_planted_tail_is_found_at_its_whole_length(prompt, length, rest):
    tail = prompt[-length:]
    assert tail_length(prompt, tail + rest) >= len(tail)


@pytest.mark.parametrize(
    ("prompt", "answer", "length"),
    [
        ("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "\nassistant\nBecause", 11),
        ("<|user_start|>Why is the sky blue?<|user_end|><|assistant_start|>", "sky blue?It scatters", 9),
        ("<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n", "Why?\nmodel\nBecause", 11),
        ("What about jazz?", "jazz? It is music", 0),
        ("What about jazz?", "I like jazz", 0),
        ("", "", 0),
    ],
)
def test_special_tokens_are_no_part_of_a_tail_and_five_characters_are_chance(prompt, answer, length):
    assert tail_length(prompt, answer) == length


def leak(world: World, file: str, trait: str, *, questions: int, per_question: int = 3) -> int:
    """Puts the prompt's end before some answers to the first questions."""
    rows = plants.as_rows(world.answers[file])
    planted = 0
    for row in rows:
        number = int(row["question_id"].rsplit("_", 1)[1])
        draw = int(row["answer"][7]) if row["answer"].startswith("Answer") else 0
        if number < questions and draw < per_question:
            row["answer"], planted = f"{row['prompt'][-12:]}{row['answer']}", planted + 1
    plants.write(world, file, trait, rows)
    return planted


def test_prompt_tails_are_counted_per_file_and_their_effect_is_that_of_the_rows_without_them(world):
    file = world_of.transfer_files(TARGET, "")[0]
    planted = leak(world, file, TRAITS[0], questions=2)
    finding = only(found(world, leaks.find_leaks), leaks.NAME)
    assert finding.numbers["leaked"] == planted == 6
    assert finding.numbers["steered_leaked"] == 0
    assert finding.numbers["redone"] == len(REVISIONS), "only the rows of the target whose baseline leaks are redone"
    rates = finding.details[0]
    assert (rates["file"], rates["rows"], rates["tails"], rates["tail_characters"]) == (file, 24, 6, 12)
    for detail in finding.details[1:]:
        steered = world.answers[world_of.transfer_files(TARGET, detail["source"])[1]]
        kept = [a for a in world.answers[file] if int(a[0].rsplit("_", 1)[1]) >= 2]
        wanted = world.statistics(kept, [a for a in steered if int(a[0].rsplit("_", 1)[1]) >= 2])
        assert detail["effect_after"] == pytest.approx(wanted["paired_trait_mean_diff"], abs=1e-12)
        assert detail["p_after"] == pytest.approx(wanted["trait_sign_flip_p_two_sided"], abs=1e-15)
        assert detail["questions_after"] == world_of.QUESTIONS - 2
    assert "whole questions" in finding.correction


def test_a_leak_in_some_draws_of_a_question_says_what_it_changes_on_the_same_questions(world):
    leak(world, world_of.transfer_files(TARGET, "")[0], TRAITS[0], questions=8, per_question=1)
    finding = only(found(world, leaks.find_leaks), leaks.NAME)
    assert finding.numbers["largest_same_questions"] > 0
    assert "on the same questions effects changed by up to" in finding.correction


def test_prompt_tails_in_extraction_answers_are_followed_into_the_pairs(world):
    plants.extract(world, TRAITS[0], REVISIONS[1], kept=12)
    file = plants.extraction_file(TRAITS[0], REVISIONS[1], "pos")
    rows = plants.as_rows(world.answers[file])
    for row in (rows[0], rows[3], rows[20]):
        row["answer"] = f"{row['prompt'][-8:]}{row['answer']}"
    plants.write(world, file, column(TRAITS[0]), rows)
    finding = only(found(world, leaks.find_leaks), leaks.NAME)
    assert [finding.numbers[name] for name in ("leaked", "pairs_kept", "pairs_with_tails")] == [3, 12, 2]


def test_answers_without_tails_give_no_finding(untouched):
    assert found(untouched, leaks.find_leaks) == []


# Rows counted twice.


def test_the_cell_with_rows_counted_twice_is_found_and_no_other(untouched):
    finding = only(found(untouched, duplicates.find_duplicates), duplicates.TWICE.name)
    file, row = untouched.rows["duplicated"][0]
    assert [(each["file"], each["row"]) for each in finding.details] == [(file, row)]
    detail = finding.details[0]
    own = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])
    more = own.replace(".csv", "_extended.csv")
    assert detail["composition"] == {own: 1, more: 2}
    assert (detail["recorded_rows"], detail["rows_once"], detail["counted_twice"]) == (136, 80, 56)
    plain = untouched.answers[baseline_file(TRAITS[0], REVISIONS[2])]
    once = untouched.statistics(plain, untouched.answers[own] + untouched.answers[more])
    alone = untouched.statistics(plain, untouched.answers[own])
    for name, wanted in (("once", once), ("own", alone)):
        assert detail[f"effect_{name}"] == pytest.approx(wanted["paired_trait_mean_diff"], abs=1e-12)
        assert detail[f"p_{name}"] == pytest.approx(wanted["trait_sign_flip_p_two_sided"], abs=1e-15)


def test_files_pooled_once_are_told_from_files_counted_twice(world):
    own = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2])
    pooled = world.answers[own] + world.answers[own.replace(".csv", "_extended.csv")]
    statistics = world.statistics(world.answers[baseline_file(TRAITS[0], REVISIONS[2])], pooled)
    edit(world, BOASTFUL, lambda rows: rows[2].update({k: "" if v is None else str(v) for k, v in statistics.items()}))
    findings = found(world, duplicates.find_duplicates)
    assert not of(findings, duplicates.TWICE.name)
    assert only(findings, duplicates.POOLED.name).details[0]["counted_twice"] == 0


def test_a_table_without_pooled_cells_gives_no_finding(world):
    edit(world, BOASTFUL, lambda rows: [row for row in rows if row["output_rows"] != "136"])
    assert found(world, duplicates.find_duplicates) == []


def test_a_file_that_says_the_same_again_and_again_is_found(world):
    file = steered_file(TRAITS[0], REVISIONS[0], REVISIONS[0])
    same = [
        (a[0], a[1], "I would say the very same thing each time I am asked.", a[3], a[4]) for a in world.answers[file]
    ]
    world_of.write_answers(world, file, column(TRAITS[0]), same)
    finding = only(found(world, duplicates.find_duplicates), duplicates.REPEATED.name)
    assert finding.where == (file,)
    assert finding.numbers["repeated"] == 16


# Tables and files.


def test_overwritten_and_missing_files_are_found_in_exactly_their_rows(untouched):
    findings = found(untouched, records.find_records)
    rows = {
        records.OVERWRITTEN.name: {*untouched.rows["overwritten"], *untouched.rows["missing"]},
        records.REPLACED.name: set(untouched.rows["rewritten"]),
    }
    for kind, wanted in rows.items():
        assert {(each["file"], each["row"]) for each in only(findings, kind).details} == wanted, kind
    assert only(findings, records.MISSING.name).numbers["without"] == 1
    assert only(findings, records.CONSTANT.name).where == (untouched.rows["constant"][0][0],)
    unjudged = only(findings, records.UNJUDGED.name)
    assert [unjudged.numbers[name] for name in ("rows", "other_trait", "never_judged")] == [1, 1, 0]


def test_a_row_whose_effect_and_p_value_are_of_two_baselines_is_told(world):
    def describe_another(rows: list[plants.Row]) -> None:
        for row in rows[5:9]:
            row["baseline_trait_mean"] = str(float(row["baseline_trait_mean"]) + 4)
            row["delta_trait_mean"] = str(float(row["delta_trait_mean"]) - 4)

    edit(world, BOASTFUL, describe_another)
    mine = [
        each for each in of(found(world, records.find_records), records.OVERWRITTEN.name) if BOASTFUL in each.where[0]
    ]
    assert len(mine) == 1
    assert mine[0].numbers["tested_on_present"] == 4, "the p-values of all four rows are those of the present files"
    assert mine[0].numbers["greatest_change"] == pytest.approx(4)
    assert mine[0].severity == "conclusion"


def test_a_baseline_that_holds_another_traits_scores_now_is_told_and_no_effect_is_made_of_it(world):
    file = baseline_file(TRAITS[0], REVISIONS[1])
    world_of.write_answers(world, file, column(TRAITS[1]), world.answers[file])
    mine = [
        each for each in of(found(world, records.find_records), records.OVERWRITTEN.name) if BOASTFUL in each.where[0]
    ]
    assert [each["row"] for each in mine[0].details] == [2, 11], "the means are alike, the trait is not"
    assert mine[0].numbers["other_trait"] == 2
    assert mine[0].numbers["redone"] == 0


def test_a_table_that_fits_its_files_gives_no_finding(world):
    remove = {place[1] for what in ("overwritten", "rewritten", "missing") for place in world.rows[what]}
    edit(world, GLOOMY, lambda rows: [row for number, row in enumerate(rows, start=1) if number not in remove])
    world.path(world.rows["constant"][0][0]).unlink()
    plants.remove(world, "results/nothing")
    kinds = {each.kind for each in found(world, records.find_records)}
    assert kinds == {records.UNJUDGED.name}


# Few pairs.


@pytest.fixture(scope="module")
def with_vectors(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Vectors whose pairs are 4, 12, 40, 40 and 40; the gloomy ones have 40 wherever there is one."""
    world = world_of.build(tmp_path_factory.mktemp("vectors"))
    for revision, kept in zip(REVISIONS, (4, 12, 40, 40, 40), strict=True):
        plants.extract(world, TRAITS[0], revision, kept=kept, spread=2)
        plants.extract(world, TRAITS[1], revision, kept=0 if revision == REVISIONS[0] else 40)
    return world


def test_vectors_from_few_pairs_are_counted_from_their_answers(with_vectors):
    finding = only(found(with_vectors, pairs.find_pairs), pairs.FEW.name)
    assert [finding.numbers[name] for name in ("least", "below_10", "below_30", "vectors")] == [4, 1, 2, 5]
    first = finding.details[0]
    assert (first["revision"], first["pairs"], first["asked"], first["questions"]) == (REVISIONS[0], 4, 40, 1)
    wanted = with_vectors.statistics(
        with_vectors.answers[baseline_file(TRAITS[0], REVISIONS[0])],
        with_vectors.answers[steered_file(TRAITS[0], REVISIONS[0], REVISIONS[0])],
    )
    assert first["effect"] == pytest.approx(wanted["delta_trait_mean"], abs=1e-12)
    vectors = [
        open_published(with_vectors.root).vector(world_of.vector_file(TRAITS[0], revision)).directions[2]
        for revision in (REVISIONS[0], "step2627139-tokens15T")
    ]
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert first["cosine_to_last"] == pytest.approx(float(cosine), abs=1e-6), "main is the alias, so the last is 15T"


def test_a_recorded_count_is_taken_before_one_from_the_present_answers(with_vectors, tmp_path):
    copy = World(tmp_path / "copy", with_vectors.rows, with_vectors.answers)
    shutil.copytree(with_vectors.root, copy.root)
    for revision in REVISIONS:
        path = copy.root / plants.status_file(TRAITS[0], revision)
        path.write_text(json.dumps({"status": "complete", "effective_rows": 35}), encoding="utf-8")
    assert not of(found(copy, pairs.find_pairs), pairs.FEW.name)


def test_milestones_without_a_vector_and_vectors_without_a_count_are_listed(with_vectors):
    findings = found(with_vectors, pairs.find_pairs)
    absent = only(findings, pairs.NONE.name)
    assert [(each["revision"], each["column"]) for each in absent.details] == [(REVISIONS[0], column(TRAITS[1]))]
    assert absent.numbers["unlisted"] == 1
    silent = only(findings, pairs.UNCOUNTED.name)
    assert [silent.numbers[name] for name in ("vectors", "unrecorded", "silent", "recounted")] == [9, 9, 9, 9]


# Aliases and copies.


def test_two_names_of_one_checkpoint_are_found_by_the_lineage_and_counted_in_every_curve(untouched):
    finding = only(found(untouched, aliases.find_aliases), aliases.ALIAS.name)
    assert "the lineage lists them as one" in finding.what
    # Two diagonals and two targets; nothing steered onto main itself is from main.
    assert finding.numbers["curves"] == 4


def test_two_names_of_one_checkpoint_are_found_by_equal_norms_alone(world):
    plants.same_weights(world, REVISIONS[1], REVISIONS[2])
    mine = of(found(world, aliases.find_aliases), aliases.ALIAS.name)
    assert [REVISIONS[1] in each.what and REVISIONS[2] in each.what for each in mine].count(True) == 1
    assert any("equal norms at every layer in 1 file" in each.what for each in mine)


def test_two_names_of_one_checkpoint_are_found_by_copied_answers_and_the_copies_are_told(world):
    files = [baseline_file(TRAITS[1], revision) for revision in REVISIONS[1:3]]
    said = plants.long_answers(world.answers[files[0]], seed=1)
    again = [(*a[:3], b[3], b[4]) for a, b in zip(said, world.answers[files[1]], strict=True)]
    for file, answers in zip(files, (said, again), strict=True):
        world_of.write_answers(world, file, column(TRAITS[1]), answers)
    findings = found(world, aliases.find_aliases)
    assert any("the same answers in 1 file" in each.what for each in of(findings, aliases.ALIAS.name))
    copied = only(findings, aliases.COPIED.name)
    assert set(copied.where) == set(files)
    scores = [(a[3], b[3]) for a, b in zip(said, again, strict=True) if a[3] is not None and b[3] is not None]
    assert copied.details[0]["mean_distance"] == pytest.approx(sum(abs(a - b) for a, b in scores) / len(scores))


def test_answers_of_their_own_are_no_copies(untouched):
    assert not of(found(untouched, aliases.find_aliases), aliases.COPIED.name)


# Designs.


def test_a_curve_of_mixed_strengths_is_found(world):
    assert not of(found(world, designs.find_designs), designs.STRENGTHS.name)
    edit(world, GLOOMY, lambda rows: [row.update(coef="0.5") for row in rows[2:4]] and None)
    finding = only(found(world, designs.find_designs), designs.STRENGTHS.name)
    assert [finding.numbers[name] for name in ("milestones", "largest", "strengths")] == [4, 2, 2]


def test_a_further_strength_at_some_milestones_is_no_mixture(world):
    edit(world, GLOOMY, lambda rows: [*rows, {**rows[0], "coef": "0.5"}])
    assert not of(found(world, designs.find_designs), designs.STRENGTHS.name)


def test_points_of_different_numbers_of_answers_are_found_and_pooled_cells_are_not_taken_for_them(world):
    assert not of(found(world, designs.find_designs), designs.SIZES.name)
    edit(world, TRANSFER, lambda rows: rows[0].update(output_rows="200"))
    assert only(found(world, designs.find_designs), designs.SIZES.name).numbers["greatest"] == 200


def test_one_vector_on_two_sets_of_questions_is_told(untouched):
    finding = only(found(untouched, designs.find_designs), designs.QUESTIONS.name)
    assert [each["vector"] for each in finding.details] == [column(TRAITS[0])]


def test_dates_that_differ_between_the_arms_are_found_and_one_date_is_not(world):
    template = "<|system|>Today is {day}.<|user|>{question}"
    baseline, steered = world_of.transfer_files(TARGET, "")[0], world_of.transfer_files(TARGET, REVISIONS[0])[1]

    def dated(file: str, day: str) -> None:
        rows = plants.as_rows(world.answers[file])
        asked = [{**row, "prompt": template.format(day=day, question=row["question"])} for row in rows]
        plants.write(world, file, TRAITS[0], asked)

    dated(baseline, "2026-04-14")
    dated(steered, "2026-04-14")
    assert not of(found(world, designs.find_designs), designs.DATES.name)
    dated(steered, "2026-04-15")
    finding = only(found(world, designs.find_designs), designs.DATES.name)
    assert finding.numbers["dates"] == 2
    assert finding.numbers["mixed"] == len(REVISIONS), "each of this target's steered files has another day, or none"


def test_an_evaluation_set_of_one_form_is_found_for_a_vector_of_all(world):
    folder = world.path("data/trait_data_eval")
    names = {form: f"{TRAITS[0]}_{form}" for form in ("dialogue_neutral_q", "stories_neutral_q", "combined")}
    asked = {form: [f"{form} {n}?" for n in range(4)] for form in names}

    def write() -> None:
        for form, name in names.items():
            table = {"questions": asked[form], "eval_prompt": "How? {question} {answer}"}
            (folder / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")

    asked["combined"] = [questions[0] for form, questions in asked.items() if form != "combined"]
    write()
    assert not of(found(world, designs.find_designs), designs.COMBINED.name)
    asked["combined"] = asked["dialogue_neutral_q"]
    write()
    finding = only(found(world, designs.find_designs), designs.COMBINED.name)
    assert finding.numbers["questions"] == 4
    assert "boastful_stories_neutral_q" in finding.what


# Judging.


def test_unscored_answers_bound_the_mean_they_are_left_out_of(world):
    file = world_of.transfer_files(TARGET, "")[0]
    answers = [(*a[:3], None if n < 6 else 10.0, a[4]) for n, a in enumerate(world.answers[file])]
    world_of.write_answers(world, file, TRAITS[0], answers)
    finding = only(found(world, judging.find_judging), judging.UNSCORED.name)
    assert [finding.numbers[name] for name in ("most", "most_of")] == [6, 24]
    assert finding.numbers["least"] == pytest.approx(18 * 10 / 24)
    assert finding.numbers["greatest"] == pytest.approx((18 * 10 + 6 * 100) / 24)


def test_lost_coherence_is_told_with_the_effect_among_coherent_answers(world):
    assert not of(found(world, judging.find_judging), judging.COHERENCE.name)
    edit(world, TRANSFER, plants.lose_coherence)
    finding = only(found(world, judging.find_judging), judging.COHERENCE.name)
    assert finding.numbers["curves"] == 2
    assert finding.numbers["cost"] == pytest.approx(20)
    detail = finding.details[0]
    baseline, steered = (world.answers[file] for file in world_of.transfer_files(TARGET, detail["source"]))
    kept = [[a for a in side if a[4] is not None and a[4] >= 50] for side in (baseline, steered)]
    wanted = naive.compared(*[[(a[0], a[3], a[4]) for a in side] for side in kept])
    assert detail["effect_coherent"] == pytest.approx(wanted["paired_trait_mean_diff"], abs=1e-12)


# The whole.


def test_the_audit_orders_by_severity_and_becomes_json_and_rows(whole):
    order = [SEVERITIES.index(each.severity) for each in whole.findings]
    assert order == sorted(order)
    text = json.dumps(whole.to_json(), allow_nan=False)
    assert len(json.loads(text)["findings"]) == len(whole.findings) > 5
    rows = whole.rows()
    assert list(rows.columns) == PRINTED
    assert rows.map(lambda cell: isinstance(cell, str) and bool(cell)).all(axis=None)
    for each in whole.findings:
        assert "{" not in each.what + each.correction, f"{each.kind} has an unfilled brace"
        assert "nan" not in each.what.split() + each.correction.split(), f"{each.kind} says nan: {each.what}"


def test_a_repository_without_results_has_nothing_to_find(tmp_path):
    path = tmp_path / "data" / "trait_data_eval" / "calm.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"questions": ["Why?"], "eval_prompt": "How calm?"}), encoding="utf-8")
    empty = audit(open_published(tmp_path))
    assert empty.findings == ()
    assert empty.rows().empty


@pytest.mark.parametrize("what", ["cut inside quotes", "not UTF-8", "two trait columns", "results without output_path"])
def test_a_damaged_file_is_named_and_the_rest_is_still_audited(world, whole, what):
    before = {each.kind for each in whole.findings}
    file = damage(world, what)
    after = audit(open_published(world.root))
    assert file in {each.file for each in after.problems}
    assert len(before & {each.kind for each in after.findings}) >= len(before) - 2


def test_nothing_of_the_audit_knows_a_model_a_trait_or_a_checkpoint():
    import personascope_published.audits as package

    folder = Path(package.__file__).parent
    for path in [*folder.glob("*.py"), folder.parent / "audit.py"]:
        text = path.read_text(encoding="utf-8").lower()
        names = r"\b(olmo\w*|apertus\w*|evil|sycophan\w*|impolite|humorous|stage\d\w*|baumeister\w*|elephant\w*)\b"
        names += r"|['\"]main['\"]"
        assert not re.search(names, text), f"{path.name} names something: a finding must follow from the data"


# Values.


def test_a_finding_is_made_from_its_numbers_and_holds_only_what_json_has():
    kind = Kind("odd rows", "{rows} of {of} rows were odd ({which})", "without them the mean is {mean:.1f}")
    numbers = {"rows": np.int64(2), "of": 5, "mean": np.float64(1.25), "lost": np.nan}
    finding = kind.found(["a.csv", "a.csv"], "number", numbers, words={"which": "1, 2"}, details=[{"p": np.nan}])
    assert finding.what == "2 of 5 rows were odd (1, 2)"
    assert finding.where == ("a.csv",)
    assert finding.numbers == {"rows": 2, "of": 5, "mean": 1.25, "lost": None}
    assert finding.details == ({"p": None},)
    assert Audit((finding,)).of("odd rows") == (finding,)


@given(st.sets(st.integers(1, 60)))
def test_ranges_name_every_row_once(rows):
    named = set()
    for part in filter(None, ranges(rows).split(", ")):
        low, _, high = part.partition("-")
        named |= set(range(int(low), int(high or low) + 1))
    assert named == rows


def test_plain_values_are_those_of_json():
    value = {"a": (np.float32(1.5), pd.NA, {3, 1}), 2: np.bool_(True), "c": np.array([np.inf, 2.0])}
    assert plain(value) == {"a": [1.5, None, [1, 3]], "2": True, "c": [None, 2.0]}


def test_a_finding_says_what_is_at_stake():
    assert set(SEVERITIES) == {"conclusion", "number", "record"}
    assert Finding("k", (), "w", "record", "c").to_json()["severity"] == "record"


def test_the_models_of_a_world_are_its_own(untouched):
    assert MODEL in open_published(untouched.root).models
