"""Where a verb writes.

Owns: the checks of output files and folders. The one law: a place that cannot be written is refused
before anything runs, not after an hour of answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from personascope.core.errors import PersonascopeError, VectorError


def check_file(path: Path, *, option: str = "--out") -> Path:
    """The path, if a file can be written there; ``option`` is what it was given by.

    Raises:
        PersonascopeError: if it is a folder, lies in something that is none, or may not be written.
    """
    if path.is_dir():
        raise PersonascopeError(f"{path} is to be written as a file and is a folder: give {option} a file in it")
    if path.exists() and not os.access(path, os.W_OK):
        raise PersonascopeError(f"{path} may not be written: give {option} another file")
    _check_place(path.parent, path, option)
    return path


def check_vector_file(path: Path) -> Path:
    """The path, if a vector can be written there; its ending says what is in it.

    Raises:
        VectorError: if it does not end in ``.safetensors``.
    """
    if path.suffix != ".safetensors":
        raise VectorError(
            f"{path} was given for a vector, whose file ends in .safetensors: give --out such a name "
            "(--pt writes the published tensor beside it)"
        )
    return check_file(path)


def check_folder(path: Path, names: Sequence[str] = (), *, option: str = "--out") -> Path:
    """The path, if a folder can be made and files of these names can be written there.

    ``option`` is what it was given by.

    Raises:
        PersonascopeError: if it is a file or may not be written, or one of the names is that of a folder.
    """
    if path.exists() and not path.is_dir():
        raise PersonascopeError(f"{path} is to be written as a folder and is a file: give {option} another place")
    _check_place(path, path, option)
    for name in names:
        if (path / name).is_dir():
            raise PersonascopeError(
                f"{path / name} is to be written as a file and is a folder: "
                f"move it away, or give {option} another place"
            )
    return path


def _check_place(folder: Path, path: Path, option: str) -> None:
    """The nearest folder above that is there must be one, and let us write."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise PersonascopeError(
            f"{path} cannot be written: {there} is a file, not a folder; give {option} another place"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise PersonascopeError(f"{path} cannot be written: you may not write in {there}; give {option} another place")
