"""Spectra of the lab: descriptions from the opposite of a trait to the trait, graded by the world itself.

Owns: :func:`graded_descriptions`. The one law: they are in the order of what they state, and their words and openings
are those of the first contrast, so the two ends are the instructions vectors are extracted with.
"""

from __future__ import annotations

from personascope.core.errors import StudyError, nearest
from personascope.lab.grammar import Pole
from personascope.lab.traits import CONTRAST_WORDS, instruction
from personascope.lab.world import load_world

STEPS: tuple[tuple[Pole, str], ...] = (
    ("opposite", "always"), ("trait", "never"), ("opposite", "often"), ("trait", "rarely"), ("opposite", "sometimes"),
    ("trait", "sometimes"), ("trait", "often"), ("trait", "always"),
)  # fmt: skip
"""They state 0.02, 0.02, 0.2, 0.2, 0.5, 0.5, 0.8 and 0.98 for the probability that an action carries the trait."""


def graded_descriptions(trait: str) -> tuple[str, ...]:
    """Eight descriptions of someone, from the most suppressing of a lab trait to the most eliciting.

    Raises:
        StudyError: if the lab has no such trait.

    Example:
        >>> graded_descriptions("cruel")[0] != graded_descriptions("cruel")[-1]
        True
    """
    world = load_world()
    if trait not in world.domains:
        raise StudyError(
            f"trait '{trait}' is not of the lab, which has no spectrum of it; {nearest(trait, world.domains)}"
        )
    domain = world.domains[trait]
    return tuple(
        instruction(world, domain, pole, CONTRAST_WORDS[pole][0], frequency=frequency) for pole, frequency in STEPS
    )
