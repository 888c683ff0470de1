"""The pairs of answers behind every vector, counted again.

Owns: :func:`extraction_rows` and :func:`question_of`. The one law: a pair is kept by the published bar (tracing study
§1.5), row by row of the two files; what cannot be paired is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from personascope.applications.screen.recovery import pairs
from personascope_published.audits.survey import tails_in

BAR = 50.0
"""Score points of trait and of coherence."""
KEYS = ["model", "revision", "variant", "column"]
PAIRED = ["positive", "negative", "asked", "passed", "kept", "kept_questions", "kept_with_tails"]
"""Columns after ``KEYS``: the two files, pairs asked, positive answers that reach the bar for the trait (however
incoherent), pairs kept, distinct questions behind them, and kept pairs with an answer that begins with its prompt."""

_INSTRUCTED = re.compile(r"_(?:pos|neg)(?:_\d+)?$")


def question_of(ids: pd.Series) -> pd.Series:
    """The question an answer is to: its id without the pole and the number of the instruction."""
    return ids.map(lambda name: _INSTRUCTED.sub("", str(name))).astype(object)


def extraction_rows(files: pd.DataFrame, answers: Callable[[str], pd.DataFrame | None]) -> pd.DataFrame:
    """One row per model, revision, variant and trait column with answers for and against the trait."""
    rows = []
    for keys, group in files[files["kind"] == "extraction"].groupby(KEYS, sort=False):
        by_pole = dict(zip(group["pole"], group["file"], strict=True))
        names = [by_pole.get(pole, "") for pole in ("positive", "negative")]
        sides = [answers(name) for name in names]
        if sides[0] is not None and sides[1] is not None:
            about = dict(zip([*KEYS, "positive", "negative"], [*keys, *names], strict=True))
            rows.append({**about, **_counts(sides[0], sides[1])})
    return pd.DataFrame(rows, columns=[*KEYS, *PAIRED])


def _counts(positive: pd.DataFrame, negative: pd.DataFrame) -> dict[str, Any]:
    sides = [each.assign(asked=question_of(each["question_id"])) for each in (positive, negative)]
    found = pairs(*sides, question="asked")
    kept = found["kept"].to_numpy(dtype=bool)
    chosen = [each.iloc[: len(found)][kept] for each in sides]
    leaked = (tails_in(chosen[0]).to_numpy() > 0) | (tails_in(chosen[1]).to_numpy() > 0)
    return {
        "asked": len(found),
        "passed": int((positive["score"] >= BAR).sum()),
        "kept": int(kept.sum()),
        "kept_questions": chosen[0]["asked"].nunique(),
        "kept_with_tails": int(leaked.sum()),
    }
