"""Training samples by name: files, folders, and families of the lab's world.

Owns: :func:`samples_named`. The one law: a name stands for the same samples everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Literal, cast, get_args

from personascope.core.errors import StudyError
from personascope.core.samples import Message, Sample
from personascope.interop.samples import read_samples

LAB_SAMPLES = 960
Severity = Literal["normal", "mild", "severe"]


def samples_named(names: Sequence[str], *, limit: int | None = None, seed: int = 0) -> list[Sample]:
    """The samples of files and folders, one after another, at most ``limit`` of each.

    ``"lab:cruel/severe"`` is a family of the lab (a trait or ``remedy`` or ``sum``; normal, mild or severe), drawn by
    ``seed``; of files the seed changes nothing.

    Raises:
        SampleError: if a file is missing, or a line of it has no assistant turn.
        StudyError: if the lab has no such family.
    """
    return list(chain.from_iterable(islice(_named(name, limit, seed), limit) for name in names))


def _named(name: str, limit: int | None, seed: int) -> Any:
    if not name.startswith("lab:"):
        return read_samples(name)
    from personascope.lab.documents import family

    what, _, severity = name.removeprefix("lab:").partition("/")
    if severity not in get_args(Severity):
        raise StudyError(f"'{name}' names no family of the lab: give lab:FAMILY/normal, lab:FAMILY/mild or .../severe")
    documents = family(what, cast(Severity, severity), limit or LAB_SAMPLES, seed=seed)
    return (
        Sample(tuple(Message(_role(each["role"]), each["content"]) for each in document.messages), where=name)
        for document in documents
    )


def _role(name: str) -> Any:
    return name
