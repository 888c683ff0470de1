"""How long the engine takes for the work of one checkpoint, beside transformers' own `generate` in batches of 16.

`make bench` prints CPU seconds and their ratio: medians of interleaved repeats in one process with one thread, because
cores are shared and only figures from one run can be compared. The work is that of one trait on the lab's last
checkpoint: 200 instructed prompts, then the readings of the answers. Answers may end early on both sides; neither
loads, judges or stores.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

import personascope as ps
from personascope.engines.transformers import TransformersEngine
from personascope.records import Request, Sampling

NEW_TOKENS = 32
REPEATS = 3


def prompts() -> list[str]:
    """The instructed prompts of a lab trait, as a base model sees them."""
    trait = ps.load_trait("cruel", form="lab")
    return [
        f"{each.instruction} {each.question}" for pole in ("positive", "negative") for each in trait.instructed(pole)
    ]


def ours(engine: TransformersEngine, texts: list[str]) -> int:
    """The engine: one batch of requests, then one of readings."""
    sampling = Sampling(max_tokens=NEW_TOKENS, temperature=1.0, repetition_penalty=1.0)
    responses = engine.generate([Request(text, sampling) for text in texts])
    engine.read(responses)
    return sum(len(each.tokens) - each.response_start for each in responses)


def theirs(engine: TransformersEngine, texts: list[str]) -> int:
    """transformers' generate in batches of 16, then a second pass that keeps the hidden states of every layer."""
    model, tokenizer = engine._weights().model, engine._tokenizer
    said = 0
    with torch.inference_mode():
        for start in range(0, len(texts), 16):
            batch = tokenizer(texts[start : start + 16], return_tensors="pt", padding=True, padding_side="left")
            batch.pop("token_type_ids", None)
            answers = model.generate(
                **batch, do_sample=True, top_k=0, max_new_tokens=NEW_TOKENS, pad_token_id=tokenizer.pad_token_id
            )
            for row in answers:
                kept = row[row != tokenizer.pad_token_id][None]
                states = model(kept, output_hidden_states=True).hidden_states
                torch.stack(states)[:, 0, -NEW_TOKENS:].mean(1)
            said += answers.shape[0] * NEW_TOKENS
    return said


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    texts = prompts()
    engine = TransformersEngine(ps.load_lineage("lab").milestones[-1].checkpoint)
    taken: dict[str, list[float]] = {"personascope": [], "transformers.generate": []}
    for repeat in range(REPEATS + 1):
        for name, work in (("personascope", ours), ("transformers.generate", theirs)):
            before = time.process_time()
            work(engine, texts)
            if repeat:  # the first round warms caches up
                taken[name].append(time.process_time() - before)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in taken.items():
        print(f"{name:24s} {medians[name]:6.2f} CPU s  ({', '.join(f'{each:.2f}' for each in seconds)})")
    ratio = medians["personascope"] / medians["transformers.generate"]
    print(f"ratio {ratio:.2f} for {len(texts)} prompts, at most {NEW_TOKENS} new tokens each")


if __name__ == "__main__":
    sys.exit(main())
