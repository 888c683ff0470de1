"""Corrections for many tests: against definitions worked out by hand, and with their family named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from statsmodels.stats.multitest import multipletests

from personascope.analysis.corrections import CORRECTION, adjusted, corrected, family_name, holm
from personascope.analysis.effects import against_floor

# Numbers below the smallest normal one have few digits left, and no relative tolerance holds for them.
P_VALUES = some.lists(
    some.one_of(some.floats(0, 1, allow_subnormal=False), some.sampled_from([0.0, 0.01, 0.05, 1.0, np.nan])),
    max_size=12,
)


def naive_holm(p_values: list[float]) -> list[float]:
    """The least level at which Holm's steps, taken one by one, reject each hypothesis."""
    known = sorted(each for each in p_values if each == each)
    found = {}
    reached = 0.0
    for place, each in enumerate(known):
        reached = max(reached, min(1.0, (len(known) - place) * each))
        found.setdefault(each, reached)
    # Equal p-values stand or fall together: the first of them in order has the greatest factor.
    return [found[each] if each == each else np.nan for each in p_values]


def naive_benjamini_hochberg(p_values: list[float]) -> list[float]:
    """For each: the least of p times tests over rank, among those ranked at its place or after it."""
    known = sorted(each for each in p_values if each == each)
    scaled = [each * len(known) / (place + 1) for place, each in enumerate(known)]
    found = {each: min(1.0, *scaled[place:], 1.0) for place, each in enumerate(known)}
    return [found[each] if each == each else np.nan for each in p_values]


@given(P_VALUES)
@settings(max_examples=150, deadline=None)
def test_corrections_are_what_their_definitions_say(p_values):
    array = np.array(p_values, dtype=float)
    np.testing.assert_allclose(holm(array), naive_holm(p_values), rtol=1e-12)
    np.testing.assert_allclose(adjusted(array, "benjamini_hochberg"), naive_benjamini_hochberg(p_values), rtol=1e-12)
    tests = np.count_nonzero(~np.isnan(array))
    np.testing.assert_allclose(adjusted(array, "bonferroni"), np.minimum(1, array * tests), rtol=1e-12)


@given(P_VALUES)
@settings(max_examples=60, deadline=None)
def test_corrections_keep_the_order_and_the_stricter_is_the_larger(p_values):
    array = np.array([each for each in p_values if each == each], dtype=float)
    strict, stepped, shared = adjusted(array, "bonferroni"), holm(array), adjusted(array, "benjamini_hochberg")
    slack = 1e-12
    assert (array <= shared + slack).all()
    assert (shared <= stepped + slack).all()
    assert (stepped <= strict + slack).all()
    assert (strict <= 1).all()
    for each in (strict, stepped, shared):
        assert (np.diff(each[np.argsort(array, kind="stable")]) >= -slack).all(), "a smaller p became a larger one"


def test_holm_is_that_of_statsmodels_and_many_families_at_once_are_each_family_alone():
    generator = np.random.default_rng(0)
    families = np.round(generator.random((8, 3, 7)) ** 3, 2)  # rounded, so that some are alike
    families[generator.random(families.shape) < 0.2] = np.nan
    alone = [[holm(family) for family in some_of_them] for some_of_them in families]
    np.testing.assert_array_equal(holm(families), alone)
    for family in families[:2, 0]:
        known = family[~np.isnan(family)]
        np.testing.assert_allclose(holm(known), multipletests(known, method="holm")[1], rtol=1e-12)


def test_a_family_without_any_effect_gives_a_false_positive_as_seldom_as_holm_promises():
    p_values = np.random.default_rng(1).random((4000, 15))
    share = (holm(p_values) < 0.05).any(axis=1).mean()
    assert share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000), f"{share:.3f} of null families had a positive"
    assert share > 0.035, f"{share:.3f} is far below the level: Holm's family must not be larger than it says"


def table(**columns) -> pd.DataFrame:
    head = {"trait": "evil", "extracted_as": "character", "evaluated_as": "character", "target": ""}
    return pd.DataFrame({**head, **columns})


