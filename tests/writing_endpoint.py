"""An endpoint on the loopback that writes: the fake endpoint with a function of the whole conversation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from fake_endpoint import FakeEndpoint, Fault

Turn = dict[str, str]


def text_of(messages: Sequence[Turn]) -> str:
    """What the endpoint writes if nobody says otherwise: a text of its own for every conversation."""
    return f"text {hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:12]}"


class WritingEndpoint(FakeEndpoint):
    """Use it as a context manager. ``write`` gets every turn; ``choice`` is put over the choice that is sent."""

    def __init__(
        self,
        write: Callable[[Sequence[Turn]], str] = text_of,
        *,
        choice: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.write = write
        self.choice = choice or {}

    def answer(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        self.manners.allowed(body)  # a server that knows no name for the most tokens of an answer fails here
        message = {"role": "assistant", "content": self.write(body["messages"]), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None, **self.choice}
        return {
            "id": "0",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": self._usage(body["messages"][0]["content"], 9),
        }


def in_turn(*answers: str) -> Callable[[Sequence[Turn]], str]:
    """The first answer to a first question, the second to a repair, and so on; the last to whatever comes after."""
    return lambda messages: answers[min(sum(each["role"] == "assistant" for each in messages), len(answers) - 1)]
