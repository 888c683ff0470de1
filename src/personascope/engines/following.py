"""Responses followed token by token: where each stands along a direction, and how likely it was.

Owns: :func:`projections` and :func:`log_probabilities`. The one law: that of :mod:`personascope.engines.reading`: a row
is computed at a width that is a function of its own length alone, so its batch mates cannot change it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from personascope.core.records import Probe
from personascope.engines.blocks import Touch
from personascope.engines.decoding import Loaded
from personascope.engines.reading import Spoken, laid_out


def projections(
    loaded: Loaded, rows: Sequence[Spoken], width: int, probes: Sequence[Probe]
) -> list[Float[np.ndarray, "token probe"]]:
    """For each row, the dot product of the stream at every token with every probe, after the row's edits."""
    tokens, _, touches = laid_out(loaded, rows, width)
    found = np.zeros((len(rows), width, len(probes)), dtype=np.float32)
    places: dict[int, list[int]] = defaultdict(list)
    for place, probe in enumerate(probes):
        places[probe.layer].append(place)

    def measuring(layer: int) -> Touch:
        shift = touches.get(layer)
        directions = torch.from_numpy(np.stack([probes[place].direction for place in places[layer]], 1))

        def touch(stream: torch.Tensor) -> torch.Tensor:
            moved = stream if shift is None else shift(stream)
            along = moved.float() @ directions.to(moved.device)
            found[:, :, places[layer]] = along[: len(rows)].cpu().numpy()
            return moved

        return touch

    # Nothing is asked of the layers above the highest probe.
    with loaded.stream.touched(touches | {layer: measuring(layer) for layer in places}, until=max(places, default=0)):
        loaded.model(input_ids=tokens, use_cache=False, logits_to_keep=1)
    return [found[row, : len(each.tokens)].copy() for row, each in enumerate(rows)]


def log_probabilities(loaded: Loaded, rows: Sequence[Spoken], width: int) -> list[Float[np.ndarray, "spoken"]]:
    """For each row, the log-probability of every response token, under the row's edits."""
    tokens, _, touches = laid_out(loaded, rows, width)
    first = min(each.response_start for each in rows) - 1
    with loaded.stream.touched(touches):
        logits = loaded.model(input_ids=tokens, use_cache=False, logits_to_keep=width - first).logits
    found = []
    for row, each in enumerate(rows):
        start, end = each.response_start, len(each.tokens)
        said = logits[row, start - 1 - first : end - 1 - first].float().log_softmax(-1)
        chosen = said.gather(1, tokens[row, start:end, None])[:, 0]
        found.append(chosen.cpu().numpy().astype(np.float64))
    return found
