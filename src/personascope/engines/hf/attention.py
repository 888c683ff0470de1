"""Attention token by token: on a CPU, where looking up a key costs less than arranging many for a product.

What a token learns depends neither on the tokens it is computed with nor on how many are computed at once: every score
is a product of its own, every sum goes along the token's own past in its order.

All tokens of a forward pass lie in one row, ``[1, token]``, so that no weight meets padding. transformers hands the
queries, keys and values of a layer to :func:`_attend`, which gives them to the :class:`SlotAttention` at work. Keys and
values of every token of a batch stand in slots, prompts' first, and a row is the list of its tokens' slots. So rows
share the tokens of a prompt whatever these are, nothing is copied, and a row that leaves is one list fewer. Measured on
one core (460 rows of some 66 prompt tokens, 8 heads of 64): 5 ms per layer and step, where products over pages of keys
that rows share took 18. It is computed in float32, whatever the model computes in.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import AttentionInterface

from personascope.core.errors import EngineError
from personascope.engines.hf.prefix_tree import PromptTree

NAME: Final = "personascope"
_at_work = threading.local()


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    beyond = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if others.get(name) is not None]
    if beyond or attention_mask is not None:
        raise EngineError(f"{type(module).__name__} wants {beyond or 'a mask'} of attention, which is not shared")
    attention: SlotAttention = _at_work.attention
    size = query.shape[-1]
    flat = [each[0].transpose(0, 1) for each in (query, key, value)]
    scaling = others.get("scaling")
    scale = size**-0.5 if scaling is None else scaling
    window = others.get("sliding_window")
    return attention.attend(module.layer_idx, flat[0], flat[1], flat[2], scale, window)[None], None


AttentionInterface.register(NAME, _attend)


@contextmanager
def attending(config: Any, attention: SlotAttention) -> Iterator[None]:
    """While this is open, every layer of the model of ``config`` attends by ``attention``."""
    before = config._attn_implementation
    _at_work.attention = attention
    try:
        config._attn_implementation = NAME
        yield
    finally:
        config._attn_implementation = before
        del _at_work.attention


LANES: Final = 16
"""Widths are multiples of this, so that a softmax over a wider array sums a row's weights in the same order."""

AT_ONCE: Final = 2**20
"""Scores of each head that are taken at once: more would take more memory."""

