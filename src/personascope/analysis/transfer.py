"""Transfer: what vectors of each milestone do to each target, by stretches of training and target against target.

Owns: :class:`Bin`, :func:`binned`, :func:`shares`, :func:`target_pairs` and :func:`without_aliases`. The one law: a
milestone is counted once, whatever names its weights have, and a mean says which milestones it was taken over.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from personascope.core.errors import StudyError

SUBJECT = ("trait", "extracted_as", "evaluated_as")
BINNED = ["bin", "bin_place", "milestones", "effect", "standard_error", "which"]
"""Columns of binned effects, after those that name the curve: how many milestones, the mean of their effects and its
standard error in score points (NaN for a single milestone), and their labels, in order of training."""


@dataclass(frozen=True)
class Bin:
    """A stretch of training: the milestones that had seen ``start`` tokens or more, and fewer than ``end``."""

    name: str
    start: float = 0.0
    end: float = float("inf")

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise StudyError(
                f"bin '{self.name}' runs from {self.start:,} to {self.end:,} tokens: end it after its start"
            )


def binned(effects: pd.DataFrame, bins: Sequence[Bin], *, by: Sequence[str] = (*SUBJECT, "target")) -> pd.DataFrame:
    """The mean effect of the milestones in each stretch of training: columns ``by`` and ``BINNED``.

    Takes one row per milestone and curve, with milestone, tokens_seen, effect and same_weights_as (such as
    :func:`~personascope.analysis.effects.curves`). The standard error is that of the mean over milestones: it says how
    milestones differ, not how well each effect is known. Rows without an effect or a token count are in no bin, and a
    bin without rows is left out.
    """
    columns = [*by, *BINNED]
    known = without_aliases(effects[effects["effect"].notna() & effects["tokens_seen"].notna()], by=by)
    rows = []
    for place, each in enumerate(bins):
        tokens = known["tokens_seen"]
        inside = known[(tokens >= each.start) & (tokens < each.end)].sort_values("tokens_seen", kind="stable")
        for curve, mine in inside.groupby(list(by), sort=False, dropna=False, observed=True):
            effect, error = mine["effect"].mean(), mine["effect"].std() / np.sqrt(len(mine))
            rows.append([*curve, each.name, place, len(mine), effect, error, tuple(mine["milestone"])])
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values([*by, "bin_place"], kind="stable", ignore_index=True)


SHARE = ["last_effect", "share"]
"""Columns that shares add: the effect of the last milestone's vector on the same target, and the quotient."""


def shares(effects: pd.DataFrame, *, by: Sequence[str] = (*SUBJECT, "target")) -> pd.DataFrame:
    """The same rows, with the share of the last vector's effect that each vector has: 1 at the last milestone.

    Takes one row per milestone and curve, with place and effect, such as
    :func:`~personascope.analysis.effects.curves`. A share of an effect that is not above zero means nothing and is NaN.
    """
    known = effects[effects["effect"].notna()].sort_values("place", kind="stable")
    last = known.groupby(list(by), sort=False)["effect"].last().rename("last_effect")
    rows = effects.join(last, on=list(by))
    return rows.assign(share=rows["effect"] / rows["last_effect"].where(rows["last_effect"] > 0))


def target_pairs(effects: pd.DataFrame, *, by: Sequence[str] = SUBJECT) -> pd.DataFrame:
    """The effects of the same vector on two targets, side by side: one row per milestone and pair of targets.

    Takes one row per milestone, curve and target. Columns: ``by``, milestone, tokens_seen, first, second (targets,
    in the order they come), first_effect, second_effect. A milestone that lacks either effect is left out.
    """
    names = ["milestone", "tokens_seen", "first", "second", "first_effect", "second_effect"]
    keys, columns = [*by, "milestone"], [*by, *names]
    known = without_aliases(effects[effects["effect"].notna()], by=[*by, "target"])
    frames = []
    for first, second in itertools.combinations(dict.fromkeys(known["target"]), 2):
        one, other = (known[known["target"] == target] for target in (first, second))
        both = one.merge(other[[*keys, "effect"]], on=keys, suffixes=("_first", "_second"), validate="one_to_one")
        both = both.rename(columns={"effect_first": "first_effect", "effect_second": "second_effect"})
        frames.append(both.assign(first=first, second=second)[columns])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def without_aliases(effects: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """The rows whose milestone does not repeat the weights of another milestone of the same curve.

    An alias stays where the milestone it repeats is not there; nothing is left out where no column says what repeats
    what.
    """
    if "same_weights_as" not in effects or effects.empty:
        return effects
    keys = list(by)
    there = effects[[*keys, "milestone"]].drop_duplicates().assign(_there=True)
    wanted = effects[[*keys, "same_weights_as"]].rename(columns={"same_weights_as": "milestone"})
    repeats = wanted.merge(there, on=[*keys, "milestone"], how="left")["_there"].notna().to_numpy()
    return effects[~repeats]
