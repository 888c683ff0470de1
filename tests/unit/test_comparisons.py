"""Every statistic of the published tables, against the same formulas written plainly."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import naive_statistics as naive
from personascope.analysis.comparisons import STATISTICS, compare
from personascope.analysis.significance import sign_flip, sign_flip_p

SCORE = some.one_of(
    some.none(), some.floats(0, 100), some.sampled_from([0.0, 1e-20, 3e-13, 50.0, 100.0]), some.integers(0, 100)
)
ROWS = some.lists(some.tuples(some.sampled_from("abcdefg"), SCORE, some.floats(0, 100)), max_size=14)


def frame(rows: naive.Rows) -> pd.DataFrame:
    table = [
        (question, *(math.nan if value is None else float(value) for value in values)) for question, *values in rows
    ]
    return pd.DataFrame(table, columns=["question_id", "score", "coherence"])


@given(ROWS, ROWS)
@settings(max_examples=150, deadline=None)
def test_every_statistic_is_that_of_the_plain_formulas(baseline: list, steered: list) -> None:
    found = compare(frame(baseline), frame(steered))
    assert list(found) == STATISTICS
    wanted = naive.compared(baseline, steered)
    for name in STATISTICS:
        value = wanted.get(name)
        if value is None:
            shared = {row[0] for row in baseline} & {row[0] for row in steered}
            assert math.isnan(found[name]) or (name == "paired_questions" and found[name] == len(shared)), name
        else:
            limit = 1e-15 if "_p_" in name else 1e-11
            assert found[name] == pytest.approx(value, abs=limit, rel=0), f"{name} of {baseline} and {steered}"


@given(some.lists(some.floats(-100, 100).map(lambda value: round(value, 2)), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_p_values_counted_by_halves_are_those_of_every_pattern(values: list[float]) -> None:
    found = sign_flip_p(np.array(values))
    assert found == naive.flipped(values), f"sign-flip p-values of {values}"
    test = sign_flip(np.array(values))
    assert found == (test.p_two_sided, test.p_greater)


@pytest.mark.parametrize("pairs", [19, 20, 21, 22, 23])
def test_the_two_exact_routines_agree_on_as_many_pairs_as_the_study_has(pairs: int) -> None:
    """Judge scores: many ties, many values near nothing, exact zeros."""
    generator = np.random.default_rng(pairs)
    for scale in (1e-18, 1e-6, 1.0, 30.0):
        values = generator.normal(0.3, 1, pairs) * scale
        values[generator.random(pairs) < 0.3] = 0.0
        values[:4] = [3e-13, -3e-13, 25.0, -25.0]
        test = sign_flip(values)
        assert sign_flip_p(values) == (test.p_two_sided, test.p_greater), f"{pairs} pairs at scale {scale}"


def test_nothing_to_compare_is_nan_and_unscored_answers_count_as_rows_alone() -> None:
    nobody, unscored = frame([]), frame([("a", None, 50.0), ("b", None, 60.0)])
    found = compare(nobody, unscored)
    assert (found["baseline_rows"], found["output_rows"], found["paired_questions"]) == (0, 2, 0)
    assert found["output_coherence_mean"] == 55
    assert math.isnan(found["output_trait_mean"])
    assert math.isnan(found["trait_sign_flip_p_two_sided"])
    assert all(math.isnan(value) for value in sign_flip_p(np.array([np.nan])))


def test_swapping_the_sides_negates_the_differences_and_keeps_the_two_sided_test() -> None:
    generator = np.random.default_rng(1)
    rows = [[(f"q{n % 6}", float(v), 50.0) for n, v in enumerate(generator.uniform(0, 100, 18))] for _ in range(2)]
    one, other = (compare(frame(first), frame(second)) for first, second in (rows, rows[::-1]))
    for name in STATISTICS:
        if name.startswith(("delta", "paired_trait", "paired_coherence")):
            assert one[name] == pytest.approx(-other[name], abs=1e-12), name
        if name.endswith("two_sided"):
            assert one[name] == other[name], name
    assert one["trait_sign_test_positive_pairs"] == other["trait_sign_test_negative_pairs"]
