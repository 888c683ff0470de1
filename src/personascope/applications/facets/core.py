"""Which facets answers show: drawn evenly over questions, asked of a judge, counted with what could not be had.

Every answer that goes in comes out, annotated or with what kept it from being so; a failure is never "no facet".

The published facets were taken from the first 100 answers of files in the order of their questions, so that late
checkpoints covered few of them; answers of any coherence took part; and a failed call counted as no facet (tracing
study §1.9).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis import agreement as analysis
from personascope.core.errors import StudyError, nearest
from personascope.core.facets import FacetSet
from personascope.core.records import Bar, Case, Verdict
from personascope.judges import Judge

ASKED = ("scored", "refused", "unreadable", "unasked")
"""What can come of an answer that a judge was to be asked about; only ``scored`` ones count in a rate."""
LEFT_OUT = ("silent", "unscored", "low_trait", "low_coherence", "undrawn")
"""Why an answer was left out: it has no words, or lacks a score that the bar asks for, or is below the bar on the trait
or on coherence; or enough others were drawn for its question."""
STANDINGS = (*ASKED, *LEFT_OUT)

COUNTS = ["given", "asked", *STANDINGS[1:]]
"""Columns of rates beside :data:`personascope.analysis.agreement.RATE`. ``given`` answers are the ``asked`` and those
left out; the asked are the rate's ``answers`` and the ``refused``, ``unreadable`` and ``unasked``, of which no facet is
known."""

SAME = "(same set)"
"""The row of an agreement for items to which both sides gave the very same facets."""

SERIES, GROUP = "facet_set", "milestone"
"""The columns that name a curve, and the groups along it, in frames of curves."""
ALL, COMMON = "all questions", "common questions"

EVERYTHING = Bar(None, None)


def annotate(
    answers: pd.DataFrame,
    facets: FacetSet,
    *,
    judge: Judge,
    by: Sequence[str] = (),
    bar: Bar = EVERYTHING,
    per_question: int | None = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """The same answers with the facets each shows, drawn evenly over questions.

    Takes the columns ``question``, ``answer`` (empty or missing where nothing was said or its words are not known),
    those of ``by``, and ``score`` and ``coherence`` (0 to 100) where the bar asks for them. Gives the same rows in
    the same order, with

    - ``standing``: one of :data:`STANDINGS`, and ``because``: what the judge, or its absence, gave as the reason;
    - a column per facet: True or False where the answer is ``scored``, else missing;
    - ``verdict_keys``: the records behind it, one per question that the judge was asked.

    The judge sees question and answer alone.

    Args:
        by: The columns that tell groups apart, such as milestones: answers are drawn in each.
        bar: What an answer must reach, in score points, on the trait and on coherence.
        per_question: At most so many answers of each question in each group, all with ``None``. Which, depends on the
            seed and on the answers of that question and group alone, not on their order; fewer are a part of more.

    Raises:
        StudyError: if a column is missing.
    """
    if per_question is not None and per_question < 1:
        raise StudyError(f"{per_question} answers per question leave none: give 1 or more")
    barred = [name for name, points in (("score", bar.trait), ("coherence", bar.coherence)) if points is not None]
    for column in ("question", "answer", *by, *barred):
        if column not in answers:
            raise StudyError(
                f"answers need the column '{column}', which is not there; {nearest(column, map(str, answers))}"
            )
    rows = answers.reset_index(drop=True)
    standing = _left_out(rows, bar)
    if per_question is not None:
        ranks = _ranks(rows[standing == ""], by, seed)
        standing[ranks.index[ranks >= per_question]] = "undrawn"
    asked = rows[standing == ""]
    pairs = zip(asked["question"], asked["answer"], strict=True)
    cases = [Case(rubric, str(question), str(answer)) for question, answer in pairs for rubric in facets.rubrics]
    verdicts = judge.score(cases) if cases else []
    every = len(facets.rubrics)
    said = [verdicts[start : start + every] for start in range(0, len(verdicts), every)]
    return rows.assign(**_columns(standing, asked.index, said, facets))


def facet_rates(annotations: pd.DataFrame, facets: FacetSet, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """How often each facet is shown in each group, over how many answers, and how many could not be had.

    Takes what :func:`annotate` gives. One row per group and facet, and ``(none)`` for answers without any, if the judge
    can say so: the columns ``by``, :data:`personascope.analysis.agreement.RATE` and :data:`COUNTS`. A group without a
    scored answer has the rate NaN.
    """
    heads = list(by)
    scored = annotations[annotations["standing"] == "scored"]
    found = analysis.rates(scored, facets.names, by=heads)
    rows: list[dict[str, Any]] = []
    for group, mine in _groups(annotations, heads):
        counts = mine["standing"].value_counts()
        beside = {each: int(counts.get(each, 0)) for each in STANDINGS}
        asked = sum(beside[each] for each in ASKED)
        for facet in (*facets.names, *([analysis.NONE] if facets.may_be_none else [])):
            rows.append({**group, "facet": facet, "given": len(mine), "asked": asked, **beside})
    counted = pd.DataFrame(rows, columns=[*heads, "facet", *COUNTS])
    merged = counted.merge(found, on=[*heads, "facet"], how="left") if len(found) else counted.assign(**_unknown())
    whole = {name: merged[name].fillna(0).astype(int) for name in ("count", "answers")}
    return merged.assign(**whole)[[*heads, *analysis.RATE, *COUNTS]]


def on_common_questions(annotations: pd.DataFrame, *, by: Sequence[str], within: Sequence[str] = ()) -> pd.DataFrame:
    """The annotations of those questions that every group has a scored answer to: what groups may be compared on.

    Groups without a single scored answer have nothing to compare and do not narrow the questions of the others.
    ``within`` tells sets of groups apart that are not compared with each other.
    """
    parts = []
    for _, mine in _groups(annotations, list(within)):
        scored = mine[mine["standing"] == "scored"]
        common = set(analysis.on_common_questions(scored, by=by)["question"])
        parts.append(mine[mine["question"].isin(common)])
    return pd.concat(parts) if parts else annotations


def facet_curves(annotations: pd.DataFrame, facets: FacetSet) -> pd.DataFrame:
    """Rates along milestones, over all questions and over those that all milestones of a curve have answers to.

    Takes annotations with the columns ``facet_set`` (what names a curve), ``milestone``, ``place``, ``tokens_seen`` and
    ``stage``; gives those, ``over`` (:data:`ALL` or :data:`COMMON`) and the columns of :func:`facet_rates`. Rates over
    common questions are there only where they say something else: where milestones differ in their questions.
    """
    heads = [SERIES, GROUP]
    alike = on_common_questions(annotations, by=[GROUP], within=[SERIES])
    differ = [
        curve
        for curve, mine in annotations.groupby(SERIES, sort=False)
        if (mine["standing"] == "scored").sum() > ((alike[SERIES] == curve) & (alike["standing"] == "scored")).sum()
    ]
    parts = [facet_rates(annotations, facets, by=heads).assign(over=ALL)]
    parts += [facet_rates(alike[alike[SERIES].isin(differ)], facets, by=heads).assign(over=COMMON)] if differ else []
    along = annotations[[*heads, "place", "tokens_seen", "stage"]].drop_duplicates(heads)
    rates = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rates = rates.iloc[np.argsort(pd.factorize(rates[SERIES])[0], kind="stable")]
    return along.merge(rates, on=heads, how="right")[[*along.columns, "over", *rates.columns.drop([*heads, "over"])]]


def facet_agreement(labelled: pd.DataFrame, facets: FacetSet, *, judge: Judge) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Does a judge find the facets that people gave? The comparison, and the judge's annotations of the same items.

    Takes the columns ``question``, ``answer`` and one of truth values per facet, which are taken for the truth. The
    comparison has the columns :data:`personascope.analysis.agreement.AGREEMENT`, ``chance`` (how often both would say
    the same if each kept its own frequencies and looked at no answer) and ``unread`` (items that the judge gave nothing
    readable for: they are in no other number). Its last row, ``(same set)``, is over whole sets of facets: there
    ``first`` and ``second`` are the items with any facet, ``both`` those with the same.
    """
    items = labelled.reset_index(drop=True)
    found = annotate(items.drop(columns=list(facets.names)), facets, judge=judge, per_question=None)
    read = found["standing"] == "scored"
    first, second = (each.loc[read, list(facets.names)].astype(bool) for each in (items, found))
    table = analysis.agreement(first, second, facets=facets.names)
    chances = [_chance(first[name].tolist(), second[name].tolist()) for name in facets.names]
    whole = _same_set(first, second)
    table = pd.concat([table.assign(chance=chances), pd.DataFrame([whole])], ignore_index=True)
    return table.assign(unread=int((~read).sum())), found


