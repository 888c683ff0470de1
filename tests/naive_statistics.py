"""The published statistics, written a second time and as plainly as can be: lists, loops and the formulas of §2.2.

Used as the oracle of the fast routines and to write the results files of ``published_world``. Nothing here imports
personascope, numpy or pandas. ``None`` stands for a score nobody gave.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from fractions import Fraction

Rows = Sequence[tuple[str, float | None, float | None]]
"""Question, trait score and coherence of each answer."""

TOLERANCE = 1e-12


def known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def described(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, median and sample standard deviation of the known values."""
    numbers = known(values)
    if not numbers:
        return {"mean": None, "median": None, "std": None}
    mean = math.fsum(numbers) / len(numbers)
    spread = None
    if len(numbers) > 1:
        spread = math.sqrt(math.fsum((each - mean) ** 2 for each in numbers) / (len(numbers) - 1))
    return {"mean": mean, "median": statistics.median(numbers), "std": spread}


def by_question(rows: Rows, which: int) -> dict[str, float]:
    """The mean of each question's known values; questions without any are left out."""
    held: dict[str, list[float]] = {}
    for row in rows:
        if row[which] is not None:
            held.setdefault(row[0], []).append(row[which])  # type: ignore[arg-type]
    return {question: math.fsum(values) / len(values) for question, values in held.items()}


def flipped(differences: Sequence[float]) -> tuple[float, float]:
    """The two-sided and the greater p-value: every sign pattern, one by one, with the tolerance on the mean."""
    count = len(differences)
    mean = sum(differences) / count
    both = greater = 0
    for signs in itertools.product((1, -1), repeat=count):
        other = sum(sign * each for sign, each in zip(signs, differences, strict=True)) / count
        both += abs(other) >= abs(mean) - TOLERANCE
        greater += other >= mean - TOLERANCE
    return both / 2**count, greater / 2**count


def signs(differences: Sequence[float]) -> dict[str, float]:
    """The sign test: counts beyond the tolerance, and exact binomial p-values."""
    positive = sum(each > TOLERANCE for each in differences)
    negative = sum(each < -TOLERANCE for each in differences)
    count = positive + negative
    below = sum(math.comb(count, k) for k in range(min(positive, negative) + 1))
    above = sum(math.comb(count, k) for k in range(positive, count + 1))
    return {
        "trait_sign_test_nonzero_pairs": count,
        "trait_sign_test_positive_pairs": positive,
        "trait_sign_test_negative_pairs": negative,
        "trait_sign_test_p_two_sided": float(min(Fraction(1), Fraction(2 * below, 2**count))),
        "trait_sign_test_p_greater": float(Fraction(above, 2**count)),
    }


def compared(baseline: Rows, steered: Rows) -> dict[str, float | None]:
    """Every statistic of §2.2 that a row of a results file holds, under its published name."""
    row: dict[str, float | None] = {"baseline_rows": len(baseline), "output_rows": len(steered)}
    for which, name in ((1, "trait"), (2, "coherence")):
        sides = {
            side: described([each[which] for each in rows])
            for side, rows in (("baseline", baseline), ("output", steered))
        }
        for side, values in sides.items():
            row |= {f"{side}_{name}_{what}": value for what, value in values.items()}
        for what in ("mean", "median"):
            before, after = sides["baseline"][what], sides["output"][what]
            row[f"delta_{name}_{what}"] = None if before is None or after is None else after - before
    row["paired_questions"] = len({each[0] for each in baseline} & {each[0] for each in steered})
    for which, name in ((1, "trait"), (2, "coherence")):
        before, after = by_question(baseline, which), by_question(steered, which)
        shared = [question for question in before if question in after]
        differences = [after[question] - before[question] for question in shared]
        if not shared:
            continue
        row[f"paired_{name}_mean_diff"] = math.fsum(differences) / len(shared)
        row[f"paired_{name}_median_diff"] = statistics.median(differences)
        row[f"{name}_question_mean_baseline"] = math.fsum(before[question] for question in shared) / len(shared)
        row[f"{name}_question_mean_steered"] = math.fsum(after[question] for question in shared) / len(shared)
        two_sided, greater = flipped(differences)
        row[f"{name}_sign_flip_p_two_sided"], row[f"{name}_sign_flip_p_greater"] = two_sided, greater
        if name == "trait":
            row |= signs(differences)
    row["trait_primary_p_two_sided"] = row.get("trait_sign_flip_p_two_sided")
    row["trait_primary_p_greater"] = row.get("trait_sign_flip_p_greater")
    return row


def corrected(row: dict[str, float | None], family: int) -> dict[str, float]:
    """Bonferroni: every p-value of the trait times the family, at most 1."""
    names = [
        f"trait_{test}_p_{side}" for test in ("sign_flip", "sign_test", "primary") for side in ("two_sided", "greater")
    ]
    return {
        f"{name}_bonferroni_within_trait": min(1.0, row[name] * family)  # type: ignore[operator]
        for name in names
        if row.get(name) is not None
    }
