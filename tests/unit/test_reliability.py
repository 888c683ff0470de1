"""Reliability: correlations by hand, and items paired once."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.reliability import agreement, agreements, measured_twice, same_items

SCORES = some.lists(some.tuples(*[some.integers(0, 100).map(float)] * 2), min_size=2, max_size=20)


def naive_correlation(one: list[float], other: list[float]) -> float:
    mean, mean_other = statistics.fmean(one), statistics.fmean(other)
    top = math.fsum((x - mean) * (y - mean_other) for x, y in zip(one, other, strict=True))
    below = math.fsum((x - mean) ** 2 for x in one) * math.fsum((y - mean_other) ** 2 for y in other)
    return top / math.sqrt(below) if below else math.nan


def naive_ranks(values: list[float]) -> list[float]:
    """One more than how many are less, ties at the middle of their places."""
    return [sum(x < value for x in values) + (1 + sum(x == value for x in values)) / 2 for value in values]


@given(SCORES)
@settings(max_examples=80, deadline=None)
def test_correlations_differences_and_bias_are_those_by_hand(pairs) -> None:
    one, other = [list(each) for each in zip(*pairs, strict=True)]
    found = agreement(np.array(one), np.array(other))
    assert found.items == len(pairs)
    assert found.pearson == pytest.approx(naive_correlation(one, other), abs=1e-9, nan_ok=True)
    expected = naive_correlation(naive_ranks(one), naive_ranks(other))
    assert found.spearman == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert found.difference == pytest.approx(statistics.fmean(abs(x - y) for x, y in pairs))
    assert found.bias == pytest.approx(statistics.fmean(y - x for x, y in pairs), abs=1e-9)


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_kappa_is_the_agreement_beyond_chance_of_the_verdicts_the_bar_makes(pairs) -> None:
    one, other = (np.array(each) for each in zip(*pairs, strict=True))
    yes, also = one >= 50, other >= 50
    chance = yes.mean() * also.mean() + (~yes).mean() * (~also).mean()
    expected = ((yes == also).mean() - chance) / (1 - chance) if chance < 1 else math.nan
    assert agreement(one, other, bar=50).kappa == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert math.isnan(agreement(one, other).kappa), "no bar, no verdicts"


def test_a_measurement_agrees_with_itself_and_a_shift_is_bias_and_no_disagreement_of_order() -> None:
    scores = np.array([1.0, 5.0, 20.0, 90.0])
    itself, shifted = agreement(scores, scores, bar=50), agreement(scores, scores + 3, bar=50)
    assert (itself.pearson, itself.spearman, itself.difference, itself.kappa) == pytest.approx((1, 1, 0, 1))
    assert (shifted.spearman, shifted.bias, shifted.difference) == pytest.approx((1, 3, 3))


def test_unscored_items_are_left_out_and_nothing_scored_is_unknown() -> None:
    found = agreement(np.array([1.0, np.nan, 3.0]), np.array([2.0, 5.0, np.nan]))
    assert (found.items, found.bias) == (1, 1.0)
    assert math.isnan(found.pearson), "one item has no correlation"
    empty = agreement(np.array([np.nan]), np.array([1.0]))
    assert empty.items == 0
    assert math.isnan(empty.difference)


def test_agreements_are_one_row_per_quantity() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0], "c": [3.0, 2.0, 1.0]})
    found = agreements(frame, {"same order": ("a", "b"), "reversed": ("a", "c")}, bars={"reversed": 2.5})
    assert found["quantity"].tolist() == ["same order", "reversed"]
    assert found["pearson"].tolist() == pytest.approx([1, -1])
    assert found["bar"].isna().tolist() == [True, False]


# Which items are the same.


def test_items_that_look_alike_are_paired_in_order_and_used_once() -> None:
    one = pd.DataFrame({"text": ["x", "x", "y"], "score": [1, 2, 3]})
    other = pd.DataFrame({"text": ["y", "x", "x", "x"], "score": [30, 10, 20, 40]})
    shared = same_items(one, other, on=["text"])
    pairs = sorted(zip(shared["score_first"], shared["score_second"], strict=True))
    assert pairs == [(1, 10), (2, 20), (3, 30)]
    assert list(shared.columns) == ["text", "score_first", "score_second"]
    sided = same_items(one.assign(judge="a"), other, on=["text"])
    assert list(sided.columns) == ["text", "score_first", "judge_first", "score_second"], (
        "of which side, also if of one"
    )


def test_a_copied_verdict_is_no_second_one_and_neither_are_two_draws_in_one_file() -> None:
    rows = [
        ("judged again", "f1", 10.0), ("judged again", "f2", 12.0), ("judged again", "f3", 13.0),
        ("copied", "f1", 10.0), ("copied", "f2", 10.0),
        ("drawn twice", "f1", 10.0), ("drawn twice", "f1", 50.0),
        ("once", "f1", 10.0),
    ]  # fmt: skip
    answers = pd.DataFrame(rows, columns=["answer", "file", "score"]).assign(coherence=50.0)
    found = measured_twice(answers, on=["answer"])
    assert found.to_dict("records") == [
        {"answer": "judged again", "score_first": 10.0, "score_second": 12.0,
         "coherence_first": 50.0, "coherence_second": 50.0}
    ]  # fmt: skip
