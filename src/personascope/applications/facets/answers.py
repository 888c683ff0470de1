"""Answers to annotate with facets: of finished studies in a store, or in a file that people made.

Nothing is asked of a model and nothing is written; what a store does not know the words of stays without words.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from personascope.applications.facets.core import GROUP, SERIES
from personascope.core.errors import JudgeError, PersonascopeError, StudyError, nearest
from personascope.core.facets import TAKEN, FacetSet
from personascope.core.tables import frame_of, read_rows, text_of
from personascope.store.store import Store
from personascope.studies.base import Table
from personascope.studies.replay import KeptStudy, ReplayContext, kept_studies

_KEPT = ["milestone", "place", "tokens_seen", "stage", "question", "draw", "answer", "score", "coherence",
         "response_key"]  # fmt: skip
_GROUPS = ("milestone", "group")
_MARKS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


def recorded_answers(store: Store, *, trait: str = "", plain: bool = False, name: str = "answers") -> pd.DataFrame:
    """The answers of the finished studies in a store, with their words: of one trait, or of all with an empty name.

    Steered answers are those along the extracted vector in the way that was chosen; controls are not among them. One
    row per answer: the columns ``facet_set`` (``name``, and what tells several curves apart: study, trait, forms,
    target), milestone, place, tokens_seen, stage, question, draw, answer, score, coherence and response_key.

    Raises:
        StudyError: if no study was finished there, or none on the trait.
        StoreError: if the store lacks a record of one.
    """
    frames = [rows.assign(study=kept.name) for kept in kept_studies(store) for rows in _answers_of(kept, store)]
    if not frames:
        raise StudyError(
            f"{store.path} keeps no finished study, so there are no answers: run one with personascope run"
        )
    rows = pd.concat(frames, ignore_index=True)
    known = rows["trait"].unique().tolist()
    if trait and trait not in known:
        raise StudyError(
            f"the answers of trait '{trait}' were asked for, which {store.path} lacks; {nearest(trait, known)}"
        )
    asked = (
        (rows["pole"] == ("plain" if plain else "steered"))
        & (rows["direction"] == "extracted")
        & rows["chosen"].astype(bool)
    )
    rows = rows[asked & (rows["trait"] == trait if trait else True)].reset_index(drop=True)
    found = store.entries(str(key) for key in rows["response_key"])
    records = [found.get(str(key), {"value": {}, "by": {}}) for key in rows["response_key"]]
    rows["answer"] = [each["value"].get("text") for each in records]
    # A published question may be called by its name in these rows; a judge is to read its text, where it is known.
    texts = [each["by"].get("question") for each in records]
    rows["question"] = [text or called for text, called in zip(texts, rows["question"], strict=True)]
    return rows.assign(**{SERIES: _curves(rows, name)})[[SERIES, *_KEPT]]


def _answers_of(kept: KeptStudy, store: Store) -> list[pd.DataFrame]:
    """The table of the answers of a study with effects, be it a trace or one that was imported; else none."""
    if isinstance(kept.study, PersonascopeError):
        raise kept.study
    if "effects.csv" not in kept.files:
        return []
    context = ReplayContext(Path(), store, inputs=kept.inputs, engines=kept.engines)
    tables = (item for item in kept.study.run(context) if isinstance(item, Table) and item.name == "answers")
    return [next(tables).frame]


def load_answers(path: Path, *, group: str | None = None, name: str = "answers") -> pd.DataFrame:
    """The answers in a ``.csv`` or ``.jsonl`` file, one per row, with the columns ``question`` and ``answer``.

    ``score``, ``coherence`` and ``tokens_seen`` are read as numbers where they are there, empty ones as unknown. The
    column ``group`` (by default ``milestone``, else ``group``) tells groups apart, in the order they come. Other
    columns stay as they are, but for those that annotating writes.

    Raises:
        JudgeError: naming the line, if a row has no question or answer, or a number is none.
    """
    rows: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for where, row in read_rows(path, error=JudgeError):
        column = group or next((each for each in _GROUPS if each in row), None)
        text_of(row, "question", where), text_of(row, "answer", where)
        if column is not None and column not in row:
            raise JudgeError(f"{where}: there is no column '{column}' to group by; {nearest(column, map(str, row))}")
        milestone = "all" if column is None else str(row[column])
        numbers: dict[str, Any] = {each: _number(row, each, where) for each in ("score", "coherence") if each in row}
        seen = _number(row, "tokens_seen", where)
        about = {SERIES: name, GROUP: milestone, "place": places.setdefault(milestone, len(places))}
        rows.append({**row, **about, "tokens_seen": seen, "stage": row.get("stage") or "", **numbers})
    if not rows:
        raise JudgeError(f"{path} holds no answer: give one to a row, with question and answer")
    frame = frame_of(rows)
    first = [SERIES, *(each for each in _KEPT if each in frame)]
    return frame[[*first, *(each for each in frame if each not in {*first, *TAKEN})]]


def load_labels(path: Path, facets: FacetSet) -> tuple[pd.DataFrame, int]:
    """Answers with the facets that people gave them, and how many answers there carry no label.

    The file has the columns ``question``, ``answer`` and ``labels`` (names of facets separated by semicolons, or
    ``none``; empty where nobody labelled the answer), or instead of ``labels`` one column per facet with 1 or 0 (yes or
    no, true or false).

    Raises:
        JudgeError: naming the line, if a label is none of the set's, or no answer is labelled.
    """
    rows, without = [], 0
    for where, row in read_rows(path, error=JudgeError):
        given = _labels(row, facets, where)
        if given is None:
            without += 1
            continue
        texts = {name: text_of(row, name, where) for name in ("question", "answer")}
        rows.append({**texts, **{name: name in given for name in facets.names}})
    if not rows:
        raise JudgeError(
            f"{path} holds no labelled answer: give question, answer and labels ({', '.join(facets.names)})"
        )
    return frame_of(rows), without


def _labels(row: dict[str, Any], facets: FacetSet, where: str) -> set[str] | None:
    """The facets that a row gives; ``None`` where it gives nothing, not even none."""
    if "labels" not in row and set(facets.names) <= set(row):
        marks = {name: str(row[name]).strip().casefold() for name in facets.names}
        if not any(marks.values()):
            return None
        for name, mark in marks.items():
            if mark not in _MARKS:
                raise JudgeError(f"{where}: '{mark}' does not say whether '{name}' is shown: give 1 or 0")
        return {name for name, mark in marks.items() if _MARKS[mark]}
    said = row.get("labels")
    if said is None:
        raise JudgeError(f"{where}: there is no column 'labels', nor one per facet ({', '.join(facets.names)}): add it")
    parts = [str(each).strip() for each in (said if isinstance(said, list) else str(said).split(";"))]
    known = {name.casefold(): name for name in facets.names} | {"none": ""}
    for part in filter(None, parts):
        if part.casefold() not in known:
            raise JudgeError(
                f"{where}: '{part}' is no facet of '{facets.name}'; {nearest(part, [*facets.names, 'none'])}"
            )
    given = [known[part.casefold()] for part in parts if part]
    if "" in given and len(given) > 1:
        raise JudgeError(f"{where}: 'none' stands beside a facet: keep one of them")
    return set(filter(None, given)) if given else None


def _number(row: dict[str, Any], name: str, where: str) -> float:
    """A number, NaN where the cell is empty or says so."""
    text = str(row.get(name, "") if row.get(name) is not None else "").strip()
    try:
        number = float(text or "nan")
    except ValueError:
        raise JudgeError(f"{where}: '{text}' is no number for '{name}': mend it, or leave it empty") from None
    if math.isinf(number):
        raise JudgeError(f"{where}: '{text}' is no number for '{name}': mend it, or leave it empty")
    return number


def _curves(rows: pd.DataFrame, name: str) -> list[str]:
    """What the curve of each row is called: the name, and what tells it from the other curves."""
    named = ("study", "trait", "extracted_as", "evaluated_as", "target")
    telling = [each for each in named if rows[each].nunique() > 1]
    told = [", ".join(filter(None, map(str, each))) for each in zip(*(rows[each] for each in telling), strict=True)]
    return [f"{name}: {each}" for each in told] if telling else [name] * len(rows)
