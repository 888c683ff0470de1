"""Is an effect more than chance? Exact tests and intervals over paired questions.

Owns: :func:`sign_flip` with its Monte Carlo stand-in for many pairs, :func:`sign_flip_p` and :func:`sign_flip_ps`, and
:func:`sign_test`. The one law: a p-value and its interval are counted over the same sign patterns, so they agree (but
for effects below the tolerance); up to 22 pairs those are all there are, whichever function counts.

The test (tracing study §2.2): if steering does nothing, each question's difference is as likely negative as positive.
Of all 2^n sign patterns, p is the share whose mean is at least as extreme as the one observed, with a tolerance of
1e-12, because judge scores reach 1e-20 and ties must count as ties. The interval holds every shift the test does not
reject. The test assumes that differences are symmetric around the effect.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

TOLERANCE = 1e-12
MOST_EXACT = 22  # 2^22 sign patterns take 0.05 CPU s; beyond, patterns are drawn
_DRAWN = 2**18
_AT_ONCE = 256  # rows of p-values: their subset sums then stay below 10 MB


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

    Example:
        >>> sign_flip_p(np.ones(10)) == (2**-9, 2**-10)
        True
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) > MOST_EXACT:
        test = sign_flip(values)
        return test.p_two_sided, test.p_greater
    two_sided, greater = sign_flip_ps(values[None])
    return float(two_sided[0]), float(greater[0])


def sign_flip_ps(
    differences: Float[np.ndarray, "row pair"],
) -> tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]]:
    """Two-sided and greater p-values of many tests at once, one per row; NaN in a row is a pair that it lacks.

    The patterns are those of :func:`sign_flip` and all of them count, but they are not written out: every subset is one
    of the first half of the pairs beside one of the second, and such pairs of sums are counted by bisection. Beyond 22
    pairs 2^14 patterns are drawn, the same for every row.
    """
    rows = np.asarray(differences, dtype=np.float64)
    known = ~np.isnan(rows)
    # A pair of difference zero doubles every count, so that it changes no share: it can stand for a missing one.
    filled, pairs = np.where(known, rows, 0.0), known.sum(axis=1)
    counted = _counted_by_halves if rows.shape[1] <= MOST_EXACT else _counted_in_drawn
    found = [counted(filled[at : at + _AT_ONCE], pairs[at : at + _AT_ONCE]) for at in range(0, len(rows), _AT_ONCE)]
    two_sided, greater = np.concatenate([np.zeros((2, 0)), *found], axis=1)
    return np.where(pairs, two_sided, np.nan), np.where(pairs, greater, np.nan)


def _counted_by_halves(
    rows: Float[np.ndarray, "row pair"], pairs: Int[np.ndarray, "row"]
) -> Float[np.ndarray, "2 row"]:
    half = rows.shape[1] // 2
    first = rows[:, :half] @ _subsets(half).T
    second = np.sort(rows[:, half:] @ _subsets(rows.shape[1] - half).T, axis=1)
    totals, slacks = rows.sum(axis=1), pairs * TOLERANCE
    counts = np.zeros((2, len(rows)))
    for place, (total, slack) in enumerate(zip(totals, slacks, strict=True)):
        above, below = second[place], first[place]
        greater = np.searchsorted(above, slack / 2 - below, side="right").sum()
        extreme = greater if total >= 0 else np.searchsorted(above, total + slack / 2 - below, side="right").sum()
        # A subset as low as this has a complement as high: together they are the patterns at least as extreme.
        counts[:, place] = 2.0 * extreme, greater
    shares: np.ndarray = counts / 2.0 ** rows.shape[1]
    shares[0, np.abs(totals) <= slacks] = 1.0
    return shares


def _counted_in_drawn(rows: Float[np.ndarray, "row pair"], pairs: Int[np.ndarray, "row"]) -> Float[np.ndarray, "2 row"]:
    flipped = rows @ _drawn_subsets(rows.shape[1]).T
    totals, slacks = rows.sum(axis=1)[:, None], (pairs * TOLERANCE)[:, None]
    downwards = (flipped <= (totals - np.abs(totals) + slacks) / 2).mean(axis=1)
    upwards = (flipped >= (totals + np.abs(totals) - slacks) / 2).mean(axis=1)
    two_sided = np.where(np.abs(totals[:, 0]) <= slacks[:, 0], 1.0, downwards + upwards)
    return np.stack([two_sided, (flipped <= slacks / 2).mean(axis=1)])


@functools.lru_cache(maxsize=4)
def _subsets(pairs: int) -> Float[np.ndarray, "pattern pair"]:
    """Which pairs each subset holds: ones and zeros."""
    return (np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1).astype(np.float64)


@functools.lru_cache(maxsize=1)
def _drawn_subsets(pairs: int) -> Float[np.ndarray, "pattern pair"]:
    """Random subsets, the empty one, which is the pattern observed, among them."""
    chosen = np.random.default_rng(0).integers(0, 2, (2**14, pairs)).astype(np.float64)
    chosen[0] = 0
    return chosen


@dataclass(frozen=True)
class SignTest:
    """How many differences are positive and negative, and how likely a fair coin is as one-sided; NaN without any."""

    positive: int
    negative: int
    p_two_sided: float
    p_greater: float

    @property
    def pairs(self) -> int:
        """The pairs that count: those that differ."""
        return self.positive + self.negative


def sign_test(differences: Float[np.ndarray, "pair"]) -> SignTest:
    """The sign test of paired differences: it asks only in which direction each question moved (tracing study §2.2).

    Differences within the tolerance are no difference and are left out, as are those that are NaN. With none left the
    p-values are 1, as nothing speaks against a fair coin; with nothing given they are NaN.

    Example:
        >>> sign_test(np.array([1.0, 2.0, 3.0, 0.0])).p_greater
        0.125
    """
    from scipy.stats import binomtest

    values = np.asarray(differences, dtype=np.float64)
    positive, negative = int((values > TOLERANCE).sum()), int((values < -TOLERANCE).sum())
    if np.isnan(values).all():
        return SignTest(0, 0, np.nan, np.nan)
    if not positive + negative:
        return SignTest(0, 0, 1.0, 1.0)
    two_sided, greater = (
        float(binomtest(positive, positive + negative, alternative=side).pvalue) for side in ("two-sided", "greater")
    )
    return SignTest(positive, negative, two_sided, greater)


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
