"""Datasets on their way through a screening: drawn, counted, measured, and written apart.

A dataset is looked through once before anything is asked, so that a bad row costs nothing; and what is written appears
whole or not at all. Scores are kept in a file that grows as samples are measured: a line is a sample, in the dataset's
order. A run that was killed goes on after the last whole line, so nothing is lost and nothing counted twice; the file's
name is the sha256 of everything the scores depend on, so other settings never find it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from jaxtyping import Bool, Float

from personascope.applications.screen.core import CHUNK, Against, Gauge, Measure, Screened, screened
from personascope.core.errors import StoreError, StudyError
from personascope.core.identity import key_of
from personascope.core.samples import Sample
from personascope.core.tables import RowWriter, write_rows
from personascope.engines import Engine
from personascope.interop.samples import count_samples, messages_of, read_rows, read_samples
from personascope.judges import Judge
from personascope.store.caching import Notice, silent
from personascope.store.store import Store

LAB: Final = "lab:"
_PARTS = ("projection", "last_prompt", "own", "judged")


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


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured of every sample of a dataset, as :class:`~personascope.applications.screen.core.Screened` says.

    ``notes`` are by place of the sample, only where something could not be measured.
    """

    projection: Float[np.ndarray, "sample gauge"]
    last_prompt: Float[np.ndarray, "sample gauge"]
    own: Float[np.ndarray, "sample gauge"]
    judged: Float[np.ndarray, "sample gauge"]
    notes: dict[int, str]

    def __len__(self) -> int:
        return len(self.projection)

    def difference(self, against: Against) -> Float[np.ndarray, "sample gauge"]:
        """The projection minus that of what it is compared with."""
        if against == "nothing":
            return self.projection
        less: np.ndarray = self.projection - (self.own if against == "own" else self.last_prompt)
        return less


class ScoreFile:
    """The file of one dataset's scores; ``count`` is how many samples are in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = _whole_lines(path)[0] if path.exists() else 0

    def extend(self, found: Iterable[Screened], *, chunk: int) -> None:
        """Appends what is measured, a chunk at a time.

        Raises:
            StoreError: if it cannot be written, or another process is writing it; what is in it stays.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                self._take(file)
                for each in found:
                    file.write(_line(each))
                    self.count += 1
                    if self.count % chunk == 0:
                        file.flush()
        except OSError as problem:
            raise StoreError(
                f"cannot write the scores {self.path} ({problem}): mend that and run again, it goes on where it stopped"
            ) from None

    def _take(self, file: IO[str]) -> None:
        """Lets nobody else append for as long as the file is open: two runs would write every sample twice."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            count, whole = _whole_lines(self.path)
        except BlockingIOError:
            count = whole = -1
        if count != self.count:
            raise StoreError(f"the scores {self.path} are being written by another run: wait for it, then run again")
        file.truncate(whole)  # a line that was cut short by the end of a run

    def read(self, gauges: int) -> Scores:
        """All of it as arrays."""
        arrays = {part: np.full((self.count, gauges), math.nan) for part in _PARTS}
        notes: dict[int, str] = {}
        if self.count:
            with self.path.open(encoding="utf-8") as file:
                for place, line in enumerate(islice(file, self.count)):
                    held = json.loads(line)
                    for part in _PARTS:
                        arrays[part][place] = [math.nan if each is None else each for each in held[part]]
                    if held["note"]:
                        notes[place] = held["note"]
        return Scores(**arrays, notes=notes)


def _whole_lines(path: Path) -> tuple[int, int]:
    """How many lines end, and how many bytes they take."""
    count = size = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, size = count + 1, size + len(line)
    return count, size


def _line(each: Screened) -> str:
    held = {part: [None if math.isnan(value) else float(value) for value in getattr(each, part)] for part in _PARTS}
    return json.dumps({**held, "note": each.note}) + "\n"
