"""Choosing how to steer, on questions that are not evaluated.

Owns: :class:`Grid`, :func:`select_steering` and the table behind the choice. The one law: the evaluation questions
have no say, and the reason for the choice is printed with it.

Source: "Persona Vectors" B.4 takes the layer of the highest mean trait score at one coefficient. Here layer, strength
and place are chosen together, and answers must stay coherent, because the highest score may be gibberish.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from personascope.engines import Engine
from personascope.judges import Judge
from personascope.records import Answer, Sampling, Where
from personascope.respond import Arm, answer
from personascope.traits import Prompt, Trait
from personascope.vectors import PersonaVector, Steering, Unit


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

    def cells(self) -> list[Steering]:
        """Every way to steer, weakest first, so that of equals the weakest is chosen."""
        return [
            Steering(layer, strength, self.unit, where)
            for strength in sorted(self.strengths)
            for layer in self.layers
            for where in self.where
        ]


@dataclass(frozen=True)
class Cell:
    """One way to steer, with the mean trait score and coherence it gave on the selection questions."""

    steering: Steering
    trait: float
    coherence: float


@dataclass(frozen=True)
class Selection:
    """The way chosen, the reason in words, and every cell that was tried."""

    trait: str
    steering: Steering
    reason: str
    cells: tuple[Cell, ...]


def select_steering(
    engine: Engine, vectors: Mapping[Trait, PersonaVector], *, judge: Judge, sampling: Sampling, grid: Grid
) -> dict[Trait, Selection]:
    """For each trait the way to steer with the highest mean trait score among those coherent enough; one batch for all.

    Where no cell reaches the coherence floor, the most coherent one is chosen, and the reason says so.
    """
    arms = {
        (trait, steering): Arm(
            engine,
            trait,
            tuple(Prompt(question) for question in trait.questions("selection")),
            sampling,
            steering.along(vector),
        )
        for trait, vector in vectors.items()
        for steering in grid.cells()
    }
    answers = answer(arms, judge=judge)
    return {trait: _chosen(trait, [_cell(s, answers[trait, s]) for s in grid.cells()], grid) for trait in vectors}


def _cell(steering: Steering, answers: list[Answer]) -> Cell:
    trait = [each.trait.score for each in answers if each.trait.outcome == "scored"]
    coherence = [each.coherence.score for each in answers if each.coherence.outcome == "scored"]
    # A cell without a single score is as bad as can be, not unknown: it must never be chosen over one with scores.
    return Cell(steering, statistics.fmean(trait) if trait else 0.0, statistics.fmean(coherence) if coherence else 0.0)


def _chosen(trait: Trait, cells: list[Cell], grid: Grid) -> Selection:
    coherent = [cell for cell in cells if cell.coherence >= grid.coherence_floor]
    best = max(coherent, key=lambda cell: cell.trait) if coherent else max(cells, key=lambda cell: cell.coherence)
    asked, floor = len(trait.questions("selection")), f"coherence {grid.coherence_floor:g}"
    found = f"trait {best.trait:.1f}, coherence {best.coherence:.1f} on {asked} selection questions"
    if coherent:
        why = f"highest trait score of the {len(coherent)} of {len(cells)} ways at or above {floor}"
    else:
        why = f"no way of {len(cells)} reaches {floor}, so the most coherent"
    return Selection(trait.name, best.steering, f"{why}: {found}", tuple(cells))
