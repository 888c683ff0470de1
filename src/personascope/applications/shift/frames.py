"""Finetuning shift against judged change, over models.

A correlation over models stands beside what random directions reach over the same models, because fine-tuning moves
models along few dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.analysis.monitoring import beside_random, pearson
from personascope.analysis.significance import sign_flip
from personascope.applications.shift.core import Asking, Standing, Watched
from personascope.tracing.tracing import paired_effect

RESAMPLES: Final = 2000
FEWEST: Final = 4
"""Models below which no correlation is given, and groups of models below which it has no interval."""

SHIFT: Final = [
    "model", "group", "trait", "layer", "shift", "cosine", "before", "after", "change", "low", "high", "p_two_sided",
    "coherence_before", "coherence_after", "unscored",
]  # fmt: skip
"""Columns of a shift frame. ``shift`` is in units of the residual stream, ``before`` to ``high`` are score points;
``cosine`` is that of the whole movement with the vector."""


@dataclass(frozen=True, eq=False)
class Shifted:
    """What was found of models against the one that is named ``base``, and in words how."""

    shifts: pd.DataFrame
    correlations: pd.DataFrame
    null: pd.DataFrame
    base: str
    about: tuple[str, ...]


def shifted(standings: Sequence[Standing], watched: Sequence[Watched], asking: Asking, *, base: str) -> Shifted:
    """Shift against change, over models; the first of the standings is that of the ``base``."""
    before, *tuned = standings
    rows = shift_rows(before, tuned, watched)
    null = shift_null(before, tuned, watched, directions=asking.directions, seed=asking.seed)
    read = "the last prompt token" if asking.span == "last_prompt" else f"the {asking.span}"
    layers = ", ".join(f"{each.trait.name} {each.layer}" for each in watched)
    about = (
        f"{len(tuned)} models against {base}; activations at {read}, layers: {layers}.",
        f"Judge: {asking.judge.name}. Intervals of r resample whole groups of models; the null is {asking.directions} "
        "random directions over the same models.",
    )
    return Shifted(rows, shift_correlations(rows, seed=asking.seed), null, base, about)


def shift_rows(base: Standing, tuned: Sequence[Standing], watched: Sequence[Watched]) -> pd.DataFrame:
    """One row per tuned model and trait, columns ``SHIFT``.

    The interval and p-value of the change are those of the sign-flip test over questions.
    """
    rows = []
    for model in tuned:
        for each in watched:
            trait = each.trait.name
            moved = model.means[trait][each.layer] - base.means[trait][each.layer]
            shift, length = float(moved @ each.unit), float(np.linalg.norm(moved))
            paired = paired_effect(base.answers[trait], model.answers[trait])
            test = sign_flip(np.array([one.trait for one in paired]))
            sides = [
                (_mean([one.plain[side] for one in paired]), _mean([one.steered[side] for one in paired]))
                for side in (0, 1)
            ]
            unscored = sum(np.isnan(said.trait.score) for said in model.answers[trait])
            rows.append(
                [
                    *(model.name, model.group, trait, each.layer, shift, shift / length if length else np.nan),
                    *(*sides[0], test.mean, test.low, test.high, test.p_two_sided, *sides[1], unscored),
                ]
            )
    return pd.DataFrame(rows, columns=SHIFT)


def shift_correlations(shifts: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """One row per vector and scored trait: Pearson's r over models, of the shift along one and the change in the other.

    Columns vector, trait, models, groups, pearson, low, high; models whose change nobody could judge do not count. The
    95 % interval is the percentile one of resampled groups of models (a model is its own group unless something else
    was said): models trained on versions of the same data, and checkpoints of one run, are not as good as so many. r is
    NaN with fewer than four models, the interval with fewer than four groups: resampling few of them says nothing.
    """
    names = list(dict.fromkeys(shifts["trait"]))
    along, change = (_table(shifts, column, names) for column in ("shift", "change"))
    groups = shifts.drop_duplicates("model").set_index("model").loc[along.index, "group"]
    labels = pd.factorize(groups)[0]
    drawn = _resampled(labels, resamples, seed)
    rows = []
    for vector in names:
        for trait in names:
            one, other = along[vector].to_numpy(dtype=float), change[trait].to_numpy(dtype=float)
            known = np.isfinite(one) & np.isfinite(other)
            count, groups_known = int(known.sum()), len(set(labels[known]))
            found, low, high = np.nan, np.nan, np.nan
            if count >= FEWEST:
                found = float(pearson(one, other))
            if count >= FEWEST and groups_known >= FEWEST:
                again = np.array([float(pearson(one[places], other[places])) for places in drawn])
                again = again[np.isfinite(again)]
                low, high = np.quantile(again, [0.025, 0.975]) if len(again) >= 0.9 * resamples else (np.nan, np.nan)
            rows.append([vector, trait, count, groups_known, found, low, high])
    return pd.DataFrame(rows, columns=["vector", "trait", "models", "groups", "pearson", "low", "high"])


def shift_null(
    base: Standing, tuned: Sequence[Standing], watched: Sequence[Watched], *, directions: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row per trait: the correlation of the shift along its own vector, beside those along random directions.

    Columns trait, models, pearson, random_median, random_95 and p_random: of the absolute values that Gaussian
    directions reach with the change of the same trait over the same models; p is the share that reaches the vector's.
    """
    shifts = shift_rows(base, tuned, watched)
    rows = []
    for each in watched:
        trait = each.trait.name
        mine = shifts[shifts["trait"] == trait]
        change = mine["change"].to_numpy(dtype=float)
        count = int(np.isfinite(change).sum())
        found = float(pearson(mine["shift"].to_numpy(dtype=float), change)) if count >= FEWEST else np.nan
        moved = np.array([model.means[trait][each.layer] - base.means[trait][each.layer] for model in tuned])
        reached = np.full(directions, np.nan)
        if count >= FEWEST:
            drawn = np.random.default_rng(seed).standard_normal((directions, moved.shape[1]))
            reached = np.asarray(pearson(drawn @ moved.T, np.broadcast_to(change, (directions, len(change)))))
        rows.append({"trait": trait, "models": count, "pearson": found, **beside_random(found, reached)})
    return pd.DataFrame(rows, columns=["trait", "models", "pearson", "random_median", "random_95", "p_random"])


def _table(shifts: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """Models in rows, traits in columns."""
    wide = shifts.pivot_table(index="model", columns="trait", values=column, sort=False, dropna=False)
    return wide.reindex(columns=list(names))


def _resampled(labels: np.ndarray, resamples: int, seed: int) -> list[np.ndarray]:
    """Places of models, whole groups drawn with replacement."""
    generator, groups = np.random.default_rng(seed), np.unique(labels)
    places = [np.flatnonzero(labels == group) for group in groups]
    drawn = generator.integers(0, len(groups), (resamples, len(groups))) if len(groups) else np.zeros((0, 0), int)
    return [np.concatenate([places[group] for group in row]) for row in drawn]


def _mean(values: Sequence[float]) -> float:
    known: Float[np.ndarray, "known"] = np.array([value for value in values if np.isfinite(value)])
    return float(known.mean()) if len(known) else float("nan")
