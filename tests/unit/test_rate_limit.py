"""How fast an endpoint is called: a simulated server with a bucket of allowances, on a loop of simulated time."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from personascope.providers.client import RateLimiter

Manner = Literal["exact", "whole seconds", "silent"]


class _Clock(selectors.SelectSelector):
    """Waits for nothing: it moves the time on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += (timeout or 0.0) + 1e-7  # a step, so that no rounding makes a timer wait for itself
        return super().select(0)


class _SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def simulate(task: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_SimulatedLoop) as runner:
        runner.run(task)


@dataclass
class Bucket:
    """A server that allows ``rate`` calls a second and holds at most ``burst`` unused allowances.

    When it rejects a call it says how long to wait: exactly, in whole seconds (rounded up), or not at all.
    """

    rate: float
    burst: float
    manner: Manner
    held: float = 0.0
    seen: float = 0.0

    def __post_init__(self) -> None:
        self.held = self.burst

    def takes(self, now: float) -> bool:
        self.held, self.seen = min(self.burst, self.held + (now - self.seen) * self.rate), now
        if self.held < 1:
            return False
        self.held -= 1
        return True

    @property
    def wait(self) -> float | None:
        exact = max(0.0, (1 - self.held) / self.rate)
        return {"exact": exact, "whole seconds": float(math.ceil(exact)), "silent": None}[self.manner]


@dataclass
class Course:
    """What came of a simulation: when it ended, how many calls were rejected, and when calls were accepted."""

    seconds: float = 0.0
    rejected: int = 0
    accepted: list[float] = field(default_factory=list)

    def per_second(self, start: float, end: float) -> float:
        return sum(start <= each < end for each in self.accepted) / (end - start)


def simulated(
    bucket: Bucket,
    *,
    calls: int,
    latency: float,
    most: int = 64,
    noise: float = 0.0,
    weather: Callable[[float], bool] = lambda now: True,
    until: float = math.inf,
) -> Course:
    """Calls under a rate limiter, ``most`` under way at once; each arrives after a third of its latency.

    ``noise`` is the share of calls that are rejected whatever the bucket holds. ``weather`` may change the bucket, and
    says whether the server accepts anything. A call that is rejected waits as asked and is made again.
    """
    course, limiter, chance, left = Course(), RateLimiter(4.0 * most), random.Random(0), calls

    async def call(loop: asyncio.AbstractEventLoop) -> None:
        failures = 0
        while True:
            await limiter.acquire(lambda: False)
            started = loop.time()
            await asyncio.sleep(latency / 3)
            fair, unlucky = weather(loop.time()), chance.random() < noise
            if fair and not unlucky and bucket.takes(loop.time()):
                await asyncio.sleep(latency * (0.5 + 0.3 * chance.random()))
                limiter.record(started, accepted=True)
                course.accepted.append(loop.time())
                return
            course.rejected += 1
            failures += 1
            limiter.record(started, accepted=False)
            pause = 1.0 if unlucky and bucket.manner == "whole seconds" else bucket.wait
            await asyncio.sleep(pause if pause is not None else 1 - chance.random() / 2)

    async def work() -> None:
        nonlocal left
        loop = asyncio.get_running_loop()
        while left > 0 and loop.time() < until:
            left -= 1
            await call(loop)

    async def main() -> None:
        limiter.open()
        await asyncio.gather(*(work() for _ in range(most)))
        course.seconds = asyncio.get_running_loop().time()

    simulate(main())
    return course


LIMITS: list[tuple[int, int, Manner]] = [
    (10, 10, "exact"),
    (10, 10, "whole seconds"),
    (10, 10, "silent"),
    (50, 10, "exact"),
    (50, 10, "silent"),
    (50, 50, "whole seconds"),
    (200, 20, "exact"),
    (200, 200, "whole seconds"),
    (200, 20, "silent"),
]


@pytest.mark.parametrize("latency", [0.02, 0.5])
@pytest.mark.parametrize(("rate", "burst", "manner"), LIMITS)
def test_nine_tenths_of_what_is_allowed_is_used(rate: int, burst: int, manner: Manner, latency: float) -> None:
    """Wherever the bucket holds as much as accrues in the wait that the server asks for."""
    calls = 40 * rate
    course = simulated(Bucket(rate, burst, manner), calls=calls, latency=latency)
    fastest = max((calls - burst) / rate, calls * latency * 0.98 / 64)
    assert fastest / course.seconds >= 0.9, (
        f"{calls} calls took {course.seconds:.1f} s where {fastest:.1f} s are allowed; {course.rejected} were rejected"
    )


