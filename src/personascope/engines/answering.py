"""Answers that look back at the pages of their prompts, which rows share, and at their own tokens.

Owns: :class:`AnswerAttention` and :class:`HeardAttention`. The one law: that of :mod:`personascope.engines.attention`;
and an answer that is known gets the very numbers it got while it was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.engines.prefixes import PAGE, Pages

NOTHING: Final = -1e30
"""The score of a key that is not looked at: finite, so that a row that sees nothing of a page is no NaN."""

NONE: Final = (0.0, NOTHING, 0.0)
"""What a page that a row does not have tells it, the highest score there, and the sum of weights."""


class AnswerAttention:
    """Answers look back at the pages of their prompts and at their own tokens; one token per row and step."""

    def __init__(
        self,
        pages: Pages,
        held: dict[int, tuple[torch.Tensor, torch.Tensor]],
        lengths: Int[np.ndarray, "row"],
        *,
        longest: int,
        device: torch.device,
    ) -> None:
        self._held, self._longest, self.device = held, longest, device
        self._own: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._said = 0
        self._look(pages, lengths)

    @property
    def count(self) -> int:
        return len(self._lengths)

    def _look(self, pages: Pages, lengths: Int[np.ndarray, "row"]) -> None:
        device = self.device
        self._pages = pages
        self._lengths = torch.from_numpy(np.asarray(lengths)).to(device)
        self._furthest = int(np.max(lengths)) + self._longest
        self._groups = [
            (slice(each.first, each.first + len(each.rows)), torch.from_numpy(each.rows).to(device))
            for each in pages.groups
        ]
        self._places = torch.from_numpy(pages.places).to(device)
        at = torch.arange(PAGE, device=device)
        self._positions = torch.from_numpy(pages.starts).to(device)[:, None] + at
        empty = at >= torch.from_numpy(pages.filled).to(device)[:, None]
        self._hidden = torch.where(empty, NOTHING, 0.0)
        self._masks: dict[int, tuple[list[torch.Tensor], torch.Tensor]] = {}

    def speaking(self, step: int) -> None:
        """The next forward pass is over the token that each row said at ``step``."""
        self._said = step + 1
        self._masks = {}

    def keep(self, rows: Int[torch.Tensor, "kept"], pages: Pages, lengths: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row; ``pages`` are those of the rows that stay, by the page numbers of before."""
        known = {page: place for place, page in enumerate(self._pages.names)}
        moved = torch.tensor([known[page] for page in pages.names], device=self.device)
        self._held = {layer: (keys[moved], values[moved]) for layer, (keys, values) in self._held.items()}
        self._own = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self._own.items()}
        self._look(pages, lengths)

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]:
        rows, heads, size = key.shape
        own_keys, own_values = self._written(layer, key, value)
        asked = (query * scaling).reshape(rows, heads, -1, size)
        on_pages, on_own = self._masked(window, asked.shape[2])
        parts = [
            _part(_grouped(asked, looking), self._held[layer][0][page], self._held[layer][1][page], mask)
            for (page, looking), mask in zip(self._groups, on_pages, strict=True)
        ]
        told, top, mass = _part(asked, own_keys, own_values, on_own)
        flat = [self._flat([part[which] for part in parts], asked.shape[2], NONE[which]) for which in range(3)]
        slots = [(told, top, mass), *([each[place] for each in flat] for place in self._places)]
        weights = _weights([top for _, top, _ in slots])
        shares = [weights[..., slot : slot + 1] * mass for slot, (_, _, mass) in enumerate(slots)]
        told, mass = told * shares[0], shares[0]
        for share, (also_told, _, _) in zip(shares[1:], slots[1:], strict=True):
            told.add_(also_told.mul_(share))
            mass = mass + share
        return (told / mass).to(query.dtype).reshape(rows, query.shape[1], -1)

    def _written(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._own:
            rows, heads, _ = key.shape
            room = [each.new_empty((rows, heads, self._longest, each.shape[-1])) for each in (key, value)]
            self._own[layer] = (room[0], room[1])
        keys, values = self._own[layer]
        keys[:, :, self._said - 1] = key
        values[:, :, self._said - 1] = value
        return keys[:, :, : self._said], values[:, :, : self._said]

    def _masked(self, window: int | None, share: int) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """What is added to the scores of each group's pages and of the rows' own tokens."""
        if window is None or self._furthest <= window:
            return [self._hidden[page][:, None, None] for page, _ in self._groups], None
        if window not in self._masks:
            oldest = self._lengths + self._said - window  # the first position that is still looked at
            on_pages = []
            for page, looking in self._groups:
                gone = self._positions[page][:, None] < oldest[looking][:, :, None]
                hidden = torch.where(gone, NOTHING, self._hidden[page][:, None])
                on_pages.append(hidden.repeat_interleave(share, dim=1)[:, None])
            at = self._lengths[:, None] + torch.arange(self._said, device=self.device)
            on_own = torch.where(at < oldest[:, None], NOTHING, 0.0)[:, None, None]
            self._masks[window] = (on_pages, on_own)
        return self._masks[window]

    def _flat(self, parts: list[torch.Tensor], share: int, nothing: float) -> torch.Tensor:
        """What the groups gave, pair by pair ``[pair key_heads share ...]``, and last that of a page nobody has."""
        pairs = []
        for each, (_, looking) in zip(parts, self._groups, strict=True):
            pages, heads, _, size = each.shape
            by_row = each.view(pages, heads, looking.shape[1], share, size).transpose(1, 2)
            pairs.append(by_row.reshape(-1, heads, share, size))
        return torch.cat([*pairs, torch.full_like(pairs[0][:1], nothing)])


class HeardAttention:
    """Answers that are known look back as :class:`AnswerAttention` would have had them do, step after step.

    ``places`` gives for each step, from ``first`` on, where each row's token lies in the pass (anywhere for a row that
    says nothing), and ``said`` the rows that say something, with those places.
    """

    def __init__(
        self,
        attention: AnswerAttention,
        first: int,
        places: Int[np.ndarray, "step row"],
        said: Sequence[tuple[Int[np.ndarray, "row"], Int[np.ndarray, "place"]]],
    ) -> None:
        self._attention, self._first = attention, first
        self._places = torch.from_numpy(places).to(attention.device)
        self._said = [tuple(torch.from_numpy(each).to(attention.device) for each in step) for step in said]
        self.count = sum(len(rows) for rows, _ in said)

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]:
        out = torch.zeros_like(query)
        for step, (places, (rows, mine)) in enumerate(zip(self._places, self._said, strict=True)):
            self._attention.speaking(self._first + step)
            one = self._attention.attend(layer, query[places], key[places], value[places], scaling, window)
            out[mine] = one[rows]
        return out


