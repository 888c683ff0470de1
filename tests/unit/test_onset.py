"""Onsets: found where they were planted, broken by what comes later, and seldom declared where there is nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.frames import ANSWER, ARM
from personascope.analysis.onset import ONSET, Rule, first_shown, onset
from personascope.core.errors import StudyError

QUESTIONS = 12
NAMES = [f"step-{place}" for place in range(20)]


def arm(place: int, trait: str = "grim", **other) -> dict:
    head = {
        **dict.fromkeys(ARM, ""), "trait": trait, "extracted_as": "story", "evaluated_as": "story",
        "milestone": NAMES[place], "place": place, "tokens_seen": 1e9 * (place + 1), "stage": "1", "chosen": True,
        "direction": "extracted", "applied_norm": 10.0,
    }  # fmt: skip
    return {**head, **other}


def steered(place: int, effect: float | np.ndarray, **other) -> pd.DataFrame:
    """The answers of one arm: a plain and a steered one per question, moved by ``effect``, more by odd questions."""
    lean = np.where(np.arange(QUESTIONS) % 2, 0.5, -0.5)
    moved = np.broadcast_to(effect, QUESTIONS) + lean * (np.ndim(effect) == 0)
    rows = [
        {**arm(place, **other), "pole": pole, "question": f"q{number:02d}", "draw": 0, "coherence": 80.0,
         "score": 20.0 + moved[number] * (pole == "steered")}
        for number in range(QUESTIONS) for pole in ("plain", "steered")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=ARM + ANSWER)


def absent(place: int, absence: str = "no vector", **other) -> pd.DataFrame:
    return pd.DataFrame([arm(place, absence=absence, reason="said", **other)], columns=ARM + ANSWER)


def curve(*effects: float, **other) -> list[pd.DataFrame]:
    return [steered(place, effect, **other) for place, effect in enumerate(effects)]


def one(*parts: pd.DataFrame, **how) -> pd.Series:
    """The only curve's onset."""
    found = onset(pd.concat(parts, ignore_index=True), **{"resamples": 40, **how})
    assert len(found) == 1
    return found.iloc[0]


def test_a_planted_onset_is_found_with_its_place_in_training():
    found = one(*curve(0, 1, 9, 12, 8))
    assert (found["milestone"], found["place"], found["tokens_seen"], found["stage"]) == ("step-2", 2, 3e9, "1")
    assert found["effect"] == pytest.approx(9)
    assert found["last_not_shown"] == "step-1: effect +1.00, floor 5"
    assert (found["rule"], found["family"], found["milestones"]) == ("floor and p", "trait grim, 5 milestones", 5)
    assert (found["low_milestone"], found["high_milestone"], found["share_without"]) == ("step-2", "step-2", 0.0)


def test_a_later_failure_moves_the_onset_behind_it_and_a_last_one_leaves_none():
    assert one(*curve(0, 9, 9, 2, 9, 9))["milestone"] == "step-4"
    found = one(*curve(0, 9, 9, 9, 2))
    assert (found["milestone"], found["stage"]) == ("", "")
    assert np.isnan([found["place"], found["tokens_seen"], found["effect"]]).all()
    assert found["last_not_shown"] == "step-4: effect +2.00, floor 5"
    assert (found["low_milestone"], found["low_place"], found["high_tokens"]) == ("", np.inf, np.inf)
    assert found["share_without"] == 1.0


def test_an_effect_at_the_floor_is_not_above_it():
    assert one(*curve(0, 5, 9))["milestone"] == "step-2"
    assert one(*curve(0, 5, 9), rule=Rule(floor=4.75))["milestone"] == "step-1"


def test_a_trait_shown_from_the_first_milestone_says_that_nothing_came_before():
    found = one(*curve(9, 9, 9))
    assert (found["place"], found["last_not_shown"]) == (0, "")


def test_a_milestone_without_a_vector_breaks_an_onset_after_it_and_none_before():
    found = one(*curve(0, 9, 9), absent(3), steered(4, 9))
    assert (found["milestone"], found["last_not_shown"], found["no_vector"]) == ("step-4", "step-3: no vector", 1)
    assert found["family"] == "trait grim, 4 milestones", "no vector, no test: it makes Holm's family no larger"
    early = one(absent(0), absent(1), *[steered(place, 9) for place in (2, 3, 4)])
    assert (early["milestone"], early["last_not_shown"]) == ("step-2", "step-1: no vector")
    assert one(*curve(9, 9), absent(2))["milestone"] == ""


