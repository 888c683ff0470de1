"""Many calls of one endpoint at a time.

Owns: :func:`ask_all`, :class:`Reply` and the :class:`Meter` protocol. The one law: every call ends in a reply or in the
failure that says why there is none; no call's failure loses another's reply; and all of them share one event loop, one
pace and one budget.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from personascope.endpoints import NOTHING, Endpoint, Failure, Pace, Retry, Usage, failure_of, retry_after, usage_of
from personascope.endpoints import made_safe as made_safe

Key = TypeVar("Key", bound=Hashable)

FRUITLESS_IN_A_ROW = 20


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered: the text, its log-probabilities as they came, why it withheld an answer (empty if it
    did not), whether it cut the answer for length, and what that took.
    """

    text: str
    logprobs: Any = None
    withheld: str = ""
    cut: bool = False
    usage: Usage | None = None


class Meter(Protocol):
    """What calls are counted by, each try of a call by itself. A ledger of costs is one."""

    def reserve(self, endpoint: str, body: Mapping[str, Any]) -> int | Failure | None:
        """A ticket to ask with, a failure if there is no budget for it, or None if that depends on calls under way."""
        ...

    def settle(self, ticket: int, usage: Usage | None) -> None:
        """What the try took; None if nobody knows."""
        ...


@dataclass(frozen=True)
class Asked(Generic[Key]):
    """What came of a batch. ``stopped`` is why asking ended early (empty if it did not), ``fruitful`` whether at least
    one reply was of use.
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
    meter: Meter | None = None,
    pace: Pace | None = None,
) -> Asked[Key]:
    """A chat completion for every body, at most ``concurrency`` at a time and no faster than the endpoint takes them.

    ``useless`` says why a reply is of no use (empty if it is of use). Asking stops early at a failure that would meet
    every call, after 20 calls in a row without a useful reply, and when ``meter`` has no budget left: no try starts
    without a ticket from it. Give one ``pace`` to calls of one endpoint, so that each need not learn its limit anew.

    Where an event loop is running already, as in a notebook, the calls get a loop in a thread of their own.
    """
    batch = _Batch(endpoint, bodies, retry, useless, meter=meter, pace=pace or Pace(concurrency))
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
    never = batch.stopped or Failure("door", "it was not asked")
    outcomes = {key: batch.outcomes.get(key, never) for key in bodies}
    return Asked(outcomes, batch.stopped.reason if batch.stopped else "", batch.fruitful)


class _Batch(Generic[Key]):
    """The state that the workers of one batch share. It lives in one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        bodies: Mapping[Key, Mapping[str, Any]],
        retry: Retry,
        useless: Callable[[Key, Reply], str],
        *,
        meter: Meter | None,
        pace: Pace,
    ) -> None:
        self.outcomes: dict[Key, Reply | Failure] = {}
        self.stopped: Failure | None = None
        self.fruitful = False
        self._endpoint = endpoint
        self._pending = iter(bodies.items())
        self._retry = retry
        self._useless = useless
        self._meter = meter
        self._pace = pace
        self._fruitless = 0
        self._heard = 0
        self._chance = random.Random(0)
        self._end: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, workers: int) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        key = self._endpoint.key or "none"  # a local server asks for none, the client insists on one
        address, longest = self._endpoint.base_url, self._retry.timeout
        async with AsyncOpenAI(api_key=key, base_url=address, max_retries=0, timeout=longest) as client:
            await asyncio.gather(*(self._work(client) for _ in range(workers)))

    def interrupt(self) -> None:
        """Lets the calls under way end and starts no more; may be called from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop, Failure("door", "the asking was interrupted"))

    async def _work(self, client: AsyncOpenAI) -> None:
        for key, body in self._pending:
            if self.stopped:
                return
            outcome = await self._outcome(client, body)
            self.outcomes[key] = outcome
            self._note(outcome.reason if isinstance(outcome, Failure) else self._useless(key, outcome))

    async def _outcome(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply | Failure:
        """One call, asked again as the retry policy says.

        Who is turned away for crowding has only to wait for a turn: that counts as a failure of the call where nobody
        was heard meanwhile, and one call is turned away five times as often as it may fail, at most.
        """
        failures = crowded = 0
        while True:
            heard = self._heard
            outcome, unreachable = await self._tried(client, body)
            if isinstance(outcome, Reply) or outcome.kind == "budget":
                return outcome
            crowded += outcome.crowded
            failures += not outcome.crowded or heard == self._heard or crowded >= 5 * self._retry.tries
            wait = self._retry.wait(max(failures, 1), asked=outcome.wait, chance=self._chance.random())
            if unreachable and (wait is None or (failures >= 2 and not self.fruitful)):
                outcome, wait = Failure("door", f"nothing answers at {self._endpoint.base_url}"), None
            if outcome.kind == "door":
                self._stop(outcome)
            if wait is None or outcome.kind != "again" or self.stopped:
                tried = f" ({failures} tries)" if failures > 1 else ""
                return Failure(outcome.kind, outcome.reason + tried)
            await self._rest(wait)

    async def _tried(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> tuple[Reply | Failure, bool]:
        """What came of one try, and whether nobody was there at all."""
        ticket = await self._admitted(body)
        if isinstance(ticket, Failure):
            return ticket, False
        started, usage, unreachable = self._now(), NOTHING if ticket is None else None, False
        outcome: Reply | Failure
        try:
            async with asyncio.timeout(self._retry.timeout):
                outcome = await _call(client, body)
            usage = outcome.usage
            self._heard += 1
        except TimeoutError:
            outcome = Failure("again", f"no whole answer within {self._retry.timeout:g} s")
        except (OpenAIError, _NoAnswerError) as problem:
            outcome, unreachable = self._failure(problem, body)
            if unreachable or isinstance(problem, APIStatusError):
                usage = NOTHING
        finally:
            if self._meter is not None and ticket is not None:
                self._meter.settle(ticket, usage)
        self._paced(outcome, started)
        return outcome, unreachable

    async def _admitted(self, body: Mapping[str, Any]) -> int | Failure | None:
        """Waits for a turn and for the budget; the meter's ticket, if there is a meter."""
        while not self.stopped:
            if (wait := self._pace.wait(self._now())) > 0:
                await self._rest(wait)
                continue
            ticket = self._meter.reserve(self._endpoint.name, body) if self._meter is not None else None
            if isinstance(ticket, Failure):
                self._stop(ticket)
            elif ticket is None and self._meter is not None:
                await self._rest(0.01)
                continue
            else:
                self._pace.started(self._now())
            return ticket
        return self.stopped

    def _paced(self, outcome: Reply | Failure, started: float) -> None:
        """Lets the pace know. A wait beyond patience is not waited for: the call is given up."""
        if isinstance(outcome, Failure) and outcome.crowded:
            patient = outcome.wait is not None and outcome.wait <= self._retry.patience
            self._pace.turned_away(started, self._now(), wait=outcome.wait if patient else None)
        else:
            self._pace.taken(started, self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _failure(self, problem: Exception, body: Mapping[str, Any]) -> tuple[Failure, bool]:
        """What a failed call means, and whether nobody was there at all."""
        if isinstance(problem, APIStatusError):
            blame, wait = _blame(problem.body), retry_after(problem.response.headers)
            told, code, setting = (str(blame.get(name) or "") for name in ("message", "code", "param"))
            told, sent = told or problem.message, body.keys() - {"messages"}
            return failure_of(problem.status_code, told, code=code, setting=setting, settings=sent, wait=wait), False
        if isinstance(problem, APIConnectionError):
            cause = problem.__cause__ or problem
            unreachable = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
            return Failure("again", f"{type(cause).__name__}: {cause}".rstrip(": ")), unreachable
        if isinstance(problem, _NoAnswerError):
            return Failure("again", f"the body is no answer: {problem}"), False
        return Failure("door", f"{type(problem).__name__}: {problem}"), False

    def _note(self, fault: str) -> None:
        """Counts calls without use, and stops when there are too many in a row."""
        self.fruitful |= not fault
        self._fruitless = self._fruitless + 1 if fault else 0
        if self._fruitless >= FRUITLESS_IN_A_ROW:
            self._stop(Failure("door", f"{self._fruitless} calls in a row brought nothing; the last: {fault}"))

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


def _blame(said: Any) -> Mapping[str, Any]:
    """The error that a body tells of; some servers put it in a list."""
    said = said[0] if isinstance(said, list) and said else said
    said = said.get("error", said) if isinstance(said, dict) else {}
    return said if isinstance(said, dict) else {}


class _NoAnswerError(ValueError):
    """The endpoint said that all is well, and sent something that is no answer."""


async def _call(client: AsyncOpenAI, body: Mapping[str, Any]) -> Reply:
    """One call. Beside the model and the messages a body may hold what no client knows: thinking switches, say."""
    known = {name: body[name] for name in ("model", "messages")}
    rest = {name: value for name, value in body.items() if name not in known}
    raw = await client.chat.completions.with_raw_response.create(**known, extra_body=rest)
    try:
        return _reply(json.loads(raw.content))
    except (ValueError, RecursionError) as problem:
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
    safe, why = made_safe(text or ""), made_safe(withheld)
    return Reply(safe, choice.get("logprobs"), why, finish == "length", usage_of(said))
