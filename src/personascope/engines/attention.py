"""How transformers is told to attend otherwise, and prompts that look back at themselves.

Owns: :func:`attending`, :class:`Attention` and :class:`PromptAttention`. The one law: what a token looks back at is
what it would see alone, and the numbers it gets depend on its own row alone: every product is of a shape that follows
from the row's own length, among enough rows (:data:`personascope.engines.decoding.FEWEST_ROWS`).

All tokens of a forward pass lie in one row, ``[1, token]``, so that no weight meets padding. transformers hands the
queries, keys and values of a layer to :func:`_attend`, which gives them to whichever attention is at work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import torch
from jaxtyping import Float
from transformers import AttentionInterface

from personascope.core.errors import EngineError
from personascope.engines.prefixes import BLOCK, Pages, PromptTree

NAME: Final = "personascope"
_at_work = threading.local()


class Attention(Protocol):
    """What is at work while a forward pass runs over ``count`` tokens, and behind them some that fill it up.

    Those are told numbers too, whichever.
    """

    @property
    def count(self) -> int: ...

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]: ...


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
    attention: Attention = _at_work.attention
    size = query.shape[-1]
    flat = [each[0].transpose(0, 1) for each in (query, key, value)]
    scaling = others.get("scaling")
    scale = size**-0.5 if scaling is None else scaling
    window = others.get("sliding_window")
    return attention.attend(module.layer_idx, flat[0], flat[1], flat[2], scale, window)[None], None


AttentionInterface.register(NAME, _attend)


@contextmanager
def attending(config: Any, attention: Attention) -> Iterator[None]:
    """While this is open, every layer of the model of ``config`` attends by ``attention``."""
    before = config._attn_implementation
    _at_work.attention = attention
    try:
        config._attn_implementation = NAME
        yield
    finally:
        config._attn_implementation = before
        del _at_work.attention


class PromptAttention:
    """Prompts look back at themselves; keys and values of every node are kept, by layer."""

    def __init__(self, tree: PromptTree, device: torch.device) -> None:
        self._nodes = len(tree.tokens)
        self._device = device
        self._levels = [(torch.from_numpy(nodes), torch.from_numpy(sizes)) for nodes, sizes in tree.blocks()]
        self._held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._plans: list[tuple[torch.Tensor, ...]] = []
        self._first = self._until = 0

    @property
    def count(self) -> int:
        return self._until - self._first

    def computing(self, first: int, until: int) -> None:
        """The next forward pass is over nodes ``first`` to ``until``."""
        self._first, self._until, self._plans = first, until, []
        for nodes, sizes in self._levels:
            asking = nodes[:, -BLOCK:]
            real = torch.arange(nodes.shape[1] - BLOCK, nodes.shape[1]) < sizes[:, None]
            mine = real & (asking >= first) & (asking < until)
            chosen = mine.any(1)
            if not bool(chosen.any()):
                continue
            places = mine[chosen].nonzero(as_tuple=True)
            targets = asking[chosen][places] - first
            asked = (asking[chosen] - first).clamp(0, until - first - 1)
            plan = (nodes[chosen], asked, places[0] * BLOCK + places[1], targets)
            self._plans.append(tuple(each.to(self._device) for each in plan))

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "token heads size"],
        key: Float[torch.Tensor, "token key_heads size"],
        value: Float[torch.Tensor, "token key_heads size"],
        scaling: float,
        window: int | None,
    ) -> Float[torch.Tensor, "token heads size"]:
        keys, values = self._keep(layer, key, value)
        out = torch.zeros_like(query)
        for nodes, asked, places, targets in self._plans:
            width = nodes.shape[1]
            at = torch.arange(width, device=self._device)
            # A filled-up node stands after every real one of its block, so the causal mask hides it.
            seen = at[None, :] <= at[width - BLOCK :, None]
            if window is not None:
                seen &= at[None, :] > at[width - BLOCK :, None] - window
            answer = torch.nn.functional.scaled_dot_product_attention(
                query[asked].transpose(1, 2),
                keys[nodes].transpose(1, 2),
                values[nodes].transpose(1, 2),
                attn_mask=seen[None, None].expand(len(nodes), 1, -1, -1),
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            out[targets] = answer.transpose(1, 2).flatten(0, 1)[places]
        return out

    def _keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._held:
            # Zeros: a node that is computed later is masked, and what is masked must be a number.
            shapes = ((self._nodes, *key.shape[1:]), (self._nodes, *value.shape[1:]))
            self._held[layer] = (key.new_zeros(shapes[0]), value.new_zeros(shapes[1]))
        keys, values = self._held[layer]
        keys[self._first : self._until] = key
        values[self._first : self._until] = value
        return keys, values

    def paged(self, pages: Pages) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values ``[page key_heads PAGE size]`` of every layer; what was kept is let go."""
        nodes = torch.from_numpy(pages.nodes).to(self._device)
        found = {}
        for layer in sorted(self._held):
            keys, values = self._held.pop(layer)
            found[layer] = (keys[nodes].transpose(1, 2).contiguous(), values[nodes].transpose(1, 2).contiguous())
        return found
