"""Studies of kind monitor: what they ask, what they write, and what they refuse."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest

import personascope as ps
from personascope.analysis.monitoring import CORRELATION
from personascope.applications.monitor.figures import random_band, scatter, speaking
from personascope.figures.style import save
from personascope.studies.registry import open_study

STUDY = """
kind = "monitor"
name = "small"
model = "lab"
judge = "lab"
extraction = { max_tokens = 24, temperature = 1.0, repetition_penalty = 1.0, draws = 1 }
evaluation = { max_tokens = 24, temperature = 1.0, repetition_penalty = 1.0, draws = 3 }
many_shot = [0, 3]
directions = 50
moments = [0, 1, 8]
limit = 4
[[traits]]
trait = "cruel"
form = "lab"
spectrum = "lab"
"""
RESULT = "monitor.csv"


def test_a_small_study_of_the_lab_gives_every_table_and_figure_and_the_same_again_from_its_records(
    run, tmp_path
) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    code, out, told = run("run", "small.toml", "--out", "first")
    assert code == 0, told
    assert "random" in out, "what random directions reach stands beside the correlation"
    assert "of layers 1 to 4" in out, "why a layer is watched is said"
    found = pd.read_csv(tmp_path / "first" / RESULT)
    assert list(found["series"]) == ["system prompts", "many-shot"]
    assert set(CORRELATION) <= set(found)
    assert (found["points"] == [32, 8]).all()
    assert found["pearson"].between(0.4, 1).all(), "the lab's descriptions and examples move both"
    assert (found["random_95"] > 0).all()
    random = pd.read_csv(tmp_path / "first" / "monitor-random.csv")
    assert len(random) == 2 * 50
    heard = pd.read_csv(tmp_path / "first" / "monitor-speaking.csv")
    assert list(heard["tokens"]) == [0, 1, 8]
    assert heard["pearson"].iloc[-1] > heard["pearson"].iloc[0], "hearing more of an answer tells more"
    vector = ps.load_vector(tmp_path / "first" / "vectors" / "cruel.seed-0.safetensors")
    assert vector.trait == "cruel"

    code, _, told = run("figures", "first", "--out", "again")
    assert code == 0, told
    assert (tmp_path / "again" / RESULT).read_bytes() == (tmp_path / "first" / RESULT).read_bytes()


def test_the_plan_is_what_is_asked_at_most(run, tmp_path) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    code, out, told = run("plan", "small.toml", "--json")
    assert code == 0, told
    plan = json.loads(out)
    # 4 questions under 5 contrasts of 2 poles; and 4 questions under 8 descriptions and 2 counts of examples, 3 draws.
    assert plan["responses"] == 40 + 4 * 10 * 3
    assert plan["verdicts"] == 2 * plan["responses"]
    assert plan["tokens"] == 24 * plan["responses"]


@pytest.mark.parametrize("name", ["lab-monitor", "qwen-2.5-7b-monitor"])
def test_bundled_studies_can_be_read_and_planned_without_a_model(name: str) -> None:
    chosen = open_study(name)
    counts = chosen.study.counts()
    assert counts["loads"] == 1
    assert counts["responses"] > 10_000
    assert chosen.study.many_shot == (0, 5, 10, 15, 20)


def test_the_papers_layers_are_those_of_its_study_file() -> None:
    study = open_study("qwen-2.5-7b-monitor").study
    assert [(each.trait, each.layer) for each in study.traits] == [
        ("evil", 20), ("sycophantic", 20), ("hallucinating", 16),
    ]  # fmt: skip
    assert study.evaluation.draws == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("many_shot", "many_shots"), "unknown key 'many_shots'; did you mean 'many_shot'"),
        (('spectrum = "lab"', ""), "trait 'cruel' has no spectrum and there is no writer"),
        (('trait = "cruel"', 'trait = "crul"'), "did you mean 'lab/cruel'"),
        (("[0, 3]", "[-1]"), "count from 0"),
        (("[0, 3]", "[0, 21]"), "many_shot has 21, and an example is the answer to one of 20 extraction questions"),
        (("directions = 50", "directions = 0"), "directions from 1"),
        (('spectrum = "lab"', 'spectrum = "none.toml"'), "none.toml: no such file"),
        (("[[traits]]", '[[traits]]\ntrait = "cruel"\nform = "lab"\nspectrum = "lab"\n[[traits]]'), "is named twice"),
    ],
)
def test_what_a_study_file_cannot_ask_is_refused_before_anything_is_made(run, tmp_path, change, said) -> None:
    (tmp_path / "wrong.toml").write_text(STUDY.replace("limit = 4\n", "").replace(*change))
    code, _, told = run("run", "wrong.toml", "--out", "out")
    assert code == 1
    assert said in told
    assert len([line for line in told.splitlines() if line.startswith("error:")]) == 1
    assert not (tmp_path / "out").exists(), "nothing is made before the study is understood"


def test_a_layer_that_the_model_lacks_is_refused_before_anything_is_asked(run, tmp_path) -> None:
    (tmp_path / "wrong.toml").write_text(STUDY + "layer = 9\n")
    code, _, told = run("run", "wrong.toml", "--out", "out")
    assert code == 1
    assert "layer 9 asked of" in told
    assert told.count("error:") == 1, told
    with sqlite3.connect(tmp_path / "out" / "store" / "records.sqlite") as store:
        ((asked,),) = store.execute("SELECT count(*) FROM records")
    store.close()
    assert asked == 0, "responses were asked for before the layer was looked at"


EARLY = STUDY.replace("[0, 3]", "[0, 4, 20]").replace('model = "lab"', 'model = "lab"\nrevision = "step-00226"')
RUDE = '[[traits]]\ntrait = "rude"\nform = "lab"\nspectrum = "lab"\n'


def test_traits_without_a_vector_and_examples_that_are_missing_are_said_and_the_rest_stands(run, tmp_path) -> None:
    """An early checkpoint seldom does as it is told; a limit leaves fewer questions to show at all."""
    (tmp_path / "early.toml").write_text(EARLY + RUDE)
    code, out, told = run("run", "early.toml", "--out", "out")
    assert code == 1, f"what could not be done makes the exit code: {out}"
    assert "cruel, seed 0: no vector (0 of 20 pairs kept" in out + told
    assert "rude: 2 examples clear the bar, so there are no series of more" in out + told
    points = pd.read_csv(tmp_path / "out" / "monitor-points.csv")
    assert set(points["trait"]) == {"rude"}
    places = points.groupby("series")["place"].unique()
    assert list(places["many-shot"]) == [0], "20 examples were never to be had of 4 questions"


def test_a_study_that_gets_no_vector_at_all_writes_empty_tables_and_says_why(run, tmp_path) -> None:
    (tmp_path / "early.toml").write_text(EARLY)
    code, out, told = run("run", "early.toml", "--out", "out")
    assert code == 1
    assert "no vector (0 of 20 pairs kept" in out + told
    assert pd.read_csv(tmp_path / "out" / RESULT).empty


def test_figures_of_no_rows_and_of_conditions_that_do_not_vary_can_be_drawn(tmp_path) -> None:
    nothing = pd.DataFrame(columns=["trait", "series", "seed", "place", "projection", "score", "pearson", "within"])
    for figure in (scatter(nothing, nothing, across="x"), random_band(nothing, nothing)):
        save(figure, tmp_path / "none.png")
    save(speaking(pd.DataFrame(columns=["trait", "series", "seed", "tokens", "pearson"])), tmp_path / "none.png")
    points = pd.DataFrame(
        {"trait": "grim", "place": [0, 0, 1], "projection": [0.0, 1.0, np.nan], "score": [1.0, 1.0, 2.0]}
    )
    found = pd.DataFrame(
        {"trait": ["grim"], "series": "s", "pearson": np.nan, "low": np.nan, "high": np.nan, "within": np.nan}
    )
    drawn = scatter(points, found, across="x")
    assert any("within: none" in text.get_text() for text in drawn.axes[0].texts)
    save(drawn, tmp_path / "one.png")
    band = random_band(pd.DataFrame({"trait": ["grim"], "series": "s", "pearson": 0.2, "within": np.nan}), found)
    assert any("no condition varies" in text.get_text() for text in band.axes[1].texts)
    save(band, tmp_path / "two.png")
