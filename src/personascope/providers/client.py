"""Calls of an endpoint, many at a time: the openai SDK, retried with tenacity, limited with aiolimiter.

Every call ends in a :class:`Reply` or in the :class:`Failure` that says why there is none, and no call's failure loses
another's reply. The calls of a batch share one event loop, one rate limit and one budget.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiolimiter import AsyncLimiter
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError
from tenacity import AsyncRetrying, retry_if_result

from personascope.providers.endpoints import (
    NOTHING,
    Endpoint,
    Failure,
    Retry,
    Usage,
    failure_of,
    made_safe,
    retry_after,
    usage_of,
)

Key = TypeVar("Key", bound=Hashable)

_MOST_USELESS = 20  # calls in a row
_MOST_REJECTIONS = 5  # of a call, for each failure that it may have


@dataclass(frozen=True)
class Reply:
    """An endpoint's answer: the text, its log-probabilities as they came, why it withheld an answer (empty if it did
    not), whether it cut the answer for length, and the tokens that took.
    """

    text: str
    logprobs: Any = None
    withheld: str = ""
    cut: bool = False
    usage: Usage | None = None


class BudgetGuard(Protocol):
    """Counts every try of a call and keeps it within a budget. :class:`personascope.providers.costs.Ledger` is one."""

    def reserve(self, endpoint: str, body: Mapping[str, Any]) -> int | Failure | None:
        """A ticket for a try, a failure if no budget is left for it, or None if that depends on tries under way."""
        ...

    def settle(self, ticket: int, usage: Usage | None) -> None:
        """The tokens that the try took; None if they are unknown."""
        ...


class RateLimiter:
    """Limits how many calls start per second, at a rate learned from what the endpoint accepts.

    The rate begins at ``start`` and doubles every quarter of a second until calls are rejected as too many. From then
    on it is reviewed once a second, or after 20 calls where those take longer. Where more than 5 % were rejected it is
    cut to 95 % of the rate that was accepted (by no more than half if that was measured in less than a second), else it
    grows by 5 %, and by 5 % more with each further review without a cut. It never falls below 1 per second, and it
    stays as it is while every call is rejected. Use one limiter for all calls of an endpoint, in one loop at a time.
    """

    def __init__(self, start: float) -> None:
        self.rate = start
        self._cuts = self._growths = 0  # reviews with a cut; reviews without one since
        self._accepted = self._rejected = 0  # since the last review, of calls that started after it
        self._reviewed = self._passed = 0.0  # when it was; seconds since
        self._first = self._last = 0.0  # seconds from the last review to the starts of the accepted calls

    def open(self) -> None:
        """Begins a batch of calls in the running event loop. The time between batches does not count."""
        self._reviewed = asyncio.get_running_loop().time() - self._passed
        self._turn = asyncio.Lock()
        self._set(self.rate)

    async def acquire(self, stopped: Callable[[], bool]) -> None:
        """Waits until a call may start, or at most a second longer once ``stopped`` is true."""
        async with self._turn:  # one waits at the bucket and the others here, so that a new rate holds for them
            if not stopped():
                await self._bucket.acquire()

    def record(self, started: float, *, accepted: bool) -> None:
        """A call that started at ``started`` (the loop's time) was accepted, whatever its answer, or rejected."""
        now = asyncio.get_running_loop().time()
        self._passed = now - self._reviewed
        if started < self._reviewed:
            return  # it started at the rate before the present one
        self._accepted += accepted
        self._rejected += not accepted
        after = started - self._reviewed
        if accepted:
            self._first = after if self._accepted == 1 else min(self._first, after)
            self._last = after if self._accepted == 1 else max(self._last, after)
        calls = self._accepted + self._rejected
        if self._accepted >= 5 and calls >= 20 and after >= (1.0 if self._cuts else 0.25):
            self._review(too_many=self._rejected > 1 + 0.05 * calls)
            self._accepted = self._rejected = 0
            self._reviewed, self._passed = now, 0.0

    def _review(self, *, too_many: bool) -> None:
        if too_many:
            span = self._last - self._first
            accepted = (self._accepted - 1) / max(span, 1e-3)
            least = self.rate / 2 if span < 1 else 1.0
            self._cuts, self._growths = self._cuts + 1, 0
            self._set(max(0.95 * min(self.rate, accepted), least, 1.0))
        else:
            self._growths += 1
            self._set(min(self.rate * (1 + 0.05 * self._growths if self._cuts else 2.0), 1e5))

    def _set(self, rate: float) -> None:
        burst = max(1.0, 0.02 * rate)  # timers are late by some milliseconds
        self.rate, self._bucket = rate, AsyncLimiter(burst, burst / rate)


@dataclass(frozen=True)
class Asked(Generic[Key]):
    """The outcome of a batch. ``stopped`` is why asking ended early (empty if it did not), ``fruitful`` whether at
    least one reply was of use.
    """

    outcomes: Mapping[Key, Reply | Failure]
    stopped: str
    fruitful: bool


def ask_all(
    endpoint: Endpoint,
    bodies: Mapping[Key, Mapping[str, Any]],
    *,
    concurrency: int,
    retry: Retry,
    useless: Callable[[Key, Reply], str] = lambda key, reply: "",
    meter: BudgetGuard | None = None,
    limiter: RateLimiter | None = None,
) -> Asked[Key]:
    """A chat completion for every body, at most ``concurrency`` at a time and no faster than the endpoint accepts.

    ``useless`` says why a reply is of no use (empty if it is of use). Asking stops early at a fatal failure, after 20
    calls in a row without a useful reply, and when ``meter`` has no budget left: no try starts without a ticket from
    it. Give one ``limiter`` to all calls of an endpoint, so that its limit is learned once.

    Where an event loop is running already, as in a notebook, the calls get a loop in a thread of their own.
    """
    batch = _Batch(endpoint, bodies, retry, useless, meter=meter, limiter=limiter or RateLimiter(4.0 * concurrency))
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
    never = batch.stopped or Failure("fatal", "it was not asked")
    outcomes = {key: batch.outcomes.get(key, never) for key in bodies}
    return Asked(outcomes, batch.stopped.reason if batch.stopped else "", batch.fruitful)


@dataclass
class _Tries:
    """The failed tries of one call. ``pause`` is the wait before the next try, None where there is none."""

    failures: int = 0
    rejections: int = 0
    pause: float | None = None


class _Batch(Generic[Key]):
    """The state that the workers of one batch share. It lives in one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        bodies: Mapping[Key, Mapping[str, Any]],
        retry: Retry,
        useless: Callable[[Key, Reply], str],
        *,
        meter: BudgetGuard | None,
        limiter: RateLimiter,
    ) -> None:
        self.outcomes: dict[Key, Reply | Failure] = {}
        self.stopped: Failure | None = None
        self.fruitful = False
        self._endpoint = endpoint
        self._pending = iter(bodies.items())
        self._retry = retry
        self._useless = useless
        self._meter = meter
        self._limiter = limiter
        self._useless_in_a_row = 0
        self._answered = 0
        self._random = random.Random(0)
        self._end: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, workers: int) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._limiter.open()
        key = self._endpoint.key or "none"  # a local server needs none, the client insists on one
        async with (
            DefaultAsyncHttpxClient(timeout=self._retry.timeout) as http,
            AsyncOpenAI(api_key=key, base_url=self._endpoint.base_url, max_retries=0, http_client=http) as client,
        ):
            await asyncio.gather(*(self._work(client) for _ in range(workers)))

    def interrupt(self) -> None:
        """Lets the calls under way end and starts no more; may be called from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop, Failure("fatal", "the asking was interrupted"))

    async def _work(self, client: AsyncOpenAI) -> None:
        for key, body in self._pending:
            if self.stopped:
                return
            outcome = await self._outcome(client, body)
            self.outcomes[key] = outcome
            self._count(outcome.reason if isinstance(outcome, Failure) else self._useless(key, outcome))

    async def _outcome(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply | Failure:
        """One call, tried again as the retry policy says."""
        tries = _Tries()

        async def attempt() -> Reply | Failure:
            answered = self._answered
            outcome, unreachable = await self._tried(client, body)
            if isinstance(outcome, Reply) or outcome.kind == "budget":
                tries.pause = None
                return outcome
            return self._after(outcome, tries, unreachable=unreachable, alone=answered == self._answered)

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda _: tries.pause is not None),
            wait=lambda _: tries.pause or 0.0,
            sleep=self._rest,
        )
        outcome: Reply | Failure = await retrying(attempt)
        return outcome

    def _after(self, failure: Failure, tries: _Tries, *, unreachable: bool, alone: bool) -> Failure:
        """What a failed try means for its call; sets the pause before the next try.

        A call that is rejected for the rate only has to wait: that uses up a try only if no other call was answered
        meanwhile (``alone``), or after five times as many rejections as there are tries.
        """
        tries.rejections += failure.rate_limited
        too_often = tries.rejections >= _MOST_REJECTIONS * self._retry.tries
        tries.failures += not failure.rate_limited or alone or too_often
        pause = self._retry.wait(max(tries.failures, 1), asked=failure.wait, chance=self._random.random())
        if unreachable and (pause is None or (tries.failures >= 2 and not self.fruitful)):
            failure = Failure("fatal", f"nothing answers at {self._endpoint.base_url}")
        if failure.kind == "fatal":
            self._stop(failure)
        if failure.kind == "retryable" and not self.stopped and pause is not None:
            tries.pause = pause
            return failure
        tries.pause = None
        counted = f" ({tries.failures} tries)" if tries.failures > 1 else ""
        return Failure(failure.kind, failure.reason + counted)

    async def _tried(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> tuple[Reply | Failure, bool]:
        """The outcome of one try, and whether no server was there at all."""
        ticket = await self._admitted(body)
        if isinstance(ticket, Failure):
            return ticket, False
        started, usage, unreachable = self._now(), NOTHING if ticket is None else None, False
        outcome: Reply | Failure
        try:
            async with asyncio.timeout(self._retry.timeout):
                outcome = await _call(client, body)
            usage = outcome.usage
            self._answered += 1
        except TimeoutError:
            outcome = Failure("retryable", f"no whole answer within {self._retry.timeout:g} s")
        except (OpenAIError, _NoAnswerError) as problem:
            outcome, unreachable = _failure(problem, body)
            if unreachable or isinstance(problem, APIStatusError):
                usage = NOTHING
        finally:
            if self._meter is not None and ticket is not None:
                self._meter.settle(ticket, usage)
        self._limiter.record(started, accepted=isinstance(outcome, Reply) or not outcome.rate_limited)
        return outcome, unreachable

    async def _admitted(self, body: Mapping[str, Any]) -> int | Failure | None:
        """Waits for the rate limit and for the budget; returns the guard's ticket, if there is a guard."""
        await self._limiter.acquire(lambda: self.stopped is not None)
        while not self.stopped:
            ticket = self._meter.reserve(self._endpoint.name, body) if self._meter is not None else None
            if isinstance(ticket, Failure):
                self._stop(ticket)
            elif ticket is None and self._meter is not None:
                await self._rest(0.01)
                continue
            return ticket
        return self.stopped

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _count(self, fault: str) -> None:
        """Counts calls without use, and stops when there are too many in a row."""
        self.fruitful |= not fault
        self._useless_in_a_row = self._useless_in_a_row + 1 if fault else 0
        if self._useless_in_a_row >= _MOST_USELESS:
            count = self._useless_in_a_row
            self._stop(Failure("fatal", f"{count} calls in a row brought nothing; the last: {fault}"))

    def _stop(self, why: Failure) -> None:
        self.stopped = self.stopped or why
        self._end.set()

    async def _rest(self, seconds: float) -> None:
        """Waits, or ends at once when the asking stops."""
        if seconds > 0 and not self.stopped:
            try:
                await asyncio.wait_for(self._end.wait(), seconds)
            except TimeoutError:
                return


def _failure(problem: Exception, body: Mapping[str, Any]) -> tuple[Failure, bool]:
    """What a failed call means, and whether no server was there at all."""
    if isinstance(problem, APIStatusError):
        error, wait = _error_in(problem.body), retry_after(problem.response.headers)
        message, code, setting = (str(error.get(name) or "") for name in ("message", "code", "param"))
        message, sent = message or problem.message, body.keys() - {"messages"}
        return failure_of(problem.status_code, message, code=code, setting=setting, settings=sent, wait=wait), False
    if isinstance(problem, APIConnectionError):
        cause = problem.__cause__ or problem
        unreachable = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
        return Failure("retryable", f"{type(cause).__name__}: {cause}".rstrip(": ")), unreachable
    if isinstance(problem, _NoAnswerError):
        return Failure("retryable", f"the body is no answer: {problem}"), False
    return Failure("fatal", f"{type(problem).__name__}: {problem}"), False


def _error_in(body: Any) -> Mapping[str, Any]:
    """The error in a body; some servers put it in a list."""
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {}


class _NoAnswerError(ValueError):
    """The endpoint answered with status 200 and a body that is no chat completion."""


async def _call(client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply:
    """One call. Beside the model and the messages a body may hold fields no client knows, such as thinking switches."""
    known = {name: body[name] for name in ("model", "messages")}
    rest = {name: value for name, value in body.items() if name not in known}
    raw = await client.chat.completions.with_raw_response.create(**known, extra_body=rest)
    try:
        return _reply(json.loads(raw.content))
    except (ValueError, RecursionError) as problem:
        raise _NoAnswerError(str(problem)) from None


def _reply(completion: Any) -> Reply:
    """The first choice of a chat completion.

    Raises:
        ValueError: if there is none.
    """
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"it has no choice with a message ({str(completion)[:80]})") from None
    if not isinstance(text, str | None):
        raise ValueError(f"its content is no text ({str(text)[:80]})")
    withheld = str(refusal) if refusal else ("filtered" if finish == "content_filter" else "")
    safe, why = made_safe(text or ""), made_safe(withheld)
    return Reply(safe, choice.get("logprobs"), why, finish == "length", usage_of(completion))
