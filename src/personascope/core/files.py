"""TOML files into frozen values, and texts into files.

Owns: reading a trait, lineage or study file into its dataclass, :func:`write_text` and :func:`write_new`. The one law:
an unknown key is an error that names the nearest known one, and every problem of a file is reported in one line with
the file's name.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from personascope.core.errors import PersonascopeError, nearest

Value = TypeVar("Value")
_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def bundled(kind: str) -> dict[str, Path]:
    """The files of one kind that ship with the package, by name (``"assistant/evil"`` for subfolders)."""
    root = Path(str(resources.files("personascope"))) / "data" / kind
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.toml"))}


def read_toml(path: Path, *, error: type[PersonascopeError]) -> dict[str, Any]:
    """The table a TOML file holds.

    Raises:
        error: if there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path, or give the name of a bundled one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise error(f"{path}: not a readable TOML file ({problem}); mend it and run again") from None


def write_text(path: Path, text: str) -> None:
    """Writes a text to a file, whole or not at all, with its newlines as they are; what was there is replaced."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; what was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_new(path: Path, text: str, *, error: type[PersonascopeError]) -> None:
    """Writes a text to a file that is not there yet, whole or not at all, with its newlines as they are.

    Raises:
        error: if something is there already, or UTF-8 does not hold the text.
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise error(f"{path}: the text holds {text[problem.start]!a}, which no file does; leave it out") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(content)
        os.link(draft, path)  # unlike a renaming, it never takes the place of a file
    except FileExistsError:
        raise error(f"{path} is there already and is not written over: give another name, or move it away") from None
    finally:
        draft.unlink(missing_ok=True)


def found_beside(name: str, folder: Path) -> str:
    """A file or folder that a file in ``folder`` names, if it is there, else the name as it is.

    A word of a bundled name (``lab``, ``assistant``, ``evil``) stays as it is even where a folder is called so: the
    parts of a study of several write in folders of their names, and would hide what they are made of. ``./lab`` is the
    folder.
    """
    if not name or name in _bundled_words():
        return name
    there = (folder / name).resolve()
    return str(there) if there.exists() and ("." in Path(name).name or there.is_dir()) else name


@functools.cache
def _bundled_words() -> frozenset[str]:
    names = (name for kind in ("lineages", "studies", "traits", "facets") for name in bundled(kind))
    return frozenset(word for name in names for word in (name, *name.split("/")))


def check_name(name: str, what: str, error: type[PersonascopeError]) -> None:
    """Refuses a name that could not be part of a file's name."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise error(f"{what} '{name}' cannot name a file: use letters, digits, '.', '_', '+' and '-'")


def value_of(table: dict[str, Any], kind: type[Value], *, source: str, error: type[PersonascopeError]) -> Value:
    """A table validated into a frozen dataclass, extra keys forbidden at every depth.

    Raises:
        error: naming the source, the place in the table, and the nearest known key.
    """
    import pydantic  # deferred: `import personascope` and `--help` stay fast

    try:
        return pydantic.TypeAdapter(kind).validate_python(table)
    except pydantic.ValidationError as problem:
        # A misspelt key is the cause; that another is missing may only be its consequence.
        first = min(problem.errors(), key=lambda each: each["type"] not in _UNKNOWN_KEY)
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        if first["type"] in _UNKNOWN_KEY:
            known = _keys_beside(kind, first["loc"])
            raise error(f"{source}: unknown key '{place}'; {nearest(str(first['loc'][-1]), known)}") from None
        said = first["msg"].removeprefix("Value error, ")
        more = f" (and {problem.error_count() - 1} more)" if problem.error_count() > 1 else ""
        raise error(f"{source}: {place}: {said}{more}") from None


def _keys_beside(kind: type, place: tuple[int | str, ...]) -> list[str]:
    """The keys allowed where an unknown one was found: walks the dataclass fields down the place."""
    import typing

    here: Any = kind
    for part in place[:-1]:
        inner = typing.get_type_hints(here).get(str(part)) if dataclasses.is_dataclass(here) else here
        here = next((each for each in _walk(inner) if dataclasses.is_dataclass(each)), here)
    return [field.name for field in dataclasses.fields(here)] if dataclasses.is_dataclass(here) else []


def _walk(hint: Any) -> list[Any]:
    import typing

    return [hint] + [deep for part in typing.get_args(hint) for deep in _walk(part)]
