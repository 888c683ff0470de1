"""A loss that makes drift along a vector costly.

Owns: :class:`ProjectionPenalty`. The one law: what is penalised is the difference from the base model on the same
tokens, so a model that has not moved pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from personascope.applications.finetune.callback import stream_of
from personascope.applications.finetune.examples import IGNORED
from personascope.core.errors import EngineError, VectorError, check_layer
from personascope.core.vectors import PersonaVector

_TAKEN = ("input_ids", "attention_mask", "position_ids", "inputs_embeds", "token_type_ids")


class ProjectionPenalty:
    """Language loss plus ``weight`` times the squared drift of projections: a ``compute_loss_func`` for trainers.

    The paper names this baseline and gives no formula ("Persona Vectors" J.5); ours is

        loss = cross-entropy + weight * sum over directions of mean over response tokens of ((h - h_base) . v)^2

    with v of length 1, h the residual stream at the vector's layer, and h_base that of the base model on the same
    tokens: ``reference``, a frozen copy, or where the model is PEFT-wrapped the same model without its adapter. The
    means are over all response tokens of a step, however many batches it accumulates. Works while it is open:

        with ProjectionPenalty(model, [vector], layers=[20], weight=0.1) as penalty:
            Trainer(model, ..., compute_loss_func=penalty).train()

    TRL calls a ``compute_loss_func`` deprecated and takes a forward pass more for it; :func:`penalised` gives a trainer
    class that needs neither.
    """

    def __init__(
        self,
        model: nn.Module,
        vectors: Sequence[PersonaVector],
        *,
        layers: Sequence[int],
        weight: float,
        reference: nn.Module | None = None,
    ) -> None:
        if reference is None and not hasattr(model, "disable_adapter"):
            raise EngineError(
                f"a penalty needs the base model beside {type(model).__name__}, which has no adapter to turn off: give "
                "reference=copy.deepcopy(model)"
            )
        if not (weight >= 0 and np.isfinite(weight)):
            raise VectorError(f"a penalty of weight {weight} is none: give 0 or more")
        self._model, self._reference, self._weight = model, reference, weight
        self._units = {layer: _units(vectors, layer) for layer in sorted(set(layers))}
        self._streams: dict[str, dict[int, torch.Tensor]] = {}
        self._asked: Mapping[str, Any] = {}
        self._slot = "trained"
        self._open = ExitStack()
        self.drift = float("nan")

    def __enter__(self) -> ProjectionPenalty:
        stream, blocks, width = stream_of(self._model)
        for layer, units in self._units.items():
            check_layer(layer, blocks, type(self._model).__name__)
            if units.shape[1] != width:
                raise VectorError(
                    f"a penalty along a vector of width {units.shape[1]} was given to {type(self._model).__name__}, "
                    f"whose residual stream is {width} wide: use a vector of this model"
                )
        self._open.enter_context(stream.touched({layer: self._keeper(layer) for layer in self._units}))
        if self._reference is not None:
            self._reference.requires_grad_(False)
            self._reference.eval()
            base, _, _ = stream_of(self._reference)
            self._open.enter_context(base.touched({layer: self._keeper(layer) for layer in self._units}))
        self._open.callback(self._model.register_forward_pre_hook(self._overhear, with_kwargs=True).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._streams, self._asked = {}, {}

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of a batch: the mean over ``num_items_in_batch`` labelled tokens, or over those of the batch."""
        wanted = labels[:, 1:].to(outputs.logits.device)
        count: Any = (wanted != IGNORED).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        logits = outputs.logits[:, :-1].flatten(0, 1).float()
        summed: torch.Tensor = nn.functional.cross_entropy(
            logits, wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        loss: torch.Tensor = summed / count
        return loss + self.penalty(labels, num_items_in_batch)

    def penalty(self, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        """The weighted drift of the batch that went through the model last.

        Raises:
            EngineError: if none did while this was open, or its stream carries no gradient.
        """
        trained = self._streams.pop("trained", {})
        if not trained:
            raise EngineError("a penalty was asked for and no forward pass was seen: train within `with penalty:`")
        base = self._of_base()
        learned = labels[:, 1:] != IGNORED
        count: Any = learned.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        summed = torch.zeros((), device=labels.device)
        for layer, units in self._units.items():
            stream = trained[layer]
            if torch.is_grad_enabled() and not stream.requires_grad:
                raise EngineError(
                    f"the residual stream at layer {layer} carries no gradient: checkpoint activations with "
                    "use_reentrant=False, or not at all"
                )
            along = units.to(stream.device)
            drift = (stream.float() - base[layer].float().to(stream.device)) @ along.T
            kept = learned.to(stream.device)
            summed = summed + drift[:, 1:][kept].square().sum().to(summed.device)
        mean: torch.Tensor = summed / count
        self.drift = float(mean.detach())
        return self._weight * mean

    def _of_base(self) -> dict[int, torch.Tensor]:
        """The base model's streams on what was asked last."""
        asked = {name: value for name, value in self._asked.items() if name in _TAKEN}
        self._slot = "base"
        try:
            with torch.no_grad():
                if self._reference is not None:
                    self._reference(**asked, use_cache=False)
                else:
                    with self._model.disable_adapter():  # type: ignore[operator]
                        self._model(**asked, use_cache=False)
        finally:
            self._slot = "trained"
        return self._streams.pop("base")

    def _keeper(self, layer: int) -> Any:
        def keep(stream: torch.Tensor) -> torch.Tensor:
            self._streams.setdefault(self._slot, {})[layer] = stream
            return stream

        return keep

    def _overhear(self, _: nn.Module, __: tuple[Any, ...], asked: dict[str, Any]) -> None:
        if self._slot == "trained":
            self._asked = asked


def penalised(trainer: type, penalty: ProjectionPenalty) -> type:
    """A trainer class whose own loss is added to by a penalty: for TRL's trainers, which lose nothing by it.

    The penalty has to be open while it trains.
    """

    class Penalised(trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            labels = inputs["labels"]
            found = super().compute_loss(model, inputs, *args, **kwargs)
            loss, *rest = found if isinstance(found, tuple) else (found,)
            items = kwargs.get("num_items_in_batch")
            more = penalty.penalty(labels, items)
            if items is not None and self.args.average_tokens_across_devices:
                more = more * self.accelerator.num_processes  # as the trainers scale their own loss
            return (loss + more, *rest) if rest else loss + more

    return Penalised


def _units(vectors: Sequence[PersonaVector], layer: int) -> Float[torch.Tensor, "vector hidden"]:
    return torch.tensor(np.stack([vector.unit(layer) for vector in vectors]), dtype=torch.float32)
