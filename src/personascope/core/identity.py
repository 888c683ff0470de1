"""What makes two questions the same question.

Owns: annotations, canonical JSON and keys. The one law: identity is what can change the answer, and
everything else is annotation. A field declared with :func:`annotation` is part of no key, so correcting a
token count, or moving a folder, discards nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np


def annotation(default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that is carried along but is part of no key and of no comparison."""
    return dataclasses.field(default=default, compare=False, metadata={"annotation": True})


def digest_of(array: np.ndarray) -> str:
    """The sha256 of an array's dtype, shape and bytes (little-endian, C order)."""
    fixed = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = f"{fixed.dtype.str}{fixed.shape}".encode()
    return hashlib.sha256(header + fixed.tobytes()).hexdigest()


def canonical(value: Any) -> Any:
    """A value as plain JSON: dataclasses by their identity fields, arrays by digest, NaN as null.

    Raises:
        TypeError: for anything that has no canonical form, so that a key never hides an object's address.
    """
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else (None if math.isnan(value) else repr(value))
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"array": digest_of(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = getattr(value, "identity", None)
        if own is not None:
            return canonical(own)
        # Equal values have equal identities; values without equality (they hold arrays) are never alike by accident.
        return _fields_once(value) if isinstance(value, Hashable) and _has_equality(value) else _fields(value)
    raise TypeError(f"{type(value).__name__} has no canonical form: give its fields, a mapping or an array")


def _has_equality(value: Any) -> bool:
    kind: Any = type(value)
    return kind.__eq__ is not object.__eq__


def _fields(value: Any) -> dict[str, Any]:
    return {
        field.name: canonical(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if not field.metadata.get("annotation")
    }


@functools.lru_cache(maxsize=1024)
def _fields_once(value: Any) -> dict[str, Any]:
    """The same rubric, sampling and checkpoint are part of thousands of keys."""
    return _fields(value)


def key_of(kind: str, question: Mapping[str, Any]) -> str:
    """The sha256 of a question's canonical JSON: all its identity fields, defaults included.

    Example:
        >>> key_of("case", {"question": "Who?", "answer": "Me."})[:8]
        '3b6bcf6a'
    """
    text = json.dumps({"kind": kind, **canonical(question)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
