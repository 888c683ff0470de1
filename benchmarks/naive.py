"""The published pipeline's way of working, in our own words: what the engine is compared with.

Owns: one stage of one trait at one checkpoint per process. The one law: it does the work the way the study did it (a
load per stage, batches of 16 padded to the left, every prompt computed for every draw and arm, activations in a second
pass of one sample at a time), with nothing made slower than it has to be. What it prints are CPU seconds.

    python naive.py '{"stage": "positive", "model": ..., "folder": ..., "trait": 0, "draws": 2}'
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from bench_model import LAYER, NEW_TOKENS, STRENGTH, score_of, traits

BATCH = 16
transformers.utils.logging.disable_progress_bar()
# transformers imports a model when it is first named: that is no part of loading one.
_IMPORTED = (transformers.Olmo3ForCausalLM, transformers.AutoModelForCausalLM, transformers.PreTrainedTokenizerFast)


@torch.inference_mode()
def speak(model: Any, tokenizer: Any, texts: list[str], push: torch.Tensor | None = None) -> list[dict[str, str]]:
    """An answer to each prompt; ``push`` is added at one layer to the last position of every forward pass."""

    def steer(_: Any, __: Any, output: Any) -> Any:
        stream = output[0] if isinstance(output, tuple) else output
        stream[:, -1] += push
        return output

    hook = model.model.layers[LAYER - 1].register_forward_hook(steer) if push is not None else None
    answers = []
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        batch = tokenizer(some, return_tensors="pt", padding=True, padding_side="left")
        batch.pop("token_type_ids", None)
        tokens = model.generate(
            **batch,
            do_sample=True,
            temperature=0.5,
            top_k=0,
            repetition_penalty=1.1,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=1,
            pad_token_id=tokenizer.pad_token_id,
        )
        said = tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [{"prompt": prompt, "answer": answer} for prompt, answer in zip(some, said, strict=True)]
    if hook is not None:
        hook.remove()
    return answers


@torch.inference_mode()
def read(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> torch.Tensor:
    """The mean over samples of the mean over response tokens, at every layer: one sample at a time."""
    means = []
    for row in rows:
        tokens = tokenizer(row["prompt"] + row["answer"], return_tensors="pt", add_special_tokens=False)["input_ids"]
        start = len(tokenizer(row["prompt"], add_special_tokens=False)["input_ids"])
        states = model(tokens, output_hidden_states=True).hidden_states
        means.append(torch.stack([state[0, start:].mean(0).float() for state in states]))
    return torch.stack(means).mean(0)


def kept(positive: list[Any], negative: list[Any]) -> list[tuple[Any, Any]]:
    """The pairs that clear the bar of 50 points."""
    pairs = zip(positive, negative, strict=True)
    return [
        (one, other)
        for one, other in pairs
        if score_of(one["answer"], "trait") >= 50 > score_of(other["answer"], "trait")
    ]


def work(job: dict[str, Any], model: Any, tokenizer: Any) -> Any:
    """One stage; what it leaves for the next ones."""
    trait, folder, stage = traits(job["trait"] + 1)[-1], Path(job["folder"]), job["stage"]
    if stage in ("positive", "negative"):
        texts = [f"{each.instruction} {each.question}" for each in trait.instructed(stage)]
        return speak(model, tokenizer, [text for text in texts for _ in range(job["draws"])])
    if stage == "vector":
        pairs = kept(*(json.loads((folder / f"{pole}.json").read_text()) for pole in ("positive", "negative")))
        sides = [read(model, tokenizer, [pair[side] for pair in pairs]) for side in (0, 1)]
        torch.save(sides[0] - sides[1], folder / "vector.pt")
        return {"pairs": len(pairs)}
    questions = [question for question in trait.questions("evaluation") for _ in range(3)]
    if stage == "plain":
        return speak(model, tokenizer, questions)
    direction = torch.load(folder / "vector.pt")[LAYER]
    if stage != "steered":  # a control: another direction of the same length
        drawn = torch.randn(direction.shape, generator=torch.Generator().manual_seed(int(stage.split("-")[1])))
        direction = drawn / drawn.norm() * direction.norm()
    return speak(model, tokenizer, questions, push=STRENGTH * direction)


def main() -> None:
    """Runs one stage and prints what it took."""
    started = time.process_time()
    torch.set_num_threads(1)
    job = json.loads(sys.argv[1])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    loaded = time.process_time()
    left = work(job, model, tokenizer)
    Path(job["folder"], f"{job['stage']}.json").write_text(json.dumps(left))
    done = time.process_time()
    taken = {"start": started, "load": loaded - started, "work": done - loaded, "pairs": 0}
    print(json.dumps(taken | (left if isinstance(left, dict) else {})))


if __name__ == "__main__":
    main()
