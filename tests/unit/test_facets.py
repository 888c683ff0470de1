"""Facets: rates with the questions behind them, the same questions for all, and whether annotators agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.agreement import AGREEMENT, NONE, RATE, agreement, flags, on_common_questions, rates

Z = 1.959963984540054  # the normal quantile of an interval of level 0.95


def annotated(rows: Sequence[tuple[str, str, bool]]) -> pd.DataFrame:
    """Rows of (milestone, question, shown)."""
    frame = pd.DataFrame(list(rows), columns=["milestone", "question", "shown"])
    return frame.astype({"shown": bool})


def wilson(count: int, answers: int) -> tuple[float, float]:
    """Wilson's interval by its closed formula."""
    share = count / answers
    middle = (share + Z**2 / (2 * answers)) / (1 + Z**2 / answers)
    reach = Z / (1 + Z**2 / answers) * math.sqrt(share * (1 - share) / answers + Z**2 / (4 * answers**2))
    return middle - reach, middle + reach


@given(count=some.integers(0, 60), more=some.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_intervals_are_wilsons_and_hold_the_rate(count: int, more: int) -> None:
    answers = count + more or 1
    rows = annotated([("m", f"q{number % 7}", number < count) for number in range(answers)])
    found = rates(rows, ["shown"]).iloc[0]
    assert (found["low"], found["high"]) == pytest.approx(wilson(min(count, answers), answers), abs=1e-12)
    assert found["low"] - 1e-15 <= found["rate"] <= found["high"] + 1e-15
    assert found["questions"] == min(7, answers)


@given(some.lists(some.tuples(some.sampled_from("xy"), some.sampled_from("abc"), some.booleans()), min_size=1))
@settings(max_examples=60, deadline=None)
def test_rates_are_what_counting_by_hand_gives(rows) -> None:
    found = rates(annotated(rows), ["shown"], by=["milestone"]).set_index(["milestone", "facet"])
    for milestone in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == milestone]
        shown = [row[2] for row in mine]
        per_question = [[row[2] for row in mine if row[1] == question] for question in sorted({row[1] for row in mine})]
        expected = math.fsum(sum(each) / len(each) for each in per_question) / len(per_question)
        row = found.loc[(milestone, "shown")]
        assert (row["count"], row["answers"], row["questions"]) == (sum(shown), len(mine), len(per_question))
        assert row["question_rate"] == pytest.approx(expected)
        assert found.loc[(milestone, NONE), "count"] == len(mine) - sum(shown), "one facet: the rest show none"


def test_a_question_asked_often_sways_the_pooled_rate_and_not_the_one_that_weighs_questions_alike() -> None:
    rows = annotated([("m", "often", True)] * 9 + [("m", "once", False)])
    found = rates(rows, ["shown"]).iloc[0]
    assert (found["rate"], found["question_rate"]) == (0.9, 0.5)


def test_milestones_that_differ_only_in_their_questions_are_alike_on_the_ones_they_share() -> None:
    """The confound of the published rates: annotation stopped at the first 100 answers of a file in question order."""
    early = [("early", "always", True), ("early", "never", False), ("early", "never", False)]
    late = [("late", "always", True), ("late", "always", True)]
    rows = annotated([*early, *late])
    apart = rates(rows, ["shown"], by=["milestone"])
    alike = rates(on_common_questions(rows, by=["milestone"]), ["shown"], by=["milestone"])
    assert apart[apart["facet"] == "shown"]["rate"].tolist() == pytest.approx([1 / 3, 1])
    assert alike[alike["facet"] == "shown"][["rate", "questions"]].to_numpy().tolist() == [[1, 1], [1, 1]]


def test_milestones_without_a_common_question_cannot_be_compared() -> None:
    rows = annotated([("early", "a", True), ("late", "b", True)])
    assert on_common_questions(rows, by=["milestone"]).empty


def test_questions_that_are_not_known_are_nothing_in_common() -> None:
    rows = annotated([("early", "a", True), ("early", "b", True), ("late", "a", False), ("late", "c", True)])
    unknown = rows.assign(question=rows["question"].where(rows["question"] == "a", None))
    assert on_common_questions(unknown, by=["milestone"])["question"].tolist() == ["a", "a"]


def test_questions_that_are_not_known_are_unknown_and_not_none() -> None:
    rows = annotated([("m", "q", True), ("m", "q", False)]).assign(question=None)
    found = rates(rows, ["shown"]).iloc[0]
    assert found["rate"] == 0.5
    assert found[["questions", "question_rate"]].isna().all()


def test_answers_may_show_several_facets_or_none() -> None:
    rows = flags([["x", "y"], ["x"], []], ["x", "y"]).assign(question=["a", "b", "b"])
    found = rates(rows, ["x", "y"])
    assert dict(zip(found["facet"], found["count"], strict=True)) == {"x": 2, "y": 1, NONE: 1}


# Agreement.


def naive_agreement(truth: Sequence[bool], said: Sequence[bool]) -> dict[str, float]:
    """Precision, recall, F1 and kappa from the four counts, NaN where they divide by nothing."""
    both = sum(t and s for t, s in zip(truth, said, strict=True))
    first, second, items = sum(truth), sum(said), len(truth)
    same = sum(t == s for t, s in zip(truth, said, strict=True)) / items
    chance = (first * second + (items - first) * (items - second)) / items**2
    return {
        "agreement": same,
        "precision": both / second if second else math.nan,
        "recall": both / first if first else math.nan,
        "f1": 2 * both / (first + second) if first + second else math.nan,
        "kappa": (same - chance) / (1 - chance) if chance < 1 else math.nan,
    }


@given(some.lists(some.tuples(some.booleans(), some.booleans()), min_size=1, max_size=20))
@settings(max_examples=120, deadline=None)
def test_agreement_is_what_the_four_counts_give(items) -> None:
    truth, said = [list(each) for each in zip(*items, strict=True)]
    found = agreement(pd.DataFrame({"x": truth}), pd.DataFrame({"x": said}), facets=["x"]).iloc[0]
    for name, value in naive_agreement(truth, said).items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_an_annotator_agrees_with_itself_and_kappa_of_a_coin_is_about_zero() -> None:
    draw = np.random.default_rng(0)
    one, other = (pd.DataFrame({"x": draw.random(4000) < 0.3}) for _ in range(2))
    alike = agreement(one, one, facets=["x"]).iloc[0]
    assert alike[["agreement", "precision", "recall", "f1", "kappa"]].tolist() == [1.0] * 5
    assert abs(agreement(one, other, facets=["x"])["kappa"].item()) < 0.06


def test_annotators_of_different_items_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 items were given for one annotator and 1 for the other"):
        agreement(flags([[], []], ["x"]), flags([[]], ["x"]), facets=["x"])


def test_nothing_in_gives_nothing_out() -> None:
    nothing = annotated([])
    assert rates(nothing, ["shown"], by=["milestone"]).empty
    assert list(rates(nothing, ["shown"]).columns) == RATE
    assert on_common_questions(nothing, by=["milestone"]).empty
    found = agreement(flags([], ["x"]), flags([], ["x"]), facets=["x"])
    assert list(found.columns) == AGREEMENT
    assert found["items"].item() == 0
    assert found[["agreement", "kappa"]].isna().all(axis=None)