def test_a_correction_names_its_family_and_a_milestone_without_a_test_does_not_count():
    effects = table(
        trait=["evil"] * 3 + ["kind"] * 2,
        milestone=["a", "b", "c", "a", "b"],
        p_two_sided=[0.01, np.nan, 0.04, 0.03, 0.5],
        p_greater=[0.005, np.nan, 0.02, 0.9, 0.25],
    )
    found = corrected(effects)
    assert found["family"].tolist() == ["trait evil, 2 milestones"] * 3 + ["trait kind, 2 milestones"] * 2
    assert found["family_size"].tolist() == [2] * 5
    np.testing.assert_allclose(found["p_holm"], [0.02, np.nan, 0.04, 0.06, 0.5])
    np.testing.assert_allclose(found["p_benjamini_hochberg"], [0.02, np.nan, 0.04, 0.06, 0.5])
    np.testing.assert_allclose(found["p_bonferroni"], [0.02, np.nan, 0.08, 0.06, 1.0])
    np.testing.assert_allclose(corrected(effects, p="p_greater")["p_holm"], [0.01, np.nan, 0.02, 0.9, 0.5])
    assert list(found.columns) == [*effects.columns, *CORRECTION]


def test_the_caller_says_what_the_family_is():
    effects = table(trait=["evil", "evil", "kind"], target=["one", "two", "two"], p_two_sided=[0.01, 0.02, 0.03])
    assert corrected(effects, family=["trait"])["family"].tolist() == ["trait evil, 2 tests"] * 2 + [
        "trait kind, 1 test"
    ]
    assert corrected(effects, family=["trait", "target"])["family"].tolist() == [
        "trait evil, target one, 1 test",
        "trait evil, target two, 1 test",
        "trait kind, target two, 1 test",
    ]
    whole = corrected(effects, family=[])
    assert whole["family"].unique().tolist() == ["3 tests"]
    np.testing.assert_allclose(whole["p_bonferroni"], [0.03, 0.06, 0.09])


def test_rows_keep_their_order_and_index_and_nothing_in_gives_nothing_out():
    effects = table(milestone=list("abc"), p_two_sided=[0.5, 0.01, 0.2]).set_axis([7, 7, 3])
    found = corrected(effects)
    assert found.index.tolist() == [7, 7, 3]
    np.testing.assert_allclose(found["p_holm"], [0.5, 0.03, 0.4])
    empty = corrected(effects.iloc[:0])
    assert (len(empty), list(empty.columns)) == (0, [*effects.columns, *CORRECTION])
    assert len(corrected(effects.iloc[:0], family=[])) == 0


@pytest.mark.parametrize(
    ("about", "size", "name"),
    [
        ({"trait": "evil"}, 15, "trait evil, 15 milestones"),
        ({"trait": "evil", "extracted_as": "story", "target": ""}, 1, "trait evil, extracted as story, 1 milestone"),
        ({}, 0, "0 milestones"),
    ],
)
def test_a_family_is_named_in_words(about, size, name):
    assert family_name(about, size, "milestones") == name


def test_an_effect_can_be_sure_and_still_too_small_to_matter():
    effects = pd.DataFrame(
        [(6.0, 5.1, 7.0), (6.0, 4.0, 8.0), (0.01, 0.005, 0.02), (-9.0, -12.0, -6.0), (5.0, 5.0, 5.0),
         (7.0, -np.inf, np.inf), (np.nan, np.nan, np.nan)],
        columns=["effect", "low", "high"],
    )  # fmt: skip
    found = against_floor(effects)
    assert found["clears_floor"].tolist() == [True, True, False, True, False, True, pd.NA]
    assert found["surely_clears_floor"].tolist() == [True, False, False, True, False, False, pd.NA]
    assert against_floor(effects, floor=0.001)["surely_clears_floor"].tolist()[2] is True
    assert len(against_floor(effects.iloc[:0])) == 0
