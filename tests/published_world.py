"""A small published repository of another family, written into a folder: for tests of everything that reads one.

``build(root)`` writes it and returns a :class:`World`. It has two traits, ``boastful`` (four revisions and ``main``)
and ``gloomy`` (no vector at the first revision), eight questions, a base model ``Apertus-8B-2509`` whose revisions are
called like ``step50000-tokens210B``, two instruct models, and one of everything the layout has: extraction answers,
baselines, steered answers along the diagonal and onto ``main``, transfers, a discourse ablation, vectors (five layers
of six), status files, activation norms, controls, facets of both kinds, human annotations, pass rates, cosines, traits.

The results are computed by ``naive_statistics``. These rows are *not* reproduced from their files alone, on purpose
(``World.rows`` says where they are):

=====================  ================================================================================================
``duplicated``         boastful diagonal: the row holds X, E and E again, E being ``..._extended.csv``
``overwritten``        gloomy diagonal at ``main``: its baseline was written again after the row was made
``rewritten``          gloomy diagonal at step1000000: its output was written again after the row was made
``missing``            gloomy diagonal: names a steered file that does not exist
``raw_output``         boastful diagonal: names the gloomy output, so only the coherence was computed
``inherited``          transfer: corrected by the rows of each target, not of the file
``constant``           ``combined_significance_plot.csv`` beside the gloomy diagonal: p-values are constants
=====================  ================================================================================================

``published_damage`` breaks single things of a built world.
Awkward answers (``NA``, ``null``, empty, line breaks, a lone carriage return, quotes) stand in the baselines.
"""

from __future__ import annotations

import csv
import json
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


def build(root: Path, *, vectors: bool = True) -> World:
    """Writes the repository. Without ``vectors`` no tensor is written, and torch is not imported."""
    world = World(root)
    _write_traits(world)
    _write_extraction(world)
    _write_evaluation(world)
    _write_transfer(world)
    _write_ablation(world)
    _write_grids(world)
    _write_tables(world)
    if vectors:
        _write_vectors(world)
    return world


# Files.


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


# Parts of the repository.


def _write_traits(world: World) -> None:
    for trait in TRAITS:
        for name, folders in (
            (column(trait), ("trait_data_extract", "trait_data_eval")),
            (trait, ("upstream_trait_data_eval",)),
        ):
            table = {
                "instruction": [{"pos": f"Be {trait} {k}.", "neg": f"Never be {trait} {k}."} for k in range(2)],
                "questions": [f"What of matter {name}_{number}?" for number in range(QUESTIONS)],
                "eval_prompt": f"How {trait}? {{question}} {{answer}}",
            }
            for folder in folders:
                path = world.path(f"data/{folder}/{name}.json")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(table), encoding="utf-8")


def _write_extraction(world: World) -> None:
    for trait in TRAITS:
        name = column(trait)
        for index, revision in enumerate(REVISIONS):
            empty = trait == TRAITS[1] and index == 0
            for pole, level in (("pos", 20 if empty else 70), ("neg", 10)):
                ids = [f"{name}_{question}_{pole}_{k}" for question in range(QUESTIONS) for k in range(2)]
                file = f"data/model_responses/extract/{MODEL}/{revision}/{name}_{pole}_instruct.csv"
                write_answers(world, file, name, draw(world, ids, level=level, draws=2), text=index % 2 == 0)


def _write_evaluation(world: World) -> None:
    for trait in TRAITS:
        name = column(trait)
        for index, revision in enumerate(REVISIONS):
            plain = draw(world, ids_of(name), level=12, draws=3)
            plain = [(*a[:2], AWKWARD[n], *a[3:]) if n < len(AWKWARD) else a for n, a in enumerate(plain)]
            write_answers(world, baseline_file(trait, revision), name, plain)
            if revision in grid_revisions(trait):
                steered = draw(world, ids_of(name), level=15 + 12 * index, draws=3)
                write_answers(world, steered_file(trait, revision, revision), name, steered)
    extended = steered_file(TRAITS[0], REVISIONS[2], REVISIONS[2]).replace(".csv", "_extended.csv")
    write_answers(world, extended, column(TRAITS[0]), draw(world, ids_of(column(TRAITS[0])), level=30, draws=7))
    for index, source in enumerate(REVISIONS[:-1]):
        onto_main = draw(world, ids_of(column(TRAITS[0])), level=10 + 10 * index, draws=3)
        write_answers(world, steered_file(TRAITS[0], "main", source), column(TRAITS[0]), onto_main)


