"""From a study's result to its files: tables, figures and vectors.

Owns: :class:`Drawable`, :func:`drawable` and :func:`write_results`. The one law: everything written here is made of
records and of nothing else, so it can be written again from a store alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from personascope.analysis.effects import SUBJECT, curves, effects
from personascope.analysis.frames import answer_rows
from personascope.analysis.geometry import Placed
from personascope.analysis.selection import selection_rows
from personascope.core.files import write_text
from personascope.core.tables import write_csv
from personascope.core.vectors import PersonaVector
from personascope.studies.trace_study import StudyResult
from personascope.tracing.tracing import Effect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def drawable(result: StudyResult) -> Drawable:
    """What the files of a study's result are made of."""
    chosen = [
        each
        for each in result.outcomes
        if isinstance(each, Effect) and each.chosen and each.vector.origin == "extracted"
    ]
    vectors = {f"{_subject_label(each, result)}.{each.milestone.label}": each.vector for each in chosen}
    floor = result.study.selection.coherence_floor if result.study.selection is not None else 0.0
    selections = selection_rows(result.selections)
    return Drawable(answer_rows(result.outcomes), vectors, selections, floor, tuple(_placed(result, chosen)))


def write_results(
    result: StudyResult | Drawable, out: Path, *, made: Callable[[Path], None] = lambda path: None
) -> pd.DataFrame:
    """Writes effects, answers, selections, onsets, vectors and every figure that the study has data for.

    Gives back the effects. ``made`` is told of every file. In ``curves.csv`` each p-value is also corrected within its
    curve; the figure fills its dots by Holm's. ``transfer.csv`` says of each vector that steered another model what
    share of the last vector's effect it has; ``geometry.csv`` how like each vector is to the last one; ``controls.csv``
    where each effect stands among its controls.
    """
    from personascope.analysis.controls import against_controls, pooled_controls
    from personascope.analysis.onset import onset
    from personascope.analysis.transfer import shares
    from personascope.figures.style import save
    from personascope.figures.tables import emergence_table

    drawn = drawable(result) if isinstance(result, StudyResult) else result
    summary = effects(drawn.answers)
    curve, onsets = _corrected_curves(summary), onset(drawn.answers)
    frames = {"effects": summary, "answers": drawn.answers, "curves": curve, "onset": onsets}
    carried, geometry = curve[curve["target"] != ""], _geometry(drawn)
    further = {"selection": drawn.selections, "transfer": shares(carried), "geometry": geometry}
    further |= {"controls": against_controls(summary), "controls-pooled": pooled_controls(summary)}
    frames |= {name: rows for name, rows in further.items() if len(rows)}
    for name, rows in frames.items():
        write_csv(out / f"{name}.csv", rows)
        made(out / f"{name}.csv")
    write_text(out / "emergence.tex", emergence_table(curve))
    made(out / "emergence.tex")
    for name, figure in _figures(drawn, summary, onsets, geometry):
        paths = [out / f"{name}.{kind}" for kind in ("png", "pdf")]
        save(figure(), *paths)
        for path in paths:
            made(path)
    for name, vector in drawn.vectors.items():
        path = out / "vectors" / f"{name.replace('/', '_')}.safetensors"
        vector.save(path)
        made(path)
    return summary


def _figures(
    drawn: Drawable, summary: pd.DataFrame, onsets: pd.DataFrame, geometry: pd.DataFrame
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The figures there is data for, by name, drawn when they are wanted."""
    from personascope.analysis.controls import last_arms
    from personascope.figures.controls import control_strips
    from personascope.figures.emergence import emergence
    from personascope.figures.geometry import cosine_trajectory
    from personascope.figures.selection import selection_maps
    from personascope.figures.transfer import transfer

    curve, arms = _corrected_curves(summary), last_arms(summary)
    yield "emergence", lambda: emergence(by_target(curve), p="p_holm", onsets=by_target(onsets))
    if len(drawn.selections):
        yield "selection", lambda: selection_maps(drawn.selections, floor=drawn.floor)
    carried = curve.assign(target=curve["target"].where(curve["target"] != "", "itself"))
    if (curve["target"] != "").any():
        yield "transfer", lambda: transfer(carried, p="p_holm")
    if geometry["to_previous"].notna().any():
        yield "geometry", lambda: cosine_trajectory(geometry, ceiling=_ceiling(drawn))
    if (arms["kind"] != "extracted").any():
        yield "controls", lambda: control_strips(arms)


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


def _subject_label(effect: Effect, result: StudyResult) -> str:
    """A trait's name, with its forms where the study traces it in several."""
    extract, evaluate = effect.subject.extract, effect.subject.evaluate
    several = sum(each.trait == extract.name for each in result.study.traits) > 1
    return f"{extract.name}.{extract.form}-{evaluate.form}" if several else extract.name


def _placed(result: StudyResult, effects: list[Effect]) -> Iterator[tuple[int, Placed]]:
    """Each extracted vector once, at its milestone, with the first layer it is steered at."""
    order = {label: place for place, label in enumerate(dict.fromkeys(e.milestone.label for e in result.outcomes))}
    seen = set()
    for each in effects:
        layer = each.steering.layers[0]
        key = (each.reference.trait, each.reference.form, each.milestone.label, layer)
        if key not in seen:
            seen.add(key)
            yield layer, Placed(each.milestone, order[each.milestone.label], each.reference)


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
