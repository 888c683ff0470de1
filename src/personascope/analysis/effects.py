"""Effects: what steering did, question by question and milestone by milestone.

Owns: :func:`question_effects`, :func:`effects`, :func:`growth`, :func:`against_floor` and :func:`curves`. The one law:
the question is the unit of analysis; draws are averaged within it first, so many draws of few questions never pass for
many observations.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from personascope.analysis.frames import ARM, kinds_of
from personascope.analysis.significance import sign_flip

EFFECT = [
    *ARM, "questions", "plain", "steered", "effect", "low", "high", "p_two_sided", "p_greater",
    "plain_coherence", "steered_coherence", "unscored",
]  # fmt: skip
"""Columns of an effects frame. ``plain``, ``steered``, ``effect``, ``low`` and ``high`` are score points."""


def question_effects(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and question: mean plain and steered score and coherence, and their difference.

    Takes :func:`~personascope.analysis.frames.answer_rows`; unscored answers are left out of the means, and a question
    with none on one side has an effect of NaN (tracing study §2.2: means over draws, then steered minus plain).
    """
    heard = answers[answers["pole"].notna()]
    columns = [*ARM, "question", "plain", "steered", "plain_coherence", "steered_coherence", "effect", "unscored"]
    if heard.empty:
        return pd.DataFrame(columns=columns)
    keys = [*ARM, "question"]
    heard = heard.assign(unscored=heard["score"].isna())
    means = heard.groupby([*keys, "pole"], dropna=False, sort=False, observed=True).agg(
        score=("score", "mean"), coherence=("coherence", "mean"), unscored=("unscored", "sum")
    )
    both = pd.MultiIndex.from_product([["score", "coherence", "unscored"], ["plain", "steered"]])
    sides = pd.DataFrame(means.unstack("pole")).reindex(columns=both)
    frame = pd.DataFrame(
        {
            "plain": sides["score", "plain"],
            "steered": sides["score", "steered"],
            "plain_coherence": sides["coherence", "plain"],
            "steered_coherence": sides["coherence", "steered"],
            "unscored": sides["unscored", "plain"].fillna(0) + sides["unscored", "steered"].fillna(0),
        }
    ).reset_index()
    frame["effect"] = frame["steered"] - frame["plain"]
    return frame[columns]


