"""What every change of form is made of.

Owns: :class:`Task` and :func:`rubric_of`. The one law: every question stays in its own set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personascope.authoring.drafting import Instructions, filled
from personascope.core.traits import Contrast, Rubric, Trait, coherence_rubric
from personascope.writers import Writer

PERSON = "Dana"
SETS = ("extraction_questions", "selection_questions", "evaluation_questions")


@dataclass(frozen=True)
class Task:
    """A trait to transform, the prompts of the form, who it is to be about, and who writes."""

    trait: Trait
    prompts: Instructions
    person: str
    writer: Writer

    @property
    def questions(self) -> list[str]:
        """The questions of all sets, one set after another."""
        return [question for name in SETS for question in getattr(self.trait, name)]

    def ask(self, **words: str) -> str:
        """What the writer is asked."""
        trait = self.trait
        told = {"name": trait.name.replace("_", " "), "description": trait.description, "person": self.person}
        return filled(self.prompts.ask, **told, **words)

    def finished(self, contrasts: Sequence[Contrast], questions: Sequence[str]) -> Trait:
        """The trait in its new form; the questions are those of all sets, one after another."""
        given = iter(questions)
        extraction, selection, evaluation = (tuple(next(given) for _ in getattr(self.trait, name)) for name in SETS)
        return Trait(
            name=self.trait.name,
            form=self.prompts.name,
            description=self.trait.description,
            contrasts=tuple(contrasts),
            rubric=rubric_of(self.prompts, self.trait, person=self.person),
            coherence=Rubric(coherence_rubric(self.prompts.name)["text"]),
            extraction_questions=extraction,
            selection_questions=selection,
            evaluation_questions=evaluation,
        )


def rubric_of(prompts: Instructions, trait: Trait, *, person: str = PERSON) -> Rubric:
    """The rubric of a form, for a trait."""
    told = {"name": trait.name.replace("_", " "), "description": trait.description, "person": person}
    # Braces of a description are not fields of the rubric.
    safe = {name: text.replace("{", "{{").replace("}", "}}") for name, text in told.items()}
    return Rubric(filled(prompts.rubric, **safe))


def listed(texts: Sequence[str]) -> str:
    """Texts with their numbers, as a writer reads them."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def listed_contrasts(contrasts: Sequence[Contrast]) -> str:
    """Pairs of instructions with their numbers."""
    return listed([f"positive: {each.positive}\n   negative: {each.negative}" for each in contrasts])
