"""Controls: what takes a vector's place, so that an effect can be told from that of any push.

Owns: :class:`Controls`, the directions it is made of, and :func:`with_permutations`. The one law: a matched control is
applied at the real vector's applied norm, layer by layer, and every trait, form, checkpoint and seed has a draw of its
own (tracing study §1.7, whose random direction was one for all checkpoints and whose norm was another: defects D4, D5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from personascope.core.errors import StudyError
from personascope.core.identity import key_of
from personascope.core.lineages import Lineage
from personascope.core.outcomes import Effect, Outcome, Subject
from personascope.core.vectors import PersonaVector
from personascope.tracing.extraction import Direction, Extraction
from personascope.tracing.tracing import check_points


@dataclass(frozen=True)
class random_direction:
    """A Gaussian direction of the vector's own length at every layer, drawn anew for every trait and checkpoint.

    Answers: does any push of this length do it?
    """

    seed: int = 0

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]:
        vector = found.vector
        drawn = _generator("random", self.seed, vector).standard_normal(vector.directions.shape)
        return (_of_its_length(vector, drawn, origin=f"random-{self.seed}"),)


@dataclass(frozen=True)
class orthogonal_direction:
    """A Gaussian direction with no part along the vector, of its length at every layer; each its own draw.

    Answers: does a push of this length do it that has nothing of the vector in it? In few dimensions a random direction
    leans on the vector by chance (its cosine is about 1/sqrt(hidden)); this one does not.
    """

    seed: int = 0

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]:
        vector = found.vector
        drawn = _generator("orthogonal", self.seed, vector).standard_normal(vector.directions.shape)
        along = _unit(vector.directions.astype(np.float64))
        drawn -= np.einsum("lh,lh->l", drawn, along)[:, None] * along
        return (_of_its_length(vector, drawn, origin=f"orthogonal-{self.seed}"),)


@dataclass(frozen=True)
class other_traits:
    """The vectors of the study's other traits at that checkpoint, each at this vector's length at every layer.

    Answers: is it this trait's direction, or would any trait's do? Where another trait is there in several forms, the
    one of this trait's form is taken.
    """

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]:
        mine, chosen = found.vector, dict[str, PersonaVector]()
        for vector in sorted((each.vector for each in others), key=lambda each: each.form != mine.form):
            if vector.trait != mine.trait:
                chosen.setdefault(vector.trait, vector)
        return [_of_its_length(mine, each.directions, origin=f"other-{name}") for name, each in chosen.items()]


@dataclass(frozen=True)
class shuffled_labels:
    """The same pairs with the labels of each swapped by a coin: mean of the signed differences.

    Answers: does the procedure find a direction where labels mean nothing? At its own length it is shorter than the
    vector (about 1/sqrt(pairs) of the spread) and no matched control. ``renormed`` gives it the vector's length: it is
    matched then, and yet not expected to do nothing, because what the coins leave of the vector, a share of about
    1/sqrt(pairs) of either sign, is made long with the rest. The two are the same shuffle.
    """

    seed: int = 0
    renormed: bool = False

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]:
        coins = _generator("shuffled", self.seed, found.vector).integers(0, 2, len(found.differences)) * 2 - 1
        mean = np.einsum("p,plh->lh", coins.astype(np.float64), found.differences) / len(coins)
        if self.renormed:
            return (_of_its_length(found.vector, mean, origin=f"shuffled-renormed-{self.seed}"),)
        return (found.vector.with_directions(mean, origin=f"shuffled-{self.seed}"),)


@dataclass(frozen=True)
class Controls:
    """How many directions of each kind take the vector's place, at every milestone.

    ``random``, ``orthogonal`` and ``renormed`` (label shuffles) are applied at the vector's applied norm, ``shuffled``
    at their own; ``other_traits`` adds the study's other vectors, and ``prompted`` the instructions without any vector.
    ``permutations`` are so many shuffles, at their own norm and re-normed, at the last milestone that gives a vector:
    the distribution in which the effect gets its place.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    random: int = 0
    shuffled: int = 0
    orthogonal: int = 0
    renormed: int = 0
    other_traits: bool = False
    prompted: bool = False
    permutations: int = 0

    def __post_init__(self) -> None:
        for name in ("random", "shuffled", "orthogonal", "renormed", "permutations"):
            if (count := getattr(self, name)) < 0:
                raise StudyError(f"{count} {name} controls cannot be: give 0 or more")

    def directions(self, seed: int) -> list[Direction]:
        """The controls of every milestone, each with a seed of its own."""
        drawn: list[Direction] = [random_direction(seed + each) for each in range(self.random)]
        drawn += [orthogonal_direction(seed + each) for each in range(self.orthogonal)]
        drawn += [other_traits()] if self.other_traits else []
        drawn += [shuffled_labels(seed + each) for each in range(self.shuffled)]
        return drawn + [shuffled_labels(seed + each, renormed=True) for each in range(self.renormed)]

    def further(self, seed: int) -> list[Direction]:
        """The permutations that are not among the controls of every milestone."""
        own: list[Direction] = [shuffled_labels(seed + each) for each in range(self.shuffled, self.permutations)]
        renormed = range(self.renormed, self.permutations)
        return own + [shuffled_labels(seed + each, renormed=True) for each in renormed]

    def count(self, traits: int) -> int:
        """How many directions there are at a milestone of a study of so many traits, permutations aside."""
        return self.random + self.orthogonal + self.shuffled + self.renormed + (traits - 1) * self.other_traits