def effects(answers: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """One row per arm: mean effect over questions, its exact sign-flip p-values and the interval that inverts the test.

    Takes :func:`~personascope.analysis.frames.answer_rows`. A milestone without an effect keeps its row: NaN, and the
    reason. Sorted by trait, target, place in the lineage and arm.
    """
    rows = [
        {**dict(zip(ARM, arm, strict=True)), **_summary(group, level)}
        for arm, group in question_effects(answers).groupby(ARM, dropna=False, sort=False, observed=True)
    ]
    absent = answers.loc[answers["pole"].isna(), ARM]
    frame = pd.concat([pd.DataFrame(rows, columns=EFFECT), absent.reindex(columns=EFFECT)], ignore_index=True)
    mute = frame["effect"].isna() & (frame["absence"] == "")
    frame.loc[mute, ["absence", "reason"]] = ["no scores", "no question was scored both plainly and steered"]
    frame = frame.astype({"questions": "Int64", "unscored": "Int64", "tokens_seen": "float64"})
    order = ["trait", "extracted_as", "evaluated_as", "target", "place", "chosen", "direction", "layer", "where"]
    descending = [name == "chosen" for name in order]
    return frame.sort_values(order, ascending=[not each for each in descending], kind="stable", ignore_index=True)


def _summary(group: pd.DataFrame, level: float) -> dict[str, float | int]:
    test = sign_flip(group["effect"].to_numpy(dtype=np.float64), level=level)
    unscored = int(group["unscored"].sum())
    # Means are over the questions the effect is over, or the difference of two columns would not be the third.
    group = group[group["effect"].notna()]
    return {
        "questions": test.pairs,
        "plain": float(group["plain"].mean()),
        "steered": float(group["steered"].mean()),
        "effect": test.mean,
        "low": test.low,
        "high": test.high,
        "p_two_sided": test.p_two_sided,
        "p_greater": test.p_greater,
        "plain_coherence": float(group["plain_coherence"].mean()),
        "steered_coherence": float(group["steered_coherence"].mean()),
        "unscored": unscored,
    }


def growth(answers: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Did the effect grow? Per subject, the last third of the milestones that gave vectors minus the first third.

    Compared question by question (each question's effect averaged within each third), with the sign-flip interval of
    the difference. Columns: trait, extracted_as, evaluated_as, target, first, last, growth, low, high, p_greater.
    """
    columns = [*SUBJECT, "first", "last", "growth", "low", "high", "p_greater"]
    questions = question_effects(answers)
    questions = questions[questions["chosen"].astype(bool) & (questions["direction"] == "extracted")]
    rows = []
    for subject, mine in questions.groupby(SUBJECT, sort=True):
        places = sorted(mine["place"].unique())
        third = max(1, len(places) // 3)
        if len(places) < 2:
            continue
        first = mine[mine["place"].isin(places[:third])].groupby("question", sort=False)["effect"].mean()
        last = mine[mine["place"].isin(places[-third:])].groupby("question", sort=False)["effect"].mean()
        test = sign_flip((last - first).to_numpy(dtype=np.float64), level=level)
        rows.append([*subject, first.mean(), last.mean(), test.mean, test.low, test.high, test.p_greater])
    return pd.DataFrame(rows, columns=columns)


def against_floor(effects: pd.DataFrame, *, floor: float = 5.0) -> pd.DataFrame:
    """The same rows with two verdicts about their size: an effect can be sure and still too small to matter.

    ``clears_floor`` says that the effect is more than ``floor`` score points, up or down; ``surely_clears_floor`` that
    all of its interval is, on the same side. Missing where there is no effect, or no interval.
    """
    effect, low, high = (effects[name].astype("float64") for name in ("effect", "low", "high"))
    surely = ((low > floor) | (high < -floor)).astype("boolean")
    return effects.assign(
        clears_floor=(effect.abs() > floor).astype("boolean").mask(effect.isna()),
        surely_clears_floor=surely.mask(low.isna() | high.isna()),
    )


CURVE = [
    "curve", "trait", "extracted_as", "evaluated_as", "target", "milestone", "place", "tokens_seen", "stage", "effect",
    "low", "high", "p_two_sided", "absence", "steered_coherence", "control_low", "control_high", "control_mean",
    "shuffled_mean",
]  # fmt: skip
"""Columns of curves. ``curve`` names the line: the trait, with its forms where it is traced in several. ``absence`` is
empty where there is an effect. Controls are in score points, NaN where there is none."""

SUBJECT = ["trait", "extracted_as", "evaluated_as", "target"]


def curves(effects: pd.DataFrame) -> pd.DataFrame:
    """One row per subject, target and milestone: the chosen effect, and the controls at the same place beside it.

    Takes :func:`effects`. ``control_low`` and ``control_high`` are the least and the greatest effect of the random
    directions there, ``control_mean`` their mean; ``shuffled_mean`` is that of the label-shuffled vectors.
    """
    keys = [*SUBJECT, "place"]
    chosen = effects[effects["chosen"].astype(bool)]
    frame = chosen[chosen["direction"] == "extracted"].copy()
    frame["curve"] = curve_names(frame)
    kind = kinds_of(chosen["direction"])
    drawn = chosen[kind == "random"].groupby(keys)["effect"].agg(["min", "max", "mean"])
    drawn.columns = pd.Index(["control_low", "control_high", "control_mean"])
    swapped = chosen[kind == "shuffled"].groupby(keys)["effect"].mean().rename("shuffled_mean")
    return frame.join(drawn, on=keys).join(swapped, on=keys).reset_index(drop=True)[CURVE]


def curve_names(rows: pd.DataFrame) -> pd.Series:
    """What the curve of each row is called: its trait, with its forms where the trait is traced in several."""
    forms = rows.groupby("trait")[["extracted_as", "evaluated_as"]].transform("nunique").max(axis=1)
    named: pd.Series = rows["trait"] + ", " + rows["extracted_as"] + " to " + rows["evaluated_as"]
    return rows["trait"].where(forms <= 1, named)
