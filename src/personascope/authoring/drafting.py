"""Asking a writer until what it wrote can be used.

Owns: :class:`Assignment`, :func:`write_all` and the prompts it asks with. The one law: a draft that cannot be used is
sent back with everything that is wrong with it, at most twice; after that, what was written is kept and handed over.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from personascope.core.errors import DraftError, PersonascopeError, WriterError
from personascope.core.files import bundled, read_toml, value_of
from personascope.writers import Conversation, Unwritten, Writer

Value = TypeVar("Value")

TRIES = 3
_MOST_FAULTS = 12  # a longer list is not read, and the next draft says what is left


class FaultsError(ValueError):
    """What is wrong with a draft, each in a sentence the writer is sent."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Instructions:
    """The prompts of one task, as data: ``ask`` and ``repair`` (with ``$faults``) for the writer, and what is made
    without one: the ``rubric`` of the form, the ``question`` around a question, and the ``speakers`` in it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    version: int
    ask: str = ""
    repair: str = ""
    rubric: str = ""
    question: str = ""
    speakers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What was asked with, for provenance: name, version, and the start of the sha256 of every word."""
        words = json.dumps([self.ask, self.repair, self.rubric, self.question, *self.speakers])
        return f"{self.name} {self.version} sha256 {hashlib.sha256(words.encode()).hexdigest()[:16]}"


def load_instructions(name: str) -> Instructions:
    """The bundled prompts of a task."""
    path = bundled("prompts")[name]
    table = read_toml(path, error=WriterError)
    return value_of({"name": name, **table}, Instructions, source=str(path), error=WriterError)


def filled(template: str, **words: str) -> str:
    """A template with its ``$words`` filled in; braces stay as they are."""
    return string.Template(template).substitute(words)


@dataclass(frozen=True)
class Assignment(Generic[Value]):
    """One text to be written: what to ask, and what makes a value of the answer or raises :class:`FaultsError`."""

    title: str
    conversation: Conversation
    read: Callable[[str], Value]


@dataclass(frozen=True)
class Written(Generic[Value]):
    """What became of an assignment, and how many drafts it took."""

    value: Value
    tries: int


@dataclass(frozen=True)
class Unusable:
    """An assignment of which no draft could be used: what is wrong with the last one, and all of them for people."""

    title: str
    faults: tuple[str, ...]
    drafts: str


@dataclass(frozen=True)
class _Draft:
    place: int
    title: str
    attempt: int
    text: str
    faults: tuple[str, ...]


def write_all(
    writer: Writer, assignments: Sequence[Assignment[Value]], *, repair: str, tries: int = TRIES
) -> list[Written[Value]]:
    """One value per assignment, in order; all that are open are asked as one batch.

    Args:
        repair: What a writer is told of a draft that cannot be used, with ``$faults`` in it.
        tries: How many drafts there are at most.

    Raises:
        DraftError: after the last try, or when the writer fails after a first draft; it holds every draft.
        WriterError: if the writer fails before there is any.
    """
    done, drafts = _asked(writer, assignments, repair, tries)
    if len(done) == len(assignments):
        return [done[place] for place in range(len(assignments))]
    left = {place: None for place in range(len(assignments)) if place not in done}
    last = [draft for draft in drafts if draft.faults][-1]
    wrong = f"{last.faults[0]}" + (f" (and {len(last.faults) - 1} more)" if len(last.faults) > 1 else "")
    raise DraftError(f"{_count(left, assignments)} not valid after {tries} tries; the last: {wrong}", _kept(drafts))


def write_each(
    writer: Writer, assignments: Sequence[Assignment[Value]], *, repair: str, tries: int = TRIES
) -> list[Written[Value] | Unusable]:
    """As :func:`write_all`, but an assignment without a valid draft costs the others nothing: it is :class:`Unusable`.

    Raises:
        DraftError, WriterError: where the writer itself fails, as :func:`write_all`.
    """
    done, drafts = _asked(writer, assignments, repair, tries)
    of: dict[int, list[_Draft]] = {}
    for draft in drafts:
        of.setdefault(draft.place, []).append(draft)
    return [
        done[place] if place in done else Unusable(each.title, of[place][-1].faults, _kept(of[place]))
        for place, each in enumerate(assignments)
    ]


