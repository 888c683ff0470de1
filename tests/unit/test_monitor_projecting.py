"""Projections at the end of a prompt, of every token and of the answer so far; which layer is watched."""

from __future__ import annotations

import numpy as np
import pytest

from personascope.applications.monitor import (
    Watched,
    check_watched,
    choose_layer,
    project_prompts,
    project_tokens,
    running_mean,
    unanswered,
)
from personascope.core.errors import LayerError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request, Sampling
from personascope.core.vectors import PersonaVector
from personascope.engines.scripted import ScriptedEngine
from scripted_world import TRAITS

ENGINE = ScriptedEngine(Checkpoint("scripted"), TRAITS, hidden_size=16)


def vector(scale: float = 1.0, *, hidden: int = 16, layers: int = 5, seed: int = 0) -> PersonaVector:
    directions = scale * np.random.default_rng(seed).standard_normal((layers, hidden))
    return PersonaVector(directions, np.ones(layers), "grim", "scripted", Checkpoint("scripted"))


def test_a_prompts_projection_is_its_last_tokens_stream_along_the_unit_direction() -> None:
    texts = ["And what of affair 0?", "Be grim in way 1. And what of it?"]
    watched = [Watched("grim", vector(), 2), Watched("other", vector(seed=1), 4)]
    found = project_prompts(ENGINE, texts, watched)
    streams = ENGINE.read([unanswered(text) for text in texts]).last_prompt
    for row, stream in enumerate(streams):
        for column, each in enumerate(watched):
            direction = each.vector.directions[each.layer].astype(float)
            naive = sum(one * other for one, other in zip(stream[each.layer], direction, strict=True))
            assert found[row, column] == pytest.approx(naive / np.sqrt((direction**2).sum()), abs=1e-5)


@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_the_length_of_a_vector_is_in_no_projection(scale: float) -> None:
    found = [project_prompts(ENGINE, ["What?"], [Watched("grim", each, 3)]) for each in (vector(), vector(scale))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_tokens_are_projected_under_a_responses_own_edits_and_the_prompt_comes_first() -> None:
    (response,) = ENGINE.generate([Request("And what now?", Sampling(max_tokens=9))])
    (along,) = project_tokens(ENGINE, [response], [Watched("grim", vector(), 2)])
    assert along.shape == (len(response.spoken[0]), 1)
    before = project_prompts(ENGINE, ["And what now?"], [Watched("grim", vector(), 2)])
    assert along[response.spoken[1] - 1] == pytest.approx(before[0]), "what is said later does not change what was read"


def test_the_running_mean_ends_at_the_projection_of_the_mean_response() -> None:
    (response,) = ENGINE.generate([Request("And what now?", Sampling(max_tokens=9))])
    watched = [Watched("grim", vector(), 2), Watched("other", vector(seed=1), 3)]
    (along,) = project_tokens(ENGINE, [response], watched)
    means = running_mean(along, response.spoken[1])
    spoken = along[response.spoken[1] :]
    naive = [[sum(spoken[: end + 1, column]) / (end + 1) for column in range(2)] for end in range(len(spoken))]
    np.testing.assert_allclose(means, naive)
    stream = ENGINE.read([response]).response[0]
    np.testing.assert_allclose(means[-1], [stream[each.layer] @ each.unit for each in watched], atol=1e-4)


def test_of_an_answer_of_no_tokens_there_is_no_running_mean() -> None:
    assert running_mean(np.ones((4, 2)), 4).shape == (0, 2)


def test_no_prompts_have_no_projections() -> None:
    assert project_prompts(ENGINE, [], [Watched("grim", vector(), 2)]).shape == (0, 1)


@pytest.mark.parametrize(
    ("wrong", "layer", "error", "said"),
    [
        (vector(hidden=8), 2, VectorError, "4 blocks of width 8 and scripted@main has 4 of width 16"),
        (vector(layers=7), 2, VectorError, "6 blocks of width 16"),
        (vector(layers=7), 6, LayerError, "layer 6 asked of scripted@main"),
    ],
)
def test_a_vector_of_another_model_is_refused_before_anything_is_read(wrong, layer, error, said) -> None:
    with pytest.raises(error, match=said):
        check_watched(ENGINE, [Watched("grim", wrong, layer)])


def test_a_layer_that_the_vector_lacks_or_where_it_has_no_length_cannot_be_watched() -> None:
    with pytest.raises(LayerError, match="layer 5 asked of a grim vector"):
        Watched("grim", vector(), 5)
    with pytest.raises(VectorError, match="no length at layer 1"):
        Watched("grim", vector(0.0), 1)


def test_the_layer_is_chosen_where_projections_follow_scores_best() -> None:
    generator, along = np.random.default_rng(0), vector()
    scores = generator.uniform(0, 100, 60)
    readings = generator.standard_normal((60, 5, 16))
    unit = along.directions[3] / np.linalg.norm(along.directions[3])
    readings[:, 3] += np.outer(scores / 10, unit)
    chosen = choose_layer(along, readings, scores)
    assert chosen.layer == 3
    assert "of layers 1 to 4" in chosen.reason
    assert "60 instructed answers" in chosen.reason
    assert choose_layer(along, readings, scores, layers=(1, 2)).layer in (1, 2), "only layers that were asked for"


def test_answers_without_a_score_or_a_reading_choose_nothing() -> None:
    readings, scores = np.random.default_rng(0).standard_normal((4, 5, 16)), np.array([1.0, 2.0, np.nan, 4.0])
    readings[3] = np.nan
    assert "2 instructed answers" in choose_layer(vector(), readings, scores).reason
    with pytest.raises(LayerError, match="do not differ; give the layer"):
        choose_layer(vector(), readings, np.full(4, 50.0))
