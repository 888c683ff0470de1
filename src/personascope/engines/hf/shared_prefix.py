"""Batches in which what prompts have in common is computed once: on a CPU.

Owns: :class:`SharedBatch`, :class:`HeardBatch`, and :func:`shares`, which says of which models there can be one. The
one law: every distinct prompt token goes through the model once, every token said once, and nothing else does: there is
no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from personascope.core.records import Request, Sampling
from personascope.engines.hf.attention import SlotAttention, attending
from personascope.engines.hf.decoding import FEWEST_ROWS, Loaded, Row, filled_up
from personascope.engines.hf.edits import RESPONSE, Shifts
from personascope.engines.hf.hooks import Touch
from personascope.engines.hf.prefix_tree import PromptTree
from personascope.engines.hf.reading import Sums
from personascope.engines.hf.sampling import Sampler
from personascope.engines.uniforms import uniforms_of

_USUAL: Final = {"full_attention", "sliding_attention"}

TOKENS_AT_ONCE: Final = 4096
"""Prompt tokens of one forward pass: more would only take more memory."""


class _SharedPrompts:
    """Rows with the tree of their prompts, and how a forward pass over any of their tokens is made."""

    def __init__(self, loaded: Loaded, rows: Sequence[Row], *, longest: int, reads: bool) -> None:
        self.longest, self.reads = longest, reads
        self.held = np.arange(len(rows))
        self._loaded = loaded
        edits = [row.request.edits for row in rows]
        self._shifts = Shifts(edits, hidden_size=loaded.hidden_size, dtype=loaded.dtype)
        self._tree = PromptTree.of([row.prompt for row in rows], edits)
        self._lengths = np.array([len(row.prompt) for row in rows])
        self._attention = SlotAttention(self._tree, longest=longest)
        self._sums = Sums(loaded, self._tree) if reads else None

    def begin(self) -> Float[torch.Tensor, "row token"]:
        """The logits after the prompts."""
        tree = self._tree
        ends, ranks = np.unique([path[-1] for path in tree.paths], return_inverse=True)
        parts = []
        for first in range(0, len(tree.tokens), TOKENS_AT_ONCE):
            until = min(first + TOKENS_AT_ONCE, len(tree.tokens))
            nodes = _filled_up(np.arange(first, until))
            here = ends[(ends >= first) & (ends < until)]
            self._attention.computing(first, until)
            touches = self._shifts.at(tree.rows[nodes], tree.phases[nodes], self._loaded.device)
            if self._sums is not None:
                touches = self._sums.of_prompts(touches, first, until, here)
            asked = _filled_up(here - first) if len(here) else np.zeros(1, dtype=np.int64)
            logits = self._forward(tree.tokens[nodes], tree.positions[nodes], touches, asked)
            parts.append(logits[: len(here)])
        return torch.cat(parts)[torch.from_numpy(ranks).to(self._loaded.device)]

    def means(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """Per row and layer what :func:`personascope.engines.hf.reading.read_means` gives."""
        if self._sums is None:
            raise AssertionError("these rows were not asked to be read")
        return self._sums.means()

    def _forward(
        self,
        tokens: Int[np.ndarray, "token"] | Int[torch.Tensor, "token"],
        positions: Int[np.ndarray, "token"],
        touches: dict[int, Touch],
        asked: Int[np.ndarray, "place"] | None,
    ) -> Float[torch.Tensor, "place vocabulary"]:
        """The logits at the places asked for, or everywhere."""
        device, model = self._loaded.device, self._loaded.model
        with self._loaded.stream.touched(touches), attending(_text_config(model), self._attention):
            out = model(
                input_ids=torch.as_tensor(tokens).to(device)[None],
                position_ids=torch.as_tensor(positions).to(device)[None],
                use_cache=False,
                logits_to_keep=0 if asked is None else torch.from_numpy(asked).to(device),
            )
        logits: torch.Tensor = out.logits[0]
        return logits


class SharedBatch(_SharedPrompts):
    """Rows that speak. With ``reads`` the residual stream is summed up as it passes: :meth:`means`."""

    def __init__(self, loaded: Loaded, rows: Sequence[Row], *, reads: bool = False) -> None:
        rows = filled_up(rows)
        limits = [row.request.drawn_with.max_tokens for row in rows]
        super().__init__(loaded, rows, longest=max(limits), reads=reads)
        # A done row may be carried along for a while, and must not go to positions the model does not have.
        self._furthest = self._lengths + np.array(limits) - 1
        uniforms = [uniforms_of(row.request) for row in rows]
        samplings, prompts = [row.request.drawn_with for row in rows], [row.prompt for row in rows]
        self.sampler = Sampler(samplings, uniforms, prompts, device=loaded.device)
        self._look_onward()

    def _look_onward(self) -> None:
        self._places = _filled_up(np.arange(len(self.held)))
        rows, device = self.held[self._places], self._loaded.device
        self._onward = self._shifts.at(rows, np.full(len(rows), RESPONSE), device)

    def go_on(
        self, tokens: Int[torch.Tensor, "row"], step: int, *, said: Bool[np.ndarray, "row"], last: bool
    ) -> Float[torch.Tensor, "asked token"]:
        """The logits after one more token per row, the one drawn at ``step``."""
        self._attention.speaking(step)
        touches = self._onward
        if self._sums is not None:
            touches = self._sums.of_answers(touches, [(self.held[said], np.flatnonzero(said))])
        positions = np.minimum(self._lengths + step, self._furthest)[self._places]
        fed = tokens[torch.from_numpy(self._places).to(tokens.device)]
        asked = np.zeros(1, dtype=np.int64) if last else None
        return self._forward(fed, positions, touches, asked)[: len(self.held)]

    def keep(self, rows: Int[np.ndarray, "kept"]) -> None:
        """Drops every other row."""
        self.held, self._lengths, self._furthest = self.held[rows], self._lengths[rows], self._furthest[rows]
        self._attention.keep(rows)
        self.sampler.keep(torch.from_numpy(rows).to(self._loaded.device))
        self._look_onward()


class HeardBatch(_SharedPrompts):
    """Rows whose answers are known: they are read as they would have been while they were said, to the bit.

    Weights meet all tokens of many steps at once; attention goes step by step, with the very products of speaking.
    """

    def __init__(self, loaded: Loaded, rows: Sequence[Row], answers: Sequence[tuple[int, ...]]) -> None:
        rows, answers = filled_up(rows), [*answers, *[answers[0]] * (FEWEST_ROWS - len(answers))]
        super().__init__(loaded, rows, longest=max(map(len, answers)), reads=True)
        self._answers = answers

    def read(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """The means of every row."""
        self.begin()
        sizes = np.array([len(answer) for answer in self._answers])
        spoken = np.zeros((self.longest, len(sizes)), dtype=np.int64)
        for row, answer in enumerate(self._answers):
            spoken[: len(answer), row] = answer
        steps = max(1, TOKENS_AT_ONCE // len(sizes))
        for first in range(0, self.longest, steps):
            self._hear(first, spoken[first : first + steps], sizes)
        return self.means()

    def _hear(self, first: int, spoken: Int[np.ndarray, "step row"], sizes: Int[np.ndarray, "row"]) -> None:
        """One forward pass over the tokens that rows say in some steps."""
        there = first + np.arange(len(spoken))[:, None] < sizes
        steps, rows = np.nonzero(there)
        numbers = np.cumsum(there).reshape(there.shape) - 1
        said = [(np.flatnonzero(there[step]), numbers[step, there[step]]) for step in range(len(spoken))]
        self._attention.hearing(rows, first + steps)
        places = _filled_up(np.arange(len(rows)))
        rows, steps = rows[places], steps[places]
        assert self._sums is not None
        shifts = self._shifts.at(rows, np.full(len(rows), RESPONSE), self._loaded.device)
        self._forward(
            spoken[steps, rows],
            self._lengths[rows] + first + steps,
            self._sums.of_answers(shifts, said),
            np.zeros(1, dtype=np.int64),
        )


def _filled_up(places: Int[np.ndarray, "place"]) -> Int[np.ndarray, "filled"]:
    """The places, and behind them the first once more, or more often if they are too few.

    Never none: torch computes the last few numbers of an array, those that fill no vector of the processor, in another
    way (SiLU and GELU then differ in the last bit), and these must be nobody's.
    """
    return np.concatenate([places, np.repeat(places[:1], max(1, FEWEST_ROWS - len(places)))])


def shares(loaded: Loaded) -> bool:
    """Whether a model is on a CPU and computes its tokens apart from one another but for the usual attention.

    What its config says can be ruled out at once: layers of another kind (recurrent, chunked, latent), and rotary
    embeddings that scale with the longest text of a batch. The rest is tried: two prompts, and a step beyond.
    """
    if loaded.device.type != "cpu" or len({each.device for each in loaded.model.parameters()}) > 1:
        return False
    config: Any = _text_config(loaded.model)
    kinds = set(getattr(config, "layer_types", None) or _USUAL)
    scalings = str(getattr(config, "rope_parameters", None)) + str(getattr(config, "rope_scaling", None))
    if not kinds <= _USUAL or "dynamic" in scalings or "longrope" in scalings:
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


def _text_config(model: Any) -> Any:
    return model.config.get_text_config(decoder=True)
