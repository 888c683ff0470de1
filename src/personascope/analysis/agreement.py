"""Facets: what kind of a trait an answer shows, how often, and whether two annotators agree.

Owns: :func:`rates`, :func:`on_common_questions`, :func:`flags` and :func:`agreement`. The one law: a rate says over how
many answers and how many questions it was taken, and rates are compared on the same questions.

The published facet rates of different checkpoints cover different questions, because annotation stopped at the first
100 answers of a file that is ordered by question (tracing study §1.9); :func:`on_common_questions` undoes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

RATE = ["facet", "count", "answers", "questions", "rate", "low", "high", "question_rate"]
"""Columns of rates, after those that name the group. ``count`` of ``answers`` show the facet, over so many distinct
``questions`` (NaN where they are not known). ``rate``, its interval and ``question_rate`` are shares, 0 to 1."""

AGREEMENT = ["facet", "items", "first", "second", "both", "agreement", "precision", "recall", "f1", "kappa"]
"""Columns of agreement. ``first``, ``second`` and ``both`` count items with the facet; ``agreement`` to ``f1`` are
shares."""

NONE = "(none)"
"""The row for answers that show no facet at all."""


def rates(
    annotations: pd.DataFrame,
    facets: Sequence[str],
    *,
    by: Sequence[str] = (),
    question: str = "question",
    level: float = 0.95,
) -> pd.DataFrame:
    """How often each facet is shown in each group: columns ``by`` and ``RATE``, groups in the order they come.

    Takes one row per annotated answer, with a column of truth values per facet. The last row of a group, ``(none)``,
    counts answers without any. The interval is Wilson's, which takes answers for independent: where few questions stand
    behind many answers it is too narrow. ``question_rate`` is the mean over questions of each one's rate, so that a
    question asked often weighs no more than another.

    Args:
        question: The column that tells questions apart.
        level: Of the interval.
    """
    heads = list(by)
    rows: list[dict[str, Any]] = []
    for group, mine in _groups(annotations, heads):
        shown = mine[list(facets)].astype(bool)
        shown = shown.assign(**{NONE: ~shown.any(axis=1)})
        for facet in shown.columns:
            rows.append({**group, "facet": str(facet), **_rate(shown[facet], mine[question], level)})
    return pd.DataFrame(rows, columns=[*heads, *RATE])


def on_common_questions(annotations: pd.DataFrame, *, by: Sequence[str], question: str = "question") -> pd.DataFrame:
    """The answers to those questions that every group has an answer to: what groups may be compared on.

    Answers to questions that are not known are left out. Give the result to :func:`rates` with the same ``by``.
    """
    groups = [set(mine[question].dropna()) for _, mine in _groups(annotations, list(by))]
    common = set.intersection(*groups) if groups else set()
    return annotations[annotations[question].isin(common)]


def flags(labels: Sequence[Sequence[str]], facets: Sequence[str]) -> pd.DataFrame:
    """Lists of labels, one per item, as a column of truth values per facet."""
    return pd.DataFrame({facet: [facet in each for each in labels] for facet in facets}, dtype=bool)


def agreement(first: pd.DataFrame, second: pd.DataFrame, *, facets: Sequence[str]) -> pd.DataFrame:
    """Do two annotators of the same items agree? One row per facet, columns ``AGREEMENT``.

    ``first`` is taken for the truth: precision is the share of the second's facets that the first gave too, recall the
    share of the first's that the second found; ``agreement`` the share of items on which they say the same. Unknown is
    NaN: precision where the second gave none, recall where the first gave none, kappa where both say the same of all.

    Args:
        first: One row per item, a column of truth values per facet.
        second: The same items in the same order.

    Raises:
        ValueError: if the two have different numbers of items.
    """
    from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score

    if len(first) != len(second):
        raise ValueError(f"{len(first)} items were given for one annotator and {len(second)} for the other")
    rows = []
    for facet in facets:
        truth, said = (each[facet].to_numpy(dtype=bool) for each in (first, second))
        counts = [facet, len(truth), int(truth.sum()), int(said.sum()), int((truth & said).sum())]
        if not len(truth):
            rows.append([*counts, *[np.nan] * 5])
            continue
        scores = [float(each(truth, said, zero_division=np.nan)) for each in (precision_score, recall_score, f1_score)]
        varied = truth.any() != truth.all() or said.any() != said.all() or truth[0] != said[0]
        kappa = float(cohen_kappa_score(truth, said)) if varied else np.nan
        rows.append([*counts, float((truth == said).mean()), *scores, kappa])
    return pd.DataFrame(rows, columns=AGREEMENT)


def _groups(annotations: pd.DataFrame, by: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The groups with the values that name them; all rows are one group where nothing names any."""
    if not by:
        return [({}, annotations)] if len(annotations) else []
    grouped = annotations.groupby(by, sort=False, dropna=False, observed=True)
    return [(dict(zip(by, values, strict=True)), mine) for values, mine in grouped]


def _rate(shown: pd.Series, questions: pd.Series, level: float) -> dict[str, float | int]:
    from scipy.stats import binomtest

    count = int(shown.sum())
    interval = binomtest(count, len(shown)).proportion_ci(confidence_level=level, method="wilson")
    return {
        "count": count,
        "answers": len(shown),
        "questions": int(questions.nunique()) if questions.notna().any() else np.nan,
        "rate": count / len(shown),
        "low": float(interval.low),
        "high": float(interval.high),
        "question_rate": float(shown.groupby(questions).mean().mean()),
    }
