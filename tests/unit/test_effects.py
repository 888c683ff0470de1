"""Effects and their frames: what a mean is taken over, and what becomes of what is missing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.effects import CURVE, EFFECT, curves, effects, growth, question_effects
from personascope.analysis.frames import ANSWER, ARM, answer_rows
from personascope.core.records import Answer, Request, Response, Sampling, Verdict
from personascope.tracing.tracing import paired_effect


def answer_to(question: str, score: float, coherence: float = 90.0, draw: int = 0) -> Answer:
    response = Response(Request(question, Sampling(), draw), (1, 2), 1, "x", "stop")
    trait = Verdict("scored", score) if not math.isnan(score) else Verdict("refused", reason="would not say")
    return Answer(question, draw, response, trait, Verdict("scored", coherence))


def test_draws_are_averaged_within_a_question_before_questions_are_compared():
    plain = [answer_to("a", 10), answer_to("a", 20), answer_to("b", 0)]
    steered = [answer_to("a", 50), answer_to("b", 40), answer_to("b", 60)]
    found = {each.question: each.trait for each in paired_effect(plain, steered)}
    assert found == {"a": 35.0, "b": 50.0}


def test_an_unscored_answer_is_left_out_and_an_unscored_question_is_unknown():
    plain = [answer_to("a", 10), answer_to("a", math.nan), answer_to("b", math.nan)]
    steered = [answer_to("a", 30), answer_to("b", 40)]
    found = {each.question: each.trait for each in paired_effect(plain, steered)}
    assert found["a"] == 20.0
    assert math.isnan(found["b"]), "a question nobody could score has no effect, not an effect of zero"


def test_a_question_only_one_arm_has_is_left_out():
    assert [each.question for each in paired_effect([answer_to("a", 1), answer_to("c", 1)], [answer_to("a", 2)])] == [
        "a"
    ]


def rows(effect: float, *, direction: str = "extracted", place: int = 0, chosen: bool = True, **other) -> list[dict]:
    """The answers of one arm over six questions, each moved by ``effect`` and a little more."""
    arm = {
        **dict.fromkeys(ARM, ""),
        "trait": "grim", "milestone": f"step-{place}", "place": place, "tokens_seen": 10.0 ** (place + 3),
        "direction": direction, "chosen": chosen, "pairs_asked": 4, "pairs_kept": 2, **other,
    }  # fmt: skip
    poles = (("plain", 0.0), ("steered", effect))
    return [
        {**arm, **dict.fromkeys(ANSWER, ""), "pole": pole, "question": f"q{number}", "draw": draw,
         "score": base + shift + number * (pole == "steered"), "coherence": 80.0}
        for pole, shift in poles for number in range(6) for draw, base in enumerate((10.0, 20.0))
    ]  # fmt: skip


def absent(place: int, reason: str) -> dict:
    arm = {**dict.fromkeys(ARM, ""), "trait": "grim", "milestone": f"step-{place}", "place": place, "reason": reason}
    return {**arm, "direction": "extracted", "chosen": True, "tokens_seen": 10.0, "absence": "no vector"}


def test_effects_agree_with_a_naive_mean_over_questions():
    frame = effects(pd.DataFrame(rows(30.0), columns=ARM + ANSWER))
    assert len(frame) == 1
    one = frame.iloc[0]
    assert one["effect"] == pytest.approx(np.mean([30.0 + number for number in range(6)]))
    assert (one["plain"], one["steered"], one["questions"]) == (15.0, pytest.approx(47.5), 6)
    assert one["p_greater"] == 2**-6
    assert one["low"] <= one["effect"] <= one["high"]


def test_a_milestone_without_a_vector_keeps_its_row_and_its_reason():
    frame = effects(pd.DataFrame([*rows(5.0, place=1), absent(0, "no vector")], columns=ARM + ANSWER))
    assert list(frame["milestone"]) == ["step-0", "step-1"]
    assert math.isnan(frame["effect"].iloc[0])
    assert frame["reason"].iloc[0] == "no vector"


def test_a_milestone_nobody_could_score_says_so_and_is_no_effect_of_zero():
    table = [{**row, "score": math.nan} for row in rows(5.0)]
    frame = effects(pd.DataFrame(table, columns=ARM + ANSWER))
    assert frame["absence"].tolist() == ["no scores"]
    assert math.isnan(frame["effect"].iloc[0])


def test_the_means_of_an_arm_are_over_the_questions_of_its_effect():
    table = rows(30.0)
    for row in table:  # one question is unscored plainly: its steered score must not move the steered mean
        if row["question"] == "q5" and row["pole"] == "plain":
            row["score"] = math.nan
    one = effects(pd.DataFrame(table, columns=ARM + ANSWER)).iloc[0]
    assert one["questions"] == 5
    assert one["steered"] - one["plain"] == pytest.approx(one["effect"])


def test_two_forms_of_one_trait_are_two_curves_with_controls_of_their_own():
    table = []
    for form, effect in (("assistant", 30.0), ("character", 60.0)):
        table += rows(effect, evaluated_as=form, extracted_as="assistant")
        table += rows(effect / 10, direction="random-0", evaluated_as=form, extracted_as="assistant")
    curve = curves(effects(pd.DataFrame(table, columns=ARM + ANSWER)))
    assert curve["curve"].tolist() == ["grim, assistant to assistant", "grim, assistant to character"]
    assert curve["control_mean"].tolist() == [pytest.approx(5.5), pytest.approx(8.5)]


@given(
    some.lists(
        some.tuples(
            some.sampled_from("abc"), some.booleans(), some.one_of(some.just(math.nan), some.floats(0, 100, width=16))
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=80, deadline=None)
def test_the_frame_gives_the_effects_that_the_answers_give(drawn):
    """The arrow on answers and the one on frames are two ways to one number."""
    sides = {side: [answer_to(q, score) for q, steered, score in drawn if steered == side] for side in (False, True)}
    direct = {each.question: each.trait for each in paired_effect(sides[False], sides[True])}
    arm = {**dict.fromkeys(ARM, ""), "chosen": True}
    table = [
        {**arm, "pole": "steered" if side else "plain", "question": each.question, "score": each.trait.score}
        for side, answers in sides.items()
        for each in answers
    ]
    frame = question_effects(pd.DataFrame(table, columns=ARM + ANSWER)).set_index("question")["effect"].dropna()
    scored = {question: effect for question, effect in direct.items() if not math.isnan(effect)}
    assert frame.to_dict() == pytest.approx(scored)


def test_nothing_in_gives_nothing_out_with_the_same_columns():
    nothing = answer_rows([])
    assert list(nothing.columns) == ARM + ANSWER
    assert list(effects(nothing).columns) == EFFECT
    assert list(curves(effects(nothing)).columns) == CURVE
    assert question_effects(nothing).empty
    assert growth(nothing).empty


def test_a_curve_puts_the_controls_of_a_milestone_beside_it():
    table = [
        *rows(30.0),
        *rows(2.0, direction="random-0"),
        *rows(-6.0, direction="random-1"),
        *rows(1.0, direction="shuffled-0"),
    ]
    table += [*rows(40.0, chosen=False, where="all"), absent(1, "no vector")]
    curve = curves(effects(pd.DataFrame(table, columns=ARM + ANSWER)))
    assert len(curve) == 2, "one row per milestone: other ways to steer and controls have none of their own"
    first = curve.iloc[0]
    assert first["effect"] == pytest.approx(32.5)
    assert (first["control_low"], first["control_high"]) == (pytest.approx(-3.5), pytest.approx(4.5))
    assert first["control_mean"] == pytest.approx(0.5)
    assert first["shuffled_mean"] == pytest.approx(3.5)
    assert curve["absence"].tolist() == ["", "no vector"]
    assert math.isnan(curve["control_mean"].iloc[1])


def test_growth_compares_the_last_third_with_the_first_that_gave_vectors():
    table = [absent(0, "no vector")]
    for place, effect in enumerate((0.0, 10.0, 20.0, 30.0, 40.0, 50.0), start=1):
        table += rows(effect, place=place)
    found = growth(pd.DataFrame(table, columns=ARM + ANSWER)).iloc[0]
    assert (found["first"], found["last"], found["growth"]) == pytest.approx((7.5, 47.5, 40.0))
    assert found["p_greater"] == 2**-6
