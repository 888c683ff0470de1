"""Can a judge be trusted? Its verdicts beside people's, beside its own of another day, beside another judge's.

Owns: :class:`Anchor`, :func:`load_anchors`, :func:`compare` and :func:`check_judge`. The one law: what is compared are
two judgements of the same answers, and how many there were is said; an answer that one side did not judge counts for
neither, and as nothing else.

Anchors are answers whose judgement is known: a CSV file with a header, or a file of JSON lines, with the columns
``question``, ``answer`` and, for a rubric that scores, ``score`` (0 to 100) or ``label`` (yes or no: 100 or 0), or for
a rubric with labels ``label`` (several are separated by semicolons, or are a JSON list).

Do two question sets rank models alike (:func:`load_scores`, :func:`correlate`)? There a model is one point, however
many answers it gave. A file of scores is CSV or JSON lines with the columns ``model``, ``score`` and, if there are
several, ``trait``: one row per model, or one per answer (their mean counts). Where there is no ``score`` there are
``question`` and ``answer``, and a judge scores them. The scores may be on any scale: only their order and their ratios
are compared. The ``answers.csv`` of a run is such a file once it has a column ``model``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from personascope.core.errors import JudgeError, TraitError, nearest
from personascope.core.files import read_toml, value_of
from personascope.core.records import UNASKED, Case, Verdict
from personascope.core.tables import number_of, read_rows, text_of
from personascope.core.traits import Rubric, coherence_rubric, load_trait
from personascope.judges import Judge
from personascope.store.caching import Notice, RememberingJudge, silent
from personascope.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


COMPARED = [
    "comparison", "of", "items", "agreement", "kappa", "pearson", "spearman", "difference", "bias", "precision",
    "recall",
]  # fmt: skip
"""Columns of comparisons. ``of`` is ``score`` or a label. ``agreement`` is the share of items on which both sides say
the same (of scores: on the same side of the bar), ``kappa`` Cohen's of the same; ``difference`` (mean absolute) and
``bias`` (the judge minus the other) are in score points; ``precision`` and ``recall`` are the judge's."""

_YES = {"yes": 100.0, "true": 100.0, "1": 100.0, "no": 0.0, "false": 0.0, "0": 0.0}


@dataclass(frozen=True)
class Anchor:
    """An answer whose judgement is known: ``given`` is a score of 0 to 100, or labels."""

    case: Case
    given: float | tuple[str, ...]


@runtime_checkable
class Redrawable(Protocol):
    """A judge that can be asked the same question again."""

    def redrawn(self, draw: int) -> Judge: ...


@dataclass(frozen=True, eq=False)
class JudgeCheck:
    """What a check found: the verdicts, one per anchor, and the comparisons (:data:`COMPARED`).

    ``draw`` is which time this was that the judge was asked again, 0 where it was not.
    """

    verdicts: list[Verdict]
    comparisons: pd.DataFrame
    draw: int = 0


def load_rubric(name: str, *, form: str = "assistant") -> Rubric:
    """A rubric by name: ``"coherence"``, a bundled trait's or that of a trait's file, or a file of its own.

    A rubric's own file is TOML with ``text`` and, for labels, ``kind = "labels"`` and ``labels``.

    Raises:
        TraitError: if there is no such trait, or the file holds no rubric.
    """
    if name == "coherence":
        return Rubric(**coherence_rubric(form))  # type: ignore[arg-type]
    if name.endswith(".toml"):
        table = read_toml(Path(name), error=TraitError)
        if "text" in table:
            return value_of(table, Rubric, source=name, error=TraitError)
    return load_trait(name, form=form).rubric


def load_anchors(path: Path, rubric: Rubric) -> list[Anchor]:
    """The anchors in a file: see the module's header.

    Raises:
        JudgeError: naming the line, if one has no question, answer or judgement that fits the rubric.
    """
    anchors = []
    for where, row in read_rows(path, error=JudgeError):
        case = Case(rubric, text_of(row, "question", where), text_of(row, "answer", where))
        anchors.append(Anchor(case, _labels(row, rubric, where) if rubric.kind == "labels" else _score(row, where)))
    if not anchors:
        raise JudgeError(
            f"{path} holds no labelled answer: give one to a line, with question, answer and score or label"
        )
    return anchors


def _score(row: dict[str, Any], where: str) -> float:
    text = str(row.get("score", "")).strip()
    if not text:
        label = str(row.get("label", "")).strip().casefold()
        if label not in _YES:
            raise JudgeError(f"{where}: a score from 0 to 100, or a label yes or no, is needed, and there is '{label}'")
        return _YES[label]
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 100:
        raise JudgeError(f"{where}: '{text}' is no score from 0 to 100: mend it")
    return score


def _labels(row: dict[str, Any], rubric: Rubric, where: str) -> tuple[str, ...]:
    said = row.get("labels", row.get("label", ""))
    parts = [str(each).strip() for each in (said if isinstance(said, list) else str(said).split(";"))]
    known = {label.casefold(): label for label in rubric.labels}
    for part in filter(None, parts):
        if part.casefold() not in known:
            raise JudgeError(f"{where}: '{part}' is no label of the rubric; {nearest(part, rubric.labels)}")
    if not any(parts):
        raise JudgeError(f"{where}: no label is given: give one of {', '.join(rubric.labels)}")
    given = {known[part.casefold()] for part in parts if part}
    return tuple(label for label in rubric.labels if label in given)


