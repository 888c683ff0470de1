"""When in training the published revisions were saved.

Owns: :func:`lineage_of` and :func:`place_of`. The one law: the revisions are those the repository holds; their tokens
come from their own names, else from the bundled lineage of a model of that name, else nobody knows them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from dataclasses import replace

from personascope.core.files import bundled
from personascope.core.lineages import Checkpoint, Lineage, Milestone, load_lineage, natural, tokens_in
from personascope_published.reading.layout import RESPONSES, VECTORS, response_place, revision_of


def models_of(files: Iterable[str]) -> list[str]:
    """The model folders of a repository, in alphabetical order."""
    found = set()
    for file in files:
        parts = file.split("/")
        if file.startswith(f"{RESPONSES}/") and len(parts) > 4:
            found.add(parts[3])
        elif (file.startswith(f"{VECTORS}/") and len(parts) > 3) or (parts[0] == "results" and len(parts) > 2):
            found.add(parts[2] if parts[0] == "data" else parts[1])
    return sorted(found)


def revisions_of(files: Iterable[str]) -> dict[str, set[str]]:
    """Every model's revisions that have a folder of answers or of vectors."""
    found: dict[str, set[str]] = {}
    for file in files:
        parts = file.split("/")
        if file.startswith(f"{VECTORS}/") and len(parts) > 4:
            found.setdefault(parts[2], set()).add(revision_of(parts[3])[0])
        elif file.startswith(f"{RESPONSES}/") and (place := response_place(file)) is not None:
            mine = found.setdefault(place.model, set())
            # In a run of transfers the vector is from another model.
            mine |= {place.revision} if place.run else {place.revision, place.source_revision}
    return {model: revisions - {""} for model, revisions in found.items()}


def lineage_of(model: str, revisions: Collection[str], targets: Collection[str] = ()) -> Lineage:
    """A model's revisions in order of training: by tokens, those of unknown age first and by name, ``main`` at the end.

    ``targets`` are the models its vectors were transferred to; those the bundled lineage knows are labelled as it does.
    """
    milestones = [place_of(model, revision) for revision in revisions or ("main",)]

    def order(milestone: Milestone) -> tuple[float, bool, object]:
        tokens = -1 if milestone.tokens_seen is None else milestone.tokens_seen
        last = milestone.checkpoint.revision == "main"
        return float("inf") if last and tokens < 0 else tokens, last, natural(milestone.label)

    known = _bundled_of(model)
    listed = {_last_name(each): each for each in (known.targets if known else ())}
    grown = [each for name, each in listed.items() if name in {target.lower() for target in targets}]
    grown += [Milestone(Checkpoint(name), name) for name in sorted(targets) if name.lower() not in listed]
    return Lineage(model, tuple(sorted(milestones, key=order)), tuple(grown))


@functools.cache
def place_of(model: str, revision: str) -> Milestone:
    """The milestone of one revision: the label is the revision; unknown tokens are ``None``."""
    said = tokens_in(revision)
    if (known := _bundled_of(model)) is not None:
        milestone = known.at(revision)
        return replace(milestone, label=revision, tokens_seen=milestone.tokens_seen if said is None else said)
    for lineage in _lineages():
        for target in lineage.targets:
            if _last_name(target) == model.lower():
                return replace(target, checkpoint=replace(target.checkpoint, revision=revision), label=revision)
    return Milestone(Checkpoint(model, revision), revision, said)


def _bundled_of(model: str) -> Lineage | None:
    """The bundled lineage of the model whose last name is the folder's, in any case."""
    return next((each for each in _lineages() if _last_name(each.milestones[-1]) == model.lower()), None)


@functools.cache
def _lineages() -> tuple[Lineage, ...]:
    every = (load_lineage(name) for name in bundled("lineages"))
    return tuple(each for each in every if each.milestones[-1].checkpoint.path is None)


def _last_name(milestone: Milestone) -> str:
    return milestone.checkpoint.model.rsplit("/", 1)[-1].lower()
