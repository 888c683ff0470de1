"""Steering: how far along a vector, in which unit, at which layers, and by which operation.

Owns: :class:`Steering`, its units and :func:`applied_norm`. The one law: a strength means nothing without its unit, so
units are converted here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Float

from personascope.core.edits import Operation
from personascope.core.errors import LayerError, StudyError, VectorError, nearest
from personascope.core.records import Edit, Where

if TYPE_CHECKING:
    from personascope.core.vectors import PersonaVector

Unit = Literal["vector", "unit", "residual", "quantile"]


@dataclass(frozen=True)
class Steering:
    """How far along a vector to steer, at which layer or layers, and where in the text.

    ``strength`` is a multiple of ``unit``: ``"vector"`` (the vector's own length), ``"unit"`` (a unit direction)
    or ``"residual"`` (the mean residual norm at that layer, :attr:`PersonaVector.residual_norms`). There is no
    default unit: the published study mixed three, and its coefficients mean nothing without them (§1.6). A
    ``residual_norm`` (one for every layer steered at) takes the place of the measured one: how published norms are
    replayed.

    ``operation`` is ``"add"``; ``"ablate"``, which takes the projection on the vector away and knows no strength
    (it is written as strength 1, unit ``"unit"``); or ``"cap"``, where the strength is the bound above which a
    projection on the unit direction is lowered. A bound may also be a ``"quantile"``, 0 to 1, of the projections of
    the plain answers' mean activations. ``increments`` adds v_l - v_(l-1) at every layer l instead of v_l ("Persona
    Vectors" J.3).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    layer: int | tuple[int, ...]
    strength: float
    unit: Unit
    where: Where = "response"
    operation: Operation = "add"
    increments: bool = False
    residual_norm: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.strength):
            raise StudyError(f"a steering strength of {self.strength} is not a number to steer by: give a finite one")
        for name, kinds in (("unit", Unit), ("where", Where), ("operation", Operation)):
            if (said := getattr(self, name)) not in get_args(kinds):
                raise StudyError(f"{name} '{said}' is not a way to steer; {nearest(str(said), get_args(kinds))}")
        if not self.layers:
            raise LayerError("a steering without a layer steers nothing: give one layer, or several")
        if len(set(self.layers)) < len(self.layers):
            raise LayerError(f"layers {list(self.layers)} name one twice, and it would be steered twice: drop one")
        if any(layer < 0 for layer in self.layers):
            raise LayerError(f"layer {self.layer}: layers count from 0 (embedding); give one that is not negative")
        if self.operation == "ablate" and (self.strength, self.unit) != (1, "unit"):
            raise StudyError(
                f"an ablation takes the whole projection away and was given strength {self.strength:g}, unit "
                f"'{self.unit}': give strength 1 and unit 'unit'"
            )
        if self.unit == "quantile" and not (self.operation == "cap" and 0 <= self.strength <= 1):
            raise StudyError(
                f"to {self.operation} by strength {self.strength:g} in unit 'quantile' means nothing: it is for the "
                "operation 'cap', with a strength from 0 to 1"
            )
        if self.increments and self.operation != "add":
            raise StudyError(
                f"increments of a vector are added, and the operation is '{self.operation}': leave one out"
            )
        if self.residual_norm is not None:
            self._check_norms(self._given_norms)

    def _check_norms(self, norms: tuple[float, ...]) -> None:
        if self.unit != "residual":
            raise StudyError(
                f"a residual_norm was given, and the unit is '{self.unit}': leave it out, or use 'residual'"
            )
        if len(norms) != len(self.layers) or not all(np.isfinite(norm) and norm > 0 for norm in norms):
            raise StudyError(
                f"residual_norm {self.residual_norm} for layers {list(self.layers)}: give one number above 0 for each"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers steered at."""
        return self.layer if isinstance(self.layer, tuple) else (self.layer,)

    @property
    def _given_norms(self) -> tuple[float, ...]:
        return self.residual_norm if isinstance(self.residual_norm, tuple) else (self.residual_norm or 0.0,)

    def norm_at(self, layer: int, measured: Float[np.ndarray, "layer"]) -> float:
        """The residual norm at a layer: the one that was given, else the measured one; NaN if there is neither."""
        if self.residual_norm is not None and layer in self.layers:
            return float(self._given_norms[self.layers.index(layer)])
        return float(measured[layer]) if layer < len(measured) else np.nan

    def along(
        self,
        vector: PersonaVector,
        *,
        residual_norms: Float[np.ndarray, "layer"] | None = None,
        control: PersonaVector | None = None,
        plain: Float[np.ndarray, "answer layer hidden"] | None = None,
    ) -> tuple[Edit, ...]:
        """The edits that steer along a vector.

        ``residual_norms`` are those of the model being steered, if it is not the vector's own. With ``control``,
        the control's direction is steered along, multiplied by what the vector itself would be multiplied by: a
        control of the vector's length is then applied at the vector's applied norm. With ``increments`` a control
        stands for the increments, and is used as it is. ``plain`` are mean activations of the steered model's plain
        answers, for a bound that is a quantile.

        Raises:
            LayerError: if the vector has no such layer.
            VectorError: if the vector has no length there, its residual norm was not measured, or the control is
                of another shape.
        """
        norms = vector.residual_norms if residual_norms is None else residual_norms
        base = vector.incremental() if self.increments else vector
        moved = base if control is None else control
        if moved.directions.shape != base.directions.shape:
            raise VectorError(
                f"a control of shape {moved.directions.shape} was given for a {vector.trait} vector of shape "
                f"{vector.directions.shape}: make the control from that vector"
            )
        if self.operation == "ablate":
            return tuple(Edit(moved.unit(layer), layer, self.where, "ablate") for layer in self.layers)
        if self.operation == "cap":
            bounds = [self._bound(base, moved, layer, norms=norms, plain=plain) for layer in self.layers]
            return tuple(
                Edit(moved.unit(layer), layer, self.where, "cap", bound)
                for layer, bound in zip(self.layers, bounds, strict=True)
            )
        return tuple(
            Edit(self._factor(base, norms, layer) * moved.at(layer), layer, self.where) for layer in self.layers
        )

    def _factor(self, vector: PersonaVector, norms: np.ndarray, layer: int) -> np.float32:
        length = _length(vector, layer)
        if self.unit == "vector":
            return np.float32(self.strength)
        if self.unit == "unit":
            return np.float32(self.strength / length)
        norm = self.norm_at(layer, norms)
        if not np.isfinite(norm):
            raise VectorError(
                f"the residual norm at layer {layer} was not measured for the {vector.trait} vector of "
                f"{vector.checkpoint.label}: "
                "extract the vector with personascope, give residual_norms, or choose another unit"
            )
        return np.float32(self.strength * norm / length)

    def _bound(
        self, vector: PersonaVector, moved: PersonaVector, layer: int, *, norms: np.ndarray, plain: np.ndarray | None
    ) -> float:
        """The bound of a cap: as far along the unit direction as the vector would be added, or a quantile."""
        if self.unit != "quantile":
            return float(self._factor(vector, norms, layer)) * _length(vector, layer)
        if plain is None or not len(plain):
            raise VectorError(
                f"a quantile of projections at layer {layer} needs the activations of plain answers, and there are "
                "none: give plain, or the bound in another unit"
            )
        return float(np.quantile(plain[:, layer].astype(np.float64) @ moved.unit(layer), self.strength))


def _length(vector: PersonaVector, layer: int) -> float:
    length = float(np.linalg.norm(vector.at(layer).astype(np.float64)))
    if length == 0:
        raise VectorError(f"the {vector.trait} vector has no length at layer {layer}: choose another layer")
    return length


def applied_norm(edits: tuple[Edit, ...]) -> float:
    """The L2 length of what is added, over all edits: the figure by which arms are matched.

    NaN where a projection is ablated or capped: how much that changes is another matter at every token.
    """
    if any(edit.operation != "add" for edit in edits):
        return float("nan")
    return float(np.sqrt(sum(float(np.sum(edit.direction.astype(np.float64) ** 2)) for edit in edits)))
