"""Judging that is hidden behind generation: a trace whose judge takes a second per call, on the clock.

`python benchmarks/hidden.py [NEW_TOKENS] [REPEATS]` (64 and 3 unless given). A random model of OLMo-3's make (16
blocks of 1,024: beside a smaller one a second is long), two checkpoints, one trait, 52 answers at each and so 208 calls
of a judge behind an endpoint on the loopback, in a process of its own, 32 at a time. Interleaved: calls that take no
time, calls that take a second and are heard meanwhile, and the same one after the other. Each trace has a store of its
own. Wall seconds: waiting is what is measured, so nothing else should run on the machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import bench_model

import personascope as ps
from fake_endpoint import FakeEndpoint
from personascope.core.lineages import Checkpoint, Lineage, Milestone
from personascope.core.records import Bar
from personascope.engines.opening import Opener, open_engine
from personascope.judges.openai import OpenAIJudge
from personascope.providers.endpoints import Endpoint
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.tracing.tracing import Effect, Subject, trace

SIZES = {**bench_model.SIZES, "hidden_size": 1024, "intermediate_size": 2720, "num_hidden_layers": 16}
DELAYS = {"no time": 0.0, "a second, meanwhile": 1.0, "a second, one after the other": 1.0}


class Afterwards(OpenAIJudge):
    """The same judge, heard only when everything was said."""

    waits = False


def main(tokens: int, repeats: int) -> None:
    found: dict[str, list[float]] = {name: [] for name in DELAYS}
    with tempfile.TemporaryDirectory() as folder:
        models = [bench_model.build(Path(folder, f"step{seed}"), seed=seed, sizes=SIZES) for seed in range(2)]
        for repeat in range(repeats):
            for name, delay in DELAYS.items():
                server = subprocess.Popen(
                    [sys.executable, __file__, f"serve={delay}"], stdout=subprocess.PIPE, text=True
                )
                assert server.stdout is not None
                try:
                    address = server.stdout.readline().strip()
                    kind = Afterwards if "after" in name else OpenAIJudge
                    judge = kind("fake-1", endpoint=Endpoint("fake", address, key="sk-fake"))
                    found[name].append(timed(models, judge, Path(folder, f"store-{repeat}-{name}"), tokens))
                finally:
                    server.terminate()
    base = statistics.median(found["no time"])
    for name, seconds in found.items():
        told = ", ".join(f"{each:.1f}" for each in seconds)
        added = f"{statistics.median(seconds) / base - 1:+.1%}"
        print(f"calls that take {name:32} {statistics.median(seconds):6.1f} s ({told}), {added}")


def timed(models: list[Path], judge: OpenAIJudge, folder: Path, tokens: int) -> float:
    """Wall seconds of a trace on a store of its own."""
    store = Store(folder)
    milestones = tuple(Milestone(Checkpoint.at(model), model.name, place) for place, model in enumerate(models))
    opener = Opener(open_engine, wrap=lambda engine: RememberingEngine(engine, store))
    sampling = ps.Sampling(max_tokens=tokens, draws=1)
    method = ps.Method(sampling, ps.Sampling(max_tokens=tokens, draws=8), bar=Bar(None, None))
    subject = Subject.of(bench_model.traits(1)[0].limited(2), ps.Steering(4, 0.5, "vector"))
    began = time.monotonic()
    outcomes = trace(
        Lineage("random", milestones),
        [subject],
        open_engine=opener,
        judge=RememberingJudge(judge, store),
        method=method,
    )
    seconds = time.monotonic() - began
    verdicts = sum(count for (kind, _), count in store.counts().items() if kind == "verdict")
    answers = sum(count for (kind, _), count in store.counts().items() if kind == "response")
    assert all(isinstance(each, Effect) and len(each.steered) == 16 for each in outcomes), outcomes
    print(f"  {folder.name}: {seconds:.1f} s, {answers} answers, {verdicts} verdicts", flush=True)
    store.close()
    return seconds


def serve(delay: float) -> None:
    """Answers until it is ended."""
    with FakeEndpoint(pace=delay) as fake:
        print(fake.endpoint.base_url, flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("serve="):
        serve(float(sys.argv[1].partition("=")[2]))
    else:
        main(*(int(each) for each in [*sys.argv[1:], *["64", "3"][len(sys.argv) - 1 :]]))
