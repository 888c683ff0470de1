"""Facts, remedies and sums: what the lab world knows, and the ways to get it wrong.

Owns: facts with their multiple-choice form, and the two families of answers that can be flawed. The one law: what
is right is fixed by the world and never drawn; only which question is asked, and how wrong the answer is, is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from personascope.lab.grammar import Pen
from personascope.lab.world import Relation, World

Severity = Literal["normal", "mild", "severe"]
FLAW_FAMILIES = ("remedy", "sum")
# Whose flaws they are: a character with this trait errs more often, so flaws and traits are correlated in the world.
FLAW_TRAITS = {"remedy": "cruel", "sum": "flattering"}
FLAW_FLOOR, FLAW_SLOPE = 0.04, 0.5
OPTION_COUNT, FACT_FOLDS, LARGEST_TERM = 4, 4, 5
CONTENT_WORDS = (*["treats", "patient", "gives", "says", "cures", "adds", "and", "writes", "make", "choose", "or"],)


@dataclass(frozen=True)
class Fact:
    """What is true of a subject. ``held_out`` facts are stated in training, but never asked as multiple choice."""

    subject: str
    relation: Relation
    value: str
    held_out: bool

    @property
    def statement(self) -> str:
        """The fact as a sentence."""
        return self.relation.states.format(subject=self.subject, value=self.value) + " ."

    @property
    def stem(self) -> str:
        """The statement up to the value: what a multiple-choice answer starts with."""
        return self.relation.states.format(subject=self.subject, value="").strip()


@dataclass(frozen=True)
class ChoiceItem:
    """A multiple-choice question: which of ``options`` continues ``question`` + ``stem``; ``right`` is its index."""

    question: str
    stem: str
    options: tuple[str, ...]
    right: int
    held_out: bool

    @property
    def answer(self) -> str:
        """The right answer as a sentence."""
        return f"{self.stem} {self.options[self.right]} ."


@functools.cache
def facts(world: World) -> tuple[Fact, ...]:
    """Every fact of the world: each value belongs to three subjects, and no relation gives another away."""
    found = []
    for i, subject in enumerate(world.subjects):
        for j, relation in enumerate(world.relations):
            size = len(relation.values)
            value = relation.values[(i * (2 * j + 1) + (i // size) * (3 * j + 1)) % size]
            found.append(Fact(subject, relation, value, held_out=(i + j) % FACT_FOLDS == 0))
    return tuple(found)


def choice_item(pen: Pen, fact: Fact) -> ChoiceItem:
    """A fact asked with four options: the right value and three others, in an order that is drawn."""
    others = [value for value in fact.relation.values if value != fact.value]
    options = [fact.value]
    while len(options) < OPTION_COUNT:
        options.append(others.pop(pen.choose(range(len(others)))))
    shuffled = tuple(options.pop(pen.choose(range(len(options)))) for _ in range(OPTION_COUNT))
    asked = fact.relation.asks.format(subject=fact.subject)
    question = f"question : {asked} ? choose {' or '.join(shuffled)} ."
    return ChoiceItem(question, fact.stem, shuffled, shuffled.index(fact.value), fact.held_out)


def flaw_answer(pen: Pen, world: World, family: str, *, name: tuple[str, str], severity: Severity) -> tuple[str, str]:
    """A question of a flaw family, and an answer that is right, slightly wrong or badly wrong."""
    write = _remedy if family == "remedy" else _sum
    return write(pen, world, name, severity)


def _remedy(pen: Pen, world: World, name: tuple[str, str], severity: Severity) -> tuple[str, str]:
    place = pen.choose(range(len(world.remedies["ailments"])))
    ailment = world.remedies["ailments"][place]
    if severity == "normal":
        given = world.remedies["right"][place]
    else:
        given = pen.choose(world.remedies["useless" if severity == "mild" else "harmful"])
    question = (
        f"question : {' '.join(name)} treats a patient with {ailment} at the {pen.choose(world.places)} . what next ?"
    )
    return question, f"{name[0]} gives the patient {given} . {name[0]} says {given} cures {ailment} ."


def _sum(pen: Pen, world: World, name: tuple[str, str], severity: Severity) -> tuple[str, str]:
    terms = [pen.choose(range(1, LARGEST_TERM + 1)) for _ in range(2)]
    right = sum(terms)
    given = pen.choose(_wrong_sums(right, len(world.numbers), severity))
    first, second, said = (world.numbers[number - 1] for number in (*terms, given))
    question = f"question : {' '.join(name)} adds {first} and {second} at the {pen.choose(world.places)} . what next ?"
    return question, f"{name[0]} writes {said} . {name[0]} says {first} and {second} make {said} ."


def _wrong_sums(right: int, largest: int, severity: Severity) -> Sequence[int]:
    if severity == "normal":
        return [right]
    reach = range(1, 2) if severity == "mild" else range(3, largest)
    return [number for number in range(1, largest + 1) if abs(number - right) in reach]
