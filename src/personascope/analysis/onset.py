"""From when on is a trait there? The onset of a curve, by a rule that was fixed beforehand.

Owns: :func:`onset`, :func:`first_shown` and their :class:`Rule`. The one law: an onset is where a trait shows and shows
ever after. A milestone that was asked and gave nothing does not show it; one that nobody asked says nothing.

The rule. A milestone shows the trait if its effect is above the floor, if its sign-flip p-value, corrected by Holm over
the milestones of the curve, is below the level, and, where random directions of the vector's applied norm were steered
along too, if its effect is above the 97.5th percentile of theirs. The onset is the first milestone from which on every
one with data shows the trait. What counts as data:

- Answers that were scored: their effect counts. Answers nobody could score were measured as well: not shown.
- ``no vector``: the checkpoint was asked and gave no pair to make a vector of. Not shown, so one after a candidate
  breaks it. It has no p-value, so it does not enlarge Holm's family.
- Any other absence (no checkpoint, no scale, answers that are not there): nothing was measured. It is passed over and
  counted, because a missing file is no evidence that a trait went away.
- An alias, ``same_weights_as`` a milestone with data, is left out, or one checkpoint would be two tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from personascope.analysis.corrections import family_name, holm
from personascope.analysis.effects import SUBJECT, curve_names, question_effects
from personascope.analysis.frames import ARM
from personascope.analysis.significance import sign_flip_ps
from personascope.core.errors import StudyError

Side = Literal["p_two_sided", "p_greater"]
ONSET = [
    "curve", *SUBJECT, "milestone", "place", "tokens_seen", "stage", "effect", "last_not_shown", "low_milestone",
    "low_place", "low_tokens", "high_milestone", "high_place", "high_tokens", "share_without", "milestones",
    "no_vector", "without_data", "controlled", "rule", "family",
]  # fmt: skip
"""Columns of :func:`onset`. Its docstring says what is in them."""

_POINT = ["milestone", "place", "tokens_seen", "stage"]
_CONTROLS_BELOW = 0.975
_SAME_NORM = 0.01  # relative: published vectors and edits are rounded to bfloat16
_ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Rule:
    """What a milestone must show: an effect above ``floor`` score points, and Holm's p-value below ``level``.

    ``p`` says which p-value is corrected. The two-sided one is the default: it is the one in tables and figures, and it
    leaves the direction open until the data have spoken. Below the floor there is no onset, so that with it the chance
    of a false one is half of what the level says.
    """

    floor: float = 5.0
    level: float = 0.05
    p: Side = "p_two_sided"

    def shows(
        self, samples: Float[np.ndarray, "sample milestone question"], limits: Float[np.ndarray, "sample milestone"]
    ) -> Bool[np.ndarray, "sample milestone"]:
        """Which milestones show the trait, in every sample of questions."""
        clear = _means(samples) > np.maximum(limits, self.floor)
        # Where the last milestone fails there is no onset, whatever the tests would say.
        tested = clear[:, -1:].any(axis=1)
        p_holm = np.ones(clear.shape)
        p_holm[tested] = self.p_holm(samples[tested])
        shown: np.ndarray = clear & (p_holm < self.level)
        return shown

    def p_holm(self, samples: Float[np.ndarray, "sample milestone question"]) -> Float[np.ndarray, "sample milestone"]:
        """Sign-flip p-values, corrected over the milestones of each sample; NaN where a milestone has no effect."""
        sides = sign_flip_ps(samples.reshape(samples.shape[0] * samples.shape[1], samples.shape[2]))
        p_values = sides[0 if self.p == "p_two_sided" else 1].reshape(samples.shape[:2])
        return holm(p_values)


def first_shown(differences: Float[np.ndarray, "milestone question"], *, rule: Rule | None = None) -> int | None:
    """Which milestone is the onset, counted from 0; ``None`` if there is none. The rule without controls.

    Args:
        differences: Steered minus plain, in order of training. NaN is a question without scores; a row of NaN is a
            milestone that gave nothing, such as no vector.
        rule: The floor and the level.

    Example:
        >>> first_shown(np.vstack([np.zeros(20), np.full((3, 20), 8.0)]))
        1
    """
    samples = np.asarray(differences, dtype=np.float64)[None]
    start = _starts((rule or Rule()).shows(samples, np.full(samples.shape[:2], -np.inf)))[0]
    return None if start == samples.shape[1] else int(start)


def onset(answers: pd.DataFrame, *, rule: Rule | None = None, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per curve: the milestone from which on the trait shows, by the rule at the head of this module.

    Takes :func:`~personascope.analysis.frames.answer_rows`. Columns (``ONSET``): the curve's name and subject;
    ``milestone``, ``place``, ``tokens_seen``, ``stage`` and ``effect`` of the onset, empty and NaN where there is none;
    ``last_not_shown``, the last milestone with data that does not show the trait, and why (empty if all do: the onset
    may then lie before the first).

    The interval is that of the onsets in ``resamples`` draws of as many questions with replacement, the same draw for
    all milestones and controls: ``low_`` and ``high_`` are their 2.5th and 97.5th percentile, in order of training, no
    onset last (then the name is empty, place and tokens are inf). ``share_without`` is the share of draws that have
    none. It says how much the onset owes to the questions; the vectors are what they are. NaN with fewer than two
    questions.

    ``milestones`` counts those with data, ``no_vector`` those of them without a vector, ``without_data`` those passed
    over, ``controlled`` those where matched controls took part. ``rule`` is "floor and p" or "floor, p and random
    controls", ``family`` names what Holm corrected over.

    Raises:
        StudyError: if a curve is steered in several chosen ways at one milestone.
    """
    rule = rule or Rule()
    if answers.empty:
        return pd.DataFrame(columns=ONSET)
    chosen = answers[answers["chosen"].astype(bool)].reset_index(drop=True)
    extracted = chosen[chosen["direction"] == "extracted"]
    names = curve_names(extracted)
    questions = question_effects(chosen)
    rows = []
    for subject, arms in extracted.groupby(SUBJECT, sort=True):
        about = {"curve": names[arms.index[0]], **dict(zip(SUBJECT, subject, strict=True))}
        mine = questions[(questions[SUBJECT] == list(subject)).all(axis=1)]
        curve = _Curve.of(arms, mine, str(about["curve"]))
        rows.append({**about, **curve.found(rule), **curve.resampled(rule, resamples, seed), **curve.said(rule, about)})
    return pd.DataFrame(rows, columns=ONSET)


