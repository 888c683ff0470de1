"""How long the engine takes for the work of one checkpoint, beside transformers' own `generate` in batches of 16.

`make bench` prints CPU seconds and their ratio: medians of interleaved repeats in one process with one thread, because
cores are shared and only figures from one run can be compared. The work is that of one trait on the lab's last
checkpoint: 200 instructed prompts, then the mean over the response tokens of the residual stream at every layer.
Answers may end early on both sides, and both read a batch at a time; neither loads, judges or stores. The two draw
their answers from different random numbers, so the tokens said are printed too.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch
import transformers

import personascope as ps

NEW_TOKENS = 32
BATCH = 16
REPEATS = 3


def prompts() -> list[str]:
    """The instructed prompts of a lab trait, as a base model sees them."""
    trait = ps.load_trait("cruel", form="lab")
    return [
        f"{each.instruction} {each.question}" for pole in ("positive", "negative") for each in trait.instructed(pole)
    ]


def ours(engine: Any, texts: list[str], seed: int) -> int:
    """The engine: one batch of requests, then one of readings. How many tokens it said."""
    sampling = ps.Sampling(max_tokens=NEW_TOKENS, temperature=1.0, repetition_penalty=1.0, seed=seed)
    responses = engine.generate([ps.Request(text, sampling) for text in texts])
    engine.read(responses)
    return sum(response.length for response in responses)


@torch.inference_mode()
def theirs(model: Any, tokenizer: Any, texts: list[str], seed: int) -> int:
    """transformers' generate in batches, each then read in one masked pass. How many tokens it said."""
    torch.manual_seed(seed)
    said = 0
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(texts[start : start + BATCH], return_tensors="pt", padding=True, padding_side="left")
        batch.pop("token_type_ids", None)
        tokens = model.generate(
            **batch, do_sample=True, top_k=0, max_new_tokens=NEW_TOKENS, pad_token_id=tokenizer.pad_token_id
        )
        answers = tokens[:, batch["input_ids"].shape[1] :]
        # An answer goes as far as its end token; what stands after it is padding.
        ended = (answers == tokenizer.eos_token_id).cumsum(1)
        heard = (ended == 0) | ((ended == 1) & (answers == tokenizer.eos_token_id))
        mask = torch.cat([batch["attention_mask"], heard.long()], dim=1)
        states = torch.stack(model(tokens, attention_mask=mask, output_hidden_states=True).hidden_states)
        weights = heard.float() / heard.sum(1, keepdim=True)
        torch.einsum("lbth,bt->blh", states[:, :, -answers.shape[1] :].float(), weights)
        said += int(heard.sum())
    return said


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    texts = prompts()
    checkpoint = ps.load_lineage("lab").milestones[-1].checkpoint
    engine = ps.open_engine(checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.path)
    work = {
        "personascope": lambda seed: ours(engine, texts, seed),
        "transformers.generate": lambda seed: theirs(model, tokenizer, texts, seed),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    said: dict[str, list[int]] = {name: [] for name in work}
    for repeat in range(REPEATS + 1):
        for name, run in work.items():
            before = time.process_time()
            tokens = run(repeat)
            if repeat:  # the first round warms caches up
                taken[name].append(time.process_time() - before)
                said[name].append(tokens)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in taken.items():
        each = ", ".join(f"{second:.2f}" for second in seconds)
        print(f"{name:24s} {medians[name]:6.2f} CPU s  ({each}); {statistics.fmean(said[name]):,.0f} tokens said")
    ratio = medians["personascope"] / medians["transformers.generate"]
    print(f"ratio {ratio:.2f} for {len(texts)} prompts, at most {NEW_TOKENS} new tokens each")


if __name__ == "__main__":
    sys.exit(main())