def transfer_files(target: str, source: str) -> tuple[str, str]:
    run = f"data/model_responses/eval/{target}/instruct_transfer/{TRANSFER}"
    way = f"{column(TRAITS[0])}_to_{TRAITS[0]}_layer2_targetnorm9p5_coef0p3"
    return f"{run}/baselines/baseline_{TRAITS[0]}.csv", f"{run}/steered/{source}/steering_results_{way}.csv"


def _write_transfer(world: World) -> None:
    for target in TARGETS:
        write_answers(world, transfer_files(target, "")[0], TRAITS[0], draw(world, ids_of(TRAITS[0]), level=5, draws=3))
        for index, source in enumerate(REVISIONS):
            steered = draw(world, ids_of(TRAITS[0]), level=5 + 9 * index, draws=3)
            write_answers(world, transfer_files(target, source)[1], TRAITS[0], steered)


def _write_ablation(world: World) -> None:
    folder = f"data/model_responses/eval/{MODEL}/extraction_ablation/main"
    names = [column(TRAITS[0], form) for form in ("character", "dialogue")]
    for evaluated in names:
        plain = draw(world, ids_of(evaluated), level=5, draws=2)
        write_answers(world, f"{folder}/baseline_{evaluated}.csv", evaluated, plain)
        for extracted in names:
            file = f"{folder}/steer_{extracted}_on_{evaluated}_layer2_coef0.5.csv"
            write_answers(world, file, evaluated, draw(world, ids_of(evaluated), level=30, draws=2))


def _grid_row(world: World, trait: str, revision: str, source: str, steered: str, **said: object) -> dict[str, object]:
    return {
        "extract_revision": source, "trait": column(trait), "eval_revision": revision, "layer": 2,
        "coef": 0.2 if trait == TRAITS[0] else 0.3, "scaling_mode": "unit_norm",
        "source_activation_norm": norm_of(source), "target_activation_norm": norm_of(revision),
        "transfer_scale": norm_of(revision) / norm_of(source),
        "source_norm_file": f"results/{MODEL}/activation_norms/{source}_shared_norms.csv",
        "target_norm_file": f"results/{MODEL}/activation_norms/{revision}_shared_norms.csv",
        "baseline_path": baseline_file(trait, revision), "output_path": steered, "status": "complete",
        "vector_status": "complete", "effective_rows": None,
        **said,
    }  # fmt: skip


def _write_grids(world: World) -> None:
    boastful, gloomy = TRAITS
    rows = []
    for source in REVISIONS:
        file = steered_file(boastful, source, source)
        rows.append(_filled(world, _grid_row(world, boastful, source, source, file)))
    twice = steered_file(boastful, REVISIONS[2], REVISIONS[2])
    extended = twice.replace(".csv", "_extended.csv")
    thrice = world.answers[twice] + 2 * world.answers[extended]
    rows[2] = _filled(world, _grid_row(world, boastful, REVISIONS[2], REVISIONS[2], twice), steered=thrice)
    rows.append(_filled(world, _grid_row(world, boastful, REVISIONS[2], REVISIONS[2], extended, coef=None)))
    for source in REVISIONS[:-1]:
        file = steered_file(boastful, "main", source)
        rows.append(_filled(world, _grid_row(world, boastful, "main", source, file)))
    foreign = steered_file(gloomy, REVISIONS[1], REVISIONS[1])
    raw = _filled(world, _grid_row(world, boastful, REVISIONS[1], REVISIONS[1], foreign, status="raw_output"))
    file = results_file("boastful_diagonal_v1")
    write_results(world, file, rows, families=[len(rows)] * len(rows), more=[raw])
    write_results(world, file.replace("_significance", ""), [*rows, raw], families=None)
    world.rows |= {"duplicated": [(file, 3)], "raw_output": [(file, len(rows) + 1)]}
    _write_gloomy(world)
    transfers = []
    for target in TARGETS:
        for source in REVISIONS:
            baseline, steered = transfer_files(target, source)
            said = {
                "trait": boastful, "vector_trait": column(boastful), "eval_model": f"some-lab/{target}",
                "eval_model_name": target, "extract_revision": source, "eval_revision": target, "layer": 2, "coef": 0.3,
                "target_vector_norm": 9.5, "baseline_path": baseline, "output_path": steered, "status": "complete",
            }  # fmt: skip
            transfers.append(_filled(world, said))
    file = results_file(TRANSFER, kind="instruct_transfer")
    write_results(world, file, transfers, families=[len(REVISIONS)] * len(transfers))
    world.rows["inherited"] = [(file, row) for row in range(1, len(transfers) + 1)]


