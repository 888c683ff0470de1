"""Readings of a judge's words, against twins that enumerate every number a judge may say."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from personascope.core.errors import JudgeError
from personascope.core.records import Verdict
from personascope.core.traits import Rubric
from personascope.judges.readout import (
    Distribution,
    Position,
    Rule,
    digit_expectation,
    expected_score,
    is_refusal,
    plain_number,
    read,
    reread,
    splits_numbers,
)

SCORE = Rubric("{question} {answer}")
LABELS = Rubric("{question} {answer}", kind="labels", labels=("greed, plain", "greed", "Sadism", "none"))
EXPECTATION, DIGITS, TEXT = Rule("expectation"), Rule("digits", max_tokens=5), Rule("text")
END = "<end>"
DIGIT = tuple("0123456789")


def position(tokens: Mapping[str, float]) -> Position:
    """Tokens with probabilities as a position: the likeliest, which greedy decoding says, comes first."""
    kept = sorted(((token, share) for token, share in tokens.items() if share > 0), key=lambda item: -item[1])
    return tuple((token, math.log(share)) for token, share in kept)


# ---------------------------------------------------------------- expectation


@given(
    st.dictionaries(
        st.one_of(
            st.integers(-5, 130).map(str), st.sampled_from(["I", "REF", " 7", "7\n", "+5", "1_0", "5.0", "", "٣", "²"])
        ),
        st.floats(0.001, 1),
        min_size=1,
        max_size=20,
    )
)
def test_the_expected_score_is_the_mean_over_numbers_told_one_by_one(weights: dict[str, float]) -> None:
    whole = sum(weights.values())
    tokens = {token: weight / whole for token, weight in weights.items()}
    total = mass = 0.0
    for number in range(101):
        for token, share in tokens.items():
            if token.strip() == str(number):
                total, mass = total + number * share, mass + share
    found = expected_score(position(tokens))
    assert found.mass == pytest.approx(mass)
    verdict = read(EXPECTATION, SCORE, "", (position(tokens),))
    if abs(mass - 0.25) > 1e-9:
        assert (verdict.outcome == "scored") == (mass >= 0.25), f"mass {mass} on numbers gave {verdict}"
    if verdict.outcome == "scored":
        assert verdict.score == pytest.approx(total / mass)
        assert 0 <= verdict.score <= 100


@pytest.mark.parametrize(("mass", "outcome"), [(0.2499, "unreadable"), (0.2501, "scored")])
def test_a_quarter_of_the_probability_must_be_on_numbers(mass: float, outcome: str) -> None:
    assert read(EXPECTATION, SCORE, "", (position({"The": 1 - mass, "60": mass}),)).outcome == outcome


def test_the_first_position_that_says_something_is_read() -> None:
    blank, number = position({" ": 0.9, "1": 0.1}), position({"70": 0.5, "90": 0.5})
    assert read(EXPECTATION, SCORE, " 70", (blank, number)).score == pytest.approx(80)
    alone = position({" ": 0.7, "40": 0.3})
    assert read(EXPECTATION, SCORE, " ", (alone,)).score == 40, "one token was allowed: its position is all there is"


@pytest.mark.parametrize("odd", [(), ((),), ((("5", -9999.0),),), ((("x", 0.0),), ())])
@pytest.mark.parametrize("rule", [EXPECTATION, DIGITS])
def test_distributions_that_say_nothing_are_unreadable(odd: Distribution, rule: Rule) -> None:
    verdict = read(rule, SCORE, "", odd)
    assert verdict.outcome == "unreadable"
    assert verdict.reason


# ---------------------------------------------------------------- digits


@st.composite
def digit_judges(draw: st.DrawFn) -> dict[int, float]:
    """A judge as it truly is: a probability for every number, some of which it never says."""
    numbers = draw(st.lists(st.integers(0, 100), min_size=1, max_size=12, unique=True))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(numbers), max_size=len(numbers)))
    return {number: weight / sum(weights) for number, weight in zip(numbers, weights, strict=True)}


def spoken(judge: dict[int, float], *, chatter: float = 0.0, top: int = 20) -> Distribution:
    """What one greedy path of a digit-by-digit judge shows: the next token's distribution after what was said."""
    said, shown = "", []
    while True:
        after: dict[str, float] = {}
        for number, share in judge.items():
            if str(number).startswith(said):
                token = str(number)[len(said) :][:1] or END
                after[token] = after.get(token, 0.0) + share
        whole = sum(after.values())
        tokens = {token: share / whole * (1 - chatter) for token, share in after.items()}
        shown.append(
            position({**tokens, "Well": chatter} if not said else {t: s / whole for t, s in after.items()})[:top]
        )
        token = max(after, key=lambda each: after[each])
        if token == END:
            return tuple(shown)
        said += token