def _grouped(asked: torch.Tensor, looking: torch.Tensor) -> torch.Tensor:
    """The queries ``[page key_heads place*share size]`` of the rows that look at each page."""
    some = asked[looking]
    pages, places, heads, share, size = some.shape
    return some.transpose(1, 2).reshape(pages, heads, places * share, size)


def _part(
    asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What queries learn from some of their keys: the weighted mean of values, the highest score, the sum of weights.

    The highest score has the weight 1, so parts can be put together afterwards. Weights are taken by softmax alone:
    on a CPU its exponential of a number is the same wherever the number stands, and that of ``torch.exp`` is not.
    """
    scores = torch.matmul(asked, keys.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.add_(mask)
    weights = scores.softmax(-1)
    told = torch.matmul(weights.to(values.dtype), values).float()
    return told, scores.amax(-1, keepdim=True), weights.amax(-1, keepdim=True).reciprocal_()


def _weights(tops: list[torch.Tensor]) -> torch.Tensor:
    """How much the parts weigh, up to a common factor.

    There are 16 columns or a multiple, so that a row with fewer parts than its mates is summed up in the same order.
    """
    width = -(-len(tops) // 16) * 16
    nothing = torch.full_like(tops[0], NOTHING).expand(*tops[0].shape[:-1], width - len(tops))
    return torch.cat([*tops, nothing], dim=-1).softmax(-1)
