"""Attention by products over pages that rows share: on a GPU.

Owns: :class:`PagedAttention`. The one law: that of :mod:`personascope.engines.attention`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.engines.answering import AnswerAttention, HeardAttention
from personascope.engines.attention import Attention, PromptAttention
from personascope.engines.decoding import FEWEST_ROWS
from personascope.engines.prefixes import Pages, PromptTree


class PagedAttention:
    """The attention of one batch: prompts first, then what rows say."""

    def __init__(self, tree: PromptTree, *, longest: int, device: torch.device) -> None:
        self._tree, self._longest, self._device = tree, longest, device
        self._lengths = np.array([len(path) for path in tree.paths])
        self._prompts = PromptAttention(tree, device)
        self._answers: AnswerAttention | None = None
        self._now: Attention = self._prompts

    @property
    def count(self) -> int:
        return self._now.count

    def computing(self, first: int, until: int) -> None:
        """The next forward pass is over the prompt tokens ``first`` to ``until`` of the tree."""
        self._prompts.computing(first, until)

    def speaking(self, step: int) -> None:
        """The next forward pass is over the token that each row said at ``step``."""
        self._now = self._answering()
        self._now.speaking(step)

    def hearing(self, rows: Int[np.ndarray, "token"], steps: Int[np.ndarray, "token"]) -> None:
        """The next forward pass is over what these rows said at these steps, one step after another."""
        first, places = int(steps[0]), np.zeros((int(steps[-1] - steps[0]) + 1, len(self._lengths)), dtype=np.int64)
        places[steps - first, rows] = np.arange(len(rows))
        said = [(rows[steps == step], np.flatnonzero(steps == step)) for step in range(first, int(steps[-1]) + 1)]
        self._now = HeardAttention(self._answering(), first, places, said)

    def keep(self, rows: Int[np.ndarray, "kept"], paths: Sequence[Int[np.ndarray, "position"]]) -> None:
        """Drops every other row; ``paths`` are those of the rows that stay."""
        self._lengths = self._lengths[rows]
        pages = Pages.of(paths, fewest=FEWEST_ROWS)
        self._answering().keep(torch.from_numpy(rows).to(self._device), pages, self._lengths)

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]:
        asked, keys, values = (each[: self.count] for each in (query, key, value))
        told = self._now.attend(layer, asked, keys, values, scaling, window)
        return torch.cat([told, told.new_zeros((len(query) - self.count, *told.shape[1:]))])

    def _answering(self) -> AnswerAttention:
        if self._answers is None:
            pages = Pages.of(self._tree.paths, fewest=FEWEST_ROWS)
            held = self._prompts.paged(pages)
            self._answers = AnswerAttention(pages, held, self._lengths, longest=self._longest, device=self._device)
        return self._answers