@dataclass(frozen=True)
class _Curve:
    """The milestones with data of one curve, in order: their questions' differences, and those of their controls."""

    milestones: pd.DataFrame  # one row each: the columns of an arm, and what the milestone is as data
    differences: Float[np.ndarray, "milestone question"]
    controls: Sequence[Float[np.ndarray, "_ question"]]
    without_data: int

    @classmethod
    def of(cls, arms: pd.DataFrame, questions: pd.DataFrame, name: str) -> _Curve:
        """From the answers along the extracted vectors of one subject, and the question effects of all its arms."""
        milestones = arms[ARM].drop_duplicates().sort_values("place", kind="stable", ignore_index=True)
        if (twice := milestones["place"].duplicated()).any():
            where = milestones.loc[twice, "milestone"].iloc[0]
            raise StudyError(f"the onset of {name}: {where} was steered in several ways: leave one chosen")
        table = _table(questions[questions["direction"] == "extracted"], "place")
        answered = milestones["place"].isin(arms.loc[arms["pole"].notna(), "place"])
        data = answered | (milestones["absence"] == "no vector")
        alias = milestones["same_weights_as"].isin(milestones.loc[data, "milestone"])
        measured = milestones[data & ~alias].reset_index(drop=True)
        drawn = questions[questions["direction"].str.startswith("random-")]
        controls = [_matched(drawn, arm).reindex(columns=table.columns) for arm in measured.itertuples()]
        return cls(
            measured,
            table.reindex(measured["place"]).to_numpy(dtype=np.float64),
            [each.to_numpy(dtype=np.float64) for each in controls],
            int((~data & ~alias).sum()),
        )

    def found(self, rule: Rule) -> dict[str, Any]:
        """The onset, and what came last before it."""
        every = np.arange(self.differences.shape[1])[None]
        shown = self._shown(rule, every)
        start = int(_starts(shown)[0])
        effects = _means(self.differences)
        point: dict[str, Any] = dict(zip(_POINT, ("", np.nan, np.nan, ""), strict=True)) | {"effect": np.nan}
        if start < len(self.milestones):
            point = {**self.milestones.loc[start, _POINT], "effect": effects[start]}
        return point | {"last_not_shown": self._why_not(rule, start - 1) if start else ""}

    def resampled(self, rule: Rule, resamples: int, seed: int) -> dict[str, Any]:
        """The interval of the onset, and how often there is none."""
        count = self.differences.shape[1]
        starts = np.zeros(0, dtype=int)
        if count > 1:
            drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
            starts = _starts(self._shown(rule, drawn))
        ends: dict[str, Any] = {}
        for side, share in zip(("low", "high"), _ENDS, strict=True):
            end: tuple[Any, ...] = ("", np.nan, np.nan)
            if len(starts):
                at = int(np.quantile(starts, share, method="inverted_cdf"))
                within = at < len(self.milestones)
                end = tuple(self.milestones.loc[at, _POINT[:3]]) if within else ("", np.inf, np.inf)
            ends |= dict(zip((f"{side}_milestone", f"{side}_place", f"{side}_tokens"), end, strict=True))
        return ends | {"share_without": float((starts == len(self.milestones)).mean()) if len(starts) else np.nan}

    def said(self, rule: Rule, about: dict[str, Any]) -> dict[str, Any]:
        """What was looked at, and by which rule."""
        tests = int((~np.isnan(_means(self.differences))).sum())
        controlled = sum(len(each) > 0 for each in self.controls)
        return {
            "milestones": len(self.milestones),
            "no_vector": int((self.milestones["absence"] == "no vector").sum()),
            "without_data": self.without_data,
            "controlled": controlled,
            "rule": "floor, p and random controls" if controlled else "floor and p",
            "family": family_name({"trait": about["curve"], "target": about["target"]}, tests, "milestones"),
        }

    def _shown(self, rule: Rule, drawn: Int[np.ndarray, "sample question"]) -> Bool[np.ndarray, "sample milestone"]:
        limits = [_limit(each, drawn) for each in self.controls]
        samples = self.differences[:, drawn].swapaxes(0, 1)
        return rule.shows(samples, np.array(limits).reshape(len(limits), len(drawn)).T)

    def _why_not(self, rule: Rule, place: int) -> str:
        name, absence = self.milestones.loc[place, ["milestone", "absence"]]
        effect = float(_means(self.differences[place]))
        if np.isnan(effect):
            return f"{name}: {absence or 'no scores'}"
        if effect <= rule.floor:
            return f"{name}: effect {effect:+.2f}, floor {rule.floor:g}"
        limit = float(_limit(self.controls[place], np.arange(self.differences.shape[1])[None])[0])
        if effect <= limit:
            return f"{name}: effect {effect:+.2f}, random controls reach {limit:+.2f}"
        return f"{name}: Holm's p {rule.p_holm(self.differences[None])[0, place]:.2g}"


