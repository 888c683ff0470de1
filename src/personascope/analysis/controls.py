"""What controls say: where a real effect stands among directions that took its vector's place.

Owns: :func:`against_controls`, :func:`pooled_controls` and :func:`last_arms`. The one law: a control speaks only for
the trait, target and milestone it was drawn at; that it was applied at the vector's norm is checked, not assumed.

Label shuffles are a permutation test: if the labels of the pairs meant nothing, the vector would be one shuffle among
the others. The observed one counts as a shuffle too, so of N shuffles p is at least 1 / (N + 1).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.analysis.effects import SUBJECT, curve_names
from personascope.analysis.frames import KINDS, kinds_of
from personascope.analysis.significance import TOLERANCE

MATCHED: float = 1e-5
"""How far an applied norm may be from the vector's, relative to it, to count as the same."""

ENOUGH = 20
"""So many controls of a kind are a distribution in which an effect can be given its place."""

CONTROL = [
    "curve", *SUBJECT, "milestone", "place", "tokens_seen", "kind", "count", "real", "mean", "deviation", "low", "high",
    "least", "greatest", "quantile", "p_greater", "p_two_sided", "norm_share_least", "norm_share_greatest", "matched",
    "coherence",
]  # fmt: skip
"""Columns of :func:`against_controls`. Its docstring says what is in them."""


def against_controls(effects: pd.DataFrame) -> pd.DataFrame:
    """One row per curve, milestone and kind of control: how its effects lie, and where the real one is among them.

    Takes :func:`~personascope.analysis.effects.effects`. Columns (``CONTROL``): ``count`` controls with an effect; the
    ``real`` effect; ``mean``, standard ``deviation``, 2.5th and 97.5th percentile (``low``, ``high``), ``least`` and
    ``greatest`` of the controls', all in score points; ``quantile``, the share of controls below the real effect, ties
    by half; ``p_greater``, (1 + controls at least as great) / (1 + controls), and ``p_two_sided``, twice the smaller of
    the two sides. The p-values are those of a permutation test where the kind is a label shuffle; elsewhere they say
    how rare an effect like the real one is among directions of that kind.

    ``norm_share_least`` and ``_greatest`` are applied norms relative to the vector's, and ``matched`` says whether all
    are the same to 1e-5; missing where nothing is added (ablations, caps, instructions). ``coherence`` is the mean of
    the controls' steered coherence.
    """
    chosen = _with_kinds(effects)
    rows = []
    for _, arms in chosen.groupby([*SUBJECT, "place"], sort=False):
        real = arms[arms["kind"] == "extracted"]
        if real.empty:
            continue
        about = real.iloc[0]
        for kind in _in_order(arms):
            mine = arms[arms["kind"] == kind]
            place = {name: about[name] for name in ("curve", *SUBJECT, "milestone", "place", "tokens_seen")}
            rows.append({**place, "kind": kind, **_standing(about, mine)})
    return pd.DataFrame(rows, columns=CONTROL)


def pooled_controls(effects: pd.DataFrame) -> pd.DataFrame:
    """One row per kind, over all traits, targets and milestones that gave vectors.

    Columns: kind, count, mean, deviation, low, high (2.5th and 97.5th percentile of single controls), real (the mean of
    the real effects at the same places, each as often as it has controls), matched (missing where nothing is added).
    """
    columns = ["kind", "count", "mean", "deviation", "low", "high", "real", "matched"]
    table, chosen = against_controls(effects), _with_kinds(effects)
    # Instructions alone are there at milestones that gave no vector, too: there is nothing to compare them with.
    spot = [*SUBJECT, "place"]
    known = pd.MultiIndex.from_frame(chosen.loc[chosen["kind"] == "extracted", spot])
    chosen = chosen[pd.MultiIndex.from_frame(chosen[spot]).isin(known)]
    rows = []
    for kind in _in_order(chosen):
        stood = table[table["kind"] == kind]
        drawn = chosen.loc[chosen["kind"] == kind, "effect"].to_numpy(dtype=np.float64)
        if not len(stood):
            continue
        real = float(np.average(stood["real"], weights=stood["count"]))
        matched = stood["matched"].dropna()
        rows.append([kind, len(drawn), *_spread(drawn), real, bool(matched.all()) if len(matched) else pd.NA])
    return pd.DataFrame(rows, columns=columns).astype({"matched": "boolean"})


