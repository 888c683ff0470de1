"""Published numbers beside recomputed ones: how far apart they are, and how far apart they may be.

Owns: the groups of columns, their limits, and :func:`agreement`. The one law: every number a row holds is compared, and
a number that cannot be recomputed agrees with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.analysis.comparisons import COUNTS, DESCRIPTIVES, PAIRED, SIGN_FLIP_P, SIGN_TEST_P

PRIMARY_P = ["trait_primary_p_two_sided", "trait_primary_p_greater"]
GROUPS = {
    "counts": COUNTS,
    "descriptives": DESCRIPTIVES,
    "paired": PAIRED,
    "sign_flip_p": [*SIGN_FLIP_P, *PRIMARY_P],
    "sign_test_p": SIGN_TEST_P,
}
"""The recomputed columns of a results file, by what they are. Corrections are judged in ``corrections``."""

LIMITS = {"counts": 0.0, "descriptives": 1e-12, "paired": 1e-12, "sign_flip_p": 1e-15, "sign_test_p": 1e-15}
"""The greatest difference at which a number counts as reproduced."""


@dataclass(frozen=True)
class Agreement:
    """How a row agrees with recomputed ``statistics``.

    ``differences`` are the greatest absolute ones per group, NaN where nothing of the group could be compared;
    ``compared`` is the number of numbers compared; ``bad`` are the columns beyond their limit.
    """

    statistics: Mapping[str, float]
    differences: Mapping[str, float]
    compared: int
    bad: tuple[str, ...]


def agreement(row: Mapping[str, Any], found: Mapping[str, float]) -> Agreement:
    """Every number the row holds against the recomputed one of its name, as far as there is one."""
    differences, bad, count = {}, [], 0
    for group, names in GROUPS.items():
        here = [name for name in names if is_number(row.get(name)) and name in found]
        sizes = [abs(row[name] - found[name]) for name in here]
        bad += [name for name, size in zip(here, sizes, strict=True) if not size <= LIMITS[group]]
        differences[group] = float(np.max(sizes)) if sizes else math.nan
        count += len(here)
    return Agreement(found, differences, count, tuple(bad))


def with_primary(found: Mapping[str, float]) -> dict[str, float]:
    """The primary p-values are copies of the sign-flip ones in every published row (tracing study §2.2)."""
    return {**found, **{name: found[name.replace("primary", "sign_flip")] for name in PRIMARY_P}}


def is_number(value: Any) -> bool:
    """Whether a cell holds a number; an empty one is NaN."""
    return isinstance(value, (int, float)) and not math.isnan(value)
