"""How fast an endpoint is asked: a simulated server with a bucket of allowances, and no clock but the simulation's."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass
from typing import Literal

import pytest

from personascope.endpoints import Pace

Manner = Literal["exact", "whole seconds", "silent"]


@dataclass
class Bucket:
    """A server that allows ``rate`` calls a second and holds at most ``burst`` unused allowances.

    Turning a call away it says how long to wait: exactly, in whole seconds (rounded up), or not at all.
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
        exact = (1 - self.held) / self.rate
        return {"exact": exact, "whole seconds": float(math.ceil(exact)), "silent": None}[self.manner]


@dataclass(frozen=True)
class Course:
    """What came of a simulation: seconds, refusals, and the starts in order."""

    seconds: float
    refused: int
    starts: list[float]


def simulated(bucket: Bucket, *, calls: int, latency: float, most: int = 64, noise: float = 0.0) -> Course:
    """Calls that keep to a pace, ``most`` under way at once; each arrives after a third of its latency.

    ``noise`` is the share of calls that are turned away whatever the bucket holds. Who is turned away waits as asked.
    """
    pace, chance, order = Pace(most), random.Random(0), itertools.count()
    waiting: list[tuple[float, int, str, float, int]] = [(0.0, next(order), "want", 0.0, 0) for _ in range(most)]
    left, refused, end = calls, 0, 0.0
    starts: list[float] = []
    while waiting:
        now, _, what, started, tries = heapq.heappop(waiting)
        if what == "want":
            if not tries and not left:
                continue
            if (rest := pace.wait(now)) > 0:
                heapq.heappush(waiting, (now + rest + 1e-4 * chance.random(), next(order), "want", 0.0, tries))
                continue
            left -= not tries
            pace.started(now)
            starts.append(now)
            heapq.heappush(waiting, (now + latency / 3, next(order), "arrive", now, tries))
        elif what == "arrive":
            astray = chance.random() < noise
            if not astray and bucket.takes(now):
                heapq.heappush(
                    waiting, (now + latency * (0.5 + 0.3 * chance.random()), next(order), "taken", started, 0)
                )
                continue
            refused += 1
            wait = max(0.0, bucket.wait) if bucket.wait is not None else None
            if astray and bucket.manner == "whole seconds":
                wait = 1.0
            pace.turned_away(started, now + 0.002, wait=wait)
            rest = wait if wait is not None else 1 - chance.random() / 2
            heapq.heappush(waiting, (now + 0.002 + rest, next(order), "want", 0.0, tries + 1))
        else:
            pace.taken(started, now)
            end = now
            heapq.heappush(waiting, (now, next(order), "want", 0.0, 0))
    return Course(end, refused, starts)


@pytest.mark.parametrize("latency", [0.02, 0.5])
@pytest.mark.parametrize(
    ("rate", "burst", "manner"),
    [
        (10, 10, "exact"),
        (10, 10, "whole seconds"),
        (10, 10, "silent"),
        (50, 10, "exact"),
        (50, 10, "silent"),
        (50, 50, "whole seconds"),
        (200, 20, "exact"),
        (200, 200, "whole seconds"),
        (200, 20, "silent"),
    ],
)
def test_nine_tenths_of_what_is_allowed_is_used(rate: int, burst: int, manner: Manner, latency: float) -> None:
    """Wherever the bucket holds as much as accrues in the wait that the server asks for."""
    calls = 40 * rate
    course = simulated(Bucket(rate, burst, manner), calls=calls, latency=latency)
    fastest = max((calls - burst) / rate, calls * latency * 0.98 / 64)
    assert fastest / course.seconds >= 0.9, (
        f"{calls} calls took {course.seconds:.1f} s where {fastest:.1f} s are allowed; {course.refused} were refused"
    )


@pytest.mark.parametrize("latency", [0.02, 0.2])
@pytest.mark.parametrize(("rate", "noise"), [(10, 0.02), (10, 0.04), (50, 0.02), (50, 0.04), (120, 0.02), (200, 0.02)])
def test_a_refusal_of_one_call_among_many_that_are_taken_holds_nobody_else_up(
    rate: int, noise: float, latency: float
) -> None:
    """Were everyone to keep still for a second at each, fifty calls a second would become one."""
    calls = 40 * rate
    course = simulated(Bucket(rate, rate, "whole seconds"), calls=calls, latency=latency, noise=noise)
    fastest = max((calls - rate) / rate, calls * latency * 0.98 / 64)
    assert fastest / course.seconds >= 0.9, f"{calls} calls took {course.seconds:.1f} s, {fastest:.1f} s are allowed"


