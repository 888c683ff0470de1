"""Which instructed answers a vector is made of: in pairs, or each on its own.

Owns: :func:`kept_answers` and :class:`Kept`. The one law: every answer that is not used has a reason, and is counted.

The published code keeps or drops pairs whole ("Persona Vectors" code; tracing study §1.5); the paper's text keeps each
answer on its own ("Persona Vectors" §2.2), which uses more answers where one side is hard to get.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from personascope.core.records import Answer, Bar, Pair, Response
from personascope.core.vectors import PairCounts

Rule = Literal["paired", "independent"]


@dataclass(frozen=True, eq=False)
class Kept:
    """The responses of each pole that clear the bar, and the counts. In pairs, place by place, under ``"paired"``."""

    positive: tuple[Response, ...]
    negative: tuple[Response, ...]
    counts: PairCounts
    rule: Rule

    @property
    def responses(self) -> list[Response]:
        """All of them, in the order that :meth:`differences` takes their activations."""
        return [*self.positive, *self.negative]

    @property
    def sources(self) -> tuple[str, ...]:
        """Their keys; a pair's stand side by side."""
        if self.rule == "paired":
            return tuple(each.key for pair in zip(self.positive, self.negative, strict=True) for each in pair)
        return tuple(each.key for each in self.responses)

    def differences(self, means: Float[np.ndarray, "response layer hidden"]) -> Float[np.ndarray, "pair layer hidden"]:
        """Rows whose mean is the vector, and of which a swapped label turns one around.

        Under ``"paired"`` a row is the difference of a pair. Under ``"independent"`` it is what one answer contributes:
        its distance from the mean of both sides, weighted so that each side counts the same.
        """
        first, second = means[: len(self.positive)], means[len(self.positive) :]
        if self.rule == "paired":
            pairs: np.ndarray = first - second
            return pairs
        middle = (first.mean(axis=0) + second.mean(axis=0)) / 2
        weights = len(means) / len(first), len(means) / len(second)
        return np.concatenate([(first - middle) * weights[0], (middle - second) * weights[1]])


def kept_answers(positive: Sequence[Answer], negative: Sequence[Answer], bar: Bar, *, rule: Rule = "paired") -> Kept:
    """The answers of two arms that clear the bar, by a rule.

    Under ``"paired"`` the counts are of pairs. Under ``"independent"`` they are of answers: a positive one must reach
    the bar's trait score, a negative one stay below 100 minus it, and both must be coherent, each for itself.
    """
    if rule == "paired":
        pairs = [Pair(*both) for both in zip(positive, negative, strict=True)]
        faults = [bar.fault(pair) for pair in pairs]
        chosen = [pair for pair, fault in zip(pairs, faults, strict=True) if not fault]
        sides = tuple(each.positive.response for each in chosen), tuple(each.negative.response for each in chosen)
    else:
        high = [_fault(each, bar, positive=True) for each in positive]
        low = [_fault(each, bar, positive=False) for each in negative]
        faults = high + low
        sides = _without(positive, high), _without(negative, low)
    counts = PairCounts(len(faults), faults.count(""), **Counter(fault for fault in faults if fault))
    return Kept(*sides, counts, rule)


def _without(answers: Sequence[Answer], faults: Sequence[str]) -> tuple[Response, ...]:
    return tuple(each.response for each, fault in zip(answers, faults, strict=True) if not fault)


def _fault(each: Answer, bar: Bar, *, positive: bool) -> str:
    """Why an answer does not clear the bar on its own, in the order in which a pair is held to it; empty if it does."""
    if each.response.empty:
        return "empty"
    asked = [(each.trait, bar.trait), (each.coherence, bar.coherence)]
    if any(verdict.outcome == "unasked" for verdict, points in asked if points is not None):
        return "unasked"
    if any(math.isnan(verdict.score) for verdict, points in asked[:1] if points is not None):
        return "unscored"
    if bar.trait is not None and positive and each.trait.score < bar.trait:
        return "positive_too_low"
    if bar.trait is not None and not positive and each.trait.score >= 100 - bar.trait:
        return "negative_too_high"
    if bar.coherence is not None:
        if math.isnan(each.coherence.score):
            return "unscored"
        if each.coherence.score < bar.coherence:
            return "incoherent"
    return ""
