"""Other people's formats, read into our values and written from them.

Owns: the names of the readers and writers, each loaded on first use. The one law: what comes from outside is
checked at the door, and nothing outside is ever executed. Importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personascope.interop.tensors import load_pt, save_pt

__all__ = ["load_pt", "save_pt"]

_HOMES = {
    "load_pt": "personascope.interop.tensors",
    "save_pt": "personascope.interop.tensors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