def check_judge(
    judge: Judge,
    anchors: Sequence[Anchor],
    *,
    store: Store,
    repeat: bool = False,
    other: Judge | None = None,
    bar: float = 50.0,
    notice: Notice = silent,
) -> JudgeCheck:
    """What a judge says of anchors, beside what is known of them.

    With ``repeat`` every case is asked once more, as a question of its own, and the answer compared with what the judge
    said the last time and the first time: on one day that is its test-retest reliability, on different days its drift.
    What was said stays in the store, so each repetition adds a point to the judge's history. ``bar`` is the score that
    makes a yes.

    Raises:
        JudgeError: if the judge cannot be asked again, or answered nothing at all.
    """
    import pandas as pd

    cases = [anchor.case for anchor in anchors]
    given = [anchor.given for anchor in anchors]
    draw = next_draw(judge, cases, store) if repeat else 0
    past = {each: judgements(_known(judge, each, cases, store)) for each in {0, draw - 1} if draw > 1}
    verdicts = _asked(judge, cases, store, notice)
    rows = compare("labels", cases, given, judgements(verdicts), bar=bar)
    if repeat:
        assert isinstance(judge, Redrawable)
        again = judgements(_asked(judge.redrawn(draw), cases, store, notice))
        past = past or {0: judgements(verdicts)}
        rows += compare("the last time", cases, past[draw - 1], again, bar=bar)
        rows += compare("the first time", cases, past[0], again, bar=bar) if draw > 1 else []
    if other is not None:
        others = judgements(_asked(other, cases, store, notice))
        rows += compare("the other judge", cases, others, judgements(verdicts), bar=bar)
        rows += compare("labels, by the other judge", cases, given, others, bar=bar)
    return JudgeCheck(verdicts, pd.DataFrame(rows, columns=COMPARED), draw)


def next_draw(judge: Judge, cases: Sequence[Case], store: Store) -> int:
    """Which time it will be, from 1, that a judge is asked these cases again: the first that most were not asked in.

    Raises:
        JudgeError: if it says the same whenever it is asked.
    """
    if not isinstance(judge, Redrawable):
        raise JudgeError(f"{judge.name} says the same whenever it is asked: check it without asking again")
    draw = 1
    while 2 * sum(each.outcome != "unasked" for each in _known(judge, draw, cases, store)) >= len(cases):
        draw += 1
    return draw


def judgements(verdicts: Sequence[Verdict]) -> list[float | tuple[str, ...] | None]:
    """What verdicts come to: a score, labels, or ``None`` where there is neither."""
    return [
        None if each.outcome != "scored" else (each.labels if math.isnan(each.score) else each.score)
        for each in verdicts
    ]


def compare(
    name: str,
    cases: Sequence[Case],
    first: Sequence[float | tuple[str, ...] | None],
    second: Sequence[float | tuple[str, ...] | None],
    *,
    bar: float = 50.0,
) -> list[dict[str, Any]]:
    """Two judgements of the same cases, all of one rubric: one row of :data:`COMPARED`, or with labels one for each."""
    import numpy as np

    from personascope.analysis import agreement as facets
    from personascope.analysis import reliability

    both = [(one, two) for one, two in zip(first, second, strict=True) if one is not None and two is not None]
    rubric = cases[0].rubric
    if rubric.kind == "labels":
        sides = [facets.flags([pair[side] for pair in both], rubric.labels) for side in (0, 1)]  # type: ignore[misc]
        table = facets.agreement(*sides, facets=rubric.labels)
        return [
            {"comparison": name, "of": row["facet"], **{each: row[each] for each in COMPARED if each in row}}
            for row in table.to_dict("records")
        ]
    one, two = (np.array([pair[side] for pair in both], dtype=np.float64) for side in (0, 1))
    found = reliability.agreement(one, two, bar=bar)
    same = float(((one >= bar) == (two >= bar)).mean()) if len(both) else math.nan
    told = {each: value for each, value in vars(found).items() if each in COMPARED}
    return [{"comparison": name, "of": "score", "agreement": same, **told}]


def _asked(judge: Judge, cases: Sequence[Case], store: Store, notice: Notice) -> list[Verdict]:
    verdicts = RememberingJudge(judge, store, notice=notice).score(cases)
    if all(verdict.outcome == "unasked" for verdict in verdicts):
        raise JudgeError(f"{judge.name} judged none of {len(verdicts)} answers: {verdicts[0].reason}")
    return verdicts


@dataclass(frozen=True)
class _Silent:
    """A judge that says nothing new: in a :class:`RememberingJudge` it gives what is known."""

    judge: Judge
    waits: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.judge.name

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        return [UNASKED] * len(cases)

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return self.judge.reread(case, verdict)


def _known(judge: Judge, draw: int, cases: Sequence[Case], store: Store) -> list[Verdict]:
    """What a store knows of one draw."""
    assert isinstance(judge, Redrawable)
    return RememberingJudge(_Silent(judge.redrawn(draw)), store).score(cases)


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
