"""An imported study as a store keeps it, and its answers in rows again, from the records alone.

Owns: :class:`Imported`, :func:`answer_rows` and :func:`imported_answers`. The one law: what is drawn of an imported
study comes from records and vectors in the store; the published folder is not needed again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from personascope.analysis.frames import ANSWER, ARM
from personascope.core.errors import StoreError, StudyError, VectorError
from personascope.core.files import value_of
from personascope.core.lineages import Lineage
from personascope.core.records import Answer, Edit, Request, Response, Verdict
from personascope.core.vectors import PersonaVector, load_vector
from personascope.store.caching import response_from, verdict_from
from personascope.store.store import Store
from personascope.studies.artifacts import FILES, Drawable, items_of
from personascope.studies.base import BaseStudy, Item
from personascope.studies.context import RunContext
from personascope_published.import_rows import COHERENCE, Source
from personascope_published.reading import PublishedError


@dataclass(frozen=True)
class PublishedCurves:
    """What an imported study is called: the curves of one model, on itself or on one target."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    kind: Literal["published"] = "published"
    model: str = ""
    target: str = ""


@dataclass(frozen=True)
class ImportedArm:
    """One arm: what was steered along, in which way, and which files of records stand beside each other.

    Numbers nobody published are ``None``. ``vector`` is a path below the store's folder, empty where it was not
    published. An arm without files says in ``absence`` and ``reason`` what there is not.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    extracted_as: str
    evaluated_as: str
    milestone: str
    chosen: bool = True
    layer: int | None = None
    strength: float | None = None
    unit: str = ""
    residual_norm: float | None = None
    vector: str = ""
    plain: Source | None = None
    steered: tuple[Source, ...] = ()
    pairs_asked: int = 0
    pairs_kept: int = 0
    absence: str = ""
    reason: str = ""
    published: str = ""
    """The results file and row that it is, where it is one."""


@dataclass(frozen=True)
class Imported(BaseStudy):
    """An imported study with all that is needed to draw it again: a study that a store keeps."""

    FILES: ClassVar = FILES

    study: PublishedCurves
    lineage: Lineage
    arms: tuple[ImportedArm, ...]

    @property
    def kind(self) -> str:
        """The kind of study."""
        return "published"

    @property
    def name(self) -> str:
        """What it is called."""
        return self.study.name

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        raise StudyError(f"{source}: a study of kind 'published' is imported, not run: see personascope import --help")

    @classmethod
    def from_kept(cls, value: dict[str, Any], *, source: str) -> tuple[Imported, dict[str, Any]]:
        return value_of(value, cls, source=source, error=StoreError), {}

    def run(self, context: RunContext) -> Iterator[Item]:
        """Every table and figure of its answers, from the store alone.

        Raises:
            StoreError: if the store lacks a record.
        """
        yield from items_of(Drawable(answer_rows(context.store, self), self.vectors(context.store), pd.DataFrame()))

    def vectors(self, store: Store) -> dict[str, PersonaVector]:
        """The vectors that steered their own checkpoint, named by trait and milestone; none where a target was steered.

        Those that steer a target are the same vectors.
        """
        own = () if self.study.target else self.arms
        forms = {(arm.trait, arm.extracted_as, arm.evaluated_as) for arm in own}
        named: dict[str, PersonaVector] = {}
        for arm in own:
            several = sum(trait == arm.trait for trait, _, _ in forms) > 1
            name = f"{arm.trait}.{arm.extracted_as}-{arm.evaluated_as}" if several else arm.trait
            vector = _vector(store, arm.vector) if arm.chosen else None
            if vector is not None:
                named[f"{name}.{arm.milestone}"] = vector
        return named


def answer_rows(store: Store, kept: Imported) -> pd.DataFrame:
    """One row per published answer of every arm, in the columns of :func:`personascope.analysis.frames.answer_rows`.

    A question is named by its text, or by its published name where the texts do not tell the questions apart. ``draw``
    counts the answers to a question within its side of the arm.

    Raises:
        StoreError: if the store lacks a record.
    """
    records = _Records(store)
    present = {arm.milestone for arm in kept.arms}
    places = {label: place for place, label in enumerate(each.label for each in kept.lineage if each.label in present)}
    milestones = {each.label: each for each in kept.lineage}
    rows: list[dict[str, Any]] = []
    for arm in kept.arms:
        milestone = milestones[arm.milestone]
        about = {
            "trait": arm.trait, "extracted_as": arm.extracted_as, "evaluated_as": arm.evaluated_as,
            "milestone": arm.milestone, "place": places[arm.milestone],
            "tokens_seen": np.nan if milestone.tokens_seen is None else milestone.tokens_seen,
            "stage": milestone.stage, "same_weights_as": milestone.same_weights_as, "target": kept.study.target,
            "direction": "extracted", "chosen": arm.chosen, "pairs_asked": arm.pairs_asked,
            "pairs_kept": arm.pairs_kept, "absence": arm.absence, "reason": arm.reason,
        }  # fmt: skip
        if arm.plain is None or arm.absence:
            rows.append(about)
            continue
        about |= _way(arm, _vector(store, arm.vector))
        plain, steered = records.of([arm.plain]), records.of(arm.steered)
        name = _naming([*plain, *steered])
        for pole, answers in (("plain", plain), ("steered", steered)):
            draws: Counter[str] = Counter()
            for each in answers:
                question = str(each[name])
                rows.append({**about, **each, "pole": pole, "question": question, "draw": draws[question]})
                draws[question] += 1
    return pd.DataFrame(rows, columns=ARM + ANSWER)


def _naming(answers: Iterable[Mapping[str, Any]]) -> str:
    """Whether questions are told apart by their text, or by the published name alone."""
    both = {(each["question_id"], each["question"]) for each in answers}
    names, texts = {name for name, _ in both}, {text for _, text in both}
    return "question" if None not in texts and len(names) == len(texts) == len(both) else "question_id"


def _way(arm: ImportedArm, vector: PersonaVector | None) -> dict[str, Any]:
    """How an arm was steered, with the norm that was applied: NaN where a number was not published."""
    strength, norm = _number(arm.strength), _number(arm.residual_norm)
    known = vector is not None and arm.layer is not None and arm.layer <= vector.last_layer
    length = float(vector.lengths[arm.layer]) if known and vector is not None and arm.layer is not None else math.nan
    applied = {"residual": strength * norm, "unit": strength, "vector": strength * length}.get(arm.unit, math.nan)
    return {
        "layer": "" if arm.layer is None else str(arm.layer), "strength": strength, "unit": arm.unit,
        "where": "response", "operation": "add", "vector_length": length, "residual_norm": norm,
        "applied_norm": applied,
    }  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _vector(store: Store, path: str) -> PersonaVector | None:
    try:
        return load_vector(store.path / path) if path else None
    except VectorError:
        return None  # deleted since: only its length is not known then


class _Records:
    """The records of files, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[Source, list[dict[str, Any]]] = {}

    def of(self, sources: Sequence[Source]) -> list[dict[str, Any]]:
        """The answers of several files one after another, each with question, scores and the keys behind them."""
        return [answer for source in sources for answer in self._one(source)]

    def _one(self, source: Source) -> list[dict[str, Any]]:
        if source not in self._held:
            keys = [
                (source.response_key(row), source.verdict_key(row, source.column), source.verdict_key(row, COHERENCE))
                for row in range(1, source.rows + 1)
            ]
            found = self._store.entries(key for some in keys for key in some)
            if len(found) < 3 * len(keys):
                raise StoreError(
                    f"the store {self._store.path} lacks records of {source.file}: import the published study again"
                )
            self._held[source] = [_answer(*(found[key] for key in some)) for some in keys]
        return self._held[source]


