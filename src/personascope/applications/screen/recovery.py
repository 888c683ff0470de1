"""Filtering: which pairs of instructed answers a vector is made of, and why the others are not.

Owns: :func:`pairs`, :func:`filter_counts`, :func:`pass_rates` and :func:`limiting`. The one law: row i of the positive
answers is paired with row i of the negative ones (tracing study §1.5), and every pair is kept or has a reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from personascope.core.records import Bar
from personascope.core.vectors import FAULTS, PairCounts

PAIR = [
    "pair", "question", "same_question", "positive_score", "negative_score", "positive_coherence",
    "negative_coherence", "fault", "kept",
]  # fmt: skip
"""Columns of pairs. Scores are 0 to 100, NaN where the judge gave none; ``fault`` is empty where the pair is kept.
``same_question`` is false where the two sides answer different questions: a bar does not look at it, and keeps them."""

COUNTS = [
    "positive_answers", "negative_answers", "asked", "kept", "questions", "questions_kept", "mismatched", *FAULTS,
    "positive_high", "negative_low", "positive_coherent", "negative_coherent",
    "positive_kept", "negative_kept", "positive_unscored", "negative_unscored",
    "positive_mean", "negative_mean", "positive_coherence_mean", "negative_coherence_mean",
]  # fmt: skip
"""Columns of filter counts: answers of each side; pairs asked and kept, the distinct questions behind them, pairs whose
sides answer different questions; pairs lost by reason; answers that clear one bar, then both bars, of their side (the
rule of "Persona Vectors" drops answers one side at a time); answers without a trait score; mean scores. Questions that
are not known are NaN."""

PASSED = ["total", "passed", "failed", "pass_rate", "bar"]
"""Columns of pass rates, after those that name the group: answers, how many reach the bar, the share, the bar."""


def pairs(
    positive: pd.DataFrame, negative: pd.DataFrame, *, bar: Bar | None = None, question: str = "question"
) -> pd.DataFrame:
    """One row per pair, columns ``PAIR``: its scores, and why it is not kept if it is not.

    Takes two frames of answers in the same order, with a score and a coherence; the longer is cut to the length of the
    shorter. Where the answers' text is known (``answer``), a pair with an empty one is not kept: it has no token to
    read. The reasons are those of :meth:`~personascope.core.records.Bar.fault`, in its order.

    Args:
        question: The column that names an answer's question; pairs have none where a side lacks it.
    """
    length = min(len(positive), len(negative))
    sides = {"positive": positive.iloc[:length], "negative": negative.iloc[:length]}
    asked = [_questions(side, question) for side in sides.values()]
    known = ~(asked[0].isna() | asked[1].isna())
    frame = pd.DataFrame({"pair": np.arange(length), "question": asked[0].where(known, None)})
    frame["same_question"] = (asked[0] == asked[1]) | ~known
    empty = np.zeros(length, dtype=bool)
    for name, side in sides.items():
        frame[f"{name}_score"] = side["score"].to_numpy(dtype=np.float64)
        frame[f"{name}_coherence"] = side["coherence"].to_numpy(dtype=np.float64)
        if "answer" in side:
            empty |= side["answer"].eq("").to_numpy(dtype=bool)
    frame["fault"] = _faults(frame, bar or Bar(), empty)
    frame["kept"] = frame["fault"] == ""
    return frame[PAIR]


def pair_counts(found: pd.DataFrame) -> PairCounts:
    """The counts of :func:`pairs`, as a vector's passport has them."""
    lost = found["fault"].value_counts()
    return PairCounts(len(found), int(found["kept"].sum()), **{name: int(lost.get(name, 0)) for name in FAULTS})


