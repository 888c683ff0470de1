"""What runs inside vLLM's worker: hooks at every layer that make the edits and read the residual stream.

Owns: :class:`ResidualWorker`, which vLLM mixes into its own worker, and :class:`Watch`. The one law: that of
:mod:`personascope.engines.vllm.plan`; and a token that no edit reaches passes as the very numbers it came as.

vLLM's native blocks hand on a pair ``(hidden, residual)`` whose sum is the residual stream; those it takes from
transformers hand on the stream itself. Tokens of all requests lie one after another, ``[token hidden]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from personascope.core.errors import EngineError
from personascope.engines.hf import hooks
from personascope.engines.hf.edits import Shifts
from personascope.engines.hf.hooks import Touch
from personascope.engines.vllm.plan import Asked, Follower, Piece, Step, lay_out

TICKET = "personascope"
"""The name of a request's ticket among vLLM's ``extra_args``."""


@dataclass(frozen=True, eq=False)
class Told:
    """What the worker tells of one call: what was measured, and whether all logits were numbers."""

    measured: Any
    finite: bool


class ResidualWorker:
    """Mixed into vLLM's worker by ``worker_extension_cls``: its methods are called by name, over ``collective_rpc``."""

    def personascope_plant(self, count: int, hidden_size: int) -> None:
        """Hooks into a model of so many blocks; once, after it is loaded."""
        self._personascope = Watch(self.model_runner, count, hidden_size)  # type: ignore[attr-defined]

    def personascope_begin(self, asked: Sequence[Asked], follower: Follower | None) -> None:
        """From now on requests with tickets are these, and they are followed by ``follower``."""
        self._personascope.begin(asked, follower)

    def personascope_end(self) -> Told:
        """What was measured since."""
        return self._personascope.end()

    def personascope_parameters(self) -> int:
        """How many parameters the model has."""
        return sum(each.numel() for each in self.model_runner.model.parameters())  # type: ignore[attr-defined]


