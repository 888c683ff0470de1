"""Thresholds drop what they say, what was not measured is never dropped, and the AUROC is what counting pairs gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.applications.screen.frames import (
    above,
    auroc,
    auroc_interval,
    combined,
    mean_interval,
    percentile_of,
    separation_table,
    summary,
    top_share,
)

NAN = float("nan")
numbers = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12).map(np.array)


@given(numbers, numbers)
def test_the_auroc_is_the_share_of_pairs_in_order(negative, positive):
    pairs = [(high > low) + (high == low) / 2 for high in positive for low in negative]
    assert auroc(negative, positive) == pytest.approx(sum(pairs) / len(pairs))


@given(numbers, numbers)
def test_turning_the_scores_over_turns_the_auroc_over(negative, positive):
    assert auroc(-negative, -positive) == pytest.approx(1 - auroc(negative, positive))


def test_an_auroc_of_nothing_is_not_known():
    assert np.isnan(auroc(np.array([]), np.array([1.0])))
    assert np.isnan(auroc(np.array([NAN]), np.array([1.0])))
    assert auroc(np.array([0.0, NAN]), np.array([1.0])) == 1.0, "NaN is left out"


def test_an_aurocs_interval_holds_it_and_narrows_with_samples():
    draw = np.random.default_rng(0)
    widths = []
    for count in (40, 4000):
        middle, low, high = auroc_interval(draw.normal(size=count), draw.normal(1, size=count), resamples=199)
        assert low <= middle <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5, f"a hundred times the samples narrowed {widths}"


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_a_share_drops_that_many_and_the_highest(column, share):
    scores = np.array(column)[:, None]
    taken = top_share(scores, share)
    assert taken.sum() == round(share * len(column))
    if taken.any() and not taken.all():
        assert scores[taken].min() >= scores[~taken].max(), "something lower was dropped instead of something higher"


def test_over_several_vectors_each_ones_highest_go_first_whatever_their_spread():
    scores = np.array([[0.0, 0.0], [1.0, 100.0], [9.0, 50.0], [2.0, 10.0]])
    assert list(np.flatnonzero(top_share(scores, 0.5))) == [1, 2]


def test_what_was_not_measured_is_never_dropped():
    scores = np.array([[NAN], [1.0], [NAN], [2.0]])
    assert list(top_share(scores, 0.9)) == [False, True, False, True], "only two of four were measured"
    assert list(above(scores, np.array([1.5]))) == [False, False, False, True]
    assert np.isnan(percentile_of(scores[:1], 95)).all()
    assert list(above(scores, np.array([NAN]))) == [False] * 4, "no threshold, nothing dropped"


def test_percentiles_are_those_of_what_was_measured():
    scores = np.array([[NAN, 1.0], [0.0, 2.0], [10.0, 3.0]])
    assert list(percentile_of(scores, 50)) == [5.0, 2.0]


def test_projection_and_judge_are_put_together_as_asked():
    projection, judge = np.array([True, True, False, False]), np.array([True, False, True, False])
    put = {how: list(combined(projection, judge, how)) for how in ("projection", "judge", "either", "both")}
    assert put == {
        "projection": list(projection),
        "judge": list(judge),
        "either": [True, True, True, False],
        "both": [True, False, False, False],
    }
    assert list(combined(projection, None, "both")) == list(projection), "without a judge the projection decides"


def test_the_mean_has_an_interval_that_is_the_bootstraps():
    values = np.random.default_rng(1).normal(3, 2, 400)
    mean, low, high = mean_interval(values, resamples=1999)
    error = values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - 1.96 * error, abs=0.4 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.4 * error)
    assert mean_interval(np.array([NAN, 2.0]))[0] == 2.0
    assert all(map(np.isnan, mean_interval(np.array([NAN]))))


def test_an_interval_drawn_a_million_numbers_at_a_time_is_the_one_drawn_one_by_one():
    values = np.random.default_rng(2).normal(size=2_500)
    draw = np.random.default_rng(5)
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(999)]
    found = mean_interval(values, seed=5)
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975])), "the parts changed the draw"


def test_a_summary_says_how_many_were_not_measured_and_dropped():
    scores = np.array([[1.0, NAN], [3.0, 5.0], [NAN, NAN]])
    frame = summary(scores, dataset="few", gauges=["evil", "rude"], dropped=np.array([False, True, False]))
    assert list(frame["unmeasured"]) == [1, 2]
    assert list(frame["mean"]) == [2.0, 5.0]
    assert list(frame["dropped"]) == [1, 1]
    assert summary(scores, dataset="few", gauges=["evil", "rude"])["dropped"].isna().all(), "no rule, nothing known"


def test_a_separation_table_has_the_mean_of_the_seeds_and_their_widest_interval():
    import pandas as pd

    row = {"trait": "evil", "set": "severe", "measure": "raw projection", "positives": 10, "negatives": 10}
    found = separation_table(
        pd.DataFrame(
            [
                row | {"seed": 0, "auroc": 0.9, "low": 0.8, "high": 1.0},
                row | {"seed": 1, "auroc": 0.7, "low": 0.5, "high": 0.9},
            ]
        )
    ).iloc[0]
    assert (found["auroc"], found["least"], found["low"], found["high"]) == pytest.approx((0.8, 0.7, 0.5, 1.0))
