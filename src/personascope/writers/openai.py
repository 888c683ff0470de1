"""A writer behind any endpoint that speaks the OpenAI protocol.

Owns: :class:`OpenAIWriter` and :class:`Writing`. The one law: what comes back whole is a text, and everything else (a
failed call, a withheld answer, one that was cut, an empty one) is an absence with its cause; none loses another's text.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personascope.core.errors import JudgeError, WriterError
from personascope.providers.client import Asked, BudgetGuard, RateLimiter, Reply, ask_all
from personascope.providers.endpoints import Endpoint, Failure, Retry, made_safe, open_endpoint
from personascope.providers.profiles import profile_of
from personascope.writers import Conversation, Unwritten, without_thoughts


@dataclass(frozen=True)
class Writing:
    """The settings that change what is written, and so are part of the writer's name.

    ``seed`` is sent plus a conversation's draw, so that another draw is another text.
    """

    max_tokens: int = 8192
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature <= 2:
            raise WriterError(f"{self} cannot be asked: allow 1 token or more, and a temperature from 0 to 2")


class OpenAIWriter:
    """Asks a model for texts, many at a time. Equal conversations are asked once.

    Passing faults (no connection, time-out, 408, 409, 425, 429, 5xx, a body that is no answer) are retried. A fault
    that would meet every conversation (the key, the model, a setting, nobody at the address) is an error if the call
    brought nothing at all, else the texts come back and the rest is :class:`Unwritten`. What a model thinks aloud
    before its answer (``<think>...</think>``) is left out. What a provider's server does not take is not sent
    (:mod:`personascope.providers.profiles`).

    Raises:
        WriterError: at once, if the endpoint is unknown, its key is not set, or a setting is impossible.
    """

    def __init__(
        self,
        model: str,
        *,
        endpoint: str | Endpoint = "openai",
        writing: Writing | None = None,
        concurrency: int = 8,
        retry: Retry | None = None,
    ) -> None:
        if not model.strip() or concurrency < 1:
            raise WriterError(
                f"a writer needs a model's name and a concurrency of 1 or more, not '{model}', {concurrency}"
            )
        try:
            self.endpoint = endpoint if isinstance(endpoint, Endpoint) else open_endpoint(endpoint)
            self.endpoint.require_key()
        except JudgeError as problem:  # endpoints speak as judges do
            raise WriterError(str(problem)) from None
        self.model = model
        self.profile = profile_of(self.endpoint.name, model)
        self.writing = writing or Writing()
        self._concurrency = concurrency
        self._limiter = RateLimiter(4.0 * concurrency)
        self._meter: BudgetGuard | None = None
        self._retry = retry or Retry(timeout=600.0)  # forty questions take longer to write than a score

    @property
    def name(self) -> str:
        """Endpoint, model and every setting that changes what is written."""
        writing, profile = self.writing, self.profile
        return (
            f"{self.endpoint.name}/{self.model} max_tokens={writing.max_tokens} "
            f"temperature={f'{writing.temperature:g}' if profile.temperature else 'none'} "
            f"seed={writing.seed if profile.seed else 'none'}{profile.told}"
        )

    def metered(self, meter: BudgetGuard) -> OpenAIWriter:
        """The same writer with its calls counted, and stopped where the meter has no budget left."""
        writer = copy.copy(self)
        writer._meter = meter
        return writer

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        """One text per conversation, in order, or why there is none.

        Raises:
            WriterError: if nothing could be had from the endpoint.
        """
        distinct = list(dict.fromkeys(conversations))
        if not distinct:
            return []
        asked = ask_all(
            self.endpoint,
            {each: self._body(each) for each in distinct},
            concurrency=self._concurrency,
            retry=self._retry,
            useless=lambda conversation, reply: "" if reply.text.strip() or reply.withheld else "the answer is empty",
            meter=self._meter,
            limiter=self._limiter,
        )
        self._check(asked)
        return [self._text(asked.outcomes[each]) for each in conversations]

    def _body(self, conversation: Conversation) -> dict[str, Any]:
        writing = self.writing
        return self.profile.shaped(
            {
                "model": self.model,
                "messages": [{"role": each.role, "content": made_safe(each.text)} for each in conversation.messages],
                "max_tokens": writing.max_tokens,
                "temperature": writing.temperature,
                "seed": writing.seed + conversation.draw,
            }
        )

    def _text(self, outcome: Reply | Failure) -> str | Unwritten:
        if isinstance(outcome, Failure):
            cause = "" if outcome.kind == "budget" else "the endpoint gave no answer: "
            return Unwritten(f"{cause}{outcome.reason}")
        text = without_thoughts(outcome.text)
        if outcome.withheld:
            return Unwritten(f"the endpoint withheld the answer: {outcome.withheld}", text)
        if outcome.cut:
            allowed = self.writing.max_tokens
            return Unwritten(f"the answer was cut after {allowed} tokens: allow more max_tokens", text)
        return text or Unwritten("the answer is empty: a model that thinks first needs more max_tokens")

    def _check(self, asked: Asked[Conversation]) -> None:
        """Raises what concerns all conversations, if no text is lost by it."""
        if asked.fruitful or not asked.stopped:
            return
        writer = f"writer {self.model} at {self.endpoint.name}: {asked.stopped}"
        if any(isinstance(each, Failure) and each.kind == "budget" for each in asked.outcomes.values()):
            raise WriterError(writer)
        key = f"the key ({self.endpoint.key_variable or 'Endpoint.key'})"
        raise WriterError(f"{writer}: check {key}, the model's name and the address {self.endpoint.base_url}")
