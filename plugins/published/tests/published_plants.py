"""Problems to plant in a repository of ``published_world``, for the tests of the audit.

Every function changes one thing and returns what it changed; the tests say what must be found then, and that nothing
of the kind is found without it.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding
from personascope_published.reading import open_published
from published_world import (
    MODEL,
    QUESTIONS,
    REVISIONS,
    TRAITS,
    Answers,
    World,
    column,
    norm_of,
    write_answers,
    write_csv,
)

Row = dict[str, str]
Family = Callable[[Evidence], Iterator[Finding]]


def found(world: World, family: Family) -> list[Finding]:
    """What a family finds in a world as it lies on the disk now."""
    return list(family(Evidence(open_published(world.root))))


def of(findings: list[Finding], kind: str) -> list[Finding]:
    return [each for each in findings if each.kind == kind]


def only(findings: list[Finding], kind: str) -> Finding:
    """The one finding of a kind."""
    mine = of(findings, kind)
    assert len(mine) == 1, f"{kind!r} was found {len(mine)} times, among {[each.kind for each in findings]}"
    return mine[0]


def edit(world: World, file: str, change: Callable[[list[Row]], Any]) -> None:
    """Changes the rows of a table in place; a row may get new columns."""
    with world.path(file).open(newline="", encoding="utf-8") as opened:
        rows: list[Row] = list(csv.DictReader(opened))
    kept = change(rows)
    rows = rows if kept is None else kept
    header = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(world.path(file), header, [[row.get(name, "") for name in header] for row in rows])


def write(world: World, file: str, trait: str, rows: list[dict[str, Any]]) -> None:
    """Writes answers with prompts of their own: question_id, question, prompt, answer, score, coherence."""
    header = ["question", "prompt", "answer", "question_id", trait, "coherence"]
    cells = [[r["question"], r["prompt"], r["answer"], r["question_id"], r["score"], r["coherence"]] for r in rows]
    write_csv(world.path(file), header, cells)


def as_rows(answers: Answers, *, prompt: str = "Be so. {question}") -> list[dict[str, Any]]:
    """Answers of the world as rows of :func:`write`."""
    names = ("question_id", "question", "answer", "score", "coherence")
    rows = [dict(zip(names, each, strict=True)) for each in answers]
    return [{**row, "prompt": prompt.format(question=row["question"])} for row in rows]


def extraction_file(trait: str, revision: str, pole: str) -> str:
    return f"data/model_responses/extract/{MODEL}/{revision}/{column(trait)}_{pole}_instruct.csv"


def extract(world: World, trait: str, revision: str, *, kept: int, asked: int = 40, spread: int = QUESTIONS) -> None:
    """Extraction answers of which exactly so many pairs clear the bar, from the first ``spread`` questions."""
    ids = [f"{column(trait)}_{n * spread // asked}" for n in range(asked)]
    for pole, high, low in (("pos", 90.0, 20.0), ("neg", 5.0, 5.0)):
        answers: Answers = [
            (f"{name}_{pole}_{n % 2}", "Q?", f"A{n}", high if n < kept else low, 80.0) for n, name in enumerate(ids)
        ]
        write_answers(world, extraction_file(trait, revision, pole), column(trait), answers)


def long_answers(answers: Answers, seed: int) -> Answers:
    """The same scores with texts that are long and their own."""
    chance = random.Random(seed)
    text = ["".join(chance.choices("abcdefgh ", k=90)) for _ in answers]
    return [(a[0], a[1], said, a[3], a[4]) for a, said in zip(answers, text, strict=True)]


def norm_file(revision: str, label: str = "shared", model: str = MODEL) -> str:
    return f"results/{model}/activation_norms/{revision}_{label}_norms.csv".replace("__", "_")


def write_norms(world: World, file: str, scale: float) -> None:
    rows: list[list[object]] = [[layer, scale * (layer + 1) / 3, 1.5, 20] for layer in range(5)]
    write_csv(world.path(file), ["layer", "mean_l2", "std_l2", "count"], rows)


def same_weights(world: World, first: str, second: str) -> None:
    """Gives two revisions the same norms, as two names of one checkpoint have."""
    for revision in (first, second):
        write_norms(world, norm_file(revision), norm_of(first))


def lose_coherence(rows: list[Row], points: float = 20.0) -> None:
    """Lets every row of a results table lose coherence."""
    for row in rows:
        row["delta_coherence_mean"] = str(-points)
        row["output_coherence_mean"] = str(float(row["baseline_coherence_mean"]) - points)


def facet_file(revision: str) -> str:
    return f"results/{MODEL}/facet_annotation/flags_checkpoints_{revision}.csv"


def annotate(world: World, revision: str, questions: list[int], *, coherence: float = 80.0) -> list[list[object]]:
    """An annotation file with one answer per question given; ``loud`` depends on the question, ``long`` never holds."""
    name = column(TRAITS[0])
    rows: list[list[object]] = [
        [f"Q{q}?", f"Q{q}?", f"answer {n}", f"{name}_{q}_pos_0", 60 + n % 40, coherence, int(q % 2 == 0), 0]
        for n, q in enumerate(questions)
    ]
    header = ["question", "prompt", "answer", "question_id", name, "coherence", "loud", "long"]
    write_csv(world.path(facet_file(revision)), header, rows)
    return rows


def remove(world: World, folder: str) -> None:
    for path in sorted(world.path(folder).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def status_file(trait: str, revision: str) -> Path:
    return Path(f"data/persona_vectors/{MODEL}/{revision}/{column(trait)}_response_avg_diff.status.json")


LAST = REVISIONS[-1]
