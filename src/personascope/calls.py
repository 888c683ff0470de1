"""Many calls of one endpoint at a time.

Owns: :func:`ask_all`, :class:`Reply` and :func:`made_safe`. The one law: every call ends in a reply or in the failure
that says why there is none; no call's failure loses another's reply; and all of them share one event loop.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from personascope.endpoints import Endpoint, Failure, Retry, failure_of, retry_after

Key = TypeVar("Key", bound=Hashable)
Position = tuple[tuple[str, float], ...]

FRUITLESS_IN_A_ROW = 20
_VERY_UNLIKELY = -9999.0  # what the protocol itself says for a token that is not among the likely ones
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered: the text, per position the tokens with log-probabilities (the one said comes first),
    why the endpoint withheld an answer (empty if it did not), and whether it cut the answer for length.
    """

    text: str
    distribution: tuple[Position, ...] = ()
    withheld: str = ""
    cut: bool = False


@dataclass(frozen=True)
class Asked(Generic[Key]):
    """What came of a batch. ``stopped`` is why asking ended early (empty if it did not), ``fruitful`` whether at least
    one reply was of use.
    """

    outcomes: Mapping[Key, Reply | Failure]
    stopped: str
    fruitful: bool


def made_safe(text: str) -> str:
    """Text that any JSON parser and provider takes: each lone surrogate and control character becomes U+FFFD.

    Tab, newline and carriage return stay. Garbage stays visible as garbage, because coherence is judged on it.
    """
    return _UNSAFE.sub("\ufffd", text)


def ask_all(
    endpoint: Endpoint,
    bodies: Mapping[Key, Mapping[str, Any]],
    *,
    concurrency: int,
    retry: Retry,
    useless: Callable[[Key, Reply], str] = lambda key, reply: "",
) -> Asked[Key]:
    """A chat completion for every body, ``concurrency`` at a time.

    ``useless`` says why a reply is of no use (empty if it is of use). Asking stops early at a failure that would meet
    every call, and after 20 calls in a row without a useful reply.

    Where an event loop is running already, as in a notebook, the calls get a loop in a thread of their own.
    """
    batch = _Batch(endpoint, bodies, retry, useless)
    workers = min(concurrency, len(bodies))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(batch.run(workers))
    else:
        with ThreadPoolExecutor(1, thread_name_prefix="personascope-calls") as pool:
            work = pool.submit(asyncio.run, batch.run(workers))
            try:
                work.result()
            except BaseException:
                batch.interrupt()
                raise
    never = Failure("door", batch.stopped or "it was not asked")
    return Asked({key: batch.outcomes.get(key, never) for key in bodies}, batch.stopped, batch.fruitful)


