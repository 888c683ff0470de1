"""A run killed while its judge is at it, and run again: the records and the table of a run that nobody disturbed."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import personascope
from fake_endpoint import FakeEndpoint
from personascope.core.outcomes import Outcome, Subject
from personascope.core.records import Bar, Sampling
from personascope.core.steering import Steering
from personascope.engines.opening import Opener
from personascope.engines.scripted import scripted_lineage
from personascope.judges.openai import OpenAIJudge
from personascope.providers.endpoints import Endpoint
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.tracing.controls import random_direction
from personascope.tracing.extraction import Method
from personascope.tracing.tracing import trace
from scripted_world import TRAITS

SOURCE, TESTS = Path(personascope.__file__).parent.parent, Path(__file__).parent.parent
KILLS = 2
FIRST = 70  # calls after which a first batch (of 64 cases) has surely been recorded, because a second has begun
# The endpoint's scores come from a hash: no bar would mean anything.
METHOD = Method(Sampling(max_tokens=8, draws=1), Sampling(max_tokens=8, draws=2), Bar(None, None))


def traced(folder: Path, address: str) -> list[Outcome]:
    """A small trace on a store, with a judge behind an endpoint."""
    lineage, open_one = scripted_lineage(TRAITS, (0.5, None, 1.0))
    store, judge = Store(folder), OpenAIJudge("fake-1", endpoint=Endpoint("fake", address, key="sk-fake"))
    outcomes = trace(
        lineage,
        [Subject.of(trait, Steering(3, 1.0, "vector")) for trait in TRAITS],
        open_engine=Opener(open_one, wrap=lambda engine: RememberingEngine(engine, store)),
        judge=RememberingJudge(judge, store),
        method=METHOD,
        direction=[random_direction(0)],
    )
    store.close()
    return outcomes


def records(folder: Path) -> list[tuple[str, str, str]]:
    database = sqlite3.connect(folder / "records.sqlite")
    rows = database.execute("SELECT kind, key, value FROM records ORDER BY key").fetchall()
    database.close()
    return rows


def killed(folder: Path, fake: FakeEndpoint, after: int) -> None:
    """Runs the trace in a process of its own, which is killed once so many more calls have come in."""
    calls = fake.calls
    path = f"import sys; sys.path[:0] = {[str(SOURCE), str(TESTS), str(Path(__file__).parent)]!r}"
    told = f"from {Path(__file__).stem} import Path, traced; traced(Path({str(folder)!r}), {fake.endpoint.base_url!r})"
    process = subprocess.Popen([sys.executable, "-c", f"{path}; {told}"])
    while fake.calls < calls + after and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"


def test_killed_at_random_moments_and_run_again_it_gives_the_same_records_and_the_same_table(tmp_path):
    import pandas as pd  # here: the run that is killed does without

    from personascope.analysis.frames import answer_rows

    undisturbed, disturbed, chance = tmp_path / "undisturbed", tmp_path / "disturbed", random.Random(0)
    with FakeEndpoint() as fake:
        expected = traced(undisturbed, fake.endpoint.base_url)
        asked = fake.calls
    with FakeEndpoint(pace=0.02) as fake:
        for _ in range(KILLS):
            killed(disturbed, fake, chance.randrange(FIRST, asked // (KILLS + 1)))
    known = sum(kind == "verdict" for kind, _, _ in records(disturbed))
    assert 0 < known < asked, f"{known} of {asked} verdicts were recorded before the last kill"
    with FakeEndpoint() as fake:  # another one: calls that a killed run had sent may still come in at the first
        found = traced(disturbed, fake.endpoint.base_url)
        assert fake.calls == asked - known, f"{fake.calls} calls for {asked - known} verdicts that were missing"
    assert records(disturbed) == records(undisturbed), "the records differ from those of a run nobody disturbed"
    pd.testing.assert_frame_equal(answer_rows(found), answer_rows(expected))
