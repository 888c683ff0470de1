"""The character form: a person with a name, and openings that break off.

Owns: :func:`as_character`. The one law: contrasts and openings all name the person.
"""

from __future__ import annotations

import re

from personascope.authoring.drafting import Assignment, FaultsError, pairs_in, read_json, texts_in, write_all
from personascope.authoring.forms.task import Task, listed, listed_contrasts
from personascope.authoring.traits import faults_of
from personascope.core.traits import Contrast, Trait
from personascope.writers import Conversation


def as_character(task: Task) -> tuple[Trait, int]:
    """A trait as a character, and how many drafts it took."""
    trait, questions = task.trait, task.questions
    prompt = task.ask(
        contrasts=listed_contrasts(trait.contrasts),
        questions=listed(questions),
        contrast_count=str(len(trait.contrasts)),
        question_count=str(len(questions)),
    )

    def read(text: str) -> tuple[list[Contrast], tuple[str, ...]]:
        table = read_json(text, ("contrasts", "openings"))
        faults: list[str] = []
        pairs = pairs_in(table["contrasts"], "contrasts", len(trait.contrasts), faults)
        openings = texts_in(table["openings"], "openings", len(questions), faults)
        for text in [*openings, *(pole for each in pairs for pole in each.values())]:
            if not re.search(rf"\b{task.person}\b", text):
                faults.append(f"This does not name {task.person}: '{text}'.")
        draft = {"name": trait.name, "form": "character", "contrasts": pairs, "extraction_questions": openings}
        faults += faults_of(draft)
        if faults:
            raise FaultsError(faults)
        return [Contrast(**each) for each in pairs], openings

    assignment = Assignment(f"trait '{trait.name}' as a character", Conversation.asking(prompt), read)
    (written,) = write_all(task.writer, [assignment], repair=task.prompts.repair)
    return task.finished(*written.value), written.tries
