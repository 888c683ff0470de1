"""Controls: what takes a vector's place.

Owns: :class:`Controls`. The one law: a control is the same call with another direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from personascope.errors import StudyError
from personascope.extract import Direction, random_direction, shuffled_labels


@dataclass(frozen=True)
class Controls:
    """How many directions of each kind take the vector's place: random ones of its length, and shuffled labels."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    random: int = 0
    shuffled: int = 0

    def __post_init__(self) -> None:
        if self.random < 0 or self.shuffled < 0:
            raise StudyError(f"{self.random} random and {self.shuffled} shuffled controls cannot be: give 0 or more")

    def directions(self, seed: int) -> list[Direction]:
        """The controls, each with a seed of its own."""
        drawn: list[Direction] = [random_direction(seed + each) for each in range(self.random)]
        return drawn + [shuffled_labels(seed + each) for each in range(self.shuffled)]
