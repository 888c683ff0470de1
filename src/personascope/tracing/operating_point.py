"""Choosing how to steer, on questions that are not evaluated.

Owns: :class:`Grid`, :func:`select_steering` and the table behind the choice. The one law: the evaluation questions
have no say, and the reason for the choice is printed with it.

Source: "Persona Vectors" B.4 takes the layer of the highest mean trait score at one coefficient. Here layer, strength
and place are chosen together, and answers must stay coherent, because the highest score may be gibberish.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from personascope.core.errors import StudyError
from personascope.core.outcomes import Cell, Selection
from personascope.core.records import Answer, Sampling, Verdict, Where
from personascope.core.steering import Steering, Unit
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Grid:
    """The ways to steer that are tried: every layer with every strength and every place.

    ``coherence_floor`` is in score points; ``draws`` is how many answers each selection question gets.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    unit: Unit
    where: tuple[Where, ...] = ("response",)
    coherence_floor: float = 75.0
    draws: int = 1

    def __post_init__(self) -> None:
        if not self.cells() or self.draws < 1 or math.isnan(self.coherence_floor):
            raise StudyError(
                f"a grid of layers {list(self.layers)}, strengths {list(self.strengths)}, where {list(self.where)}, "
                f"{self.draws} draws and a floor of {self.coherence_floor} leaves nothing to choose from: give one or "
                "more of each"
            )

    def cells(self) -> list[Steering]:
        """Every way to steer, weakest first, so that of equals the weakest is chosen."""
        return [
            Steering(layer, strength, self.unit, where)
            for strength in sorted(self.strengths, key=abs)
            for layer in self.layers
            for where in self.where
        ]


def select_steering(
    engine: Engine, vectors: Mapping[Name, tuple[Trait, PersonaVector]], *, judge: Judge, sampling: Sampling, grid: Grid
) -> dict[Name, Selection]:
    """For each vector the way to steer with the highest mean trait score among those coherent enough, in one batch.

    Each vector comes with the trait it is to move. Where no cell reaches the coherence floor, the most coherent one is
    chosen, and the reason says so. An answer nobody could score counts as 0, for trait and for coherence: strong
    steering is where such answers come from. A verdict that nobody gave (a budget ended) counts for nothing, and the
    reason says how many there are.
    """
    arms = {
        (name, steering): Arm(
            engine,
            trait,
            tuple(Prompt(question) for question in trait.questions("selection")),
            sampling,
            steering.along(vector),
        )
        for name, (trait, vector) in vectors.items()
        for steering in grid.cells()
    }
    answers = answer(arms, judge=judge)
    return {
        name: _chosen(trait, [_cell(steering, answers[name, steering]) for steering in grid.cells()], grid)
        for name, (trait, _) in vectors.items()
    }


def _cell(steering: Steering, answers: list[Answer]) -> Cell:
    def mean(verdicts: list[Verdict]) -> float:
        asked = [each for each in verdicts if each.outcome != "unasked"]
        return (
            statistics.fmean(each.score if each.outcome == "scored" else 0.0 for each in asked) if asked else math.nan
        )

    traits, coherences = [each.trait for each in answers], [each.coherence for each in answers]
    unasked = sum(each.outcome == "unasked" for each in traits + coherences)
    return Cell(steering, mean(traits), mean(coherences), unasked)


def _chosen(trait: Trait, cells: list[Cell], grid: Grid) -> Selection:
    heard = [cell for cell in cells if not math.isnan(cell.trait + cell.coherence)]
    missing = sum(cell.unasked for cell in cells)
    without = f"; {missing} verdicts could not be had" if missing else ""
    if not heard:
        return Selection(trait.name, cells[0].steering, f"the grid's weakest way{without}", tuple(cells))
    coherent = [cell for cell in heard if cell.coherence >= grid.coherence_floor]
    best = max(coherent, key=lambda cell: cell.trait) if coherent else max(heard, key=lambda cell: cell.coherence)
    asked, floor = len(trait.questions("selection")), f"coherence {grid.coherence_floor:g}"
    found = f"trait {best.trait:.1f}, coherence {best.coherence:.1f} on {asked} selection questions{without}"
    if coherent:
        why = f"highest trait score of the {len(coherent)} of {len(cells)} ways at or above {floor}"
    else:
        why = f"no way of {len(cells)} reaches {floor}, so the most coherent"
    return Selection(trait.name, best.steering, f"{why}: {found}", tuple(cells))