def test_answers_nobody_could_score_do_not_show_the_trait():
    found = one(*curve(0, 9), steered(2, np.nan), steered(3, 9))
    assert (found["milestone"], found["last_not_shown"]) == ("step-3", "step-2: no scores")


@pytest.mark.parametrize("absence", ["no checkpoint", "no scale", "no scores"])
def test_what_nobody_measured_is_passed_over_and_counted(absence):
    found = one(*curve(0, 9, 9), absent(3, absence), steered(4, 9))
    assert found["milestone"] == "step-1", "a checkpoint that cannot be had is no evidence that the trait went away"
    assert (found["milestones"], found["without_data"], found["no_vector"]) == (4, 1, 0)


def test_an_alias_is_no_test_of_its_own_unless_its_namesake_has_no_data():
    weak = steered(3, 2, same_weights_as="step-4")
    found = one(*curve(0, 9, 9), weak, steered(4, 9))
    assert (found["milestone"], found["family"]) == ("step-1", "trait grim, 4 milestones")
    alone = one(*curve(0, 9, 9), weak, absent(4, "no checkpoint"))
    assert (alone["milestone"], alone["last_not_shown"]) == ("", "step-3: effect +2.00, floor 5")


def test_matched_random_directions_raise_the_bar_where_they_were_steered():
    randoms = [steered(1, effect, direction=f"random-{number}") for number, effect in enumerate((1, 2, 12))]
    found = one(*curve(0, 9, 9, 9), *randoms)
    assert (found["milestone"], found["rule"], found["controlled"]) == ("step-2", "floor, p and random controls", 1)
    assert found["last_not_shown"] == "step-1: effect +9.00, random controls reach +11.50"
    lower = [steered(1, effect, direction=f"random-{number}") for number, effect in enumerate((1, 2, 3))]
    assert one(*curve(0, 9, 9, 9), *lower)["milestone"] == "step-1"


@pytest.mark.parametrize(
    ("about", "used"),
    [
        ({"direction": "random-0", "applied_norm": 10.05}, True),
        ({"direction": "random-0", "applied_norm": 10.2}, False),
        ({"direction": "random-0", "applied_norm": 0.5}, False),
        ({"direction": "random-0", "applied_norm": np.nan}, False),
        ({"direction": "random-0", "chosen": False}, False),
        ({"direction": "shuffled-0"}, False),
    ],
)
def test_only_random_directions_of_the_same_applied_norm_are_controls(about, used):
    found = one(*curve(0, 9, 9), steered(1, 50, **about))
    assert found["milestone"] == ("step-2" if used else "step-1")
    assert found["controlled"] == int(used)


def naive(differences: np.ndarray, rule: Rule) -> int | None:
    """The rule, read aloud: Holm's steps one by one over p-values from all sign patterns, then from the end back."""
    p_values = {}
    for place, row in enumerate(differences):
        known = row[~np.isnan(row)]
        if len(known):
            means = [np.mean(np.array(signs) * known) for signs in itertools.product([1, -1], repeat=len(known))]
            extreme = np.abs(means) if rule.p == "p_two_sided" else np.array(means)
            observed = abs(known.mean()) if rule.p == "p_two_sided" else known.mean()
            p_values[place] = np.mean(extreme >= observed - 1e-12)
    rejected = set()
    for step, place in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        if not p_values[place] * (len(p_values) - step) < rule.level:
            break
        rejected.add(place)
    first = None
    for place in range(len(differences) - 1, -1, -1):
        if place not in rejected or not np.nanmean(differences[place]) > rule.floor:
            break
        first = place
    return first