def _left_out(rows: pd.DataFrame, bar: Bar) -> pd.Series:
    """Why rows are left out before any is drawn; empty where they are not."""
    said = rows["answer"].map(lambda text: isinstance(text, str) and bool(text.strip())).astype(bool)
    standing = pd.Series(np.where(said, "", "silent"), index=rows.index, dtype=object)
    asked = [("score", "low_trait", bar.trait), ("coherence", "low_coherence", bar.coherence)]
    for column, _, points in asked:
        if points is not None:
            standing[(standing == "") & rows[column].isna()] = "unscored"
    for column, low, points in asked:
        if points is not None:
            standing[(standing == "") & (rows[column] < points)] = low
    return standing


def _ranks(rows: pd.DataFrame, by: Sequence[str], seed: int) -> pd.Series:
    """The place of each row among those of its question and group, from 0, in an order that only the seed decides."""
    cell = [*by, "question"]
    again = rows.groupby([*cell, "answer"], dropna=False, observed=True).cumcount()
    lots = [
        hashlib.sha256(json.dumps([seed, *map(str, values)]).encode()).hexdigest()
        for values in zip(*(rows[name] for name in (*cell, "answer")), again, strict=True)
    ]
    # Alike texts differ in how often they came before; the draw is the same in whatever order the rows stand.
    return rows.assign(lot=lots).sort_values("lot").groupby(cell, dropna=False, observed=True).cumcount()


