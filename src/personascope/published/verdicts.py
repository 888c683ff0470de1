"""Does a published row follow from the published files? Its verdict, with the reason and the differences.

Owns: :func:`judge_row` and what it gives. The one law: a row is reproduced only if every number it holds is, within
``LIMITS``; else the reason is found in the files, and told with their names and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.comparisons import COUNTS, DESCRIPTIVES, PAIRED, SIGN_FLIP_P, SIGN_TEST_P, compare
from personascope.errors import PublishedError
from personascope.interop.published import Published

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

QUESTIONS = 20
"""How many questions the study evaluates with (tracing study §1.2), for p-values whose answers are not at hand."""

REPRODUCED, PARTLY, NOT = "reproduced", "partly checked", "not reproduced"


@dataclass(frozen=True)
class RowVerdict:
    """What became of one published row.

    ``pool`` says which answers its steered side was recomputed from; ``pools`` are the statistics of every pool that
    was tried where the output file alone does not agree. ``differences`` are the greatest absolute ones per group, NaN
    where nothing of the group could be compared; ``compared`` is the number of numbers compared. ``bad`` are the
    columns beyond their limit.
    """

    verdict: str
    reason: str = ""
    detail: str = ""
    pool: str = ""
    statistics: Mapping[str, float] = field(default_factory=dict)
    pools: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    compared: int = 0
    bad: tuple[str, ...] = ()


def judge_row(study: Published, row: Mapping[str, Any], *, constant: frozenset[str] = frozenset()) -> RowVerdict:
    """The verdict on one row of a results file.

    The steered side is the output file alone. Where that does not agree and the file has an ``_extended`` sibling, the
    rows may be pooled with the sibling's, once or, as the headline rows were, twice (tracing study §2.4).

    Args:
        row: The row, by the published column names.
        constant: p-value columns that hold one value in the whole file: signs of a table that was not computed.
    """
    if missing := [name for name in ("baseline_path", "output_path") if not row.get(name)]:
        return _without_a_path(row, missing)
    sides: dict[str, pd.DataFrame] = {}
    faults: dict[str, str] = {}
    for side, file in (("baseline", row["baseline_path"]), ("output", row["output_path"])):
        try:
            if not study.has(file):
                faults[side] = f"missing file|the {side} {file} is not in the published data"
                continue
            sides[side] = _of_trait(study.answers(file), str(row.get("trait", "")))
        except PublishedError as problem:
            faults[side] = f"file unreadable|{problem}"
    if faults:
        return _without_a_side(row, sides, faults, constant)
    found = _with_primary(compare(sides["baseline"], sides["output"]))
    direct = _compared(row, found)
    if not direct.bad:
        return _agreeing(row, sides, direct)
    pools = _pools(study, row, sides)
    for name, statistics in pools.items():
        pooled = _compared(row, statistics)
        if not pooled.bad:
            return _pooled(row, name, found, pools, pooled)
    reason, detail = _reason(row, found, direct.bad, constant)
    return RowVerdict(NOT, reason, detail, "", found, pools, direct.differences, direct.compared, direct.bad)


def _without_a_path(row: Mapping[str, Any], missing: list[str]) -> RowVerdict:
    if row.get("status") == "nonextractable":
        return RowVerdict(PARTLY, "no vector", str(row.get("vector_status_message") or "no vector could be extracted"))
    columns = [name for name in missing if name not in row]
    if columns:
        return RowVerdict(NOT, "missing column", f"the file has no column {' and no '.join(columns)}")
    return RowVerdict(NOT, "missing file", f"the row names no file: its {' and '.join(missing)} is empty")


@dataclass(frozen=True)
class _Comparison:
    statistics: Mapping[str, float]
    differences: Mapping[str, float]
    compared: int
    bad: tuple[str, ...]


def _compared(row: Mapping[str, Any], found: Mapping[str, float]) -> _Comparison:
    """Every number the row holds against the recomputed one; a number that cannot be recomputed is beyond any limit."""
    differences, bad, count = {}, [], 0
    for group, names in GROUPS.items():
        here = [name for name in names if _is_number(row.get(name)) and name in found]
        sizes = [abs(row[name] - found[name]) for name in here]
        bad += [name for name, size in zip(here, sizes, strict=True) if not size <= LIMITS[group]]
        differences[group] = float(np.max(sizes)) if sizes else math.nan
        count += len(here)
    return _Comparison(found, differences, count, tuple(bad))


def _of_trait(answers: pd.DataFrame, trait: str) -> pd.DataFrame:
    """The answers, with scores only if they are of the trait the row speaks of."""
    foreign = trait and len(answers) and answers["column"].iloc[0] != trait
    return answers.assign(score=math.nan) if foreign else answers


def _with_primary(found: dict[str, float]) -> dict[str, float]:
    """The primary p-values are copies of the sign-flip ones in every published row (tracing study §2.2)."""
    return found | {name: found[name.replace("primary", "sign_flip")] for name in PRIMARY_P}


def _agreeing(row: Mapping[str, Any], sides: Mapping[str, pd.DataFrame], direct: _Comparison) -> RowVerdict:
    numbers: dict[str, Any] = {
        "pool": "output alone",
        "statistics": direct.statistics,
        "differences": direct.differences,
    }
    if not sides["output"]["score"].notna().any() or not sides["baseline"]["score"].notna().any():
        held = {side: frame["column"].iloc[0] if len(frame) else "" for side, frame in sides.items()}
        of = " and ".join(
            f"the {side} of {held[side] or 'no trait'}" for side in held if held[side] != row.get("trait")
        )
        detail = f"{of} holds no scores of {row.get('trait')}: the {direct.compared} numbers the row has all agree"
        return RowVerdict(PARTLY, "raw output", detail, compared=direct.compared, **numbers)
    return RowVerdict(REPRODUCED, compared=direct.compared, **numbers)


def _pools(
    study: Published, row: Mapping[str, Any], sides: Mapping[str, pd.DataFrame]
) -> dict[str, Mapping[str, float]]:
    """The statistics with the extension's answers once, and twice; nothing if there is no extension to be read."""
    extended = str(row["output_path"]).removesuffix(".csv") + "_extended.csv"
    if not study.has(extended):
        return {}
    try:
        more = _of_trait(study.answers(extended), str(row.get("trait", "")))
    except PublishedError:
        return {}
    pools = {"output and extension": [more], "output and extension twice": [more, more]}
    return {
        name: _with_primary(compare(sides["baseline"], pd.concat([sides["output"], *added], ignore_index=True)))
        for name, added in pools.items()
    }


