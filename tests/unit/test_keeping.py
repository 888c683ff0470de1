"""Which instructed answers make a vector, in pairs and each on its own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.core.records import UNASKED, Answer, Bar, Request, Response, Sampling, Verdict
from personascope.tracing.extraction import kept_answers

SCORES = st.one_of(st.just(math.nan), st.floats(0, 100))


def answer_of(trait: float, coherence: float, *, key: str = "", length: int = 3) -> Answer:
    def verdict(score: float) -> Verdict:
        return Verdict("refused" if math.isnan(score) else "scored", score)

    response = Response(Request("q", Sampling()), (1,) * (2 + length), 2, "w" * length, "stop", key=key)
    return Answer("q", 0, response, verdict(trait), verdict(coherence))


def clears(answer: Answer, bar: Bar, *, positive: bool) -> bool:
    """The naive twin: the rule as the paper says it."""
    trait = answer.trait.score
    right = trait >= bar.trait if positive else trait < 100 - bar.trait
    return not answer.response.empty and right and answer.coherence.score >= bar.coherence


@given(st.lists(st.tuples(SCORES, SCORES, SCORES, SCORES), max_size=8), st.floats(0, 100), st.floats(0, 100))
def test_each_rule_keeps_what_its_words_say_and_counts_every_other(rows, trait, coherence):
    bar = Bar(trait, coherence)
    positive = [answer_of(row[0], row[1], key=f"p{place}") for place, row in enumerate(rows)]
    negative = [answer_of(row[2], row[3], key=f"n{place}") for place, row in enumerate(rows)]
    sides = [[clears(each, bar, positive=side == 0) for each in some] for side, some in enumerate((positive, negative))]
    alone = kept_answers(positive, negative, bar, rule="independent")
    assert [each.key for each in alone.positive] == [f"p{place}" for place, clear in enumerate(sides[0]) if clear]
    assert [each.key for each in alone.negative] == [f"n{place}" for place, clear in enumerate(sides[1]) if clear]
    paired = kept_answers(positive, negative, bar)
    both = [place for place, clear in enumerate(zip(*sides, strict=True)) if all(clear)]
    assert paired.sources == tuple(f"{pole}{place}" for place in both for pole in "pn")
    for found, asked in ((alone, 2 * len(rows)), (paired, len(rows))):
        counts = found.counts
        lost = counts.empty + counts.unasked + counts.unscored + counts.positive_too_low
        lost += counts.negative_too_high + counts.incoherent
        assert (counts.asked, counts.kept + lost) == (asked, asked), "every answer that is not used has a reason"


@pytest.mark.parametrize("rule", ["paired", "independent"])
def test_the_rows_mean_is_the_difference_of_the_sides_means(rule):
    dice = np.random.default_rng(0)
    scores = ((90, 90), (10, 90), (90, 90), (90, 90))
    positive = [answer_of(*each) for each in scores]
    negative = [answer_of(5, 90) for _ in scores]
    kept = kept_answers(positive, negative, Bar(), rule=rule)
    assert (len(kept.positive), len(kept.negative)) == ((3, 3) if rule == "paired" else (3, 4))
    means = dice.standard_normal((len(kept.responses), 2, 5))
    rows = kept.differences(means)
    expected = means[:3].mean(axis=0) - means[3:].mean(axis=0)
    np.testing.assert_allclose(rows.mean(axis=0), expected, atol=1e-12)


def test_turning_single_answers_around_spreads_as_the_difference_of_two_means_does():
    """The variance of a shuffle is the sum of the squared rows, over their number squared."""
    few, many = 3, 40
    kept = kept_answers([answer_of(90, 90)] * few, [answer_of(5, 90)] * many, Bar(), rule="independent")
    means = np.random.default_rng(1).standard_normal((few + many, 1, 1))
    rows, middle = kept.differences(means), (means[:few].mean() + means[few:].mean()) / 2
    variance = np.sum((means[:few] - middle) ** 2) / few**2 + np.sum((means[few:] - middle) ** 2) / many**2
    assert np.sum(rows**2) / len(rows) ** 2 == pytest.approx(variance), "shuffles are narrower or wider than chance is"


def test_an_answer_that_nobody_said_or_judged_is_not_kept_on_its_own():
    unasked = replace(answer_of(90, 90), trait=UNASKED)
    silent = answer_of(90, 90, length=0)
    kept = kept_answers([unasked, silent], [], Bar(), rule="independent")
    assert (kept.counts.unasked, kept.counts.empty, kept.positive) == (1, 1, ())
    assert len(kept_answers([unasked], [], Bar(None, None), rule="independent").positive) == 1
