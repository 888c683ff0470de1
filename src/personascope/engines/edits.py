"""Edits of a batch of rows, ready to be added to the residual stream.

Owns: :class:`Shifts` and the phases of a token. The one law: what is added to a row depends on that row's own edits
alone, and where nothing is to be added, nothing changes, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.engines.blocks import Touch
from personascope.records import Edit, Where

# The phases of a token. The last prompt token is its own phase because it is both the end of the prompt and the
# position that predicts the first response token, so every edit reaches it.
PADDING: Final = 0
PROMPT: Final = 1
LAST_PROMPT: Final = 2
RESPONSE: Final = 3

_REACHES: Mapping[Where, tuple[int, ...]] = {
    "prompt": (PROMPT, LAST_PROMPT),
    "response": (LAST_PROMPT, RESPONSE),
    "all": (PROMPT, LAST_PROMPT, RESPONSE),
}


class Shifts:
    """What is added at each layer for each row and phase.

    Edits of one row at one layer that meet at a token are summed in float32, rounded to the stream's dtype once, and
    added in the stream's dtype: one addition per edited layer, however many rows and edits there are.
    """

    def __init__(self, edits: Sequence[tuple[Edit, ...]], *, hidden_size: int, dtype: torch.dtype) -> None:
        distinct: dict[tuple[int, ...], int] = {}
        kinds = [distinct.setdefault(tuple(map(id, row)), len(distinct)) for row in edits]
        first = {kind: edits[row] for row, kind in reversed(list(enumerate(kinds)))}
        self._kinds = torch.tensor(kinds, dtype=torch.long)
        self._tables = {
            layer: torch.from_numpy(_table(layer, [first[kind] for kind in range(len(first))], hidden_size)).to(dtype)
            for layer in sorted({edit.layer for row in first.values() for edit in row if edit.direction.any()})
        }

    def over(self, phases: Int[torch.Tensor, "row position"]) -> dict[int, Touch]:
        """The touches for a forward pass over tokens of many phases."""
        kinds = self._kinds.to(phases.device)[:, None]
        return {layer: _adding(table.to(phases.device)[kinds, phases]) for layer, table in self._tables.items()}

    def at(
        self, rows: Int[np.ndarray, "token"], phases: Int[np.ndarray, "token"], device: torch.device
    ) -> dict[int, Touch]:
        """The touches for a forward pass over ``[1 token]``, each of a row and in a phase of its own."""
        kinds = self._kinds[torch.from_numpy(rows)]
        steady = {layer: table[kinds, torch.from_numpy(phases)][None] for layer, table in self._tables.items()}
        return {layer: _adding(delta.to(device)) for layer, delta in steady.items() if bool(delta.any())}

    def onward(self, rows: Int[np.ndarray, "row"], device: torch.device) -> dict[int, Touch]:
        """The touches for decode steps of these rows: one response token each."""
        kinds = self._kinds[torch.from_numpy(rows)]
        steady = {layer: table[kinds, RESPONSE][:, None, :] for layer, table in self._tables.items()}
        return {layer: _adding(delta.to(device)) for layer, delta in steady.items() if bool(delta.any())}


def _table(layer: int, kinds: Sequence[tuple[Edit, ...]], hidden_size: int) -> Float[np.ndarray, "kind phase hidden"]:
    # Minus zero is the number that changes nothing when added: plus zero would turn a -0.0 of the stream into 0.0.
    table = np.full((len(kinds), 4, hidden_size), -0.0, dtype=np.float32)
    for kind, edits in enumerate(kinds):
        for edit in edits:
            if edit.layer == layer and edit.direction.any():
                with np.errstate(over="ignore"):  # an infinite sum is refused where a token is drawn from it
                    table[kind, list(_REACHES[edit.where])] += edit.direction
    return table


def _adding(delta: torch.Tensor) -> Touch:
    def touch(stream: torch.Tensor) -> torch.Tensor:
        return stream + delta.to(stream.device)

    return touch