@given(digit_judges(), st.floats(0, 0.4))
@example({100: 0.6, 10: 0.4}, 0.0)
@example({1: 0.5, 10: 0.3, 100: 0.2}, 0.1)
def test_the_true_expectation_of_a_judge_lies_within_the_bounds_of_one_path(
    judge: dict[int, float], chatter: float
) -> None:
    truth = sum(number * share for number, share in judge.items())
    distribution = spoken(judge, chatter=chatter)
    if distribution[0][0][0] == "Well":
        return
    found = digit_expectation(distribution, max_tokens=5)
    assert found.low - 1e-9 <= truth <= found.high + 1e-9, f"{truth} is outside {found}, of {judge}"
    assert found.low - 1e-9 <= found.score <= found.high + 1e-9, f"the score is outside its own bounds: {found}"
    assert found.mass == pytest.approx(1 - chatter)


@given(digit_judges(), st.integers(1, 9))
@example({10: 0.5, 100: 0.3, 15: 0.2}, 1)
def test_what_begins_as_was_said_is_known_exactly(judge: dict[int, float], digit: int) -> None:
    only = {number: share for number, share in judge.items() if str(number).startswith(str(digit))}
    if not only:
        return
    judge = {number: share / sum(only.values()) for number, share in only.items()}
    distribution = spoken(judge)
    if {10, 100} & judge.keys() and distribution[1][0][0] != "0":
        return  # the path did not pass "10", so it did not show whether that was 10 or 100
    truth = sum(number * share for number, share in judge.items())
    found = digit_expectation(distribution, max_tokens=5)
    assert found.score == pytest.approx(truth), f"{judge} was read as {found}"
    assert found.low == pytest.approx(found.high), "with one first digit nothing is left unseen"


def by_enumeration(first: dict[str, float], second: dict[str, float], third: dict[str, float] | None) -> float:
    """The documented approximation, naively: every number's probability as a product over positions."""
    said = max(first, key=lambda each: first[each])
    total: dict[str, tuple[float, float]] = {}
    for digit in first:
        parts = []
        for tail in (END, *DIGIT):
            share = second.get(tail, 0.0) if digit != "0" else float(tail == END)
            number = int(digit) if tail == END else int(digit + tail)
            if digit + tail == "10" and digit == said and third is not None:
                parts += [(share * third.get("0", 0.0), 100), (share * third.get(END, 0.0), 10)]
            else:
                parts.append((share, number))
        total[digit] = (sum(share * number for share, number in parts), sum(share for share, _ in parts))
    means = {digit: sums / shares if shares else float(digit) for digit, (sums, shares) in total.items()}
    if said != "1" and means[said] > 59.5:
        means["1"] = 100.0
    return sum(first[digit] * means[digit] for digit in first) / sum(first.values())


@st.composite
def digit_positions(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    def shares(tokens: tuple[str, ...]) -> dict[str, float]:
        chosen = draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=6, unique=True))
        weights = draw(st.lists(st.integers(1, 10_000), min_size=len(chosen), max_size=len(chosen), unique=True))
        return {token: weight / sum(weights) for token, weight in zip(chosen, weights, strict=True)}

    return shares(DIGIT), shares((*DIGIT, END)), shares(("0", END))


