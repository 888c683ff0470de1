"""Writers: what writes.

Owns: the :class:`Writer` protocol and its :class:`Conversation`. The one law: a batch of conversations in, as many
answers out, in the same order, and a conversation nobody answered is an :class:`Unwritten` that says why, never an
empty text. ``tests/contract/writer_laws.py`` holds every writer to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from personascope.core.errors import WriterError

Role = Literal["system", "user", "assistant"]

_THOUGHTS = re.compile(r"\A\s*<(think|thinking|thought)>.*?</\1>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """What a writer is asked: the turns so far, the last of which is the user's.

    ``draw`` tells askings of the same turns apart: another draw is another text. A system turn may come first; then
    user and assistant take turns.
    """

    messages: tuple[Message, ...]
    draw: int = 0

    def __post_init__(self) -> None:
        roles = [message.role for message in self.messages]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        if (
            not turns
            or turns != [("user", "assistant")[place % 2] for place in range(len(turns))]
            or len(turns) % 2 == 0
        ):
            raise WriterError(
                f"a conversation of the turns {roles} cannot be answered: user and assistant take turns, a system turn "
                "may come first, and the user's comes last"
            )
        if not self.messages[-1].text.strip():
            raise WriterError("a conversation ends with an empty question: say what is to be written")

    @classmethod
    def asking(cls, text: str, *, system: str | None = None, draw: int = 0) -> Conversation:
        """A conversation of one question."""
        opening = (Message("system", system),) if system is not None else ()
        return cls((*opening, Message("user", text)), draw)

    def then(self, answer: str, question: str) -> Conversation:
        """The same conversation after one more answer and one more question."""
        return replace(self, messages=(*self.messages, Message("assistant", answer), Message("user", question)))


@dataclass(frozen=True)
class Unwritten:
    """Why a conversation has no answer, and what was written of it all the same (a text that was cut, a refusal)."""

    reason: str
    text: str = ""


@runtime_checkable
class Writer(Protocol):
    """Writes texts. ``name`` is the model and every setting that changes what is written: it goes into provenance."""

    @property
    def name(self) -> str: ...

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        """One text per conversation, in order, or why there is none.

        Raises:
            WriterError: if nothing at all could be had for a reason that would meet every conversation.
        """
        ...


def without_thoughts(text: str) -> str:
    """What a model answered, without what it thought aloud before and without white space around it.

    Example:
        >>> without_thoughts("<think>Hm.</think> A text.")
        'A text.'
    """
    return _THOUGHTS.sub("", text).strip()
