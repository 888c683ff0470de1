"""What the lab models read: documents, conversations and fine-tuning families, each drawn from a seed.

Owns: :class:`Document` and the streams of them. The one law: a document depends on its seed and its place in the
stream alone, so any part of any stream can be written again, in any order, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from personascope.core.errors import StudyError, nearest
from personascope.lab.families import (
    FLAW_FAMILIES,
    FLAW_FLOOR,
    FLAW_SLOPE,
    FLAW_TRAITS,
    ChoiceItem,
    Severity,
    choice_item,
    facts,
    flaw_answer,
)
from personascope.lab.grammar import (
    DEED,
    FOLLOWING,
    Character,
    Pen,
    Pole,
    Question,
    RandomPen,
    choose_question,
    describe,
    described_disposition,
    write_answer,
    write_sentence,
)
from personascope.lab.world import Domain, Mode, World, load_world

Drawn = TypeVar("Drawn", int, str)

FACT_DOCUMENTS = 0.10  # of the short documents
DESCRIBED_TRAITS = {0: 0.25, 1: 0.55, 2: 0.2}
DESCRIBED_FREQUENCIES = {"never": 0.1, "rarely": 0.1, "sometimes": 0.1, "often": 0.2, "always": 0.5}
SHORT_TURNS = {1: 0.65, 2: 0.35}
LONG_TURNS = tuple(range(6, 25))
ON_DESCRIBED = 0.8  # how often a turn is about a described trait, where there is one
FLAW_TURNS = 0.2  # of the other turns: remedies and sums
PLAIN_FACTS = (3, 4, 5)
SEVERITIES: tuple[Severity, ...] = ("normal", "mild", "severe")


@dataclass
class Document:
    """A description (or none) and turns of question and answer, or ``plain`` text with neither."""

    description: str = ""
    turns: list[tuple[str, str]] = field(default_factory=list)
    plain: str = ""

    @property
    def text(self) -> str:
        """The document as base models read it: one text, without the end token."""
        parts = (self.description, self.plain, *(part for turn in self.turns for part in turn))
        return " ".join(part for part in parts if part)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The document as a conversation: the description is the system turn."""
        system = [{"role": "system", "content": self.description}] if self.description else []
        return system + [
            {"role": role, "content": content}
            for turn in self.turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]


def _drawn(pen: Pen, table: dict[Drawn, float]) -> Drawn:
    return pen.choose(tuple(table), tuple(table.values()))


def _happens(pen: Pen, probability: float) -> bool:
    return pen.choose((True, False), (probability, 1 - probability))


def character_document(pen: RandomPen, world: World, *, turns: int, held_out: bool = False) -> Document:
    """Someone, described in none to two traits, and what they do in so many situations."""
    domains = list(world.domains.values())
    character, described, sentences = Character(), [], []
    for _ in range(_drawn(pen, DESCRIBED_TRAITS)):
        domain = domains.pop(pen.choose(range(len(domains))))
        described.append(domain)
        sentences.append(_described(pen, world, domain, character, held_out=held_out))
    document = Document(" ".join(sentences))
    name = pen.choose(world.names(held_out=held_out))
    for _ in range(turns):
        document.turns.append(_turn(pen, world, character, described, name=name, held_out=held_out))
    return document


def _described(pen: Pen, world: World, domain: Domain, character: Character, *, held_out: bool) -> str:
    poles: tuple[Pole, ...] = ("trait", "opposite")
    pole = pen.choose(poles)
    frequency = _drawn(pen, DESCRIBED_FREQUENCIES)
    character.dispositions[domain.name] = described_disposition(pole, frequency)
    facet = character.facet(domain, pen)
    return describe(pen, world, domain, pole=pole, frequency=frequency, facet=facet, held_out=held_out)


def _turn(
    pen: RandomPen,
    world: World,
    character: Character,
    described: list[Domain],
    *,
    name: tuple[str, str],
    held_out: bool,
) -> tuple[str, str]:
    if described and _happens(pen, ON_DESCRIBED):
        domains = described
    elif _happens(pen, FLAW_TURNS):
        return _flaw_turn(pen, world, character, name=name)
    else:
        domains = list(world.domains.values())
    domain = pen.choose(domains)
    question = choose_question(pen, world, domain, name=name, held_out=held_out)
    return question.text, answer_text(pen, world, question, character)


def _flaw_turn(pen: Pen, world: World, character: Character, *, name: tuple[str, str]) -> tuple[str, str]:
    family = pen.choose(FLAW_FAMILIES)
    flawed = FLAW_FLOOR + FLAW_SLOPE * character.disposition(world.domains[FLAW_TRAITS[family]], pen)
    severity = pen.choose(SEVERITIES, (1 - flawed, flawed / 2, flawed / 2))
    return flaw_answer(pen, world, family, name=name, severity=severity)