def last_arms(effects: pd.DataFrame) -> pd.DataFrame:
    """Every arm at the last milestone of each curve that gave a vector: what the control figure draws.

    Columns: curve, target, milestone, kind, effect, low, high, applied_norm, norm_share (relative to the vector's), and
    ``p_greater`` (see :func:`against_controls`) beside every control of a kind of which there are at least 20.
    """
    chosen = _with_kinds(effects)
    columns = [
        "curve",
        "target",
        "milestone",
        "kind",
        "effect",
        "low",
        "high",
        "applied_norm",
        "norm_share",
        "p_greater",
    ]
    parts = []
    for _, mine in chosen.groupby(SUBJECT, sort=True):
        real = mine[mine["kind"] == "extracted"]
        if real.empty:
            continue
        last = real.sort_values("place", kind="stable").iloc[-1]
        here = mine[mine["place"] == last["place"]]
        drawn = {kind: here[here["kind"] == kind] for kind in _in_order(here)}
        p_values = {kind: _standing(last, some)["p_greater"] for kind, some in drawn.items() if len(some) >= ENOUGH}
        share = here["applied_norm"] / last["applied_norm"]
        parts.append(here.assign(curve=last["curve"], norm_share=share, p_greater=here["kind"].map(p_values))[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _with_kinds(effects: pd.DataFrame) -> pd.DataFrame:
    """The arms that count, with their kind and the name of their curve."""
    chosen = effects[effects["chosen"].astype(bool) & effects["effect"].notna()]
    names = curve_names(chosen) if len(chosen) else pd.Series(dtype=object)
    target = chosen["target"].fillna("").astype(str)
    return chosen.assign(kind=kinds_of(chosen["direction"]), curve=names.where(target == "", names + " on " + target))


def _in_order(arms: pd.DataFrame) -> list[str]:
    """The kinds of control there are: those that are known first, in their order."""
    there = dict.fromkeys(arms["kind"])
    return [kind for kind in dict.fromkeys([*KINDS, *there]) if kind in there and kind != "extracted"]


def _standing(real: pd.Series, controls: pd.DataFrame) -> dict[str, object]:
    """Where one effect stands among controls."""
    drawn, effect = controls["effect"].to_numpy(dtype=np.float64), float(real["effect"])
    mean, deviation, low, high = _spread(drawn)
    greater, less = (drawn >= effect - TOLERANCE).sum(), (drawn <= effect + TOLERANCE).sum()
    ties = greater + less - len(drawn)
    sides = (1 + greater) / (1 + len(drawn)), (1 + less) / (1 + len(drawn))
    shares = controls["applied_norm"].to_numpy(dtype=np.float64) / float(real["applied_norm"])
    added = bool(np.isfinite(shares).all() and shares.max() > 0)
    is_draw = not str(controls["kind"].iloc[0]).startswith("prompted")
    return {
        "count": len(drawn),
        "real": effect,
        "mean": mean,
        "deviation": deviation,
        "low": low,
        "high": high,
        "least": drawn.min(),
        "greatest": drawn.max(),
        "quantile": (less - ties / 2) / len(drawn) if is_draw else np.nan,
        "p_greater": sides[0] if is_draw else np.nan,
        "p_two_sided": min(1.0, 2 * min(sides)) if is_draw else np.nan,
        "norm_share_least": shares.min() if added else np.nan,
        "norm_share_greatest": shares.max() if added else np.nan,
        "matched": bool(np.abs(shares - 1).max() <= MATCHED) if added else pd.NA,
        "coherence": float(controls["steered_coherence"].mean()),
    }


def _spread(drawn: Float[np.ndarray, "control"]) -> tuple[float, float, float, float]:
    """Mean, standard deviation (of one, NaN) and 2.5th and 97.5th percentile."""
    deviation = float(drawn.std(ddof=1)) if len(drawn) > 1 else np.nan
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(drawn.mean()), deviation, float(low), float(high)
