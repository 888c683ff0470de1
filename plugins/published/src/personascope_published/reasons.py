"""Why a published row does not follow from the published files.

Owns: :func:`explain`, :func:`overwritten` and :func:`contradictions`. The one law: a reason is found in the numbers and
told with them and with the file's name; where none is found, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from personascope.analysis.comparisons import DESCRIPTIVES
from personascope_published.agreement import GROUPS, LIMITS, Agreement, is_number

QUESTIONS = 20
"""How many questions the study evaluates with (tracing study §1.2), for p-values whose answers are not at hand."""

MOST_QUESTIONS = 60


def explain(
    row: Mapping[str, Any], found: Agreement, sides: Mapping[str, pd.DataFrame], constant: frozenset[str]
) -> tuple[str, str]:
    """The reason, in a word or two and in a sentence, why a row that could be recomputed does not agree.

    Args:
        sides: The answers at hand, ``baseline`` and ``output``.
        constant: p-value columns that hold one value in the whole file.
    """
    if flat := [name for name in found.bad if name in constant]:
        return "constant placeholder", (
            f"{flat[0]} is {row[flat[0]]:g} in every row of the file, and {found.statistics[flat[0]]:.3g} from the "
            "answers: the p-values of this file were not computed"
        )
    beyond = {side: [name for name in found.bad if name.startswith(f"{side}_")] for side in ("baseline", "output")}
    changed = [side for side, names in beyond.items() if names]
    if changed:
        told = [overwritten(row, found.statistics, side, beyond[side], sides[side]) for side in changed]
        return f"overwritten {' and '.join(changed)}", "; ".join(told)
    name = max(found.bad, key=lambda each: abs(row[each] - found.statistics[each]))
    recomputed = found.statistics[name]
    return "unexplained", f"{len(found.bad)} numbers differ: {name} is {row[name]:.6g}, recomputed {recomputed:.6g}"


def overwritten(
    row: Mapping[str, Any], found: Mapping[str, float], side: str, names: Sequence[str], answers: pd.DataFrame
) -> str:
    """What the row recorded of one side and what its file holds now. ``names`` are the columns that differ."""
    file, trait = row[f"{side}_path"], row.get("trait")
    held = answers["column"].iloc[0] if len(answers) else ""
    usual = [f"{side}_trait_mean", f"{side}_coherence_mean", f"{side}_rows"]
    name = next((each for each in usual if each in names), names[0])
    if trait and held != trait:
        return f"{name} was {row[name]:.6g}, but {file} holds the scores of {held or 'no trait'} now, not of {trait}"
    return f"{name} was {row[name]:.6g} and is {found[name]:.6g} in {file} now"


def contradictions(row: Mapping[str, Any]) -> list[str]:
    """What a row says of itself that cannot be: differences that are none, and p-values no exact test can give."""
    wrong = []
    for name in (each for each in DESCRIPTIVES if each.startswith("delta_")):
        held = [row.get(each) for each in (name, name.replace("delta", "output"), name.replace("delta", "baseline"))]
        if all(map(is_number, held)):
            delta, after, before = map(float, held)  # type: ignore[arg-type]
            if not abs(delta - (after - before)) <= LIMITS["descriptives"]:
                wrong.append(f"{name} is {delta:.6g}, but its output and baseline differ by {after - before:.6g}")
    for name in GROUPS["sign_flip_p"]:
        if is_number(row.get(name)) and not is_possible(row[name], row):
            wrong.append(f"{name} is {row[name]:.6g}, which is no multiple of 2^-{_bits(row)}")
    return wrong


def is_possible(p: float, row: Mapping[str, Any]) -> bool:
    """Whether an exact sign-flip test of the row's questions could give this p-value: it is a share of all patterns."""
    patterns = p * 2.0 ** _bits(row)
    return 0 < p <= 1 and patterns == math.floor(patterns)


def _bits(row: Mapping[str, Any]) -> int:
    questions = row.get("paired_questions")
    return min(MOST_QUESTIONS, max(0, int(row["paired_questions"]))) if is_number(questions) else QUESTIONS
