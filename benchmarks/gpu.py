"""The engine on a GPU: a random 7B-shaped OLMo-3 in bfloat16, beside what the machine's memory and cores allow.

    python benchmarks/gpu.py            # on a GPU: builds 14 GB of random weights in a temporary folder
    python benchmarks/gpu.py --toy      # the same measurements of a toy on a CPU, to see that the command works

Printed: tokens per second while speaking, and the share of the memory-bandwidth floor (every weight and every key and
value read once per step); tokens per second of reading known answers, and the share of the best measured matrix rate;
and the wall time of one whole milestone (4 traits, 200 instructed answers of each pole, 60 plain and 60 steered ones of
64 tokens each, a judge that costs nothing). Floors are measured on the same machine: a copy, a matrix product.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bench_model
import torch

import personascope as ps
from personascope.core.records import Request
from personascope.engines.hf.engine import TransformersEngine
from personascope.store.caching import RememberingEngine
from personascope.store.store import Store

# OLMo-3 7B: 32 blocks of width 4,096 with 32 heads, 11,008 wide inside, 100,278 tokens.
SHAPE_7B = {
    "vocab_size": 100_278,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
}
NEW_TOKENS = 64


def seconds(work: Callable[[], object], *, times: int = 1) -> float:
    """Wall seconds of one go, everything on the device done."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / times


def bandwidth(device: torch.device, dtype: torch.dtype, *, numbers: int) -> float:
    """Bytes per second that a copy reads and writes, the best of five."""
    source = torch.zeros(numbers, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return max(2 * source.nbytes / seconds(lambda: target.copy_(source), times=10) for _ in range(5))


def matrix_rate(device: torch.device, dtype: torch.dtype, *, size: int) -> float:
    """Floating-point operations per second of a square product, the best of five."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return max(2 * size**3 / seconds(lambda: left @ right, times=10) for _ in range(5))


def milestone(engine: TransformersEngine, traits: list[ps.Trait], place: Path) -> int:
    """One milestone of a study; how many effects it gave."""
    method = bench_model.method(2)
    method = replace(
        method,
        extraction=replace(method.extraction, max_tokens=NEW_TOKENS),
        evaluation=replace(method.evaluation, max_tokens=NEW_TOKENS),
    )
    layer = engine.last_layer // 2
    subjects = [ps.Subject.of(trait, ps.Steering(layer, bench_model.STRENGTH, "vector")) for trait in traits]
    store, lineage = Store(place), ps.Lineage("bench", (ps.Milestone(engine.checkpoint, "bench"),))
    return len(
        ps.trace(
            lineage,
            subjects,
            open_engine=lambda _: RememberingEngine(engine, store),
            judge=bench_model.CheapJudge(),
            method=method,
        )
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="a toy on a CPU instead")
    parser.add_argument("--rows", type=int, default=512, help="answers spoken at once")
    toy, rows = (chosen := parser.parse_args()).toy, chosen.rows
    if not toy and not torch.cuda.is_available():
        parser.error("there is no GPU here: --toy measures a toy on the CPU")
    rows = min(rows, 16) if toy else rows
    traits = bench_model.traits(1 if toy else 4)
    with tempfile.TemporaryDirectory() as place:
        shape = bench_model.SIZES if toy else SHAPE_7B
        folder = bench_model.build(Path(place) / "model", dtype="bfloat16", sizes=shape)
        engine = TransformersEngine(ps.Checkpoint.at(folder), dtype="float32" if toy else "bfloat16", padded=True)
        print(f"loading: {seconds(lambda: engine._weights()):.1f} s")
        loaded = engine._weights()
        sampling = ps.Sampling(max_tokens=NEW_TOKENS, temperature=1.0)
        prompts = [engine.render(each) for trait in traits for each in trait.instructed("positive")]
        requests = [Request(prompts[row % len(prompts)], sampling, row // len(prompts)) for row in range(rows)]
        engine.generate(requests[:8])

        responses = engine.generate(requests)
        taken = seconds(lambda: engine.generate(requests))
        said = sum(each.length for each in responses)
        held = 2 * shape["num_hidden_layers"] * shape["num_key_value_heads"]
        size = shape["hidden_size"] // shape["num_attention_heads"]
        past = sum(len(each.spoken[0]) - NEW_TOKENS / 2 for each in responses)
        moved = NEW_TOKENS * 2 * (loaded.parameters + held * size * past)
        rate = bandwidth(loaded.device, loaded.dtype, numbers=2**22 if toy else 2**30)
        print(f"speaking: {said / taken:,.0f} tokens a second with {rows} rows")
        print(f"speaking: {moved / rate / taken:.0%} of the floor of memory at {rate / 1e9:,.0f} GB a second")

        taken = seconds(lambda: engine.read(responses))
        tokens = sum(len(each.spoken[0]) for each in responses)
        body = loaded.parameters - 2 * shape["vocab_size"] * shape["hidden_size"]
        rate = matrix_rate(loaded.device, loaded.dtype, size=512 if toy else 8192)
        print(f"reading: {tokens / taken:,.0f} tokens a second, ", end="")
        print(f"{2 * body * tokens / rate / taken:.0%} of the matrix rate of {rate / 1e12:,.2f} Tflop a second")

        taken = seconds(lambda: milestone(engine, traits, Path(place) / "store"))
        print(f"a whole milestone of {len(traits)} traits: {taken:.1f} s")
        if loaded.device.type == "cuda":
            print(f"peak memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
