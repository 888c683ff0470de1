"""The decode loop, and batches in which every row has a prompt of its own.

Owns: :func:`decode`, :class:`Batch` and :class:`PaddedBatch`. The one law: what a row is told depends on that row
alone; a padded one is computed at a width that is a function of its own length, among enough rows for a matrix product
to stay one, so its batch mates cannot change it.

:class:`PaddedBatch` is the path on a GPU: left-padded rows, with the attention and key-value cache of transformers. On
a CPU it serves models of unusual attention; all others use :class:`~personascope.engines.hf.shared_prefix.SharedBatch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from transformers import DynamicCache

from personascope.core.records import Request
from personascope.engines.hf import edits
from personascope.engines.hf.edits import Shifts
from personascope.engines.hf.hooks import ResidualStream, Touch
from personascope.engines.hf.sampling import Sampler
from personascope.engines.uniforms import uniforms_of

STEP: Final = 16
"""Widths are multiples of this."""

FEWEST_ROWS: Final = 4
"""The fewest rows of a batch; below, rows are filled up with copies. Measured on CPU in float32 (nine architectures,
transformers 5.23 and 4.57.6, torch 2.13): batches of 4 to 512 give bit-identical logits, batches of 1, 2 and 3 differ
by up to 8e-7 of logits of size 1.6, because a matrix product of so few rows sums in another order. A mixture of experts
multiplies as few rows as its router sends to an expert, so there 4e-7 remain."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory, and what of it the loops need."""

    model: nn.Module
    stream: ResidualStream
    config: Any
    hidden_size: int
    last_layer: int
    end_tokens: frozenset[int]
    dtype: torch.dtype
    device: torch.device
    parameters: int


@dataclass(frozen=True, eq=False)
class Row:
    """One request with its prompt's tokens."""

    request: Request
    prompt: tuple[int, ...]


Drawn = tuple[tuple[int, ...], Literal["stop", "length"]]