def test_refusals_stay_rare() -> None:
    course = simulated(Bucket(50, 10, "exact"), calls=4000, latency=0.02)
    assert course.refused <= 0.15 * 4000, f"{course.refused} of 4,000 calls were turned away"


def test_a_server_that_turns_nobody_away_is_asked_as_fast_as_it_answers() -> None:
    course = simulated(Bucket(1e6, 1e6, "exact"), calls=20_000, latency=0.05)
    fastest = 20_000 * 0.05 / 64
    assert course.refused == 0
    assert course.seconds < fastest + 1.5, f"{course.seconds:.1f} s, where {fastest:.1f} s are possible"


def test_everyone_keeps_still_while_the_server_asks_a_crowd_for_it() -> None:
    pace = Pace(8)
    pace.started(0.0)
    pace.turned_away(0.0, 0.1, wait=3.0)
    assert pace.wait(0.2) == pytest.approx(2.9)
    pace.turned_away(0.05, 0.3, wait=1.0)
    assert pace.wait(0.4) == pytest.approx(2.7), "a shorter wait must not cut a longer one short"
    assert pace.wait(3.2) == 0.0


def test_one_refusal_among_many_calls_that_are_taken_is_that_calls_own() -> None:
    pace = Pace(8)
    for call in range(40):
        pace.started(call / 10)
        pace.taken(call / 10, call / 10 + 0.01)
    pace.started(4.0)
    pace.turned_away(4.0, 4.1, wait=3.0)
    assert pace.wait(4.2) < 1.0
    for call in range(40):
        pace.turned_away(4.0, 4.2 + call / 100, wait=3.0)
    assert pace.wait(5.0) > 1.0, "but where all are turned away, all wait"


def test_refusals_of_calls_sent_before_a_cut_cut_no_further() -> None:
    pace = Pace(64)
    before = pace.rate
    for start in range(40):
        pace.started(start / 100)
    for start in range(10):
        pace.turned_away(start / 100, 0.5, wait=None)
    cut = pace.rate
    assert cut < before, "ten of ten calls were turned away"
    for start in range(10, 40):
        pace.turned_away(start / 100, 0.5 + start / 100, wait=None)
    assert pace.rate == cut, "one crowd is one cut, however many were in it"


def test_a_server_that_allows_more_later_is_found_out() -> None:
    bucket = Bucket(5, 5, "exact")
    pace, now = Pace(16), 0.0
    taken = []
    while now < 240:
        now += max(pace.wait(now), 1e-3)
        if now > 60:
            bucket.rate = bucket.burst = 100
        pace.started(now)
        if bucket.takes(now):
            pace.taken(now, now + 0.01)
            taken.append(now)
        else:
            pace.turned_away(now, now + 0.01, wait=bucket.wait)
    before, after = sum(30 <= each < 60 for each in taken) / 30, sum(each >= 210 for each in taken) / 30
    assert before == pytest.approx(5, rel=0.1)
    assert after > 80, f"{after:.0f} calls a second of the 100 allowed, three minutes after the limit was raised"


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_refusals_that_have_nothing_to_do_with_the_rate_do_not_bring_it_down(share: float) -> None:
    pace, chance, now = Pace(32), random.Random(0), 0.0
    for _ in range(20_000):
        now += max(pace.wait(now), 1e-3)
        pace.started(now)
        if chance.random() < share:
            pace.turned_away(now, now + 1e-3, wait=None)
        else:
            pace.taken(now, now + 1e-3)
    assert pace.rate > 500, f"{pace.rate:.0f} calls a second, where {share:.0%} are turned away at any rate"


def test_after_an_outage_the_rate_is_soon_found_again() -> None:
    """Five seconds in which everyone is turned away, and then a hundred calls a second."""
    pace, bucket, now = Pace(32), Bucket(100, 100, "exact"), 0.0
    taken: list[float] = []
    while now < 35:
        now += max(pace.wait(now), 1e-3)
        pace.started(now)
        if now < 5:
            pace.turned_away(now, now + 0.01, wait=None)
        elif bucket.takes(now):
            pace.taken(now, now + 0.01)
            taken.append(now)
        else:
            pace.turned_away(now, now + 0.01, wait=bucket.wait)
    late = sum(25 <= each < 35 for each in taken) / 10
    assert late >= 90, f"{late:.0f} calls a second of the 100 allowed, twenty seconds after the outage"
