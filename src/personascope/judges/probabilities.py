"""Expected scores from token probabilities, for tokenizers that keep numbers whole and for those that split them.

Owns: :func:`distribution_of`, :func:`expected_score` and :func:`digit_expectation`. The one law: what one sampled path
cannot show is named, bounded, and never passed off as measured.

What one path shows. A judge that says "85" digit by digit gives P(first digit) for every first digit, and P(what
follows) after *its own* first digit 8 alone: another 8x, or an end, which leaves 8. What would have followed a 7 or a 9
was never computed. So the expectation given the said first digit is exact (up to tokens outside the top ones), and the
rest is an approximation: what follows any other digit is taken to be distributed as what followed the said one, with
two exceptions. Nothing follows a 0. And a 1 stands for 100, not for 1 or 10 to 19, if the said first digit's
expectation is nearer to 100 than to 19: a judge that hesitates hesitates between neighbours, and beside 9x that is 100.
After "10" the third position says how likely 100 is against 10; on any other path "10" counts as 10. ``low`` and
``high`` bound the expectation whatever the unseen ends are: with 0.6 on the said 8 and 0.4 on an unseen 7, they are
0.4 x (79 - 7) = 29 points apart. A number token of two or three digits is whole.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from personascope.providers.endpoints import made_safe

Position = tuple[tuple[str, float], ...]
Distribution = tuple[Position, ...]

Bounded = tuple[float, float, float]
"""A score, and the lowest and highest that it may be."""

_VERY_UNLIKELY = -9999.0  # what the protocol itself says for a token that is not among the likely ones
_HUNDRED_IS_NEARER = (19 + 100) / 2
_UNSEEN_TEN: Bounded = (10.0, 10.0, 100.0)


@dataclass(frozen=True)
class Expectation:
    """An expected score and what it rests on.

    ``mass`` is the probability of all first tokens that begin a number. ``low`` and ``high`` hold the expectation over
    those tokens whatever followed them; for whole numbers they equal ``score``. ``fault`` says why there is no score.
    """

    score: float
    mass: float
    low: float
    high: float
    fault: str = ""


def distribution_of(logprobs: Any) -> Distribution:
    """What came as a chat completion's ``logprobs``: per position the token said, then the other likely ones."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    positions = []
    for place in content if isinstance(content, list) else ():
        if not isinstance(place, dict):
            continue
        top = place.get("top_logprobs")
        entries: dict[str, float] = {}
        for entry in (place, *(top if isinstance(top, list) else ())):
            token, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
            if not isinstance(token, str):
                continue
            if not isinstance(logprob, int | float) or not math.isfinite(logprob):
                logprob = _VERY_UNLIKELY
            entries.setdefault(made_safe(token), float(logprob))
        positions.append(tuple(entries.items()))
    return tuple(positions)


def probability(logprob: float) -> float:
    """A probability from its logarithm, which rounding may have put just above zero."""
    return math.exp(min(logprob, 0.0))


def bare(token: str) -> str:
    """A token without white space, also as some servers spell a leading space."""
    return token.strip().lstrip("▁Ġ")


def number_of(token: str) -> int | None:
    """The whole number from 0 to 100 that a token says, or None."""
    digits = bare(token)
    return int(digits) if re.fullmatch(r"[0-9]{1,3}", digits) and int(digits) <= 100 else None


def expected_score(position: Position) -> Expectation:
    """The expected score among a position's numeric tokens.

    A token is numeric if, without white space, it is one to three digits that make 0 to 100; tokens that make the
    same number add up. The score is the mean *given* that a number is said ("Persona Vectors" B.1).
    """
    weights: dict[int, float] = {}
    for token, logprob in position:
        if (number := number_of(token)) is not None:
            weights[number] = weights.get(number, 0.0) + probability(logprob)
    mass = math.fsum(weights.values())
    if mass == 0:
        return Expectation(math.nan, 0.0, math.nan, math.nan, "no likely token is a number")
    mean = min(max(math.fsum(number * weight for number, weight in weights.items()) / mass, 0.0), 100.0)
    return Expectation(mean, mass, mean, mean)


