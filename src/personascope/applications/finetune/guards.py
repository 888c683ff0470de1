"""What a training run is guarded with, as a value.

Owns: :class:`Guard`, :class:`Schedule`, :func:`preventative` and :func:`ablation`. The one law: a guard is the edits
that are made to the residual stream, at every position, of every forward pass of training, and of none afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from personascope.core.edits import Edit
from personascope.core.errors import LayerError, StudyError, VectorError, check_layer
from personascope.core.steering import Steering, Unit
from personascope.core.vectors import PersonaVector

Start = Literal["embedding", "zero"]


@dataclass(frozen=True)
class Schedule:
    """How strong a guard is, step by step: a straight rise over the first share of the steps, a fall over the last.

    ``warm_up`` and ``decay`` are shares of all steps, from 0 to 1; with neither the guard is constant.

    Example:
        >>> [Schedule(warm_up=0.5).factor(step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 1.0]
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    warm_up: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not (self.warm_up >= 0 and self.decay >= 0 and self.warm_up + self.decay <= 1):
            raise StudyError(
                f"a schedule of warm_up {self.warm_up} and decay {self.decay} is no part of a run: give shares of the "
                "steps, from 0 to 1, that together are at most 1"
            )

    def factor(self, step: int, steps: int) -> float:
        """What the guard's strength is multiplied by at a step, counted from 0: above 0, and at most 1."""
        rise = (step + 1) / (self.warm_up * steps) if self.warm_up * steps > 0 else 1.0
        fall = (steps - step) / (self.decay * steps) if self.decay * steps > 0 else 1.0
        return max(0.0, min(1.0, rise, fall))


@dataclass(frozen=True, eq=False)
class Guard:
    """The edits of every training forward, and how their strength changes over the run.

    A schedule scales what is added; what is ablated is ablated throughout.
    """

    edits: tuple[Edit, ...]
    schedule: Schedule = field(default=Schedule())

    def __post_init__(self) -> None:
        if not self.edits:
            raise StudyError("a guard without an edit guards against nothing: give it a vector and a layer")
        partial = [edit for edit in self.edits if edit.where != "all"]
        if partial:
            raise StudyError(
                f"a guard edits every position of a training text, and an edit of '{partial[0].where}' was given: "
                "let it say where='all'"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers it edits, in order."""
        return tuple(sorted({edit.layer for edit in self.edits}))

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that makes it this guard, as plain values: for passports."""
        schedule = {"warm_up": self.schedule.warm_up, "decay": self.schedule.decay}
        return {"edits": [edit.identity for edit in self.edits], "schedule": schedule}

    def check(self, *, last_layer: int, hidden_size: int, whose: str) -> None:
        """Refuses a guard that does not fit a model.

        Raises:
            LayerError, VectorError: naming the first layer or width that does not fit.
        """
        for edit in self.edits:
            check_layer(edit.layer, last_layer, whose)
            if len(edit.direction) != hidden_size:
                raise VectorError(
                    f"a guard of width {len(edit.direction)} was given to {whose}, whose residual stream is "
                    f"{hidden_size} wide: use a vector of this model"
                )


def preventative(
    vectors: Sequence[PersonaVector],
    *,
    layers: Sequence[int],
    strength: float,
    unit: Unit = "vector",
    increments: Start | None = None,
    schedule: Schedule | None = None,
) -> Guard:
    """Preventative steering: the vectors are added while the model trains, so that it need not learn what they carry.

    "Persona Vectors" §5.2: ``h <- h + strength * v`` at every position of every training forward. At several layers
    either the vectors themselves are added, or with ``increments`` what each layer's vector has over that of the layer
    before it (appendix J.3), so that what was added by layer l sums up to ``strength * (v_l - v_0)``. ``increments``
    says what v_0 is, on which the paper is silent: the vector's row after the ``"embedding"``, or ``"zero"``. Of layers
    that are not neighbours, the one before is the one before in ``layers``.

    Raises:
        LayerError: if a vector has no such layer, or no layer is given.
        StudyError: if increments are asked for in another unit than ``"vector"``.
        VectorError: if a vector has no length at a layer, or no residual norm where the unit needs it.
    """
    ordered = _ordered(layers)
    if increments is not None and unit != "vector":
        raise StudyError(f"increments in the unit '{unit}' do not add up to a vector: give unit = 'vector'")
    edits: list[Edit] = []
    for vector in vectors:
        if increments is None:
            edits += Steering(ordered, strength, unit, "all").along(vector)
        else:
            steps = _increments(vector, ordered, increments)
            edits += [Edit(np.float32(strength) * step, layer, "all") for layer, step in steps.items()]
    return Guard(tuple(edits), schedule or Schedule())


def ablation(vectors: Sequence[PersonaVector], *, layers: Sequence[int]) -> Guard:
    """Ablation while training: the projection on the vectors is taken out of each layer, ``h <- h - (h.v)v``.

    Concept ablation fine-tuning, as "Persona Vectors" appendix J.4 compares it. Of several vectors, what is taken out
    is the projection on all that they span. Nothing flows along the vectors while the model trains, so training gains
    nothing by changing what they carry.

    Raises:
        LayerError: if a vector has no such layer, or no layer is given.
        VectorError: if the vectors have no length at a layer.
    """
    edits: list[Edit] = []
    for layer in _ordered(layers):
        basis = _basis(np.stack([vector.at(layer) for vector in vectors]))
        if not len(basis):
            raise VectorError(f"the {vectors[0].trait} vector has no length at layer {layer}: choose another layer")
        edits += [Edit(row, layer, "all", "ablate") for row in basis]
    return Guard(tuple(edits))


def _ordered(layers: Sequence[int]) -> tuple[int, ...]:
    if not layers:
        raise LayerError("a guard without a layer guards nothing: give one layer, or several")
    return tuple(sorted(set(layers)))


def _increments(vector: PersonaVector, layers: Sequence[int], start: Start) -> dict[int, Float[np.ndarray, "hidden"]]:
    """What each layer's vector has over that of the layer before it."""
    before = vector.at(0) if start == "embedding" else np.zeros_like(vector.at(0))
    found = {}
    for layer in layers:
        found[layer] = vector.at(layer) - before
        before = vector.at(layer)
    return found


def _basis(rows: Float[np.ndarray, "vector hidden"]) -> Float[np.ndarray, "row hidden"]:
    """Orthogonal unit directions that span the rows: as many as the rows have independent directions."""
    found: list[np.ndarray] = []
    for row in rows.astype(np.float64):
        left = row.copy()
        for _ in range(2):  # twice, because once leaves what rounding leaves
            for unit in found:
                left -= (left @ unit) * unit
        length = np.linalg.norm(left)
        if length > 1e-6 * max(1e-30, float(np.linalg.norm(row))):
            found.append(left / length)
    return np.array(found).reshape(len(found), rows.shape[1])