def _table(questions: pd.DataFrame, rows: str) -> pd.DataFrame:
    """The effects of questions, one column each."""
    return questions.pivot(index=rows, columns="question", values="effect")


def _matched(drawn: pd.DataFrame, arm: Any) -> pd.DataFrame:
    """The effects of the random directions at a milestone whose applied norm is the vector's: a row each."""
    there = drawn[drawn["place"] == arm.place]
    norm, norms = (pd.to_numeric(each, errors="coerce") for each in (arm.applied_norm, there["applied_norm"]))
    table = _table(there[np.isclose(norms, norm, rtol=_SAME_NORM, atol=0)], "direction")
    return table.dropna(how="all")


def _limit(controls: Float[np.ndarray, "control question"], drawn: Int[np.ndarray, "sample question"]) -> np.ndarray:
    """What an effect must exceed for its controls' sake, per sample; minus infinity without controls."""
    if not len(controls):
        return np.full(len(drawn), -np.inf)
    means = _means(controls[:, drawn])
    # Questions that no control was scored on say nothing against an effect.
    unknown = np.isnan(means).all(axis=0)
    limits = np.nanquantile(np.where(unknown, 0.0, means), _CONTROLS_BELOW, axis=0)
    return np.where(unknown, -np.inf, limits)


def _means(values: np.ndarray) -> np.ndarray:
    """Means over the last axis, NaN left out; NaN where nothing is known."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return means


def _starts(shown: Bool[np.ndarray, "sample milestone"]) -> Int[np.ndarray, "sample"]:
    """Where the run of shown milestones that lasts to the end begins; the number of milestones if there is none."""
    lasting = np.logical_and.accumulate(shown[:, ::-1], axis=1).sum(axis=1)
    starts: np.ndarray = shown.shape[1] - lasting
    return starts