def _pooled(
    row: Mapping[str, Any],
    name: str,
    alone: Mapping[str, float],
    pools: Mapping[str, Mapping[str, float]],
    pooled: _Comparison,
) -> RowVerdict:
    tried = {"output alone": alone, **pools}
    once = tried["output and extension"]
    twice = name != "output and extension"
    steered, own = pooled.statistics["output_rows"], alone["output_rows"]
    detail = f"the {steered} rows are {own} of the output and {once['output_rows'] - own} of its extension"
    if twice:
        detail += (
            f", counted twice: without the second count the effect is {once['paired_trait_mean_diff']:.2f} "
            f"(p {once['trait_sign_flip_p_two_sided']:.2g}), published {row['delta_trait_mean']:.2f} "
            f"(p {row['trait_sign_flip_p_two_sided']:.2g})"
        )
    reason = "duplicated rows" if twice else ""
    return RowVerdict(REPRODUCED, reason, detail, name, pooled.statistics, tried, pooled.differences, pooled.compared)


def _reason(
    row: Mapping[str, Any], found: Mapping[str, float], bad: tuple[str, ...], constant: frozenset[str]
) -> tuple[str, str]:
    """Why a row that could be recomputed does not agree."""
    flat = [name for name in bad if name in constant]
    if flat:
        return "constant placeholder", (
            f"{flat[0]} is {row[flat[0]]:g} in every row of the file, and {found[flat[0]]:.3g} from the answers: "
            "the p-values of this file were not computed"
        )
    sides = {
        "baseline": [name for name in bad if name.startswith("baseline_") or name.endswith("_mean_baseline")],
        "output": [name for name in bad if name.startswith("output_") or name.endswith("_mean_steered")],
    }
    changed = [side for side, names in sides.items() if names]
    if not changed:
        worst = max(bad, key=lambda name: abs(row[name] - found[name]))
        return "unexplained", f"{len(bad)} numbers differ: {worst} is {row[worst]:.6g}, recomputed {found[worst]:.6g}"
    told = "; ".join(_overwritten(row, found, side, sides[side]) for side in changed)
    return f"overwritten {' and '.join(changed)}", told


