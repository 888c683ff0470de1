"""What is found of an engine, and when two answers or two readings count as the same.

Owns: :class:`Finding`, the :class:`Noise` that is allowed, :class:`Oracle`, :func:`same_answers` and
:func:`same_readings`. The one law: a difference is called noise only below a bound that was measured, and the bound is
printed beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float

from personascope.core.records import Readings, Response
from personascope.doctor.specimens import SPANS
from personascope.engines import Engine


@dataclass(frozen=True)
class Finding:
    """One thing that was examined: passed if ``measured`` is at most ``allowed``. ``what`` says what was measured."""

    name: str
    passed: bool
    measured: float
    allowed: float
    what: str


@dataclass(frozen=True)
class Noise:
    """How far rounding alone may move things.

    ``numbers`` is for readings of two computations, relative to their length, and for logits, relative to the distance
    between the highest and the mean. ``added`` is for a vector added and read back in one and the same computation.
    ``answers`` is the share of greedy answers that may differ where nobody can say by how little.
    """

    numbers: float
    added: float
    answers: float


NOISE: Final[Mapping[str, Noise]] = {
    "float32": Noise(numbers=1e-5, added=1e-5, answers=0.0),
    "float16": Noise(numbers=1e-2, added=2e-3, answers=0.2),
    "bfloat16": Noise(numbers=1e-1, added=2e-2, answers=0.2),
}
"""By dtype. The most that was seen of a sound engine beside a naive pass, on a CPU: five checkpoints of the lab, nine
toy architectures of 3 blocks and three of 32, all with random weights but the lab's.

========  ==============  ================  ====================
dtype     readings apart  +v read back off  below the likeliest
========  ==============  ================  ====================
float32   2.3e-6          3.0e-6            0
float16   3.9e-3          3.0e-4            2.6e-3
bfloat16  4.1e-2          2.4e-3            2.2e-2
========  ==============  ================  ====================

What is allowed is two to nine times that; float32 means over prompts of thousands of tokens come nearer. A fault is
larger: a reading one token off, or an edit one layer off, is wrong by about its own length."""


class Oracle(Engine, Protocol):
    """An engine so plain that others are held against it: :class:`personascope.engines.hf.reference.NaiveEngine`."""

    def shortfalls(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_step"]]: ...

    def layers_apart(self, responses: Sequence[Response]) -> Float[np.ndarray, "response layer"]: ...


def noise_of(engine: Engine) -> Noise:
    """The noise of the engine's dtype; of one that is not in the table, that of bfloat16."""
    return NOISE.get(engine.identity.get("dtype", ""), NOISE["bfloat16"])


def finding_of(name: str, measured: float, allowed: float, what: str) -> Finding:
    """A number that is not one never passes."""
    return Finding(name, bool(measured <= allowed), float(measured), float(allowed), what)


def largest(found: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest number and where it was found; one that is not a number is larger than all others."""
    value, place = found[int(np.argmax([value for value, _ in found]))]
    return float(value), place


def same_answers(
    name: str, ours: Sequence[Response], theirs: Sequence[Response], noise: Noise, oracle: Oracle | None = None
) -> Finding:
    """Greedy answers to the same requests are the same, or differ where two tokens are closer than the noise.

    Only an oracle can say how close they are; without one, a share of them may differ.
    """
    pairs = list(zip(ours, theirs, strict=True))
    differing = [pair for pair in pairs if _said(pair[0]) != _said(pair[1])]
    share = len(differing) / len(pairs)
    if oracle is None or not differing:
        return finding_of(name, share, noise.answers if oracle is None else 0, f"share of {len(pairs)} that differ")
    unexplained = sum(not _as_likely(pair, noise, oracle) for pair in differing)
    what = f"share of {len(pairs)} that differ by more than noise ({len(differing)} differ)"
    return finding_of(name, unexplained / len(pairs), 0, what)


def _said(response: Response) -> tuple[object, ...]:
    return response.tokens, response.response_start, response.text, response.finish


def _as_likely(pair: tuple[Response, Response], noise: Noise, oracle: Oracle) -> bool:
    """Whether two answers begin alike after the same prompt and both take only the likeliest tokens, give or take."""
    (ours, start), (theirs, other) = pair[0].spoken, pair[1].spoken
    if start != other or ours[:start] != theirs[:start] or (ours, pair[0].finish) == (theirs, pair[1].finish):
        return False
    return all(each.max(initial=0.0) <= noise.numbers for each in oracle.shortfalls(pair))


def same_readings(name: str, ours: Readings, theirs: Readings, allowed: float) -> Finding:
    """Two readings of the same responses: the largest distance of any mean or norm, relative to its own length.

    A reading that is not a number in either is as far off as can be.
    """
    found: list[tuple[float, str]] = []
    for part in (*SPANS, "norms"):
        one, other = (np.asarray(getattr(each, part), np.float64) for each in (ours, theirs))
        if one.ndim == 2:
            one, other = one[..., None], other[..., None]
        apart = (np.linalg.norm(one - other, axis=-1) / np.linalg.norm(other, axis=-1)).max(axis=0)
        found += [(value, f"layer {layer}, {part}") for layer, value in enumerate(apart)]
    worst, told = largest(found)
    return finding_of(name, worst, allowed, f"distance of {len(ours)} readings; largest at {told}")
