"""What ``published_world`` has beside answers and results: traits, norms, rates, controls, facets, vectors."""

from __future__ import annotations

import json

from published_names import (
    LAYERS,
    MODEL,
    QUESTIONS,
    REVISIONS,
    TARGETS,
    TRAITS,
    WIDTH,
    World,
    column,
    grid_revisions,
    norm_of,
    results_file,
    vector_file,
    write_csv,
)


def write_traits(world: World) -> None:
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


def write_tables(world: World) -> None:
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
    write_controls(world)
    write_facets(world)
    grid = results_file("boastful_diagonal_v1").rsplit("/", 1)[0]
    similar = f"{grid}/vector_similarity/vector_cosine_to_main_{column(TRAITS[0])}_layer2.csv"
    header = ["revision", "cosine_similarity_to_main"]
    write_csv(world.path(similar), header, [[revision, 0.5] for revision in REVISIONS])


def write_controls(world: World) -> None:
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


def write_facets(world: World) -> None:
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


def write_vectors(world: World) -> None:
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
