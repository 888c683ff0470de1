"""Batches in which what prompts have in common is computed once.

Owns: :class:`SharedBatch`, and :func:`shares`, which says of which models there can be one. The one law: every distinct
prompt token goes through the model once, every token said once, and nothing else does: there is no padding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from personascope.engines.attention import AnswerAttention, Attention, PromptAttention, attending
from personascope.engines.blocks import Touch
from personascope.engines.decoding import FEWEST_ROWS, Loaded, Row, filled_up
from personascope.engines.edits import RESPONSE, Shifts
from personascope.engines.prefixes import Pages, PromptTree
from personascope.engines.sampling import Sampler
from personascope.engines.uniforms import uniforms_of
from personascope.records import Request, Sampling

_USUAL: Final = {"full_attention", "sliding_attention"}

TOKENS_AT_ONCE: Final = 4096
"""Prompt tokens of one forward pass: more would only take more memory."""


class SharedBatch:
    """The rows that are still held, the pages of their prompts, and what each has said.

    With ``reads`` the residual stream is summed up as it passes: :meth:`means`.
    """

    def __init__(self, loaded: Loaded, rows: Sequence[Row], *, reads: bool = False) -> None:
        filled = filled_up(rows)
        self._loaded, self._rows, self.reads = loaded, filled, reads
        self.longest = max(row.request.drawn_with.max_tokens for row in filled)
        self.held = np.arange(len(filled))
        device, edits = loaded.device, [row.request.edits for row in filled]
        self._shifts = Shifts(edits, hidden_size=loaded.hidden_size, dtype=loaded.dtype)
        self._tree = PromptTree.of([row.prompt for row in filled], edits)
        self._lengths = np.array([len(row.prompt) for row in filled])
        # A done row may be carried along for a while, and must not go to positions the model does not have.
        self._furthest = self._lengths + np.array([row.request.drawn_with.max_tokens - 1 for row in filled])
        uniforms = [uniforms_of(row.request) for row in filled]
        samplings, prompts = [row.request.drawn_with for row in filled], [row.prompt for row in filled]
        self.sampler = Sampler(samplings, uniforms, prompts, device=device)
        self._sums = _Sums(loaded, self._tree, len(filled)) if reads else None

    def begin(self) -> Float[torch.Tensor, "row token"]:
        """The logits after the prompts."""
        tree, attention = self._tree, PromptAttention(self._tree, self._loaded.device)
        ends, ranks = np.unique([path[-1] for path in tree.paths], return_inverse=True)
        parts = []
        for first in range(0, len(tree.tokens), TOKENS_AT_ONCE):
            until = min(first + TOKENS_AT_ONCE, len(tree.tokens))
            nodes = _at_least(np.arange(first, until))
            here = ends[(ends >= first) & (ends < until)]
            attention.computing(first, until)
            touches = self._shifts.at(tree.rows[nodes], tree.phases[nodes], self._loaded.device)
            if self._sums is not None:
                touches = self._sums.of_prompts(touches, first, until, here)
            asked = _at_least(here - first) if len(here) else np.zeros(1, dtype=np.int64)
            logits = self._forward(attention, tree.tokens[nodes], tree.positions[nodes], touches, asked)
            parts.append(logits[: len(here)])
        self._pages = Pages.of(tree.paths, fewest=FEWEST_ROWS)
        held = attention.paged(self._pages)
        room = {"longest": self.longest, "device": self._loaded.device}
        self._attention = AnswerAttention(self._pages, held, self._lengths, **room)
        self._onward = self._shifts.at(self.held, np.full(len(self.held), RESPONSE), self._loaded.device)
        return torch.cat(parts)[torch.from_numpy(ranks).to(self._loaded.device)]

    def go_on(
        self, tokens: Int[torch.Tensor, "row"], step: int, *, said: Bool[np.ndarray, "row"], last: bool
    ) -> Float[torch.Tensor, "row token"]:
        """The logits after one more token per row, the one drawn at ``step``."""
        self._attention.speaking(step)
        touches = self._onward if self._sums is None else self._sums.of_answers(self._onward, self.held, said)
        positions = np.minimum(self._lengths + step, self._furthest)
        asked = np.zeros(1, dtype=np.int64) if last else None
        return self._forward(self._attention, tokens, positions, touches, asked)

    def keep(self, rows: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row."""
        chosen = torch.from_numpy(rows).to(self._loaded.device)
        self.held, self._lengths, self._furthest = self.held[rows], self._lengths[rows], self._furthest[rows]
        self._pages = Pages.of([self._tree.paths[row] for row in self.held], fewest=FEWEST_ROWS)
        self._attention.keep(chosen, self._pages, self._lengths)
        self.sampler.keep(chosen)
        self._onward = self._shifts.at(self.held, np.full(len(self.held), RESPONSE), self._loaded.device)

    def means(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """Per row and layer what :func:`personascope.engines.reading.read_means` gives, of the answers just said."""
        if self._sums is None:
            raise AssertionError("this batch was not asked to read")
        return self._sums.means()

    def _forward(
        self,
        attention: Attention,
        tokens: Int[np.ndarray, "token"] | Int[torch.Tensor, "token"],
        positions: Int[np.ndarray, "token"],
        touches: dict[int, Touch],
        asked: Int[np.ndarray, "place"] | None,
    ) -> Float[torch.Tensor, "place token"]:
        """The logits at the places asked for, or everywhere."""
        device, model = self._loaded.device, self._loaded.model
        with self._loaded.stream.touched(touches), attending(_text_config(model), attention):
            out = model(
                input_ids=torch.as_tensor(tokens).to(device)[None],
                position_ids=torch.as_tensor(positions).to(device)[None],
                use_cache=False,
                logits_to_keep=0 if asked is None else torch.from_numpy(asked).to(device),
            )
        logits: torch.Tensor = out.logits[0]
        return logits


def _at_least(places: Int[np.ndarray, "place"]) -> Int[np.ndarray, "place"]:
    """The places, the first again and again if they are too few."""
    return np.concatenate([places, np.repeat(places[:1], max(0, FEWEST_ROWS - len(places)))])


class _Sums:
    """The residual stream of every layer, summed up as it passes: along prompts, and over what each row says.

    Every sum is taken token by token in their order, so it does not depend on batch mates either.
    """

    def __init__(self, loaded: Loaded, tree: PromptTree, rows: int) -> None:
        self._tree, self._layers = tree, range(loaded.last_layer + 1)
        width = loaded.hidden_size
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
            for start, end in zip(bounds, bounds[1:], strict=False):
                if self._tree.positions[start]:
                    along[start:end] += along[torch.from_numpy(self._tree.parents[start:end]).to(along.device)]

        return self._after(shifts, summed)

    def of_answers(
        self, shifts: dict[int, Touch], held: Int[np.ndarray, "row"], said: Bool[np.ndarray, "row"]
    ) -> dict[int, Touch]:
        """The touches of a step in which some of the rows held have said a token."""
        device = self._said.device
        rows, places = torch.from_numpy(held[said]).to(device), torch.from_numpy(np.flatnonzero(said)).to(device)
        self._counts[held[said]] += 1
        everyone = bool(said.all())

        def summed(layer: int, stream: torch.Tensor) -> None:
            exact = (stream[0] if everyone else stream[0, places]).float()
            self._said[layer].index_add_(0, rows, exact)
            self._norms[layer].index_add_(0, rows, torch.linalg.vector_norm(exact, dim=-1))

        return self._after(shifts, summed)

    def _after(self, shifts: dict[int, Touch], summed: Any) -> dict[int, Touch]:
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


def _text_config(model: Any) -> Any:
    return model.config.get_text_config(decoder=True)


def shares(loaded: Loaded) -> bool:
    """Whether a model computes its tokens apart from one another but for the usual attention.

    What its config says can be ruled out at once: layers of another kind (recurrent, chunked, latent), and rotary
    embeddings that scale with the longest text of a batch. The rest is tried: two prompts, and a step beyond.
    """
    config: Any = _text_config(loaded.model)
    kinds = set(getattr(config, "layer_types", None) or _USUAL)
    scalings = str(getattr(config, "rope_parameters", None)) + str(getattr(config, "rope_scaling", None))
    if not kinds <= _USUAL or "dynamic" in scalings or "longrope" in scalings or len(_devices(loaded.model)) > 1:
        return False
    prompts = tuple(tuple((7 * place + 3) % config.vocab_size for place in range(count)) for count in (37, 21))
    rows = [Row(Request("", Sampling(max_tokens=2), draw), prompt) for draw, prompt in enumerate(prompts)]
    try:
        batch = SharedBatch(loaded, rows)
        logits = batch.begin()
        tokens = logits.argmax(-1)
        further = batch.go_on(tokens, 0, said=np.ones(len(tokens), dtype=bool), last=False)
        return all(
            _agree(loaded, (*prompt, int(tokens[row])), torch.stack([logits[row], further[row]]))
            for row, prompt in enumerate(prompts)
        )
    except Exception:  # whatever an architecture that nobody has seen yet trips over: it has the padded batch
        return False


def _agree(loaded: Loaded, tokens: tuple[int, ...], logits: Float[torch.Tensor, "step token"]) -> bool:
    """Whether the last logits of a text are these, as far as the dtype goes."""
    asked = torch.tensor([tokens], device=loaded.device)
    expected = loaded.model(input_ids=asked, use_cache=False, logits_to_keep=2).logits[0].float()
    allowed = 1e-3 if loaded.dtype == torch.float32 else 0.1
    return bool((logits.float() - expected).abs().max() <= allowed * expected.abs().max())


def _devices(model: Any) -> set[torch.device]:
    return {each.device for each in model.parameters()}
