"""Intervals from resampled questions: scipy's numbers, the right thing resampled, and honest where there is little."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from personascope.analysis.bootstrap import INTERVAL, bootstrap, question_intervals
from personascope.analysis.effects import question_effects
from personascope.analysis.frames import ANSWER, ARM

SKEWED = np.array([0.0, 0.0, 0.1, 0.4, 1.0, 2.5, 3.0, 8.0, 14.0, 30.0])


def ends(found) -> list[float]:
    return [found.percentile_low, found.percentile_high, found.bca_low, found.bca_high]


def test_the_intervals_are_those_of_scipy():
    found = bootstrap(SKEWED, level=0.9, resamples=2000, seed=3)
    for name in ("percentile", "bca"):
        theirs = stats.bootstrap(
            (SKEWED,), np.mean, confidence_level=0.9, n_resamples=2000, method=name, rng=np.random.default_rng(3)
        ).confidence_interval
        ours = getattr(found, f"{name}_low"), getattr(found, f"{name}_high")
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert (found.questions, found.mean) == (10, pytest.approx(SKEWED.mean()))


def test_the_percentile_interval_is_that_of_all_resamples_listed():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    listed = [np.mean(each) for each in itertools.product(values, repeat=5)]
    found = bootstrap(values, resamples=20_000)
    assert [found.percentile_low, found.percentile_high] == pytest.approx(np.quantile(listed, [0.025, 0.975]), abs=0.3)


def test_bca_leans_towards_the_long_tail_and_shifting_or_mirroring_moves_the_intervals_along():
    found = bootstrap(SKEWED)
    assert found.bca_high > found.percentile_high
    assert found.bca_low > found.percentile_low
    # Rounding moves resamples across the sample's mean, and BCa's ends a little with them.
    np.testing.assert_allclose(ends(bootstrap(SKEWED + 7)), np.array(ends(found)) + 7, atol=0.01)
    mirrored = bootstrap(-SKEWED)
    assert [mirrored.percentile_low, mirrored.percentile_high] == pytest.approx(
        [-found.percentile_high, -found.percentile_low], abs=1e-9
    )


def test_a_planted_effect_is_covered_nearly_as_often_as_the_level_says():
    generator = np.random.default_rng(0)
    found = [bootstrap(generator.normal(6, 4, 20), resamples=499, seed=place) for place in range(400)]
    for name in ("percentile", "bca"):
        covered = np.mean([getattr(each, f"{name}_low") <= 6 <= getattr(each, f"{name}_high") for each in found])
        # With 20 questions the bootstrap takes the spread of the sample for that of the questions: 92 to 93 %.
        assert 0.88 <= covered <= 0.97, f"the {name} interval covered {covered:.3f}"


def test_the_same_seed_resamples_the_same_questions():
    assert bootstrap(SKEWED, seed=1) == bootstrap(SKEWED, seed=1)
    assert bootstrap(SKEWED, seed=1) != bootstrap(SKEWED, seed=2)


def test_where_there_is_little_the_interval_says_so():
    nothing = bootstrap(np.array([np.nan]))
    assert nothing.questions == 0
    assert np.isnan([nothing.mean, *ends(nothing)]).all()
    one = bootstrap(np.array([3.0, np.nan]))
    assert (one.questions, one.mean) == (1, 3.0)
    assert np.isnan(ends(one)).all(), "one question says nothing about others"
    alike = bootstrap(np.full(20, 2.5))
    assert ends(alike) == [2.5] * 4
    assert bootstrap(np.append(SKEWED, np.nan)) == bootstrap(SKEWED)


@pytest.mark.parametrize("scale", [1.0, 1e-18])
def test_a_single_difference_among_zeros_is_no_reason_to_warn(scale):
    found = bootstrap(np.append(np.zeros(19), scale), resamples=999)
    assert np.isfinite(ends(found)).all()
    assert found.percentile_low == 0.0


def answers(draws: int, *, arms: tuple[str, ...] = ("extracted",)) -> pd.DataFrame:
    """Three questions with effects of 0, 10 and 20, each answered ``draws`` times with scatter that averages out."""
    rows = [
        {**dict.fromkeys(ARM, ""), "trait": "grim", "direction": arm, "chosen": True, "tokens_seen": np.nan,
         "pole": pole, "question": f"q{number}", "draw": draw, "coherence": 90.0,
         "score": 30.0 + 10 * number * (pole == "steered") + (-1) ** draw}
        for arm in arms for number in range(3) for draw in range(draws) for pole in ("plain", "steered")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=ARM + ANSWER)


def test_more_draws_of_the_same_questions_make_no_interval_narrower():
    few, many = (question_intervals(question_effects(answers(draws)), resamples=999) for draws in (2, 200))
    assert few[INTERVAL[-5:]].iloc[0].tolist() == pytest.approx(many[INTERVAL[-5:]].iloc[0].tolist())
    assert many["questions"].tolist() == [3]
    assert few["percentile_high"].iloc[0] - few["percentile_low"].iloc[0] > 10


def test_every_arm_has_its_row_and_nothing_in_gives_nothing_out():
    found = question_intervals(question_effects(answers(2, arms=("extracted", "random-0"))), resamples=99)
    assert found["direction"].tolist() == ["extracted", "random-0"]
    assert list(found.columns) == INTERVAL
    empty = question_intervals(question_effects(answers(2).iloc[:0]))
    assert (len(empty), list(empty.columns)) == (0, INTERVAL)
