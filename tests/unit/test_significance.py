"""The exact test and the interval that inverts it, against a naive enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.significance import (
    MOST_EXACT,
    TOLERANCE,
    sign_flip,
    sign_flip_p,
    sign_flip_ps,
    sign_test,
)

TIED = some.one_of(
    some.integers(-8, 8).map(float),  # many patterns with exactly the same mean
    some.integers(-9, 9).map(lambda value: value / 2**7),
    some.integers(-3, 3).map(lambda value: value / 3),  # ties but for rounding
    some.sampled_from([33.3, -33.3, 66.7, 0.0, 1e-20, -1e-15]),
)
SCORES = some.lists(some.floats(-100, 100).map(lambda value: round(value, 3)), min_size=1, max_size=9)


def naive(values: list[float]) -> tuple[float, float]:
    """Two-sided and greater p by listing every sign pattern, as the formula says."""
    observed = np.mean(values)
    means = [np.mean(np.array(signs) * values) for signs in itertools.product([1, -1], repeat=len(values))]
    return (
        float(np.mean([abs(mean) >= abs(observed) - TOLERANCE for mean in means])),
        float(np.mean([mean >= observed - TOLERANCE for mean in means])),
    )


@given(SCORES)
@settings(max_examples=150, deadline=None)
def test_p_values_are_those_of_the_full_enumeration(values):
    test = sign_flip(np.array(values))
    assert (test.p_two_sided, test.p_greater) == pytest.approx(naive(values), abs=1e-15)


@given(some.lists(some.floats(-100, 100).map(lambda value: round(value, 3)), min_size=6, max_size=9, unique=True))
@settings(max_examples=60, deadline=None)
def test_the_interval_holds_exactly_the_shifts_that_are_not_rejected(values):
    test = sign_flip(np.array(values))
    step = 1e-6
    for end, outward in ((test.low, -step), (test.high, step)):
        outside = np.array(values) - (end + outward)
        inside = np.array(values) - (end - outward)
        for differences, rejected in ((outside, True), (inside, False)):
            smaller = min(sign_flip(differences).p_greater, sign_flip(-differences).p_greater)
            assert (smaller <= 0.025) == rejected, f"shift {end} at the edge of [{test.low}, {test.high}]"


def test_negating_the_differences_mirrors_the_test():
    values = np.random.default_rng(0).normal(1, 3, 12)
    one, other = sign_flip(values), sign_flip(-values)
    assert one.p_two_sided == other.p_two_sided
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_ties_within_the_tolerance_count_as_ties():
    """Judge scores reach 1e-20: without the tolerance, a pattern equal but for rounding would not count."""
    values = np.array([3.0, 1e-20, 1e-20, 0.0])
    assert sign_flip(values).p_greater == 0.5
    assert sign_flip(np.array([0.1, 0.2, 0.3]) * 1e-14).p_greater == 1.0


def test_all_differences_alike_give_the_least_p():
    for pairs in (6, 20):
        test = sign_flip(np.full(pairs, 2.5))
        assert (test.p_greater, test.p_two_sided) == (2.0**-pairs, 2.0 ** (1 - pairs))
        assert (test.low, test.high) == (2.5, 2.5)


def test_too_few_pairs_give_an_interval_without_ends():
    assert (sign_flip(np.ones(5)).low, sign_flip(np.ones(5)).high) == (-np.inf, np.inf)


def test_nothing_to_test_is_unknown_and_never_zero():
    for values in (np.array([]), np.array([np.nan, np.nan])):
        test = sign_flip(values)
        assert test.pairs == 0
        assert np.isnan([test.mean, test.p_two_sided, test.p_greater, test.low, test.high]).all()


def test_unscored_questions_are_left_out():
    assert sign_flip(np.array([1.0, 2.0, np.nan, 4.0])) == sign_flip(np.array([1.0, 2.0, 4.0]))


def test_many_pairs_are_drawn_and_agree_with_the_enumeration():
    values = np.random.default_rng(1).normal(0.4, 1, MOST_EXACT)
    exact = sign_flip(values)
    # Zeros change neither the statistic's order nor its patterns' shares, and push the count over the limit.
    drawn = sign_flip(np.concatenate([values, np.zeros(3)]))
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p_two_sided == pytest.approx(exact.p_two_sided, abs=0.005)
    assert drawn == sign_flip(np.concatenate([values, np.zeros(3)])), "the same seed draws the same patterns"


def test_p_values_are_uniform_under_the_null():
    generator = np.random.default_rng(2)
    p = np.array([sign_flip(generator.normal(0, 1, 10)).p_two_sided for _ in range(2000)])
    for level in (0.05, 0.25, 0.5, 0.75):
        share = float(np.mean(p <= level))
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / len(p)), f"{share:.3f} of p at most {level}"


def test_intervals_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(3)
    tests = [sign_flip(generator.normal(1.5, 2, 10)) for _ in range(1500)]
    cover = np.mean([test.low <= 1.5 <= test.high for test in tests])
    assert 0.93 <= cover <= 0.97, f"95 % intervals covered {cover:.3f}"


@given(some.lists(TIED, min_size=1, max_size=10))
@settings(max_examples=200, deadline=None)
def test_the_quick_p_values_are_those_of_the_full_enumeration_where_patterns_tie(values):
    assert sign_flip_p(np.array(values)) == naive(values), "halves of the pairs must count every pattern, ties included"


@pytest.mark.parametrize("pairs", [1, 2, 19, 20, MOST_EXACT])
@pytest.mark.parametrize("lattice", [0.0, 0.25, 1 / 3])
def test_the_quick_p_values_are_those_of_the_slow_test_to_the_last_count(pairs, lattice):
    generator = np.random.default_rng(pairs)
    values = generator.integers(-6, 9, pairs) * lattice if lattice else generator.normal(0.5, 10, pairs)
    slow = sign_flip(values)
    assert sign_flip_p(values) == (slow.p_two_sided, slow.p_greater)


def test_many_tests_at_once_are_each_test_alone():
    generator = np.random.default_rng(4)
    rows = generator.normal(0.5, 2, (600, 7))
    rows[generator.random(rows.shape) < 0.2] = np.nan
    rows[:2] = np.nan
    two_sided, greater = sign_flip_ps(rows)
    alone = np.array([sign_flip_p(row) for row in rows]).T
    np.testing.assert_array_equal([two_sided, greater], alone, "a pair that a row lacks changes no other row's p")
    assert np.isnan(two_sided[:2]).all(), "a row without a pair has no p"
    assert sign_flip_ps(np.zeros((0, 5)))[0].shape == (0,)


def test_many_tests_of_many_pairs_are_drawn_and_near_the_slow_test():
    rows = np.random.default_rng(5).normal(0.25, 1, (3, MOST_EXACT + 8))
    for row, two_sided, greater in zip(rows, *sign_flip_ps(rows), strict=True):
        slow = sign_flip(row)
        assert (two_sided, greater) == pytest.approx((slow.p_two_sided, slow.p_greater), abs=0.015)
        assert sign_flip_p(row) == (slow.p_two_sided, slow.p_greater), (
            "one test alone is drawn as finely as the slow one"
        )
    assert sign_flip_ps(np.full((1, 30), 1e-14))[0] == 1.0, "a mean of nothing but rounding is no effect"


def test_ties_count_where_patterns_are_drawn_too_and_the_pattern_observed_always_does():
    alike, two = np.full(25, 3.0), np.zeros(25)
    two[:2] = 1.0
    two_sided, greater = sign_flip_ps(np.stack([alike, -alike, two]))
    assert two_sided[:2].tolist() == [2**-14, 2**-14], "no p-value is zero"
    assert greater[0] == 2**-14
    assert two_sided[2] == pytest.approx(0.5, abs=0.02), "a quarter of the patterns leaves both, a quarter flips both"
    assert greater[2] == pytest.approx(0.25, abs=0.02)


def test_a_pair_that_does_not_differ_changes_no_p():
    values = np.random.default_rng(6).normal(1, 3, 12)
    assert sign_flip_p(values) == sign_flip_p(np.append(values, [0.0, 0.0]))


@given(some.lists(some.sampled_from([-2.0, -1e-13, 0.0, 1e-13, 0.5, np.nan]), max_size=14))
@settings(max_examples=100, deadline=None)
def test_the_sign_test_counts_coins(values):
    test = sign_test(np.array(values))
    positive, negative = sum(each > TOLERANCE for each in values), sum(each < -TOLERANCE for each in values)
    assert (test.positive, test.negative, test.pairs) == (positive, negative, positive + negative)
    coins = np.array([sum(faces) for faces in itertools.product([0, 1], repeat=positive + negative)])
    if np.isnan(values).all():
        assert np.isnan([test.p_two_sided, test.p_greater]).all()
    else:
        outer = max(positive, negative)
        assert test.p_greater == pytest.approx(np.mean(coins >= positive), abs=1e-15)
        assert test.p_two_sided == pytest.approx(min(1.0, 2 * np.mean(coins >= outer)), abs=1e-15)
