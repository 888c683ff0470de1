"""Guards at work: the hooks on a model that is trained.

Owns: :func:`guarded` and :class:`GuardCallback`. The one law: what is put on a model is taken off again, and a guard
that did not act in a training step stops the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from personascope.applications.finetune.guards import Guard
from personascope.core.edits import Edit
from personascope.core.errors import EngineError
from personascope.engines.hf.hooks import ResidualStream, Touch


def stream_of(model: nn.Module) -> tuple[ResidualStream, int, int]:
    """The residual stream of a model, PEFT-wrapped or not; its number of blocks and its width."""
    config: Any = model.config
    text = config.get_text_config(decoder=True)
    blocks, width = int(text.num_hidden_layers), int(text.hidden_size)
    return ResidualStream(model, blocks=blocks, hidden_size=width), blocks, width


@contextmanager
def guarded(
    model: nn.Module, guard: Guard, *, factor: float = 1.0, only_training: bool = False
) -> Iterator[Counter[int]]:
    """While this is open, every forward pass of the model is guarded; gives how often each layer was edited.

    What is added is multiplied by ``factor``; with ``only_training`` passes in evaluation mode are left alone. Keep it
    open until after the backward pass if the model checkpoints activations: they are computed again then, and each
    layer may be edited twice. It is off again whatever happens.

    Raises:
        LayerError, VectorError: if the guard does not fit the model.

    Example:
        with guarded(model, preventative([vector], layers=[20], strength=5.0)):
            model(**batch).loss.backward()
    """
    stream, blocks, width = stream_of(model)
    guard.check(last_layer=blocks, hidden_size=width, whose=type(model).__name__)
    fired: Counter[int] = Counter()
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]

    def awake() -> bool:  # asked of a module deep inside, whichever of the wrappers around it was told to evaluate
        return not only_training or bool(embedding.training)

    with stream.touched({layer: _touch(guard, layer, factor, fired, awake) for layer in guard.layers}):
        yield fired


class GuardCallback(TrainerCallback):
    """A guard for a trainer: give it to ``Trainer`` or ``SFTTrainer`` among the callbacks.

    The hooks are on the model from the beginning of every step to just before the optimizer moves, through all
    accumulated batches and backward passes, and never while it is evaluated or saved. An error in the forward pass
    takes them off too. After one in the loss or the backward pass, which no callback hears of, they edit nothing once
    the model is in evaluation mode; to have them off after any error at all, train within ``with callback:``.

    Raises, from within ``train()``:
        LayerError, VectorError: at the first step, if the guard does not fit the model.
        EngineError: if a layer was not edited in a step: the model is not the one that was trained.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._open = ExitStack()
        self._fired: Counter[int] = Counter()

    def __enter__(self) -> GuardCallback:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def on_step_begin(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> None:
        """Puts the hooks on, at this step's strength."""
        self._open.close()  # a run that was broken off may have left them
        factor = self.guard.schedule.factor(state.global_step, state.max_steps)
        at_work = guarded(model, self.guard, factor=factor, only_training=True)
        self._fired = self._open.enter_context(at_work)
        handle = model.register_forward_hook(self._broken, always_call=True)
        self._open.callback(handle.remove)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Takes the hooks off, and sees to it that all of them acted."""
        self._open.close()
        silent = [layer for layer in self.guard.layers if not self._fired[layer]]
        if silent:
            raise EngineError(
                f"layer {silent[0]} was to be guarded in step {state.global_step + 1} of training, and no forward pass "
                "went through it: give the trainer the model itself, and no copy of it"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leaves nothing on the model."""
        self._open.close()

    def _broken(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        """Called after every forward pass, also after one that raised, which has no output."""
        if output is None:
            self._open.close()


def _touch(guard: Guard, layer: int, factor: float, fired: Counter[int], awake: Callable[[], bool]) -> Touch:
    """What a guard does to one layer's stream: additions first, then the others in their order, in its own dtype."""
    here = [edit for edit in guard.edits if edit.layer == layer]
    ordered = [edit for edit in here if edit.operation == "add"] + [edit for edit in here if edit.operation != "add"]
    ready: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}

    def touch(stream: torch.Tensor) -> torch.Tensor:
        if not awake():
            return stream
        fired[layer] += 1
        place = (stream.device, stream.dtype)
        if place not in ready:
            ready[place] = _directions(ordered, factor, *place)
        for edit, direction in zip(ordered, ready[place], strict=True):
            stream = _edited(stream, edit, direction)
        return stream

    return touch


def _directions(edits: Sequence[Edit], factor: float, device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    scaled = [edit.direction * (factor if edit.operation == "add" else 1.0) for edit in edits]
    return [torch.tensor(each, dtype=torch.float32).to(device=device, dtype=dtype) for each in scaled]


def _edited(stream: torch.Tensor, edit: Edit, direction: torch.Tensor) -> torch.Tensor:
    if edit.operation == "add":
        return stream + direction
    with torch.autocast(stream.device.type, enabled=False):  # else a float32 stream is projected in 8 bits
        along = (stream @ direction).unsqueeze(-1)
        if edit.operation == "cap":
            along = (along - edit.bound).clamp(min=0) if edit.bound is not None else along
        return stream - along * direction
