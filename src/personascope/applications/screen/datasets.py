"""Datasets on their way through a screening: found, counted, measured, and written apart.

Owns: :class:`Dataset`, :func:`datasets_at`, :func:`scores_of` and :func:`write_sets`. The one law: a dataset is looked
through once before anything is asked, so that a bad row costs nothing; and what is written appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from personascope.applications.screen.core import CHUNK, Against, Gauge, Measure, Screened, screened
from personascope.applications.screen.scores import ScoreFile, Scores
from personascope.core.identity import key_of
from personascope.core.samples import Sample
from personascope.core.tables import RowWriter
from personascope.engines import Engine
from personascope.interop.samples import count_samples, messages_of, read_rows, read_samples
from personascope.judges import Judge
from personascope.store.caching import Notice, silent
from personascope.store.store import Store


@dataclass(frozen=True)
class Dataset:
    """A dataset to screen: a name that no other of the screening has, where it lies, its samples and its sha256."""

    name: str
    path: Path
    samples: int
    digest: str

    @property
    def ending(self) -> str:
        """The ending of files written from it: its own, and Parquet for a saved dataset's folder."""
        return ".parquet" if self.path.is_dir() else self.path.suffix

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files written from it, if anything is dropped."""
        return tuple(f"{self.name}-{part}{self.ending}" for part in ("scored", "kept", "dropped"))


@dataclass(frozen=True, eq=False)
class Asked:
    """What samples are measured with: a model, vectors, how, and a judge or none."""

    engine: Engine
    gauges: tuple[Gauge, ...]
    measure: Measure
    judge: Judge | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What each gauge is called."""
        return tuple(gauge.name for gauge in self.gauges)


def datasets_at(paths: Sequence[Path]) -> list[Dataset]:
    """The datasets at these places, each looked through from end to end.

    Raises:
        SampleError: for the first row of any of them that is no conversation.
    """
    names = _names(paths)
    return [Dataset(name, path, count_samples(path), _digest(path)) for name, path in zip(names, paths, strict=True)]


def scores_of(dataset: Dataset, asked: Asked, store: Store, *, notice: Notice = silent) -> Scores:
    """The scores of a dataset: what the store holds of them, and the others measured and added to it."""
    file = ScoreFile(store.path / "scores" / f"{_key(dataset, asked)[:32]}.jsonl")
    notice("sample", file.count, False)
    if file.count < dataset.samples:
        samples = read_samples(dataset.path, start=file.count)
        found = screened(asked.engine, samples, asked.gauges, measure=asked.measure, judge=asked.judge)
        file.extend(_counted(found, notice), chunk=CHUNK)
    return file.read(len(asked.gauges))


def write_sets(
    dataset: Dataset,
    scores: Scores,
    asked: Asked,
    out: Path,
    *,
    dropped: Bool[np.ndarray, "sample"] | None,
    wanted: Collection[int] = (),
) -> tuple[list[Path], dict[int, Sample]]:
    """Writes every row with its scores, and those kept and dropped as they were, in one pass over the dataset.

    Without ``dropped`` only the scored file is written. Gives the paths, and the samples at the ``wanted`` places.
    """
    names = dataset.files if dropped is not None else dataset.files[:1]
    found: dict[int, Sample] = {}
    with ExitStack() as stack:
        writers = [stack.enter_context(RowWriter(out / name, like=dataset.path)) for name in names]
        for place, (where, row) in enumerate(read_rows(dataset.path)):
            writers[0].write({**row, **_columns(place, scores, asked, dropped)})
            if dropped is not None:
                writers[2 if dropped[place] else 1].write(row)
            if place in wanted:
                found[place] = _sample(row, where)
    return [out / name for name in names], found


def _counted(found: Iterable[Screened], notice: Notice) -> Iterator[Screened]:
    for each in found:
        yield each
        notice("sample", 1, True)


def _sample(row: dict[str, Any], where: str) -> Sample:
    return Sample(messages_of(row, where), row, where)


def _columns(
    place: int, scores: Scores, asked: Asked, dropped: Bool[np.ndarray, "sample"] | None
) -> Mapping[str, float | bool | str]:
    """What is written beside a row: per vector its projection, what that is compared with, and the difference."""
    against: Against = asked.measure.against
    columns: dict[str, float | bool | str] = {}
    for gauge, name in enumerate(asked.names):
        columns[f"{name}_projection"] = float(scores.projection[place, gauge])
        if against == "own":
            columns[f"{name}_own"] = float(scores.own[place, gauge])
        if against == "last-prompt":
            columns[f"{name}_last_prompt"] = float(scores.last_prompt[place, gauge])
        if against != "nothing":
            columns[f"{name}_difference"] = float(scores.difference(against)[place, gauge])
        if asked.judge is not None:
            columns[f"{name}_judged"] = float(scores.judged[place, gauge])
    if dropped is not None:
        columns["dropped"] = bool(dropped[place])
    return {**columns, "screen_note": scores.notes.get(place, "")}


def _key(dataset: Dataset, asked: Asked) -> str:
    """The sha256 of everything that scores depend on."""
    gauges = [{"probe": gauge.probe, "rubric": gauge.rubric} for gauge in asked.gauges]
    own = asked.measure.sampling if asked.measure.against == "own" else None
    how = {"against": asked.measure.against == "own", "turn": asked.measure.turn, "longest": asked.measure.longest}
    model = {"checkpoint": asked.engine.checkpoint, "engine": dict(asked.engine.identity)}
    judge = asked.judge.name if asked.judge is not None else None
    question = {"dataset": dataset.digest, "gauges": gauges, "own": own, "how": how, "judge": judge}
    return key_of("screening", {**model, **question})


def _digest(path: Path) -> str:
    """The sha256 of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each dataset: the stem of its file, with as many folders before it as tell it from the others."""
    parts = [(*path.resolve().parent.parts[1:], path.stem if path.is_file() else path.name) for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["-".join(each[-depth:]) for each in parts]
        if max(Counter(names).values(), default=1) == 1:
            return names
    return [f"{name}-{place}" for place, name in enumerate(names, 1)]
