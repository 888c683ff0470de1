"""The exact test and the interval that inverts it, against a naive enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.significance import MOST_EXACT, TOLERANCE, sign_flip

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
