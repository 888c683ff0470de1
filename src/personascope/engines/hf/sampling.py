"""How the next token is drawn.

Owns: :class:`Sampler`. The one law: a row's tokens are a function of its own
logits, its own sampling numbers and its own uniforms; the uniforms are keyed by (rendered text, draw, seed) and by
nothing else, so every arm of one (question, draw) shares them.

There is no hidden ``top_k`` and nothing of a model's ``generation_config`` takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.core.errors import EngineError
from personascope.core.records import Sampling

AT_ONCE: Final = 2**17
"""Logits that are looked at together on a CPU: they stay in its cache from the first step to the last."""

BLOCK: Final = 64
"""Tokens whose weights are summed up together."""


class Sampler:
    """Draws one token per row and step, by inverting the cumulative distribution in token-id order.

    In this order: repetition penalty over prompt and response tokens, temperature, top-p. Probabilities are float64 in
    the arithmetic of the device that holds the logits (on the CPU where a device has no float64). Temperature 0 takes
    the highest logit, the lowest id on ties.
    """

    def __init__(
        self,
        samplings: Sequence[Sampling],
        uniforms: Sequence[Float[np.ndarray, "_step"]],
        prompts: Sequence[Sequence[int]],
        *,
        device: torch.device,
    ) -> None:
        self.device = torch.device("cpu") if device.type == "mps" else device
        numbers = [(each.temperature, each.top_p, each.repetition_penalty) for each in samplings]
        columns = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        self._temperature, self._top_p, self._penalty = columns[:, 0:1], columns[:, 1:2], columns[:, 2:3]
        steps = max(len(each) for each in uniforms)
        padded = np.zeros((len(uniforms), steps))
        for row, each in enumerate(uniforms):
            padded[row, : len(each)] = each
        self._uniforms = torch.from_numpy(padded).to(self.device)
        self._said = max(len(each) for each in prompts)
        # The tokens of each row so far, its own first one again where there is none yet: to penalise twice is once.
        seen = np.empty((len(prompts), self._said + steps), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            seen[row] = prompt[0]
            seen[row, : len(prompt)] = prompt
        self._seen = torch.from_numpy(seen).to(self.device)
        self._penalises = bool((self._penalty != 1).any())

    def draw(self, logits: Float[torch.Tensor, "row token"], step: int) -> Int[torch.Tensor, "row"]:
        """The next token of every row.

        Raises:
            EngineError: if the logits of a row are not numbers, as after an edit too strong for the dtype.
        """
        rows, vocabulary = logits.shape
        some = rows if self.device.type != "cpu" else max(1, AT_ONCE // vocabulary)
        tokens = [self._drawn(logits, slice(first, first + some), step) for first in range(0, rows, some)]
        self._seen[:, self._said + step] = torch.cat(tokens)
        return self._seen[:, self._said + step].clone()

    def keep(self, rows: Int[torch.Tensor, "kept"]) -> None:
        """Drops every other row."""
        rows = rows.to(self.device)
        for name in ("_temperature", "_top_p", "_penalty", "_uniforms", "_seen"):
            setattr(self, name, getattr(self, name)[rows])

    def _drawn(self, logits: Float[torch.Tensor, "row token"], rows: slice, step: int) -> Int[torch.Tensor, "some"]:
        """The next token of some rows."""
        scores = logits[rows].to(self.device, torch.float64, copy=True)
        if self._penalises:
            said, penalty = self._seen[rows], self._penalty[rows]
            seen = scores.gather(-1, said)
            scores.scatter_(-1, said, torch.where(seen < 0, seen * penalty, seen / penalty))
        highest = scores.amax(-1, keepdim=True)
        if not bool(torch.isfinite(highest).all()):
            raise EngineError(
                "the model's logits are not finite, so no token can be drawn: lower the strength of the edit, "
                "or choose dtype float32"
            )
        temperature = self._temperature[rows]
        greedy = temperature == 0
        likeliest = scores.argmax(-1, keepdim=True) if bool(greedy.any()) else None
        if likeliest is not None and bool(greedy.all()):
            return likeliest[:, 0]
        heat = torch.where(greedy, 1.0, temperature)
        weights = scores.sub_(highest).div_(heat).exp_()
        narrowed = (self._top_p[rows, 0] < 1).nonzero()[:, 0]
        if len(narrowed):
            weights[narrowed] = _nucleus(weights[narrowed], self._top_p[rows][narrowed])
        tokens = _inverted(weights, self._uniforms[rows, step : step + 1])
        return (tokens if likeliest is None else torch.where(greedy, likeliest, tokens))[:, 0]


def _inverted(
    weights: Float[torch.Tensor, "row token"], uniforms: Float[torch.Tensor, "row 1"]
) -> Int[torch.Tensor, "row 1"]:
    """The token at which the weights, summed up in order, exceed a share of their total: one that has a weight.

    It is looked for among sums of blocks first and then in one block: to sum up one by one is slow.
    """
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[1] % BLOCK)).view(len(weights), -1, BLOCK)
    mass = _cumulated(blocks.sum(-1))
    target = uniforms * mass[:, -1:]
    block = _first_beyond(target, mass)
    before = torch.where(block > 0, mass.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = _cumulated(blocks.gather(1, block[..., None].expand(-1, -1, BLOCK))[:, 0])
    # What is left of the target, and not the block's sums beside all before it: beside that they may round to nothing.
    return BLOCK * block + _first_beyond(target - before, inside)


def _cumulated(weights: Float[torch.Tensor, "row place"]) -> Float[torch.Tensor, "row place"]:
    """The weights summed up in order: never less than before, and more only where there is a weight.

    A GPU adds up as a tree, so that the sums of two neighbours may be rounded apart where nothing is added.
    """
    return torch.where(weights > 0, weights.cumsum(-1), 0.0).cummax(-1).values


def _first_beyond(
    target: Float[torch.Tensor, "row 1"], sums: Float[torch.Tensor, "row place"]
) -> Int[torch.Tensor, "row 1"]:
    """The first place whose sum exceeds the target, or comes up to the total if the target was rounded up to that."""
    total = sums[:, -1:]
    return torch.searchsorted(sums, torch.minimum(target, torch.nextafter(total, total * 0)), right=True)


def _nucleus(
    weights: Float[torch.Tensor, "row token"], top_p: Float[torch.Tensor, "row 1"]
) -> Float[torch.Tensor, "row token"]:
    """The weights of the fewest most likely tokens that hold a share of ``top_p``; ties keep the lower id first."""
    ordered, places = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = torch.where(before < top_p * ordered.sum(-1, keepdim=True), ordered, 0.0)
    return torch.zeros_like(weights).scatter_(-1, places, ordered)
