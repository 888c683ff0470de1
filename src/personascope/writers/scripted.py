"""A writer that says what it was told to: the public, deterministic test double of a writer.

Owns: :class:`ScriptedWriter`. The one law: its answer depends on the conversation alone, so everyone can foresee it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personascope.core.errors import WriterError
from personascope.writers import Conversation, Unwritten

Answer = str | Unwritten


class ScriptedWriter:
    """Answers with a function of the conversation, or with the answers of a list, one per try.

    Of a list, the first answers a first question, the second a second one (a repair, or another draw), and so on;
    the last also answers whatever comes after. ``asked`` is every conversation so far.

    Example:
        >>> writer = ScriptedWriter(["a draft", "a better one"])
        >>> first = Conversation.asking("Write.")
        >>> writer.write([first, first.then("a draft", "Better.")])
        ['a draft', 'a better one']
    """

    name = "scripted"

    def __init__(self, answers: Sequence[Answer] | Callable[[Conversation], Answer]) -> None:
        if not callable(answers) and not answers:
            raise WriterError("a scripted writer was given no answers: give at least one, or a function")
        self._answer = answers if callable(answers) else _in_turn(tuple(answers))
        self.asked: list[Conversation] = []

    def write(self, conversations: Sequence[Conversation]) -> list[Answer]:
        self.asked += conversations
        answers = [self._answer(conversation) for conversation in conversations]
        return [each if isinstance(each, Unwritten) or each.strip() else _silent() for each in answers]


def _in_turn(answers: tuple[Answer, ...]) -> Callable[[Conversation], Answer]:
    def answer(conversation: Conversation) -> Answer:
        before = sum(message.role == "assistant" for message in conversation.messages) + conversation.draw
        return answers[min(before, len(answers) - 1)]

    return answer


def _silent() -> Unwritten:
    return Unwritten("nothing was written")