def filter_counts(
    positive: pd.DataFrame, negative: pd.DataFrame, *, bar: Bar | None = None, question: str = "question"
) -> pd.DataFrame:
    """What the bar leaves of the answers for and against one trait at one checkpoint: one row, columns ``COUNTS``.

    Takes what :func:`pairs` takes. The counts of a side and the means are over all its answers, those cut off included;
    an answer without a score clears no bar and is in no mean.
    """
    bar = bar or Bar()
    found = pairs(positive, negative, bar=bar, question=question)
    counts = pair_counts(found)
    known = found["question"].notna().any()
    row: dict[str, float | int] = {
        "positive_answers": len(positive),
        "negative_answers": len(negative),
        "asked": counts.asked,
        "kept": counts.kept,
        "questions": found["question"].nunique() if known else np.nan,
        "questions_kept": found.loc[found["kept"], "question"].nunique() if known else np.nan,
        "mismatched": int((~found["same_question"]).sum()) if known else np.nan,
        **{name: getattr(counts, name) for name in FAULTS},
    }
    high, low = _clears(positive["score"], bar.trait), _clears(negative["score"], bar.trait, against=True)
    row |= {"positive_high": int(high.sum()), "negative_low": int(low.sum())}
    for name, side, clears in (("positive", positive, high), ("negative", negative, low)):
        coherent = _clears(side["coherence"], bar.coherence)
        row[f"{name}_coherent"] = int(coherent.sum())
        row[f"{name}_kept"] = int((clears & coherent).sum())
        row[f"{name}_unscored"] = int(side["score"].isna().sum())
        row[f"{name}_mean"] = float(side["score"].mean())
        row[f"{name}_coherence_mean"] = float(side["coherence"].mean())
    return pd.DataFrame([row], columns=COUNTS)


def pass_rates(answers: pd.DataFrame, *, by: Sequence[str], bar: float = 50.0) -> pd.DataFrame:
    """The share of each group's answers that reach the bar for the trait, coherent or not: columns ``by``, ``PASSED``.

    It is what the published study plots as its extraction pass rate, for either pole (tracing study §1.5): of answers
    against the trait, the lower the better. An answer without a score has not passed.
    """
    passed = answers.assign(passed=answers["score"] >= bar)
    grouped = passed.groupby(list(by), sort=False, dropna=False, observed=True)["passed"]
    frame = grouped.agg(total="size", passed="sum").reset_index()
    frame["failed"] = frame["total"] - frame["passed"]
    frame["pass_rate"] = frame["passed"] / frame["total"]
    return frame.assign(bar=bar)[[*by, *PASSED]]


def limiting(counts: pd.DataFrame) -> pd.Series:
    """Which bar fewer of the positive answers clear, ``"trait"`` or ``"coherence"``; coherence where as many do.

    Of a checkpoint without a vector it says what was missing: the trait, or language that makes sense. Takes the
    columns positive_high and positive_coherent; empty where either is unknown.
    """
    high, coherent = counts["positive_high"], counts["positive_coherent"]
    named = np.where(high < coherent, "trait", "coherence")
    return pd.Series(np.where(high.notna() & coherent.notna(), named, ""), index=counts.index, dtype=object)


def _questions(side: pd.DataFrame, question: str) -> pd.Series:
    values = side[question] if question in side else pd.Series([None] * len(side), dtype=object)
    return values.astype(object).reset_index(drop=True)


def _clears(scores: pd.Series, bar: float | None, *, against: bool = False) -> pd.Series:
    """Which answers of one side clear a bar on their own; all of them where there is none."""
    if bar is None:
        return pd.Series(True, index=scores.index)
    return scores < 100 - bar if against else scores >= bar


def _faults(frame: pd.DataFrame, bar: Bar, empty: np.ndarray) -> np.ndarray:
    """Why each pair is not kept: the first reason that holds, in the order the bar is applied."""
    reasons: list[tuple[str, np.ndarray | pd.Series]] = [("empty", empty)]
    positive, negative = frame["positive_score"], frame["negative_score"]
    if bar.trait is not None:
        reasons += [
            ("unscored", positive.isna() | negative.isna()),
            ("positive_too_low", positive < bar.trait),
            ("negative_too_high", negative >= 100 - bar.trait),
        ]
    if bar.coherence is not None:
        coherence = frame[["positive_coherence", "negative_coherence"]]
        reasons += [
            ("unscored", coherence.isna().any(axis=1)),
            ("incoherent", coherence.min(axis=1) < bar.coherence),
        ]
    return np.select([np.asarray(holds, dtype=bool) for _, holds in reasons], [name for name, _ in reasons], "")
