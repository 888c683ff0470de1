"""What a monitor study sees of one trait, as frames.

Every number stands beside the model, seed, trait, vector, layer and series it is of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

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
class Spoken:
    """Single answers of one series: the trait's own projection after so many of their tokens, and their scores."""

    about: dict[str, Any]
    projections: Float[np.ndarray, "answer moment"]
    scores: Float[np.ndarray, "answer"]
    questions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Tables:
    """What a study found, as frames, each computed when it is first asked for."""

    seen: tuple[Seen, ...]
    spoken: tuple[Spoken, ...]
    directions: int
    moments: tuple[int, ...]

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per question under one condition, columns ``POINT``."""
        return pd.DataFrame([row for each in self.seen for row in _points(each)], columns=POINT)

    @cached_property
    def random(self) -> pd.DataFrame:
        """What random directions reach, columns ``RANDOM``."""
        drawn = [_random(each, series, self.directions) for each in self.seen for series in each.series]
        return pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame(columns=RANDOM)

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """The correlations of every vector, for the own ones beside those of random directions."""
        return _with_null(correlations(self.points), self.random)

    @cached_property
    def speaking(self) -> pd.DataFrame:
        """How well each single answer's score can be told after so many of its tokens, columns ``SPEAKING``."""
        frames = [_speaking(each, self.moments) for each in self.spoken]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=SPEAKING)

    @property
    def own(self) -> pd.DataFrame:
        """The correlations of each trait's own vector."""
        return _own(self.correlations)

    def first_seed(self, series: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Points and correlations of the own vectors in one series, under the first seed."""
        mine = [rows[rows["series"] == series] for rows in (_own(self.points), self.own)]
        points, found = (rows[rows["seed"] == rows["seed"].iloc[0]] if len(rows) else rows for rows in mine)
        return points, found


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["vector"] == frame["trait"]]


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


def project_answers(engine: Engine, seen: Seen, *, moments: Sequence[int]) -> list[Spoken]:
    """The projections of single answers on the trait's own vector, after so many of their tokens.

    An answer that has ended keeps its last mean, so every moment is of the same answers. A study that is drawn again
    from its records alone has no tokens to project: then there are none. Many-shot prompts are left out: to project
    every token of them costs more than all the rest.
    """
    found = []
    for series in set(seen.series) - {MANY_SHOT}:
        answers = [answer for each in seen.of(series) for answer in each.answers]
        try:
            tokens = project_tokens(engine, [answer.response for answer in answers], [seen.own])
        except StoreError:
            return []
        along = np.array(
            [_at(along, answer.response.spoken[1], moments) for along, answer in zip(tokens, answers, strict=True)]
        ).reshape(len(answers), len(moments))
        scores = np.array([answer.trait.score for answer in answers])
        found.append(Spoken(seen.about(seen.own, series), along, scores, tuple(each.question for each in answers)))
    return found


def _speaking(spoken: Spoken, moments: Sequence[int]) -> pd.DataFrame:
    seed = spoken.about["seed"]
    rows = while_speaking(spoken.projections, spoken.scores, spoken.questions, resamples=500, seed=seed)
    scored = int(np.isfinite(spoken.scores).sum())
    return rows.assign(**spoken.about, tokens=list(moments), answers=scored)[SPEAKING]


def _at(along: np.ndarray, start: int, moments: Sequence[int]) -> list[float]:
    """The projection of the last prompt token, and the running mean after so many tokens."""
    means = running_mean(along, start)[:, 0]
    last = float(along[start - 1, 0])
    return [float(means[min(count, len(means)) - 1]) if count and len(means) else last for count in moments]