def _write_gloomy(world: World) -> None:
    gloomy = TRAITS[1]
    rows = [
        _filled(world, _grid_row(world, gloomy, source, source, steered_file(gloomy, source, source)))
        for source in grid_revisions(gloomy)
    ]
    gone = steered_file(gloomy, "main", REVISIONS[1])
    lost = draw(world, ids_of(column(gloomy)), level=30, draws=3)
    rows.append(_filled(world, _grid_row(world, gloomy, "main", REVISIONS[1], gone), steered=lost))
    file = results_file("gloomy_diagonal_v1")
    write_results(world, file, rows, families=[len(rows)] * len(rows))
    none = _grid_row(world, gloomy, "", REVISIONS[0], "", status="nonextractable", baseline_path="")
    none |= {"vector_status": "nonextractable", "effective_rows": 0}
    write_results(world, file.replace("_significance", ""), [none, *rows], families=None)
    constant = [{**row, **{name: 0.01 for name in row if "_p_" in name}} for row in rows]
    placeholder = results_file("gloomy_diagonal_v1", table="combined_significance_plot.csv")
    write_results(world, placeholder, constant, families=None, flat=0.05)
    # Written again after the results were made.
    for overwritten in (baseline_file(gloomy, "main"), steered_file(gloomy, REVISIONS[2], REVISIONS[2])):
        write_answers(world, overwritten, column(gloomy), draw(world, ids_of(column(gloomy)), level=44, draws=3))
    world.rows |= {
        "overwritten": [(file, len(rows) - 1)],
        "rewritten": [(file, 2)],
        "missing": [(file, len(rows))],
        "constant": [(placeholder, row) for row in range(1, len(rows) + 1)],
    }


def _filled(world: World, said: dict[str, object], *, steered: Answers | None = None) -> dict[str, object]:
    """A row with its statistics, from the files it names or from other steered answers than those."""
    baseline = world.answers[str(said["baseline_path"])]
    found = world.answers[str(said["output_path"])] if steered is None else steered
    if said["status"] == "raw_output":
        found = [(*a[:3], None, a[4]) for a in found]
    row = {**said, **world.statistics(baseline, found)}
    if row.get("paired_questions"):
        row |= {"trait_sign_flip_exact_available": True, "trait_primary_test": "sign_flip_exact"}
    return row


def write_results(
    world: World,
    file: str,
    rows: list[dict[str, object]],
    *,
    families: list[int] | None,
    more: list[dict[str, object]] | None = None,
    flat: float | None = None,
) -> None:
    """A results file: rows corrected by their families, not at all, or with a constant; ``more`` are not corrected."""
    whole = []
    for index, row in enumerate(rows):
        corrected: dict[str, object] = {}
        if families is not None:
            corrected = dict(naive.corrected(row, families[index]))  # type: ignore[arg-type]
        elif flat is not None:
            corrected = {"trait_primary_p_two_sided_bonferroni_within_trait": flat}
        whole.append({**row, **corrected})
    whole += more or []
    header = list(dict.fromkeys(name for row in whole for name in row))
    if families is None and flat is None:
        header = [name for name in header if "_p_" not in name and "paired" not in name and "question" not in name]
    write_csv(world.path(file), header, [[row.get(name) for name in header] for row in whole])


def norm_of(revision: str) -> float:
    """The residual norm at layer 2 of a revision."""
    return {name: 40.0 + 10 * index for index, name in enumerate(REVISIONS)}.get(revision, 9.5)


def _write_tables(world: World) -> None:
    for model, revisions in ((MODEL, REVISIONS), *((target, ("main",)) for target in TARGETS)):
        for revision in revisions:
            scale = norm_of(revision) if model == MODEL else 9.5
            rows: list[list[object]] = [[layer, scale * (layer + 1) / 3, 1.5, 20] for layer in range(LAYERS)]
            file = f"results/{model}/activation_norms/{revision}_shared_norms.csv"
            write_csv(world.path(file), ["layer", "mean_l2", "std_l2", "count"], rows)
    rates: list[list[object]] = []
    for trait in TRAITS:
        for revision in REVISIONS:
            for pole in ("pos", "neg"):
                answers = world.answers[
                    f"data/model_responses/extract/{MODEL}/{revision}/{column(trait)}_{pole}_instruct.csv"
                ]
                passed, total = sum((a[3] or 0) >= 50 for a in answers), len(answers)
                label = int(pole == "pos")
                rates.append(
                    [
                        MODEL,
                        revision,
                        revision,
                        column(trait),
                        pole,
                        label,
                        total,
                        passed,
                        total - passed,
                        passed / total,
                        50,
                    ]
                )
    header = [
        "model",
        "revision",
        "x_label",
        "trait",
        "split",
        "label",
        "total",
        "passed",
        "failed",
        "pass_rate",
        "threshold",
    ]
    write_csv(world.path(f"results/{MODEL}/pass_rate.csv"), header, rates)
    _write_controls(world)
    _write_facets(world)
    grid = results_file("boastful_diagonal_v1").rsplit("/", 1)[0]
    similar = f"{grid}/vector_similarity/vector_cosine_to_main_{column(TRAITS[0])}_layer2.csv"
    header = ["revision", "cosine_similarity_to_main"]
    write_csv(world.path(similar), header, [[revision, 0.5] for revision in REVISIONS])


