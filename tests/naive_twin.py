"""The transformers engine, written again as plainly as possible: the oracle of its tests.

Owns: :class:`NaiveTwin`. The one law: it shares no code with the engine. One row at a time, no padding, no cache, eager
attention, its own hooks at a path written down per architecture, its own sampling in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from personascope.core.records import Edit, Response
from personascope.engines.uniforms import uniforms_of


class NaiveTwin:
    """A model that is asked one whole text at a time."""

    def __init__(self, folder: Path | None = None, *, model: Any = None) -> None:
        if model is None:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, attn_implementation="eager", dtype=torch.float32
            )
        self.model = model.eval()
        self.layers = model.gpt_neox.layers if hasattr(model, "gpt_neox") else model.model.layers

    def streams(
        self, tokens: Sequence[int], edits: Sequence[Edit] = (), *, response_start: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The residual stream ``[layer position hidden]`` and the logits ``[position token]`` of one text."""
        start = len(tokens) if response_start is None else response_start
        seen: dict[int, torch.Tensor] = {}

        def moved(stream: torch.Tensor, layer: int) -> torch.Tensor:
            stream = stream.clone()
            # Additions commute with one another and come before what follows in the order of the edits.
            for edit in sorted((each for each in edits if each.layer == layer), key=lambda e: e.operation != "add"):
                first = start - 1 if edit.where == "response" else 0
                last = start if edit.where == "prompt" else len(tokens)
                stream[0, first:last] = done(edit, stream[0, first:last])
            seen[layer] = stream.detach().clone()
            return stream

        def entering(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (moved(args[0], 0), *args[1:]), kwargs

        def leaving(layer: int) -> Any:
            def hook(_: Any, __: Any, output: Any) -> Any:
                if isinstance(output, torch.Tensor):
                    return moved(output, layer)
                return (moved(output[0], layer), *output[1:])

            return hook

        handles = [self.layers[0].register_forward_pre_hook(entering, with_kwargs=True)]
        handles += [block.register_forward_hook(leaving(place + 1)) for place, block in enumerate(self.layers)]
        with torch.no_grad():
            logits = self.model(torch.tensor([list(tokens)]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        return torch.stack([seen[layer][0] for layer in sorted(seen)]).numpy(), logits.numpy()

    def readings(self, response: Response) -> dict[str, np.ndarray]:
        """The four means of one response, in float64."""
        start = response.response_start
        stream, _ = self.streams(response.tokens, response.request.edits, response_start=start)
        exact = stream.astype(np.float64)
        return {
            "response": exact[:, start:].mean(1),
            "prompt": exact[:, :start].mean(1),
            "last_prompt": exact[:, start - 1],
            "norms": np.linalg.norm(exact[:, start:], axis=-1).mean(1),
        }

    def faults(self, response: Response, ends: set[int], *, tolerance: float = 1e-4) -> list[str]:
        """Where an answer is not what this model would have said, given all that was said before.

        ``tolerance`` is in units of logits (greedy) or probability (sampled): another width moves logits by 3e-6.
        """
        request, start = response.request, response.response_start
        _, logits = self.streams(response.tokens, request.edits, response_start=start)
        uniforms = uniforms_of(request)
        faults = []
        for step in range(response.length + (response.finish == "stop")):
            spoken = response.tokens[: start + step]
            scores = penalised(logits[start + step - 1], spoken, request.sampling.repetition_penalty)
            candidates = {response.tokens[start + step]} if step < response.length else ends
            if not any(would_take(scores, token, uniforms[step], request.sampling, tolerance) for token in candidates):
                faults.append(f"step {step}: token {sorted(candidates)[:3]} is not what the twin would say")
        return faults


def done(edit: Edit, stream: torch.Tensor) -> torch.Tensor:
    """What an edit makes of tokens it reaches: written as in the papers."""
    direction = torch.tensor(edit.direction)
    if edit.operation == "add":
        return stream + direction
    if not direction.any():
        return stream
    direction = direction / direction.norm()
    along = stream @ direction
    beyond = along if edit.operation == "ablate" else (along - edit.bound).clamp(min=0)
    return stream - torch.outer(beyond, direction)


def penalised(scores: np.ndarray, spoken: Sequence[int], penalty: float) -> list[float]:
    """Scores after the repetition penalty: one token at a time."""
    plain = [float(score) for score in scores]
    for token in set(spoken):
        plain[token] = plain[token] * penalty if plain[token] < 0 else plain[token] / penalty
    return plain


def kept_weights(scores: Sequence[float], temperature: float, top_p: float) -> list[float]:
    """Unnormalised probabilities after temperature and top-p: one token at a time."""
    top = max(scores)
    weights = [math.exp((score - top) / temperature) for score in scores]
    if top_p == 1:
        return weights
    total, before, kept = sum(weights), 0.0, [0.0] * len(weights)
    for token in sorted(range(len(weights)), key=lambda each: (-weights[each], each)):
        if before < top_p * total:
            kept[token] = weights[token]
        before += weights[token]
    return kept


def inverted(weights: Sequence[float], uniform: float) -> int:
    """The first token, in order of their ids, whose cumulated share exceeds the uniform number."""
    total, mass = sum(weights), 0.0
    for token, weight in enumerate(weights):
        mass += weight
        if mass > uniform * total:
            return token
    raise AssertionError("a uniform number below 1 is always exceeded")


def would_take(scores: Sequence[float], token: int, uniform: float, sampling: Any, tolerance: float) -> bool:
    """Whether a token is the one the numbers choose, give or take the tolerance."""
    if sampling.temperature == 0:
        return scores[token] >= max(scores) - tolerance
    weights = kept_weights(scores, sampling.temperature, sampling.top_p)
    total = sum(weights)
    below = sum(weights[:token]) / total
    return below - tolerance <= uniform < below + weights[token] / total + tolerance and weights[token] > 0