class Watch:
    """The hooks of one model, and what they do in the present call."""

    def __init__(self, runner: Any, count: int, hidden_size: int) -> None:
        missing = [name for name in ("input_batch", "requests", "query_start_loc") if not hasattr(runner, name)]
        if missing:
            raise EngineError(
                f"vLLM's {type(runner).__name__} has no {missing[0]}, by which tokens are told apart: "
                "set VLLM_USE_V2_MODEL_RUNNER=0, or use the transformers engine"
            )
        self._runner, self._hidden_size = runner, hidden_size
        self._asked: Sequence[Asked] = ()
        self._follower: Follower | None = None
        self._shifts: Shifts | None = None
        self._step: Step | None = None
        self._touches: dict[int, Touch] = {}
        self._known: tuple[bytes, bytes] | None = None
        self._finite = True
        model: Any = runner.model
        stack = hooks.find_blocks(model, count, embedding=_embedding_of(model))
        model.register_forward_pre_hook(self._plan, with_kwargs=True)
        stack[0].register_forward_pre_hook(self._entering, with_kwargs=True)
        for place, block in enumerate(stack):
            block.register_forward_hook(self._leaving(place + 1))
        self._compute_logits = model.compute_logits
        model.compute_logits = self._checked_logits

    def begin(self, asked: Sequence[Asked], follower: Follower | None) -> None:
        """Requests that carry a ticket are these from now on."""
        self._asked, self._follower = asked, follower
        self._prompts = np.array([each.prompt for each in asked], dtype=np.int64)
        edits = [each.edits for each in asked]
        self._shifts = Shifts(edits, hidden_size=self._hidden_size, dtype=self._runner.dtype) if any(edits) else None
        self._known, self._touches = None, {}
        self._finite = True
        if follower is not None:
            follower.prepare(self._runner.device)

    def end(self) -> Told:
        """What was measured, and nothing is followed any more."""
        measured = None if self._follower is None else self._follower.found()
        told = Told(measured, self._finite)
        self._asked, self._follower, self._shifts, self._step = (), None, None, None
        return told

    def _plan(self, _: nn.Module, __: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before a forward pass: whose tokens it holds, and what is done to them."""
        batch = self._runner.input_batch
        count = batch.num_reqs if self._asked else 0
        if not count:
            self._step = None
            return
        bounds = self._runner.query_start_loc.np[: count + 1]
        firsts = batch.num_computed_tokens_cpu[:count]
        pieces = [
            Piece(self._ticket(name), int(firsts[row]), int(bounds[row + 1] - bounds[row]))
            for row, name in enumerate(batch.req_ids[:count])
        ]
        step = self._step = lay_out(pieces, self._prompts)
        self._check_positions(step, named.get("positions"))
        known = (step.tickets.tobytes(), step.phases.tobytes())
        if self._shifts is not None and known != self._known:  # decode steps are alike for a long time
            self._touches = self._shifts.at(step.tickets, step.phases, self._runner.device)
            self._known = known
        if self._follower is not None:
            self._follower.begin(pieces, step)

    def _ticket(self, name: str) -> int:
        return int(self._runner.requests[name].sampling_params.extra_args[TICKET])

    def _check_positions(self, step: Step, positions: Any) -> None:
        """What we take for a token's position is what the model is told (looked at where it costs no waiting)."""
        if not isinstance(positions, torch.Tensor) or positions.ndim != 1 or positions.device.type != "cpu":
            return
        if not np.array_equal(positions[: len(step.positions)].numpy(), step.positions):
            raise EngineError("vLLM computes other tokens than were planned: use the transformers engine")

    def _entering(
        self, _: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self._idle(0):
            return None
        if "hidden_states" in named:
            moved = self._passing(0, named["hidden_states"], None)[0]
            return args, {**named, "hidden_states": moved}
        place = next((place for place, each in enumerate(args) if self._is_stream(each)), None)
        if place is None:
            raise EngineError(f"no residual stream [token {self._hidden_size}] enters the first block")
        moved = self._passing(0, args[place], None)[0]
        return (*args[:place], moved, *args[place + 1 :]), named

    def _leaving(self, layer: int) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if self._idle(layer):
                return None
            if isinstance(output, torch.Tensor):
                return self._passing(layer, output, None)[0]
            residual = output[1] if len(output) > 1 and self._is_stream(output[1]) else None
            moved, residual = self._passing(layer, output[0], residual)
            return (moved, *output[1:]) if residual is None else (moved, residual, *output[2:])

        return hook

    def _idle(self, layer: int) -> bool:
        return self._step is None or (
            layer not in self._touches and not (self._follower is not None and self._follower.follows(layer))
        )

    def _is_stream(self, found: Any) -> bool:
        return (
            isinstance(found, torch.Tensor) and found.is_floating_point() and found.shape[-1:] == (self._hidden_size,)
        )

    def _passing(
        self, layer: int, hidden: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One layer's stream as it goes on, in the shape it came in, after it was edited and measured."""
        assert self._step is not None
        if not self._is_stream(hidden):
            raise EngineError(f"layer {layer} carries no residual stream [token {self._hidden_size}]")
        count = len(self._step.tickets)
        flat = hidden.reshape(-1, self._hidden_size)[:count]
        stream = flat if residual is None else flat + residual.reshape(-1, self._hidden_size)[:count]
        touch = self._touches.get(layer)
        moved = stream if touch is None else touch(stream[None])[0]
        if self._follower is not None and self._follower.follows(layer):
            self._follower.take(layer, moved)
        if touch is None:
            return hidden, residual
        if residual is None:
            return _with_first(hidden, moved), None
        # Where something was done, the whole stream goes on in one part of the pair, so that their sum is what it is.
        done = (moved != stream).any(-1, keepdim=True)
        rest = residual.reshape(-1, self._hidden_size)[:count]
        return (
            _with_first(hidden, torch.where(done, moved, flat)),
            _with_first(residual, torch.where(done, torch.zeros_like(rest), rest)),
        )

    def _checked_logits(self, *args: Any, **named: Any) -> Any:
        """The model's logits; where they are not numbers, zeros, and the call is told so when it ends."""
        logits = self._compute_logits(*args, **named)
        if isinstance(logits, torch.Tensor) and logits.numel():
            wrong = ~torch.isfinite(logits.amax(-1))
            if bool(wrong.any()):
                self._finite = False
                logits = torch.where(wrong[:, None], torch.zeros_like(logits), logits)
        return logits


def _with_first(whole: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """A tensor whose first tokens are these; the rest, which pads a pass, is as it was."""
    flat = whole.reshape(-1, whole.shape[-1])
    return (first if len(first) == len(flat) else torch.cat([first, flat[len(first) :]])).reshape(whole.shape)


def _embedding_of(model: nn.Module) -> nn.Module:
    """The token embedding, as vLLM names it in every model; the head is a kind of its own."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    found: list[nn.Module] = [
        module
        for module in model.modules()
        if isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    ]
    if not found:
        raise EngineError(f"vLLM's {type(model).__name__} has no token embedding that is known here")
    return found[0]
