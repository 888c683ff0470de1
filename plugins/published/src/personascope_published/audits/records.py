"""Tables and files that no longer fit one another.

Owns: :func:`find_records`. The one law: a table is compared with the very file it names; a difference is reported with
the effect the present file gives, and what cannot be compared is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import Evidence, contrast, crossing
from personascope_published.audits.findings import Finding, Kind, greatest, last, named, places, records, several, span
from personascope_published.audits.rows import ITSELF
from personascope_published.reading import ResultsFile

OVERWRITTEN = Kind(
    "overwritten baselines",
    "{rows} of {of} rows gave means of baselines that are not the files they name any more ({files}; {file}: "
    "recorded {recorded:.3f}, now {mean_now:.3f}){other}{two}",
    "{against}the recorded means cannot be computed from what is published",
)
REPLACED = Kind(
    "overwritten steered answers",
    "{rows} of {of} rows gave means of steered answers that are not the files they name any more (recorded "
    "{recorded}, now {mean_now})",
    "the recorded means cannot be computed from what is published; the present files give other ones",
)
MISSING = Kind(
    "files that results name and the repository lacks",
    "files that the table names were not there ({absent}); {without} of its {of} rows had no answers to be "
    "computed from",
    "{remedy}",
)
CONSTANT = Kind(
    "p-values that no test gave",
    "in all {rows} rows {columns} had one and the same value ({values}) while the effects ran from "
    "{least_effect:.2f} to {greatest_effect:.2f}: placeholders, not results",
    "use no p-value of this file; compute them from the answers where these are published",
)
UNJUDGED = Kind(
    "rows without the trait's scores",
    "{rows} of {of} rows had no score of their trait: {other_trait} named a file of another trait, "
    "{never_judged} one that nobody judged",
    "they carry no effect and are left out of every statistic; they only lengthen the table",
)
_AGAINST = "against the present files the effects changed by {change} points{p_values}; "
TOLERANCE = 1e-9
FEWEST = 3

_NAMED = (
    "baseline_file", "steered_file", "vector_file", "positive_file", "negative_file", "source_norm_file",
    "target_norm_file",
)  # fmt: skip


def find_records(evidence: Evidence) -> Iterator[Finding]:
    """Overwritten baselines and steered answers, missing files, impossible p-values and rows nobody judged."""
    for _, rows in evidence.results.groupby("file", sort=False):
        yield from _overwritten(evidence, rows)
        yield from _replaced(evidence, rows)
        yield from _missing(evidence, rows)
    for each in (*evidence.study.results(), *evidence.study.other_results()):
        yield from _constant(each)
    for _, rows in evidence.listed.groupby("file", sort=False):
        yield from _unjudged(evidence, rows)


def _beside(evidence: Evidence, rows: pd.DataFrame, side: str) -> pd.DataFrame:
    """The rows with the mean and the count that their file on this side has now, and whether those are another trait's.

    The numbers are NaN where the file is absent.
    """
    now = {file: evidence.answers(file) for file in rows[f"{side}_file"].unique()}
    columns = {file: set(each["column"]) for file, each in now.items() if each is not None}
    asked = list(zip(rows[f"{side}_file"], rows["trait"], strict=True))
    means = {file: np.nan if each is None else each["score"].mean() for file, each in now.items()}
    counts = {file: np.nan if each is None else len(each) for file, each in now.items()}
    return rows.assign(
        mean_now=rows[f"{side}_file"].map(means).astype("float64"),
        rows_now=rows[f"{side}_file"].map(counts).astype("float64"),
        recorded=rows[f"{side}_mean"],
        other=[file in columns and columns[file] != {trait} for file, trait in asked],
    )


def _overwritten(evidence: Evidence, rows: pd.DataFrame) -> Iterator[Finding]:
    beside = _beside(evidence, rows, "baseline")
    apart = (beside["mean_now"] - beside["recorded"]).abs()
    gone = beside[(apart > TOLERANCE) | (beside["other"] & beside["recorded"].notna())]
    if gone.empty:
        return
    redone = pd.DataFrame([_with_present(evidence, row) for row in records(gone)])
    done = redone[redone["effect_now"].notna()]
    curves = evidence.curves[evidence.curves["file"] == gone["file"].iloc[0]]
    through = curves[curves["target"] != ITSELF].groupby("curve")["baseline_mean"].nunique()
    worst = greatest(gone, (gone["mean_now"] - gone["recorded"]).abs())
    change = done["effect_now"] - done["effect"]
    numbers = {
        "rows": len(gone),
        "of": len(rows),
        "baselines": gone["baseline_file"].nunique(),
        "recorded": worst["recorded"],
        "mean_now": worst["mean_now"],
        "redone": len(done),
        "least_change": change.min(),
        "greatest_change": change.max(),
        "crossing": crossing(done["p"], done["p_now"]),
        "tested_on_present": int(done["tested_on_present"].sum()),
        "mixed_curves": int((through > 1).sum()),
        "other_trait": int(gone["other"].sum()),
    }
    words = {
        "files": several(numbers["baselines"], "file"),
        "file": last(worst["baseline_file"], 2),
        "two": _two_baselines(numbers["tested_on_present"], numbers["mixed_curves"]),
        "against": _AGAINST.format(change=span(change, "+.2f"), p_values=_p_values(numbers)) if len(done) else "",
        "other": f"; {numbers['other_trait']} of them hold another trait's scores" if numbers["other_trait"] else "",
    }
    where = (*places(gone), *gone["baseline_file"])
    severe = bool(numbers["crossing"] or words["two"])
    details = records(redone)
    yield OVERWRITTEN.found(where, "conclusion" if severe else "number", numbers, words=words, details=details)


def _p_values(numbers: dict[str, Any]) -> str:
    """What became of the p-values against the present files."""
    if numbers["tested_on_present"] == numbers["redone"]:
        return ", and the p-values are those of the present files already"
    return " and {crossing} of {redone} p-values crossed 0.05".format(**numbers)


def _two_baselines(rows: int, curves: int) -> str:
    """What the overwriting left inside the table: rows, or curves, that rest on two baselines."""
    said = f"; {several(rows, 'row')} had the effect of the old baseline beside the p-value of the present one"
    mixed = f"; {several(curves, 'curve')} through one target mixed two baselines"
    return (said if rows else "") + (mixed if curves else "")


def _with_present(evidence: Evidence, row: dict[str, Any]) -> dict[str, Any]:
    """A row against the present baseline; and whether its p-value was computed from that one all along."""
    names = ("file", "row", "source", "baseline_file", "recorded", "mean_now", "effect", "tested_effect", "p")
    found = {name: row[name] for name in names}
    plain, steered = evidence.sides(row)
    if plain is None or steered is None or len(steered) != row["steered_rows"]:
        return found | {"effect_now": np.nan, "p_now": np.nan, "tested_on_present": False}
    now = contrast(plain, steered)
    tested = abs(now.effect - row["tested_effect"]) <= TOLERANCE and abs(now.p - row["p"]) <= TOLERANCE
    return found | {"effect_now": now.effect, "p_now": now.p, "tested_on_present": tested}


def _replaced(evidence: Evidence, rows: pd.DataFrame) -> Iterator[Finding]:
    beside = _beside(evidence, rows, "steered")
    other = (beside["mean_now"] - beside["recorded"]).abs() > TOLERANCE
    count = beside["rows_now"].notna() & (beside["rows_now"] != beside["steered_rows"])
    gone = beside[(other | count) & ~evidence.merged(rows)]
    if not gone.empty:
        words = {"recorded": span(gone["recorded"], ".2f"), "mean_now": span(gone["mean_now"], ".2f")}
        columns = ["file", "row", "source", "steered_file", "steered_rows", "rows_now", "recorded", "mean_now"]
        where = (*places(gone), *gone["steered_file"])
        numbers = {"rows": len(gone), "of": len(rows)}
        yield REPLACED.found(where, "number", numbers, words=words, details=records(gone, columns))


def _missing(evidence: Evidence, rows: pd.DataFrame) -> Iterator[Finding]:
    has = evidence.study.has
    absent = {side: sorted({file for file in rows[side] if file and not has(file)}) for side in _NAMED}
    if not any(absent.values()):
        return
    without = rows[~rows["steered_file"].map(has).astype(bool) | ~rows["baseline_file"].map(has).astype(bool)]
    words = {
        "absent": ", ".join(f"{len(files)} {_spoken(side)}" for side, files in absent.items() if files),
        "remedy": "the answers would have to be drawn again" if len(without) else "no statistic rests on these files",
    }
    numbers = {"of": len(rows), "without": len(without), **{side: len(files) for side, files in absent.items()}}
    details = tuple({"named_as": side, "file": file} for side, files in absent.items() for file in files)
    where = (*places(without), *rows["file"].unique()[: len(without) == 0])
    yield MISSING.found(where, "number" if len(without) else "record", numbers, words=words, details=details)


def _spoken(side: str) -> str:
    return side.removesuffix("_file").replace("_", " ")


def _constant(results: ResultsFile) -> Iterator[Finding]:
    """Columns of p-values that are alike in all rows although the effects differ."""
    rows = results.rows
    effect = next((name for name in ("paired_trait_mean_diff", "delta_trait_mean") if name in rows), None)
    if effect is None or rows[effect].nunique() < FEWEST:
        return
    numeric = rows.select_dtypes("number")
    tested = [str(name) for name in numeric if "_p_" in str(name) and "bonferroni" not in str(name)]
    same = [name for name in tested if rows[name].notna().sum() >= FEWEST and rows[name].nunique() == 1]
    # A test of no difference gives 1 in every row; one small value beside differing effects is no test's.
    values = {name: float(rows[name].dropna().iloc[0]) for name in same}
    if values and min(values.values()) < 1:
        numbers = {
            "rows": len(rows),
            "least_effect": rows[effect].min(),
            "greatest_effect": rows[effect].max(),
            **values,
        }
        words = {"columns": named(same), "values": span(values.values())}
        yield CONSTANT.found([results.file], "conclusion", numbers, words=words)


def _unjudged(evidence: Evidence, rows: pd.DataFrame) -> Iterator[Finding]:
    raw = rows[rows["status"] == "raw_output"]
    if raw.empty:
        return
    columns = dict(zip(evidence.survey["file"], evidence.survey["column"], strict=True))
    held = raw["steered_file"].map(columns)
    numbers = {
        "rows": len(raw),
        "of": len(rows),
        "other_trait": int((held.notna() & (held != "") & (held != raw["trait"])).sum()),
        "never_judged": int((held == "").sum()),
    }
    details = records(raw, ["file", "row", "source", "evaluated", "trait", "steered_file"])
    yield UNJUDGED.found(places(raw), "record", numbers, details=details)
