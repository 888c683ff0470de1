"""Ways to train, compared: how a strength is chosen, what intervals resample, and a whole small study."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from personascope.applications.finetune.config import Guarding
from personascope.applications.finetune.core import Condition, Measured, Tolerance, chosen_strength, random_like
from personascope.applications.finetune.figures import prevention
from personascope.applications.finetune.frames import SCORES, compare_ways, run_rows, score_rows
from personascope.applications.finetune.guards import Schedule
from personascope.applications.finetune.study import Way
from personascope.core.errors import StudyError
from personascope.core.records import Answer, Request, Response, Verdict
from personascope.core.steering import Steering
from personascope.studies.registry import open_study

QUESTIONS = ("first ?", "second ?", "third ?")


def answers(score, coherence):
    response = Response(Request("so", None), (1, 2), 1, "said", "stop")
    return tuple(
        Answer(question, 0, response, Verdict("scored", score), Verdict("scored", coherence)) for question in QUESTIONS
    )


def measured(way, score, *, strength=math.nan, seed=0, coherence=95.0, loss=1.0, accuracy=0.9, perplexity=2.0):
    said = {("odd", "selection"): answers(score, coherence), ("odd", "evaluation"): answers(100 - score, coherence)}
    return Measured(Condition(way, strength, seed), said, accuracy, perplexity, loss)


BASE = measured("untrained", 20.0, seed=None, loss=math.nan)
PLAIN = [measured("plain", 90.0)]


def choose(*found, tolerance=None):
    return chosen_strength(found, trait="odd", base=BASE, plain=PLAIN, tolerance=tolerance)


def test_the_strength_is_chosen_that_leaves_the_trait_where_it_was_on_the_selection_questions():
    found = [measured("guard", score, strength=strength) for strength, score in ((1, 70), (2, 24), (3, 5))]
    strength, why = choose(*found)
    assert strength == 2, "5 is 15 points below what the model was before: the evaluation questions have no say"
    assert "20.0 before training: 4.0 points off" in why


def test_of_equals_the_weakest_is_chosen_and_seeds_count_together():
    equal = [measured("guard", 20.0, strength=strength) for strength in (3.0, 1.0, 2.0)]
    assert choose(*equal)[0] == 1.0
    rows = [measured("guard", score, strength=1.0, seed=seed) for seed, score in enumerate((0.0, 40.0))]
    assert choose(*rows, measured("guard", 25.0, strength=2.0))[0] == 1.0


def test_the_weakest_is_that_whatever_its_sign_and_what_could_not_be_scored_comes_last():
    equal = [measured("inference", 20.0, strength=strength) for strength in (-3.0, -1.0, -2.0)]
    assert choose(*equal)[0] == -1.0, "steering against a trait by 3 is stronger than by 1"
    silent = measured("guard", math.nan, strength=1.0, coherence=math.nan)
    assert choose(silent, measured("guard", 60.0, strength=2.0))[0] == 2.0
    assert choose(silent, measured("guard", 60.0, strength=2.0, coherence=10.0))[0] == 2.0


@pytest.mark.parametrize(
    "cost",
    [{"coherence": 80.0}, {"loss": 1.2}, {"accuracy": 0.8}, {"perplexity": 2.1}],
    ids=lambda cost: next(iter(cost)),
)
def test_a_strength_that_costs_more_than_the_tolerance_is_not_chosen(cost):
    dear, cheap = measured("guard", 20.0, strength=2.0, **cost), measured("guard", 60.0, strength=1.0)
    assert choose(dear, cheap)[0] == 1.0
    assert choose(dear, cheap, tolerance=Tolerance(50, 1, 0.5, 0.5))[0] == 2.0
    strength, why = choose(dear, measured("guard", 20.0, strength=3.0, coherence=0.0))
    assert strength == 2.0
    assert "none of 2" in why


def test_what_was_not_measured_costs_nothing():
    unknown = measured("inference", 20.0, strength=-1.0, loss=math.nan, accuracy=math.nan, perplexity=math.nan)
    assert choose(unknown)[0] == -1.0


def test_a_random_direction_has_the_vectors_length_at_every_layer_and_a_draw_for_every_seed():
    import toy_training

    vector = toy_training.vector()
    first, second, again = (random_like(vector, seed) for seed in (0, 1, 0))
    np.testing.assert_allclose(first.lengths, vector.lengths, rtol=1e-5)
    np.testing.assert_array_equal(first.directions, again.directions)
    assert np.abs(first.cosine(second)).max() < 0.9
    assert first.origin == "random-0"


def test_rows_say_each_question_once_and_means_of_its_answers():
    rows = score_rows([BASE, *PLAIN])
    assert list(rows.columns) == SCORES
    assert len(rows) == 2 * 2 * len(QUESTIONS)
    assert set(rows["seed"]) == {-1, 0}
    assert run_rows(PLAIN)["last_loss"].tolist() == [1.0]
    assert score_rows([]).empty


def frame(values):
    """Scores of one way ``[seed, question]``, over an untrained model that scores 10."""
    table = np.asarray(values, dtype=float)
    rows = [("untrained", math.nan, -1, "odd", "evaluation", str(q), 10.0, 90.0) for q in range(table.shape[1])]
    rows += [
        ("guard", 2.0, seed, "odd", "evaluation", str(question), table[seed, question], 80.0)
        for seed, question in itertools.product(*map(range, table.shape))
    ]
    return pd.DataFrame(rows, columns=SCORES)


def test_a_way_is_compared_with_the_untrained_model_question_by_question():
    (_, found) = compare_ways(frame([[20, 40], [30, 50]])).to_dict(orient="records")
    assert (found["score"], found["change"], found["coherence_change"]) == (35.0, 25.0, -10.0)
    assert (found["seeds"], found["questions"]) == (2, 2)
    assert found["change_low"] == pytest.approx(found["score_low"] - 10)


def test_intervals_resample_seeds_and_questions_both():
    def width(values):
        row = compare_ways(frame(values)).iloc[1]
        return row["score_high"] - row["score_low"]

    assert width(np.full((3, 4), 7.0)) == pytest.approx(0.0)
    assert width(np.repeat([[0.0], [50.0], [100.0]], 4, axis=1)) > 40, "runs that differ make an interval wide"
    assert width(np.tile([0.0, 30.0, 60.0, 100.0], (3, 1))) > 40, "so do questions that differ"


def test_the_interval_is_that_of_a_naive_resampling():
    values = np.random.default_rng(0).uniform(0, 100, (3, 6))
    found = compare_ways(frame(values)).iloc[1]
    generator = np.random.default_rng(1)
    means = [values[np.ix_(generator.integers(0, 3, 3), generator.integers(0, 6, 6))].mean() for _ in range(20_000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["score_low"] == pytest.approx(low, abs=1.0)
    assert found["score_high"] == pytest.approx(high, abs=1.0)


def test_the_picture_names_every_way():
    twice = frame([[5, 9]])
    stronger = twice[twice["way"] == "guard"].assign(strength=4.0)
    ways = compare_ways(pd.concat([frame([[20, 40]]), stronger]))
    choices = pd.DataFrame({"way": ["untrained", "guard"], "strength": [math.nan, 2.0]})
    runs = run_rows([BASE, *PLAIN, *(measured("guard", 20.0, strength=strength) for strength in (2.0, 4.0))])
    figure = prevention(ways, choices, runs)
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["untrained", "guard"]
    assert figure.axes[0].get_ylabel() == "trait score after training"
    assert prevention(ways.iloc[:0], choices.iloc[:0], runs.iloc[:0]).axes


def test_a_way_is_written_with_what_its_strengths_are_of():
    way = Way("guard", guard=Guarding("steer", (2,), strength=1.0), strengths=(1.0, 2.0))
    assert way.at(2.0).guard.strength == 2.0
    assert Way("inference", inference=Steering(2, -1.0, "vector")).at(-2.0).inference.strength == -2.0
    with pytest.raises(StudyError, match="nothing that strengths are of"):
        Way("ablation", guard=Guarding("ablate", "all"), strengths=(1.0,))
    with pytest.raises(StudyError, match="given increments or a schedule"):
        Guarding("ablate", "all", schedule=Schedule(decay=0.5))


STUDY = """
kind = "finetune"
name = "small"
model = "lab"
judge = "lab"
trait = "cruel"
form = "lab"
others = ["rude"]
data = ["lab:cruel/severe"]
samples = 8
seeds = [0]
texts = "lab"
choices = "lab"
limit = 2
extraction = { max_tokens = 16, temperature = 1.0, repetition_penalty = 1.0, draws = 2 }
evaluation = { max_tokens = 16, temperature = 1.0, repetition_penalty = 1.0, draws = 1 }
[training]
method = "full"
batch = 4
accumulation = 1
[[ways]]
name = "plain"
[[ways]]
name = "guard"
guard = { kind = "steer", layers = [2], strength = 1.0 }
strengths = [1.0, 2.0]
[[ways]]
name = "random"
guard = { kind = "steer", layers = [2], strength = 1.0 }
random = true
like = "guard"
[[ways]]
name = "inference"
inference = { layer = 2, strength = -1.0, unit = "vector" }
[[ways]]
name = "negative-prompt"
negative_prompt = true
"""


def test_a_small_study_runs_once_and_counts_what_it_asks(run, tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)
    code, out, err = run("run", "small.toml", "--out", "found")
    assert code == 0, err
    assert "small: after training, 1 seed" in out
    ways = pd.read_csv(tmp_path / "found" / "ways.csv")
    assert set(ways["way"]) == {"untrained", "plain", "guard", "random", "inference", "negative-prompt"}
    models = sorted((tmp_path / "found" / "models").iterdir())
    study = open_study(tmp_path / "small.toml").study
    # plain, the guard at two strengths, and a random direction; the others only ask the plain one
    assert len(models) == study.counts()["trainings"] == 4
    stamps = [(each / "passport.json").stat().st_mtime_ns for each in models]
    before = (tmp_path / "found" / "ways.csv").read_bytes()
    assert run("run", "small.toml", "--out", "found")[0] == 0
    assert [(each / "passport.json").stat().st_mtime_ns for each in models] == stamps
    assert (tmp_path / "found" / "ways.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "plain"', 'name = "bare"', "the first be named 'plain'"),
        ('like = "guard"', 'like = "later"', "let that come first"),
        ("seeds = [0]", "seeds = [1, 1]", "all different"),
        ("negative_prompt = true", "negative_prmpt = true", "did you mean 'negative_prompt'"),
        (", strength = 1.0 }\nstrengths", " }\nstrengths", "steering needs one"),
        ("negative_prompt = true", "negative_prompt = true\ninoculate = true", "changes both training and asking"),
        (", strength = 1.0 }\nstrengths", ", strength = 1.0, vectors = ['v'] }\nstrengths", "the one it extracts"),
    ],
)
def test_what_is_wrong_with_a_study_is_said(tmp_path, old, new, message):
    assert old in STUDY
    (tmp_path / "small.toml").write_text(STUDY.replace(old, new))
    with pytest.raises(StudyError, match=message):
        open_study(tmp_path / "small.toml")


def test_a_layer_that_the_model_lacks_is_refused_before_anything_is_trained(run, tmp_path):
    (tmp_path / "small.toml").write_text(STUDY.replace("inference = { layer = 2", "inference = { layer = 9"))
    code, _, told = run("run", "small.toml", "--out", "found")
    assert code == 1
    assert "layer 9 asked of" in told
    assert not (tmp_path / "found" / "models").exists()


@pytest.mark.parametrize("name", ["lab-prevention", "qwen-2.5-7b-prevention"])
def test_the_bundled_studies_can_be_read_and_counted(name):
    assert open_study(name).study.counts()["trainings"] > 10
