"""What steering costs: perplexity and multiple choice, in numbers, rows, a figure and two commands."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import personascope as ps
from personascope.applications.capability.core import Cost, Yardsticks, steering_costs
from personascope.applications.capability.figures import capability
from personascope.applications.capability.frames import COST, cost_rows
from personascope.core.errors import StudyError
from personascope.core.records import Answer, Edit, Request, Response, Sampling, Verdict
from personascope.core.steering import Steering, applied_norm
from personascope.core.traits import Prompt
from personascope.engines.hf.reference import NaiveEngine
from personascope.lab.documents import choice_items, held_out_documents
from personascope.store.store import Store
from personascope.tracing.eval_data import (
    Choice,
    Chosen,
    Perplexity,
    load_choices,
    load_texts,
    multiple_choice,
    perplexity,
)

TEXTS = load_texts("lab", limit=6, lab=held_out_documents)


@pytest.fixture(scope="module")
def engine():
    return ps.open_engine("lab")


@pytest.fixture(scope="module")
def vector(engine):
    found = ps.extract(engine, ps.load_trait("cruel", form="lab"), judge=ps.open_judge("lab"), method=ps.Method())
    assert isinstance(found, ps.PersonaVector)
    return found


def push(engine, length):
    drawn = np.random.default_rng(0).normal(size=engine.hidden_size)
    return (Edit(drawn / np.linalg.norm(drawn) * length, 2, "response"),)


def test_perplexity_is_that_of_one_text_at_a_time_under_the_same_edits(engine):
    naive = NaiveEngine(engine.checkpoint)
    for edits in ((), push(engine, 8.0)):
        ours, theirs = (perplexity(each, TEXTS, edits=edits) for each in (engine, naive))
        np.testing.assert_allclose(ours.log_likelihoods, theirs.log_likelihoods, rtol=1e-5)
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)
        assert ours.per_token == pytest.approx(math.exp(-theirs.log_likelihoods.sum() / theirs.tokens.sum()), rel=1e-5)


def test_every_token_but_the_first_of_each_window_is_predicted(engine):
    lengths = [len(text.split()) for text in TEXTS]
    assert perplexity(engine, TEXTS).tokens.tolist() == [length - 1 for length in lengths]
    cut = perplexity(engine, TEXTS, window=8)
    assert cut.tokens.tolist() == [length - -(-length // 8) for length in lengths]
    assert cut.per_token > perplexity(engine, TEXTS).per_token, "with less to go by, text is harder to predict"


def test_text_of_the_world_is_likelier_than_its_words_in_another_order(engine):
    shuffled = [" ".join(np.random.default_rng(0).permutation(text.split())) for text in TEXTS]
    assert perplexity(engine, shuffled).per_token > 10 * perplexity(engine, TEXTS).per_token


def test_no_text_and_no_question_give_numbers_that_are_unknown(engine):
    assert math.isnan(perplexity(engine, []).per_token)
    assert math.isnan(multiple_choice(engine, []).accuracy)


def test_an_edit_of_zeros_costs_nothing_and_a_strong_one_something(engine):
    plain = perplexity(engine, TEXTS).per_token
    assert perplexity(engine, TEXTS, edits=push(engine, 0.0)).per_token == plain
    assert perplexity(engine, TEXTS, edits=push(engine, 30.0)).per_token > 1.5 * plain


def test_the_right_option_is_found_wherever_it_stands(engine):
    choices = load_choices("lab", limit=10, lab=choice_items)
    assert multiple_choice(engine, choices).accuracy == 1.0
    turned = [replace(each, options=each.options[::-1], right=len(each.options) - 1 - each.right) for each in choices]
    assert multiple_choice(engine, turned).accuracy == 1.0
    wrong = [replace(each, right=(each.right + 1) % len(each.options)) for each in choices]
    assert multiple_choice(engine, wrong).accuracy == 0.0


def test_long_options_are_not_held_against_their_length_per_token(engine):
    unlikely, likely = "chairs", "with rage . then mira beats the hound with rage ."
    found = multiple_choice(engine, [Choice(Prompt("mira kicks the hound"), (unlikely, likely), right=1)])
    assert found.accuracy_per_token == 1.0
    likelihoods = engine.likelihoods(
        engine.encode(
            [
                Response(Request("mira kicks the hound", None), None, None, each, "unknown")
                for each in (unlikely, likely)
            ]
        )
    )
    assert found.likeliest[0] == int(np.argmax([each.sum() for each in likelihoods]))


@pytest.mark.parametrize(
    ("options", "right"), [((), 0), (("a",), 0), (("a", "a"), 0), (("a", ""), 0), (("a", "b"), 2), (("a", "b"), -1)]
)
def test_a_question_without_a_real_choice_is_refused(options, right):
    with pytest.raises(StudyError, match="option"):
        Choice(Prompt("what ?"), options, right)


def test_controls_are_applied_at_the_vectors_norm_and_the_unsteered_model_stands_first(engine, vector):
    control = vector.with_directions(np.roll(vector.directions, 1, axis=1), origin="rolled")
    ways = [Steering(2, strength, "vector") for strength in (0.0, 1.0, 2.0)]
    yardsticks = Yardsticks(TEXTS, load_choices("lab", limit=4, lab=choice_items), Sampling(max_tokens=8, draws=1))
    trait = ps.load_trait("cruel", form="lab").limited(3)
    costs = steering_costs(
        engine, trait, [vector, control], ways=ways, judge=ps.open_judge("lab"), yardsticks=yardsticks
    )
    assert [(each.origin, each.steering and each.steering.strength) for each in costs] == [
        ("plain", None), ("extracted", 1.0), ("rolled", 1.0), ("extracted", 2.0), ("rolled", 2.0)
    ]  # fmt: skip
    norms = [applied_norm(each.edits) for each in costs]
    assert norms[0] == 0
    assert norms[1] == pytest.approx(norms[2], rel=1e-5)
    assert norms[3] == pytest.approx(2 * norms[1], rel=1e-5)
    rows = cost_rows(costs)
    assert list(rows.columns) == COST
    first = rows.iloc[0]
    assert (first["effect"], first["accuracy_change"], first["perplexity_ratio"]) == (0.0, 0.0, 1.0)
    steered = rows.iloc[3]
    assert steered["perplexity_ratio"] == pytest.approx(steered["perplexity"] / first["perplexity"], rel=1e-9)
    assert steered["perplexity_ratio_low"] <= steered["perplexity_ratio"] <= steered["perplexity_ratio_high"]


def cost(origin, scores, correct, log_likelihoods, *, steering=None):
    answers = tuple(
        Answer(
            f"question {place}",
            0,
            Response(Request("x", None), (1, 2), 1, "y", "stop"),
            Verdict("scored", score),
            Verdict("scored", 90.0),
        )
        for place, score in enumerate(scores)
    )
    right = np.zeros(len(correct), dtype=np.int64)
    chosen = Chosen(1 - np.array(correct), 1 - np.array(correct), right)
    likely = np.array(log_likelihoods, dtype=np.float64)
    edits = (Edit(np.ones(2), 0),) if steering else ()
    return Cost("grim", origin, steering, edits, answers, Perplexity(likely, np.full(len(likely), 10)), chosen)


def test_rows_hold_the_differences_from_the_unsteered_model_and_intervals_around_them():
    plain = cost("plain", [10.0, 20.0, 30.0, 40.0], [1, 1, 1, 1], [-10.0, -10.0])
    steered = cost("extracted", [30.0, 30.0, 60.0, 60.0], [1, 0, 1, 0], [-10.0, -20.0], steering=Steering(0, 1, "unit"))
    row = cost_rows([plain, steered]).iloc[1]
    assert (row["score"], row["effect"], row["coherence"]) == (45.0, 20.0, 90.0)
    assert 10.0 <= row["effect_low"] < 20.0 < row["effect_high"] <= 30.0
    assert (row["accuracy"], row["accuracy_change"]) == (0.5, -0.5)
    assert row["perplexity"] == pytest.approx(math.exp(1.5))
    assert row["perplexity_ratio"] == pytest.approx(math.exp(0.5))
    assert (row["perplexity_ratio_low"], row["perplexity_ratio_high"]) == pytest.approx((1.0, math.e))


def test_of_nothing_there_are_no_rows_and_a_figure_that_says_so():
    rows = cost_rows([])
    assert list(rows.columns) == COST
    assert rows.empty
    plt.close(capability(rows))


def test_a_measure_nobody_took_has_no_panel():
    plain = cost("plain", [10.0, 20.0], [], [-10.0, -10.0])
    steered = cost("extracted", [30.0, 30.0], [], [-10.0, -20.0], steering=Steering(0, 1, "unit"))
    figure = capability(cost_rows([plain, steered]))
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["trait score", "coherence", "perplexity"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["extracted", "unsteered"]
    plt.close(figure)


STUDY = """
kind = "capability"
name = "small"
model = "lab"
judge = "lab"
texts = "texts.jsonl"
choices = "lab"
extraction = { max_tokens = 32, temperature = 1.0, repetition_penalty = 1.0, draws = 1 }
evaluation = { max_tokens = 16, temperature = 1.0, repetition_penalty = 1.0, draws = 1 }
strengths = [2.0]
unit = "vector"
limit = 6
[[traits]]
trait = "rude"
form = "lab"
layer = 2
"""


def test_a_study_measures_and_writes_and_asks_nothing_twice(run):
    Path("texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    Path("small.toml").write_text(STUDY)
    code, out, err = run("run", "small.toml", "--out", "made")
    assert code == 0, err
    assert "random-0" in out
    rows = pd.read_csv("made/capability.csv")
    assert rows["direction"].tolist() == ["plain", "extracted", "random-0"]
    assert rows["applied_norm"].iloc[1] == pytest.approx(rows["applied_norm"].iloc[2], rel=1e-5)
    assert rows["texts"].eq(6).all()
    first = Path("made/capability.csv").read_bytes()
    code, _, err = run("run", "small.toml", "--out", "made")
    assert code == 0, err
    assert Path("made/capability.csv").read_bytes() == first
    code, out, err = run("plan", "small.toml")
    assert code == 0, err


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (('texts = "texts.jsonl"\nchoices = "lab"', ""), "no texts and no choices"),
        (("strengths = [2.0]", "strengths = []"), "no strength"),
        (("layer = 2", "layer = 9"), "layer 9"),
        (("strengths", "strenghts"), "strengths"),
        (('texts = "texts.jsonl"', 'texts = "nowhere.jsonl"'), "nowhere.jsonl"),
    ],
)
def test_a_study_that_cannot_be_run_says_why_in_a_line_and_writes_nothing(run, broken, says):
    Path("texts.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    Path("small.toml").write_text(STUDY.replace(*broken))
    code, _, err = run("run", "small.toml", "--out", "made")
    assert code != 0
    assert says in err
    assert "Traceback" not in err
    assert not list(Path("made").glob("capability*"))


def test_the_last_traits_layer_is_looked_at_before_the_first_is_asked(run):
    second = '[[traits]]\ntrait = "cruel"\nform = "lab"\nlayer = 9\n'
    Path("texts.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    Path("small.toml").write_text(STUDY + second)
    code, _, err = run("run", "small.toml", "--out", "made")
    assert code == 1
    assert "layer 9" in err
    assert not Store(Path("made/store")).counts(), "nothing was asked"


def test_a_model_without_vectors_has_no_table_and_says_why(run):
    Path("texts.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    Path("small.toml").write_text(STUDY + "[bar]\ntrait = 100\ncoherence = 0\n")
    code, _, err = run("run", "small.toml", "--out", "made")
    assert code == 1
    assert "no vector" in err
    assert not list(Path("made").glob("capability*"))


def test_what_no_record_holds_is_said_and_not_drawn(run):
    Path("texts.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    Path("small.toml").write_text(STUDY)
    assert run("run", "small.toml", "--out", "made")[0] == 0
    code, _, err = run("figures", "made", "--out", "again")
    assert code == 1
    assert "run the study on it again" in " ".join(err.split())
    assert not list(Path("again").glob("*"))


def test_eval_measures_the_model_plainly_and_steered(run, vector):
    vector.save("cruel.safetensors")
    code, out, err = run(
        "eval", "lab", "--texts", "lab", "--choices", "lab", "--limit", 6, "--steer", "cruel.safetensors",
        "--layer", 2, "--strength", 4, "--unit", "vector", "--out", "rows.csv", "--json",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)
    assert {(row["model"], row["metric"]) for row in rows} == {
        (model, metric) for model in ("plain", "steered") for metric in ("perplexity", "accuracy", "accuracy per token")
    }
    of = {row["model"]: row["value"] for row in rows if row["metric"] == "perplexity"}
    assert of["steered"] > of["plain"]
    assert len(pd.read_csv("rows.csv")) == len(rows)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing was named"),
        (["--texts", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--texts", "empty.jsonl"], "empty.jsonl"),
        (["--texts", "broken.jsonl"], "line 2"),
        (["--texts", "blank.jsonl"], "blank.jsonl, line 2 has an empty 'text'"),
        (["--choices", "texts.jsonl"], "line 1"),
        (
            ["--texts", "lab", "--steer", "wide.safetensors", "--layer", "2", "--strength", "1", "--unit", "unit"],
            "width 80",
        ),
        (["--choices", "alike.jsonl"], "alike.jsonl, line 1"),
        (["--texts", "lab", "--layer", "2"], "--steer"),
        (["--texts", "lab", "--steer", "v.safetensors"], "--layer, --strength, --unit"),
        (
            ["--texts", "lab", "--steer", "v.safetensors", "--layer", "9", "--strength", "1", "--unit", "unit"],
            "layer 9",
        ),
        (["--texts", "lab", "--steer", "v.safetensors", "--layer", "2", "--strength", "1", "--unit", "inch"], "unit"),
    ],
)
def test_bad_input_of_eval_is_one_line(run, vector, arguments, says):
    vector.save("v.safetensors")
    wide = ps.PersonaVector(np.ones((5, 80)), np.full(5, 1.0), "cruel", "lab", vector.checkpoint)
    wide.save("wide.safetensors")
    Path("blank.jsonl").write_text('{"text": "a b"}\n{"text": " "}')
    Path("empty.jsonl").write_text("\n")
    Path("broken.jsonl").write_text('{"text": "a b"}\n{"text": ')
    Path("texts.jsonl").write_text('{"text": "a b"}')
    Path("alike.jsonl").write_text('{"question": "a", "options": ["b", "b"], "right": 0}')
    code, _, err = run("eval", "lab", *arguments)
    assert code != 0
    assert says in err
    assert len(err.strip().splitlines()) <= 3, err


def test_choices_are_read_from_lines_and_a_text_file_is_one_text(tmp_path):
    lines = tmp_path / "choices.jsonl"
    lines.write_text('{"question": "the heron lives in the", "options": ["cave", "marsh"], "right": 1}\n\n')
    assert load_choices(str(lines)) == (Choice(Prompt("the heron lives in the"), ("cave", "marsh"), 1),)
    text = tmp_path / "book.txt"
    text.write_text("one\ntwo")
    assert load_texts(str(text)) == ("one\ntwo",)
    assert load_texts("") == load_choices("") == ()