@given(digit_positions())
@example(({"9": 0.7, "1": 0.3}, {"5": 1.0}, {END: 1.0}))
def test_digits_are_read_as_the_sum_over_all_numbers_of_the_documented_product(
    shares: tuple[dict[str, float], dict[str, float], dict[str, float]],
) -> None:
    first, second, third = shares
    said = max(first, key=lambda each: first[each]) + max(second, key=lambda each: second[each]).replace(END, "")
    if said[0] == "0" and len(said) > 1:
        return
    path = [position(first), position(second)]
    if said == "10":
        path.append(position(third))
    found = digit_expectation(tuple(path), max_tokens=5)
    assert not found.fault, found
    assert found.score == pytest.approx(by_enumeration(first, second, third if said == "10" else None))


def test_a_hundred_beside_the_nineties_is_not_taken_for_a_ten() -> None:
    path = (position({"9": 0.8, "1": 0.2}), position({"5": 1.0}), position({END: 1.0}))
    found = digit_expectation(path, max_tokens=5)
    assert found.score == pytest.approx(0.8 * 95 + 0.2 * 100)
    assert (found.low, found.high) == pytest.approx((0.8 * 95 + 0.2 * 1, 0.8 * 95 + 0.2 * 100))


def test_probability_that_no_top_token_shows_widens_the_bounds() -> None:
    path = (position({"8": 1.0}), (("5", math.log(0.9)),), position({END: 1.0}))
    found = digit_expectation(path, max_tokens=5)
    assert found.score == 85
    assert (found.low, found.high) == pytest.approx((0.9 * 85 + 0.1 * 8, 0.9 * 85 + 0.1 * 89))


@pytest.mark.parametrize(
    ("tokens", "allowed", "expected"),
    [
        (["8"], 1, "was cut after '8'"),
        (["1"], 1, "was cut after '1'"),
        (["1", "0"], 2, "was cut after '10'"),
        (["8"], 5, 8),
        (["1", "0"], 5, 10),
        (["0"], 1, 0),
        (["8", "5"], 2, 85),
        (["1", "0", "0"], 3, 100),
        ([" ", "8"], 2, "was cut after '8'"),
        ([" ", "8", "5", END], 5, 85),
        ([" 8", "5", "."], 5, 85),
        (["85", END], 5, 85),
        (["85"], 1, 85),
        (["8", "5", "7"], 5, "'857' was said"),
        (["0", "5"], 5, "'05' was said"),
        (["8", " 5"], 5, 8),
        (["Well", "8"], 5, "numbers hold 0.000"),
    ],
)
def test_where_a_number_ends_is_never_guessed(tokens: list[str], allowed: int, expected: float | str) -> None:
    distribution = tuple(position({token: 1.0}) for token in tokens)
    verdict = read(Rule("digits", max_tokens=allowed), SCORE, "".join(tokens), distribution)
    if isinstance(expected, str):
        assert verdict.outcome == "unreadable", verdict
        assert expected in verdict.reason
    else:
        assert verdict.score == expected, verdict


@given(
    st.lists(
        st.lists(st.tuples(st.text(max_size=3), st.floats(-10_000, 1e-6)), min_size=0, max_size=4).map(tuple),
        max_size=3,
    ).map(tuple),
    st.sampled_from([EXPECTATION, DIGITS, TEXT]),
    st.text(max_size=20),
    st.sampled_from([SCORE, LABELS]),
)
def test_whatever_was_said_there_is_a_verdict(
    distribution: Distribution, rule: Rule, text: str, rubric: Rubric
) -> None:
    verdict = read(rule, rubric, text, distribution)
    assert (verdict.text, verdict.distribution) == (text, distribution), "what was said must be kept"
    if verdict.outcome == "scored" and rubric is SCORE:
        assert 0 <= verdict.score <= 100
    elif verdict.outcome == "scored":
        assert verdict.labels
    else:
        assert verdict.reason
    again = reread(rule, rubric, verdict)
    assert repr(again) == repr(verdict), "the same words under the same rule must mean the same"


