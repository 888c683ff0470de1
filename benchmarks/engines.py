"""How many greedy answers agree between the transformers engine and vLLM, and how close the best tokens are elsewhere.

`python benchmarks/engines.py MODEL [--prompts 60] [--tokens 32] [--dtype float32]` asks both engines the same: plainly
and pushed along random directions in all three places. Where answers differ it prints how far apart, in logits, the two
tokens are that the engines chose first, and beside it how far the two engines' log-probabilities of the same tokens
are apart. One process: vLLM first, then transformers; CPU seconds are of the second of two calls with other prompts, so
loading is left out, and nothing is cached.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import personascope as ps
from personascope.core.records import Edit, Request, Response, Sampling
from personascope.engines import Engine


def texts_of(engine: Engine, count: int, *, skip: int = 0) -> list[str]:
    """Rendered prompts: the bundled traits' questions, with an instruction before every other one."""
    form = "lab" if engine.hidden_size == 64 else "assistant"
    names = ("cruel", "flattering", "funny", "rude") if form == "lab" else ("evil", "sycophantic", "humorous")
    found = [
        engine.render(prompt)
        for name in names
        for trait in [ps.load_trait(name, form=form)]
        for prompt in (*map(ps.Prompt, trait.questions("evaluation")), *trait.instructed("negative"))
    ]
    return [found[(skip + place) % len(found)] for place in range(count)]


def requests_of(engine: Engine, texts: Sequence[str], tokens: int, norms: np.ndarray) -> list[Request]:
    """Each text plainly, and under a random direction of half the residual norm in each place, layer after layer."""
    sampling = Sampling(max_tokens=tokens, temperature=0.0, repetition_penalty=1.0)
    random, requests = np.random.default_rng(0), []
    for place, text in enumerate(texts):
        layer = 1 + place % engine.last_layer
        drawn = random.normal(size=engine.hidden_size)
        push = drawn / np.linalg.norm(drawn) * norms[layer] / 2
        edits: list[Any] = [(), *((Edit(push, layer, where),) for where in ("response", "prompt", "all"))]
        requests += [Request(text, sampling, 0, each) for each in edits]
    return requests


def first_difference(ours: Response, theirs: Response, ends: int) -> tuple[int, int, int]:
    """Where two answers part, and the token each says there; an answer that ended says ``ends``."""
    one, other = (each.tokens[each.response_start :] for each in (ours, theirs))  # type: ignore[index]
    place = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(one), len(other)) if place is None else place
    return place, *(each[place] if place < len(each) else ends for each in (one, other))


def gaps(engine: Engine, pairs: Sequence[tuple[Response, Response]], end: int) -> list[float]:
    """How far apart in logits are the tokens at which answers part, as the engine computes them."""
    asked = []
    for ours, theirs in pairs:
        place, *tokens = first_difference(ours, theirs, end)
        kept = theirs.tokens[: theirs.response_start + place]  # type: ignore[index,operator]
        asked += [replace(theirs, tokens=(*kept, token)) for token in tokens]
    chances = [each[-1] for each in engine.likelihoods(asked)]
    return [float(abs(one - other)) for one, other in zip(chances[::2], chances[1::2], strict=True)]


def timed(engine: Engine, first: Sequence[Request], requests: Sequence[Request]) -> tuple[list[Response], float, float]:
    """Answers, and the CPU seconds of answering and of reading, after a call that warms up."""
    engine.read(engine.generate(first))
    start = time.process_time()
    answers = engine.generate(requests)
    answered = time.process_time()
    engine.read(answers)
    return answers, answered - start, time.process_time() - answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    engines: dict[str, Engine] = {
        name: ps.open_engine(given.model, engine=name, dtype=given.dtype) for name in ("vllm", "transformers")
    }
    vllm, plain = engines["vllm"], engines["transformers"]
    texts = texts_of(plain, given.prompts)
    warm = [Request(text, Sampling(max_tokens=4, temperature=0.0)) for text in texts_of(plain, 8, skip=given.prompts)]
    norms = vllm.read(vllm.generate(warm)).norms.mean(0)
    requests = requests_of(plain, texts, given.tokens, norms)
    ours, *seconds = timed(vllm, warm, requests)
    chances, readings = vllm.likelihoods(ours), vllm.read(ours)
    vllm.close()
    theirs, *others = timed(plain, warm, requests)
    differing = [pair for pair in zip(ours, theirs, strict=True) if pair[0].tokens != pair[1].tokens]
    same_texts = plain.likelihoods(ours), plain.read(ours)
    off = max(float(np.abs(one - other).max()) for one, other in zip(chances, same_texts[0], strict=True) if len(one))
    read = np.nanmax(np.abs(readings.response - same_texts[1].response)) / np.nanmax(np.abs(same_texts[1].response))
    print(f"{Path(given.model).name} in {given.dtype}: {len(requests)} greedy answers of at most {given.tokens} tokens")
    print(f"log-probabilities of the same tokens differ by at most {off:.2g}, readings by {read:.2g} of the largest")
    print(f"{len(requests) - len(differing)} agree; CPU s to answer and read: vllm {seconds}, transformers {others}")
    end = next(iter(plain._end_tokens))  # type: ignore[attr-defined]
    print("logits apart where answers part:", sorted(round(each, 6) for each in gaps(plain, differing, end)))


if __name__ == "__main__":
    main()
