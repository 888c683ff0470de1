"""How the next token is drawn.

Owns: :class:`Sampler`. The one law: a row's tokens are a function of its own
logits, its own sampling numbers and its own uniforms; the uniforms are keyed by (rendered text, draw, seed) and by
nothing else, so every arm of one (question, draw) shares them.

There is no hidden ``top_k`` and nothing of a model's ``generation_config`` takes part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.errors import EngineError
from personascope.records import Sampling


class Sampler:
    """Draws one token per row and step, by inverting the cumulative distribution in token-id order.

    In this order: repetition penalty over prompt and response tokens, temperature, top-p. Probabilities are float64 in
    the arithmetic of the device that holds the logits (on the CPU where a device has no float64). Temperature 0 takes
    the highest logit, the lowest id on ties.
    """

    def __init__(
        self,
        samplings: Sequence[Sampling],
        uniforms: Sequence[Float[np.ndarray, "step"]],
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
        scores = logits.to(self.device, torch.float64)
        if not bool(torch.isfinite(scores.amax(-1)).all()):
            raise EngineError(
                "the model's logits are not finite, so no token can be drawn: lower the strength of the edit, "
                "or choose dtype float32"
            )
        if self._penalises:
            scores = self._penalised(scores)
        greedy = self._temperature[:, 0] == 0
        if bool(greedy.all()):
            tokens = scores.argmax(-1)
        else:
            tokens = self._inverted(scores, step)
            tokens = torch.where(greedy, scores.argmax(-1), tokens) if bool(greedy.any()) else tokens
        self._seen[:, self._said + step] = tokens
        return tokens

    def keep(self, rows: Int[torch.Tensor, "kept"]) -> None:
        """Drops every other row."""
        rows = rows.to(self.device)
        for name in ("_temperature", "_top_p", "_penalty", "_uniforms", "_seen"):
            setattr(self, name, getattr(self, name)[rows])

    def _penalised(self, scores: Float[torch.Tensor, "row token"]) -> Float[torch.Tensor, "row token"]:
        seen = scores.gather(-1, self._seen)
        return scores.scatter(-1, self._seen, torch.where(seen < 0, seen * self._penalty, seen / self._penalty))

    def _inverted(self, scores: Float[torch.Tensor, "row token"], step: int) -> Int[torch.Tensor, "row"]:
        heated = scores / torch.where(self._temperature == 0, 1.0, self._temperature)
        weights = (heated - heated.amax(-1, keepdim=True)).exp_()
        narrowed = (self._top_p[:, 0] < 1).nonzero()[:, 0]
        if len(narrowed):
            weights[narrowed] = _nucleus(weights[narrowed], self._top_p[narrowed])
        mass = weights.cumsum(-1)
        total = mass[:, -1:]
        # The product may round up to the total, which no cumulated mass exceeds: the last token then takes it.
        target = torch.minimum(self._uniforms[:, step : step + 1] * total, torch.nextafter(total, total * 0))
        return torch.searchsorted(mass, target, right=True)[:, 0]


def _nucleus(
    weights: Float[torch.Tensor, "row token"], top_p: Float[torch.Tensor, "row 1"]
) -> Float[torch.Tensor, "row token"]:
    """The weights of the fewest most likely tokens that hold a share of ``top_p``; ties keep the lower id first."""
    ordered, places = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = torch.where(before < top_p * ordered.sum(-1, keepdim=True), ordered, 0.0)
    return torch.zeros_like(weights).scatter_(-1, places, ordered)
