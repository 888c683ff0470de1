"""The study's work on one core: personascope beside the published way of working, in CPU seconds.

`python benchmarks/speed.py first` (or `draws`, `lineage`) prints one row of docs/benchmarks.md: the same model, prompts
and judge for both, medians of interleaved repeats, every process on one thread. Process start and imports are printed
apart and left out of the ratio; loading is in it. Judging costs nothing on either side. Beside it stands the floor:
the arithmetic that has to be done, at the best rates that matrix products of as many rows were seen to reach: torch's
own, and oneDNN's, which the engine uses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench_model

HERE = Path(__file__).parent
ROWS = {
    "first": {"draws": 2, "traits": 1, "checkpoints": 1, "controls": 0},
    "draws": {"draws": 10, "traits": 1, "checkpoints": 1, "controls": 0},
    "lineage": {"draws": 2, "traits": 4, "checkpoints": 3, "controls": 3},
}


def run(script: str, job: dict[str, Any]) -> dict[str, Any]:
    """What one process prints of itself."""
    command = [sys.executable, str(HERE / script), json.dumps(job)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return taken


def naive(models: list[Path], row: dict[str, int], folder: Path) -> dict[str, float]:
    """All stages of all traits at all checkpoints, a process each."""
    controls = [f"control-{seed}" for seed in range(2 * row["controls"])]
    total = {"start": 0.0, "load": 0.0, "work": 0.0}
    for model in models:
        for trait in range(row["traits"]):
            for stage in ("positive", "negative", "vector", "plain", "steered", *controls):
                job = {
                    "stage": stage,
                    "model": str(model),
                    "folder": str(folder),
                    "trait": trait,
                    "draws": row["draws"],
                }
                taken = run("naive.py", job)
                print(f"    naive {stage}: {taken}", flush=True)
                total = {name: total[name] + taken[name] for name in total}
    return total


def ours(models: list[Path], row: dict[str, int], folder: Path) -> dict[str, float]:
    """The same work as one call of `trace`."""
    return run("speed.py", {"models": list(map(str, models)), "row": row, "folder": str(folder)})


def trace_once(job: dict[str, Any]) -> None:
    """In a process of its own: everything a user's run does, store and all; prints what it took."""
    import torch
    import transformers

    import personascope as ps
    from personascope.engines.opening import open_engine
    from personascope.store.caching import RememberingEngine
    from personascope.store.store import Store

    _ = ps.open_engine, transformers.Olmo3ForCausalLM, transformers.PreTrainedTokenizerFast
    from personascope.engines.hf import engine as _engine  # noqa: F401  imports are no part of loading

    started = time.process_time()
    torch.set_num_threads(1)
    row = job["row"]
    subjects = [
        ps.Subject.of(trait, ps.Steering(bench_model.LAYER, bench_model.STRENGTH, "vector"))
        for trait in bench_model.traits(row["traits"])
    ]
    places = [ps.Milestone(ps.Checkpoint.at(model), str(place)) for place, model in enumerate(job["models"])]
    kinds = (ps.random_direction, ps.shuffled_labels)
    controls = [kind(seed) for kind in kinds for seed in range(row["controls"])]
    store = Store(Path(tempfile.mkdtemp(dir=job["folder"])))
    outcomes = ps.trace(
        ps.Lineage("bench", tuple(places)),
        subjects,
        open_engine=lambda checkpoint: RememberingEngine(open_engine(checkpoint), store),
        judge=bench_model.CheapJudge(),
        method=bench_model.method(row["draws"]),
        direction=controls,
    )
    done = time.process_time()
    print(json.dumps({"start": started, "load": 0.0, "work": done - started, "effects": len(outcomes)}))


def floor(row: dict[str, int], model: Path) -> tuple[float, dict[str, float]]:
    """The work in Gflop, and the best measured rates in Gflop/s: see :mod:`floors`.

    Every steered arm has a last prompt token of its own, which is not counted.
    """
    import floors
    import torch
    import transformers

    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    traits = bench_model.traits(row["traits"])
    prompts = [tuple(tokenizer(text)["input_ids"]) for trait in traits for text in bench_model.prompts(trait)]
    answers = len(traits) * (200 * row["draws"] + 60 * (2 + 2 * row["controls"]))
    work = floors.work(prompts, answers * bench_model.NEW_TOKENS)
    return row["checkpoints"] * work, floors.rates(min(400, answers))


def main() -> None:
    """Prints one row of the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("ours", "naive"))
    chosen = parser.parse_args()
    row = ROWS[chosen.row]
    sides = {"naive": naive, "ours": ours}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides if chosen.only in (None, name)}
    with tempfile.TemporaryDirectory() as folder:
        models = [bench_model.build(Path(folder) / f"model-{seed}", seed=seed) for seed in range(row["checkpoints"])]
        for _ in range(chosen.repeats):
            for name in taken:
                taken[name].append(sides[name](models, row, Path(folder)))
                print(f"  {name}: {taken[name][-1]}", flush=True)
        work, rates = floor(row, models[0])
    medians = {name: statistics.median(each["load"] + each["work"] for each in some) for name, some in taken.items()}
    for name, some in taken.items():
        start = statistics.median(each["start"] for each in some)
        print(f"{chosen.row}: {name} {medians[name]:.1f} CPU s, beside {start:.1f} of process start and imports")
    if len(medians) == 2:
        print(f"{chosen.row}: ratio {medians['ours'] / medians['naive']:.3f}")
    if "ours" in medians:
        for name, rate in rates.items():
            least, reached = work / rate, work / rate / medians["ours"]
            print(f"{chosen.row}: floor {least:.1f} CPU s by {name} ({rate:.0f} Gflop/s), {reached:.0%} of it reached")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        trace_once(json.loads(sys.argv[1]))
    else:
        main()