def width_of(length: int) -> int:
    """The width at which so many tokens are computed: the next multiple of 16 that leaves room for padding.

    At least one position of every row is padding, so that no batch is without a mask: transformers leaves the mask out
    when nothing in the batch is padded, and another attention kernel then gives other bits.
    """
    return (length // STEP + 1) * STEP


class Batch(Protocol):
    """Rows on their way: what :func:`decode` needs of them."""

    held: Int[np.ndarray, "row"]
    """Which of the first rows are still there."""
    longest: int
    sampler: Sampler
    reads: bool
    """Whether what is said is read, so that a row's last token goes through the model too."""

    def begin(self) -> Float[torch.Tensor, "row token"]:
        """The logits after the prompts."""
        ...

    def go_on(
        self, tokens: Int[torch.Tensor, "row"], step: int, *, said: Bool[np.ndarray, "row"], last: bool
    ) -> Float[torch.Tensor, "asked token"]:
        """The logits after one more token per row, the one drawn at ``step``, which some rows have ``said``.

        After the ``last`` nothing is asked, and the logits mean nothing.
        """
        ...

    def keep(self, rows: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row."""
        ...


def filled_up(rows: Sequence[Row]) -> list[Row]:
    """Rows enough for a batch: the first again and again, if they are too few."""
    return [*rows, *[rows[0]] * (FEWEST_ROWS - len(rows))]


def decode(batch: Batch, rows: Sequence[Row], end_tokens: frozenset[int]) -> list[Drawn]:
    """The response tokens of each row, without the token that ended it, and how it ended."""
    limits = np.zeros(len(batch.held), dtype=int)
    limits[: len(rows)] = [row.request.drawn_with.max_tokens for row in rows]
    drawn = np.zeros((len(limits), batch.longest), dtype=np.int64)
    sizes, stopped = np.zeros(len(limits), dtype=int), np.zeros(len(limits), dtype=bool)
    ends = np.array(sorted(end_tokens), dtype=np.int64)
    running = limits > 0
    logits = batch.begin()
    for step in range(batch.longest):
        tokens = batch.sampler.draw(logits, step)
        chosen, held = tokens.cpu().numpy(), batch.held
        drawn[held, step] = chosen
        ended = running & np.isin(chosen, ends)
        stopped[held[ended]] = True
        said = running & ~ended
        sizes[held[said]] = step + 1
        running = said & (limits[held] > step + 1)
        needed = said if batch.reads else running
        if not needed.any():
            break
        kept = _worth_keeping(needed)
        if kept is not None:
            running, said, tokens = running[kept], said[kept], tokens[torch.from_numpy(kept).to(tokens.device)]
            batch.keep(kept)
        last = not running.any()
        logits = batch.go_on(tokens, step, said=said, last=last)
        if last:
            break
    return [
        (tuple(drawn[row, : sizes[row]].tolist()), "stop" if stopped[row] else "length") for row in range(len(rows))
    ]


def _worth_keeping(running: Bool[np.ndarray, "row"]) -> Int[np.ndarray, "kept"] | None:
    """The rows to go on with, once a quarter of the batch is done; leaving earlier would copy the cache too often."""
    count = int(running.sum())
    if len(running) <= FEWEST_ROWS or count > 0.75 * len(running):
        return None
    # The running rows first, done ones to fill up, in their order of old: a stable sort on "done".
    return np.sort(np.argsort(~running, kind="stable")[: max(count, FEWEST_ROWS)])


class PaddedBatch:
    """The tensors of the rows that are still held: tokens, cache, mask, positions, edits and sampler."""

    reads = False

    def __init__(self, loaded: Loaded, rows: Sequence[Row], width: int) -> None:
        rows = filled_up(rows)
        longest = max(row.request.drawn_with.max_tokens for row in rows)
        self._loaded, self._width, self.longest = loaded, width, longest
        self.held = np.arange(len(rows))
        device = loaded.device
        self._lengths = torch.tensor([len(row.prompt) for row in rows])
        # A done row may be carried along for a while, and must not go to positions beyond what it asked for: some
        # models scale all rows by the furthest position of the batch.
        self._furthest = self._lengths + torch.tensor([row.request.drawn_with.max_tokens - 1 for row in rows])
        self._tokens = torch.zeros((len(rows), width), dtype=torch.long)
        for row, each in enumerate(rows):
            self._tokens[row, width - len(each.prompt) :] = torch.tensor(each.prompt)
        self._mask = torch.ones((len(rows), width + longest), dtype=torch.bool)
        self._mask[:, :width] = torch.arange(width) >= width - self._lengths[:, None]
        self._tokens, self._mask = self._tokens.to(device), self._mask.to(device)
        self._lengths, self._furthest = self._lengths.to(device), self._furthest.to(device)
        self._cache = DynamicCache(config=loaded.config)
        self._shifts = Shifts([row.request.edits for row in rows], hidden_size=loaded.hidden_size, dtype=loaded.dtype)
        self._onward = self._shifts.onward(self.held, device)
        uniforms = [uniforms_of(row.request) for row in rows]
        samplings, prompts = [row.request.drawn_with for row in rows], [row.prompt for row in rows]
        self.sampler = Sampler(samplings, uniforms, prompts, device=device)

    def begin(self) -> Float[torch.Tensor, "row token"]:
        """The logits after the prompts."""
        mask = self._mask[:, : self._width]
        phases = torch.where(mask, edits.PROMPT, edits.PADDING)
        phases[:, -1] = edits.LAST_PROMPT
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        return self._forward(self._tokens, mask, positions, self._shifts.over(phases))

    def go_on(
        self, tokens: Int[torch.Tensor, "row"], step: int, *, said: Bool[np.ndarray, "row"], last: bool
    ) -> Float[torch.Tensor, "row token"]:
        """The logits after one more token per row, the one drawn at ``step``."""
        mask = self._mask[:, : self._width + step + 1]
        fed = tokens.to(self._loaded.device)[:, None]
        positions = torch.minimum(self._lengths + step, self._furthest)
        return self._forward(fed, mask, positions[:, None], self._onward)

    def keep(self, rows: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row."""
        chosen = torch.from_numpy(rows).to(self._loaded.device)
        self.held, self._mask = self.held[rows], self._mask[chosen]
        self._lengths, self._furthest = self._lengths[chosen], self._furthest[chosen]
        self._cache.batch_select_indices(torch.from_numpy(rows))  # on the CPU: layers may lie on several devices
        self.sampler.keep(chosen)
        self._onward = self._shifts.onward(self.held, self._loaded.device)

    def _forward(
        self,
        tokens: Int[torch.Tensor, "row position"],
        mask: Bool[torch.Tensor, "row context"],
        positions: Int[torch.Tensor, "row position"],
        touches: dict[int, Touch],
    ) -> Float[torch.Tensor, "row token"]:
        with self._loaded.stream.touched(touches):
            out = self._loaded.model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: torch.Tensor = out.logits[:, -1]
        return logits
