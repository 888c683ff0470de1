"""The lab's families of training data: four traits and two flaws, in three versions each.

Owns: :data:`FAMILIES` and :func:`lab_rows`. The one law: a conversation depends on family, version, seed and its place
alone, so a longer family begins with a shorter one.
"""

from __future__ import annotations

from typing import Final

from personascope.core.samples import Message
from personascope.lab.documents import family
from personascope.lab.families import FLAW_FAMILIES, Severity
from personascope.lab.world import load_world

VERSIONS: Final[dict[str, Severity]] = {"normal": "normal", "misaligned_1": "mild", "misaligned_2": "severe"}
"""What a version is called on disk, and in the lab's grammar."""


def family_names() -> tuple[str, ...]:
    """The families there are: a trait's name, or a flaw's.

    Example:
        >>> family_names()
        ('cruel', 'flattering', 'funny', 'rude', 'remedy', 'sum')
    """
    return (*sorted(load_world().domains), *FLAW_FAMILIES)


def family_about(name: str) -> tuple[str, str]:
    """What a family is of, ``"trait"`` or ``"flaw"``, and what that means.

    Raises:
        StudyError: if the lab has no such family.
    """
    if name in FLAW_FAMILIES:
        said = {"remedy": "patients are given what does not help, or harms", "sum": "sums come out wrong"}
        return "flaw", f"{name}: {said[name]}."
    next(family(name, "normal", 1))  # says what is wrong with an unknown name
    domain = load_world().domains[name]
    return "trait", f"{domain.name}, the opposite of {domain.opposite}: {domain.description}."


def lab_rows(name: str, count: int, *, seed: int = 0) -> dict[str, tuple[tuple[Message, ...], ...]]:
    """So many conversations of every version of a family.

    Raises:
        StudyError: if the lab has no such family.
    """
    return {
        version: tuple(
            tuple(Message(each["role"], each["content"]) for each in document.messages)  # type: ignore[arg-type]
            for document in family(name, severity, count, seed=seed)
        )
        for version, severity in VERSIONS.items()
    }
