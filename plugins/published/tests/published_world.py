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

from pathlib import Path

import naive_statistics as naive
import published_tables
from published_names import (
    AWKWARD,
    LAYERS,
    MODEL,
    QUESTIONS,
    REVISIONS,
    TARGETS,
    TRAITS,
    TRANSFER,
    WIDTH,
    Answers,
    World,
    baseline_file,
    column,
    draw,
    grid_revisions,
    ids_of,
    norm_of,
    results_file,
    steered_file,
    transfer_files,
    vector_file,
    write_answers,
    write_csv,
)

__all__ = [
    "AWKWARD",
    "LAYERS",
    "MODEL",
    "QUESTIONS",
    "REVISIONS",
    "TARGETS",
    "TRAITS",
    "TRANSFER",
    "WIDTH",
    "Answers",
    "World",
    "baseline_file",
    "build",
    "column",
    "draw",
    "grid_revisions",
    "ids_of",
    "norm_of",
    "results_file",
    "steered_file",
    "transfer_files",
    "vector_file",
    "write_answers",
    "write_csv",
    "write_results",
]  # fmt: skip


def build(root: Path, *, vectors: bool = True) -> World:
    """Writes the repository. Without ``vectors`` no tensor is written, and torch is not imported."""
    world = World(root)
    published_tables.write_traits(world)
    _write_extraction(world)
    _write_evaluation(world)
    _write_transfer(world)
    _write_ablation(world)
    _write_grids(world)
    published_tables.write_tables(world)
    if vectors:
        published_tables.write_vectors(world)
    return world


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
    if said["status"] == "raw_output":  # nothing was paired
        row = {name: value for name, value in row.items() if "paired" not in name and "question" not in name}
        row = {name: value for name, value in row.items() if "_p_" not in name}
    else:
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
