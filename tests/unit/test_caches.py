"""The preallocated cache against transformers' own."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import transformers
from transformers import DynamicCache

from personascope.engines.caches import preallocated_cache

CONFIG = transformers.Olmo3Config(
    num_hidden_layers=2,
    hidden_size=8,
    num_attention_heads=2,
    sliding_window=6,
    layer_types=["sliding_attention", "full_attention"],
)


def mask_sizes(layer: Any, length: int) -> tuple[int, int]:
    """What a layer announces: transformers 4 asks with positions, 5 with their number."""
    by_position = "cache_position" in inspect.signature(layer.get_mask_sizes).parameters
    sizes: tuple[int, int] = layer.get_mask_sizes(torch.arange(length) if by_position else length)
    return sizes


@pytest.mark.parametrize("prompt", [3, 5, 6, 7, 13])
def test_attention_sees_what_the_dynamic_cache_would_show_it(prompt: int) -> None:
    ours, theirs = preallocated_cache(CONFIG, prompt + 12), DynamicCache(config=CONFIG)
    random = torch.Generator().manual_seed(0)
    rows = torch.arange(4)
    for step, length in enumerate([prompt, *[1] * 12]):
        for index in range(2):
            keys, values = torch.randn(2, len(rows), 2, length, 4, generator=random)
            assert mask_sizes(ours.layers[index], length) == mask_sizes(theirs.layers[index], length)
            shown, expected = (cache.update(keys, values, index) for cache in (ours, theirs))
            for one, other in zip(shown, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert ours.get_seq_length() == theirs.get_seq_length()
        if step == 4:
            rows = torch.tensor([0, 2, 3])
            ours.keep(rows)
            theirs.batch_select_indices(rows)


def test_a_step_copies_nothing_of_what_is_held() -> None:
    cache = preallocated_cache(CONFIG, 20)
    first, _ = cache.update(torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), 1)
    second, _ = cache.update(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4), 1)
    assert first.data_ptr() == second.data_ptr()
