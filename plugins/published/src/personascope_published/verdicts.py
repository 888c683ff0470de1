"""Does a published row follow from the published files? Its verdict, with the reason and the differences.

Owns: :func:`judge_row` and what it gives. The one law: a row is reproduced only if every number it holds is, within
``LIMITS``; else the reason is found in the files, and told with their names and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from personascope.analysis.comparisons import compare
from personascope_published.agreement import Agreement, agreement, is_number, with_primary
from personascope_published.reading import ANSWER, Published, PublishedError
from personascope_published.reasons import contradictions, explain, is_possible, overwritten

REPRODUCED, PARTLY, NOT = "reproduced", "partly checked", "not reproduced"
ALONE, ONCE, TWICE = "output alone", "output and extension", "output and extension twice"
"""The pools of answers a steered side may be made of."""


@dataclass(frozen=True)
class RowVerdict:
    """What became of one published row.

    ``pool`` says which answers its steered side was recomputed from; ``statistics`` are recomputed from them. ``pools``
    are the statistics of every pool that was tried where the output file alone does not agree. ``differences`` are the
    greatest absolute ones per group, NaN where nothing of the group could be compared; ``compared`` is the number of
    numbers compared.
    """

    verdict: str
    reason: str = ""
    detail: str = ""
    pool: str = ""
    statistics: Mapping[str, float] = field(default_factory=dict)
    pools: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    compared: int = 0


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
    faults: dict[str, tuple[str, str]] = {}
    for side in ("baseline", "output"):
        file = str(row[f"{side}_path"])
        try:
            if study.has(file):
                sides[side] = study.answers(file)
            else:
                faults[side] = ("missing file", f"the {side} {file} is not in the published data")
        except PublishedError as problem:
            faults[side] = ("file unreadable", str(problem))
    if faults:
        return _without_a_side(row, sides, faults, constant)
    direct = agreement(row, _compare(row, sides["baseline"], sides["output"]))
    if not direct.bad:
        return _agreeing(row, sides, direct)
    try:
        pools = _pools(study, row, sides)
    except PublishedError as problem:
        return RowVerdict(NOT, "file unreadable", f"what extends the output: {problem}", "", direct.statistics)
    for name in (ONCE, TWICE) if pools else ():
        pooled = agreement(row, pools[name])
        if not pooled.bad:
            return _pooled(name, pools, pooled)
    reason, detail = explain(row, direct, sides, constant)
    return RowVerdict(NOT, reason, detail, "", direct.statistics, pools, direct.differences, direct.compared)


def _compare(row: Mapping[str, Any], *sides: pd.DataFrame) -> dict[str, float]:
    """The statistics of two sides; answers that were scored for another trait than the row's have no score here."""
    trait = row.get("trait")
    foreign = [trait and len(answers) and answers["column"].iloc[0] != trait for answers in sides]
    baseline, steered = (
        answers.assign(score=float("nan")) if other else answers for answers, other in zip(sides, foreign, strict=True)
    )
    return with_primary(compare(baseline, steered))


def _without_a_path(row: Mapping[str, Any], missing: list[str]) -> RowVerdict:
    if row.get("status") == "nonextractable":
        return RowVerdict(PARTLY, "no vector", str(row.get("vector_status_message") or "no vector could be extracted"))
    if columns := [name for name in missing if name not in row]:
        return RowVerdict(NOT, "missing column", f"the file has no column {' and no '.join(columns)}")
    return RowVerdict(NOT, "missing file", f"the row names no file: its {' and '.join(missing)} is empty")


def _agreeing(row: Mapping[str, Any], sides: Mapping[str, pd.DataFrame], direct: Agreement) -> RowVerdict:
    numbers: dict[str, Any] = {"pool": ALONE, "statistics": direct.statistics, "differences": direct.differences}
    if is_number(direct.statistics["delta_trait_mean"]):
        return RowVerdict(REPRODUCED, compared=direct.compared, **numbers)
    trait = row.get("trait")
    held = {side: answers["column"].iloc[0] if len(answers) else "" for side, answers in sides.items()}
    foreign = [f"the {side} holds the scores of {name or 'no trait'}" for side, name in held.items() if name != trait]
    of = f"{' and '.join(foreign) or 'a side holds no scores'}, the row speaks of {trait}"
    detail = f"{of}: the {direct.compared} numbers that the row has all agree"
    return RowVerdict(PARTLY, "raw output", detail, compared=direct.compared, **numbers)


def _pools(
    study: Published, row: Mapping[str, Any], sides: Mapping[str, pd.DataFrame]
) -> dict[str, Mapping[str, float]]:
    """The statistics of the output alone, with its extension's answers once, and twice; empty without an extension.

    Raises:
        PublishedError: if there is an extension that cannot be read.
    """
    extended = str(row["output_path"]).removesuffix(".csv") + "_extended.csv"
    if not study.has(extended):
        return {}
    own, more = sides["output"], study.answers(extended)
    pools = {ALONE: [own], ONCE: [own, more], TWICE: [own, more, more]}
    return {name: _compare(row, sides["baseline"], pd.concat(each)) for name, each in pools.items()}


def _pooled(name: str, pools: Mapping[str, Mapping[str, float]], pooled: Agreement) -> RowVerdict:
    own, once, told = pools[ALONE], pools[ONCE], pooled.statistics
    parts = f"{own['output_rows']} of the output and {once['output_rows'] - own['output_rows']} of its extension"
    detail = f"the {told['output_rows']} rows are {parts}"
    if name == TWICE:
        detail += (
            f", counted twice: without the second count the effect is {once['delta_trait_mean']:.2f} "
            f"(p {once['trait_sign_flip_p_two_sided']:.2g}), published {told['delta_trait_mean']:.2f} "
            f"(p {told['trait_sign_flip_p_two_sided']:.2g})"
        )
    reason = "duplicated rows" if name == TWICE else "pooled rows"
    return RowVerdict(REPRODUCED, reason, detail, name, told, pools, pooled.differences, pooled.compared)


def _without_a_side(
    row: Mapping[str, Any],
    sides: Mapping[str, pd.DataFrame],
    faults: Mapping[str, tuple[str, str]],
    constant: frozenset[str],
) -> RowVerdict:
    """The verdict where a file cannot be had: the other side is compared, and the row is checked against itself."""
    reason = " and ".join(dict.fromkeys(reason for reason, _ in faults.values()))
    details = [detail for _, detail in faults.values()]
    nobody = pd.DataFrame(columns=ANSWER)
    found = _compare(row, sides.get("baseline", nobody), sides.get("output", nobody))
    half = agreement(row, {n: v for n, v in found.items() if n.startswith(tuple(f"{side}_" for side in sides))})
    if flat := [name for name in constant if is_number(row.get(name)) and not is_possible(row[name], row)]:
        why = f"{flat[0]} is {row[flat[0]]:g} in every row of the file, which no exact test of its questions can give"
        return RowVerdict(NOT, "constant placeholder", "; ".join((why, *details)), "", half.statistics)
    for side, answers in sides.items():
        differs = overwritten(row, half.statistics, side, half.bad, answers) if half.bad else f"its {side} agrees"
        details.append(differs)
    wrong = contradictions(row)
    details.append(f"the row contradicts itself: {wrong[0]}" if wrong else "what the row says of itself agrees")
    return RowVerdict(NOT, reason, "; ".join(details), "", half.statistics, {}, half.differences, half.compared)
