"""The scores of one dataset, in a file that grows as samples are measured.

Owns: :class:`ScoreFile` and :class:`Scores`. The one law: a line is a sample, in the dataset's order. A run that was
killed goes on after the last whole line, so nothing is lost and nothing counted twice; the file's name is the sha256 of
everything the scores depend on, so other settings never find it.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float

from personascope.applications.screen.core import Against, Screened
from personascope.core.errors import StoreError

_PARTS = ("projection", "last_prompt", "own", "judged")


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
