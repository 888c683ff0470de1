"""Filtering pairs of answers: the frame's rule is the one vectors are extracted with, and every loss has a reason."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.applications.screen.recovery import (
    COUNTS,
    PAIR,
    filter_counts,
    limiting,
    pair_counts,
    pairs,
    pass_rates,
)
from personascope.core.records import Answer, Bar, Pair, Request, Response, Sampling, Verdict
from personascope.core.vectors import FAULTS

SCORE = some.sampled_from([math.nan, 0.0, 49.999, 50.0, 50.001, 100.0])
ROWS = some.lists(some.tuples(SCORE, SCORE, SCORE, SCORE, some.sampled_from(["", "said"])), max_size=12)
BARS = some.sampled_from([Bar(), Bar(80, 20), Bar(None, 50), Bar(50, None), Bar(None, None)])


def answers(scores: list[float], coherence: list[float] | None = None, **columns) -> pd.DataFrame:
    coherence = coherence or [90.0] * len(scores)
    frame = pd.DataFrame({"score": scores, "coherence": coherence, **columns})
    return frame.astype({"score": "float64", "coherence": "float64"})


def verdict(score: float) -> Verdict:
    return Verdict("refused", reason="would not say") if math.isnan(score) else Verdict("scored", score)


def naive_fault(row: tuple[float, float, float, float, str], bar: Bar) -> str:
    """The reason that extraction itself gives for the pair."""
    sides = []
    for score, coherence in (row[0:2], row[2:4]):
        text = row[4] if not sides else "said"
        response = Response(Request("asked", Sampling(), 0), (1,) if text else (), 0, text, "stop")
        sides.append(Answer("asked", 0, response, verdict(score), verdict(coherence)))
    return bar.fault(Pair(*sides))


@given(rows=ROWS, bar=BARS)
@settings(max_examples=150, deadline=None)
def test_a_pair_is_kept_or_lost_for_the_reason_that_extraction_itself_gives(rows, bar) -> None:
    positive = answers([row[0] for row in rows], [row[1] for row in rows], answer=[row[4] for row in rows])
    negative = answers([row[2] for row in rows], [row[3] for row in rows], answer=["said"] * len(rows))
    found = pairs(positive, negative, bar=bar)
    assert list(found.columns) == PAIR
    assert found["fault"].tolist() == [naive_fault(row, bar) for row in rows]
    assert found["kept"].tolist() == (found["fault"] == "").tolist()
    counts = pair_counts(found)
    assert counts.asked == len(rows) == counts.kept + sum(getattr(counts, name) for name in FAULTS)


@given(rows=ROWS)
@settings(max_examples=80, deadline=None)
def test_counts_of_a_side_are_what_counting_answer_by_answer_gives(rows) -> None:
    positive = answers([row[0] for row in rows], [row[1] for row in rows])
    negative = answers([row[2] for row in rows], [row[3] for row in rows])
    counts = filter_counts(positive, negative).iloc[0]
    assert counts["positive_high"] == sum(row[0] >= 50 for row in rows)
    assert counts["negative_low"] == sum(row[2] < 50 for row in rows)
    assert counts["positive_coherent"] == sum(row[1] >= 50 for row in rows)
    assert counts["negative_coherent"] == sum(row[3] >= 50 for row in rows)
    assert counts["positive_kept"] == sum(row[0] >= 50 and row[1] >= 50 for row in rows)
    assert counts["negative_kept"] == sum(row[2] < 50 and row[3] >= 50 for row in rows)
    assert counts["positive_unscored"] == sum(math.isnan(row[0]) for row in rows)
    scored = [row[0] for row in rows if not math.isnan(row[0])]
    mean = math.fsum(scored) / len(scored) if scored else math.nan
    assert counts["positive_mean"] == pytest.approx(mean, nan_ok=True)
    assert counts["kept"] <= min(counts["positive_kept"], counts["negative_kept"]), (
        "dropping one side at a time keeps at least the answers of the kept pairs"
    )


def test_the_longer_side_is_cut_to_the_shorter_and_counted_whole() -> None:
    counts = filter_counts(answers([90.0, 90.0, 90.0]), answers([1.0, 1.0])).iloc[0]
    assert (counts["asked"], counts["kept"]) == (2, 2)
    assert (counts["positive_answers"], counts["positive_high"]) == (3, 3)


def test_the_questions_behind_the_kept_pairs_are_counted_and_sides_that_differ_are_seen() -> None:
    positive = answers([90, 90, 90, 10], question=["a", "a", "b", "c"])
    negative = answers([1, 1, 1, 1], question=["a", "a", "b", "d"])
    counts = filter_counts(positive, negative).iloc[0]
    assert (counts["kept"], counts["questions"], counts["questions_kept"], counts["mismatched"]) == (3, 3, 2, 1)


@pytest.mark.parametrize("question", [None, np.nan])
def test_questions_that_are_not_known_are_no_number_and_no_mismatch(question) -> None:
    without = filter_counts(answers([90.0]), answers([1.0])).iloc[0]
    unknown = filter_counts(answers([90.0], question=[question]), answers([1.0], question=[question])).iloc[0]
    for counts in (without, unknown):
        assert counts[["questions", "questions_kept", "mismatched"]].isna().all()


def test_pass_rates_ignore_coherence_and_an_unscored_answer_has_not_passed() -> None:
    rows = answers([50.0, 49.0, math.nan, 90.0], [0.0] * 4, pole=["positive", "positive", "positive", "negative"])
    frame = pass_rates(rows, by=["pole"])
    assert frame.to_dict("list") == {
        "pole": ["positive", "negative"], "total": [3, 1], "passed": [1, 1], "failed": [2, 0],
        "pass_rate": [1 / 3, 1.0], "bar": [50.0, 50.0],
    }  # fmt: skip


def test_the_bar_that_fewer_clear_is_named_and_unknown_counts_name_none() -> None:
    counts = pd.DataFrame({"positive_high": [3, 20, 0, np.nan], "positive_coherent": [8, 4, 0, 5]})
    assert limiting(counts).tolist() == ["trait", "coherence", "coherence", ""]


def test_nothing_in_gives_counts_of_zero_and_unknown_means() -> None:
    counts = filter_counts(answers([]), answers([]))
    assert list(counts.columns) == COUNTS
    assert counts["kept"].item() == 0
    assert math.isnan(counts["positive_mean"].item())
    assert pass_rates(answers([], pole=[]), by=["pole"]).empty
    assert limiting(pd.DataFrame({"positive_high": [], "positive_coherent": []})).empty
