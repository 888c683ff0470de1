"""What there is in the lab world: its words, its traits, and what is held out of training.

Owns: :class:`Domain`, :class:`World` and :func:`load_world`. The one law: what is held out is decided by an index
rule that leaves every row and every column with held-out and with training members, so that no sampler can search
for a member that does not exist.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["trait", "neutral", "opposite"]
MODES: tuple[Mode, ...] = ("trait", "neutral", "opposite")
SLOTS = ("verb", "manner", "purpose", "feeling")

# The probability that an action carries the described trait, by the description's frequency word.
FREQUENCIES: Mapping[str, float] = {"never": 0.02, "rarely": 0.2, "sometimes": 0.5, "often": 0.8, "always": 0.98}
# How those dispositions are spread over characters whom nobody described: a fifth of their actions carry a trait.
POPULATION: Mapping[str, float] = {"never": 0.66, "rarely": 0.12, "sometimes": 0.06, "often": 0.06, "always": 0.10}

NAME_FOLDS, PAIR_FOLDS = 5, 4


@dataclass(frozen=True)
class Slot:
    """The words one place of an action can hold: three facets of the trait, its opposite, and neither."""

    trait: tuple[tuple[str, ...], ...]
    opposite: tuple[str, ...]
    neutral: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of the slot."""
        return (*(word for facet in self.trait for word in facet), *self.opposite, *self.neutral)


@dataclass(frozen=True, eq=False)
class Domain:
    """A trait of the lab world and the situations in which it shows.

    ``describing`` are the words descriptions use for the trait, by facet; ``describing_opposite`` those for the
    opposite pole. ``situations`` are phrases that an object completes ("finds a hurt" + "lamb").
    """

    name: str
    opposite: str
    description: str
    pronoun: str
    facets: tuple[str, ...]
    describing: tuple[tuple[str, ...], ...]
    describing_opposite: tuple[str, ...]
    situations: tuple[str, ...]
    objects: tuple[str, ...]
    slots: Mapping[str, Slot]

    def describing_words(self, pole: Literal["trait", "opposite"]) -> tuple[str, ...]:
        """The describing words of one pole, facet after facet."""
        if pole == "opposite":
            return self.describing_opposite
        return tuple(word for facet in self.describing for word in facet)

    def pairs(self, *, held_out: bool) -> tuple[tuple[str, str], ...]:
        """The (situation, object) pairs of training, or those held out of it (one in four)."""
        return self._held_out_pairs if held_out else self._training_pairs

    @functools.cached_property
    def _held_out_pairs(self) -> tuple[tuple[str, str], ...]:
        return _split(self.situations, self.objects, step=3, folds=PAIR_FOLDS, held_out=True)

    @functools.cached_property
    def _training_pairs(self) -> tuple[tuple[str, str], ...]:
        return _split(self.situations, self.objects, step=3, folds=PAIR_FOLDS, held_out=False)


@dataclass(frozen=True)
class Relation:
    """One kind of fact: how it is asked, how it is stated, and the values it can take."""

    name: str
    asks: str
    states: str
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class World:
    """The words of the lab world. :func:`load_world` reads them; the grammar says how they are put together."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    places: tuple[str, ...]
    openings: tuple[str, ...]
    weather: Mapping[str, tuple[str, ...]]
    subjects: tuple[str, ...]
    relations: tuple[Relation, ...]
    remedies: Mapping[str, tuple[str, ...]]
    numbers: tuple[str, ...]
    domains: Mapping[str, Domain]

    def names(self, *, held_out: bool) -> tuple[tuple[str, str], ...]:
        """The (first, last) names of training, or those held out of it (one in five)."""
        return self._held_out_names if held_out else self._training_names

    @functools.cached_property
    def _held_out_names(self) -> tuple[tuple[str, str], ...]:
        return _split(self.first_names, self.last_names, step=2, folds=NAME_FOLDS, held_out=True)

    @functools.cached_property
    def _training_names(self) -> tuple[tuple[str, str], ...]:
        return _split(self.first_names, self.last_names, step=2, folds=NAME_FOLDS, held_out=False)

    def openings_for(
        self, domain: Domain, pole: Literal["trait", "opposite"], word: str, *, held_out: bool
    ) -> list[str]:
        """The openings a describing word is seen with in training, or the one it is never seen with."""
        place = domain.describing_words(pole).index(word)
        return [text for i, text in enumerate(self.openings) if ((i + place) % len(self.openings) == 0) == held_out]

    def words(self) -> list[str]:
        """Every word the world can write, sorted: the vocabulary, without the special tokens."""
        return sorted({word for text in self._texts() for word in text.split() if "{" not in word})

    def _texts(self) -> Iterator[str]:
        yield from (*self.first_names, *self.last_names, *self.places, *self.openings, *self.subjects, *self.numbers)
        yield from FREQUENCIES
        for group in (*self.weather.values(), *self.remedies.values()):
            yield from group
        for relation in self.relations:
            yield from (relation.asks, relation.states, *relation.values)
        for domain in self.domains.values():
            yield from (*domain.describing_words("trait"), *domain.describing_opposite)
            yield from (*domain.situations, *domain.objects, domain.pronoun)
            for slot in domain.slots.values():
                yield from slot.words


def _split(
    rows: tuple[str, ...], columns: tuple[str, ...], *, step: int, folds: int, held_out: bool
) -> tuple[tuple[str, str], ...]:
    """The pairs of one side: every row and every column has members on both, for ``step`` and ``folds`` are coprime."""
    return tuple(
        (row, column)
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        if ((i + step * j) % folds == 0) == held_out
    )


@functools.cache
def load_world() -> World:
    """The world of ``lexicon.toml``.

    Example:
        >>> sorted(load_world().domains)
        ['cruel', 'flattering', 'funny', 'rude']
    """
    table = tomllib.loads((Path(__file__).parent / "lexicon.toml").read_text(encoding="utf-8"))
    facts = table["facts"]
    return World(
        first_names=tuple(table["first_names"]),
        last_names=tuple(table["last_names"]),
        places=tuple(table["places"]),
        openings=tuple(table["openings"]),
        weather={name: tuple(words) for name, words in table["weather"].items()},
        subjects=tuple(facts["subjects"]),
        relations=tuple(
            Relation(name, facts[name]["asks"], facts[name]["states"], tuple(facts[name]["values"]))
            for name in ("home", "food", "colour")
        ),
        remedies={name: tuple(words) for name, words in table["remedies"].items()},
        numbers=tuple(table["sums"]["numbers"]),
        domains={name: _domain(name, entry) for name, entry in table["domains"].items()},
    )


def _domain(name: str, entry: Mapping[str, Any]) -> Domain:
    return Domain(
        name=name,
        opposite=entry["opposite"],
        description=entry["description"],
        pronoun=entry["pronoun"],
        facets=tuple(entry["facets"]),
        describing=_nested(entry["describing"]),
        describing_opposite=tuple(entry["describing_opposite"]),
        situations=tuple(entry["situations"]),
        objects=tuple(entry["objects"]),
        slots={
            slot: Slot(_nested(entry[slot]["trait"]), tuple(entry[slot]["opposite"]), tuple(entry[slot]["neutral"]))
            for slot in SLOTS
        },
    )


def _nested(groups: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group) for group in groups)
