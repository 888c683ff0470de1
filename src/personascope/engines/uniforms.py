"""The random numbers of a response.

Owns: :func:`uniforms_of`. The one law: they are keyed by rendered text, draw and seed and by nothing else (not the
edit, the checkpoint or the engine), so all arms of one question and draw share their numbers.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np
from jaxtyping import Float

from personascope.core.records import Request

SAMPLER_VERSION: Final = "1"
"""Part of every response's key: to be raised whenever the same request would draw other tokens."""


def uniforms_of(request: Request) -> Float[np.ndarray, "step"]:
    """One number in [0, 1) per step, from Philox, a counter-based generator whose raw stream numpy guarantees.

    The key is the first 128 bits of the sha256 of (text, draw, seed); a double is the upper 53 bits of a raw word.
    """
    named = json.dumps([request.text, request.draw, request.drawn_with.seed], separators=(",", ":"))
    key = int.from_bytes(hashlib.sha256(named.encode("ascii")).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(request.drawn_with.max_tokens)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
