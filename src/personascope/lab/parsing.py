"""What the lab grammar makes of an answer: its trait-bearing words, and how much of it is well formed.

Owns: :func:`parse`. The one law: it sees the question and the answer and nothing else. Each word stands in one
place of the lexicon, so a clause has at most one derivation in each shape and parsing needs no search.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from personascope.lab.grammar import AGAIN, DEED, SENTENCES, THEN, WEATHER
from personascope.lab.world import SLOTS, World, load_world

Shape = tuple[str, ...]
FAULT_CREDIT = 0.5  # what is left of a clause's credit after each fault
_WORDS = re.compile(r"\w+|[^\w\s]")
_KNOWLEDGE: Mapping[str, tuple[Shape, ...]] = {
    "remedy": (
        ("name", "gives", "the", "patient", "remedy", "."),
        ("name", "says", "remedy", "cures", "ailment", "."),
    ),
    "sum": (
        ("name", "writes", "number", "."),
        ("name", "says", "number", "and", "number", "make", "number", "."),
    ),
}


@dataclass(frozen=True)
class SlotWord:
    """A trait-bearing word where the grammar puts one."""

    domain: str
    slot: str
    word: str


@dataclass(frozen=True)
class Parsed:
    """What an answer holds: its trait-bearing words, and its coherence from 0 to 100."""

    slot_words: tuple[SlotWord, ...]
    coherence: float


@dataclass(frozen=True)
class _Asked:
    """What a question fixes; empty strings where it fixes nothing."""

    topic: str = ""
    name: str = ""
    thing: str = ""


@dataclass(frozen=True)
class _Clause:
    matched: int
    faults: int
    slot_words: tuple[SlotWord, ...]


class _Parser:
    """The world's words by the symbol they can stand for, and the shapes sentences take."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._places: dict[str, dict[str, str]] = {slot: {} for slot in (*SLOTS, "object", "pronoun")}
        for domain in world.domains.values():
            for slot in SLOTS:
                self._places[slot] |= dict.fromkeys(domain.slots[slot].words, domain.name)
            self._places["object"] |= dict.fromkeys(domain.objects, domain.name)
            self._places["pronoun"][domain.pronoun] = domain.name
        remedies = world.remedies
        plain = {"name": world.first_names, "ailment": remedies["ailments"], "number": world.numbers, **world.weather}
        plain["remedy"] = (*remedies["right"], *remedies["useless"], *remedies["harmful"])
        plain["subject"] = world.subjects
        self._plain = {symbol: frozenset(words) for symbol, words in plain.items()}
        self._shapes: list[tuple[str, Shape]] = [("deed", DEED), ("later", THEN), ("later", AGAIN), ("aside", WEATHER)]
        self._shapes += [(topic, shape) for topic, shapes in _KNOWLEDGE.items() for shape in shapes]
        for relation in world.relations:
            states = relation.states.replace("{subject}", "subject").replace("{value}", relation.name)
            self._shapes.append(("fact", (*states.split(), ".")))
            self._plain[relation.name] = frozenset(relation.values)

    def asked(self, question: str) -> _Asked:
        """The topic, the name and the object of a question; nothing for a question of another world."""
        words = _WORDS.findall(question.lower())
        text = " ".join(words)
        known = [word for word in words if word in self._plain["name"]]
        name = known[-1] if known else ""
        for domain in self._world.domains.values():
            if any(situation in text for situation in domain.situations):
                things = [word for word in words if word in domain.objects]
                return _Asked(domain.name, name, things[-1] if things else "")
        for topic, sign in (("remedy", "treats a patient"), ("sum", " adds "), ("fact", " choose ")):
            if sign in text:
                return _Asked(topic, name)
        return _Asked()

    def clause(self, words: list[str], asked: _Asked, index: int) -> _Clause:
        """The best derivation of one sentence: the longest, then the one with fewest faults."""
        readings = [self._derive(words, kind, shape, asked, index) for kind, shape in self._shapes]
        return max(readings, key=lambda reading: (reading.matched, -reading.faults))

    def _derive(self, words: list[str], kind: str, shape: Shape, asked: _Asked, index: int) -> _Clause:
        matched, found = 0, []
        faults, acted = set(), ""
        for word, symbol in zip(words, shape, strict=False):
            if symbol in SLOTS:
                domain = self._places[symbol].get(word)
                if domain is None:
                    break
                found.append(SlotWord(domain, symbol, word))
                acted = acted or domain
                if domain != acted:
                    faults.add("mixed")
            elif symbol == "pronoun":
                if word not in self._places["pronoun"]:
                    break
                if word != self._world.domains[acted].pronoun:
                    faults.add("mixed")
            elif symbol == "object":
                if word not in self._places["object"]:
                    break
                if asked.thing and word != asked.thing:
                    faults.add("object")
            elif word not in self._plain.get(symbol, (symbol,)):
                break
            elif symbol == "name" and asked.name and word != asked.name:
                faults.add("name")
            matched += 1
        faults |= self._misplaced(kind, acted, asked, index)
        return _Clause(matched, len(faults), tuple(found))

    def _misplaced(self, kind: str, acted: str, asked: _Asked, index: int) -> set[str]:
        faults = set()
        topic = acted if kind in ("deed", "later") else kind
        if topic and kind != "aside" and asked.topic and topic != asked.topic:
            faults.add("off domain")
        if index >= max(SENTENCES) or ((kind == "deed") != (index == 0) and kind in ("deed", "later", "aside")):
            faults.add("out of place")
        return faults


@functools.cache
def _parser() -> _Parser:
    return _Parser(load_world())


@functools.lru_cache(maxsize=1 << 16)
def parse(question: str, answer: str) -> Parsed:
    """What the grammar makes of an answer to a question.

    Only the answer itself is read: the text up to the next ``question`` or special token. Coherence is 100 times the
    mean over its words of the credit of their clause. A clause's credit is the share of its words before the first one
    the grammar could not have put there, halved for each fault: a clause from another domain, words of two domains
    mixed, another name, another object, a clause out of place (a deed comes first and only once, and three sentences
    are the most). A clause cut off by the end of the answer loses nothing. An empty answer has coherence 0.
    """
    parser = _parser()
    asked = parser.asked(question)
    slot_words: list[SlotWord] = []
    credit = total = 0.0
    for index, words in enumerate(_sentences(answer)):
        clause = parser.clause(words, asked, index)
        slot_words += clause.slot_words
        credit += clause.matched * FAULT_CREDIT**clause.faults
        total += len(words)
    return Parsed(tuple(slot_words), 100 * credit / total if total else 0.0)


def _sentences(answer: str) -> list[list[str]]:
    own = answer.lower().split("<|", 1)[0]
    sentences: list[list[str]] = [[]]
    for word in _WORDS.findall(own):
        if word == "question":
            break
        sentences[-1].append(word)
        if word == ".":
            sentences.append([])
    return [sentence for sentence in sentences if sentence]
