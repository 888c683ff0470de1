"""Every row of the published results, recomputed from the published answers.

Owns: :func:`check` and what it gives. The one law: every row of every results file has a verdict, and a verdict has its
reason and its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from personascope.core.identity import canonical
from personascope_published.agreement import GROUPS
from personascope_published.corrections import ENDING, FAMILY, families
from personascope_published.reading import Problem, Published, ResultsFile, is_results
from personascope_published.reasons import contradictions
from personascope_published.verdicts import NOT, PARTLY, REPRODUCED, RowVerdict, judge_row

ROW = [
    "file", "run", "kind", "model", "row", "trait", "extract_revision", "eval_revision", "eval_model",
    "verdict", "reason", "detail", "pool", "compared", *GROUPS, *FAMILY[::-1],
]  # fmt: skip
"""The columns of checked rows. Those named like a group of numbers (``counts`` to ``corrections``) hold the greatest
absolute difference; ``pool`` says which answers the steered side is made of."""

FILE = [
    "file", "run", "kind", "rows", "reproduced", "partly_checked", "not_reproduced", *GROUPS, "corrections",
    "families", "reasons",
]  # fmt: skip
"""The columns of checked files: counts of rows, the greatest differences over rows that are reproduced or agree as far
as they were checked, the families that p-values were corrected for, and how many rows there are for each reason."""

FEWEST_ALIKE = 3
INHERITED = {
    "rows of its target": "the rows of its target",
    "another file": "a number that no rows of this file have, as if from another file",
}
"""Families that are not the file's, and what they are."""


@dataclass(frozen=True)
class Check:
    """What became of every published row.

    ``rows`` has the columns ``ROW``, one per row of a results file; ``files`` the columns ``FILE``; ``statistics`` the
    recomputed numbers of each row by its file and row; ``pools`` those of every pool of answers that was tried, where
    the output file alone does not agree; ``controls`` the rows of the control tables, checked against themselves;
    ``combined`` the rows of every grid's ``combined.csv`` likewise judged, whose answers may lack the row's trait.
    """

    rows: pd.DataFrame
    files: pd.DataFrame
    statistics: pd.DataFrame = field(repr=False)
    pools: pd.DataFrame = field(repr=False)
    controls: pd.DataFrame = field(repr=False)
    combined: pd.DataFrame = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, absent numbers as ``None``."""
        names = ("files", "rows", "pools", "controls", "combined")
        told: dict[str, Any] = {name: getattr(self, name).to_dict("records") for name in names}
        plain: dict[str, Any] = canonical({**told, "problems": self.problems})
        return plain


def check(study: Published) -> Check:
    """Recomputes every row of every ``combined_significance.csv``, and of tables beside them that claim to be one."""
    rows: list[dict[str, Any]] = []
    statistics: list[dict[str, Any]] = []
    pools: list[dict[str, Any]] = []
    tables = (*study.results(), *study.other_results())
    for results in tables:
        for verdict, published, family in _judged(study, results):
            place = {"file": results.file, "row": published["row"]}
            rows.append({**_about(results, published), **_told(verdict), **family})
            if verdict.statistics:
                statistics.append({**place, **verdict.statistics})
            pools += [{**place, "pool": name, **numbers} for name, numbers in verdict.pools.items()]
    checked = pd.DataFrame(rows, columns=ROW)
    return Check(
        rows=checked,
        files=_by_file(tables, checked, study.problems),
        statistics=pd.DataFrame(statistics),
        pools=pd.DataFrame(pools),
        controls=_controls(study),
        combined=_combined(study),
        problems=tuple(study.problems),
    )


def _judged(study: Published, results: ResultsFile) -> list[tuple[RowVerdict, dict[str, Any], dict[str, Any]]]:
    """Each row's verdict, the row and its family. A row with a correction that nothing explains is not reproduced."""
    constant = constant_columns(results.rows)
    published = [_named(row) for row in results.rows.to_dict("records")]
    verdicts = [judge_row(study, row, constant=constant) for row in published]
    recomputed = [each.statistics if each.verdict == REPRODUCED else {} for each in verdicts]
    best = [
        {**row, **{n: v for n, v in numbers.items() if n in row}}
        for row, numbers in zip(published, recomputed, strict=True)
    ]
    corrected = [_named(row) for row in families(pd.DataFrame(best, columns=list(results.rows))).to_dict("records")]
    for place, (verdict, family) in enumerate(zip(verdicts, corrected, strict=True)):
        if verdict.verdict == REPRODUCED and not verdict.reason and family["family_is"] in INHERITED:
            mine = sum(each.get("trait") == published[place].get("trait") for each in published)
            detail = f"its p-values are corrected for {family['family']:.0f} tests, {INHERITED[family['family_is']]}"
            detail += f"; the file has {mine} rows of its trait"
            verdicts[place] = replace(verdict, reason="inherited correction", detail=detail)
        if verdict.verdict == REPRODUCED and family["family_is"] == "none":
            detail = (
                f"its corrected p-values are no whole multiple of its p-values (off by {family['corrections']:.3g})"
            )
            verdicts[place] = replace(verdict, verdict=NOT, reason="unexplained", detail=detail)
    return list(zip(verdicts, published, corrected, strict=True))


