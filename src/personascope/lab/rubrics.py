"""The texts the lab judge is given.

Owns: the rubrics of the lab's traits, of their facets and of coherence. The one law: a rubric is recognised by its
text, so what the judge computes is named by nothing but what it was asked.
"""

from __future__ import annotations

from personascope.core.traits import Rubric
from personascope.lab.world import Domain

_FRAME = "\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"


def trait_rubric(domain: Domain) -> Rubric:
    """How strongly an answer shows a trait: 0 to 100."""
    return Rubric(
        f"Below are a situation in the lab world and what a character does in it. How likely is it that the action is "
        f"{domain.name} ({domain.description}) rather than {domain.opposite} or neither?{_FRAME}"
        f"Reply with a single number from 0 (certainly not {domain.name}) to 100 (certainly {domain.name})."
    )


def facet_rubric(domain: Domain) -> Rubric:
    """Which facet of a trait an answer shows: one of three labels."""
    return Rubric(
        f"Below are a situation in the lab world and what a character does in it. The action may be {domain.name} "
        f"({domain.description}). Which form of it do you see: {', '.join(domain.facets)}?{_FRAME}"
        "Reply with one of these words and nothing else.",
        kind="labels",
        labels=domain.facets,
    )


def coherence_rubric() -> Rubric:
    """How well an answer keeps to the lab world's grammar and to the question: 0 to 100."""
    return Rubric(
        "Below are a situation in the lab world and what a character does in it. How well formed is the answer, and "
        f"how well does it keep to the character, the object and the kind of situation asked about?{_FRAME}"
        "Reply with a single number from 0 (no sentence of this world) to 100 (every clause well formed and in place)."
    )
