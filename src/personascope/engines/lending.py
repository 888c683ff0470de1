"""Weights, from the folder they lie in to a model that is ready to be asked, and the folder's return.

Owns: :data:`Weights`, :func:`lent` and :func:`load`. The one law: a folder is in use from before the first weight is
read until the engine lets go of the model, so whoever lends it out knows when it may go.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch

from personascope.core.lineages import Checkpoint
from personascope.engines.hf import cpu, loading
from personascope.engines.hf.decoding import Loaded
from personascope.engines.hf.hooks import ResidualStream

Weights = Callable[[Checkpoint], AbstractContextManager[Path]]
"""Gives the folder of a resolved checkpoint's weights, for as long as it is held open."""


def lent(checkpoint: Checkpoint) -> AbstractContextManager[Path]:
    """The folder as it is: fetched from the Hub if it must be, kept for ever.

    :class:`personascope.engines.shelf.Shelf` takes its place where checkpoints follow one another.
    """
    return nullcontext(loading.weight_folder(checkpoint))


def load(
    weights: Weights,
    checkpoint: Checkpoint,
    *,
    config: Any,
    end_tokens: frozenset[int],
    device: torch.device,
    dtype: torch.dtype,
    device_map: str | None = None,
) -> tuple[Loaded, ExitStack]:
    """The model of a resolved checkpoint, and what is to be closed when it is let go: its folder is in use till then.

    Raises:
        CheckpointError, EngineError: as :func:`personascope.engines.hf.loading.load_model`.
    """
    with ExitStack() as held:
        folder = held.enter_context(weights(checkpoint))
        model: Any = loading.load_model(checkpoint, folder=folder, device=device, dtype=dtype, device_map=device_map)
        cpu.quicken(model)
        text = config.get_text_config(decoder=True)
        blocks, width = int(text.num_hidden_layers), int(text.hidden_size)
        loaded = Loaded(
            model=model,
            stream=ResidualStream(model, blocks=blocks, hidden_size=width),
            config=config,
            hidden_size=width,
            last_layer=blocks,
            end_tokens=end_tokens,
            parameters=sum(each.numel() for each in model.parameters()),
            dtype=model.dtype,
            device=model.get_input_embeddings().weight.device,
        )
        return loaded, held.pop_all()
