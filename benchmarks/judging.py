"""Judging before a server that fails and limits: how much of what it allows is used, and what that costs to compute.

`python benchmarks/judging.py [CASES]` (10,000 unless given), one line for each kind of limit. A fifth of all calls
meets a fault; calls that never end are among them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fake_endpoint import FakeEndpoint, Limit, Weather
from personascope.core.records import Case
from personascope.core.traits import Rubric
from personascope.judges.openai import OpenAIJudge
from personascope.providers.endpoints import Retry

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
LIMITS = {
    "120 a second, exact waits": lambda: Limit(120, 15),
    "120 a second, waits in whole seconds": lambda: Limit(120, 120, whole_seconds=True),
    "no limit": lambda: None,
}


def main(count: int) -> None:
    cases = [Case(RUBRIC, f"Question {number % 20}?", f"Answer {number}.") for number in range(count)]
    for name, make in LIMITS.items():
        limit, weather = make(), Weather(seed=1, share=0.2)
        retry = Retry(first_wait=0.05, longest_wait=1.0, timeout=5.0)
        with FakeEndpoint(faults=weather, limit=limit, pace=0.02) as fake:
            judge = OpenAIJudge("fake-1", endpoint=fake.endpoint, readout="digits", concurrency=64, retry=retry)
            started, worked = time.monotonic(), time.process_time()
            verdicts = judge.score(cases)
            took, worked = time.monotonic() - started, time.process_time() - worked
        passed = sum(map(len, weather.met.values()))
        ended = sum(verdict.outcome != "unasked" for verdict in verdicts)
        used = f", {passed / (limit.burst + limit.rate * took):.1%} of what is allowed" if limit is not None else ""
        turned = f", {limit.refused:,} turned away" if limit is not None else ""
        speed = f"{passed:,} calls in {took:.1f} s ({passed / took:.0f} a second)"
        print(f"{name}: {ended:,} of {count:,} cases ended; {speed}{used}{turned}; {worked:.1f} CPU s with the server")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
