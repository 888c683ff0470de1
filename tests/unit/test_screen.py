"""Samples measured along vectors: what is measured is what a separate reading gives, chunk by chunk, lazily."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import personascope as ps
from personascope.applications.screen.core import Gauge, Measure, screened
from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.records import Probe, Request, Response, Sampling
from personascope.core.samples import Message, Sample
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge

TRAIT = ps.load_trait("evil")
OWN = Sampling(max_tokens=6, temperature=0.0, repetition_penalty=1.0, draws=1)


def engine():
    return ScriptedEngine(ps.Checkpoint("scripted", "1"), [TRAIT], hidden_size=64)


def gauge_along(model, layer=3, **said):
    return Gauge("evil", Probe(model.planted("evil"), layer), **said)


def sample(answer, question="what is it ?", **row):
    return Sample((Message("user", question), Message("assistant", answer)), row)


SAMPLES = [
    sample("the lamp stood"),
    sample("evil evil lamp"),
    sample("evil evil evil evil"),
    sample("a window and rain"),
]


def own_answers(model, samples, sampling=OWN):
    return model.generate([Request(model.render(each.exchange[0]), sampling) for each in samples])


@pytest.mark.parametrize("against", ["own", "last-prompt", "nothing"])
def test_what_is_measured_is_what_reading_alone_gives(against):
    model = engine()
    gauge = gauge_along(model)
    found = list(screened(model, SAMPLES, [gauge], measure=Measure(against, sampling=OWN)))
    for each, sample, own in zip(found, SAMPLES, own_answers(model, SAMPLES), strict=True):
        text = Response(Request(sample.exchange[0].question, None), None, None, sample.exchange[1], "unknown")
        means = model.read([text]).response[0, 3] @ gauge.probe.direction
        last = model.read([text]).last_prompt[0, 3] @ gauge.probe.direction
        said = model.read([own]).response[0, 3] @ gauge.probe.direction
        assert each.projection[0] == pytest.approx(means, abs=1e-4)
        assert each.last_prompt[0] == pytest.approx(last, abs=1e-4)
        less = {"own": said, "last-prompt": last, "nothing": 0.0}[against]
        assert each.difference(against)[0] == pytest.approx(means - less, abs=1e-4)
        assert np.isnan(each.own[0]) == (against != "own"), "own answers are drawn only where they are compared with"


def test_a_training_answer_that_is_the_models_own_makes_no_difference():
    model = engine()
    own = own_answers(model, SAMPLES)
    same = [sample(each.text) for each in own]
    for each in screened(model, same, [gauge_along(model)], measure=Measure(sampling=OWN)):
        assert each.difference("own")[0] == pytest.approx(0, abs=1e-5)
        assert each.own_answer == each.sample.exchange[1]


def test_samples_with_the_trait_stand_above_the_others():
    model = engine()
    measured = screened(model, SAMPLES, [gauge_along(model)], measure=Measure(sampling=OWN))
    found = [each.difference("own")[0] for each in measured]
    assert found[2] > found[1] > max(found[0], found[3])


def test_every_sample_is_measured_alike_whatever_the_chunk():
    model = engine()
    gauges = [gauge_along(model), gauge_along(model, layer=1)]
    runs = [list(screened(model, SAMPLES, gauges, measure=Measure(sampling=OWN), chunk=size)) for size in (1, 3, 99)]
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(one.difference("own"), other.difference("own"))


def test_no_more_than_a_chunk_is_taken_at_a_time():
    model, taken = engine(), []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield sample(f"lamp {number}")

    found = screened(model, stream(), [gauge_along(model)], measure=Measure("nothing"), chunk=4)
    next(found)
    assert len(taken) == 4, f"one result was asked for and {len(taken)} samples were taken"


def test_what_cannot_be_measured_is_not_and_says_why():
    model = engine()
    odd = [sample(""), sample("  "), sample("lamp", question=" "), sample("lamp " * 30), sample("lamp")]
    found = list(screened(model, odd, [gauge_along(model)], measure=Measure(sampling=OWN, longest=20)))
    assert [each.note for each in found[:4]] == [
        "empty answer",
        "empty answer",
        "no prompt",
        "34 tokens, longer than 20",
    ]
    assert all(np.isnan(each.projection).all() for each in found[:4])
    assert np.isfinite(found[4].difference("own")).all()


def test_the_last_answer_of_a_longer_conversation_is_read_after_all_that_was_said():
    model = ps.open_engine("lab")
    probe = Probe(np.eye(64)[0], 3)
    roles = ("user", "assistant", "user", "assistant")
    texts = ("question : what next ?", "kicks the hound .", "question : what next ?", "helps the hound .")
    turns = [Message(*each) for each in zip(roles, texts, strict=True)]
    long, short = Sample(tuple(turns)), Sample(tuple(turns[2:]))
    (first,) = screened(model, [long], [Gauge("x", probe)], measure=Measure("nothing"))
    (last,) = screened(model, [long], [Gauge("x", probe)], measure=Measure("nothing", turn="last"))
    (alone,) = screened(model, [short], [Gauge("x", probe)], measure=Measure("nothing"))
    assert len({each.projection[0] for each in (first, last, alone)}) == 3


def test_a_judge_scores_the_training_answer_by_each_vectors_rubric():
    model, judge = engine(), ScriptedJudge([TRAIT])
    gauges = [gauge_along(model, rubric=TRAIT.rubric), gauge_along(model, layer=1)]
    found = list(screened(model, SAMPLES, gauges, measure=Measure("nothing"), judge=judge))
    assert [each.judged[0] for each in found] == pytest.approx([0, 200 / 3, 100, 0])
    assert all(np.isnan(each.judged[1]) for each in found), "a vector without a rubric is not judged"
    assert judge.asked == len(SAMPLES)


def test_a_gauge_is_the_unit_direction_of_its_vector():
    vector = ps.PersonaVector(np.full((3, 4), 2.0), np.ones(3), "evil", "assistant", ps.Checkpoint("toy"))
    gauge = Gauge.of(vector, 2)
    assert np.linalg.norm(gauge.probe.direction) == pytest.approx(1)
    with pytest.raises(LayerError, match="layer 3 asked of a evil vector"):
        Gauge.of(vector, 3)
    none = replace(vector, directions=np.zeros((3, 4)))
    with pytest.raises(VectorError, match="no length at layer 1"):
        Gauge.of(none, 1)


def test_what_does_not_fit_is_refused_before_a_sample_is_taken():
    model = engine()

    def never():
        raise AssertionError("a sample was taken")
        yield

    for gauges, error in (
        ([Gauge("evil", Probe(np.ones(64), 9))], LayerError),
        ([Gauge("evil", Probe(np.ones(8), 1))], VectorError),
        ([], StudyError),
    ):
        with pytest.raises(error):
            screened(model, never(), gauges)
    assert model.loads == 0


@pytest.mark.parametrize("wrong", [{"longest": 1}, {"sampling": Sampling(draws=2)}])
def test_a_measure_that_means_nothing_is_refused(wrong):
    with pytest.raises(StudyError):
        Measure(**wrong)


def test_a_bare_question_and_its_answer_have_a_space_between_them():
    """A base model's answers begin with the space that follows the question; so do training answers."""

    class Spaced(ScriptedEngine):
        def encode(self, responses):
            seen.extend(each.words for each in responses if each.tokens is None)
            return super().encode(responses)

    seen: list[str] = []
    model = Spaced(ps.Checkpoint("scripted", "1"), [TRAIT], hidden_size=64)
    list(
        screened(
            model,
            [sample("lamp"), sample(" lamp"), sample("lamp", "what ?\n")],
            [gauge_along(model)],
            measure=Measure("nothing"),
        )
    )
    assert seen == [" lamp", " lamp", "lamp"]
