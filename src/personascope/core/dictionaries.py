"""Sparse dictionaries: the decoder of a sparse autoencoder, and what makes its features active.

Owns: :class:`Dictionary`. The one law: features are rows of ``decoder``, and every rule by which an architecture makes
one active is written as one line per feature: active where ``x @ encoder + bias`` is above its threshold.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from personascope.core.errors import VectorError
from personascope.core.identity import digest_of
from personascope.core.records import Probe


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Directions ``[feature hidden]`` in the residual stream at one layer, each of which stands for something.

    ``encoder``, ``bias`` and ``threshold`` say when a feature is active and how much: its activation is
    ``x @ encoder[feature] + bias[feature]`` where that is above the threshold, else 0; of those, where ``most`` is
    given, only so many of a token's greatest count. They are ``None`` where a file holds the decoder alone. ``layer``
    counts the residual stream (0 after the embedding); ``None`` if the file does not say.
    """

    decoder: Float[np.ndarray, "feature hidden"]
    layer: int | None
    name: str
    encoder: Float[np.ndarray, "feature hidden"] | None = None
    bias: Float[np.ndarray, "feature"] | None = None
    threshold: Float[np.ndarray, "feature"] | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.decoder.ndim != 2 or not len(self.decoder):
            raise VectorError(
                f"{self.name} holds a decoder of shape {list(self.decoder.shape)}: give [features hidden]"
            )
        if not np.isfinite(self.decoder).all():
            raise VectorError(f"{self.name} is not finite in {self._sick} of its features: download or train it again")
        shapes = {"encoder": self.decoder.shape, "bias": (self.count,), "threshold": (self.count,)}
        for part, wanted in shapes.items():
            held = getattr(self, part)
            if held is not None and held.shape != wanted:
                raise VectorError(
                    f"the {part} of {self.name} is {list(held.shape)}, not {list(wanted)}: check the file"
                )

    @property
    def _sick(self) -> int:
        return int((~np.isfinite(self.decoder).all(axis=1)).sum())

    @property
    def count(self) -> int:
        """How many features there are."""
        return len(self.decoder)

    @property
    def width(self) -> int:
        """The width of the residual stream it belongs to."""
        return int(self.decoder.shape[1])

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the decoder: a dictionary's identity is its bytes."""
        return digest_of(self.decoder)

    @functools.cached_property
    def lengths(self) -> Float[np.ndarray, "feature"]:
        """The L2 length of every feature's direction; 0 for one that died."""
        lengths: np.ndarray = np.sqrt(np.einsum("fh,fh->f", self.decoder, self.decoder, dtype=np.float64))
        return lengths

    def unit(self, features: Int[np.ndarray, "some"] | list[int]) -> Float[np.ndarray, "some hidden"]:
        """The unit directions of some features.

        Raises:
            VectorError: if one is not there, or has no length.
        """
        wanted = np.asarray(features, dtype=np.int64)
        for feature in wanted:
            if not 0 <= feature < self.count:
                raise VectorError(f"feature {feature} asked of {self.name}, which has 0 to {self.count - 1}")
            if self.lengths[feature] == 0:
                raise VectorError(f"feature {feature} of {self.name} has no length: it died; choose another")
        units: np.ndarray = self.decoder[wanted].astype(np.float64) / self.lengths[wanted, None]
        return units

    def probe(self, feature: int, layer: int) -> tuple[Probe, float, float]:
        """What to project a token on, what to add, and above what the feature is active, to have its activation.

        Of a decoder alone it is the projection on the feature's unit direction.
        """
        if self.encoder is None:
            return Probe(self.unit([feature])[0], layer), 0.0, 0.0
        bias = 0.0 if self.bias is None else float(self.bias[feature])
        threshold = 0.0 if self.threshold is None else float(self.threshold[feature])
        return Probe(self.encoder[feature], layer), bias, max(threshold, 0.0)

    def activations(self, stream: Float[np.ndarray, "token hidden"]) -> Float[np.ndarray, "token feature"]:
        """Every feature's activation at every token.

        Raises:
            VectorError: if only the decoder is known.
        """
        if self.encoder is None:
            raise VectorError(f"{self.name} holds a decoder alone: what makes its features active is not known")
        sums = stream.astype(np.float64) @ self.encoder.T + (0.0 if self.bias is None else self.bias)
        sums = np.where(sums > (0.0 if self.threshold is None else np.maximum(self.threshold, 0.0)), sums, 0.0)
        if self.most is not None and self.most < self.count:
            least = np.partition(sums, -self.most, axis=1)[:, -self.most, None]
            sums = np.where(sums >= least, sums, 0.0)
        activations: np.ndarray = sums
        return activations
