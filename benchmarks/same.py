"""Whether answers and vectors are those of another commit, and how near a boundary every difference is.

`python benchmarks/same.py CHECKOUT` asks this code and that of CHECKOUT (`git worktree add CHECKOUT COMMIT`) the same
of the random model of speed.py and of the lab's last checkpoint: sampled, greedy and steered answers, and the vector at
every layer. Where two answers part, the engine that computes one text at a time says how far from a boundary
the choice was: a uniform number from where the one token's share ends, or two logits from one another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench_model
import numpy as np
import torch

import personascope as ps
from personascope.core.records import Request
from personascope.engines.naive import NaiveEngine
from personascope.engines.transformers import TransformersEngine
from personascope.engines.uniforms import uniforms_of

NEAR = 1e-4
"""How near a boundary a choice must be for rounding to explain a difference."""

Asked = list[dict[str, Any]]


def asked_of(folder: Path, traits: Sequence[ps.Trait], *, draws: int) -> Asked:
    """What is asked of a checkpoint, in plain words: sampled, greedy and steered answers to instructed prompts."""
    engine = TransformersEngine(ps.Checkpoint.at(folder))
    method, asked = bench_model.method(draws).extraction, []
    for trait in traits:
        for pole in ("positive", "negative"):
            texts = [engine.render(each) for each in trait.instructed(pole)]
            about = {"trait": trait.name, "pole": pole, "penalty": method.repetition_penalty}
            asked += [
                {**about, "kind": "sampled", "text": text, "draw": draw, "temperature": method.temperature}
                for text in texts
                for draw in range(draws)
            ]
            for kind, temperature in (("greedy", 0.0), ("steered", method.temperature)):
                asked += [
                    {**about, "kind": kind, "text": text, "draw": 0, "temperature": temperature} for text in texts
                ]
    return asked


def requests_of(asked: Asked, engine: TransformersEngine) -> list[Request]:
    """The requests; steered ones are pushed at the middle layer while they answer."""
    drawn = np.random.default_rng(0).standard_normal(engine.hidden_size)
    push = ps.Edit(drawn / np.linalg.norm(drawn), engine.last_layer // 2, "response")
    return [
        Request(
            each["text"],
            ps.Sampling(
                max_tokens=bench_model.NEW_TOKENS,
                temperature=each["temperature"],
                repetition_penalty=each["penalty"],
            ),
            each["draw"],
            (push,) if each["kind"] == "steered" else (),
        )
        for each in asked
    ]


def answer(folder: str, asked: str, told: str) -> None:
    """In a process of its own, with whichever code it finds: asks, reads and writes down what it was told."""
    torch.set_num_threads(1)
    engine = TransformersEngine(ps.Checkpoint.at(Path(folder)))
    responses = engine.generate(requests_of(json.loads(Path(asked).read_text()), engine))
    tokens = [list(each.spoken[0][each.spoken[1] :]) for each in responses]
    ends = [each.finish for each in responses]
    readings = engine.read(responses)
    np.savez(told, tokens=json.dumps(tokens), ends=json.dumps(ends), means=readings.response)


def told_by(code: Path, job: dict[str, str]) -> dict[str, Any]:
    """What the code in a checkout answers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code / "src")}
    subprocess.run([sys.executable, __file__, json.dumps(job)], check=True, env=environment)
    with np.load(job["told"]) as found:
        named = {name: json.loads(str(found[name])) for name in ("tokens", "ends")}
        return {**named, "means": found["means"]}