@pytest.mark.parametrize("latency", [0.02, 0.2])
@pytest.mark.parametrize(("rate", "noise"), [(10, 0.02), (10, 0.04), (50, 0.02), (50, 0.04), (120, 0.02), (200, 0.02)])
def test_one_rejection_among_many_accepted_calls_holds_no_other_call_up(
    rate: int, noise: float, latency: float
) -> None:
    """If all calls waited a second at each, fifty calls a second would become one."""
    calls = 40 * rate
    course = simulated(Bucket(rate, rate, "whole seconds"), calls=calls, latency=latency, noise=noise)
    fastest = max((calls - rate) / rate, calls * latency * 0.98 / 64)
    assert fastest / course.seconds >= 0.9, f"{calls} calls took {course.seconds:.1f} s, {fastest:.1f} s are allowed"


def test_rejections_stay_rare() -> None:
    course = simulated(Bucket(50, 10, "exact"), calls=4000, latency=0.02)
    assert course.rejected <= 0.15 * 4000, f"{course.rejected} of 4,000 calls were rejected"


def test_a_server_that_rejects_nothing_is_called_as_fast_as_it_answers() -> None:
    course = simulated(Bucket(1e6, 1e6, "exact"), calls=20_000, latency=0.05)
    fastest = 20_000 * 0.05 / 64
    assert course.rejected == 0
    assert course.seconds < fastest + 1.5, f"{course.seconds:.1f} s, where {fastest:.1f} s are possible"


def test_a_limit_that_is_raised_later_is_found() -> None:
    bucket = Bucket(5, 5, "exact")

    def weather(now: float) -> bool:
        if now > 60:
            bucket.rate = bucket.burst = 100
        return True

    course = simulated(bucket, calls=100_000, latency=0.01, most=16, weather=weather, until=240)
    before, after = course.per_second(30, 60), course.per_second(210, 240)
    assert before == pytest.approx(5, rel=0.1)
    assert after > 80, f"{after:.0f} calls a second of the 100 allowed, three minutes after the limit was raised"


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_rejections_that_have_nothing_to_do_with_the_rate_do_not_bring_it_down(share: float) -> None:
    course = simulated(Bucket(1e6, 1e6, "silent"), calls=20_000, latency=0.001, most=256, noise=share)
    assert len(course.accepted) / course.seconds > 500, f"{course.seconds:.1f} s for 20,000 calls"


def test_after_an_outage_the_rate_is_soon_found_again() -> None:
    """Five seconds in which every call is rejected, and then a hundred calls a second."""
    course = simulated(
        Bucket(100, 100, "exact"), calls=100_000, latency=0.02, most=32, weather=lambda now: now >= 5, until=35
    )
    late = course.per_second(25, 35)
    assert late >= 90, f"{late:.0f} calls a second of the 100 allowed, twenty seconds after the outage"


def test_an_outage_in_the_middle_is_recovered_from() -> None:
    """Ten seconds in which every call is rejected, between two times of a hundred calls a second."""
    course = simulated(
        Bucket(100, 100, "exact"),
        calls=100_000,
        latency=0.02,
        most=32,
        weather=lambda now: not 20 <= now < 30,
        until=80,
    )
    late = course.per_second(60, 80)
    assert late >= 90, f"{late:.0f} calls a second of the 100 allowed, thirty seconds after the outage"


def test_the_rate_is_kept_from_one_batch_to_the_next_and_the_time_between_does_not_count() -> None:
    limiter = RateLimiter(100.0)

    async def batch(calls: int, every: int) -> None:
        limiter.open()
        for place in range(calls):
            await limiter.acquire(lambda: False)
            limiter.record(asyncio.get_running_loop().time(), accepted=place % every > 0)

    simulate(batch(40, 5))
    learned = limiter.rate
    assert learned < 100, "a fifth of the calls was rejected"
    simulate(batch(10, 11))
    assert limiter.rate == learned, "ten calls are too few to learn from"


def test_a_caller_that_stops_waits_for_no_turn() -> None:
    limiter = RateLimiter(1.0)

    async def main() -> None:
        limiter.open()
        stopped = False
        waiting = [asyncio.ensure_future(limiter.acquire(lambda: stopped)) for _ in range(64)]
        await asyncio.sleep(3.5)
        assert sum(each.done() for each in waiting) == 4
        stopped = True
        await asyncio.gather(*waiting)
        assert asyncio.get_running_loop().time() <= 5

    simulate(main())
