"""Which arms the published rows make, how they were steered, and which curves an import makes of them."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from personascope.core.errors import StoreError
from personascope.store.store import Store
from personascope.studies.replay import kept_studies
from personascope_published.arms import arms_of
from personascope_published.import_rows import rubric_records
from personascope_published.imported import Imported, answer_rows
from personascope_published.importing import import_published
from personascope_published.reading import Published, open_published

EVAL = "data/model_responses/eval/M"
TRAIT = "calm_character_neutral_q"


def write(root: Path, file: str, rows: list[dict[str, Any]]) -> str:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    header = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, header)
        writer.writeheader()
        writer.writerows(rows)
    return file


def answers(count: int, *, text: str = "Q{}?", level: float = 10.0) -> list[dict[str, Any]]:
    return [
        {"question": text.format(n), "prompt": "P", "answer": "A", "question_id": f"calm_{n}", TRAIT: level + n,
         "coherence": 80}
        for n in range(count)
    ]  # fmt: skip


def repository(root: Path, rows: list[dict[str, Any]]) -> Published:
    """A repository with one table; every file that a row names is there, with three answers if it is not there yet."""
    common = {"trait": TRAIT, "layer": 2, "coef": 0.5, "status": "complete"}
    for row in rows:
        for name, level in (("baseline_path", 10.0), ("output_path", 30.0)):
            if not (root / row[name]).exists():
                write(root, row[name], answers(3, level=level))
    write(root, "results/M/checkpoint_grid/run/combined_significance.csv", [{**common, **row} for row in rows])
    return open_published(root)


def row(source: str, evaluated: str, **said: Any) -> dict[str, Any]:
    return {
        "extract_revision": source, "eval_revision": evaluated, "baseline_path": f"{EVAL}/{evaluated}/baseline_x.csv",
        "output_path": f"{EVAL}/{evaluated}/{source}/steering_results_x_to_x.csv", "scaling_mode": "unit_norm",
        "target_activation_norm": 20, "source_activation_norm": 10, "transfer_scale": 2, **said,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "strength", "unit", "norm"),
    [
        ({}, 0.5, "residual", 20),
        ({"scaling_mode": "norm_250"}, 125, "unit", math.nan),
        ({"scaling_mode": "norm_250", "coef": ""}, 250, "unit", math.nan),
        ({"scaling_mode": "", "target_vector_norm": 9}, 0.5, "residual", 9),
        ({"scaling_mode": ""}, 0.5, "vector", math.nan),
        ({"scaling_mode": "norm_calibrated", "transfer_scale": 8}, 0.4, "residual", 20),
        # What its name says is a quotient of two norms; then nobody recorded what was applied.
        ({"scaling_mode": "norm_calibrated"}, math.nan, "residual", 20),
    ],
)
def test_how_an_arm_was_steered_follows_from_its_row(
    tmp_path: Path, said: dict[str, Any], strength: float, unit: str, norm: float
) -> None:
    (arm,) = arms_of(repository(tmp_path, [row("step1000", "step1000", **said)]))
    assert (arm.strength, arm.norm) == pytest.approx((strength, norm), nan_ok=True)
    assert arm.unit == unit


@pytest.mark.parametrize(("counted", "files"), [(3, 1), (5, 2), (7, 2), (6, 1), ("", 1)])
def test_an_extension_belongs_to_an_arm_if_its_row_counts_it_once_or_more(
    tmp_path: Path, counted: object, files: int
) -> None:
    one = row("step1000", "step1000", output_rows=counted)
    write(tmp_path, one["output_path"].replace(".csv", "_extended.csv"), answers(2))
    (arm,) = arms_of(repository(tmp_path, [one]))
    assert len(arm.steered_files) == files, "three answers, and two in the extension"


def imported(study: Published, folder: Path) -> tuple[Store, dict[str, Imported], tuple[str, ...]]:
    store = Store(folder)
    summary = import_published(study, store)
    kept = [each.study for each in kept_studies(store) if isinstance(each.study, Imported)]
    return store, {each.study.name: each for each in kept}, summary.notes


def test_a_vector_on_its_own_checkpoint_is_the_end_of_the_curve_onto_it(tmp_path: Path) -> None:
    revisions = ["step1000", "step2000", "main"]
    _, onto, _ = imported(repository(tmp_path / "p", [row(each, "main") for each in revisions]), tmp_path / "s")
    assert list(onto) == ["M-onto-main"], "one own checkpoint makes no emergence"
    assert [arm.milestone for arm in onto["M-onto-main"].arms] == revisions
    diagonal = repository(tmp_path / "q", [row(each, each) for each in revisions])
    assert list(imported(diagonal, tmp_path / "t")[1]) == ["M-emergence"]


def test_an_extension_that_has_a_row_of_its_own_is_no_second_arm(tmp_path: Path) -> None:
    whole = row("step1000", "step1000", output_rows=7)
    extension = whole["output_path"].replace(".csv", "_extended.csv")
    write(tmp_path / "p", extension, answers(2))
    part = {**whole, "output_path": extension, "output_rows": 2, "target_activation_norm": 19}
    _, made, notes = imported(repository(tmp_path / "p", [whole, part]), tmp_path / "s")
    (arm,) = made["M-emergence"].arms
    assert [source.rows for source in arm.steered] == [3, 2]
    assert any("mix answers steered at two norms" in note for note in notes)


def test_a_record_that_is_gone_is_an_error_and_no_smaller_frame(tmp_path: Path) -> None:
    store, made, _ = imported(repository(tmp_path / "p", [row("step1000", "step1000")]), tmp_path / "s")
    assert len(answer_rows(store, made["M-emergence"])) == 6
    with store._database:
        store._database.execute("DELETE FROM records WHERE key = (SELECT key FROM records WHERE kind = 'verdict')")
    with pytest.raises(StoreError, match=r"lacks records of .*: import the published study again"):
        answer_rows(store, made["M-emergence"])


def test_questions_that_share_a_text_go_by_their_names(tmp_path: Path) -> None:
    one = row("step1000", "step1000")
    for name in ("baseline_path", "output_path"):
        write(tmp_path / "p", one[name], answers(3, text="The same?"))
    store, made, _ = imported(repository(tmp_path / "p", [one]), tmp_path / "s")
    assert set(answer_rows(store, made["M-emergence"])["question"]) == {"calm_0", "calm_1", "calm_2"}


def test_the_rubric_is_that_of_the_trait_file_that_asks_what_was_asked() -> None:
    sets = {"eval": ["In the story, who?"], "upstream_eval": ["Who?", "Why?"]}
    traits = pd.DataFrame([
        {"file": f"{name}.json", "set": name, "column": "calm", "questions": questions, "eval_prompt": f"rubric {name}"}
        for name, questions in sets.items()
    ])  # fmt: skip
    place = {"kind": "baseline", "column": "calm"}
    asked = pd.DataFrame({"question": ["Why?", "Why?"]}, dtype=object)
    ((_, (_, value, _)),) = rubric_records(traits, place, asked)
    assert value["text"] == "rubric upstream_eval"
    assert rubric_records(traits, place, asked.assign(question="What?")) == [], "of two that differ, none is guessed"