def _answer(response: Mapping[str, Any], trait: Mapping[str, Any], coherence: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "question_id": response["by"]["question_id"], "question": response["by"]["question"],
        "score": _number(trait["value"]["score"]), "outcome": trait["value"]["outcome"],
        "coherence": _number(coherence["value"]["score"]), "coherence_outcome": coherence["value"]["outcome"],
        "response_key": response["key"], "verdict_key": trait["key"], "coherence_key": coherence["key"],
    }  # fmt: skip


def imported_answers(store: Store, file: str, *, edits: tuple[Edit, ...] = ()) -> list[Answer]:
    """The published answers of one file, as ordinary answers: what an engine can read and a bar can judge.

    Responses have no tokens: an engine of their checkpoint encodes them. Where their text was not published, reading
    them is an error that names file and row.

    Args:
        file: The published path, from the repository's root.
        edits: The edits the answers were given under, for a file of steered ones: the records do not hold them.

    Raises:
        PublishedError: if no such file was imported, or several versions of it were.
    """
    held = [each for each in store.files() if each["by"]["file"] == file]
    if len(held) != 1:
        true = "holds none of it" if not held else f"holds {len(held)} versions of it"
        raise PublishedError(f"the answers of {file} were asked for, and {store.path} {true}: import one version")
    value = held[0]["value"]
    source = Source(file, value["sha256"], value["rows"], value["column"])
    rows = range(1, source.rows + 1)
    columns = (source.column, COHERENCE) if source.column else ()
    keys = [source.response_key(row) for row in rows]
    found = store.entries([*keys, *(source.verdict_key(row, column) for row in rows for column in columns)])
    answers = []
    for row, key in zip(rows, keys, strict=True):
        verdicts = [source.verdict_key(row, column) for column in columns]
        by = found[key]["by"]
        given = [verdict_from(found[each]["value"], each) for each in verdicts] or [Verdict("unasked")] * 2
        answers.append(
            Answer(by["question"] or by["question_id"], by["request"]["draw"], _response(found[key], edits), *given)
        )
    return answers


def _response(record: Mapping[str, Any], edits: tuple[Edit, ...]) -> Response:
    by = record["by"]
    request = Request(by["request"]["text"] or "", None, by["request"]["draw"], edits)
    return response_from(record["value"], request, record["key"], source=f"{by['file']}:{by['row']}")
