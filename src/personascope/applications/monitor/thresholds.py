"""Thresholds: from which projection on a prompt is flagged, so that ordinary traffic seldom is.

Owns: :class:`Threshold`, :func:`calibrate`, :func:`save_thresholds` and :func:`load_thresholds`. The one law: a
threshold belongs to one vector at one layer of one model, and says how many prompts it rests on.

The method is split conformal: with n prompts of ordinary traffic and a rate a, the threshold is the k-th smallest
projection, k = ceil((n + 1)(1 - a)). A further prompt of the same traffic exceeds it with probability at most a,
whatever the distribution. The rate of these very thresholds is not a but, where projections do not tie, a draw from the
Beta distribution with parameters n + 1 - k and k: its quantiles are the interval that is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from personascope.applications.monitor.core import Watched
from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.files import value_of, write_text
from personascope.core.lineages import Checkpoint


@dataclass(frozen=True)
class Threshold:
    """A prompt is flagged if its last token's projection is above ``projection``.

    ``rate`` is the false-alarm rate that was asked for, ``low`` and ``high`` the 95 % interval of the rate there is;
    ``prompts`` is what it rests on. ``vector`` is the digest of the vector, ``model`` and ``revision`` are the weights.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    vector: str
    layer: int
    model: str
    revision: str
    projection: float
    rate: float
    low: float
    high: float
    prompts: int
    adapter_revision: str = ""

    def flags(self, projection: float) -> bool:
        """Whether a prompt with this projection is flagged."""
        return projection > self.projection

    def check(self, watched: Watched, checkpoint: Checkpoint, *, source: str) -> None:
        """Refuses to judge what the threshold was not made for.

        Raises:
            VectorError: if the vector or the model is another one.
            LayerError: if the vector is watched at another layer.
        """
        if self.vector != watched.vector.digest:
            raise VectorError(
                f"{source} was calibrated with another {self.name} vector (sha256 {self.vector[:12]}) than the one "
                f"given ({watched.vector.digest[:12]}): calibrate again"
            )
        if self.layer != watched.layer:
            raise LayerError(
                f"{source} was calibrated at layer {self.layer} of the {self.name} vector and layer {watched.layer} "
                "was asked for: leave --layer out, or calibrate again"
            )
        made = (self.model, self.revision, self.adapter_revision)
        if made != (checkpoint.model, checkpoint.revision, checkpoint.adapter_revision):
            raise VectorError(
                f"{source} was calibrated on {self.model}@{self.revision[:12]} and the model is {checkpoint.label}: "
                "calibrate on this model"
            )


def calibrate(
    projections: Float[np.ndarray, "prompt watched"],
    watched: Sequence[Watched],
    checkpoint: Checkpoint,
    *,
    rate: float,
) -> list[Threshold]:
    """One threshold per vector, so that further prompts like these are flagged at most at the given rate.

    The rate is of each vector by itself: of several, any one flags more often.

    Raises:
        StudyError: if the rate is none, or there are too few prompts for it (1 / rate - 1 are needed).
    """
    count = len(projections)
    place = check_rate(rate, count)
    from scipy.stats import beta

    low, high = (float(beta.ppf(end, count + 1 - place, place)) for end in (0.025, 0.975))
    heights = np.sort(np.asarray(projections, dtype=np.float64), axis=0)[place - 1]
    weights = {"model": checkpoint.model, "revision": checkpoint.revision}
    return [
        Threshold(
            name=each.name, vector=each.vector.digest, layer=each.layer, **weights, projection=float(height), rate=rate,
            low=low, high=high, prompts=count, adapter_revision=checkpoint.adapter_revision,
        )
        for each, height in zip(watched, heights, strict=True)
    ]  # fmt: skip


def check_rate(rate: float, count: int) -> int:
    """The place, from 1, of the threshold among so many projections in ascending order.

    Raises:
        StudyError: if the rate is none, or there are too few prompts for it.
    """
    if not 0 < rate < 1:
        raise StudyError(f"a false-alarm rate of {rate:g} cannot be calibrated to: give one between 0 and 1")
    place = max(1, math.ceil((count + 1) * (1 - rate) - 1e-9))
    if place > count:
        raise StudyError(
            f"a false-alarm rate of {rate:g} needs {math.ceil(1 / rate - 1 - 1e-9)} prompts at least and there are "
            f"{count}: give more ordinary traffic, or a higher rate"
        )
    return place


def save_thresholds(thresholds: Sequence[Threshold], path: str | Path) -> None:
    """Writes thresholds to a JSON file, whole or not at all."""
    write_text(Path(path), json.dumps({"thresholds": [asdict(each) for each in thresholds]}, indent=2) + "\n")


def load_thresholds(path: str | Path) -> dict[str, Threshold]:
    """The thresholds of a file, by the name of their vector.

    Raises:
        StudyError: if there is no such file, or it holds something else.
    """
    try:
        table: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file; make it with `personascope monitor --calibrate RATE`") from None
    except (ValueError, OSError) as problem:
        raise StudyError(f"{path} is no file of thresholds ({problem}): calibrate again") from None
    if not isinstance(table, dict) or not table.get("thresholds"):
        raise StudyError(f"{path} holds no thresholds: calibrate again")
    found = value_of(table, _File, source=str(path), error=StudyError).thresholds
    return {each.name: each for each in found}


@dataclass(frozen=True)
class _File:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    thresholds: tuple[Threshold, ...]
