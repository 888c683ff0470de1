"""What a trace is asked about and what it gives.

Owns: :class:`Subject`, :class:`OperatingPoint`, :class:`Effect`, :class:`Prompted`, :class:`QuestionEffect` and
:class:`Absence`. The one law: absence is a value with a reason, and an effect carries every answer behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from personascope.core.errors import StudyError
from personascope.core.lineages import Milestone
from personascope.core.records import Answer, Edit
from personascope.core.steering import Steering
from personascope.core.traits import Trait
from personascope.core.vectors import PairCounts, PersonaVector

Target = Milestone | None
"""The model that vectors steer: a post-trained one, or their own checkpoint where it is ``None``."""


@dataclass(frozen=True)
class OperatingPoint:
    """How a trait is steered from some count of tokens on.

    ``also`` are further ways to steer along the extracted vector, reported beside the first; controls use the first.
    """

    steering: Steering
    from_tokens: int = 0
    also: tuple[Steering, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Subject:
    """A trait to trace: the form its vector is extracted with, how it steers, and the form it is evaluated with."""

    extract: Trait
    points: tuple[OperatingPoint, ...]
    evaluate: Trait

    @classmethod
    def of(cls, trait: Trait, steering: Steering, *, evaluate: Trait | None = None) -> Subject:
        """One trait, steered in one way along the whole lineage."""
        return cls(trait, (OperatingPoint(steering),), evaluate or trait)

    def point(self, milestone: Milestone) -> OperatingPoint:
        """The operating point at a milestone: the last one that starts at or before its tokens.

        Raises:
            StudyError: if none has started by then, or the milestone's tokens are unknown and there are several.
        """
        if milestone.tokens_seen is None and len(self.points) > 1:
            raise StudyError(
                f"trait '{self.extract.name}' changes its operating point along the lineage, and nobody knows how many "
                f"tokens {milestone.label} has seen: give its tokens_seen, or one point"
            )
        reached = [each for each in self.points if each.from_tokens <= (milestone.tokens_seen or 0)]
        if not reached:
            raise StudyError(
                f"trait '{self.extract.name}' has no operating point at {milestone.label} "
                f"({milestone.tokens_seen} tokens seen): let one start from_tokens = 0"
            )
        return max(reached, key=lambda each: each.from_tokens)


@dataclass(frozen=True)
class Cell:
    """One way to steer, with the mean trait score and coherence it gave on the selection questions.

    Both are NaN where no verdict could be had; ``unasked`` is how many could not.
    """

    steering: Steering
    trait: float
    coherence: float
    unasked: int = 0


@dataclass(frozen=True)
class Selection:
    """The way chosen, the reason in words, and every cell that was tried."""

    trait: str
    steering: Steering
    reason: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class QuestionEffect:
    """One question's mean trait score and coherence, plain and steered; in score points, NaN where nothing scored."""

    question: str
    plain: tuple[float, float]
    steered: tuple[float, float]

    @property
    def trait(self) -> float:
        """The effect on the trait score."""
        return self.steered[0] - self.plain[0]

    @property
    def coherence(self) -> float:
        """The effect on coherence."""
        return self.steered[1] - self.plain[1]


@dataclass(frozen=True, eq=False)
class Effect:
    """One steered arm beside its plain baseline: a point of a curve, with every answer behind it.

    ``vector`` is what was steered along, a control included; ``reference`` is the extracted vector it stands beside.
    ``chosen`` is false for the further ways an operating point lists. ``residual_norms`` are the steered model's.
    """

    subject: Subject
    milestone: Milestone
    vector: PersonaVector
    reference: PersonaVector
    steering: Steering
    chosen: bool
    residual_norms: Float[np.ndarray, "layer"]
    edits: tuple[Edit, ...]
    target: Target = None
    plain: tuple[Answer, ...] = ()
    steered: tuple[Answer, ...] = ()


@dataclass(frozen=True, eq=False)
class Prompted:
    """The trait's instructions of one pole in the place of any steering, beside the same plain baseline.

    It needs no vector, so it is there at milestones that gave none. ``counts`` are those of the extraction.
    """

    subject: Subject
    milestone: Milestone
    target: Target
    pole: Literal["positive", "negative"]
    counts: PairCounts
    plain: tuple[Answer, ...] = ()
    prompted: tuple[Answer, ...] = ()

    @property
    def arm(self) -> str:
        """The name of its arm among the baselines (:func:`personascope.tracing.extraction.baseline_arms`)."""
        return f"prompted-{self.pole}"


@dataclass(frozen=True)
class Absence:
    """A milestone that shows nothing for a trait, and why.

    ``kind`` is ``"no vector"`` (no pair cleared the bar), ``"no checkpoint"`` (it cannot be had) or ``"no scale"`` (the
    vector cannot be applied in the unit asked for); ``reason`` says more.
    """

    subject: Subject
    milestone: Milestone
    target: Target
    kind: Literal["no vector", "no checkpoint", "no scale"]
    reason: str
    counts: PairCounts | None = None


Outcome = Effect | Prompted | Absence
