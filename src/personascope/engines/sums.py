"""What is read of the residual stream while it passes.

Owns: :class:`Sums`. The one law: every sum is taken token by token in their order, so it depends neither on batch mates
nor on how many tokens went through the model together, and in float64, so that a long text loses no digits.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.engines.blocks import Touch
from personascope.engines.decoding import Loaded
from personascope.engines.prefixes import PromptTree


class Sums:
    """The residual stream of every layer, summed up along prompts and over what each row says."""

    def __init__(self, loaded: Loaded, tree: PromptTree) -> None:
        self._tree, self._layers = tree, range(loaded.last_layer + 1)
        rows, width = len(tree.paths), loaded.hidden_size
        self._ranks = np.unique([path[-1] for path in tree.paths], return_inverse=True)[1]
        self._along: dict[int, torch.Tensor] = {}
        self._held_from = 0
        self._prompts: dict[int, list[torch.Tensor]] = defaultdict(list)
        self._last: dict[int, list[torch.Tensor]] = defaultdict(list)
        exact = torch.float32 if loaded.device.type == "mps" else torch.float64  # which Apple's GPUs do not have
        options: dict[str, Any] = {"dtype": exact, "device": loaded.device}
        self._said = torch.zeros((len(self._layers), rows, width), **options)
        self._norms = torch.zeros((len(self._layers), rows), **options)
        self._counts = np.zeros(rows, dtype=np.int64)

    def of_prompts(self, shifts: dict[int, Touch], first: int, until: int, ends: np.ndarray) -> dict[int, Touch]:
        """The touches of a pass over prompt tokens ``first`` to ``until``, some of which end a prompt."""
        device, tree = self._said.device, self._tree
        depths = tree.positions[first:until]
        bounds = [first, *(first + np.flatnonzero(np.diff(depths)) + 1).tolist(), until]
        ending = torch.from_numpy(ends - first).to(device)
        lengths = torch.from_numpy(tree.positions[ends] + 1).to(device)[:, None]
        # Sums are held of those tokens alone that are still to be followed.
        held_from, self._held_from = self._held_from, max(0, int(tree.parents[until:].min(initial=until)))

        def summed(layer: int, stream: torch.Tensor) -> None:
            here = stream[0, : until - first]
            self._last[layer].append(here[ending].float())
            here = here.to(self._said.dtype, copy=True)
            along = torch.cat([self._along[layer], here]) if layer in self._along else here
            for start, end in itertools.pairwise(bounds):
                if tree.positions[start]:
                    above = torch.from_numpy(tree.parents[start:end] - held_from).to(device)
                    along[start - held_from : end - held_from] += along.index_select(0, above)
            self._prompts[layer].append((along[first - held_from :][ending] / lengths).float())
            self._along[layer] = along[self._held_from - held_from :].clone()

        return self._after(shifts, summed)

    def of_answers(
        self, shifts: dict[int, Touch], said: Sequence[tuple[Int[np.ndarray, "row"], Int[np.ndarray, "place"]]]
    ) -> dict[int, Touch]:
        """The touches of a pass over one step or several: for each, the rows that said something, and its place."""
        device, exact = self._said.device, self._said.dtype
        steps = [tuple(torch.from_numpy(each).to(device) for each in step) for step in said]
        for rows, _ in said:
            self._counts[rows] += 1

        def summed(layer: int, stream: torch.Tensor) -> None:
            norms = torch.linalg.vector_norm(stream[0].float(), dim=-1)
            for rows, places in steps:
                self._said[layer].index_add_(0, rows, stream[0].index_select(0, places).to(exact))
                self._norms[layer].index_add_(0, rows, norms[places].to(exact))

        return self._after(shifts, summed)

    def _after(self, shifts: dict[int, Touch], summed: Callable[[int, torch.Tensor], None]) -> dict[int, Touch]:
        def reading(layer: int, shift: Touch | None) -> Touch:
            def touch(stream: torch.Tensor) -> torch.Tensor:
                moved = stream if shift is None else shift(stream)
                summed(layer, moved)
                return moved

            return touch

        return {layer: reading(layer, shifts.get(layer)) for layer in self._layers}

    def means(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """The four means; an empty answer's are NaN."""
        counts = torch.from_numpy(self._counts).to(self._said.device)
        ranks = torch.from_numpy(self._ranks).to(self._said.device)
        prompts, last = (
            torch.stack([torch.cat(ended[layer])[ranks] for layer in self._layers])
            for ended in (self._prompts, self._last)
        )
        found = {
            "response": (self._said / counts[:, None]).float(),
            "prompt": prompts,
            "last_prompt": last,
            "norms": (self._norms / counts).float(),
        }
        return {name: means.transpose(0, 1).cpu().numpy() for name, means in found.items()}
