"""The engine's own parts on the model of speed.py, one table each.

`python benchmarks/parts.py PART ...` with `speaking` (sharing, steering and reading while speaking), `reading` (known
answers at one layer beside a forward pass), `memory` (the peak with 500 and with 5,000 answers), `half` (bfloat16) and
`same` (how many answers are those of plain torch with every prompt computed for itself); all of them unless named. CPU
seconds on one thread, medians of interleaved repeats.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bench_model
import floors
import numpy as np
import torch

import personascope as ps
from personascope.core.records import Probe, Request, Response
from personascope.engines.hf import loading
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.hooks import ResidualStream, Touch
from personascope.store.caching import RememberingEngine
from personascope.store.store import Store

REPEATS = 3
Work = Mapping[str, Callable[[], object]]


def requests_of(engine: TransformersEngine, *, draws: int = 2) -> list[Request]:
    """What one trait asks at one checkpoint before it steers."""
    trait, method = bench_model.traits(1)[0], bench_model.method(draws)
    asked = [(prompt, method.extraction) for prompt in (*trait.instructed("positive"), *trait.instructed("negative"))]
    asked += [(ps.Prompt(question), method.evaluation) for question in trait.questions("evaluation")]
    return [
        Request(engine.render(prompt), sampling, draw) for prompt, sampling in asked for draw in range(sampling.draws)
    ]


def medians(work: Work, *, repeats: int = REPEATS) -> dict[str, float]:
    """The median CPU seconds of each piece of work, printed with every repeat."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            before = time.process_time()
            run()
            taken[name].append(time.process_time() - before)
    for name, seconds in taken.items():
        print(f"{name:56s} {statistics.median(seconds):6.2f} CPU s  ({', '.join(f'{s:.2f}' for s in seconds)})")
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


class Touched:
    """The CPU seconds that edits and readings take inside forward passes."""

    seconds = 0.0

    @contextmanager
    def counting(self, stream: ResidualStream) -> Iterator[None]:
        """While this is open, the time in touches is counted."""
        plain = stream.touched

        def timed(touch: Touch) -> Touch:
            def run(residual: torch.Tensor) -> torch.Tensor:
                before = time.process_time()
                moved = touch(residual)
                self.seconds += time.process_time() - before
                return moved

            return run

        stream.touched = lambda touches, **others: plain(  # type: ignore[method-assign]
            {layer: timed(touch) for layer, touch in touches.items()}, **others
        )
        try:
            yield
        finally:
            del stream.touched  # type: ignore[method-assign]


def padded_of(folder: Path, *, plain: bool) -> TransformersEngine:
    """An engine that computes every prompt for itself, with padding; ``plain``: with torch's own products too."""
    engine = TransformersEngine(ps.Checkpoint.at(folder), padded=True)
    if plain:
        model = loading.load_model(engine.checkpoint, device=torch.device("cpu"), dtype=torch.float32)
        stream = ResidualStream(model, blocks=engine.last_layer, hidden_size=engine.hidden_size)
        engine._loaded = replace(engine._weights(), model=model, stream=stream)
    return engine


def speaking(folder: Path) -> None:
    """What sharing saves, and what steering and reading cost."""
    engine, padded = TransformersEngine(ps.Checkpoint.at(folder)), padded_of(folder, plain=True)
    requests = requests_of(engine)
    drawn = np.random.default_rng(0).standard_normal((6, engine.hidden_size))
    pushes = [ps.Edit(0.1 * each, 1 + place, "response") for place, each in enumerate(drawn)]
    steered = [replace(each, edits=(pushes[place % 6],)) for place, each in enumerate(requests)]
    engine.generate(requests[:8]), padded.generate(requests[:8])
    taken = medians(
        {
            "speaking": lambda: engine.generate(requests),
            "speaking, read at all layers": lambda: engine.generate(requests, read=True),
            "speaking, steered six ways and read": lambda: engine.generate(steered, read=True),
        }
    )
    tell_floors(engine, requests, taken["speaking"])
    medians({"speaking, padded, by torch's own products": lambda: padded.generate(requests)}, repeats=1)
    touched, before = Touched(), time.process_time()
    with touched.counting(engine._weights().stream):
        engine.generate(steered, read=True)
    rest = time.process_time() - before - touched.seconds
    print(f"edits and readings at all layers by themselves: {touched.seconds:.2f} of {rest:.2f} CPU s, ", end="")
    print(f"{1 + touched.seconds / rest:.3f} times; reading also takes the last token through the model")


def tell_floors(engine: TransformersEngine, requests: list[Request], seconds: float) -> None:
    """Prints how much of the floor speaking reached; the last token of an answer need not go through the model."""
    answers = [each.spoken for each in engine.generate(requests)]
    said = sum(len(tokens) - start - 1 for tokens, start in answers)
    work = floors.work((tokens[:start] for tokens, start in answers), said)
    for name, rate in floors.rates(len(requests)).items():
        least = work / rate
        reached = f"{least / seconds:.0%} of it reached"
        print(f"floor by {name}: {work:.0f} Gflop at {rate:.0f} a second, {least:.2f} CPU s, {reached}")


