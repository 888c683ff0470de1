"""Residual norms, against taking them by hand; and the verbs norms and steer."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

import personascope as ps
from personascope.core.records import Sampling
from personascope.engines.scripted import scripted_lineage
from personascope.tracing.extraction import residual_norms
from personascope.tracing.generation import respond
from personascope.tracing.norms import measure_norms
from scripted_world import TRAITS

SAMPLING = Sampling(max_tokens=12, draws=2)


def test_norms_are_those_of_plain_answers_taken_by_hand():
    lineage, open_one = scripted_lineage(TRAITS, [0.5, 1.0])
    found = measure_norms(lineage, TRAITS, open_engine=open_one, sampling=SAMPLING)
    assert len(found) == 2 * 2 * 5
    engine, trait = open_one(lineage.milestones[1].checkpoint), TRAITS[1]
    said = respond(engine, list(trait.evaluation_questions), sampling=SAMPLING)
    for norm in (each for each in found if each.milestone.label == "step-1" and each.trait == trait.name):
        streams = [engine._stream(each, norm.layer) for each in said]
        tokens = [np.linalg.norm(s[each.response_start :], axis=1) for s, each in zip(streams, said, strict=True)]
        answers = [each.mean() for each in tokens if len(each)]
        assert norm.mean == pytest.approx(np.mean(answers), rel=1e-5), "each answer weighs the same"
        assert norm.deviation == pytest.approx(np.std(answers, ddof=1), rel=1e-4)
        assert (norm.count, norm.tokens) == (len(answers), sum(map(len, tokens)))
        assert norm.token_mean == pytest.approx(np.concatenate(tokens).mean(), rel=1e-5), "each token weighs the same"
        last = [np.linalg.norm(s[each.response_start - 1]) for s, each in zip(streams, said, strict=True)][::2]
        assert norm.questions == len(last) == 8
        assert norm.last_prompt_mean == pytest.approx(np.mean(last), rel=1e-5), "a question counts once"
        assert norm.mean == pytest.approx(residual_norms(engine, said)[norm.layer], rel=1e-6), (
            "the norm that steering is measured by is the one that is reported"
        )


def test_a_checkpoint_that_is_not_there_is_a_row_that_says_so():
    lineage, open_one = scripted_lineage(TRAITS, [1.0, None])
    found = measure_norms(lineage, TRAITS[:1], open_engine=open_one, sampling=SAMPLING)
    absent = [each for each in found if each.milestone.label == "step-1"]
    assert len(absent) == 1
    assert math.isnan(absent[0].mean)
    assert "scripted to be missing" in absent[0].reason


WAY = ["--milestone", "step-02000", "--limit", 2, "--draws", 1, "--max-tokens", 6, "--store", "s"]


def test_norms_are_written_as_csv_and_json_of_the_same(run, tmp_path):
    code, said, message = run("norms", "lab", "cruel", "rude", *WAY)
    assert code == 0, message
    assert "mean residual norm by layer" in said
    with (tmp_path / "norms.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    written = json.loads((tmp_path / "norms.json").read_text())
    assert [(row["trait"], int(row["layer"])) for row in rows] == [(t, k) for t in ("cruel", "rude") for k in range(5)]
    assert [float(row["mean"]) for row in rows] == [each["mean"] for each in written["norms"]]
    assert written["sampling"]["max_tokens"] == 6
    means = [float(row["mean"]) for row in rows[:5]]
    assert means == sorted(means), "the lab's stream grows from layer to layer"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "cruel"], "nowhere"),
        (["lab", "cruell"], "did you mean 'lab/cruel'"),
        (["lab", "cruel", "--milestone", "step-1"], "milestone 'step-1' is not in lineage 'lab'"),
        (["lab", "cruel", "--out", "."], "is to be written as a file and is a folder"),
    ],
)
def test_what_norms_cannot_do_is_said_in_one_line(run, arguments, said):
    code, _, message = run("norms", *arguments)
    assert code == 1
    assert said in message
    assert message.count("\n") == 1, message


# Steer.


@pytest.fixture
def vector(tmp_path):
    directions = np.random.default_rng(0).normal(size=(5, 64))
    found = ps.PersonaVector(directions, np.ones(5), "cruel", "lab", ps.Checkpoint("toy"))
    found.save(tmp_path / "v.safetensors")
    return found


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--operation", "ablate"], "layer 2, where response: the projection ablated"),
        (["--operation", "cap", "--strength", -3, "--unit", "unit"], "projection capped at strength -3 x unit"),
        (["--operation", "cap", "--strength", 0.5, "--unit", "quantile", "--trait", "rude"], "0.5 x quantile"),
        (
            ["--layer", 3, "--increments", "--strength", 2, "--unit", "vector"],
            "layers 2, 3, where response: strength 2",
        ),
        (["--strength", 0.5, "--unit", "residual", "--residual-norm", 300], "strength 0.5 x residual"),
    ],
)
def test_a_model_is_steered_in_every_way_that_a_study_can_say(run, vector, options, title):
    way = ["--vector", "v.safetensors", "--layer", 2, "--max-tokens", 4, "--store", "s", *options]
    code, said, message = run("steer", "lab", "hello there", *way)
    assert code == 0, message
    assert title in " ".join(said.split())
    code, said, message = run("steer", "lab", "hello there", *way, "--json")
    assert set(json.loads(said)[0]) == {"prompt", "plain", "steered"}, message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs a --strength and its --unit"),
        (["--strength", 1], "needs a --strength and its --unit"),
        (["--operation", "ablate", "--strength", 2], "give strength 1 and unit 'unit'"),
        (["--operation", "remove", "--strength", 1, "--unit", "unit"], "operation"),
        (["--strength", 0.5, "--unit", "quantile"], "'cap', with a strength from 0 to 1"),
        (["--strength", 0.5, "--unit", "unit", "--residual-norm", 3], "a residual_norm was given"),
        (["--operation", "ablate", "--trait", "rude"], "--trait rude measures"),
    ],
)
def test_a_way_to_steer_that_means_nothing_is_refused_in_one_line(run, vector, options, said):
    code, _, message = run("steer", "lab", "hello", "--vector", "v.safetensors", "--layer", 2, *options)
    assert code == 1
    assert said in message
    assert message.count("\n") == 1, message
