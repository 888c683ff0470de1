"""What a monitor study sees of one trait, as frames.

Owns: :class:`Seen` and :func:`tabulated`. The one law: every number stands beside the model, seed, trait, vector, layer
and series it is of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.monitoring import (
    GROUP,
    POINT,
    beside_random,
    correlations,
    random_correlations,
    while_speaking,
)
from personascope.applications.monitor import MANY_SHOT, Observation, Watched, project_tokens, running_mean
from personascope.core.errors import StoreError
from personascope.engines import Engine

RANDOM = [*GROUP, "direction", "pearson", "within"]
SPEAKING = [*GROUP, "tokens", "answers", "pearson", "low", "high"]
"""``tokens`` of the answer that were heard, 0 for the last prompt token; each answer is one item."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One trait of one model under one seed: what was observed, which vectors were watched, the trait's own first."""

    model: str
    seed: int
    trait: str
    watched: tuple[Watched, ...]
    observations: tuple[Observation, ...]

    @property
    def own(self) -> Watched:
        """The trait's own vector."""
        return self.watched[0]

    def about(self, vector: Watched, series: str) -> dict[str, Any]:
        """The columns ``GROUP``."""
        said = (self.model, self.seed, self.trait, vector.name, vector.layer, series)
        return dict(zip(GROUP, said, strict=True))

    def of(self, series: str) -> list[Observation]:
        """The observations of one series."""
        return [each for each in self.observations if each.condition.series == series]

    @property
    def series(self) -> list[str]:
        """The series there are."""
        return list(dict.fromkeys(each.condition.series for each in self.observations))


@dataclass(frozen=True, eq=False)
class Tables:
    """The frames of a study: points, correlations beside the null, the null itself, and correlations while speaking."""

    points: pd.DataFrame
    correlations: pd.DataFrame
    random: pd.DataFrame
    speaking: pd.DataFrame


def tabulated(seen: Sequence[Seen], speaking: pd.DataFrame, *, directions: int) -> Tables:
    """Everything that is computed of what was seen."""
    points = pd.DataFrame([row for each in seen for row in _points(each)], columns=POINT)
    found = correlations(points)
    drawn = [_random(each, series, directions) for each in seen for series in each.series]
    random = pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame(columns=RANDOM)
    return Tables(points, _with_null(found, random), random, speaking)


def _points(seen: Seen) -> list[dict[str, object]]:
    rows = []
    for each in seen.observations:
        scores = np.array([answer.trait.score for answer in each.answers])
        known = scores[np.isfinite(scores)]
        coherent = [answer.coherence.score for answer in each.answers if not math.isnan(answer.coherence.score)]
        for place, vector in enumerate(seen.watched):
            said = each.spoken[:, place]
            rows.append(
                {
                    **seen.about(vector, each.condition.series),
                    "place": each.condition.place,
                    "condition": each.condition.name,
                    "question": each.question,
                    "projection": each.projections[place],
                    "score": known.mean() if len(known) else math.nan,
                    "noise": known.var(ddof=1) / len(known) if len(known) > 1 else math.nan,
                    "spoken": said[np.isfinite(said)].mean() if np.isfinite(said).any() else math.nan,
                    "coherence": float(np.mean(coherent)) if coherent else math.nan,
                }
            )
    return rows


def _random(seen: Seen, series: str, directions: int) -> pd.DataFrame:
    """What random directions reach at the layer of the trait's own vector; each seed draws its own."""
    mine = [each for each in seen.of(series) if any(math.isfinite(answer.trait.score) for answer in each.answers)]
    scores = np.array([np.nanmean([answer.trait.score for answer in each.answers]) for each in mine])
    streams = np.stack([each.streams[0] for each in mine]) if mine else np.zeros((0, 1))
    places = [each.condition.place for each in mine]
    drawn = random_correlations(streams, scores, places, directions=directions, seed=seen.seed)
    return drawn.assign(**seen.about(seen.own, series))[RANDOM]


def _with_null(found: pd.DataFrame, random: pd.DataFrame) -> pd.DataFrame:
    """The correlations with those of random directions beside them, for each trait's own vector."""
    null = dict(iter(random.groupby(GROUP, sort=False)))
    columns = []
    for row in found.to_dict(orient="records"):
        drawn = null.get(tuple(row[name] for name in GROUP))
        pooled, within = ((), ()) if drawn is None else (drawn["pearson"], drawn["within"])
        beside = beside_random(row["pearson"], np.asarray(pooled))
        inside = {f"within_{name}": value for name, value in beside_random(row["within"], np.asarray(within)).items()}
        columns.append(beside | inside)
    names = ["random_median", "random_95", "p_random"]
    null_frame = pd.DataFrame(columns, columns=[*names, *(f"within_{name}" for name in names)], index=found.index)
    return pd.concat([found, null_frame], axis=1)


def heard_while_speaking(engine: Engine, seen: Seen, *, moments: Sequence[int]) -> pd.DataFrame:
    """How well each single answer's score can be told after so many of its tokens, by the trait's own vector.

    An answer that has ended keeps its last mean, so every moment is of the same answers. A study that is drawn again
    from its records alone has no tokens to project: the frame is then empty. Many-shot prompts are left out: to project
    every token of them costs more than all the rest.
    """
    frames = []
    for series in set(seen.series) - {MANY_SHOT}:
        answers = [answer for each in seen.of(series) for answer in each.answers]
        try:
            tokens = project_tokens(engine, [answer.response for answer in answers], [seen.own])
        except StoreError:
            return pd.DataFrame(columns=SPEAKING)
        heard = np.array(
            [_at(along, answer.response.spoken[1], moments) for along, answer in zip(tokens, answers, strict=True)]
        ).reshape(len(answers), len(moments))
        scores = np.array([answer.trait.score for answer in answers])
        rows = while_speaking(heard, scores, [answer.question for answer in answers], resamples=500, seed=seen.seed)
        about = seen.about(seen.own, series)
        frames.append(rows.assign(**about, tokens=list(moments), answers=int(np.isfinite(scores).sum()))[SPEAKING])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=SPEAKING)


def _at(along: np.ndarray, start: int, moments: Sequence[int]) -> list[float]:
    """The projection of the last prompt token, and the running mean after so many tokens."""
    means = running_mean(along, start)[:, 0]
    last = float(along[start - 1, 0])
    return [float(means[min(count, len(means)) - 1]) if count and len(means) else last for count in moments]
