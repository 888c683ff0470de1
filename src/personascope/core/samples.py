"""Samples of training data: conversations that a model is, or is to be, trained on.

Owns: :class:`Message`, :class:`Sample` and :func:`following`. The one law: a sample keeps the row it was
read from, so that whatever is found out about it can be written beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from personascope.core.traits import Prompt

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
    def exchanges(self) -> tuple[tuple[Prompt, str], ...]:
        """What is asked before each assistant turn, with all that was said before it, and that turn.

        The opening system turns are the prompt's instruction. Other turns before an answer are joined by blank lines.
        """
        instruction, rest = "", list(self.messages)
        while rest and rest[0].role == "system":
            instruction = "\n\n".join(filter(None, (instruction, rest.pop(0).content)))
        found: list[tuple[Prompt, str]] = []
        earlier: tuple[tuple[str, str], ...] = ()
        asked: list[str] = []
        for message in rest:
            if message.role != "assistant":
                asked.append(message.content)
                continue
            question = "\n\n".join(asked)
            found.append((Prompt(question, instruction or None, earlier), message.content))
            earlier, asked = (*earlier, (question, message.content)), []
        return tuple(found)

    @property
    def exchange(self) -> tuple[Prompt, str]:
        """The first exchange: what is asked before the first assistant turn, and that turn."""
        return self.exchanges[0]


def following(asked: str, prompt: Prompt, answer: str) -> str:
    """An answer as it follows its rendered prompt: after a bare question, which no template closes, comes a space."""
    bare = prompt.question != "" and asked.endswith(prompt.question)
    apart = asked[-1:].isspace() or answer[:1].isspace()
    return f" {answer}" if bare and answer and not apart else answer