def _asked(
    writer: Writer, assignments: Sequence[Assignment[Value]], repair: str, tries: int
) -> tuple[dict[int, Written[Value]], list[_Draft]]:
    """What became valid, by its place, and every draft there was."""
    drafts: list[_Draft] = []
    done: dict[int, Written[Value]] = {}
    left = {place: assignment.conversation for place, assignment in enumerate(assignments)}
    for attempt in range(1, tries + 1):
        if not left:
            break
        try:
            answers = dict(zip(left, writer.write(list(left.values())), strict=True))
        except PersonascopeError as problem:
            if not drafts:
                raise
            raise DraftError(f"{_count(left, assignments)} not written: {problem}", _kept(drafts)) from problem
        for place, answer in answers.items():
            title, text = assignments[place].title, answer.text if isinstance(answer, Unwritten) else answer
            value, faults = _read(assignments[place], answer)
            drafts.append(_Draft(place, title, attempt, text, faults))
            if value is not None:
                done[place] = Written(value[0], attempt)
                del left[place]
            else:
                left[place] = _next(left[place], text, faults, repair)
    return done, drafts


def read_json(text: str, keys: Sequence[str]) -> dict[str, Any]:
    """The one JSON object of an answer, whatever stands around it, with these keys and no others.

    Raises:
        FaultsError: if there is none, or its keys are others.
    """
    table = _object_in(text, keys)
    faults = [f'The key "{key}" is missing.' for key in keys if key not in table]
    faults += [f'There is a key "{key}" that nobody asked for.' for key in table if key not in keys]
    if faults:
        raise FaultsError(faults)
    return table


def _object_in(text: str, keys: Sequence[str]) -> dict[str, Any]:
    """The first JSON object with one of the keys; what a writer says before it may hold braces too."""
    problems: list[str] = []
    for brace in re.finditer(r"\{", text):
        try:
            table, _ = json.JSONDecoder(strict=False).raw_decode(text, brace.start())
        except (ValueError, RecursionError) as problem:
            problems.append(str(problem))
            continue
        if isinstance(table, dict) and set(keys) & set(table):
            return table
    wanted = f"There is no JSON object with the keys {', '.join(keys)} in it"
    raise FaultsError([f"{wanted} ({problems[0]})." if problems else f"{wanted}."])


def texts_in(value: Any, what: str, count: int, faults: list[str]) -> tuple[str, ...]:
    """The texts of a list, stripped; what is wrong with it is added to the faults.

    A writer that cannot count is met halfway: of too many, the first are taken.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        faults.append(f"The {what} must be a list of texts, none of them empty.")
        return ()
    if len(value) < count:
        faults.append(f"There are {len(value)} {what}, and {count} were asked for.")
    return tuple(each.strip() for each in value[:count])


def pairs_in(value: Any, what: str, count: int, faults: list[str]) -> tuple[dict[str, str], ...]:
    """The positive and negative texts of a list of objects, stripped; what is wrong with it is added to the faults."""
    poles = {"positive", "negative"}
    shaped = isinstance(value, list) and all(isinstance(each, Mapping) and set(each) == poles for each in value)
    if not shaped or not all(isinstance(text, str) and text.strip() for each in value for text in each.values()):
        faults.append(f'The {what} must be objects with two texts each, "positive" and "negative".')
        return ()
    if len(value) != count:
        faults.append(f"There are {len(value)} {what}, and {count} were asked for.")
    return tuple({pole: each[pole].strip() for pole in ("positive", "negative")} for each in value)


def _read(assignment: Assignment[Value], answer: str | Unwritten) -> tuple[tuple[Value] | None, tuple[str, ...]]:
    if isinstance(answer, Unwritten):
        return None, (f"Nothing could be used: {answer.reason}.",)
    try:
        return (assignment.read(answer),), ()
    except FaultsError as problem:
        return None, problem.faults


def _next(asked: Conversation, text: str, faults: tuple[str, ...], repair: str) -> Conversation:
    """The same question with the draft and its faults; where nothing was written, another draw of the same question."""
    if not text.strip():
        return Conversation(asked.messages, asked.draw + 1)
    listed = [f"- {fault}" for fault in faults[:_MOST_FAULTS]]
    listed += [f"- and {len(faults) - _MOST_FAULTS} more of the kind"] if len(faults) > _MOST_FAULTS else []
    return asked.then(text, filled(repair, faults="\n".join(listed)))


def _count(left: Mapping[int, Any], assignments: Sequence[Assignment[Value]]) -> str:
    title = assignments[min(left)].title
    if len(assignments) == 1:
        return f"{title} was"
    return f"{len(left)} of {len(assignments)} texts, the first of them {title}, were"


def _kept(drafts: Sequence[_Draft]) -> str:
    """Every draft with what is wrong with it, for people to read."""
    parts = []
    for draft in drafts:
        wrong = "\n".join(f"- {fault}" for fault in draft.faults) or "- nothing: this one can be used"
        parts.append(f"=== {draft.title}, try {draft.attempt}. What is wrong with it:\n{wrong}\n\n{draft.text}\n")
    return "\n".join(parts)
