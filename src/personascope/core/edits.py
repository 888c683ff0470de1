"""Directions in the residual stream that an engine is handed: to change the stream, or to measure it.

Owns: :class:`Edit` and :class:`Probe`. The one law: engines know no coefficients and no units; they are given the array
itself, and it cannot change once it is given.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from personascope.core.errors import VectorError
from personascope.core.identity import digest_of

Where = Literal["response", "prompt", "all"]
Operation = Literal["add", "ablate", "cap"]


def _fixed(direction: Any, what: str) -> Float[np.ndarray, "hidden"]:
    """A direction as float32 that nobody can change any more."""
    fixed = np.array(direction, dtype=np.float32)
    if fixed.ndim != 1 or not np.isfinite(fixed).all():
        raise VectorError(f"{what} needs one finite direction [hidden], this one is {fixed.shape}: check the vector")
    fixed.flags.writeable = False
    return fixed


@dataclass(frozen=True, eq=False)
class Edit:
    """What is done to the residual stream: a direction ``[hidden]``, a layer, where, and which operation.

    ``layer`` counts the residual stream: 0 after the embedding, k after block k. ``where`` is ``"response"``
    (from the last prompt token on, the position that predicts the first response token), ``"prompt"`` (every
    prompt position) or ``"all"``. Engines know no coefficients: the array is used as it is.

    ``"add"`` adds the array. ``"ablate"`` takes the projection on the direction d away, h - (h.d)d; ``"cap"`` lowers
    that projection to ``bound`` where it is higher, and leaves every other token alone. For these two only the
    direction counts, so it is kept at length 1. Of several edits of one text at one layer the additions come first,
    summed; ablations and caps follow one after another, in the order in which they stand.
    """

    direction: Float[np.ndarray, "hidden"]
    layer: int
    where: Where = "response"
    operation: Operation = "add"
    bound: float | None = None

    def __post_init__(self) -> None:
        fixed = _fixed(self.direction, "an edit")
        for said, kinds in ((self.where, Where), (self.operation, Operation)):
            if said not in get_args(kinds):
                raise VectorError(
                    f"an edit was given '{said}', which is none of {', '.join(get_args(kinds))}: give one"
                )
        if (self.operation == "cap") != (self.bound is not None and math.isfinite(self.bound)):
            raise VectorError(
                f"an edit that is to {self.operation} was given the bound {self.bound}: a cap needs a finite one, "
                "additions and ablations have none"
            )
        if self.operation != "add":
            length = float(np.linalg.norm(fixed.astype(np.float64)))
            # A direction that has length 1 already stays the same bytes, and so the same question.
            fixed = fixed if length == 0 or abs(length - 1) < 1e-6 else _fixed(fixed / length, "an edit")
        object.__setattr__(self, "direction", fixed)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """The edit's bytes, layer, place and operation: hashed once, however many requests share it.

        An addition is not named, so that it stays the question it was before there were others.
        """
        same: dict[str, Any] = {"direction": digest_of(self.direction), "layer": self.layer, "where": self.where}
        return same if self.operation == "add" else {**same, "operation": self.operation, "bound": self.bound}


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction ``[hidden]`` at a layer, along which the residual stream is measured and not changed.

    What is measured is the dot product: give a unit direction for a projection in the stream's own units.
    """

    direction: Float[np.ndarray, "hidden"]
    layer: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _fixed(self.direction, "a probe"))