def reading(folder: Path) -> None:
    """2,000 known answers: one layer, all layers, and a forward pass over the same tokens, prompts and all."""
    engine = TransformersEngine(ps.Checkpoint.at(folder))
    trait = bench_model.traits(1)[0]
    prompts = [engine.render(each) for pole in ("positive", "negative") for each in trait.instructed(pole)]
    random = np.random.default_rng(0)
    rows = [
        Request(prompts[place % len(prompts)], ps.Sampling(max_tokens=bench_model.NEW_TOKENS), place // len(prompts))
        for place in range(2000)
    ]
    encoded = engine.encode([Response(row, None, None, "word", "length") for row in rows])
    known = [
        replace(
            each, tokens=(*each.spoken[0][: each.spoken[1]], *random.integers(2, 4096, bench_model.NEW_TOKENS).tolist())
        )
        for each in encoded
    ]
    probe = Probe(random.standard_normal(engine.hidden_size), bench_model.LAYER)
    order = sorted(known, key=lambda each: len(each.spoken[0]))

    @torch.inference_mode()
    def forward(model: torch.nn.Module) -> None:
        for start in range(0, len(order), 32):
            some = [torch.tensor(each.spoken[0]) for each in order[start : start + 32]]
            model(input_ids=torch.nn.utils.rnn.pad_sequence(some, batch_first=True), use_cache=False)

    def forget() -> None:
        engine._heard = {}
        engine.read(known)

    loaded = engine._weights().model
    plain = padded_of(folder, plain=True)._weights().model
    taken = medians(
        {
            "one middle layer (project)": lambda: engine.project(known, [probe]),
            "all layers (read)": forget,
            "a forward pass, products by oneDNN": lambda: forward(loaded),
            "a forward pass, torch's own products": lambda: forward(plain),
        },
        repeats=1,
    )
    layer, everything, quick, usual = taken.values()
    print(f"one layer: {layer / quick:.2f} of a pass by the same products, {layer / usual:.2f} of torch's own")
    print(f"all layers: {everything / quick:.2f} and {everything / usual:.2f}")


def memory(folder: Path) -> None:
    """The peak of a process that asks and reads so many answers through a store."""
    peaks = {}
    for count in (500, 5000):
        command = [sys.executable, __file__, json.dumps({"folder": str(folder), "count": count})]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[count] = int(done.stdout.splitlines()[-1])
        print(f"{count:5d} answers: {peaks[count] / 1024:.0f} MiB at most")
    print(f"peak memory: {peaks[5000] / peaks[500]:.3f} times")


def ask_many(folder: str, count: int) -> None:
    """In a process of its own: asks and reads, and prints the peak in KiB."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        engine = RememberingEngine(TransformersEngine(ps.Checkpoint.at(Path(folder))), Store(place))
        inner = TransformersEngine(ps.Checkpoint.at(Path(folder)))
        requests = requests_of(inner, draws=-(-count // 200))[:count]
        engine.generate(requests, read=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def half(folder: Path) -> None:
    """bfloat16 beside float32: time, and how many answers are the same."""
    single = TransformersEngine(ps.Checkpoint.at(folder))
    less = TransformersEngine(ps.Checkpoint.at(folder), dtype="bfloat16")
    requests = requests_of(single)
    single.generate(requests[:8]), less.generate(requests[:8])
    medians({"float32": lambda: single.generate(requests), "bfloat16": lambda: less.generate(requests)}, repeats=1)
    compared("bfloat16 and float32", single, less, requests)


def same(folder: Path) -> None:
    """The answers of plain torch with every prompt computed for itself."""
    sharing = TransformersEngine(ps.Checkpoint.at(folder))
    compared("shared by oneDNN, padded by torch", sharing, padded_of(folder, plain=True), requests_of(sharing))


def compared(name: str, one: TransformersEngine, other: TransformersEngine, requests: list[Request]) -> None:
    """Prints how many sampled and how many greedy answers of two engines are the same."""
    greedy = [replace(each, sampling=replace(each.drawn_with, temperature=0.0)) for each in requests if each.draw == 0]
    for kind, some in (("sampled", requests), ("greedy", greedy)):
        pairs = list(zip(one.generate(some), other.generate(some), strict=True))
        count = sum(mine.tokens == theirs.tokens for mine, theirs in pairs)
        print(f"{name}, {kind}: {count} of {len(some)} answers are the same ({count / len(some):.1%})")


PARTS = {"speaking": speaking, "reading": reading, "memory": memory, "half": half, "same": same}


def main() -> None:
    """Prints the tables."""
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        ask_many(**json.loads(sys.argv[1]))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = bench_model.build(Path(place) / "model")
        for name in sys.argv[1:] or PARTS:
            print(f"--- {name}", flush=True)
            PARTS[name](folder)


if __name__ == "__main__":
    main()