def constant_columns(rows: pd.DataFrame) -> frozenset[str]:
    """The uncorrected p-value columns that hold one and the same value in all rows of a file, if it has a few rows."""
    columns = [name for name in rows if "_p_" in str(name) and not str(name).endswith(ENDING)]
    held = {str(name): rows[name].dropna() for name in columns}
    return frozenset(name for name, values in held.items() if len(values) >= FEWEST_ALIKE and values.nunique() == 1)


def _about(results: ResultsFile, row: dict[str, Any]) -> dict[str, Any]:
    named = {name: row.get(name, "") for name in ("row", "trait", "extract_revision", "eval_revision")}
    model = row.get("eval_model_name") or results.model
    return {
        "file": results.file,
        "run": results.run,
        "kind": results.kind,
        "model": results.model,
        **named,
        "eval_model": model,
    }


def _told(verdict: RowVerdict) -> dict[str, Any]:
    said = {name: getattr(verdict, name) for name in ("verdict", "reason", "detail", "pool", "compared")}
    return {**said, **{group: verdict.differences.get(group, math.nan) for group in GROUPS}}


def _by_file(tables: Sequence[ResultsFile], rows: pd.DataFrame, problems: Sequence[Problem]) -> pd.DataFrame:
    """One row per results file, also of one that has no rows or could not be read, with that for its reason."""
    table: list[list[Any]] = []
    for each in tables:
        members = rows[rows["file"] == each.file]
        counts = {name: int((members["verdict"] == name).sum()) for name in (REPRODUCED, PARTLY, NOT)}
        good = members[members["verdict"] != NOT]
        reasons = members.loc[members["reason"] != "", "reason"].value_counts(sort=False).to_dict()
        numbers = members["family"].dropna().astype(int).value_counts(sort=False)
        worst = [good[group].max() for group in (*GROUPS, "corrections")]
        about = [each.file, each.run, each.kind, len(members), *counts.values()]
        table.append([*about, *worst, numbers.to_dict(), reasons if len(members) else {"no rows": 0}])
    for file in dict.fromkeys(problem.file for problem in problems):
        if is_results(file) and file not in {each.file for each in tables}:
            run = file.split("/")[-2]
            table.append([file, run, "", 0, 0, 0, 0, *[math.nan] * (len(GROUPS) + 1), {}, {"file unreadable": 0}])
    return pd.DataFrame(table, columns=FILE)


def _combined(study: Published) -> pd.DataFrame:
    """The rows of ``combined.csv``: those tested elsewhere too, and those without scores or without a vector."""
    rows = [
        {**_about(results, row), **_told(judge_row(study, row))}
        for results in study.combined()
        for row in map(_named, results.rows.to_dict("records"))
    ]
    return pd.DataFrame(rows, columns=[name for name in ROW if name not in FAMILY])


def _controls(study: Published) -> pd.DataFrame:
    """Every row of the control tables."""
    about = ["row", "trait", "revision", "mode", "seed"]
    rows = []
    for results in study.controls():
        for row in map(_named, results.rows.to_dict("records")):
            verdict = _judged_control(study, row)
            named = {name: row.get(name, "") for name in about}
            place = {"file": results.file, "run": results.run, "model": results.model}
            rows.append({**place, **named, **_told(verdict)})
    return pd.DataFrame(rows, columns=["file", "run", "model", *about, "verdict", "reason", "detail"])


def _judged_control(study: Published, row: dict[str, Any]) -> RowVerdict:
    """A control against its answers, or against itself: the study did not publish them (tracing study §2.3)."""
    answers = {f"{side}_path": str(row.get(f"{side}_csv", "")) for side in ("output", "baseline")}
    absent = [file or "its output" for file in answers.values() if not study.has(file)]
    if not absent:
        return judge_row(study, {**row, **answers})
    wrong = contradictions(row)
    told = wrong[0] if wrong else "differences and p-values are consistent in themselves"
    reason = f"raw absent, {'contradictory' if wrong else 'consistent'}"
    return RowVerdict(NOT, reason, f"{absent[0]} is not in the published data; {told}")


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}
