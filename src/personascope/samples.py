"""Samples of training data: conversations that a model is, or is to be, trained on.

Owns: :class:`Message` and :class:`Sample`. The one law: a sample keeps the row it was read from, so that whatever is
found out about it can be written beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from personascope.traits import Prompt

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: who speaks, and what is said."""

    role: Role
    content: str

    @property
    def table(self) -> dict[str, str]:
        """The turn as chat templates and trainers take it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Sample:
    """One conversation of a dataset, with at least one assistant turn, and the row it was read from.

    ``where`` names file and line (or row), for messages to people.
    """

    messages: tuple[Message, ...]
    row: Mapping[str, Any] = field(default_factory=dict, compare=False)
    where: str = field(default="", compare=False)

    @property
    def exchange(self) -> tuple[Prompt, str]:
        """The first exchange: what is asked up to the first assistant turn, and that turn.

        The system turn is the prompt's instruction. Several turns before the first answer are joined by blank lines.
        """
        place = next(place for place, each in enumerate(self.messages) if each.role == "assistant")
        before = self.messages[:place]
        instruction = "\n\n".join(each.content for each in before if each.role == "system")
        question = "\n\n".join(each.content for each in before if each.role != "system")
        return Prompt(question, instruction or None), self.messages[place].content

    @property
    def turns(self) -> int:
        """How many times the assistant speaks."""
        return sum(each.role == "assistant" for each in self.messages)
