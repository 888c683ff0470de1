"""Persona vectors: directions that carry a trait, with the passport that says where they come from.

Owns: :class:`PersonaVector`, :class:`NoVector` and their files. The one law: a vector's identity is its bytes, and its
passport says where they come from. How far along one to steer, and in which unit, is :mod:`personascope.core.steering`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from personascope.core.errors import VectorError, check_layer
from personascope.core.identity import annotation, digest_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Span

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

    def unit(self, layer: int) -> Float[np.ndarray, "hidden"]:
        """The direction at one layer, of length 1, in float64.

        Raises:
            LayerError: if the model has no such layer.
            VectorError: if the vector has no length there.
        """
        direction = self.at(layer).astype(np.float64)
        length = float(np.linalg.norm(direction))
        if length == 0:
            raise VectorError(f"the {self.trait} vector has no length at layer {layer}: choose another layer")
        unit: np.ndarray = direction / length
        return unit

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

    def incremental(self) -> PersonaVector:
        """What every layer adds to the vector of the layer below: v_l - v_(l-1) ("Persona Vectors" J.3).

        Steered along at all of several layers in a row, with one strength, the increments add up: from layer a to
        layer b to v_b - v_(a-1). Nothing lies below layer 0, so its increment is v_0 itself.
        """
        before = np.concatenate([np.zeros_like(self.directions[:1]), self.directions[:-1]])
        return replace(self, directions=self.directions.astype(np.float64) - before)

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