# ---------------------------------------------------------------- text, labels, refusals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("85", 85),
        (" Score: 85.\n", 85),
        ("85.5/100", 85.5),
        ("85/100.", 85),
        ("100/100", 100),
        ("On a scale from 0 to 100: 33%", 33),
        ("**0**", 0),
        ("7/10", None),
        ("60 or 70", None),
        ("-5", None),
        ("850", None),
        ("1,000", None),
        ("1e2", None),
        ("10 to 100", None),
        ("٣", None),
        ("A3", None),
        ("about ninety", None),
        ("", None),
    ],
)
def test_a_text_has_a_number_only_if_it_has_exactly_one(text: str, number: float | None) -> None:
    assert plain_number(text) == number
    verdict = read(TEXT, SCORE, text, ())
    assert verdict.outcome == ("unreadable" if number is None else "scored")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("greed", ("greed",)),
        ("- sadism\n- Greed.", ("greed", "Sadism")),
        ('["greed, plain", "sadism"]', ("greed, plain", "Sadism")),
        ("greed and none", ("greed", "none")),
        ("NONE", ("none",)),
        ("no greed", ()),
        ("greedy", ()),
        ("", ()),
        ("envy, greed", ()),
    ],
)
def test_labels_are_read_only_if_nothing_else_was_said(text: str, labels: tuple[str, ...]) -> None:
    verdict = read(EXPECTATION, LABELS, text, ())
    assert verdict.labels == labels
    assert verdict.outcome == ("scored" if labels else "unreadable"), verdict
    assert math.isnan(verdict.score)


@pytest.mark.parametrize(
    ("text", "tokens", "refused"),
    [
        ("REFUSAL", {}, True),
        ("I'm sorry, but no", {}, True),
        ("I\u2019m unable to rate", {}, True),
        ("I cannot", {}, True),
        ("REF", {"REF": 0.6, "40": 0.2}, True),
        ("REF", {"REF": 0.3, " ref": 0.25, "40": 0.2}, True),
        ("REF", {"REF": 0.45, "The": 0.4}, False),
        ("I", {"I": 0.99}, False),
        ("Re", {"Re": 0.99}, False),
        ("The answer refuses", {"The": 0.99}, False),
        ("Regrettable", {"Reg": 0.99}, False),
    ],
)
def test_a_refusal_is_one_only_if_it_is_evident(text: str, tokens: dict[str, float], refused: bool) -> None:
    distribution = (position(tokens),) if tokens else ()
    assert is_refusal(text, distribution) is refused
    assert read(EXPECTATION, SCORE, text, distribution).outcome == ("refused" if refused else "unreadable")


def test_a_number_that_is_likely_enough_counts_even_beside_a_refusal() -> None:
    assert read(EXPECTATION, SCORE, "REF", (position({"REF": 0.7, "90": 0.3}),)).score == 90


def test_what_the_call_settled_no_reading_changes() -> None:
    settled = [
        Verdict("unasked", reason="no judge was asked", text="50"),
        Verdict("refused", reason="the endpoint withheld the answer: filtered", text="50"),
        Verdict("unreadable", reason="the endpoint cut the answer: allow more tokens (Asking)", text="I say 8"),
    ]
    for verdict in settled:
        assert reread(TEXT, SCORE, verdict) is verdict


def test_another_rule_reads_the_same_words_anew_and_keeps_their_key() -> None:
    words = (position({"8": 1.0}), position({"5": 1.0}), position({END: 1.0}))
    verdict = Verdict("scored", 8.0, text="85", distribution=words, key="k")
    assert reread(DIGITS, SCORE, verdict) == Verdict("scored", 85.0, text="85", distribution=words, key="k")
    assert reread(DIGITS, SCORE, verdict).key == "k"
    assert reread(TEXT, SCORE, verdict).score == 85


def test_digit_splitting_is_called_only_where_it_is_evident() -> None:
    others = {f"w{place}": 1e-4 for place in range(12)}
    digit = (position({"8": 0.9, **others}),)
    assert splits_numbers([digit] * 20)
    assert not splits_numbers([digit] * 4), "too few to tell"
    assert not splits_numbers([*[digit] * 40, (position({"0": 0.9, "10": 0.01, **others}),)]), "a 10 was one token"
    assert not splits_numbers([(position({"0": 0.9, "1": 0.1}),)] * 40), "few top tokens show nothing"
    assert not splits_numbers([()] * 40)


@pytest.mark.parametrize("settings", [{"mode": "logprobs"}, {"floor": -0.1}, {"floor": math.nan}], ids=str)
def test_an_impossible_rule_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(JudgeError):
        Rule(**settings)  # type: ignore[arg-type]
