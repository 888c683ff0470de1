"""What can go wrong with a published repository, one file at a time: ``damage(world, what)`` for each of ``DAMAGES``.

It breaks one thing of a world that ``published_world.build`` wrote, and returns the file it broke. Those that speak of
a vector or a status need a world built with vectors.
"""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass

from published_world import (
    MODEL,
    REVISIONS,
    TRAITS,
    World,
    baseline_file,
    column,
    results_file,
    steered_file,
    vector_file,
    write_csv,
)


def _cut(world: World, file: str, keep: Callable[[bytes], bytes]) -> str:
    path = world.path(file)
    path.write_bytes(keep(path.read_bytes()))
    return file


def _without_column(world: World, file: str, name: str, *, called: str | None = None) -> str:
    """Drops a column, or renames it."""
    with world.path(file).open(newline="", encoding="utf-8") as opened:
        table = list(csv.reader(opened))
    place = table[0].index(name)
    if called is not None:
        table[0][place] = called
    else:
        table = [row[:place] + row[place + 1 :] for row in table]
    write_csv(world.path(file), table[0], [list(row) for row in table[1:]])
    return file


def _second_trait(world: World) -> str:
    file = steered_file(TRAITS[0], REVISIONS[3], REVISIONS[3])
    header = ["question", "prompt", "answer", "question_id", column(TRAITS[0]), column(TRAITS[1]), "coherence"]
    write_csv(world.path(file), header, [[a[1], a[1], a[2], a[0], a[3], a[3], a[4]] for a in world.answers[file]])
    return file


def _code_in_vector(world: World) -> str:
    """A pickle that would make a folder called ``executed`` in the root if it were opened carelessly."""
    file = vector_file(TRAITS[0], REVISIONS[1])
    world.path(file).write_bytes(pickle.dumps(_Executing(str(world.path("executed"))), protocol=2))
    return file


@dataclass
class _Executing:
    where: str

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.where,)


_ANY = steered_file(TRAITS[0], REVISIONS[3], REVISIONS[3])
_STATUS = vector_file(TRAITS[1], REVISIONS[0]).replace(".pt", ".status.json")
_NORMS = f"results/{MODEL}/activation_norms/main_shared_norms.csv"
_FACETS = f"results/{MODEL}/facet_annotation/roots_checkpoints_extract_main.csv"
_TRAIT = f"data/trait_data_eval/{column(TRAITS[0])}.json"
_GRID = results_file("boastful_diagonal_v1")

DAMAGES: dict[str, Callable[[World], str]] = {
    "cut inside quotes": lambda w: _cut(w, baseline_file(TRAITS[0], REVISIONS[3]), lambda b: b[: b.index(b'""no""')]),
    "cut inside a row": lambda w: _cut(w, _ANY, lambda b: b[: b.rindex(b",")] + b"\n"),
    "cut inside the last cell": lambda w: _cut(w, _ANY, lambda b: b[:-3]),
    "empty file": lambda w: _cut(w, _ANY, lambda b: b""),
    "not UTF-8": lambda w: _cut(w, _ANY, lambda b: b.replace(b"Answer 1", b"Answ\xff\xfe 1")),
    "a score that is no number": lambda w: _cut(w, _ANY, lambda b: b[: b.rindex(b",") + 1] + b"high\n"),
    "no coherence": lambda w: _without_column(w, _ANY, "coherence"),
    "no trait column": lambda w: _without_column(w, _ANY, column(TRAITS[0])),
    "no question_id": lambda w: _without_column(w, _ANY, "question_id"),
    "two trait columns": _second_trait,
    "damaged vector": lambda w: _cut(w, vector_file(TRAITS[0], REVISIONS[1]), lambda b: b[: len(b) // 2]),
    "code in a vector": _code_in_vector,
    "damaged status": lambda w: _cut(w, _STATUS, lambda b: b[:-5]),
    "norms without a column": lambda w: _without_column(w, _NORMS, "mean_l2"),
    "facets without facets": lambda w: _without_column(w, _FACETS, "roots"),
    "damaged trait": lambda w: _cut(w, _TRAIT, lambda b: b[:-5]),
    "results cut inside a row": lambda w: _cut(w, _GRID, lambda b: b[: b.rindex(b",")] + b"\n"),
    "results without output_path": lambda w: _without_column(w, _GRID, "output_path"),
}
"""What can be broken, by what it is called, each in one file."""


def damage(world: World, what: str) -> str:
    """Breaks one thing, and returns the file it broke."""
    return DAMAGES[what](world)
