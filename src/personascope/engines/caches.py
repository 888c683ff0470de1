"""A key and value cache that is allocated once.

Owns: :func:`preallocated_cache`. The one law: what attention sees is what transformers' own dynamic cache would show
it, for full and for sliding layers. That cache copies everything it holds at every step; this one writes in place.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class _Held:
    """Room for ``capacity`` positions, filled from the front."""

    keys: torch.Tensor
    values: torch.Tensor
    capacity: int
    held: int

    def _written(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.held == 0:
            rows, heads, _, size = keys.shape
            self._all_keys = keys.new_empty((rows, heads, self.capacity, size))
            self._all_values = values.new_empty((rows, heads, self.capacity, values.shape[-1]))
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        until = self.held + keys.shape[-2]
        self._all_keys[:, :, self.held : until] = keys
        self._all_values[:, :, self.held : until] = values
        self.held = until
        return self._all_keys[:, :, :until], self._all_values[:, :, :until]

    def keep(self, rows: torch.Tensor) -> None:
        """Drops every other row."""
        self._all_keys = self._all_keys[rows.to(self._all_keys.device)]
        self._all_values = self._all_values[rows.to(self._all_values.device)]


class _FullLayer(_Held, DynamicLayer):  # type: ignore[misc, no-untyped-call]
    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity, self.held = capacity, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = self._written(key_states, value_states)
        return self.keys, self.values


class _SlidingLayer(_Held, DynamicSlidingWindowLayer):  # type: ignore[misc, no-untyped-call]
    def __init__(self, capacity: int, sliding_window: int) -> None:
        super().__init__(sliding_window=sliding_window)
        self.capacity, self.held = capacity, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # What the inherited get_mask_sizes announces: everything since the window's start before this update.
        start = max(self.held - self.sliding_window + 1, 0)
        keys, values = self._written(key_states, value_states)
        self.cumulative_length = self.held
        self.keys, self.values = keys[:, :, start:], values[:, :, start:]
        return self.keys, self.values


class PreallocatedCache(DynamicCache):
    """transformers' dynamic cache with its layers exchanged, and a way to drop rows."""

    def keep(self, rows: torch.Tensor) -> None:
        """Drops every other row of every layer."""
        layers: list[Any] = self.layers
        for layer in layers:
            layer.keep(rows) if isinstance(layer, _Held) else layer.batch_select_indices(rows)


def preallocated_cache(config: Any, capacity: int) -> PreallocatedCache:
    """A cache with room for ``capacity`` positions. Layers that are neither full nor sliding stay transformers' own."""
    cache = PreallocatedCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicSlidingWindowLayer:
            cache.layers[index] = _SlidingLayer(capacity, layer.sliding_window)
        elif type(layer) is DynamicLayer:
            cache.layers[index] = _FullLayer(capacity)
    return cache
