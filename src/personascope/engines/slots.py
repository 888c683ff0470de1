"""Attention token by token: on a CPU, where looking up a key costs less than arranging many for a product.

Owns: :class:`SlotAttention`. The one law: that of :mod:`personascope.engines.attention`, and what a token learns
depends neither on the tokens it is computed with nor on how many are computed at once: every score is a product of its
own, every sum goes along the token's own past in its order.

Keys and values of every token of a batch stand in slots, prompts' first, and a row is the list of its tokens' slots. So
rows share the tokens of a prompt whatever these are, nothing is copied, and a row that leaves is one list fewer.
Measured on one core (460 rows of some 66 prompt tokens, 8 heads of 64): 5 ms per layer and step, where products over
shared pages (:mod:`personascope.engines.paged`) took 18. It is computed in float32, whatever the model computes in.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.engines.prefixes import PromptTree

LANES: Final = 16
"""Widths are multiples of this, so that a softmax over a wider array sums a row's weights in the same order."""

AT_ONCE: Final = 2**20
"""Scores that are taken at once: they and their columns fill a processor's cache."""

NOTHING: Final = -1e30
"""Added to the score of a key that is not looked at: its weight is then zero."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says once that its sparse arrays are in beta
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([0])[:0], torch.tensor([0.0])[:0], size=(1, 1))


@dataclass(eq=False)
class _Group:
    """Tokens that look back about as far: their places in the pass, and the slots and masks of their pasts."""

    places: Int[torch.Tensor, "token"]
    slots: Int[torch.Tensor, "token width"]
    ages: Int[torch.Tensor, "token width"]
    """How many tokens ago each slot was filled; below zero for one that only fills the width up."""
    columns: dict[tuple[int, int], torch.Tensor]
    masks: dict[int | None, torch.Tensor]


class SlotAttention:
    """The attention of one batch: prompts first, then what rows say."""

    def __init__(self, tree: PromptTree, *, longest: int) -> None:
        lengths = np.array([len(path) for path in tree.paths])
        self._tree = tree
        self._slots = np.zeros((len(lengths), int(lengths.max()) + longest), dtype=np.int32)
        for row, path in enumerate(tree.paths):
            self._slots[row, : len(path)] = path
        self._lengths = lengths
        self._room = len(tree.tokens) + len(lengths) * longest
        self._held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._first = self._until = 0
        self._groups: list[_Group] = []

    @property
    def count(self) -> int:
        return self._until - self._first

    def computing(self, first: int, until: int) -> None:
        """The next forward pass is over the prompt tokens ``first`` to ``until`` of the tree."""
        self._ask(self._tree.rows[first:until], self._tree.positions[first:until])

    def speaking(self, step: int) -> None:
        """The next forward pass is over the token that each row said at ``step``."""
        self._ask(np.arange(len(self._lengths)), self._lengths + step)

    def hearing(self, rows: Int[np.ndarray, "token"], steps: Int[np.ndarray, "token"]) -> None:
        """The next forward pass is over what these rows said at these steps."""
        self._ask(rows, self._lengths[rows] + steps)

    def keep(self, rows: Int[np.ndarray, "kept"], paths: Sequence[Int[np.ndarray, "position"]]) -> None:
        """Drops every other row."""
        self._slots, self._lengths = self._slots[rows], self._lengths[rows]

    def _ask(self, rows: Int[np.ndarray, "token"], positions: Int[np.ndarray, "token"]) -> None:
        self._first, self._until = self._until, self._until + len(rows)
        self._slots[rows, positions] = np.arange(self._first, self._until)
        widths = np.array([_width(length) for length in range(1, self._slots.shape[1] + 1)])[positions]
        self._groups = []
        for width in np.unique(widths):
            places = np.flatnonzero(widths == width)
            most = max(1, AT_ONCE // int(width))
            for start in range(0, len(places), most):
                some = places[start : start + most]
                self._groups.append(self._group(some, rows[some], positions[some], int(width)))

    def _group(self, places: np.ndarray, rows: np.ndarray, positions: np.ndarray, width: int) -> _Group:
        width = min(width, -(-self._slots.shape[1] // LANES) * LANES)
        slots = np.zeros((len(rows), width), dtype=np.int32)
        there = self._slots[rows, :width]
        slots[:, : there.shape[1]] = there
        ages = positions[:, None] - np.arange(width)
        # What fills a row up is a token it sees anyway: another row's numbers, were they infinite, would spoil its own.
        slots = np.where(ages >= 0, slots, there[:, :1])
        return _Group(torch.from_numpy(places), torch.from_numpy(slots), torch.from_numpy(ages), {}, {})

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
        out = query.new_empty((*query.shape[:2], value.shape[-1]))
        asked = query.float() * scaling
        for group in self._groups:
            told = _told(asked[group.places], keys, values, _columns(group, heads), _mask(group, window))
            out[group.places] = told.to(out.dtype)
        return out

    def _kept(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._held:
            self._held[layer] = (
                key.new_empty((self._room, *key.shape[1:]), dtype=torch.float32),
                value.new_empty((self._room, *value.shape[1:]), dtype=torch.float32),
            )
        keys, values = self._held[layer]
        keys[self._first : self._until] = key
        values[self._first : self._until] = value
        return keys.flatten(0, 1), values.flatten(0, 1)


def _width(length: int) -> int:
    """A width for so many tokens: at most a quarter of it is empty, and there are few different ones."""
    step = max(LANES, (1 << length.bit_length()) >> 3)
    return -(-length // step) * step


def _columns(group: _Group, heads: tuple[int, int]) -> Int[torch.Tensor, "score"]:
    """The places of the keys that each head of each token looks at, when all keys of all slots stand in a row."""
    if heads not in group.columns:
        mine = torch.arange(heads[0], dtype=torch.int32) // (heads[0] // heads[1])
        group.columns[heads] = (group.slots[:, None] * heads[1] + mine[:, None]).reshape(-1)
    return group.columns[heads]


def _mask(group: _Group, window: int | None) -> Float[torch.Tensor, "token 1 width"]:
    """What is added to scores: a token looks neither at what fills it up nor at what is older than the window."""
    if window not in group.masks:
        seen = group.ages >= 0 if window is None else (group.ages >= 0) & (group.ages < window)
        group.masks[window] = torch.where(seen, 0.0, NOTHING)[:, None]
    return group.masks[window]


def _told(
    asked: Float[torch.Tensor, "token heads size"],
    keys: Float[torch.Tensor, "key size"],
    values: Float[torch.Tensor, "key value_size"],
    columns: Int[torch.Tensor, "score"],
    mask: Float[torch.Tensor, "token 1 width"],
) -> Float[torch.Tensor, "token heads value_size"]:
    """The means of the values that each head of each token looks at."""
    tokens, heads, size = asked.shape
    width = mask.shape[-1]
    bounds = torch.arange(0, len(columns) + 1, width, dtype=torch.int32)
    pattern = torch.sparse_csr_tensor(
        bounds, columns, keys.new_zeros(len(columns)), size=(tokens * heads, len(keys)), check_invariants=False
    )
    scores = torch.sparse.sampled_addmm(pattern, asked.reshape(-1, size), keys.t(), beta=0.0).values()
    weights = scores.view(tokens, heads, width).add_(mask).softmax(-1)
    told = torch.nn.functional.embedding_bag(
        columns, values, bounds, mode="sum", per_sample_weights=weights.reshape(-1), include_last_offset=True
    )
    return told.view(tokens, heads, -1)
