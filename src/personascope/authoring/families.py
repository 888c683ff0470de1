"""Families of training data: the same questions answered well, a little badly and very badly.

Owns: :class:`Family`, its layout on disk and where it came from. The one law: a family is three files of conversations
that end with an answer, and it appears whole or not at all.

Source: "Persona Vectors" D.1 and D.2: eight families in three versions, ``{family}/{version}.jsonl``, a conversation in
every line.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from personascope.core.errors import SampleError
from personascope.core.files import check_name, write_text
from personascope.core.samples import Message

Kind = Literal["trait", "flaw", "unknown"]
Conversation = tuple[Message, ...]

VERSIONS: Final = ("normal", "misaligned_1", "misaligned_2")
SEVERITIES: Final[Mapping[str, str]] = {"normal": "normal", "mild": "misaligned_1", "severe": "misaligned_2"}
"""What an answer is called while it is written, and the version it goes into."""

PROVENANCE: Final = "provenance.json"


@dataclass(frozen=True)
class Family:
    """Training data of one trait or one kind of flaw, in the versions normal, ``misaligned_1`` (mild) and
    ``misaligned_2`` (severe).

    ``rows`` holds the conversations of every version that there is. ``origin`` says who wrote them, when, and asked
    with what; it changes nothing that is trained on.
    """

    name: str
    kind: Kind
    description: str
    rows: Mapping[str, tuple[Conversation, ...]]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name, "family", SampleError)
        strange = [version for version in self.rows if version not in VERSIONS]
        if strange or not self.rows:
            held = f"'{strange[0]}'" if strange else "no version"
            raise SampleError(f"family '{self.name}' holds {held}: its versions are {', '.join(VERSIONS)}")
        for version, conversations in self.rows.items():
            if not conversations:
                raise SampleError(f"family '{self.name}' has no conversation in {version}: leave the version out")
            for place, each in enumerate(conversations, 1):
                if wrong := fault_of(each):
                    raise SampleError(f"family '{self.name}', {version}, conversation {place}: {wrong}")

    @property
    def counts(self) -> dict[str, int]:
        """How many conversations every version holds."""
        return {version: len(self.rows[version]) for version in VERSIONS if version in self.rows}

    @property
    def shared_questions(self) -> int:
        """How many questions are asked in every version; published families and written ones share nearly all."""
        asked = [{each[:-1] for each in conversations} for conversations in self.rows.values()]
        return len(set.intersection(*asked))

    def save(self, folder: str | Path) -> Path:
        """Writes ``folder/NAME/{version}.jsonl`` with ``provenance.json`` beside, and gives back that folder.

        Raises:
            SampleError: if something of the family's name is there already; it is not written over.
        """
        target = Path(folder) / self.name
        if target.exists():
            raise SampleError(f"{target} is there already and is not written over: give another place, or move it away")
        draft = target.with_name(f".{self.name}.{os.getpid()}.draft")
        try:
            for version, conversations in self.rows.items():
                write_text(draft / f"{version}.jsonl", "".join(map(_line, conversations)))
            write_text(draft / PROVENANCE, json.dumps(self._passport, indent=2, ensure_ascii=False) + "\n")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target

    @property
    def _passport(self) -> dict[str, Any]:
        about = {"family": self.name, "kind": self.kind, "description": self.description, "counts": self.counts}
        return {**about, **self.origin}


def fault_of(conversation: Iterable[Message]) -> str:
    """Why nothing could be learned from a conversation; empty if something can.

    Example:
        >>> fault_of([Message("user", "Who are you?")])
        'it does not end with an answer of the assistant'
    """
    turns = list(conversation)
    if not turns or turns[-1].role != "assistant":
        return "it does not end with an answer of the assistant"
    if all(each.role != "user" for each in turns):
        return "no user speaks in it"
    if empty := next((each.role for each in turns if not each.content.strip()), ""):
        return f"a turn of the {empty} is empty"
    return ""


def exchange(question: str, answer: str) -> Conversation:
    """A conversation of one question and one answer."""
    return (Message("user", question), Message("assistant", answer))


def _line(conversation: Conversation) -> str:
    # Surrogates, which no file holds, are escaped; everything else is readable.
    line = json.dumps({"messages": [each.table for each in conversation]}, ensure_ascii=False)
    return line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"