def distance(naive: NaiveEngine, request: Request, tokens: list[list[int]], end: int) -> float:
    """How far the choice at which two answers part was from a boundary."""
    shared = [one == other for one, other in zip(*tokens, strict=False)]
    place = shared.index(False) if False in shared else len(shared)
    one, other = (each[place] if place < len(each) else end for each in tokens)
    prompt = rendered(naive, request)
    spoken = (*prompt, *tokens[0][:place])
    logits = naive._pass(spoken, len(prompt), request.edits).logits[-1].double().numpy()
    penalty, heard = request.drawn_with.repetition_penalty, sorted(set(spoken))
    logits[heard] = np.where(logits[heard] < 0, logits[heard] * penalty, logits[heard] / penalty)
    if request.drawn_with.temperature == 0:
        return float(abs(logits[one] - logits[other]))
    weights = np.exp((logits - logits.max()) / request.drawn_with.temperature)
    share = np.cumsum(weights) / weights.sum()
    between = share[min(one, other) : max(one, other)]
    return float(np.abs(between - uniforms_of(request)[place]).min())


def rendered(naive: NaiveEngine, request: Request) -> tuple[int, ...]:
    """The tokens of a prompt."""
    tokens, start = naive.encode([ps.Response(request, None, None, "", "length")])[0].spoken
    return tokens[:start]


def compare(name: str, folder: Path, traits: Sequence[ps.Trait], before: Path, *, draws: int) -> bool:
    """Prints how many answers are the same, how near a boundary the others are, and the cosines of the vectors."""
    asked = asked_of(folder, traits, draws=draws)
    with tempfile.TemporaryDirectory() as place:
        listed = Path(place) / "asked.json"
        listed.write_text(json.dumps(asked))
        jobs = {"folder": str(folder), "asked": str(listed), "told": str(Path(place) / "told.npz")}
        then, now = told_by(before, jobs), told_by(Path(__file__).parents[1], jobs)
    naive = NaiveEngine(ps.Checkpoint.at(folder))
    requests, end = requests_of(asked, naive._words), min(naive._ends)
    all_gaps: list[float] = []
    for kind in ("sampled", "greedy", "steered"):
        some = [place for place, each in enumerate(asked) if each["kind"] == kind]
        parted = [
            place
            for place in some
            if (then["tokens"][place], then["ends"][place]) != (now["tokens"][place], now["ends"][place])
        ]
        gaps = [distance(naive, requests[p], [then["tokens"][p], now["tokens"][p]], end) for p in parted]
        all_gaps += gaps
        same = 1 - len(parted) / len(some)
        print(f"{name}, {kind}: {len(some) - len(parted):,} of {len(some):,} answers are the same ({same:.2%})", end="")
        print(f", the others parted within {max(gaps):.1e} of a boundary" if gaps else "")
    cosines = [cosine_of(asked, trait.name, then, now) for trait in traits]
    print(f"{name}: cosine of the vectors at least {min(cosines):.8f} at every layer of {len(traits)} traits")
    return len(all_gaps) <= 0.005 * len(asked) and max(all_gaps, default=0.0) <= NEAR and min(cosines) >= 0.9999


def cosine_of(asked: Asked, trait: str, then: dict[str, Any], now: dict[str, Any]) -> float:
    """The lowest cosine, over layers, between the vectors of a trait."""
    poles: list[Any] = [
        [i for i, each in enumerate(asked) if (each["kind"], each["trait"], each["pole"]) == ("sampled", trait, pole)]
        for pole in ("positive", "negative")
    ]
    one, other = (
        np.nanmean(told["means"][poles[0]] - told["means"][poles[1]], axis=0, dtype=float) for told in (then, now)
    )
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(((one * other).sum(-1) / norms).min())


def main() -> None:
    """Prints the comparison; exit code 1 if it is not as promised."""
    if sys.argv[1].startswith("{"):
        answer(**json.loads(sys.argv[1]))
        return
    before = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = bench_model.build(Path(place) / "model")
        good = compare("random model", folder, bench_model.traits(1), before, draws=2)
    lab = ps.load_lineage("lab").milestones[-1].checkpoint
    traits = [ps.load_trait(name, form="lab") for name in ("cruel", "flattering", "funny", "rude")]
    good &= compare("lab", Path(str(lab.path)), traits, before, draws=10)
    sys.exit(not good)


if __name__ == "__main__":
    main()
