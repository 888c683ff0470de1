"""What the small repository of ``published_world`` consists of: names, places and how its answers are drawn."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, field
from pathlib import Path

import naive_statistics as naive

MODEL = "Apertus-8B-2509"
TARGETS = ("Apertus-8B-Instruct-2509", "Apertus-8B-Plain-Instruct")
REVISIONS = (
    "step50000-tokens210B",
    "step250000-tokens1050B",
    "step1000000-tokens4200B",
    "step2627139-tokens15T",
    "main",
)
TRAITS = ("boastful", "gloomy")
QUESTIONS = 8
LAYERS, WIDTH = 5, 6
AWKWARD = ("NA", "null", "", "nan", 'He said "no",\nand left.', "a\rb", "two\r\nlines", "None", "  spaces  ")
TRANSFER = "boastful_base_vectors_to_instruct_layer2_coef0p3_v1"

Answers = list[tuple[str, str, str, float | None, float | None]]
"""Question id, question, answer, trait score, coherence."""


@dataclass
class World:
    """What was written: where it lies, and which rows of which results file are out of the ordinary (file, row)."""

    root: Path
    rows: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    answers: dict[str, Answers] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def path(self, file: str) -> Path:
        return self.root / file

    def statistics(self, baseline: Answers, steered: Answers) -> dict[str, float | None]:
        return naive.compared([(a[0], a[3], a[4]) for a in baseline], [(a[0], a[3], a[4]) for a in steered])


def column(trait: str, form: str = "character") -> str:
    return f"{trait}_{form}_neutral_q"


def baseline_file(trait: str, revision: str) -> str:
    name = "character" if trait == TRAITS[0] else trait
    return f"data/model_responses/eval/{MODEL}/{revision}/baseline_{name}.csv"


def steered_file(trait: str, revision: str, source: str) -> str:
    name = (
        "character_to_character_unit_norm_coef0.2"
        if trait == TRAITS[0]
        else f"{trait}_character_to_{trait}_unit_norm_coef0.3"
    )
    return f"data/model_responses/eval/{MODEL}/{revision}/{source}/steering_results_{name}.csv"


def results_file(name: str, *, kind: str = "checkpoint_grid", table: str = "combined_significance.csv") -> str:
    return f"results/{MODEL}/{kind}/{name}/{table}"


def grid_revisions(trait: str) -> tuple[str, ...]:
    return REVISIONS if trait == TRAITS[0] else REVISIONS[1:]


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            # A lone carriage return is quoted by the writers of newer Pythons only: quote it always.
            awkward = any(isinstance(cell, str) and "\r" in cell for cell in row)
            quoting = csv.QUOTE_NONNUMERIC if awkward else csv.QUOTE_MINIMAL
            csv.writer(opened, lineterminator="\n", quoting=quoting).writerow(["" if c is None else c for c in row])


def write_answers(world: World, file: str, trait_column: str, answers: Answers, *, text: bool = True) -> None:
    world.answers[file] = answers
    if not text:
        rows: list[list[object]] = [[a[0], a[3], a[4]] for a in answers]
        write_csv(world.path(file), ["question_id", trait_column, "coherence"], rows)
        return
    header = ["question", "prompt", "answer", "question_id", trait_column, "coherence"]
    write_csv(world.path(file), header, [[a[1], f"Be so. {a[1]}", a[2], a[0], a[3], a[4]] for a in answers])


def draw(world: World, ids: list[str], *, level: float, draws: int) -> Answers:
    """Answers with scores around a level; some are tiny, exactly equal, or missing, as judges' scores are."""
    chance = world.chance
    answers: Answers = []
    for question_id in ids:
        question = f"What of matter {question_id}?"
        for number in range(draws):
            score: float | None = min(100.0, max(0.0, chance.gauss(level, 12)))
            score = chance.choice([score, score, score, chance.random() * 1e-17, 0.0])
            score = None if chance.random() < 0.01 else score
            answers.append((question_id, question, f"Answer {number}, plain.", score, 40 + 55 * chance.random()))
    return answers


def ids_of(trait_column: str) -> list[str]:
    return [f"{trait_column}_{number}" for number in range(QUESTIONS)]


def transfer_files(target: str, source: str) -> tuple[str, str]:
    run = f"data/model_responses/eval/{target}/instruct_transfer/{TRANSFER}"
    way = f"{column(TRAITS[0])}_to_{TRAITS[0]}_layer2_targetnorm9p5_coef0p3"
    return f"{run}/baselines/baseline_{TRAITS[0]}.csv", f"{run}/steered/{source}/steering_results_{way}.csv"


def vector_file(trait: str, revision: str) -> str:
    return f"data/persona_vectors/{MODEL}/{revision}/{column(trait)}_response_avg_diff.pt"


def norm_of(revision: str) -> float:
    """The residual norm at layer 2 of a revision."""
    return {name: 40.0 + 10 * index for index, name in enumerate(REVISIONS)}.get(revision, 9.5)