class _Batch(Generic[Key]):
    """The state that the workers of one batch share. It lives in one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        bodies: Mapping[Key, Mapping[str, Any]],
        retry: Retry,
        useless: Callable[[Key, Reply], str],
    ) -> None:
        self.outcomes: dict[Key, Reply | Failure] = {}
        self.stopped = ""
        self.fruitful = False
        self._endpoint = endpoint
        self._pending = iter(bodies.items())
        self._retry = retry
        self._useless = useless
        self._fruitless = 0
        self._quiet_until = 0.0
        self._chance = random.Random(0)
        self._end: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, workers: int) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        key = self._endpoint.key or "none"  # a local server asks for none, the client insists on one
        async with AsyncOpenAI(
            api_key=key, base_url=self._endpoint.base_url, max_retries=0, timeout=self._retry.timeout
        ) as client:
            await asyncio.gather(*(self._work(client) for _ in range(workers)))

    def interrupt(self) -> None:
        """Lets the calls under way end and starts no more; may be called from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop, "the asking was interrupted")

    async def _work(self, client: AsyncOpenAI) -> None:
        for key, body in self._pending:
            if self.stopped:
                return
            outcome = await self._outcome(client, body)
            self.outcomes[key] = outcome
            self._note(outcome.reason if isinstance(outcome, Failure) else self._useless(key, outcome))

    async def _outcome(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply | Failure:
        """One call, asked again as the retry policy says."""
        assert self._loop is not None
        failures = 0
        while True:
            await self._rest(self._quiet_until - self._loop.time())
            try:
                return await _call(client, body)
            except (OpenAIError, _NoAnswerError) as problem:
                failure, unreachable = self._failure(problem, body)
            failures += 1
            wait = self._retry.wait(failures, asked=failure.wait, chance=self._chance.random())
            if unreachable and (wait is None or (failures >= 2 and not self.fruitful)):
                failure, wait = Failure("door", f"nothing answers at {self._endpoint.base_url}"), None
            if failure.kind == "door":
                self._stop(failure.reason)
            if wait is None or failure.kind != "again" or self.stopped:
                tried = f" ({failures} tries)" if failures > 1 else ""
                return Failure(failure.kind, failure.reason + tried)
            if failure.wait is not None:
                self._quiet_until = max(self._quiet_until, self._loop.time() + wait)
            else:
                await self._rest(wait)

    def _failure(self, problem: Exception, body: Mapping[str, Any]) -> tuple[Failure, bool]:
        """What a failed call means, and whether nobody was there at all."""
        if isinstance(problem, APIStatusError):
            blame = problem.body if isinstance(problem.body, dict) else {}
            failure = failure_of(
                problem.status_code,
                str(blame.get("message") or problem.message),
                code=str(problem.code or ""),
                setting=str(problem.param or ""),
                settings=body.keys() - {"messages"},
                wait=retry_after(problem.response.headers),
            )
            return failure, False
        if isinstance(problem, APIConnectionError):
            cause = problem.__cause__ or problem
            unreachable = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
            return Failure("again", f"{type(cause).__name__}: {cause}".rstrip(": ")), unreachable
        if isinstance(problem, _NoAnswerError):
            return Failure("again", f"the body is no answer: {problem}"), False
        return Failure("door", f"{type(problem).__name__}: {problem}"), False

    def _note(self, fault: str) -> None:
        """Counts calls without use, and stops when there are too many in a row."""
        if not fault:
            self.fruitful, self._fruitless = True, 0
            return
        self._fruitless += 1
        if self._fruitless >= FRUITLESS_IN_A_ROW:
            self._stop(f"{self._fruitless} calls in a row brought nothing; the last: {fault}")

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
        self._end.set()

    async def _rest(self, seconds: float) -> None:
        """Waits, or ends at once when the asking stops."""
        if seconds > 0 and not self.stopped:
            try:
                await asyncio.wait_for(self._end.wait(), seconds)
            except TimeoutError:
                return


class _NoAnswerError(ValueError):
    """The endpoint said that all is well, and sent something that is no answer."""


async def _call(client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply:
    raw = await client.chat.completions.with_raw_response.create(**body)
    try:
        return _reply(json.loads(raw.content))
    except ValueError as problem:
        raise _NoAnswerError(str(problem)) from None


def _reply(said: Any) -> Reply:
    """The first choice of a chat completion.

    Raises:
        ValueError: if there is none.
    """
    try:
        choice = said["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"it has no choice with a message ({str(said)[:80]})") from None
    if not isinstance(text, str | None):
        raise ValueError(f"its content is no text ({str(text)[:80]})")
    withheld = str(refusal) if refusal else ("filtered" if finish == "content_filter" else "")
    return Reply(made_safe(text or ""), _distribution(choice), made_safe(withheld), finish == "length")


def _distribution(choice: Mapping[str, Any]) -> tuple[Position, ...]:
    """Per position the token said, then the other likely ones."""
    content = choice.get("logprobs")
    content = content.get("content") if isinstance(content, dict) else None
    positions = []
    for place in content if isinstance(content, list) else ():
        if not isinstance(place, dict):
            continue
        top = place.get("top_logprobs")
        entries: dict[str, float] = {}
        for entry in (place, *(top if isinstance(top, list) else ())):
            token, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
            if not isinstance(token, str):
                continue
            if not isinstance(logprob, int | float) or not math.isfinite(logprob):
                logprob = _VERY_UNLIKELY
            entries.setdefault(made_safe(token), float(logprob))
        positions.append(tuple(entries.items()))
    return tuple(positions)
