"""Where a model moves while it trains.

Owns: :class:`ProjectionWatch`. The one law: what is measured is the model itself, on prompts of its own, with no guard
on it; so the figures of guarded and unguarded runs mean the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from personascope.applications.finetune.callback import stream_of
from personascope.applications.finetune.examples import Example, collated
from personascope.core.errors import StudyError, VectorError, check_layer
from personascope.core.vectors import PersonaVector

Warn = Callable[[str], None]
_ROWS = 8


class ProjectionWatch(TrainerCallback):
    """The mean projection of the prompts' last tokens on each vector, every so many steps of a run.

    This is the finetuning shift of "Persona Vectors" §4.2, live: ``prompts`` (token ids, as an engine would encode
    them) go through the model as it is, and the residual stream at ``layer`` after each one's last token is projected
    on the vectors at length 1. Every value goes to the trainer's own loggers (TensorBoard, W&B, ``log_history``) as
    ``projection/NAME`` and, since the run began, ``shift/NAME``, if the watch was attached to the trainer; all are in
    ``history``.

    ``bound`` is how far the mean may move along a vector, as a multiple of the vector's own length, before ``warn`` is
    told, once for each vector; with ``stop`` the run ends after that step.

    Raises:
        LayerError, VectorError: if a vector does not fit the model; when training begins.
    """

    def __init__(
        self,
        vectors: Mapping[str, PersonaVector],
        prompts: Sequence[Sequence[int]],
        *,
        layer: int,
        every: int = 10,
        bound: float | None = None,
        stop: bool = False,
        warn: Warn | None = None,
    ) -> None:
        if not vectors or not prompts or every < 1:
            raise StudyError(
                f"a watch of {len(vectors)} vectors over {len(prompts)} prompts every {every} steps sees nothing: "
                "give one or more of each"
            )
        self._vectors, self._prompts, self._layer = dict(vectors), [tuple(each) for each in prompts], layer
        self._every, self._bound, self._stop = every, bound, stop
        self._warn = warn or logging.getLogger("personascope").warning
        self._trainer: Trainer | None = None
        self._warned: set[str] = set()
        self.history: list[dict[str, float]] = []

    def attach(self, trainer: Trainer) -> ProjectionWatch:
        """Adds the watch to a trainer, whose loggers are told from then on."""
        trainer.add_callback(self)
        self._trainer = trainer
        return self

    def measure(self, model: nn.Module) -> dict[str, float]:
        """The mean projection on each vector now, in the stream's own units."""
        stream, blocks, width = stream_of(model)
        check_layer(self._layer, blocks, type(model).__name__)
        units = np.stack([_unit(vector, self._layer, width) for vector in self._vectors.values()])
        kept: list[torch.Tensor] = []

        def keep(layer_stream: torch.Tensor) -> torch.Tensor:
            kept.append(layer_stream)
            return layer_stream

        found = []
        with stream.touched({self._layer: keep}), _asleep(model):
            device = next(model.parameters()).device
            for start in range(0, len(self._prompts), _ROWS):
                some = [Example(each, len(each)) for each in self._prompts[start : start + _ROWS]]
                batch = {name: value.to(device) for name, value in collated(some, fill=0).items() if name != "labels"}
                model(**batch, use_cache=False)
                ends = batch["attention_mask"].sum(dim=1) - 1
                last = kept.pop()[torch.arange(len(some), device=device), ends]
                found.append(last.float().cpu().numpy().astype(np.float64) @ units.T)
        return dict(zip(self._vectors, map(float, np.concatenate(found).mean(axis=0)), strict=True))

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> None:
        """Where the model is before it moves."""
        self.history, self._warned = [], set()
        self._note(model, state)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> Any:
        """Measures, tells the loggers, warns, and may end the run."""
        if state.global_step % self._every and state.global_step != state.max_steps:
            return control
        noted = self._note(model, state)
        for name, vector in self._vectors.items():
            moved = noted[f"shift/{name}"] / float(vector.lengths[self._layer])
            if self._bound is not None and moved > self._bound:
                if name not in self._warned:
                    self._warned.add(name)
                    self._warn(
                        f"step {state.global_step}: the model has moved {moved:.2f} lengths along the {name} vector at "
                        f"layer {self._layer}, and {self._bound:g} was the bound"
                        + ("; training ends here" if self._stop else "")
                    )
                control.should_training_stop = control.should_training_stop or self._stop
        return control

    def _note(self, model: nn.Module, state: Any) -> dict[str, float]:
        now = self.measure(model)
        first = self.history[0] if self.history else {f"projection/{name}": value for name, value in now.items()}
        noted = {f"projection/{name}": value for name, value in now.items()}
        noted |= {f"shift/{name}": value - first[f"projection/{name}"] for name, value in now.items()}
        self.history.append({"step": float(state.global_step), **noted})
        if self._trainer is not None:
            # The trainers' own: TRL's would flush its metrics, which belong to its next log.
            Trainer.log(self._trainer, dict(noted))
        return noted


def _unit(vector: PersonaVector, layer: int, width: int) -> np.ndarray:
    direction = vector.at(layer).astype(np.float64)
    length = float(np.linalg.norm(direction))
    if len(direction) != width or length == 0:
        raise VectorError(
            f"the {vector.trait} vector is {len(direction)} wide and {length:.3g} long at layer {layer}, and the "
            f"model's residual stream is {width} wide: watch a vector of this model, where it has a length"
        )
    return np.asarray(direction / length)


@contextmanager
def _asleep(model: nn.Module) -> Iterator[None]:
    """Without gradients and dropout; every module is as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
