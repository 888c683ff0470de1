"""Edits of a batch of rows, ready to be made to the residual stream.

Owns: :class:`Shifts` and the phases of a token. The one law: what is done to a row depends on that row's own edits
alone, and where nothing is to be done, nothing changes, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.core.records import Edit, Where
from personascope.engines.hf.hooks import Touch

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
    """What is done at each layer to each row in each phase.

    Additions of one row at one layer that meet at a token are summed in float32, rounded to the stream's dtype once,
    and added in the stream's dtype: one addition per edited layer, however many rows and edits there are. Ablations and
    caps follow in the order of the row's edits, in float32, and are rounded once each.
    """

    def __init__(self, edits: Sequence[tuple[Edit, ...]], *, hidden_size: int, dtype: torch.dtype) -> None:
        distinct: dict[tuple[int, ...], int] = {}
        kinds = [distinct.setdefault(tuple(map(id, row)), len(distinct)) for row in edits]
        first = {kind: edits[row] for row, kind in reversed(list(enumerate(kinds)))}
        rows = [tuple(edit for edit in first[kind] if edit.direction.any()) for kind in range(len(first))]
        self._kinds = torch.tensor(kinds, dtype=torch.long)
        self._tables = {
            layer: torch.from_numpy(_table(layer, rows, hidden_size)).to(dtype)
            for layer in sorted({edit.layer for row in rows for edit in row if edit.operation == "add"})
        }
        self._clamps = {
            layer: _clamps(layer, rows, hidden_size)
            for layer in sorted({edit.layer for row in rows for edit in row if edit.operation != "add"})
        }

    def over(self, phases: Int[torch.Tensor, "row position"]) -> dict[int, Touch]:
        """The touches for a forward pass over tokens of many phases."""
        kinds = self._kinds.to(phases.device)[:, None]
        added = {layer: table.to(phases.device)[kinds, phases] for layer, table in self._tables.items()}
        return _touches(added, {layer: [e.at(kinds, phases) for e in some] for layer, some in self._clamps.items()})

    def at(
        self, rows: Int[np.ndarray, "token"], phases: Int[np.ndarray, "token"], device: torch.device
    ) -> dict[int, Touch]:
        """The touches for a forward pass over ``[1 token]``, each of a row and in a phase of its own."""
        kinds = self._kinds[torch.from_numpy(rows)]
        return self._steady(kinds[None], torch.from_numpy(phases)[None], device)

    def onward(self, rows: Int[np.ndarray, "row"], device: torch.device) -> dict[int, Touch]:
        """The touches for decode steps of these rows: one response token each."""
        kinds = self._kinds[torch.from_numpy(rows)][:, None]
        return self._steady(kinds, torch.full_like(kinds, RESPONSE), device)

    def _steady(self, kinds: torch.Tensor, phases: torch.Tensor, device: torch.device) -> dict[int, Touch]:
        """Touches that serve many passes, so that those which do nothing are left out."""
        added = {layer: table[kinds, phases] for layer, table in self._tables.items()}
        added = {layer: delta.to(device) for layer, delta in added.items() if bool(delta.any())}
        held = {layer: [each.at(kinds, phases) for each in some] for layer, some in self._clamps.items()}
        held = {layer: [each.to(device) for each in some if each.clamps] for layer, some in held.items()}
        return _touches(added, {layer: some for layer, some in held.items() if some})


def _table(layer: int, kinds: Sequence[tuple[Edit, ...]], hidden_size: int) -> Float[np.ndarray, "kind phase hidden"]:
    # Minus zero is the number that changes nothing when added: plus zero would turn a -0.0 of the stream into 0.0.
    table = np.full((len(kinds), 4, hidden_size), -0.0, dtype=np.float32)
    for kind, edits in enumerate(kinds):
        for edit in edits:
            if edit.layer == layer and edit.operation == "add":
                with np.errstate(over="ignore"):  # an infinite sum is refused where a token is drawn from it
                    table[kind, list(_REACHES[edit.where])] += edit.direction
    return table


@dataclass(frozen=True, eq=False)
class _Clamp:
    """Unit directions, and between which ends the projection on them is held: no ends where nothing is done.

    An ablation holds it at 0, a cap below its bound. Of a table the first dimensions are kind and phase, of what a pass
    needs they are those of its tokens.
    """

    directions: Float[torch.Tensor, "... hidden"]
    low: Float[torch.Tensor, "..."]
    high: Float[torch.Tensor, "..."]

    @property
    def clamps(self) -> bool:
        """Whether anything is done to any token."""
        return bool((self.low.isfinite() | self.high.isfinite()).any())

    def at(self, kinds: torch.Tensor, phases: torch.Tensor) -> _Clamp:
        """What tokens of these kinds and phases need; ``self`` is a table."""
        there = self.to(phases.device)
        return _Clamp(there.directions[kinds], there.low[kinds, phases], there.high[kinds, phases])

    def to(self, device: torch.device) -> _Clamp:
        """The same on a device."""
        return _Clamp(self.directions.to(device), self.low.to(device), self.high.to(device))

    def over(self, stream: torch.Tensor) -> torch.Tensor:
        """The stream with its projections held; a token whose projection lies between the ends stays what it is."""
        ends = self.to(stream.device)
        exact = stream.float()
        # Token by token, so that it does not depend on how many there are.
        along = (exact * ends.directions).sum(-1)
        held = torch.minimum(torch.maximum(along, ends.low), ends.high)
        moved = (exact + (held - along)[..., None] * ends.directions).to(stream.dtype)
        return torch.where((held != along)[..., None], moved, stream)


def _clamps(layer: int, kinds: Sequence[tuple[Edit, ...]], hidden_size: int) -> list[_Clamp]:
    """The ablations and caps at a layer as tables: the first of every kind, then the second of those that have one."""
    rows = [[edit for edit in edits if edit.layer == layer and edit.operation != "add"] for edits in kinds]
    found = []
    for place in range(max(map(len, rows))):
        directions = np.zeros((len(kinds), hidden_size), dtype=np.float32)
        low, high = (np.full((len(kinds), 4), end, dtype=np.float32) for end in (-np.inf, np.inf))
        for kind, edits in enumerate(rows):
            for edit in edits[place : place + 1]:
                reached = list(_REACHES[edit.where])
                directions[kind] = edit.direction
                high[kind, reached] = 0.0 if edit.bound is None else edit.bound
                low[kind, reached] = 0.0 if edit.bound is None else -np.inf
        found.append(_Clamp(*map(torch.from_numpy, (directions, low, high))))
    return found


def _touches(added: Mapping[int, torch.Tensor], held: Mapping[int, Sequence[_Clamp]]) -> dict[int, Touch]:
    """At each layer first what is added, then what is held, in order."""

    def touching(delta: torch.Tensor | None, clamps: Sequence[_Clamp]) -> Touch:
        def touch(stream: torch.Tensor) -> torch.Tensor:
            moved = stream if delta is None else stream + delta.to(stream.device)
            for each in clamps:
                moved = each.over(moved)
            return moved

        return touch

    return {layer: touching(added.get(layer), held.get(layer, ())) for layer in {*added, *held}}
