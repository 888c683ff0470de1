"""What is measured of texts while vLLM computes them.

Owns: :class:`Follower`, :class:`Means` and :class:`Projections`. The one law: every token of every text is measured
once, whatever steps vLLM computes it in, and sums are exact beyond float32, so their order does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from jaxtyping import Float

from personascope.core.edits import Probe
from personascope.engines.edits import LAST_PROMPT, RESPONSE
from personascope.engines.vllm_plan import Asked, Piece, Step, Tally

_RESPONSE, _PROMPT, _LAST = range(3)
SPANS: Final = ("response", "prompt", "last_prompt")


class Follower(Protocol):
    """Something that measures the residual stream as it passes."""

    def prepare(self, device: torch.device) -> None:
        """Before the first pass."""
        ...

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Before every pass: what it will hold."""
        ...

    def follows(self, layer: int) -> bool:
        """Whether a layer is measured."""
        ...

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """One layer's stream, after the edits."""
        ...

    def found(self) -> Any:
        """What was measured; an :class:`~personascope.core.errors.EngineError` if a token was not."""
        ...


class Means:
    """The means of the stream of every layer over response, prompt and last prompt token, and the mean norm."""

    def __init__(self, asked: Sequence[Asked], layers: int, hidden_size: int) -> None:
        self._asked, self._layers, self._hidden_size = asked, layers, hidden_size
        self._tally = Tally(asked)

    def prepare(self, device: torch.device) -> None:
        """Room for the sums, in float64."""
        count = len(self._asked)
        exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self._sums = torch.zeros((self._layers, 3 * count, self._hidden_size), **exact)
        self._norms = torch.zeros((self._layers, count), **exact)
        self._device = device

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Which sums each token of the pass belongs to: a last prompt token belongs to two."""
        places = self._tally.fresh(pieces)
        tickets, phases = step.tickets[places], step.phases[places]
        spans = np.where(phases == RESPONSE, _RESPONSE, _PROMPT)
        last, said = phases == LAST_PROMPT, phases == RESPONSE
        rows = np.concatenate([3 * tickets + spans, 3 * tickets[last] + _LAST])
        there = [rows, np.concatenate([places, places[last]]), tickets[said], places[said]]
        self._rows, self._places, self._sayers, self._said = (torch.from_numpy(each).to(self._device) for each in there)

    def follows(self, layer: int) -> bool:
        """Every layer is read."""
        return True

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """Adds the pass to the sums."""
        exact = stream.double()
        self._sums[layer].index_add_(0, self._rows, exact[self._places])
        norms = torch.linalg.vector_norm(exact[self._said], dim=-1)
        self._norms[layer].index_add_(0, self._sayers, norms)

    def found(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """The four means per text and layer; those of an empty response are NaN."""
        self._tally.check_complete()
        prompts = torch.tensor([each.prompt for each in self._asked], dtype=torch.float64, device=self._device)
        said = torch.tensor([each.given for each in self._asked], dtype=torch.float64, device=self._device) - prompts
        counts = torch.stack([said, prompts, torch.ones_like(said)], 1)
        means = self._sums.view(self._layers, len(self._asked), 3, self._hidden_size) / counts[None, :, :, None]
        by_row = means.permute(1, 2, 0, 3).float().cpu().numpy()
        norms = (self._norms / said).T.float().cpu().numpy()
        return {**{name: by_row[:, place] for place, name in enumerate(SPANS)}, "norms": norms}


class Projections:
    """The dot product of the stream with every probe, token by token."""

    def __init__(self, asked: Sequence[Asked], probes: Sequence[Probe]) -> None:
        self._asked, self._probes = asked, probes
        self._tally = Tally(asked)
        self._columns: dict[int, list[int]] = defaultdict(list)
        for place, probe in enumerate(probes):
            self._columns[probe.layer].append(place)

    def prepare(self, device: torch.device) -> None:
        """The directions beside the model, and room for what is measured."""
        self._directions = {
            layer: torch.from_numpy(np.stack([self._probes[column].direction for column in columns], 1)).to(device)
            for layer, columns in self._columns.items()
        }
        self._found = [np.zeros((each.given, len(self._probes)), dtype=np.float32) for each in self._asked]

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Where each token of the pass is written."""
        places = self._tally.fresh(pieces)
        self._step = [
            (int(ticket), places[step.tickets[places] == ticket]) for ticket in np.unique(step.tickets[places])
        ]
        self._positions = step.positions

    def follows(self, layer: int) -> bool:
        """Only layers with a probe."""
        return layer in self._columns

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """Writes down the pass."""
        along = (stream.float() @ self._directions[layer]).cpu().numpy()
        for ticket, places in self._step:
            self._found[ticket][np.ix_(self._positions[places], self._columns[layer])] = along[places]

    def found(self) -> list[Float[np.ndarray, "token probe"]]:
        """One array per text."""
        self._tally.check_complete()
        return self._found
