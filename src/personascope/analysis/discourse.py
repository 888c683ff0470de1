"""Discourse: does a vector made from one form of text act in another?

Owns: :func:`form_matrix`. The one law: every cell compares the answers to the same questions with and without the edit,
so a hard form of text lowers both sides alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.significance import sign_flip

CELL = [
    "questions", "plain_answers", "steered_answers", "plain_unscored", "steered_unscored", "plain", "steered",
    "difference", "plain_coherence", "steered_coherence", "effect", "low", "high", "p_two_sided",
]  # fmt: skip
"""Columns of a cell, after those that name it. ``plain``, ``steered`` and the coherences are means over scored answers,
``difference`` is steered minus plain; ``effect`` is the mean over questions, with the interval and p of the sign-flip
test. They differ where questions have different numbers of scored answers. All in score points."""

FORMS = ("trait", "extracted_as", "evaluated_as")


def form_matrix(answers: pd.DataFrame, *, by: Sequence[str] = FORMS, level: float = 0.95) -> pd.DataFrame:
    """One row per cell of extraction form and evaluation form: columns ``by`` and ``CELL``, cells as they come.

    Takes one row per answer: ``by``, pole (plain or steered), question, score, coherence. Give ``by`` a column more,
    such as the judge's name, for a matrix of each.
    """
    rows: list[dict[str, Any]] = []
    heard = answers[answers["pole"].notna()]
    for cell, mine in heard.groupby(list(by), sort=False, dropna=False, observed=True):
        row: dict[str, Any] = dict(zip(by, cell, strict=True))
        for pole in ("plain", "steered"):
            side = mine[mine["pole"] == pole]
            row |= {
                f"{pole}_answers": len(side),
                f"{pole}_unscored": int(side["score"].isna().sum()),
                pole: float(side["score"].mean()),
                f"{pole}_coherence": float(side["coherence"].mean()),
            }
        means = mine.groupby(["question", "pole"], sort=False)["score"].mean().unstack("pole")
        means = means.reindex(columns=["plain", "steered"])
        test = sign_flip((means["steered"] - means["plain"]).to_numpy(dtype=np.float64), level=level)
        row |= {"difference": row["steered"] - row["plain"], "questions": test.pairs, "effect": test.mean}
        rows.append(row | {"low": test.low, "high": test.high, "p_two_sided": test.p_two_sided})
    return pd.DataFrame(rows, columns=[*by, *CELL])
