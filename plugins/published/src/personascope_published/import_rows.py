"""Published rows as records: a response each, and a verdict for every score.

Owns: :class:`Source`, its keys, and :func:`records_of`. The one law: every row is a record of its own. Its key says
file, row and the file's bytes, so an answer published twice is two records, and another version of a file overwrites
none.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from personascope.core.identity import canonical, key_of
from personascope.store.store import Kind, Record
from personascope_published.reading import Published, PublishedError

UNSCORED = "published without a score: the study's tables do not tell a refusal from an answer that could not be read"
COHERENCE = "coherence"
_STEERED = {"source_revision": "vector_from", "vector_column": "vector", "layer": "layer", "coef": "coefficient",
            "scaling": "scaling", "target_norm": "norm"}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A published file of answers: its path from the repository's root, the sha256 of its bytes, and its rows.

    ``column`` is the trait whose scores it has, empty where nobody judged.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    file: str
    digest: str
    rows: int
    column: str

    @property
    def key(self) -> str:
        """The key of the record that says the whole file is in a store."""
        return file_key(self.file, self.digest)

    def response_key(self, row: int) -> str:
        """The key of the response in a row, counted from 1."""
        return key_of("response", {"file": self.file, "sha256": self.digest, "row": row})

    def verdict_key(self, row: int, column: str) -> str:
        """The key of the verdict in a row and a column of scores."""
        return key_of("verdict", {"file": self.file, "sha256": self.digest, "row": row, "column": column})


def file_key(file: str, digest: str) -> str:
    """The key of the record that says a whole file is in a store."""
    return key_of("file", {"file": file, "sha256": digest})


def digest_of_file(study: Published, file: str) -> str:
    """The sha256 of a file's bytes.

    Raises:
        PublishedError: if it cannot be read.
    """
    try:
        return hashlib.sha256(study.path(file).read_bytes()).hexdigest()
    except OSError as problem:
        raise PublishedError(f"{file} cannot be read ({problem.strerror}): check the path") from None


def judge_of(place: Mapping[str, Any]) -> str:
    """What the judge is called: the tables do not name it, and a folder may name a variant."""
    return f"as published, {place['variant']}" if place["variant"] else "as published"


def records_of(
    study: Published, source: Source, place: Mapping[str, Any], answers: pd.DataFrame, rubric: str
) -> list[tuple[Kind, Record]]:
    """The records of one file: its responses, its verdicts, and last the one that says that all of it is there.

    Args:
        place: The file's row of :meth:`~personascope_published.reading.Published.response_files`.
        rubric: The key of the rubric the trait's scores were given by; empty where it was not published.
    """
    milestone = study.place(place["model"], place["revision"])
    about = {"label": f"{milestone.checkpoint.label}, published", "checkpoint": canonical(milestone.checkpoint)}
    steered = {ours: place[name] for name, ours in _STEERED.items() if _said(place[name])}
    way = {"steered": steered} if place["kind"] == "steered" else {}
    judge = judge_of(place)
    records: list[tuple[Kind, Record]] = []
    asked: Counter[str] = Counter()
    for row in rows_of(answers):
        number, question = int(row["row"]), str(row["question_id"])
        where = {"file": source.file, "row": number}
        request = {"text": row["prompt"], "sampling": None, "draw": asked[question]}
        said = {"question_id": question, "question": row["question"], "request": request}
        asked[question] += 1
        value = {"tokens": None, "response_start": None, "text": row["answer"], "finish": "unknown"}
        records.append(("response", (source.response_key(number), value, {**about, **where, **said, **way})))
        for column, score in ((source.column, row["score"]), (COHERENCE, row["coherence"])) if source.column else ():
            given = {"rubric": rubric} if rubric and column != COHERENCE else {}
            by = {"judge": judge, **where, "column": column, "response": source.response_key(number), **given}
            records.append(("verdict", (source.verdict_key(number, column), _verdict(score), by)))
    held = {"rows": len(answers), "sha256": source.digest, "column": source.column}
    return [*records, ("file", (source.key, held, {"label": "as published", "file": source.file}))]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _verdict(score: float) -> dict[str, Any]:
    heard = not math.isnan(score)
    return {
        "outcome": "scored" if heard else "unreadable", "score": score if heard else None, "labels": [],
        "reason": "" if heard else UNSCORED, "text": "", "distribution": [],
    }  # fmt: skip


def _said(value: object) -> bool:
    return value != "" and not (isinstance(value, float) and math.isnan(value))


def rubric_records(traits: pd.DataFrame, place: Mapping[str, Any], answers: pd.DataFrame) -> list[tuple[Kind, Record]]:
    """The rubric a file's scores were given by, as a record: none where its trait file is not published.

    ``traits`` is :meth:`~personascope_published.reading.Published.traits`. Where several of them have the column, those
    that ask what the file asks count; if they still differ, none does.
    """
    sets = ("extract",) if place["kind"] == "extraction" else ("eval", "upstream_eval")
    mine = traits[(traits["column"] == place["column"]) & traits["set"].isin(sets)]
    asked = {question for question in answers["question"] if question is not None}
    if len(mine) > 1 and asked:
        mine = mine[[asked <= set(questions) for questions in mine["questions"]]]
    if mine["eval_prompt"].nunique() != 1:
        return []
    text = str(mine["eval_prompt"].iloc[0])
    by = {"label": "as published", "files": sorted(mine["file"])}
    return [("rubric", (key_of("rubric", {"text": text}), {"text": text}, by))]