NOTHING: Final = -1e30
"""Added to the score of a key that is not looked at: its weight is then zero."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says once that its sparse arrays are in beta
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([0])[:0], torch.tensor([0.0])[:0], size=(1, 1))


@dataclass(eq=False)
class _Group:
    """Tokens that look back about as far: the slots and masks of their pasts."""

    slots: Int[torch.Tensor, "token width"]
    ages: Int[torch.Tensor, "token width"]
    """How many tokens ago each slot was filled; below zero for one that only fills the width up."""
    patterns: dict[tuple[int, int], torch.Tensor]
    masks: dict[int | None, torch.Tensor]


class SlotAttention:
    """The attention of one batch: prompts first, then what rows say.

    A forward pass runs over ``count`` tokens, and behind them some that fill it up: those are told numbers too,
    whichever.
    """

    def __init__(self, tree: PromptTree, *, longest: int) -> None:
        lengths = np.array([len(path) for path in tree.paths])
        self._tree = tree
        # Nodes in the order in which rows meet them, so that most of a row's past stands in one piece.
        met = np.array(list(dict.fromkeys(np.concatenate(tree.paths).tolist())))
        self._node_slots = np.empty(len(met), dtype=np.int64)
        self._node_slots[met] = np.arange(len(met))
        self._slots = np.zeros((len(lengths), int(lengths.max()) + longest), dtype=np.int32)
        for row, path in enumerate(tree.paths):
            self._slots[row, : len(path)] = self._node_slots[path]
        self._lengths = lengths
        self._room = len(met) + len(lengths) * longest
        self._said = len(met)
        self._held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._now: slice | torch.Tensor = slice(0)
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def computing(self, first: int, until: int) -> None:
        """The next forward pass is over the prompt tokens ``first`` to ``until`` of the tree."""
        nodes = slice(first, until)
        self._now = torch.from_numpy(self._node_slots[nodes])
        self._ask(self._tree.rows[nodes], self._tree.positions[nodes], self._node_slots[nodes])

    def speaking(self, step: int) -> None:
        """The next forward pass is over the token that each row said at ``step``."""
        self.hearing(np.arange(len(self._lengths)), np.full(len(self._lengths), step))

    def hearing(self, rows: Int[np.ndarray, "token"], steps: Int[np.ndarray, "token"]) -> None:
        """The next forward pass is over what these rows said at these steps."""
        first, self._said = self._said, self._said + len(rows)
        self._now = slice(first, self._said)
        self._ask(rows, self._lengths[rows] + steps, np.arange(first, self._said))

    def keep(self, rows: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row."""
        self._slots, self._lengths = self._slots[rows], self._lengths[rows]

    def _ask(
        self, rows: Int[np.ndarray, "token"], positions: Int[np.ndarray, "token"], slots: Int[np.ndarray, "token"]
    ) -> None:
        self._count = len(rows)
        self._slots[rows, positions] = slots
        widths = np.array([_width(length) for length in range(1, self._slots.shape[1] + 1)])[positions]
        order = np.argsort(widths, kind="stable")
        self._order, self._places = torch.from_numpy(order), torch.from_numpy(np.argsort(order))
        self._groups = []
        for width in np.unique(widths):
            places = np.flatnonzero(widths == width)
            most = max(1, AT_ONCE // int(width))
            for start in range(0, len(places), most):
                some = places[start : start + most]
                self._groups.append(self._group(rows[some], positions[some], int(width)))

    def _group(self, rows: np.ndarray, positions: np.ndarray, width: int) -> _Group:
        width = min(width, -(-self._slots.shape[1] // LANES) * LANES)
        slots = np.zeros((len(rows), width), dtype=np.int32)
        there = self._slots[rows, :width]
        slots[:, : there.shape[1]] = there
        ages = positions[:, None] - np.arange(width)
        # What fills a row up is a token it sees anyway: another row's numbers, were they infinite, would spoil its own.
        slots = np.where(ages >= 0, slots, there[:, :1])
        return _Group(torch.from_numpy(slots), torch.from_numpy(ages), {}, {})

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]:
        keys, values = self._kept(layer, key, value)
        heads = (query.shape[1], key.shape[1])
        asked = (query.index_select(0, self._order).float() * scaling).transpose(0, 1)
        told, first = [], 0
        for group in self._groups:
            until = first + len(group.slots)
            pattern = self._pattern(group, heads)
            told.append(_told(asked[:, first:until], keys, values, pattern, _mask(group, window)).transpose(0, 1))
            first = until
        beyond = self._places[:1].expand(len(query) - self._count)
        return torch.cat(told).index_select(0, torch.cat([self._places, beyond])).to(query.dtype)

    def _kept(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all slots, one head after another."""
        if layer not in self._held:
            self._held[layer] = (
                key.new_empty((key.shape[1], self._room, key.shape[2]), dtype=torch.float32),
                value.new_empty((value.shape[1], self._room, value.shape[2]), dtype=torch.float32),
            )
        keys, values = self._held[layer]
        keys[:, self._now] = key[: self._count].transpose(0, 1).float()
        values[:, self._now] = value[: self._count].transpose(0, 1).float()
        return keys.flatten(0, 1), values.flatten(0, 1)

    def _pattern(self, group: _Group, heads: tuple[int, int]) -> torch.Tensor:
        """Which keys each token looks at, head after head: a sparse matrix with room for the scores."""
        if heads not in group.patterns:
            mine = torch.arange(heads[0], dtype=torch.int32) // (heads[0] // heads[1])
            columns = (group.slots + (mine * self._room)[:, None, None]).reshape(-1)
            bounds = torch.arange(0, len(columns) + 1, group.slots.shape[1], dtype=torch.int32)
            shape = (heads[0] * len(group.slots), heads[1] * self._room)
            scores = torch.zeros(len(columns))
            group.patterns[heads] = torch.sparse_csr_tensor(bounds, columns, scores, size=shape, check_invariants=False)
        return group.patterns[heads]


def _width(length: int) -> int:
    """A width for so many tokens: at most a quarter of it is empty, and there are few different ones."""
    step = max(LANES, (1 << length.bit_length()) >> 3)
    return -(-length // step) * step


def _mask(group: _Group, window: int | None) -> Float[torch.Tensor, "token width"]:
    """What is added to scores: a token looks neither at what fills it up nor at what is older than the window."""
    if window not in group.masks:
        seen = group.ages >= 0 if window is None else (group.ages >= 0) & (group.ages < window)
        group.masks[window] = torch.where(seen, 0.0, NOTHING)
    return group.masks[window]


def _told(
    asked: Float[torch.Tensor, "heads token size"],
    keys: Float[torch.Tensor, "key size"],
    values: Float[torch.Tensor, "key value_size"],
    pattern: torch.Tensor,
    mask: Float[torch.Tensor, "token width"],
) -> Float[torch.Tensor, "heads token value_size"]:
    """The means of the values that each head of each token looks at."""
    heads, tokens, size = asked.shape
    torch.sparse.sampled_addmm(pattern, asked.reshape(-1, size), keys.t(), beta=0.0, out=pattern)
    weights = pattern.values().view(heads, *mask.shape).add_(mask).softmax(-1)
    told = torch.nn.functional.embedding_bag(
        pattern.col_indices(),
        values,
        pattern.crow_indices(),
        mode="sum",
        per_sample_weights=weights.reshape(-1),
        include_last_offset=True,
    )
    return told.view(heads, tokens, -1)
