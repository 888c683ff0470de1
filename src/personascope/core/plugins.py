"""What other installed packages bring, found through their entry points.

A package adds a command, a kind of study or a reader of trait files by naming it in its ``pyproject.toml``; nothing in
personascope knows which packages there are. What a package brings is imported when it is first used.
"""

from __future__ import annotations

import functools
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from personascope.core.errors import PluginError, nearest
from personascope.core.files import read_toml

COMMANDS = "personascope.commands"
"""A ``typer.Typer`` (a group of commands) or a function (one command) under the command's name."""

STUDIES = "personascope.studies"
"""A :class:`~personascope.studies.base.BaseStudy` under the kind of the studies it reads."""

JUDGES, WRITERS, ENGINES = "personascope.judges", "personascope.writers", "personascope.engines"
"""A function that opens one: see :mod:`personascope.judges.opening` and the other two of that name."""

TRAITS = "personascope.traits"
"""A function ``(path, *, form) -> Trait`` under the ending of the files it reads, without the dot."""


@functools.cache
def entry_points(group: str) -> dict[str, EntryPoint]:
    """What the installed packages bring to a group, by name, in alphabetical order."""
    return {each.name: each for each in sorted(metadata.entry_points(group=group), key=lambda each: each.name)}


def load(group: str, name: str) -> Any:
    """The object that an installed package brings under a name.

    Raises:
        PluginError: if no package brings it, saying which one would and how it is installed where that is known; or if
            the package that does cannot be imported.
    """
    points = entry_points(group)
    if name not in points:
        raise PluginError(_missing(group, name, points))
    try:
        return points[name].load()
    except Exception as problem:  # whatever another package's import does
        source = points[name].dist
        package = source.name if source is not None else points[name].value
        raise PluginError(
            f"the package {package} brings '{name}' and cannot be imported ({type(problem).__name__}: {problem}): "
            "update it, or uninstall it"
        ) from problem


def known(group: str, name: str) -> bool:
    """Whether an installed package brings a name, or one that could be installed is known to."""
    return name in entry_points(group) or _package_of(group, name) is not None


def _missing(group: str, name: str, points: dict[str, EntryPoint]) -> str:
    package = _package_of(group, name)
    if package is None:
        return f"'{name}' of {group} was asked for, which no installed package brings; {nearest(name, points)}"
    return f"'{name}' needs the package {package}, which is not installed: {_catalogue()[package]['install']}"


def _package_of(group: str, name: str) -> str | None:
    return next((package for package, about in _catalogue().items() if name in about.get(group, ())), None)


def _catalogue() -> dict[str, Any]:
    """Packages that need not be installed: how each is, and what it brings."""
    return read_toml(Path(__file__).parent.parent / "data" / "plugins.toml", error=PluginError)
