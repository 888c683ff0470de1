"""Finds what packages, this one among them, offer under an entry-point group such as ``personascope.judges``."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from personascope.core.errors import PersonascopeError, nearest


@functools.cache
def names(group: str) -> dict[str, EntryPoint]:
    """Every entry point of a group by its name; where two packages use a name, the one installed first counts."""
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=group):
        found.setdefault(each.name, each)
    return found


@functools.cache
def load(group: str, name: str) -> Any:
    """The object of an entry point.

    Raises:
        PersonascopeError: if the group has no such name, or the object cannot be imported.
    """
    if name not in names(group):
        raise PersonascopeError(f"'{name}' is unknown among {group}; {nearest(name, names(group))}")
    point = names(group)[name]
    try:
        return point.load()
    except (ImportError, AttributeError) as problem:
        raise PersonascopeError(f"{group}: '{name}' ({point.value}) cannot be imported: {problem}") from problem