def _overwritten(row: Mapping[str, Any], found: Mapping[str, float], side: str, names: list[str]) -> str:
    usual = [f"{side}_trait_mean", f"{side}_coherence_mean", f"{side}_rows"]
    name = next((each for each in usual if each in names), names[0])
    return f"{name} was {row[name]:.6g} and is {found[name]:.6g} in {row[f'{side}_path']} now"


def _without_a_side(
    row: Mapping[str, Any],
    sides: Mapping[str, pd.DataFrame],
    faults: Mapping[str, str],
    constant: frozenset[str],
) -> RowVerdict:
    """The verdict where a file cannot be had: the other side is compared, and the row is checked against itself."""
    reasons, details = zip(*(fault.split("|", 1) for fault in faults.values()), strict=True)
    nobody = pd.DataFrame({"question_id": [], "score": [], "coherence": []})
    found = compare(sides.get("baseline", nobody), sides.get("output", nobody))
    mine = {name: value for name, value in found.items() if any(name.startswith(f"{side}_") for side in sides)}
    half = _compared(row, mine)
    if flat := [name for name in constant if _is_number(row.get(name)) and not is_possible(row[name], row)]:
        detail = (
            f"{flat[0]} is {row[flat[0]]:g} in every row of the file, which no exact test of these questions can give"
        )
        return RowVerdict(NOT, "constant placeholder", "; ".join((detail, *details)), "", mine)
    wrong = contradictions(row)
    said = f"; the row contradicts itself: {wrong[0]}" if wrong else "; what the row says of itself agrees"
    side = next(iter(sides), "")
    if half.bad:
        details = (*details, _overwritten(row, mine, side, list(half.bad)))
    elif sides:
        details = (*details, f"its {side} agrees")
    reason = reasons[0] if len(set(reasons)) == 1 else " and ".join(dict.fromkeys(reasons))
    return RowVerdict(NOT, reason, "; ".join(details) + said, "", mine, {}, half.differences, half.compared, half.bad)


def contradictions(row: Mapping[str, Any]) -> list[str]:
    """What a row says of itself that cannot be: differences that are none, and p-values no exact test can give."""
    wrong = []
    for name in (each for each in DESCRIPTIVES if each.startswith("delta_")):
        after, before = row.get(name.replace("delta", "output")), row.get(name.replace("delta", "baseline"))
        if _is_number(row.get(name)) and _is_number(after) and _is_number(before):
            true = float(after or 0) - float(before or 0)
            if not abs(row[name] - true) <= LIMITS["descriptives"]:
                wrong.append(f"{name} is {row[name]:.6g}, but its output and baseline differ by {true:.6g}")
    for name in GROUPS["sign_flip_p"]:
        if _is_number(row.get(name)) and not is_possible(row[name], row):
            wrong.append(f"{name} is {row[name]:.6g}, which is no multiple of 2^-{_bits(row)}")
    return wrong


def is_possible(p: float, row: Mapping[str, Any]) -> bool:
    """Whether an exact sign-flip test of the row's questions could give this p-value: it is a share of all patterns."""
    patterns = p * 2.0 ** _bits(row)
    return 0 < p <= 1 and patterns == round(patterns)


def _bits(row: Mapping[str, Any]) -> int:
    return int(row["paired_questions"]) if _is_number(row.get("paired_questions")) else QUESTIONS


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not math.isnan(value)
