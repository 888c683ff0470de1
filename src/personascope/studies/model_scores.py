"""Do two question sets rank models alike? Ours beside another one, with its own scoring.

Owns: :func:`load_scores` and :func:`correlate`. The one law: a model is one point, however many answers it gave.

A file of scores is a CSV file with a header, or JSON lines, with the columns ``model``, ``score`` and, if there are
several, ``trait``: one row per model, or one per answer (their mean counts). Where there is no ``score`` there are
``question`` and ``answer``, and a judge scores them. The scores may be on any scale: only their order and their ratios
are compared. The ``answers.csv`` of a run is such a file once it has a column ``model``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.core.errors import JudgeError
from personascope.core.tables import number_of, read_rows, text_of

if TYPE_CHECKING:
    import pandas as pd

SCORES = ["model", "trait", "score", "answers", "unscored"]
"""Columns of scores: the mean over a model's scored answers, how many there were, and how many had no score."""

CORRELATED = ["trait", "models", "pearson", "spearman"]
"""Columns of correlations over models."""

Scorer = Callable[[Sequence[tuple[str, str]]], list[float]]
"""Scores (question, answer) pairs; NaN where there is no score."""


def load_scores(path: Path, *, score: Scorer | None = None) -> pd.DataFrame:
    """One row per model and trait (:data:`SCORES`), of a file of scores or of answers.

    Raises:
        JudgeError: naming the line, if a row has no model, or neither a score nor (with a ``score``) an answer.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    asked: list[tuple[str, str]] = []
    for where, row in read_rows(path, error=JudgeError):
        each: dict[str, Any] = {"model": text_of(row, "model", where), "trait": str(row.get("trait") or "")}
        if row.get("score") not in (None, ""):
            each["score"] = number_of(row, "score", where)
        elif "answer" not in row:
            raise JudgeError(f"{where}: it has neither a score nor an answer that could be scored: add one")
        elif score is None:
            raise JudgeError(f"{where}: it has an answer and no score, and no judge was named to score it")
        else:
            asked.append((text_of(row, "question", where), text_of(row, "answer", where)))
        rows.append(each)
    if not rows:
        raise JudgeError(f"{path} holds no scores: give model and score (or question and answer) in every line")
    scored = iter(score(asked) if score is not None and asked else ())
    for each in rows:
        each.setdefault("score", math.nan)
    for each, found in zip([each for each in rows if math.isnan(each["score"])], scored, strict=True):
        each["score"] = found
    grouped = pd.DataFrame(rows).groupby(["model", "trait"], sort=True)["score"]
    table = grouped.agg(score="mean", answers="count", size="size").reset_index()
    return table.assign(unscored=table["size"] - table["answers"])[SCORES]


def correlate(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Per trait, the correlation over models of two sets of scores (:data:`SCORES`): columns :data:`CORRELATED`.

    Models that only one of them has are left out. A set without traits stands beside every trait of the other. A
    correlation is NaN over fewer than three models, or where all score the same.
    """
    import pandas as pd

    from personascope.analysis.reliability import agreement

    ours, theirs = ours.dropna(subset="score"), theirs.dropna(subset="score")
    named = sorted({*ours["trait"], *theirs["trait"]} - {""}) or [""]
    rows = []
    for trait in named:
        one, other = (each[each["trait"].isin([trait, ""])] for each in (ours, theirs))
        both = one.merge(other, on="model", suffixes=("_ours", "_theirs"))
        if both.empty and trait:
            continue
        found = agreement(both["score_ours"].to_numpy(), both["score_theirs"].to_numpy())
        enough = found.items >= 3
        rows.append([trait, found.items, *(each if enough else math.nan for each in (found.pearson, found.spearman))])
    return pd.DataFrame(rows, columns=CORRELATED)