def digit_expectation(distribution: Distribution, *, max_tokens: int | None) -> Expectation:
    """The expected score where a tokenizer splits numbers: the module's header says what it can know.

    The first entry of a position is the token that was said, and the first position is where the answer starts.
    Fewer positions than ``max_tokens`` mean that the judge ended by itself; some servers then give no probability for
    the end, which counts as certain.
    """
    first = expected_score(distribution[0])
    said = _said(distribution)
    head = bare(distribution[0][0][0]) if said else ""
    fault = ""
    if not said:
        fault = "what was said does not begin with a number"
    elif not re.fullmatch(r"100|[1-9]?[0-9]", said) or (len(head) > 1 and said != head):
        fault = f"'{said}' was said, which is no whole number from 0 to 100"
    elif len(head) == 1 and len(distribution) == len(said) == max_tokens and re.fullmatch(r"10|[1-9]", said):
        fault = f"the answer was cut after '{said}', which may go on: allow more than {max_tokens} tokens"
    if fault or not first.mass:
        return Expectation(math.nan, first.mass, math.nan, math.nan, fault or first.fault)
    if len(head) > 1:
        return first
    tails = _tails(distribution[1]) if len(distribution) > 1 else {"": 1.0}
    ten = _UNSEEN_TEN
    if said.startswith("10"):
        ten = _ten(_tails(distribution[2]) if len(distribution) > 2 else {"": 1.0})
    return _over_first_digits(distribution[0], head, tails, ten)


def _over_first_digits(position: Position, head: str, tails: dict[str, float], ten: Bounded) -> Expectation:
    """The expectation over all first tokens, of which only ``head`` was followed."""
    followed = _given_digit(head, tails, ten)
    weights: dict[str, float] = {}
    for token, logprob in position:
        if number_of(token) is not None:
            weights[bare(token)] = weights.get(bare(token), 0.0) + probability(logprob)
    means: dict[str, Bounded] = {}
    for digits in weights:
        if digits == head:
            means[digits] = followed
        elif len(digits) > 1:
            means[digits] = (float(digits), float(digits), float(digits))
        elif digits == "1" and followed[0] > _HUNDRED_IS_NEARER:
            means[digits] = (100.0, 1.0, 100.0)
        else:
            means[digits] = (_given_digit(digits, tails, _UNSEEN_TEN)[0], float(digits), _most(digits))
    mass = math.fsum(weights.values())
    score, low, high = (
        min(max(math.fsum(weights[digits] * means[digits][which] for digits in weights) / mass, 0.0), 100.0)
        for which in range(3)
    )
    return Expectation(score, mass, low, high)


def _given_digit(digit: str, tails: dict[str, float], ten: Bounded) -> Bounded:
    """The expectation given a first digit and what follows it, with bounds.

    Probability that the second position shows for none of its top tokens may be any end: it widens the bounds.
    """
    if digit == "0":
        return 0.0, 0.0, 0.0
    parts: list[tuple[float, Bounded]] = []
    for tail, weight in tails.items():
        number = float(digit + tail)
        if number <= 100:
            parts.append((weight, ten if digit + tail == "10" else (number, number, number)))
    seen = math.fsum(weight for weight, _ in parts)
    if seen == 0:
        return float(digit), float(digit), _most(digit)
    unseen = max(0.0, 1.0 - math.fsum(tails.values()))
    score, low, high = (math.fsum(weight * each[which] for weight, each in parts) for which in range(3))
    whole = seen + unseen
    return score / seen, (low + unseen * float(digit)) / whole, (high + unseen * _most(digit)) / whole


def _ten(tails: dict[str, float]) -> Bounded:
    """What "10" comes to, given what follows it: 100 if a 0 does, else 10."""
    seen = math.fsum(tails.values())
    if seen == 0:
        return _UNSEEN_TEN
    unseen = max(0.0, 1.0 - seen)
    zero = tails.get("0", 0.0)
    return 10 + 90 * zero / seen, 10 + 90 * zero / (seen + unseen), 10 + 90 * (zero + unseen) / (seen + unseen)


def _tails(position: Position) -> dict[str, float]:
    """What may follow a digit: more digits, by themselves, or an end (``""``), which is any other token."""
    tails: dict[str, float] = {}
    for token, logprob in position:
        tail = token if re.fullmatch(r"[0-9]+", token) else ""
        tails[tail] = tails.get(tail, 0.0) + probability(logprob)
    return tails


def _said(distribution: Distribution) -> str:
    """The digits that were said, up to the first token that is not digits alone; empty if none were."""
    said = bare(distribution[0][0][0]) if distribution[0] else ""
    if not re.fullmatch(r"[0-9]+", said):
        return ""
    for position in distribution[1:]:
        if not position or not re.fullmatch(r"[0-9]+", position[0][0]):
            break
        said += position[0][0]
    return said


def _most(digit: str) -> float:
    """The largest score that starts with a digit."""
    return {"0": 0.0, "1": 100.0}.get(digit, 10.0 * float(digit) + 9.0)
