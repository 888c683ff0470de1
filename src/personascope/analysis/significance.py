"""Is an effect more than chance? Exact tests and intervals over paired questions.

Owns: :func:`sign_flip`, its Monte Carlo stand-in for many pairs, and :func:`sign_flip_p`. The one law: everything is
counted over the same enumeration of sign patterns, so a p-value and an interval agree (but for effects below the
tolerance).

The test (tracing study §2.2): if steering does nothing, each question's difference is as likely negative as positive.
Of all 2^n sign patterns, p is the share whose mean is at least as extreme as the one observed, with a tolerance of
1e-12, because judge scores reach 1e-20 and ties must count as ties. The interval holds every shift the test does not
reject. The test assumes that differences are symmetric around the effect.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TOLERANCE = 1e-12
MOST_EXACT = 22  # 2^22 sign patterns take 0.05 CPU s; beyond, patterns are drawn
_DRAWN = 2**18


@dataclass(frozen=True)
class SignFlip:
    """The mean difference, its p-values and its interval; NaN where there is nothing to test.

    ``exact`` is false where the sign patterns were drawn instead of enumerated.
    """

    pairs: int
    mean: float
    p_two_sided: float
    p_greater: float
    low: float
    high: float
    exact: bool


def sign_flip(differences: Float[np.ndarray, "pair"], *, level: float = 0.95, seed: int = 0) -> SignFlip:
    """The sign-flip test of paired differences, with the interval that inverts it.

    Differences that are NaN (a question nobody could score) are left out. With fewer than six pairs no interval of
    level 0.95 is bounded, and its ends are infinite.

    Example:
        >>> sign_flip(np.ones(10)).p_greater == 2**-10
        True
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return SignFlip(0, np.nan, np.nan, np.nan, np.nan, np.nan, True)
    exact = len(values) <= MOST_EXACT
    flipped, sizes = _flipped_sums(values) if exact else _drawn_sums(values, seed)
    mean, total = float(values.mean()), float(values.sum())
    # Flipping a subset takes twice its sum away from the total, so every comparison of means is one of subset sums.
    slack = len(values) * TOLERANCE
    downwards = np.count_nonzero(flipped <= (total - abs(total) + slack) / 2)
    upwards = np.count_nonzero(flipped >= (total + abs(total) - slack) / 2)
    # Where the mean is nothing but rounding, every pattern is at least as extreme, and some would count twice.
    two_sided = 1.0 if abs(total) <= slack else float(downwards + upwards) / len(flipped)
    greater = float(np.count_nonzero(flipped <= slack / 2)) / len(flipped)
    low, high = _interval(flipped, sizes, level)
    return SignFlip(len(values), mean, two_sided, greater, low, high, exact)


def sign_flip_p(differences: Float[np.ndarray, "pair"]) -> tuple[float, float]:
    """The two p-values of :func:`sign_flip` alone, two-sided and greater, in a hundredth of its time.

    The patterns are the same and all of them count, but they are not written out: every subset is one of the first half
    of the pairs beside one of the second, and such pairs of sums are counted by bisection.

    Example:
        >>> sign_flip_p(np.ones(10)) == (2**-9, 2**-10)
        True
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0 or len(values) > MOST_EXACT:
        test = sign_flip(values)
        return test.p_two_sided, test.p_greater
    first, _ = _flipped_sums(values[: len(values) // 2])
    second = np.sort(_flipped_sums(values[len(values) // 2 :])[0])
    total, patterns = float(values.sum()), len(first) * len(second)
    slack = len(values) * TOLERANCE

    def at_most(sum_: float) -> int:
        return int(np.searchsorted(second, sum_ - first, side="right").sum())

    below = int(np.searchsorted(second, (total + abs(total) - slack) / 2 - first, side="left").sum())
    extreme = at_most((total - abs(total) + slack) / 2) + patterns - below
    two_sided = 1.0 if abs(total) <= slack else extreme / patterns
    return two_sided, at_most(slack / 2) / patterns


def _flipped_sums(
    values: Float[np.ndarray, "pair"],
) -> tuple[Float[np.ndarray, "pattern"], Float[np.ndarray, "pattern"]]:
    """The sum and the size of every subset, built by doubling; the empty subset comes first."""
    sums = np.zeros(2 ** len(values))
    for place, value in enumerate(values):
        half = 2**place
        np.add(sums[:half], value, out=sums[half : 2 * half])
    return sums, _subset_sizes(len(values))


@functools.lru_cache(maxsize=4)
def _subset_sizes(pairs: int) -> Float[np.ndarray, "pattern"]:
    sizes = np.zeros(1)
    for _ in range(pairs):
        sizes = np.concatenate([sizes, sizes + 1])
    return sizes


def _drawn_sums(
    values: Float[np.ndarray, "pair"], seed: int
) -> tuple[Float[np.ndarray, "pattern"], Float[np.ndarray, "pattern"]]:
    """The sum and the size of random subsets; the empty one, the pattern observed, is always among them."""
    generator = np.random.default_rng(seed)
    sums, sizes = np.zeros(_DRAWN), np.zeros(_DRAWN)
    for value in values:
        chosen = generator.integers(0, 2, _DRAWN)
        chosen[0] = 0
        sums += chosen * value
        sizes += chosen
    return sums, sizes


def _interval(
    sums: Float[np.ndarray, "pattern"], sizes: Float[np.ndarray, "pattern"], level: float
) -> tuple[float, float]:
    """Every shift that neither one-sided test rejects at half the remaining level.

    A pattern counts against a shift exactly if the mean of its flipped subset is at most the shift. So the ends of the
    interval are order statistics of the subset means, with the empty subset counting against every shift.
    """
    empty = np.flatnonzero(sizes == 0)
    with np.errstate(invalid="ignore"):
        means = sums / sizes
    means[empty] = -np.inf
    empties = len(empty)
    # The largest number of patterns that may count against a shift while the test still rejects it.
    rejecting = int(np.floor((1 - level) / 2 * len(sums)))
    if rejecting < empties:
        return -np.inf, np.inf
    places = (rejecting, len(means) - 1 - (rejecting - empties))
    ordered = np.partition(means, places)
    return float(ordered[places[0]]), float(ordered[places[1]])
