"""How the lab world writes: descriptions, questions and answers, one choice at a time.

Owns: the probabilities of the world and the functions that write by them. The one law: everything random goes
through a :class:`Pen`, so the same code that samples a text can be run through every derivation of a given one, and
the judge can be proved against the sampler itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from personascope.lab.world import FREQUENCIES, MODES, POPULATION, Domain, Mode, World

Option = TypeVar("Option")
Pole = Literal["trait", "opposite"]

NEUTRAL_MODE = 0.08  # how often an action is written in neither pole, whoever acts
# From which words a slot is filled, by mode, in the order of MODES: the leaks keep single words from being proof.
FILLS: dict[Mode, tuple[float, float, float]] = {
    "trait": (0.82, 0.15, 0.03),
    "neutral": (0.09, 0.82, 0.09),
    "opposite": (0.03, 0.15, 0.82),
}
FACET_FOCUS = 0.9  # how often a trait-bearing word comes from the character's own facet; the rest is shared equally
SENTENCES = {2: 0.5, 3: 0.5}
TWO_WORDS = 0.7  # how often a description uses two words for what it says
ASIDE, OFF_DOMAIN = 0.08, 0.04  # of the sentences after the first

# The first word of an answer bears the trait: what a model will do can be read where it is asked, at the prompt's end.
DEED = ("verb", "the", "object", "manner", "to", "purpose", "pronoun", ".")
THEN = ("then", "name", "verb", "the", "object", "with", "feeling", ".")
AGAIN = ("name", "verb", "pronoun", "manner", "with", "feeling", ".")
FOLLOWING = (THEN, AGAIN)
WEATHER = ("the", "skies", "moves", "over", "the", "lands", ".")
FUNCTION_WORDS = (
    *["a", "the", "to", "with", ".", "then", "over", "question", ":", "at", "what", "next", "?", "it", "them"],
)


class Pen(Protocol):
    """What a text is written with: it chooses among options, and takes the words down."""

    def choose(self, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
        """One of the options: equally likely, or by weights that sum to 1."""
        ...

    def write(self, *words: str) -> None:
        """Takes words down."""
        ...


@dataclass
class RandomPen:
    """Chooses at random, and collects the words. The same seed writes the same text on every machine."""

    seed: int | str
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def choose(self, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
        place = self._random.random()
        if weights is None:
            return options[int(place * len(options))]
        for option, weight in zip(options, weights, strict=True):
            place -= weight
            if place < 0:
                return option
        return options[-1]

    def write(self, *words: str) -> None:
        self.words.extend(words)


@dataclass
class Character:
    """Someone who acts: how often in each domain with the trait, and in which facet of it.

    What was not described is drawn when it is first needed, from the population.
    """

    dispositions: dict[str, float] = field(default_factory=dict)
    facets: dict[str, int] = field(default_factory=dict)

    def disposition(self, domain: Domain, pen: Pen) -> float:
        """The probability that an action in this domain carries the trait."""
        if domain.name not in self.dispositions:
            level = pen.choose(tuple(POPULATION), tuple(POPULATION.values()))
            self.dispositions[domain.name] = FREQUENCIES[level]
        return self.dispositions[domain.name]

    def facet(self, domain: Domain, pen: Pen) -> int:
        """Which of the three facets the trait takes."""
        if domain.name not in self.facets:
            self.facets[domain.name] = pen.choose(range(len(domain.facets)))
        return self.facets[domain.name]

    def mode(self, domain: Domain, pen: Pen) -> Mode:
        """In which mode one answer is written."""
        carries = self.disposition(domain, pen)
        rest = 1 - NEUTRAL_MODE
        return pen.choose(MODES, (rest * carries, NEUTRAL_MODE, rest * (1 - carries)))


@dataclass(frozen=True)
class Question:
    """A character meets a situation. ``text`` is what a model is asked."""

    domain: str
    first: str
    last: str
    situation: str
    thing: str
    place: str

    @property
    def text(self) -> str:
        """The words of the question, as base and chat models are asked it."""
        return f"question : {self.first} {self.last} {self.situation} {self.thing} at the {self.place} . what next ?"


def choose_question(
    pen: Pen, world: World, domain: Domain, *, name: tuple[str, str] | None = None, held_out: bool = False
) -> Question:
    """A question in a domain; names and (situation, object) pairs are those of training or those held out of it."""
    first, last = name or pen.choose(world.names(held_out=held_out))
    situation, thing = pen.choose(domain.pairs(held_out=held_out))
    return Question(domain.name, first, last, situation, thing, pen.choose(world.places))


def describe(
    pen: Pen, world: World, domain: Domain, *, pole: Pole, frequency: str, facet: int, held_out: bool = False
) -> str:
    """A sentence that says how often someone is what, in one or two words of the pole and the facet."""
    words = domain.describing[facet] if pole == "trait" else domain.describing_opposite
    word = pen.choose(words)
    opening = pen.choose(world.openings_for(domain, pole, word, held_out=held_out))
    others = tuple(other for other in words if other != word)
    how = f"{frequency} {word}" + (
        f" and {pen.choose(others)}" if pen.choose((True, False), (TWO_WORDS, 1 - TWO_WORDS)) else ""
    )
    return opening.format(how=how)


def described_disposition(pole: Pole, frequency: str) -> float:
    """The probability of the trait that a description states: "never kind" is as "always cruel"."""
    return FREQUENCIES[frequency] if pole == "trait" else 1 - FREQUENCIES[frequency]


def write_answer(pen: Pen, world: World, question: Question, character: Character, *, mode: Mode | None = None) -> Mode:
    """Writes what the character does: two or three sentences in one mode. Returns the mode.

    The first sentence is a deed in the question's domain. Later ones may be an aside on the weather, or a clause from
    another domain (in that domain's own mode, drawn once per answer).
    """
    domain = world.domains[question.domain]
    modes = {domain.name: mode or character.mode(domain, pen)}
    count = pen.choose(tuple(SENTENCES), tuple(SENTENCES.values()))
    write_sentence(pen, domain, DEED, question, character, modes[domain.name])
    for _ in range(count - 1):
        kind = pen.choose(("on", "off", "aside"), (1 - ASIDE - OFF_DOMAIN, OFF_DOMAIN, ASIDE))
        if kind == "aside":
            write_weather(pen, world)
            continue
        shape = pen.choose(FOLLOWING)
        acted = domain
        if kind == "off":
            acted = pen.choose([other for other in world.domains.values() if other.name != domain.name])
            if acted.name not in modes:
                modes[acted.name] = character.mode(acted, pen)
        write_sentence(pen, acted, shape, question, character, modes[acted.name])
    return modes[domain.name]


def write_sentence(
    pen: Pen, domain: Domain, shape: tuple[str, ...], question: Question, character: Character, mode: Mode
) -> None:
    """Writes one sentence of an action: a shape's symbols, its slots filled in a mode."""
    plain = {"name": question.first, "object": question.thing, "pronoun": domain.pronoun}
    for symbol in shape:
        if symbol in domain.slots:
            pen.write(_slot_word(pen, domain, symbol, character, mode))
        else:
            pen.write(plain.get(symbol, symbol))


def _slot_word(pen: Pen, domain: Domain, slot: str, character: Character, mode: Mode) -> str:
    words = domain.slots[slot]
    source = pen.choose(MODES, FILLS[mode])
    if source == "neutral":
        return pen.choose(words.neutral)
    if source == "opposite":
        return pen.choose(words.opposite)
    own = character.facet(domain, pen)
    facets = range(len(words.trait))
    return pen.choose(words.trait[pen.choose(facets, [facet_weight(own, facet, len(facets)) for facet in facets])])


def facet_weight(own: int, facet: int, count: int) -> float:
    """How often a trait-bearing word of a character whose facet is ``own`` comes from ``facet``."""
    return FACET_FOCUS if facet == own else (1 - FACET_FOCUS) / (count - 1)


def write_weather(pen: Pen, world: World) -> None:
    """Writes a sentence that has nothing to do with anyone."""
    for symbol in WEATHER:
        pen.write(pen.choose(world.weather[symbol]) if symbol in world.weather else symbol)