@given(
    some.integers(0, 2**32 - 1),
    some.sampled_from(["p_two_sided", "p_greater"]),
    some.sampled_from([0.0, 2.0, 5.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_onset_is_that_of_the_rule_read_aloud(seed, side, floor):
    generator = np.random.default_rng(seed)
    means = np.cumsum(generator.choice([0.0, 0.5, 3.0], 5))[:, None]
    differences = np.round(generator.normal(means, 2, (5, 9)), 1)
    differences[generator.random(differences.shape) < 0.1] = np.nan
    if generator.random() < 0.3:
        differences[generator.integers(5)] = np.nan
    rule = Rule(floor=floor, level=0.1, p=side)
    assert first_shown(differences, rule=rule) == naive(differences, rule)


def test_the_frame_gives_the_onset_that_the_array_gives_and_the_order_of_rows_is_nothing():
    differences = np.random.default_rng(3).normal(np.linspace(0, 9, 8)[:, None], 4, (8, QUESTIONS))
    answers = pd.concat([steered(place, row) for place, row in enumerate(differences)], ignore_index=True)
    found = onset(answers, resamples=60)
    assert found["place"].iloc[0] == first_shown(differences)
    mixed = answers.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(onset(mixed, resamples=60), found, obj="the onset of the same answers in disorder")


def test_the_interval_is_that_of_onsets_of_resampled_questions():
    differences = np.random.default_rng(5).normal(np.linspace(3, 9, 8)[:, None], 5, (8, QUESTIONS))
    answers = pd.concat([steered(place, row) for place, row in enumerate(differences)], ignore_index=True)
    found = onset(answers, resamples=200, seed=7).iloc[0]
    drawn = np.random.default_rng(7).integers(0, QUESTIONS, (200, QUESTIONS))
    places = [first_shown(differences[:, each]) for each in drawn]
    ordered = sorted(np.inf if place is None else place for place in places)
    # Percentiles of few values: the least that at least 2.5 and 97.5 % of them do not exceed.
    assert (found["low_place"], found["high_place"]) == (ordered[4], ordered[194])
    assert found["share_without"] == np.mean([place is None for place in places])
    assert 0 < found["share_without"] < 1, "an example in which all draws agree would show nothing"
    assert found["low_milestone"] == NAMES[int(found["low_place"])]


def test_resampling_takes_the_controls_along():
    """Where one question moves everything, it moves vector and controls alike: a draw without it has neither."""
    lone = np.zeros(QUESTIONS)
    lone[0] = 100.0
    base = np.full(QUESTIONS, 9.0)
    control = steered(0, base + 0.5 + lone, direction="random-0")
    found = one(steered(0, base + 1 + lone), control, resamples=100)
    assert (found["milestone"], found["share_without"]) == ("step-0", 0.0)


def test_an_onset_depends_on_its_seed_and_on_no_other_curve():
    differences = np.random.default_rng(6).normal(6, 5, (6, QUESTIONS))
    mine = pd.concat([steered(place, row) for place, row in enumerate(differences)], ignore_index=True)
    other = pd.concat(curve(0, 9, 9, trait="airy"), ignore_index=True)
    alone, beside = onset(mine, resamples=80), onset(pd.concat([other, mine], ignore_index=True), resamples=80)
    assert beside["trait"].tolist() == ["airy", "grim"]
    pd.testing.assert_frame_equal(beside.iloc[[1]].reset_index(drop=True), alone)
    assert onset(mine, resamples=80, seed=1)["share_without"].iloc[0] != alone["share_without"].iloc[0]


def test_null_lineages_have_an_onset_less_often_than_the_level_even_without_a_floor():
    generator = np.random.default_rng(8)
    rule = Rule(floor=0.0)
    lineages = generator.standard_t(3, (600, 15, 10))
    share = np.mean([first_shown(each, rule=rule) is not None for each in lineages])
    assert share <= 0.05, f"{share:.3f} of lineages of nothing had an onset"


def test_one_question_has_an_onset_at_most_and_no_interval():
    answers = pd.concat(curve(0, 9, 9), ignore_index=True)
    found = onset(answers[answers["question"] == "q00"]).iloc[0]
    assert found["milestone"] == "", "one question cannot be significant"
    assert found["last_not_shown"] == "step-2: Holm's p 1"
    assert np.isnan([found["low_place"], found["high_tokens"], found["share_without"]]).all()


def test_curves_without_data_keep_a_row_that_says_so_and_nothing_in_gives_nothing_out():
    nothing = one(absent(0, "no checkpoint"), absent(1, "no checkpoint"))
    assert (nothing["milestone"], nothing["milestones"], nothing["without_data"]) == ("", 0, 2)
    never = one(absent(0), absent(1))
    assert (never["milestone"], never["no_vector"], never["last_not_shown"]) == ("", 2, "step-1: no vector")
    assert never["family"] == "trait grim, 0 milestones"
    empty = onset(pd.DataFrame(columns=ARM + ANSWER))
    assert (len(empty), list(empty.columns)) == (0, ONSET)


def test_a_curve_that_is_steered_in_two_ways_at_once_is_refused():
    twice = pd.concat([*curve(0, 9), steered(1, 30, layer="20")], ignore_index=True)
    with pytest.raises(StudyError, match="the onset of grim: step-1 was steered in several ways: leave one chosen"):
        onset(twice)
