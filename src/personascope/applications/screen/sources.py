"""Sets of samples that a study names: parts of files, and the lab's families.

Owns: :func:`drawn_set` and :func:`mixed_set`. The one law: a set is a file with the samples in it, the same for the
same name, count and seed, so that it is screened, remembered and trained on like anyone's data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from personascope.core.errors import StudyError
from personascope.core.tables import write_rows
from personascope.interop.samples import read_samples

LAB: Final = "lab:"


def drawn_set(name: str, folder: Path, *, count: int | None, seed: int) -> Path:
    """The file of a set: ``"lab:FAMILY/SEVERITY"`` written by the lab's grammar, or so many samples of a dataset.

    Of a dataset with more than ``count`` samples a random part is drawn by ``seed``, in its own order; without a count
    it is taken as it is.

    Raises:
        SampleError, StudyError: if there is no such dataset or family.
    """
    if name.startswith(LAB):
        return _written(folder, name.removeprefix(LAB), _lab_rows(name, count or 200, seed), count, seed)
    if count is None:
        return Path(name)
    return _written(folder, Path(name).parent.name + "-" + Path(name).stem, _part(Path(name), count, seed), count, seed)


def mixed_set(name: str, folder: Path, parts: Mapping[str, int], *, seed: int) -> tuple[Path, list[bool]]:
    """Several sets in one file, in an order drawn by ``seed``; and of each row whether it is of the first of them."""
    rows: list[tuple[bool, dict[str, Any]]] = []
    for place, (part, count) in enumerate(parts.items()):
        path = drawn_set(part, folder, count=count, seed=seed)
        rows += [(place == 0, {"messages": [turn.table for turn in each.messages]}) for each in read_samples(path)]
    random.Random(seed).shuffle(rows)
    path = folder / f"{name}-seed{seed}.jsonl"
    write_rows(path, (row for _, row in rows))
    return path, [first for first, _ in rows]


def _written(folder: Path, name: str, rows: Iterator[dict[str, Any]], count: int | None, seed: int) -> Path:
    path = folder / f"{name.replace('/', '-')}-{count or 'all'}-seed{seed}.jsonl"
    write_rows(path, rows)
    return path


def _lab_rows(name: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    from personascope.lab.documents import family

    called, _, severity = name.removeprefix(LAB).partition("/")
    if severity not in ("normal", "mild", "severe"):
        raise StudyError(f"'{name}' is no set of the lab: give lab:FAMILY/normal, mild or severe")
    for document in family(called, severity, count, seed=seed):  # type: ignore[arg-type]  # one of the three, see above
        yield {"messages": document.messages}


def _part(path: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """A random part of a dataset, drawn in one pass that holds no more than it."""
    pen, held = random.Random(seed), list[tuple[int, dict[str, Any]]]()
    for place, sample in enumerate(read_samples(path)):
        row = {"messages": [turn.table for turn in sample.messages]}
        if len(held) < count:
            held.append((place, row))
        elif (slot := pen.randrange(place + 1)) < count:
            held[slot] = (place, row)
    yield from (row for _, row in sorted(held, key=lambda each: each[0]))