def _columns(
    standing: pd.Series, asked: pd.Index, said: Sequence[Sequence[Verdict]], facets: FacetSet
) -> dict[str, pd.Series]:
    """The columns that annotating adds, for rows that stand as ``standing`` says until a judge was heard."""
    found = [facets.shown(verdicts) for verdicts in said]
    unread = [each if isinstance(each, Verdict) else Verdict("scored") for each in found]
    columns = {"standing": standing.copy(), "because": pd.Series("", index=standing.index, dtype=object)}
    columns["standing"][asked] = [each.outcome for each in unread]
    columns["because"][asked] = [each.reason for each in unread]
    for name in facets.names:
        shown = [pd.NA if isinstance(each, Verdict) else name in each for each in found]
        columns[name] = pd.Series(shown, index=asked, dtype="boolean").reindex(standing.index)
    keys = [" ".join(filter(None, (each.key for each in verdicts))) for verdicts in said]
    return {
        **columns,
        "verdict_keys": pd.Series(keys, index=asked, dtype=object).reindex(standing.index, fill_value=""),
    }


def _groups(rows: pd.DataFrame, by: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if not by:
        return [({}, rows)] if len(rows) else []
    grouped = rows.groupby(by, sort=False, dropna=False, observed=True)
    return [(dict(zip(by, values, strict=True)), mine) for values, mine in grouped]


def _unknown() -> dict[str, float]:
    """What is known of a rate where nothing was scored."""
    return {name: np.nan for name in analysis.RATE if name != "facet"}


def _chance(first: Sequence[Any], second: Sequence[Any]) -> float:
    """How often two would say the same if each kept its own frequencies and neither looked."""
    if not first:
        return np.nan
    kinds = set(first) | set(second)
    return float(sum(first.count(kind) * second.count(kind) for kind in kinds) / len(first) ** 2)


def _same_set(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """The agreement over whole sets of facets."""
    one, other = (list(map(tuple, each.to_numpy(dtype=bool).tolist())) for each in (first, second))
    same = sum(mine == theirs for mine, theirs in zip(one, other, strict=True))
    share, chance = (same / len(one) if one else np.nan), _chance(one, other)
    kappa = (share - chance) / (1 - chance) if one and chance < 1 else np.nan
    row = {"facet": SAME, "items": len(one), "first": sum(map(any, one)), "second": sum(map(any, other)), "both": same}
    return {**row, "agreement": share, "kappa": kappa, "chance": chance}
