"""Persona vectors: directions that carry a trait, with the passport that says where they come from.

Owns: :class:`PersonaVector`, :class:`NoVector`, :class:`Steering`, their units and their files. The one law:
a strength means nothing without its unit, so units are converted here and nowhere else.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from personascope.errors import LayerError, StudyError, VectorError, check_layer
from personascope.identity import annotation, digest_of
from personascope.lineages import Checkpoint
from personascope.records import Edit, Span, Where

Unit = Literal["vector", "unit", "residual"]
FAULTS = ("empty", "unasked", "unscored", "positive_too_low", "negative_too_high", "incoherent")


@dataclass(frozen=True)
class PairCounts:
    """How many pairs were asked for, how many were kept, and why the others were not."""

    asked: int
    kept: int
    empty: int = 0
    unasked: int = 0
    unscored: int = 0
    positive_too_low: int = 0
    negative_too_high: int = 0
    incoherent: int = 0

    def __str__(self) -> str:
        lost = ", ".join(f"{getattr(self, name)} {name.replace('_', ' ')}" for name in FAULTS if getattr(self, name))
        return f"{self.kept} of {self.asked} pairs kept" + (f" ({lost})" if lost else "")


@dataclass(frozen=True, eq=False)
class PersonaVector:
    """One direction per layer, and its passport.

    ``directions[k]`` is the difference of mean activations in the residual stream at layer k (0 after the
    embedding), not normalised ("Persona Vectors" §2.2). ``residual_norms[k]`` is the mean L2 norm of the residual
    stream at layer k over the response tokens of plain answers to the evaluation questions; NaN where it was not
    measured. ``origin`` is ``"extracted"``, ``"shuffled-0"``, ``"random-0"``, ...; ``sources`` are the keys of the
    responses it was made from.
    """

    directions: Float[np.ndarray, "layer hidden"]
    residual_norms: Float[np.ndarray, "layer"]
    trait: str
    form: str
    checkpoint: Checkpoint
    span: Span = "response"
    origin: str = "extracted"
    counts: PairCounts = field(default=PairCounts(0, 0))
    judge: str = annotation("")
    sources: tuple[str, ...] = annotation(())

    def __post_init__(self) -> None:
        directions = np.array(self.directions, dtype=np.float32)
        norms = np.array(self.residual_norms, dtype=np.float64)
        if directions.ndim != 2 or norms.shape != directions.shape[:1]:
            raise VectorError(
                f"a persona vector needs directions [layer, hidden] and one norm per layer, "
                f"these are {directions.shape} and {norms.shape}: check the file it came from"
            )
        if not np.isfinite(directions).all():
            bad = sorted({int(row) for row in np.argwhere(~np.isfinite(directions))[:, 0]})
            raise VectorError(f"the {self.trait} vector is not finite at layers {bad}: extract it again")
        directions.flags.writeable = norms.flags.writeable = False
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "residual_norms", norms)

    @property
    def last_layer(self) -> int:
        """The number of blocks: the highest layer."""
        return len(self.directions) - 1

    @property
    def lengths(self) -> Float[np.ndarray, "layer"]:
        """The L2 length of the direction at every layer."""
        lengths: np.ndarray = np.linalg.norm(self.directions.astype(np.float64), axis=1)
        return lengths

    @property
    def digest(self) -> str:
        """The sha256 of the directions: a vector's identity is its bytes."""
        return digest_of(self.directions)

    def at(self, layer: int) -> Float[np.ndarray, "hidden"]:
        """The direction at one layer.

        Raises:
            LayerError: if the model has no such layer.
        """
        check_layer(layer, self.last_layer, f"a {self.trait} vector from {self.checkpoint.label}")
        direction: np.ndarray = self.directions[layer]
        return direction

    def cosine(self, other: PersonaVector) -> Float[np.ndarray, "layer"]:
        """The cosine with another vector, layer by layer; NaN where either has no length."""
        if self.directions.shape != other.directions.shape:
            raise VectorError(
                f"vectors of shapes {self.directions.shape} and {other.directions.shape} have no cosine: "
                "compare vectors of one model"
            )
        dots = np.einsum("lh,lh->l", self.directions.astype(np.float64), other.directions.astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines: np.ndarray = dots / (self.lengths * other.lengths)
        return cosines

    def with_directions(self, directions: np.ndarray, *, origin: str) -> PersonaVector:
        """The same passport over other directions: how controls are made."""
        return replace(self, directions=directions, origin=origin)

    def save(self, path: str | Path) -> None:
        """Writes the vector and its passport to one safetensors file, whole or not at all."""
        from safetensors.numpy import save

        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"directions": self.directions, "residual_norms": self.residual_norms}
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        try:
            draft.write_bytes(save(arrays, metadata={"personascope": json.dumps(self.passport, sort_keys=True)}))
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    @property
    def passport(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON."""
        checkpoint = {**asdict(self.checkpoint), "path": str(self.checkpoint.path or "") or None}
        return {
            "trait": self.trait,
            "form": self.form,
            "checkpoint": checkpoint,
            "span": self.span,
            "origin": self.origin,
            "counts": asdict(self.counts),
            "judge": self.judge,
            "sources": list(self.sources),
        }


def load_vector(path: str | Path) -> PersonaVector:
    """A vector with its passport from a safetensors file.

    Raises:
        VectorError: if the file is missing, is not a persona vector, or holds values that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    if str(path).endswith((".pt", ".pth", ".bin", ".pkl")):
        raise VectorError(f"{path} is a pickle, which has no passport: read it with personascope.interop.load_pt")
    try:
        with safe_open(str(path), framework="numpy") as file:
            passport = json.loads((file.metadata() or {})["personascope"])
            directions, norms = file.get_tensor("directions"), file.get_tensor("residual_norms")
    except FileNotFoundError:
        raise VectorError(f"{path}: no such file; check the path") from None
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as problem:
        raise VectorError(
            f"{path} is not a persona vector file ({problem}): make one with `personascope extract`"
        ) from None
    try:
        checkpoint = passport.pop("checkpoint")
        checkpoint["path"] = Path(checkpoint["path"]) if checkpoint["path"] else None
        return PersonaVector(
            directions,
            norms,
            checkpoint=Checkpoint(**checkpoint),
            counts=PairCounts(**passport.pop("counts")),
            sources=tuple(passport.pop("sources")),
            **passport,
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise VectorError(f"the passport of {path} cannot be read ({problem}): extract the vector again") from None


@dataclass(frozen=True)
class NoVector:
    """There is no vector, and these counts say why: early checkpoints often give none."""

    trait: str
    form: str
    checkpoint: Checkpoint
    counts: PairCounts


@dataclass(frozen=True)
class Steering:
    """How far along a vector to steer, at which layer or layers, and where in the text.

    ``strength`` is a multiple of ``unit``: ``"vector"`` (the vector's own length), ``"unit"`` (a unit direction)
    or ``"residual"`` (the mean residual norm at that layer, :attr:`PersonaVector.residual_norms`). There is no
    default unit: the published study mixed three, and its coefficients mean nothing without them (§1.6).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    layer: int | tuple[int, ...]
    strength: float
    unit: Unit
    where: Where = "response"

    def __post_init__(self) -> None:
        if not np.isfinite(self.strength):
            raise StudyError(f"a steering strength of {self.strength} is not a number to steer by: give a finite one")
        if not self.layers:
            raise LayerError("a steering without a layer steers nothing: give one layer, or several")
        if any(layer < 0 for layer in self.layers):
            raise LayerError(f"layer {self.layer}: layers count from 0 (embedding); give one that is not negative")

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers steered at."""
        return self.layer if isinstance(self.layer, tuple) else (self.layer,)

    def along(
        self,
        vector: PersonaVector,
        *,
        residual_norms: Float[np.ndarray, "layer"] | None = None,
        control: PersonaVector | None = None,
    ) -> tuple[Edit, ...]:
        """The edits that steer along a vector.

        ``residual_norms`` are those of the model being steered, if it is not the vector's own. With ``control``,
        the control's direction is steered along, multiplied by what the vector itself would be multiplied by: a
        control of the vector's length is then applied at the vector's applied norm.

        Raises:
            LayerError: if the vector has no such layer.
            VectorError: if the vector has no length there, its residual norm was not measured, or the control is
                of another shape.
        """
        norms = vector.residual_norms if residual_norms is None else residual_norms
        moved = vector if control is None else control
        if moved.directions.shape != vector.directions.shape:
            raise VectorError(
                f"a control of shape {moved.directions.shape} was given for a {vector.trait} vector of shape "
                f"{vector.directions.shape}: make the control from that vector"
            )
        return tuple(
            Edit(self._factor(vector, norms, layer) * moved.at(layer), layer, self.where) for layer in self.layers
        )

    def _factor(self, vector: PersonaVector, norms: np.ndarray, layer: int) -> np.float32:
        direction = vector.at(layer)
        length = float(np.linalg.norm(direction.astype(np.float64)))
        if length == 0:
            raise VectorError(f"the {vector.trait} vector has no length at layer {layer}: choose another layer")
        if self.unit == "vector":
            return np.float32(self.strength)
        if self.unit == "unit":
            return np.float32(self.strength / length)
        if layer >= len(norms) or not np.isfinite(norms[layer]):
            raise VectorError(
                f"the residual norm at layer {layer} was not measured for the {vector.trait} vector of "
                f"{vector.checkpoint.label}: "
                "extract the vector with personascope, give residual_norms, or choose another unit"
            )
        return np.float32(self.strength * norms[layer] / length)


def applied_norm(edits: tuple[Edit, ...]) -> float:
    """The L2 length of what is added, over all edits: the figure by which arms are matched."""
    return float(np.sqrt(sum(float(np.sum(edit.direction.astype(np.float64) ** 2)) for edit in edits)))