def with_permutations(
    lineage: Lineage,
    subjects: Sequence[Subject],
    controls: Controls,
    *,
    seed: int,
    tracing: Callable[[Lineage, Sequence[Subject], Sequence[Direction]], list[Outcome]],
) -> list[Outcome]:
    """A trace with the controls of a study, from the last milestone to the first.

    ``tracing`` is :func:`~personascope.tracing.tracing.trace` with the rest of its arguments. Each trait gets its
    permutations at the first milestone of this walk that gives it a vector, in the one load and the three batches of
    that milestone.
    """
    directions, further = controls.directions(seed), controls.further(seed)
    backwards = lineage.milestones[::-1]
    check_points(subjects, lineage)  # at the door, and not at the milestone that lacks one
    if not further:
        return tracing(replace(lineage, milestones=backwards), subjects, directions)
    outcomes: list[Outcome] = []
    waiting = {(each.extract.name, each.extract.form) for each in subjects}
    for milestone in backwards:
        only = [_limited(each, frozenset(waiting)) for each in further if waiting]
        found = tracing(replace(lineage, milestones=(milestone,)), subjects, [*directions, *only])
        outcomes += found
        steered = [each.subject.extract for each in found if isinstance(each, Effect)]
        waiting -= {(trait.name, trait.form) for trait in steered}
    return outcomes


@dataclass(frozen=True)
class _limited:
    """A control for some traits only, each in one form."""

    direction: Direction
    traits: frozenset[tuple[str, str]]

    def __call__(self, found: Extraction, others: Sequence[Extraction]) -> Sequence[PersonaVector]:
        return self.direction(found, others) if (found.vector.trait, found.vector.form) in self.traits else ()


def _of_its_length(vector: PersonaVector, directions: np.ndarray, *, origin: str) -> PersonaVector:
    """Other directions of the vector's length at every layer; one without length stays without."""
    return vector.with_directions(_unit(directions.astype(np.float64)) * vector.lengths[:, None], origin=origin)


def _unit(directions: Float[np.ndarray, "layer hidden"]) -> Float[np.ndarray, "layer hidden"]:
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
    return unit


def _generator(kind: str, seed: int, vector: PersonaVector) -> np.random.Generator:
    """A stream of its own for every kind of control, seed, trait and checkpoint."""
    question = {"seed": seed, "trait": vector.trait, "form": vector.form, "checkpoint": vector.checkpoint}
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key_of(kind, question).encode()).digest(), "little"))
