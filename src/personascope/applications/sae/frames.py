"""Features of a persona vector: what steering with each of them, and leaving it out, does.

The best of many is looked at beside as many random ones, and its p-value is corrected for how many were tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from personascope.analysis.corrections import holm
from personascope.analysis.significance import sign_flip
from personascope.applications.sae.core import (
    ABLATED,
    RANDOM,
    REBUILT,
    REMAINDER,
    STEERED,
    VECTOR,
    Activation,
    Decomposition,
    Explained,
    TriedArm,
)

CASE: Final = ["trait", "sae", "layer"]
FEATURES: Final = [
    *CASE, "kind", "feature", "cosine", "rank", "applied_norm", "effect", "low", "high", "p_two_sided", "p_holm",
    "coherence", "lost",
]  # fmt: skip
"""Columns of a features frame. ``effect``, ``low``, ``high`` and ``lost`` are score points; ``lost`` is how much less
the vector does without the feature."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What was found of several vectors and dictionaries, as frames, each computed when it is first asked for."""

    found: tuple[Explained, ...]

    @cached_property
    def features(self) -> pd.DataFrame:
        """One row per arm that was tried, columns ``FEATURES``."""
        return _joined(feature_rows(each.case, each.parts, each.tried) for each in self.found if each.tried)

    @cached_property
    def rebuilding(self) -> pd.DataFrame:
        """See :func:`rebuilding_rows`."""
        return _joined(rebuilding_rows(each.case, each.parts) for each in self.found)

    @cached_property
    def cosines(self) -> pd.DataFrame:
        """See :func:`cosine_rows`."""
        return _joined(cosine_rows(each.case, each.parts) for each in self.found)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per sample that makes a tested feature active, the strongest first."""
        return _joined(sample_rows(each.case, each.samples) for each in self.found)


def _joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    parts = [each for each in frames if len(each)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def feature_rows(case: dict[str, Any], found: Decomposition, arms: Sequence[TriedArm]) -> pd.DataFrame:
    """One row per arm, columns ``FEATURES``; ``case`` gives trait, sae and layer.

    Intervals and p-values are those of the sign-flip test over questions; ``p_holm`` is corrected over the features of
    one kind that were tried. ``rank`` is a feature's place by cosine, from 1.
    """
    ranks = {feature: place for place, feature in enumerate(found.top, 1)}
    whole = next((each.differences for each in arms if each.kind == VECTOR), None)
    rows = []
    for each in arms:
        test = sign_flip(each.differences)
        lost = np.nan
        if each.kind in (ABLATED, REMAINDER) and whole is not None:
            fewer = whole - each.differences
            lost = float(np.nanmean(fewer)) if np.isfinite(fewer).any() else np.nan
        about: dict[str, Any] = {
            "kind": each.kind,
            "feature": pd.NA if each.feature is None else each.feature,
            "cosine": np.nan if each.feature is None else float(found.cosines[each.feature]),
            "rank": pd.NA if each.feature is None else ranks.get(each.feature, pd.NA),
            "applied_norm": each.applied_norm,
        }
        tested: dict[str, Any] = {
            "effect": test.mean,
            "low": test.low,
            "high": test.high,
            "p_two_sided": test.p_two_sided,
        }
        rows.append({**case, **about, **tested, "coherence": each.coherence, "lost": lost})
    frame = pd.DataFrame(rows, columns=[name for name in FEATURES if name != "p_holm"])
    corrected = frame.groupby("kind")["p_two_sided"].transform(lambda some: holm(some.to_numpy(dtype=float)))
    frame["p_holm"] = corrected if len(frame) else pd.Series(dtype=float)
    return frame[FEATURES].astype({"feature": "Int64", "rank": "Int64"})


def feature_summary(features: pd.DataFrame, *, points: float = 20.0, coherence: float = 75.0) -> pd.DataFrame:
    """One row per trait and SAE: how many aligned and how many random features raise the trait, and what the vector
    does.

    A feature raises the trait if its effect is at least so many ``points`` at a mean coherence of at least so much.
    ``best`` is the raising feature with the greatest effect; NaN and ``<NA>`` where there is none.
    """
    rows = []
    for case, group in features.groupby(CASE, sort=False, dropna=False):
        raising = group[(group["effect"] >= points) & (group["coherence"] >= coherence)]
        best = raising[raising["kind"] == STEERED].sort_values("effect", ascending=False, kind="stable").head(1)
        row = dict(zip(CASE, case, strict=True))
        for kind, name in ((STEERED, "aligned"), (RANDOM, "random")):
            row |= {name: int((group["kind"] == kind).sum()), f"{name}_raise": int((raising["kind"] == kind).sum())}
        for name in ("feature", "cosine", "effect", "coherence", "p_holm"):
            row[f"best_{name}"] = best[name].iloc[0] if len(best) else (pd.NA if name == "feature" else np.nan)
        row["random_highest"] = group.loc[group["kind"] == RANDOM, "effect"].max()
        for kind in (VECTOR, REBUILT, REMAINDER):
            row[kind] = group.loc[group["kind"] == kind, "effect"].max()
        row["most_lost"] = group.loc[group["kind"] == ABLATED, "lost"].max()
        rows.append(row)
    return pd.DataFrame(rows)


def rebuilding_rows(case: dict[str, Any], found: Decomposition) -> pd.DataFrame:
    """One row per count of features: which was taken last, and the cosine of the vector with what they rebuild."""
    counts = range(1, len(found.pursued) + 1)
    table = {"features": list(counts), "taken": list(found.pursued), "cosine": found.rebuilt}
    return pd.DataFrame({**{name: [value] * len(found.pursued) for name, value in case.items()}, **table})


def cosine_rows(case: dict[str, Any], found: Decomposition) -> pd.DataFrame:
    """One row per best aligned feature: its rank and its cosine with the vector."""
    table = {"rank": range(1, len(found.top) + 1), "feature": list(found.top)}
    cosines = found.cosines[np.array(found.top, dtype=np.int64)]
    return pd.DataFrame(
        {**{name: [value] * len(found.top) for name, value in case.items()}, **table, "cosine": cosines}
    )


def sample_rows(case: dict[str, Any], samples: Mapping[int, Sequence[Activation]]) -> pd.DataFrame:
    """One row per feature and sample: how active it makes the feature, and at which token of the answer."""
    rows = []
    for feature, some in samples.items():
        for place, each in enumerate(some, 1):
            prompt, said = each.sample.exchange
            where = {"where": each.sample.where, "question": prompt.question, "answer": said, "token": each.token}
            rows.append({**case, "feature": feature, "place": place, "activation": each.activation, **where})
    columns = [*case, "feature", "place", "activation", "where", "question", "answer", "token"]
    return pd.DataFrame(rows, columns=columns)
