"""Files of prompts scored by vectors: streamed, resumable, whole or not at all.

Owns: :class:`Scoring`, :func:`score_prompts`, :func:`write_scores` and :func:`highest`. The one law: what was read of a
prompt is kept in a journal beside the file that is asked for, line by line, so that a killed run goes on; the file
itself appears when the last prompt is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from personascope.applications.monitor import Threshold, Watched, project_tokens, unanswered
from personascope.applications.monitor.prompts import AskedPrompt, read_prompts
from personascope.core.errors import EngineError, SampleError, StoreError
from personascope.core.identity import key_of
from personascope.core.records import Request, Response, Sampling
from personascope.core.samples import following
from personascope.core.tables import RowWriter
from personascope.engines import Engine

CHUNK: Final = 32
"""Prompts that are read together, and lost together if a run is killed."""
COLUMNS: Final = ("id", "vector", "layer", "position", "projection", "threshold", "flagged", "problem")
"""Of a row of the scored file. ``position`` is ``last_prompt`` or ``response`` (the mean over an answer's tokens);
``projection`` is in units of the residual stream, empty where ``problem`` says why; prompts alone are flagged."""


@dataclass(frozen=True)
class Scoring:
    """What is to be read: a file of prompts, an engine and the vectors watched.

    With ``answering`` the model answers every prompt that has no answer in the file, and the answer is read too.
    """

    prompts: Path
    engine: Engine
    watched: tuple[Watched, ...]
    answering: Sampling | None = None

    @property
    def key(self) -> str:
        """What the numbers depend on: the prompts' bytes, the model, the vectors and their layers, the sampling."""
        with self.prompts.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        model = {"checkpoint": self.engine.checkpoint, "engine": dict(self.engine.identity)}
        vectors = [[each.name, each.vector.digest, each.layer] for each in self.watched]
        return key_of("prompt-scores", {**model, "prompts": content, "vectors": vectors, "answering": self.answering})


def check_scored(path: Path, prompts: Path) -> None:
    """At the door: the scored file has an ending that is known, and is not the file of prompts.

    Raises:
        SampleError: if not.
    """
    RowWriter(path)
    if path.resolve() == prompts.resolve():
        raise SampleError(f"{path} holds the prompts and would be written over: give --out another file")


def count_prompts(path: Path) -> int:
    """How many prompts a file has; every row is looked at, so that a bad one is found before anything is loaded."""
    return sum(1 for _ in read_prompts(path))


def score_prompts(scoring: Scoring, journal: Path, *, done: Callable[[int, bool], None], chunk: int = CHUNK) -> None:
    """Reads every prompt that the journal lacks and adds it, a chunk at a time; ``done`` is told how many, if anew.

    A journal of another question (another file, model or vector) is begun again. A prompt that cannot be read, because
    it is too long for the model, is kept with the reason.

    Raises:
        EngineError: if not one prompt of the first chunk can be read.
        StoreError: if another run is writing the journal.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8", newline="") as file:
        _take(file, journal)
        known = _begun(journal, scoring.key)
        done(known, False)
        left = islice(read_prompts(scoring.prompts), known, None)
        while some := list(islice(left, chunk)):
            rows = _read(scoring, some)
            if not known and all(row["problem"] for row in rows):
                raise EngineError(rows[0]["problem"])
            known += len(rows)
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            done(len(rows), True)


def scored(journal: Path) -> Iterator[dict[str, Any]]:
    """What the journal holds of each prompt: id, where, projections, spoken, answer, problem."""
    with journal.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in islice(file, 1, None))


def projections_of(journal: Path, vectors: int) -> np.ndarray:
    """The last-prompt-token projections of every prompt that could be read, ``[prompt vector]``."""
    found = [row["projections"] for row in scored(journal) if not row["problem"]]
    return np.array(found, dtype=np.float64).reshape(len(found), vectors)


def write_scores(
    journal: Path, path: Path, watched: Sequence[Watched], thresholds: Mapping[str, Threshold]
) -> tuple[dict[str, int], int]:
    """Writes the scored file (.jsonl, .csv or .parquet), one row per prompt, vector and position, columns ``COLUMNS``.

    Gives back how many prompts each vector flags, and how many prompts could not be read.
    """
    flagged, unread = dict.fromkeys(thresholds, 0), 0
    with RowWriter(path) as writer:
        for row in scored(journal):
            unread += bool(row["problem"])
            for place, each in enumerate(watched):
                limit = thresholds.get(each.name)
                for position, values in (("last_prompt", row["projections"]), ("response", row["spoken"])):
                    if position == "response" and values is None:
                        continue
                    value = math.nan if values is None else values[place]
                    judged = position == "last_prompt" and limit is not None and math.isfinite(value)
                    over = bool(judged and limit is not None and limit.flags(value))
                    flagged[each.name] = flagged.get(each.name, 0) + over
                    known = (row["id"], each.name, each.layer, position, value if math.isfinite(value) else None)
                    told = (limit.projection, over) if judged and limit is not None else (None, None)
                    writer.write(dict(zip(COLUMNS, (*known, *told, row["problem"] or None), strict=True)))
    return flagged, unread


def highest(scoring: Scoring, journal: Path, count: int) -> list[tuple[AskedPrompt, Response]]:
    """The prompts that project highest, so many for each vector, in the order of the file, with their answers."""
    best: list[list[tuple[float, int]]] = [[] for _ in scoring.watched]
    answers: dict[int, str | None] = {}
    for number, row in enumerate(scored(journal)):
        for heap, value in zip(best, row["projections"] or (), strict=False):
            (heapq.heappush if len(heap) < count else heapq.heappushpop)(heap, (value, number))
        kept = {place for heap in best for _, place in heap}
        answers = {place: text for place, text in {**answers, number: row["answer"]}.items() if place in kept}
    chosen = [each for number, each in enumerate(read_prompts(scoring.prompts)) if number in answers]
    said = [answers[number] for number in sorted(answers)]
    again = replace(scoring, answering=None)
    prompts = [replace(each, answer=text) for each, text in zip(chosen, said, strict=True)]
    return list(zip(prompts, responses_of(again, prompts), strict=True))


def responses_of(scoring: Scoring, prompts: Sequence[AskedPrompt]) -> list[Response]:
    """Each prompt with the answer it has in the file, else with the model's own if it is to answer, else with none."""
    texts = [scoring.engine.render(each.prompt) for each in prompts]
    found = [
        replace(unanswered(text), text=following(text, each.prompt, each.answer or ""), source=each.where)
        for text, each in zip(texts, prompts, strict=True)
    ]
    if scoring.answering is not None:
        open_places = [place for place, each in enumerate(prompts) if each.answer is None]
        requests = [Request(texts[place], scoring.answering) for place in open_places]
        for place, response in zip(open_places, scoring.engine.generate(requests), strict=True):
            found[place] = response
    return scoring.engine.encode(found)


def _take(file: IO[str], journal: Path) -> None:
    """Lets nobody else write the journal for as long as the file is open: two runs would mix their prompts."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"{journal} is being written by another run: wait for it, then run again") from None


def _begun(journal: Path, key: str) -> int:
    """How many whole lines a journal of this question has; one of another question, or of none, is begun."""
    heading = json.dumps({"key": key}) + "\n"
    if journal.is_file():
        with journal.open("r+b") as file:
            if file.readline() == heading.encode():
                count, end = 0, file.tell()
                for line in file:
                    if line.endswith(b"\n"):
                        count, end = count + 1, end + len(line)
                file.truncate(end)  # what a killed run left of a line is dropped
                return count
    journal.write_text(heading, encoding="utf-8")
    return 0


def _read(scoring: Scoring, prompts: Sequence[AskedPrompt]) -> list[dict[str, Any]]:
    """The journal's rows of some prompts; where a batch fails, one at a time, to find which cannot be read."""
    try:
        responses = responses_of(scoring, prompts)
        tokens = project_tokens(scoring.engine, responses, scoring.watched)
    except EngineError as problem:
        if len(prompts) > 1:
            return [row for each in prompts for row in _read(scoring, [each])]
        return [_row(prompts[0], None, None, problem=str(problem))]
    return [_row(*each) for each in zip(prompts, responses, tokens, strict=True)]


def _row(asked: AskedPrompt, response: Response | None, along: Any, *, problem: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {"id": asked.name, "where": asked.where, "projections": None, "spoken": None}
    if response is not None:
        start = response.spoken[1]
        row["projections"] = [float(value) for value in along[start - 1]]
        row["spoken"] = [float(value) for value in along[start:].mean(axis=0)] if len(along) > start else None
        if not np.isfinite([*row["projections"], *(row["spoken"] or ())]).all():
            problem = "its projections are no numbers: read it in float32 or bfloat16"
            row |= {"projections": None, "spoken": None}
    return {**row, "answer": None if response is None else response.text or None, "problem": problem}
