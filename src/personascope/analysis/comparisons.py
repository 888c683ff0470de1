"""Two sets of answers compared: every statistic that the published results tables hold.

Owns: :func:`compare`. The one law: rows are described as rows and tested as questions, and every number is computed
from the answers given, with the formulas of tracing study §2.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.significance import sign_flip_p, sign_test

SIDES = ("baseline", "output")
MEASURES = {"trait": "score", "coherence": "coherence"}
"""What is compared, and the column of an answers frame that holds it."""

_ALTERNATIVES = ("two_sided", "greater")
COUNTS = [
    *(f"{side}_rows" for side in SIDES), "paired_questions",
    *(f"trait_sign_test_{which}_pairs" for which in ("nonzero", "positive", "negative")),
]  # fmt: skip
DESCRIPTIVES = [
    *(f"{side}_{name}_{what}" for side in SIDES for name in MEASURES for what in ("mean", "median", "std")),
    *(f"delta_{name}_{what}" for name in MEASURES for what in ("mean", "median")),
]
PAIRED = [
    *(f"paired_{name}_{what}_diff" for name in MEASURES for what in ("mean", "median")),
    *(f"{name}_question_mean_{side}" for name in MEASURES for side in ("baseline", "steered")),
]
SIGN_FLIP_P = [f"{name}_sign_flip_p_{side}" for name in MEASURES for side in _ALTERNATIVES]
SIGN_TEST_P = [f"trait_sign_test_p_{side}" for side in _ALTERNATIVES]
STATISTICS = [*COUNTS, *DESCRIPTIVES, *PAIRED, *SIGN_FLIP_P, *SIGN_TEST_P]
"""The names of all statistics, those of the published tables: ``output`` and ``steered`` are the same answers."""


def compare(baseline: pd.DataFrame, steered: pd.DataFrame) -> dict[str, float]:
    """Every statistic of steered answers against plain ones, by its name in ``STATISTICS``; NaN where there is none.

    Means, medians and standard deviations (of samples) are over answers. Paired statistics are over the questions that
    both sides answered: a question's difference is its mean steered score minus its mean plain score, and the tests are
    the exact sign-flip test and the sign test of these differences. ``delta_*_median`` is the difference of medians.

    Args:
        baseline: Plain answers: columns ``question_id``, ``score`` and ``coherence``, NaN where there is no score.
        steered: Steered answers, likewise.
    """
    found: dict[str, Any] = dict.fromkeys(STATISTICS, math.nan)
    sides = dict(zip(SIDES, (baseline, steered), strict=True))
    for side, answers in sides.items():
        found[f"{side}_rows"] = len(answers)
        for name, column in MEASURES.items():
            mean, median, std = _described(answers[column].to_numpy(dtype=np.float64))
            found |= {f"{side}_{name}_mean": mean, f"{side}_{name}_median": median, f"{side}_{name}_std": std}
    for name in MEASURES:
        for what in ("mean", "median"):
            found[f"delta_{name}_{what}"] = found[f"output_{name}_{what}"] - found[f"baseline_{name}_{what}"]
    plain, changed = _question_means(baseline).add_suffix("_plain"), _question_means(steered).add_suffix("_steered")
    paired = plain.join(changed, how="inner")
    found["paired_questions"] = len(paired)
    for name, column in MEASURES.items():
        sides_of = [paired[f"{column}_{which}"].to_numpy(dtype=np.float64) for which in ("plain", "steered")]
        found |= _paired(name, *sides_of)
    return found


def _described(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, median and sample standard deviation of what is not NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan, math.nan
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return float(known.mean()), float(np.median(known)), spread


def _question_means(answers: pd.DataFrame) -> pd.DataFrame:
    """Mean score and coherence per question, NaN left out."""
    return answers.groupby("question_id", sort=True)[list(MEASURES.values())].mean()


def _paired(name: str, plain: np.ndarray, steered: np.ndarray) -> dict[str, float]:
    differences = steered - plain
    known = ~np.isnan(differences)
    if not known.any():
        return {}
    differences = differences[known]
    two_sided, greater = sign_flip_p(differences)
    found = {
        f"paired_{name}_mean_diff": float(differences.mean()),
        f"paired_{name}_median_diff": float(np.median(differences)),
        f"{name}_question_mean_baseline": float(plain[known].mean()),
        f"{name}_question_mean_steered": float(steered[known].mean()),
        f"{name}_sign_flip_p_two_sided": two_sided,
        f"{name}_sign_flip_p_greater": greater,
    }
    return found | _signs(differences) if name == "trait" else found


def _signs(differences: np.ndarray) -> dict[str, float]:
    test = sign_test(differences)
    return {
        "trait_sign_test_nonzero_pairs": test.pairs,
        "trait_sign_test_positive_pairs": test.positive,
        "trait_sign_test_negative_pairs": test.negative,
        "trait_sign_test_p_two_sided": test.p_two_sided,
        "trait_sign_test_p_greater": test.p_greater,
    }
