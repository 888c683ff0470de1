"""The residual stream of a loaded model: where it runs, and the hooks that read and write it.

Owns: finding the blocks by module structure, and :class:`ResidualStream`. The one law: layer 0 is the stream that
enters the first block, layer k the stream that leaves block k, and both reading and writing go through the one hook
there is per layer. Only this module knows that block k is ``blocks[k - 1]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn

from personascope.core.errors import EngineError

Touch = Callable[[torch.Tensor], torch.Tensor]
"""What happens to one layer's stream ``[row position hidden]``: it returns the stream that goes on."""


def find_blocks(model: nn.Module, count: int, *, embedding: nn.Module | None = None) -> nn.ModuleList:
    """The list of ``count`` decoder blocks, wherever the architecture keeps it.

    The module that holds the token embedding also holds, as a direct child, the list of its blocks: this is so in
    ``model.layers``, ``gpt_neox.layers``, ``transformer.h``, ``model.language_model.layers`` and under PEFT's
    wrapping, and no vision tower or list of experts satisfies it. No name is looked at. ``embedding`` is for models
    that cannot be asked for theirs.

    Raises:
        EngineError: if no list, or more than one, fits.
    """
    if embedding is None:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
    found: list[tuple[str, nn.ModuleList]] = []
    for name, module in model.named_modules():
        holds_embedding = any(embedding in set(child.modules()) for child in module.children())
        if not holds_embedding:
            continue
        lists = [child for child in module.children() if isinstance(child, nn.ModuleList) and len(child) == count]
        found += [(name, child) for child in lists]
    if len(found) != 1:
        seen = ", ".join(f"{name or '(top)'} with {len(each)}" for name, each in found) or "none"
        raise EngineError(
            f"the residual stream of {type(model).__name__} was not found: looked for one list of {count} blocks "
            f"beside the token embedding ({type(embedding).__name__}), found {seen}; use a decoder-only language model"
        )
    return found[0][1]


class _Enough(Exception):
    """A forward pass has come as far as it is needed."""


def _enough(_: torch.Tensor) -> torch.Tensor:
    raise _Enough


class ResidualStream:
    """The residual stream of one model, layer by layer."""

    def __init__(self, model: nn.Module, *, blocks: int, hidden_size: int) -> None:
        self._blocks = find_blocks(model, blocks)
        self._hidden_size = hidden_size

    @contextmanager
    def touched(self, touches: Mapping[int, Touch], *, until: int | None = None) -> Iterator[None]:
        """While this is open, every forward pass hands each named layer's stream to its touch.

        With ``until`` a pass ends after the touch of that layer and gives nothing: no later block is computed, no
        logits are. The ``with`` block ends with it.

        A touch returns the stream that goes on: the very tensor it was given to leave it as it is, a new one to change
        it. It must not write into the one it was given, which other modules may still hold.
        """
        with ExitStack() as hooks:
            for layer, touch in touches.items():
                handle = self._into_first(touch) if layer == 0 else self._out_of(layer, touch)
                hooks.callback(handle.remove)
            if until is not None:  # the last hook of its layer, so that the touch has been there
                last = self._into_first(_enough) if until == 0 else self._out_of(until, _enough)
                hooks.callback(last.remove)
            with suppress(_Enough):
                yield

    def _into_first(self, touch: Touch) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (touch(self._checked(args[0])), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": touch(self._checked(kwargs.get("hidden_states")))}

        return self._blocks[0].register_forward_pre_hook(hook, with_kwargs=True)

    def _out_of(self, layer: int, touch: Touch) -> torch.utils.hooks.RemovableHandle:
        # transformers 5 blocks return the stream itself; on 4.57 some return a tuple that begins with it.
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                return (touch(self._checked(output[0])), *output[1:])
            return touch(self._checked(output))

        return self._blocks[layer - 1].register_forward_hook(hook)

    def _checked(self, stream: Any) -> torch.Tensor:
        if isinstance(stream, torch.Tensor) and stream.ndim == 3 and stream.shape[-1] == self._hidden_size:
            return stream
        shape = tuple(stream.shape) if isinstance(stream, torch.Tensor) else type(stream).__name__
        raise EngineError(
            f"a block of {type(self._blocks[0]).__name__} carries {shape} where a residual stream "
            f"[row position {self._hidden_size}] was looked for: this architecture is not supported"
        )
