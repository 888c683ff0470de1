"""Transfer: stretches of training, targets side by side, and the matrix of forms; weights count once."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.discourse import CELL, form_matrix
from personascope.analysis.significance import sign_flip
from personascope.analysis.transfer import BINNED, SUBJECT, Bin, binned, shares, target_pairs, without_aliases
from personascope.core.errors import StudyError

HEAD = {"trait": "bold", "extracted_as": "story", "evaluated_as": "story", "target": "chat", "same_weights_as": ""}
BINS = [Bin("early", 0, 100), Bin("late", 100)]


def effects(*rows: dict) -> pd.DataFrame:
    columns = [*HEAD, "milestone", "tokens_seen", "effect"]
    frame = pd.DataFrame([{**HEAD, **row} for row in rows], columns=columns)
    return frame.astype({"tokens_seen": "float64", "effect": "float64"})


def at(tokens: float, effect: float, **other) -> dict:
    return {"milestone": f"m{tokens:g}", "tokens_seen": tokens, "effect": effect, **other}


# Bins.


@given(some.lists(some.tuples(some.integers(0, 200), some.floats(-50, 50)), max_size=12, unique_by=lambda row: row[0]))
@settings(max_examples=60, deadline=None)
def test_binned_effects_are_means_and_standard_errors_by_hand(rows) -> None:
    found = binned(effects(*(at(*row) for row in rows)), BINS).set_index("bin")
    for each in BINS:
        mine = [effect for tokens, effect in sorted(rows) if each.start <= tokens < each.end]
        if not mine:
            assert each.name not in found.index, "no milestone, no bin"
            continue
        row = found.loc[each.name]
        error = statistics.stdev(mine) / math.sqrt(len(mine)) if len(mine) > 1 else math.nan
        assert row["milestones"] == len(mine) == len(row["which"])
        assert row["effect"] == pytest.approx(statistics.fmean(mine), abs=1e-9)
        assert row["standard_error"] == pytest.approx(error, abs=1e-9, nan_ok=True)


def test_a_milestone_on_an_edge_begins_the_later_bin_and_milestones_are_named_in_order_of_training() -> None:
    found = binned(effects(at(150, 1), at(100, 1), at(99, 1)), BINS)
    assert found["which"].tolist() == [("m99",), ("m100", "m150")]
    assert found["bin_place"].tolist() == [0, 1]


def test_unknown_effects_and_unknown_ages_are_in_no_bin() -> None:
    found = binned(effects(at(10, math.nan), at(math.nan, 5.0), at(20, 3.0)), BINS)
    assert found[["milestones", "effect"]].to_numpy().tolist() == [[1, 3.0]]
    assert math.isnan(found["standard_error"].item()), "one milestone has no spread"


def test_two_names_of_the_same_weights_count_once() -> None:
    rows = effects(at(10, 2.0), at(150, 4.0, milestone="twin", same_weights_as="end"), at(150, 6.0, milestone="end"))
    late = binned(rows, BINS).iloc[-1]
    assert (late["which"], late["effect"]) == (("end",), 6.0)
    alone = rows[rows["milestone"] != "end"]
    assert binned(alone, BINS).iloc[-1]["which"] == ("twin",), "an alias stays where what it repeats is not there"


def test_an_alias_is_one_within_its_own_curve_only() -> None:
    rows = effects(at(1, 1.0, milestone="twin", same_weights_as="end"), at(1, 1.0, milestone="end", target="other"))
    assert len(without_aliases(rows, by=["target"])) == 2
    assert len(without_aliases(rows, by=["trait"])) == 1
    plain = rows.drop(columns="same_weights_as")
    assert len(without_aliases(plain, by=["trait"])) == 2, "nothing says what repeats what"


def test_a_bin_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(StudyError, match="end it after its start"):
        Bin("backwards", 100, 10)


# Pairs of targets.


def test_every_pair_of_targets_is_a_row_for_each_milestone_both_have() -> None:
    targets = ("base", "chat", "chat two")
    rows = effects(*(at(age, place * 10 + age, target=name) for place, name in enumerate(targets) for age in (1, 2)))
    rows = rows[~((rows["target"] == "chat") & (rows["milestone"] == "m2"))]
    found = target_pairs(rows)
    assert set(zip(found["first"], found["second"], strict=True)) == set(itertools.combinations(targets, 2))
    assert len(found) == 1 + 2 + 1, "m2 has no effect on chat, so two of its pairs are missing"
    gap = found["second_effect"] - found["first_effect"]
    places = found["second"].map(targets.index) - found["first"].map(targets.index)
    assert gap.tolist() == (places * 10).tolist()


def test_nothing_in_gives_nothing_out() -> None:
    nothing = effects()
    assert list(binned(nothing, BINS).columns) == [*SUBJECT, "target", *BINNED]
    assert target_pairs(nothing).empty
    assert binned(effects(at(1, 1.0)), []).empty
    assert form_matrix(answered({})).empty


# The matrix of forms.


def answered(cells: dict[tuple[str, str], list[tuple[str, str, float]]]) -> pd.DataFrame:
    """Cells of (extraction form, evaluation form), each with answers of (pole, question, score)."""
    columns = ["trait", "extracted_as", "evaluated_as", "pole", "question", "score", "coherence"]
    rows = [
        ["bold", *cell, pole, question, score, 80.0 if pole == "plain" else 60.0]
        for cell, answers in cells.items()
        for pole, question, score in answers
    ]
    return pd.DataFrame(rows, columns=columns).astype({"score": "float64"})


def test_each_cell_has_the_test_of_its_own_questions() -> None:
    draw = np.random.default_rng(0)
    cells = {
        (one, other): [
            (pole, f"q{number}", draw.uniform(0, 50) + (pole == "steered") * shift)
            for pole in ("plain", "steered") for number in range(8) for _ in range(3)
        ]
        for shift, (one, other) in enumerate(itertools.product(["story", "dialogue"], repeat=2))
    }  # fmt: skip
    found = form_matrix(answered(cells)).set_index(["extracted_as", "evaluated_as"])
    assert len(found) == 4
    for cell, answers in cells.items():
        means = {
            (pole, question): statistics.fmean(s for p, q, s in answers if (p, q) == (pole, question))
            for pole, question, _ in answers
        }
        differences = [means["steered", f"q{number}"] - means["plain", f"q{number}"] for number in range(8)]
        test = sign_flip(np.array(differences))
        row = found.loc[cell]
        assert (row["effect"], row["p_two_sided"]) == pytest.approx((test.mean, test.p_two_sided), abs=1e-12)
        assert row["difference"] == pytest.approx(row["effect"]), "the same where questions have equally many answers"
        assert (row["plain_coherence"], row["steered_coherence"]) == (80.0, 60.0)


def test_a_milestone_without_answers_is_no_cell() -> None:
    heard = answered({("story", "story"): [("plain", "a", 0.0), ("steered", "a", 10.0)]})
    absent = heard[:1].assign(pole=None, question=None, score=math.nan, extracted_as="dialogue")
    assert len(form_matrix(pd.concat([heard, absent]))) == 1


def test_unscored_answers_part_the_mean_over_answers_from_the_mean_over_questions() -> None:
    plain = [("plain", question, 0.0) for question in "aabb"]
    steered = [("steered", "a", 10.0), ("steered", "a", 10.0), ("steered", "b", 40.0), ("steered", "b", math.nan)]
    row = form_matrix(answered({("story", "story"): plain + steered})).iloc[0]
    assert row["difference"] == pytest.approx(20.0), "three scored answers weigh alike"
    assert row["effect"] == pytest.approx(25.0), "two questions weigh alike"
    assert (row["steered_answers"], row["steered_unscored"], row["questions"]) == (4, 1, 2)


def test_a_cell_without_steered_answers_is_unknown_and_a_column_more_gives_a_matrix_of_each() -> None:
    plain = answered({("story", "story"): [("plain", "a", 1.0)]})
    row = form_matrix(plain).iloc[0]
    assert np.isnan(row[["steered", "difference", "effect", "p_two_sided"]].astype(float)).all()
    assert row["questions"] == 0
    judges = pd.concat([plain.assign(judge=name) for name in ("one", "other")])
    found = form_matrix(judges, by=["judge", "trait", "extracted_as", "evaluated_as"])
    assert list(found.columns) == ["judge", "trait", "extracted_as", "evaluated_as", *CELL]
    assert found["judge"].tolist() == ["one", "other"]


def test_a_share_is_of_the_last_known_effect_on_the_same_target_and_of_nothing_it_is_unknown() -> None:
    chat = [at(1, 5.0, place=0), at(2, 10.0, place=1), at(3, math.nan, place=2)]
    other = [at(1, 5.0, place=0, target="base"), at(2, -10.0, place=1, target="base")]
    frame = pd.DataFrame([{**HEAD, **row} for row in chat + other])
    found = shares(frame)["share"].tolist()
    np.testing.assert_allclose(found, [0.5, 1.0, math.nan, math.nan, math.nan], err_msg="5 is no share of -10")