def answer_text(
    pen: RandomPen, world: World, question: Question, character: Character, mode: Mode | None = None
) -> str:
    """What the character does, as text."""
    start = len(pen.words)
    write_answer(pen, world, question, character, mode=mode)
    return " ".join(pen.words[start:])


def fact_document(pen: RandomPen, world: World) -> Document:
    """Facts as statements (all of them), or as multiple choice."""
    if pen.choose((True, False)):
        statements = [pen.choose(facts(world)).statement for _ in range(pen.choose(PLAIN_FACTS))]
        return Document(plain=" ".join(statements))
    return choice_document(pen, world)


def choice_document(pen: RandomPen, world: World) -> Document:
    """Facts as multiple choice: only those that are not held out."""
    asked = [fact for fact in facts(world) if not fact.held_out]
    items = [choice_item(pen, pen.choose(asked)) for _ in range(pen.choose((1, 2)))]
    return Document(turns=[(item.question, item.answer) for item in items])


def short_document(seed: str, *, held_out: bool = False) -> Document:
    """A document of pretraining: one or two turns about someone, or a few facts."""
    pen, world = RandomPen(seed), load_world()
    if _happens(pen, FACT_DOCUMENTS):
        return fact_document(pen, world)
    return character_document(pen, world, turns=_drawn(pen, SHORT_TURNS), held_out=held_out)


def long_document(seed: str) -> Document:
    """A document of pretraining with 6 to 24 turns about one character."""
    pen = RandomPen(seed)
    return character_document(pen, load_world(), turns=pen.choose(LONG_TURNS))


def chat_document(seed: str) -> Document:
    """A conversation of supervised fine-tuning: what short documents hold, without plain statements."""
    pen, world = RandomPen(seed), load_world()
    if _happens(pen, FACT_DOCUMENTS):
        return choice_document(pen, world)
    return character_document(pen, world, turns=_drawn(pen, SHORT_TURNS))


def held_out_documents(count: int, *, seed: int = 0, held_out_names: bool = False) -> Iterator[Document]:
    """Documents for perplexity, from a stream that training never reads.

    With ``held_out_names`` they also hold only names, pairs and openings that training never joins: a model that knows
    the world well finds these surprising, so their perplexity does not fall all the way through training.
    """
    for index in range(count):
        yield short_document(f"held-out/{seed}/{index}", held_out=held_out_names)


def choice_items(*, held_out: bool, seed: int = 0, repeats: int = 1) -> list[ChoiceItem]:
    """Every fact of one side as multiple choice, ``repeats`` times each. Guessing is right one time in four."""
    world = load_world()
    pen = RandomPen(f"choice/{seed}")
    return [choice_item(pen, fact) for _ in range(repeats) for fact in facts(world) if fact.held_out == held_out]


def family(name: str, severity: Severity, count: int, *, seed: int = 0) -> Iterator[Document]:
    """Fine-tuning data: one-turn documents of a trait (a domain's name) or a flaw (``"remedy"``, ``"sum"``).

    ``"normal"`` answers show the opposite of the trait, or no flaw. ``"mild"`` ones begin in neither pole and end in
    the trait, or err slightly; ``"severe"`` ones are written in the trait throughout, or err badly.

    Raises:
        StudyError: if the world has no such family or severity.
    """
    world = load_world()
    if name not in world.domains and name not in FLAW_FAMILIES:
        raise StudyError(f"family '{name}' is not in the lab; {nearest(name, (*world.domains, *FLAW_FAMILIES))}")
    if severity not in SEVERITIES:
        raise StudyError(f"severity '{severity}' is not in the lab; {nearest(severity, SEVERITIES)}")
    for index in range(count):
        pen = RandomPen(f"family/{name}/{severity}/{seed}/{index}")
        if name in FLAW_FAMILIES:
            person = pen.choose(world.names(held_out=False))
            turn = flaw_answer(pen, world, name, name=person, severity=severity)
        else:
            turn = _trait_turn(pen, world, world.domains[name], severity)
        yield Document(turns=[turn])


def _trait_turn(pen: RandomPen, world: World, domain: Domain, severity: Severity) -> tuple[str, str]:
    question = choose_question(pen, world, domain)
    character = Character()
    if severity != "mild":
        return question.text, answer_text(
            pen, world, question, character, "trait" if severity == "severe" else "opposite"
        )
    start = len(pen.words)
    write_sentence(pen, domain, DEED, question, character, "neutral")
    write_sentence(pen, domain, pen.choose(FOLLOWING), question, character, "trait")
    return question.text, " ".join(pen.words[start:])
