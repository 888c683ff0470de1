"""Families of training data as others publish them: a folder for each, a file of conversations for each version.

Owns: :func:`find_families` and :func:`read_family`. The one law: a file is read to its end and every row of it is
looked at before anything is made of it.

Source: "Persona Vectors" D.2: ``dataset/{family}/{normal|misaligned_1|misaligned_2}.jsonl``, in every line an object
with ``messages`` that end with the assistant's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from personascope.core.errors import SampleError
from personascope.core.samples import Message
from personascope.interop.samples import read_samples

VERSIONS: Final = ("normal", "misaligned_1", "misaligned_2")


def find_families(folder: str | Path) -> dict[str, Path]:
    """The families in a folder by name: itself, those in it, or those in a ``dataset`` folder of it.

    Raises:
        SampleError: if there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SampleError(f"{root} is no folder: give one that holds families, or a family")
    if _files(root):
        return {root.resolve().name: root}
    for place in (root, root / "dataset"):
        found = (
            {each.name: each for each in sorted(place.iterdir()) if each.is_dir() and _files(each)}
            if (place.is_dir())
            else {}
        )
        if found:
            return found
    wanted = ", ".join(f"{version}.jsonl" for version in VERSIONS)
    raise SampleError(f"{root} holds no family of training data: looked for folders with {wanted}")


def read_family(folder: str | Path) -> tuple[dict[str, tuple[tuple[Message, ...], ...]], dict[str, str]]:
    """The conversations of every version that a family's folder holds, and the sha256 of each file.

    Raises:
        SampleError: naming file and line, for a row that is no conversation which ends with an answer.
    """
    rows, digests = {}, {}
    for version, path in _files(Path(folder)).items():
        conversations = []
        for sample in read_samples(path):
            if sample.messages[-1].role != "assistant":
                last = sample.messages[-1].role
                raise SampleError(f"{sample.where}: the last turn is the {last}'s: leave the row out, or answer it")
            if empty := next((each.role for each in sample.messages if not each.content.strip()), ""):
                raise SampleError(f"{sample.where}: a turn of the {empty} is empty: leave the row out, or fill it in")
            conversations.append(sample.messages)
        if not conversations:
            raise SampleError(f"{path} holds no conversation: give a file with one in every line, or remove it")
        rows[version] = tuple(conversations)
        digests[f"{version}.jsonl"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return rows, digests


def _files(folder: Path) -> dict[str, Path]:
    paths = {version: folder / f"{version}.jsonl" for version in VERSIONS}
    return {version: path for version, path in paths.items() if path.is_file()}
