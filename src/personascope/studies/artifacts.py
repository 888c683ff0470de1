"""The tables, figures, vectors and summaries of a trace, made of its answers and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from personascope.analysis.effects import SUBJECT, curves, effects, growth
from personascope.analysis.frames import kinds_of
from personascope.analysis.geometry import Placed
from personascope.analysis.onset import onset
from personascope.core.outcomes import Selection
from personascope.core.vectors import PersonaVector
from personascope.studies.base import Figure, Item, Page, Summary, Table, VectorFile

_FIGURES = ("emergence", "selection", "transfer", "geometry", "controls")
FILES = (
    "effects.csv", "answers.csv", "selection.csv", "curves.csv", "onset.csv", "transfer.csv", "geometry.csv",
    "controls.csv", "controls-pooled.csv", "emergence.tex",
    *(f"{name}.{kind}" for name in _FIGURES for kind in ("png", "pdf")),
)  # fmt: skip
"""What a trace may write. Selections, transfer, geometry and controls are there where the study has them."""


@dataclass(frozen=True, eq=False)
class Drawable:
    """What a study's files are made of: its answers in rows, its vectors by name, and how its steering was chosen.

    ``floor`` is the coherence below which no way to steer was chosen. ``placed`` are the vectors at their milestones,
    by the layer they are steered at.
    """

    answers: pd.DataFrame
    vectors: Mapping[str, PersonaVector]
    selections: pd.DataFrame
    floor: float = 0.0
    placed: tuple[tuple[int, Placed], ...] = ()


def items_of(drawn: Drawable) -> Iterator[Item]:
    """Effects, answers, selections, onsets, vectors, and every figure that there is data for.

    In ``curves.csv`` each p-value is also corrected within its curve; the figure fills its dots by Holm's.
    ``transfer.csv`` says of each vector that steered another model what share of the last vector's effect it has;
    ``geometry.csv`` how like each vector is to the last one; ``controls.csv`` where each effect stands among its
    controls.
    """
    from personascope.analysis.controls import against_controls, pooled_controls
    from personascope.analysis.transfer import shares
    from personascope.figures.tables import emergence_table

    summary = effects(drawn.answers)
    curve, onsets = _corrected_curves(summary), onset(drawn.answers)
    yield Table("effects", summary)
    yield Table("answers", drawn.answers)
    yield Table("curves", curve)
    yield Table("onset", onsets)
    carried, geometry = curve[curve["target"] != ""], _geometry(drawn)
    further = {"selection": drawn.selections, "transfer": shares(carried), "geometry": geometry}
    further |= {"controls": against_controls(summary), "controls-pooled": pooled_controls(summary)}
    yield from (Table(name, rows) for name, rows in further.items() if len(rows))
    yield Page("emergence.tex", emergence_table(curve))
    yield from _figures(drawn, summary, onsets, geometry)
    yield from (VectorFile(name, vector) for name, vector in drawn.vectors.items())


def _figures(drawn: Drawable, summary: pd.DataFrame, onsets: pd.DataFrame, geometry: pd.DataFrame) -> Iterator[Figure]:
    """The figures there is data for."""
    from personascope.analysis.controls import last_arms
    from personascope.figures.controls import control_strips
    from personascope.figures.emergence import emergence
    from personascope.figures.geometry import cosine_trajectory
    from personascope.figures.selection import selection_maps
    from personascope.figures.transfer import transfer

    curve, arms = _corrected_curves(summary), last_arms(summary)
    yield Figure("emergence", lambda: emergence(by_target(curve), p="p_holm", onsets=by_target(onsets)))
    if len(drawn.selections):
        yield Figure("selection", lambda: selection_maps(drawn.selections, floor=drawn.floor))
    carried = curve.assign(target=curve["target"].where(curve["target"] != "", "itself"))
    if (curve["target"] != "").any():
        yield Figure("transfer", lambda: transfer(carried, p="p_holm"))
    if geometry["to_previous"].notna().any():
        yield Figure("geometry", lambda: cosine_trajectory(geometry, ceiling=_ceiling(drawn)))
    if (arms["kind"] != "extracted").any():
        yield Figure("controls", lambda: control_strips(arms))


def by_target(rows: pd.DataFrame) -> pd.DataFrame:
    """Curves named with the model that was steered, where there are several."""
    if "target" not in rows or rows["target"].nunique() < 2:
        return rows
    named = rows["curve"] + " on " + rows["target"].where(rows["target"] != "", "itself")
    return rows.assign(curve=named)


def _corrected_curves(summary: pd.DataFrame) -> pd.DataFrame:
    """The curves with their p-values corrected, each within its own; an alias of a checkpoint is no further test."""
    from personascope.analysis.corrections import CORRECTION, corrected
    from personascope.analysis.transfer import without_aliases

    points = summary[summary["chosen"].astype(bool) & (summary["direction"] == "extracted")]
    tests = corrected(without_aliases(points, by=SUBJECT))
    return curves(summary).merge(tests[[*SUBJECT, "place", *CORRECTION]], on=[*SUBJECT, "place"], how="left")


def _by_layer(drawn: Drawable) -> dict[int, list[Placed]]:
    layers = sorted({layer for layer, _ in drawn.placed})
    return {layer: [each for at, each in drawn.placed if at == layer] for layer in layers}


def _geometry(drawn: Drawable) -> pd.DataFrame:
    """How like each vector is to that of the last milestone that has one, and to the one before."""
    from personascope.analysis.geometry import TRAJECTORY, trajectory

    frames = []
    for layer, placed in _by_layer(drawn).items():
        last = max(placed, key=lambda each: each.place).milestone
        # An alias has the weights of the milestone it repeats: the study speaks of that one.
        labels = {each.milestone.label for each in placed}
        reference = last.same_weights_as if last.same_weights_as in labels else last.label
        frames.append(trajectory(placed, layer, reference=reference))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=TRAJECTORY)


def _ceiling(drawn: Drawable) -> pd.DataFrame | None:
    """The cosines of vectors that were extracted twice from one set of weights, where there are some."""
    from personascope.analysis.geometry import noise_ceiling

    frames = [noise_ceiling(placed, layer) for layer, placed in _by_layer(drawn).items()]
    known = [each for each in frames if len(each)]
    return pd.concat(known, ignore_index=True) if known else None


def summaries(drawn: Drawable, selections: Sequence[Selection] = ()) -> Iterator[Summary]:
    """How steering was chosen, the effects, all arms, growth and onsets, for a terminal."""
    if selections:
        yield Summary("how to steer", ("trait", "way", "why"), tuple(_chosen(each) for each in selections))
    summary = effects(drawn.answers)
    yield _effect_summary(summary)
    yield from _arm_summary(summary)
    grown = growth(drawn.answers)
    yield from _growth_summary(grown.assign(trait=by_target(grown.rename(columns={"trait": "curve"}))["curve"]))
    yield from _onset_summary(by_target(onset(drawn.answers)))


def _chosen(selection: Selection) -> tuple[str, str, str]:
    way = selection.steering
    said = f"layer {way.layer}, strength {way.strength:g} x {way.unit}, where {way.where}"
    return selection.trait, said, selection.reason


def _effect_summary(summary: pd.DataFrame) -> Summary:
    rows: list[tuple[str, ...]] = []
    row: Any
    for row in summary[summary["chosen"] & (summary["direction"] == "extracted")].itertuples():
        trait = f"{row.trait!s} on {row.target!s}" if row.target else str(row.trait)
        head = (trait, str(row.milestone), f"{row.pairs_kept}/{row.pairs_asked}")
        if math.isnan(row.effect):
            rows.append((*head, "", "no vector" if row.pairs_asked else "no checkpoint", "", ""))
            continue
        found = f"{row.effect:+.1f}  {row.low:+.1f} to {row.high:+.1f}"
        moved, p, coherence = f"{row.plain:.1f} → {row.steered:.1f}", f"{row.p_two_sided:.1g}", row.steered_coherence
        rows.append((*head, moved, found, p, f"{coherence:.0f}"))
    columns = ("trait", "milestone", "pairs", "plain to steered", "effect, 95 % interval", "p", "coh.")
    title = "steered minus plain, in score points (coh. = coherence of the steered answers)"
    return Summary(title, columns, tuple(rows))


def _arm_summary(summary: pd.DataFrame) -> Iterator[Summary]:
    """Every kind of arm, averaged over traits and milestones: vectors, their controls and other places in the text."""
    shown = summary[summary["effect"].notna()].copy()
    if shown.empty:
        return
    kind = kinds_of(shown["direction"])
    shown["arm"] = kind.where(shown["chosen"], kind + ", " + _other_ways(shown))
    rows = []
    for arm, some in shown.groupby("arm", sort=False):
        effect = some["effect"]
        figures = (f"{value:+.1f}" for value in (effect.mean(), effect.min(), effect.max()))
        norm, coherence = some["applied_norm"].mean(), some["steered_coherence"].mean()
        rows.append((str(arm), str(len(some)), *figures, f"{norm:.2f}", f"{coherence:.0f}"))
    columns = ("arm", "rows", "effect", "least", "most", "norm", "coh.")
    yield Summary("all arms, averaged over the traits and milestones that gave vectors", columns, tuple(rows))


def _other_ways(arms: pd.DataFrame) -> pd.Series:
    """What tells a way to steer from the chosen one: its place in the text, or if there is more, all of it."""
    further = arms[~arms["chosen"].astype(bool)]
    if further.groupby("trait")[["operation", "layer", "strength"]].nunique().le(1).all(axis=None):
        return "where = " + arms["where"].astype(str)
    sizes = pd.Series([f"{each:g}" for each in arms["strength"]], index=arms.index) + " x " + arms["unit"].astype(str)
    how = arms["operation"].astype(str) + " " + sizes.where(arms["operation"] != "ablate", "")
    return how.str.strip() + " at " + arms["layer"].astype(str) + ", " + arms["where"].astype(str)


def _growth_summary(grown: pd.DataFrame) -> Iterator[Summary]:
    """How much the effect grew from the first third of the milestones that gave vectors to the last."""
    if grown.empty:
        return
    rows = [
        (
            str(row.trait), f"{row.first:+.1f}", f"{row.last:+.1f}",
            f"{row.growth:+.1f}  {row.low:+.1f} to {row.high:+.1f}", f"{row.p_greater:.1g}",
        )
        for row in grown.itertuples()
    ]  # fmt: skip
    columns = ("trait", "first third", "last third", "growth, 95 % interval", "p (greater)")
    title = "growth: last third minus first third of the milestones that gave vectors"
    yield Summary(title, columns, tuple(rows))


def _onset_summary(onsets: pd.DataFrame) -> Iterator[Summary]:
    """From which milestone on each trait shows, with the interval over questions and the rule."""
    if onsets.empty:
        return
    rows = []
    for row in onsets.itertuples():
        ends = " to ".join(str(end) or "none" for end in (row.low_milestone, row.high_milestone))
        rows.append((str(row.curve), str(row.milestone) or "none", ends, str(row.last_not_shown), str(row.rule)))
    columns = ("trait", "onset", "95 % interval", "before it", "rule")
    yield Summary("onset: the milestone from which on the trait shows at every later one", columns, tuple(rows))
