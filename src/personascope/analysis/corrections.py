"""Many tests, and the family they are corrected in.

Owns: :func:`corrected`, :func:`adjusted`, :func:`holm` and :func:`family_name`. The one law: a corrected p-value says
which family it was corrected in and how many tests that family holds; a row without a p-value is no test and makes no
family larger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.analysis.effects import SUBJECT

Method = Literal["holm", "benjamini_hochberg", "bonferroni"]
_METHODS: tuple[Method, ...] = ("holm", "benjamini_hochberg", "bonferroni")
_STATSMODELS: dict[Method, str] = {"benjamini_hochberg": "fdr_bh", "bonferroni": "bonferroni"}

CORRECTION = ["family", "family_size", *(f"p_{method}" for method in _METHODS)]
"""The columns of a correction: the family in words, how many tests it holds, and the corrected p-values."""


def adjusted(p_values: Float[np.ndarray, "test"], method: Method) -> Float[np.ndarray, "test"]:
    """The p-values of one family, corrected. NaN stays NaN and is not counted.

    Holm's and Bonferroni's bound the chance of even one false positive; Benjamini and Hochberg's bounds the expected
    share of false ones among the positives.

    Example:
        >>> adjusted(np.array([0.01, 0.04, np.nan]), "holm").tolist()
        [0.02, 0.04, nan]
    """
    if method == "holm":
        return holm(p_values)
    from statsmodels.stats.multitest import multipletests

    found = np.asarray(p_values, dtype=np.float64).copy()
    tests = ~np.isnan(found)
    if tests.any():
        found[tests] = multipletests(found[tests], method=_STATSMODELS[method])[1]
    return found


def holm(p_values: Float[np.ndarray, "*family test"]) -> Float[np.ndarray, "*family test"]:
    """Holm's correction of many families at once, each along the last axis. NaN stays NaN and is not counted.

    The numbers are those of statsmodels, which collects garbage at every call of Holm's: a twentieth of a second, and
    ten times that in a large process, where a resampled onset needs thousands.
    """
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found, axis=-1)  # NaN comes last
    left = (~np.isnan(found)).sum(axis=-1, keepdims=True) - np.arange(found.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(found, order, axis=-1) * left, axis=-1)
    result = np.empty_like(found)
    np.put_along_axis(result, order, np.minimum(stepped, 1.0), axis=-1)
    return result


def corrected(effects: pd.DataFrame, *, family: Sequence[str] = SUBJECT, p: str = "p_two_sided") -> pd.DataFrame:
    """The same rows with the columns ``CORRECTION``: their p-values corrected within the family each belongs to.

    Give it the rows that are looked at together and no others: further ways to steer, controls and aliases of a
    checkpoint would make the families larger.

    Args:
        effects: Anything with p-values, such as :func:`~personascope.analysis.effects.effects`.
        family: The columns that a family has in common: a curve, unless others are named. None of them: one family.
        p: The column of p-values.
    """
    frame = effects.reset_index(drop=True)
    p_values = frame[p].to_numpy(dtype=np.float64)
    columns: dict[str, Any] = {
        "family": np.full(len(frame), "", dtype=object),
        "family_size": np.zeros(len(frame), int),
    }
    columns |= {name: np.full(len(frame), np.nan) for name in CORRECTION[2:]}
    keys = list(family)
    telling = [name for place, name in enumerate(keys) if not place or frame[name].nunique(dropna=False) > 1]
    groups = frame.groupby(keys, dropna=False, sort=False, observed=True).indices if keys else {(): frame.index}
    for rows in map(np.asarray, groups.values()):
        tests = rows[~np.isnan(p_values[rows])]
        about = {name: frame[name].iloc[rows[0]] for name in telling} if len(rows) else {}
        columns["family"][rows] = family_name(about, len(tests), _what(frame, tests))
        columns["family_size"][rows] = len(tests)
        for method in _METHODS:
            columns[f"p_{method}"][rows] = adjusted(p_values[rows], method)
    return effects.assign(**columns)


def family_name(about: Mapping[str, Any], size: int, what: str = "tests") -> str:
    """A family in words: what its tests have in common, and how many they are.

    Example:
        >>> family_name({"trait": "evil", "target": ""}, 15, "milestones")
        'trait evil, 15 milestones'
    """
    common = [f"{name.replace('_', ' ')} {value}" for name, value in about.items() if value == value and value != ""]
    return ", ".join([*common, f"{size} {what if size != 1 else what.removesuffix('s')}"])


def _what(frame: pd.DataFrame, tests: np.ndarray) -> str:
    """Whether the tests of a family are milestones, one each."""
    return "milestones" if "milestone" in frame and frame["milestone"].iloc[tests].is_unique else "tests"
