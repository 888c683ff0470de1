"""What is read of the residual stream: means, projections and log-probabilities.

Texts that are known go through the model in padded rows (:func:`read_means`, :func:`projections`,
:func:`log_probabilities`): a row is computed at a width that is a function of its own length alone, among enough rows
for a matrix product to stay one, so its batch mates cannot change it.

Rows that share prompts are summed up as they pass (:class:`Sums`): token by token in their order, so no sum depends on
batch mates or on how many tokens go through the model together, and in float64, so that a long text loses no digits.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.core.records import Probe, Request, Response
from personascope.engines.hf import edits
from personascope.engines.hf.decoding import FEWEST_ROWS, Loaded
from personascope.engines.hf.edits import Shifts
from personascope.engines.hf.hooks import Touch
from personascope.engines.hf.prefix_tree import PromptTree


@dataclass(frozen=True, eq=False)
class Spoken:
    """One response to read: its tokens, where the response starts, and the edits it was given under."""

    request: Request
    tokens: tuple[int, ...]
    response_start: int


def read_means(loaded: Loaded, rows: Sequence[Spoken], width: int) -> dict[str, Float[np.ndarray, "row layer ..."]]:
    """Per row and layer: means over response, prompt and last prompt token, and the mean norm over the response.

    Padding is to the right, where no token sees it, so no mask is needed and every kernel is the causal one.
    """
    tokens, phases, shifts = laid_out(loaded, rows, width)
    reader = _Reader(phases, range(loaded.last_layer + 1))
    with loaded.stream.touched(reader.after(shifts)):
        loaded.model(input_ids=tokens, use_cache=False, logits_to_keep=1)
    return {name: np.stack(layers, 1)[: len(rows)] for name, layers in reader.seen.items()}


def laid_out(
    loaded: Loaded, rows: Sequence[Spoken], width: int
) -> tuple[Int[torch.Tensor, "row position"], Int[torch.Tensor, "row position"], dict[int, Touch]]:
    """Tokens and phases of rows padded on the right, where no token sees it, and what their edits do at each layer.

    Rows enough for a batch: the first again and again, if they are too few.
    """
    filled = [*rows, *[rows[0]] * (FEWEST_ROWS - len(rows))]
    tokens = torch.zeros((len(filled), width), dtype=torch.long)
    phases = torch.full((len(filled), width), edits.PADDING)
    for row, each in enumerate(filled):
        tokens[row, : len(each.tokens)] = torch.tensor(each.tokens)
        phases[row, : len(each.tokens)] = edits.RESPONSE
        phases[row, : each.response_start] = edits.PROMPT
        phases[row, each.response_start - 1] = edits.LAST_PROMPT
    tokens, phases = tokens.to(loaded.device), phases.to(loaded.device)
    shifts = Shifts([row.request.edits for row in filled], hidden_size=loaded.hidden_size, dtype=loaded.dtype)
    return tokens, phases, shifts.over(phases)


class _Reader:
    """Takes the means of every layer as the stream passes, so that no layer's whole stream is kept."""

    def __init__(self, phases: Int[torch.Tensor, "row position"], layers: Iterable[int]) -> None:
        response, last = phases == edits.RESPONSE, phases == edits.LAST_PROMPT
        spans = torch.stack([response, last | (phases == edits.PROMPT), last], 1).float()
        # No response token: 0 / 0 is NaN, which is what an empty response reads.
        self._spans: Float[torch.Tensor, "row span position"] = spans / spans.sum(-1, keepdim=True)
        self._layers = list(layers)
        self.seen: dict[str, list[np.ndarray]] = {name: [] for name in ("response", "prompt", "last_prompt", "norms")}

    def after(self, shifts: dict[int, Touch]) -> dict[int, Touch]:
        """The touches that read every layer, each after its edit."""
        return {layer: self._reading(shifts.get(layer)) for layer in self._layers}

    def _reading(self, shift: Touch | None) -> Touch:
        def touch(stream: torch.Tensor) -> torch.Tensor:
            moved = stream if shift is None else shift(stream)
            spans = self._spans.to(moved.device)
            exact = moved.float()
            means = torch.bmm(spans, exact)
            norms = (spans[:, 0] * torch.linalg.vector_norm(exact, dim=-1)).sum(-1)
            for span, name in enumerate(("response", "prompt", "last_prompt")):
                self.seen[name].append(means[:, span].cpu().numpy())
            self.seen["norms"].append(norms.cpu().numpy())
            return moved

        return touch


def as_heard(response: Response) -> tuple[Any, ...]:
    """What the means of a response depend on."""
    edits = tuple(tuple(edit.identity.items()) for edit in response.request.edits)
    return (*response.spoken, edits)


def projections(
    loaded: Loaded, rows: Sequence[Spoken], width: int, probes: Sequence[Probe]
) -> list[Float[np.ndarray, "_token probe"]]:
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


def log_probabilities(loaded: Loaded, rows: Sequence[Spoken], width: int) -> list[Float[np.ndarray, "_spoken"]]:
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
        self._said = torch.zeros((len(self._layers), rows, width), dtype=torch.float64)
        self._norms = torch.zeros((len(self._layers), rows), dtype=torch.float64)
        self._counts = np.zeros(rows, dtype=np.int64)

    def of_prompts(self, shifts: dict[int, Touch], first: int, until: int, ends: np.ndarray) -> dict[int, Touch]:
        """The touches of a pass over prompt tokens ``first`` to ``until``, some of which end a prompt."""
        tree = self._tree
        depths = tree.positions[first:until]
        bounds = [first, *(first + np.flatnonzero(np.diff(depths)) + 1).tolist(), until]
        ending = torch.from_numpy(ends - first)
        lengths = torch.from_numpy(tree.positions[ends] + 1)[:, None]
        # Sums are held of those tokens alone that are still to be followed.
        held_from, self._held_from = self._held_from, max(0, int(tree.parents[until:].min(initial=until)))

        def summed(layer: int, stream: torch.Tensor) -> None:
            here = stream[0, : until - first]
            self._last[layer].append(here[ending].float())
            here = here.to(torch.float64, copy=True)
            along = torch.cat([self._along[layer], here]) if layer in self._along else here
            for start, end in itertools.pairwise(bounds):
                if tree.positions[start]:
                    above = torch.from_numpy(tree.parents[start:end] - held_from)
                    along[start - held_from : end - held_from] += along.index_select(0, above)
            self._prompts[layer].append((along[first - held_from :][ending] / lengths).float())
            self._along[layer] = along[self._held_from - held_from :].clone()

        return self._after(shifts, summed)

    def of_answers(
        self, shifts: dict[int, Touch], said: Sequence[tuple[Int[np.ndarray, "_row"], Int[np.ndarray, "_place"]]]
    ) -> dict[int, Touch]:
        """The touches of a pass over one step or several: for each, the rows that said something, and its place."""
        steps = [tuple(torch.from_numpy(each) for each in step) for step in said]
        for rows, _ in said:
            self._counts[rows] += 1

        def summed(layer: int, stream: torch.Tensor) -> None:
            norms = torch.linalg.vector_norm(stream[0].float(), dim=-1)
            for rows, places in steps:
                self._said[layer].index_add_(0, rows, stream[0].index_select(0, places).double())
                self._norms[layer].index_add_(0, rows, norms[places].double())

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
        counts = torch.from_numpy(self._counts)
        ranks = torch.from_numpy(self._ranks)
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
        return {name: means.transpose(0, 1).numpy() for name, means in found.items()}
