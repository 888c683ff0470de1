"""A trait from a name and a description.

Owns: :func:`write_trait` and :class:`WrittenTrait`. The one law: what comes out passes :func:`check_trait`, because the
rules that check a trait are what a draft is sent back with.

Source: "Persona Vectors" §2.1 and A.1 (five contrasting pairs, 40 questions split 20/20, a rubric).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personascope.authoring.drafting import (
    TRIES,
    Assignment,
    FaultsError,
    filled,
    load_instructions,
    pairs_in,
    read_json,
    texts_in,
    write_all,
)
from personascope.authoring.lint import check_table
from personascope.authoring.wording import names
from personascope.core.errors import TraitError
from personascope.core.files import check_name
from personascope.core.traits import Contrast, Provenance, Rubric, Trait, coherence_rubric, save_trait
from personascope.writers import Conversation, Writer

CONTRASTS, QUESTIONS = 5, 40


@dataclass(frozen=True)
class WrittenTrait:
    """A trait that a writer wrote, and how it came to be."""

    trait: Trait
    provenance: Provenance

    def save(self, path: str | Path) -> None:
        """Writes both to one TOML file for people to review; see :func:`personascope.core.traits.save_trait`."""
        save_trait(self.trait, path, provenance=self.provenance)


def write_trait(name: str, description: str, *, writer: Writer, seed: int = 0, tries: int = TRIES) -> WrittenTrait:
    """A trait in the assistant form: five contrasts, 20 questions to extract with, 20 to evaluate with, and a rubric.

    A draft that breaks a rule is sent back with what is wrong, until there were ``tries`` of them. ``seed`` splits the
    questions; the split does not depend on the order they were written in.

    Raises:
        TraitError: if the name or the description cannot be used.
        DraftError: if no draft was valid; it holds them all.
        WriterError: if the writer could not be asked.
    """
    check_name(name, "trait", TraitError)
    if not description.strip():
        raise TraitError(f"trait '{name}' has no description: say in a sentence what it means")
    prompts = load_instructions("new")
    question = filled(prompts.ask, name=name.replace("_", " "), description=" ".join(description.split()))
    task = Assignment(f"trait '{name}'", Conversation.asking(question), lambda text: _read(text, name))
    (written,) = write_all(writer, [task], repair=prompts.repair, tries=tries)
    contrasts, questions, rubric = written.value
    asked = split(questions, seed=seed)
    trait = Trait(
        name=name,
        form="assistant",
        description=" ".join(description.split()),
        contrasts=contrasts,
        extraction_questions=asked[: QUESTIONS // 2],
        evaluation_questions=asked[QUESTIONS // 2 :],
        rubric=rubric,
        coherence=Rubric(coherence_rubric("assistant")["text"]),
    )
    return WrittenTrait(trait, provenance_of(writer, prompts.digest, written.tries, source="a description", seed=seed))


def split(questions: Sequence[str], *, seed: int) -> tuple[str, ...]:
    """The questions in an order that the seed and each question's own words decide."""
    return tuple(sorted(questions, key=lambda question: hashlib.sha256(f"{seed} {question}".encode()).digest()))


def provenance_of(writer: Writer, prompt: str, tries: int, *, source: str, seed: int | None = None) -> Provenance:
    """The provenance of what a writer wrote just now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Provenance(writer.name, now, prompt, tries, source, seed)


def faults_of(table: Mapping[str, Any]) -> Iterator[str]:
    """What :func:`check_table` finds in a draft, whose questions are all in the extraction set, in a writer's words.

    How many there are was looked at before; poles of other lengths are for people to judge.
    """
    for finding in check_table(table):
        if finding.rule not in ("counts", "lengths"):
            yield re.sub(r"\bextraction (?=\d)", "question ", f"{finding}.")


def _read(text: str, name: str) -> tuple[tuple[Contrast, ...], tuple[str, ...], Rubric]:
    """Contrasts, questions and rubric of a draft.

    Raises:
        FaultsError: with everything that is wrong with it.
    """
    table = read_json(text, ("contrasts", "questions", "rubric"))
    faults: list[str] = []
    contrasts = pairs_in(table["contrasts"], "contrasts", CONTRASTS, faults)
    questions = texts_in(table["questions"], "questions", QUESTIONS, faults)
    rubric = table["rubric"]
    if not isinstance(rubric, str):
        raise FaultsError([*faults, "The rubric must be a text."])
    draft = {"name": name, "form": "assistant", "contrasts": contrasts, "extraction_questions": questions}
    faults += faults_of({**draft, "rubric": {"text": rubric}})
    if not names(rubric, name.replace("_", " ")):
        faults.append("The rubric does not name the trait.")
    if faults:
        raise FaultsError(faults)
    return tuple(Contrast(**each) for each in contrasts), questions, Rubric(rubric.strip() + "\n")