def _write_controls(world: World) -> None:
    rows: list[list[object]] = []
    for revision in REVISIONS[2:]:
        for mode in ("random", "shuffled"):
            for seed in range(3):
                before, after = (40 * world.chance.random() for _ in range(2))
                steady, later = (50 + 40 * world.chance.random() for _ in range(2))
                p = world.chance.randrange(1, 2**7) / 2**7
                place = f"/tmp/made/{revision}/{mode}/seed{seed}"
                rows.append([
                    revision, mode, seed, column(TRAITS[0]), 2, 0.2, before, steady, after, later, after - before,
                    later - steady, p, f"{place}/baseline.csv", f"{place}/steered.csv",
                ])  # fmt: skip
    header = ["revision", "mode", "seed", "trait", "layer", "coef", "baseline_trait_mean", "baseline_coherence_mean",
              "output_trait_mean", "output_coherence_mean", "delta_trait_mean", "delta_coherence_mean",
              "trait_primary_p_two_sided", "baseline_csv", "output_csv"]  # fmt: skip
    file = results_file("boastful_controls_layer2_coef0p2_v1", kind="controls", table="combined.csv")
    write_csv(world.path(file), header, rows)


def _write_facets(world: World) -> None:
    name = column(TRAITS[0])
    header = ["question", "prompt", "answer", "question_id", name, "coherence"]
    for revision in REVISIONS[2:]:
        answers = world.answers[f"data/model_responses/extract/{MODEL}/{revision}/{name}_pos_instruct.csv"]
        high = [a for a in answers if (a[3] or 0) > 50]
        plain: list[list[object]] = [[a[1], a[1], a[2], a[0], a[3], a[4]] for a in high]
        labels = ["pride|envy", "pride", "", "vanity|pride"]
        many = [[*row, labels[index % 4]] for index, row in enumerate(plain)]
        folder = f"results/{MODEL}/facet_annotation"
        write_csv(world.path(f"{folder}/roots_checkpoints_extract_{revision}.csv"), [*header, "roots"], many)
        flags = [[*row, index % 2, int(index % 3 == 0)] for index, row in enumerate(plain)]
        write_csv(world.path(f"{folder}/flags_checkpoints_{revision}.csv"), [*header, "loud", "long"], flags)
    annotations = [
        {
            "step": "main",
            "question": "Q?",
            "answer": f"A{k}",
            "model_roots": ["pride"],
            "human_roots": ["pride"] if k else [],
        }
        for k in range(4)
    ]
    path = world.path("analysis/roots_validation/annotations_20260101_000000.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"n_annotated": 4, "annotations": annotations}), encoding="utf-8")


def vector_file(trait: str, revision: str) -> str:
    return f"data/persona_vectors/{MODEL}/{revision}/{column(trait)}_response_avg_diff.pt"


def _write_vectors(world: World) -> None:
    import torch

    generator = torch.Generator().manual_seed(3)
    for trait in TRAITS:
        for revision in REVISIONS:
            path = world.path(vector_file(trait, revision))
            path.parent.mkdir(parents=True, exist_ok=True)
            status: dict[str, object] = {"trait": column(trait), "revision": revision, "status": "complete",
                                         "reason_code": "already_exists"}  # fmt: skip
            if revision in grid_revisions(trait):
                torch.save(torch.randn((LAYERS, WIDTH), generator=generator), path)
            else:
                status |= {
                    "status": "nonextractable",
                    "reason_code": "zero_effective_rows",
                    "effective_rows": 0,
                    "threshold": 50,
                }
            path.with_suffix(".status.json").write_text(json.dumps(status), encoding="utf-8")
