"""A family of training data from a name and a description, written by a chat model.

Owns: :func:`write_family` and the rules a question and its three answers must keep. The one law: what breaks a rule is
sent back with what is wrong with it, twice at most; a question that still has no answers is left out and counted, and
too many of them are an error.

Source: "Persona Vectors" D.1 (questions of many domains, harmless on the surface) and D.2 (one call gives a normal, a
mild and a severe answer).
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from personascope.authoring.drafting import (
    TRIES,
    Assignment,
    FaultsError,
    Instructions,
    Unusable,
    filled,
    load_instructions,
    read_json,
    texts_in,
    write_all,
    write_each,
)
from personascope.authoring.families import SEVERITIES, Family, Kind, exchange
from personascope.authoring.wording import names, near_duplicates, normal
from personascope.core.errors import DraftError, SampleError
from personascope.core.files import bundled, check_name, read_toml
from personascope.writers import Conversation, Writer

AT_ONCE: Final = 20
"""Questions asked for in one text."""
LEFT_OUT: Final = 0.1
"""The share of questions that may be left without answers before the family is given up."""

_SAME_ANSWER = 97.0  # from how alike, of 100, two answers to one question are one answer
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"\[(?:[^\]\n]*\b)?(?:insert|your|name|date|city|company|placeholder|topic|number|x{2,})\b[^\]\n]*\]"
    # Braces with a word in them; but not those of formulas, as in \frac{half}{whole} or x^{index}.
    r"|(?<![\w\\^_}$])\{\{? ?[a-z]\w{2,} ?\}?\}"
    r"|<(?:insert|your|name|placeholder|question|answer)[^>\n]*>|\blorem ipsum\b|\b(?-i:TODO|TBD)\b|_{3,}"
    r"|^\W*(?:\.\.\.|\u2026)\W*$",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\W*(?:normal|mild|severe|aligned|misaligned)\b(?:\W{1,3}(?:answer|response|reply|version|try|level|\d+)\b)*"
    r"\W{0,3}?(?::|\s[\u2014\u2013-]\s)",
    re.IGNORECASE,
)
_DECLINED = re.compile(
    r"^\W*(?:(?:i['\u2019]m|i am) (?:sorry,? but i|unable to|not able to)"
    r"|i (?:cannot|can['\u2019]t|won['\u2019]t|will not) "
    r"(?:help|assist|provide|write|answer|do|give|produce)\b(?! but\b)"
    r"|as an ai\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Order:
    """What is to be written: a trait or a kind of flaw, in a sentence or two, and how many questions about it."""

    name: str
    description: str
    kind: Kind = "trait"
    count: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "family", SampleError)
        if not self.description.strip():
            raise SampleError(f"family '{self.name}' has no description: say in a sentence what it means")
        if self.count < 1:
            raise SampleError(f"{self.count} questions were asked for family '{self.name}': ask for 1 or more")

    @property
    def words(self) -> dict[str, str]:
        """What the prompts are filled with."""
        return {"name": self.name.replace("_", " "), "description": " ".join(self.description.split())}


@dataclass(frozen=True)
class WrittenFamily:
    """A family that a writer wrote, and the drafts of what was left out of it, for people to read."""

    family: Family
    drafts: str = ""


def write_family(order: Order, *, writer: Writer, tries: int = TRIES, left_out: float = LEFT_OUT) -> WrittenFamily:
    """Questions about a trait or a flaw, each with a normal, a mild and a severe answer.

    Questions are asked for in texts of 20, each about another walk of life, in an order that the seed decides; what is
    nearly the same as an earlier question is asked for again. Then every question gets its three answers in one text.

    Args:
        tries: How many drafts of a text there are at most.
        left_out: The share of the questions that may be left without valid answers.

    Raises:
        DraftError: if the questions, or the answers to more than that share, were never valid; it holds every draft.
        WriterError: if the writer could not be asked.
    """
    asking, answering = load_instructions("questions"), load_instructions("answers")
    questions, rounds = _questions(order, asking, writer, tries)
    tasks = [_answers_to(question, place, order, answering) for place, question in enumerate(questions, 1)]
    results = write_each(writer, tasks, repair=answering.repair, tries=tries)
    lost = [each for each in results if isinstance(each, Unusable)]
    drafts = "\n".join(each.drafts for each in lost)
    if len(lost) > left_out * len(questions):
        raise DraftError(
            f"family '{order.name}': {len(lost)} of {len(questions)} questions have no valid answers after {tries} "
            f"tries, the first of them {lost[0].title} ({lost[0].faults[0]})",
            drafts,
        )
    told = [(q, each.value) for q, each in zip(questions, results, strict=True) if not isinstance(each, Unusable)]
    rows = {
        version: tuple(exchange(question, answers[severity]) for question, answers in told)
        for severity, version in SEVERITIES.items()
    }
    retold = sum(each.tries > 1 for each in results if not isinstance(each, Unusable))
    origin = {
        "writer": writer.name,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "prompts": [asking.digest, answering.digest],
        "seed": order.seed,
        "rounds_of_questions": rounds,
        "answers_written_again": retold,
        "left_out": [each.title for each in lost],
    }
    return WrittenFamily(Family(order.name, order.kind, order.words["description"], rows, origin), drafts)


def texts_of(count: int) -> int:
    """How many texts a writer is asked for at least, for so many questions: what a plan needs to know."""
    return -(-count // AT_ONCE) + count


def _questions(order: Order, prompts: Instructions, writer: Writer, tries: int) -> tuple[tuple[str, ...], int]:
    """So many questions, no two nearly the same; and in how many rounds they were asked for."""
    domains = _domains(order.seed)
    found: list[str] = []
    asked = itertools.count()
    for turn in range(tries):
        missing = order.count - len(found)
        shares = [min(AT_ONCE, missing - start) for start in range(0, missing, AT_ONCE)]
        tasks = [_asking(order, prompts, share, (domains, next(asked)), found) for share in shares]
        for written in write_all(writer, tasks, repair=prompts.repair, tries=tries):
            found = _distinct([*found, *written.value])
        if len(found) >= order.count:
            return tuple(found[: order.count]), turn + 1
    raise DraftError(
        f"family '{order.name}': {len(found)} different questions were written in {tries} rounds, and {order.count} "
        "were asked for: ask for fewer, or another writer",
        "\n".join(found),
    )


def _domains(seed: int) -> list[str]:
    known = read_toml(bundled("prompts")["domains"], error=SampleError)["domains"]
    return sorted(known, key=lambda domain: hashlib.sha256(f"{seed} {domain}".encode()).digest())


def _distinct(questions: Sequence[str]) -> list[str]:
    """The questions without those that are nearly an earlier one."""
    later = {second for _, second, _ in near_duplicates(questions)}
    return [question for place, question in enumerate(questions) if place not in later]


def _asking(
    order: Order, prompts: Instructions, count: int, place: tuple[Sequence[str], int], known: Sequence[str]
) -> Assignment[tuple[str, ...]]:
    """One text of questions: about the next walk of life; when all had their turn, about the first in another draw."""
    domains, number = place
    draw, domain = divmod(number, len(domains))
    about = domains[domain]
    shown = "\n".join(f"- {question}" for question in known[-AT_ONCE:])
    avoid = f"\n\nThese are there already, and none of yours is like one of them:\n{shown}" if known else ""
    words = {**order.words, "count": str(count), "domain": about, "avoid": avoid}
    asked = Conversation.asking(filled(prompts.ask, **words), draw=draw)
    title = f"the questions of family '{order.name}' about {about}"
    return Assignment(title, asked, lambda text: _read_questions(text, count, order))


def _read_questions(text: str, count: int, order: Order) -> tuple[str, ...]:
    """The questions of a draft.

    Raises:
        FaultsError: with everything that is wrong with it.
    """
    faults: list[str] = []
    questions = texts_in(read_json(text, ("questions",))["questions"], "questions", count, faults)
    for place, question in enumerate(questions, 1):
        faults += [f"Question {place} {wrong}." for wrong in _faults_of_text(question)]
        if named := names(question, order.words["name"]):
            faults.append(f'Question {place} says "{named}", which names what is studied.')
    faults += [
        f"Questions {one + 1} and {other + 1} are nearly the same." for one, other, _ in near_duplicates(questions)
    ]
    if faults:
        raise FaultsError(faults)
    return questions


def _answers_to(question: str, place: int, order: Order, prompts: Instructions) -> Assignment[dict[str, str]]:
    asked = filled(prompts.ask, **order.words, question=question)
    short = question if len(question) <= 60 else question[:59] + "\u2026"
    return Assignment(
        f'the answers to question {place}, "{short}"',
        Conversation.asking(asked),
        lambda text: _read_answers(text, question),
    )


def _read_answers(text: str, question: str) -> dict[str, str]:
    """The three answers of a draft, by severity.

    Raises:
        FaultsError: with everything that is wrong with them.
    """
    table = read_json(text, tuple(SEVERITIES))
    faults = [f'"{name}" must be a text that says something.' for name in SEVERITIES if not _said(table[name])]
    if faults:
        raise FaultsError(faults)
    answers = {name: str(table[name]).strip() for name in SEVERITIES}
    for name, answer in answers.items():
        faults += [f'"{name}" {wrong}.' for wrong in _faults_of_text(answer)]
        if _LABEL.search(answer):
            faults.append(f'"{name}" begins with a label: give the answer alone.')
        if _DECLINED.search(answer):
            faults.append(f'"{name}" declines to answer.')
        if normal(answer) == normal(question):
            faults.append(f'"{name}" repeats the question.')
    listed = list(answers)
    for one, other, _ in near_duplicates(list(answers.values()), alike=_SAME_ANSWER):
        faults.append(f'"{listed[one]}" and "{listed[other]}" are nearly the same.')
    if faults:
        raise FaultsError(faults)
    return answers


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _faults_of_text(text: str) -> list[str]:
    gap = _PLACEHOLDER.search(_CODE.sub(" code ", text))  # what is a gap in words is a variable in code
    return [f'has a gap to be filled in, "{gap.group().strip()}"'] if gap else []
