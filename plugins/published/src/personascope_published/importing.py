"""The published study as records and vectors of a store.

Owns: :func:`import_published` and :class:`ImportSummary`. The one law: what is published becomes ordinary records with
what it has, and what it lacks stays absent. Each file is written whole or not at all, so an import that was killed goes
on where it stopped, and a second one adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from personascope.store.caching import Notice, silent
from personascope.store.store import Store
from personascope_published.arms import arms_of
from personascope_published.import_curves import curve_sets
from personascope_published.import_rows import Source, digest_of_file, file_key, records_of, rows_of, rubric_records
from personascope_published.import_vectors import import_vectors
from personascope_published.reading import Problem, Published, PublishedError, trait_of


@dataclass(frozen=True)
class ImportSummary:
    """What an import found, and what of it was new.

    ``files`` and ``rows`` are the files of answers that the store now holds and their rows; ``new_records`` is what
    this import added. ``norms`` counts the ``vectors`` by where their residual norms are from. ``notes`` say what was
    taken otherwise than the tables have it, ``problems`` which files could not be read.
    """

    files: int
    rows: int
    new_records: int
    vectors: int
    norms: Mapping[str, int]
    studies: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def import_published(
    study: Published,
    store: Store,
    *,
    notice: Notice = silent,
    models: Collection[str] = (),
    traits: Collection[str] = (),
) -> ImportSummary:
    """Writes a published study into a store: answers and verdicts as records, vectors as files, curves as studies.

    Args:
        notice: Told of the responses and verdicts of every file.
        models: Only the answers and vectors of these model folders, if any are named.
        traits: Only these traits, by our names, if any are named.

    Raises:
        StoreError: if the store cannot be written.
    """

    def wanted(model: str, trait: str) -> bool:
        return (not models or model in models) and (not traits or trait in traits)

    files = study.response_files()
    files = files[[wanted(model, trait) for model, trait in zip(files["model"], files["trait"], strict=True)]]
    sources, new = _import_files(study, store, files, notice)
    rows = study.vectors()
    rows = rows[[wanted(model, trait) for model, trait in zip(rows["model"], rows["trait"], strict=True)]]
    vectors = import_vectors(study, rows, sources, store)
    arms = [arm for arm in arms_of(study) if all(wanted(m, trait_of(arm.column)[0]) for m in arm.models)]
    curves, notes = curve_sets(study, arms, sources, vectors)
    for each in curves:
        store.keep_study(each.study.name, json.loads(json.dumps(asdict(each), default=str)))
    return ImportSummary(
        len(sources), sum(each.rows for each in sources.values()), new, len(vectors.files), dict(vectors.norms),
        tuple(each.study.name for each in curves), (*vectors.notes, *notes), tuple(study.problems),
    )  # fmt: skip


def _import_files(
    study: Published, store: Store, files: pd.DataFrame, notice: Callable[[str, int, bool], None]
) -> tuple[dict[str, Source], int]:
    """Every file of answers that can be read, now in the store, by path; and how many records are new."""
    sources: dict[str, Source] = {}
    new, traits = 0, study.traits()
    for place in rows_of(files):
        file = place["file"]
        try:
            digest = digest_of_file(study, file)
            known = store.lookup([key := file_key(file, digest)]).get(key)
            rows = known["rows"] if known else len(study.answers(file))
        except PublishedError as problem:
            study.note(file, str(problem))
            continue
        source = sources[file] = Source(file, digest, rows, place["column"])
        if known is None:
            answers = study.answers(file)
            rubric = rubric_records(traits, place, answers) if place["column"] else []
            reference = rubric[0][1][0] if rubric else ""
            new += store.add([*rubric, *records_of(study, source, place, answers, reference)])
        notice("response", rows, known is None)
        notice("verdict", 2 * rows if place["column"] else 0, known is None)
    return sources, new
