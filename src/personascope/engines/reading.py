"""The reading pass: what was said is read as it stands, one batch of rows of one width.

Owns: :func:`read_means` and :func:`laid_out`. The one law: a row is computed at a width that is a function of its own
length alone, among enough rows for a matrix product to stay one, so its batch mates cannot change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.core.records import Request, Response
from personascope.engines import edits
from personascope.engines.blocks import Touch
from personascope.engines.decoding import FEWEST_ROWS, Loaded
from personascope.engines.edits import Shifts


@dataclass(frozen=True, eq=False)
class Spoken:
    """One response to read: its tokens, where the response starts, and the edits it was given under."""

    request: Request
    tokens: tuple[int, ...]
    response_start: int


def read_means(loaded: Loaded, rows: Sequence[Spoken], width: int) -> dict[str, Float[np.ndarray, "row layer ..."]]:
    """Per row and layer: means over response, prompt and last prompt token, and the mean norm over the response.

    Padding is to the right, where no token sees it, so no mask is needed and every kernel is the causal one.
    """
    tokens, phases, shifts = laid_out(loaded, rows, width)
    reader = _Reader(phases, range(loaded.last_layer + 1))
    with loaded.stream.touched(reader.after(shifts)):
        loaded.model(input_ids=tokens, use_cache=False, logits_to_keep=1)
    return {name: np.stack(layers, 1)[: len(rows)] for name, layers in reader.seen.items()}


def laid_out(
    loaded: Loaded, rows: Sequence[Spoken], width: int
) -> tuple[Int[torch.Tensor, "row position"], Int[torch.Tensor, "row position"], dict[int, Touch]]:
    """Tokens and phases of rows padded on the right, where no token sees it, and what their edits do at each layer.

    Rows enough for a batch: the first again and again, if they are too few.
    """
    filled = [*rows, *[rows[0]] * (FEWEST_ROWS - len(rows))]
    tokens = torch.zeros((len(filled), width), dtype=torch.long)
    phases = torch.full((len(filled), width), edits.PADDING)
    for row, each in enumerate(filled):
        tokens[row, : len(each.tokens)] = torch.tensor(each.tokens)
        phases[row, : len(each.tokens)] = edits.RESPONSE
        phases[row, : each.response_start] = edits.PROMPT
        phases[row, each.response_start - 1] = edits.LAST_PROMPT
    tokens, phases = tokens.to(loaded.device), phases.to(loaded.device)
    shifts = Shifts([row.request.edits for row in filled], hidden_size=loaded.hidden_size, dtype=loaded.dtype)
    return tokens, phases, shifts.over(phases)


class _Reader:
    """Takes the means of every layer as the stream passes, so that no layer's whole stream is kept."""

    def __init__(self, phases: Int[torch.Tensor, "row position"], layers: Iterable[int]) -> None:
        response, last = phases == edits.RESPONSE, phases == edits.LAST_PROMPT
        spans = torch.stack([response, last | (phases == edits.PROMPT), last], 1).float()
        # No response token: 0 / 0 is NaN, which is what an empty response reads.
        self._spans: Float[torch.Tensor, "row span position"] = spans / spans.sum(-1, keepdim=True)
        self._layers = list(layers)
        self.seen: dict[str, list[np.ndarray]] = {name: [] for name in ("response", "prompt", "last_prompt", "norms")}

    def after(self, shifts: dict[int, Touch]) -> dict[int, Touch]:
        """The touches that read every layer, each after its edit."""
        return {layer: self._reading(shifts.get(layer)) for layer in self._layers}

    def _reading(self, shift: Touch | None) -> Touch:
        def touch(stream: torch.Tensor) -> torch.Tensor:
            moved = stream if shift is None else shift(stream)
            spans = self._spans.to(moved.device)
            exact = moved.float()
            means = torch.bmm(spans, exact)
            norms = (spans[:, 0] * torch.linalg.vector_norm(exact, dim=-1)).sum(-1)
            for span, name in enumerate(("response", "prompt", "last_prompt")):
                self.seen[name].append(means[:, span].cpu().numpy())
            self.seen["norms"].append(norms.cpu().numpy())
            return moved

        return touch


def as_heard(response: Response) -> tuple[Any, ...]:
    """What the means of a response depend on."""
    edits = tuple(tuple(edit.identity.items()) for edit in response.request.edits)
    return (*response.spoken, edits)
