"""Answers without a score, and effects that come with lost coherence.

Owns: :func:`find_judging`. The one law: an answer nobody could score is neither 0 nor 100: both are tried, and the
truth lies between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import SIGNIFICANT, Evidence, contrast
from personascope_published.audits.findings import Finding, Kind, greatest, last, named, places, records, several

UNSCORED = Kind(
    "answers without a score",
    "{unscored} answers in {files} files had no score, up to {most} of {most_of} ({which}), and were left out of "
    "every mean",
    "if they were all 0 or all 100, the mean of that file would lie between {least:.1f} and {greatest:.1f} "
    "(published {mean:.1f}), and in {wide} files the bounds are more than 2 points apart; no distribution is "
    "published to score them",
)
COHERENCE = Kind(
    "coherence lost with the effect",
    "in {curves} (on {targets}) steering cost {cost:.1f} points of coherence on average and up to {most:.1f}, "
    "and at {below_50} of {points} points the steered answers were below 50",
    "{redone_words}",
)
_AMONG_COHERENT = (
    "among coherent answers alone ({percent_kept:.0f} % of them) the mean effect of {redone} points went from "
    "{mean_effect:.1f} to {mean_effect_coherent:.1f}, and {significance_lost} lost p < 0.05; the selection is "
    "after the fact, so this describes the answers and corrects no effect"
)
COHERENT = 50.0
LOSS = -10.0
"""Points of coherence that a curve may lose in the mean before its effect is not one of the trait alone."""
WIDE = 2.0
"""Score points: what leaving answers out may move a mean by before it matters."""


def find_judging(evidence: Evidence) -> Iterator[Finding]:
    """Unscored answers with the bounds they leave, and curves that lose coherence."""
    yield from _unscored(evidence)
    for _, points in evidence.curves.groupby("file", sort=False):
        lost = points.groupby("curve")["coherence_change"].mean()
        mine = points[points["curve"].isin(lost[lost < LOSS].index)]
        if not mine.empty:
            yield _incoherent(evidence, mine)


def _unscored(evidence: Evidence) -> Iterator[Finding]:
    some = evidence.survey[evidence.survey["unscored"] > 0]
    if some.empty:
        return
    rate = (some["unscored"] / some["rows"]).astype("float64")
    least = some["mean"] * (1 - rate)
    some = some.assign(rate=rate, least_mean=least, greatest_mean=least + 100 * rate)
    worst = greatest(some, rate)
    numbers = {
        "files": len(some),
        "unscored": some["unscored"].sum(),
        "rows": some["rows"].sum(),
        "most": worst["unscored"],
        "most_of": worst["rows"],
        "least": worst["least_mean"],
        "greatest": worst["greatest_mean"],
        "mean": worst["mean"],
        "wide": int((100 * rate > WIDE).sum()),
        **{f"{kind}_unscored": count for kind, count in some.groupby("kind")["unscored"].sum().items()},
    }
    columns = ["file", "kind", "rows", "unscored", "rate", "mean", "least_mean", "greatest_mean"]
    words = {"which": last(worst["file"], 2)}
    yield UNSCORED.found(
        some["file"], "number" if numbers["wide"] else "record", numbers, words=words, details=records(some, columns)
    )


def _incoherent(evidence: Evidence, points: pd.DataFrame) -> Finding:
    """The curves of one table that lose coherence, with the effect among coherent answers alone."""
    redone = pd.DataFrame([_coherent(evidence, row) for row in records(points)])
    done = redone[redone["effect_coherent"].notna()]
    gone = int(((done["p"] < SIGNIFICANT) & ~(done["p_coherent"] < SIGNIFICANT)).sum())
    numbers = {
        "curves": points["curve"].nunique(),
        "points": len(points),
        "cost": -points["coherence_change"].mean(),
        "most": -points["coherence_change"].min(),
        "below_50": int((points["steered_coherence"] < COHERENT).sum()),
        "redone": len(done),
        "percent_kept": 100 * done["kept_answers"].mean(),
        "mean_effect": done["effect"].mean(),
        "mean_effect_coherent": done["effect_coherent"].mean(),
        "significance_lost": gone,
    }
    words = {
        "curves": several(points["curve"].nunique(), "curve"),
        "targets": named(points["target"]),
        "redone_words": _AMONG_COHERENT.format(**numbers) if len(done) else "none: the answers are not published",
    }
    return COHERENCE.found(
        places(points), "conclusion" if gone else "number", numbers, words=words, details=records(redone)
    )


def _coherent(evidence: Evidence, row: dict[str, Any]) -> dict[str, Any]:
    names = ("file", "row", "curve", "source", "effect", "p", "coherence_change", "steered_coherence")
    found = {name: row[name] for name in names}
    plain, steered = evidence.sides(row)
    if plain is None or steered is None:
        return found | dict.fromkeys(("effect_coherent", "p_coherent", "questions_coherent", "kept_answers"), np.nan)
    kept = [each[each["coherence"] >= COHERENT] for each in (plain, steered)]
    among = contrast(*kept)
    return found | {
        "effect_coherent": among.effect,
        "p_coherent": among.p,
        "questions_coherent": among.questions,
        "kept_answers": sum(map(len, kept)) / (len(plain) + len(steered)),
    }
