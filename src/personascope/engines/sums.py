"""What is read of the residual stream while it passes.

Owns: :class:`Sums`. The one law: every sum is taken token by token in their order, so it depends neither on batch mates
nor on how many tokens went through the model together.
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
        self._ends = np.array([path[-1] for path in tree.paths])
        self._ranks = np.unique(self._ends, return_inverse=True)[1]
        self._along: dict[int, torch.Tensor] = {}
        self._last: dict[int, list[torch.Tensor]] = defaultdict(list)
        options: dict[str, Any] = {"dtype": torch.float32, "device": loaded.device}
        self._said = torch.zeros((len(self._layers), rows, width), **options)
        self._norms = torch.zeros((len(self._layers), rows), **options)
        self._counts = np.zeros(rows, dtype=np.int64)

    def of_prompts(self, shifts: dict[int, Touch], first: int, until: int, ends: np.ndarray) -> dict[int, Touch]:
        """The touches of a pass over prompt tokens ``first`` to ``until``, some of which end a prompt."""
        depths = self._tree.positions[first:until]
        bounds = [first, *(first + np.flatnonzero(np.diff(depths)) + 1).tolist(), until]
        ending = torch.from_numpy(ends - first).to(self._said.device)

        def summed(layer: int, stream: torch.Tensor) -> None:
            exact = stream[0, : until - first].float()
            if layer not in self._along:
                self._along[layer] = exact.new_empty((len(self._tree.tokens), exact.shape[1]))
            along = self._along[layer]
            along[first:until] = exact
            self._last[layer].append(exact[ending])
            for start, end in itertools.pairwise(bounds):
                if self._tree.positions[start]:
                    along[start:end] += along[torch.from_numpy(self._tree.parents[start:end]).to(along.device)]

        return self._after(shifts, summed)

    def of_answers(
        self, shifts: dict[int, Touch], said: Sequence[tuple[Int[np.ndarray, "row"], Int[np.ndarray, "place"]]]
    ) -> dict[int, Touch]:
        """The touches of a pass over one step or several: for each, the rows that said something, and its place."""
        device = self._said.device
        steps = [tuple(torch.from_numpy(each).to(device) for each in step) for step in said]
        for rows, _ in said:
            self._counts[rows] += 1

        def summed(layer: int, stream: torch.Tensor) -> None:
            exact = stream[0].float()
            norms = torch.linalg.vector_norm(exact, dim=-1)
            for rows, places in steps:
                self._said[layer].index_add_(0, rows, exact[places])
                self._norms[layer].index_add_(0, rows, norms[places])

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
        device = self._said.device
        counts = torch.from_numpy(self._counts).to(device, torch.float32)
        lengths = torch.tensor([len(path) for path in self._tree.paths], device=device)[:, None]
        ends, ranks = (torch.from_numpy(each).to(device) for each in (self._ends, self._ranks))
        prompts = [self._along[layer][ends] / lengths for layer in self._layers]
        last = [torch.cat(self._last[layer])[ranks] for layer in self._layers]
        found = {
            "response": self._said / counts[:, None],
            "prompt": torch.stack(prompts),
            "last_prompt": torch.stack(last),
            "norms": self._norms / counts,
        }
        return {name: means.transpose(0, 1).cpu().numpy() for name, means in found.items()}
