"""The naive engine against the laws every engine keeps, and against the naive twin, which shares no code with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers

import toy_models
from contract.engine_laws import EngineLaws, a_mixed_batch, greedy, prompts_of, said
from naive_twin import NaiveTwin
from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request, Response
from personascope.engines import OpenEngine
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.reference import NaiveEngine

transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_models.build(tmp_path_factory.mktemp("naive"), "Olmo3")


class TestNaiveLaws(EngineLaws):
    """Every law, on one architecture."""

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, folder: Path) -> Checkpoint:
        return Checkpoint.at(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        return NaiveEngine

    def test_readings_and_answers_are_those_of_the_twin(self, engine: NaiveEngine, folder: Path) -> None:
        twin = NaiveTwin(folder)
        responses = engine.generate(a_mixed_batch(engine))
        assert not [fault for each in responses for fault in twin.faults(each, {2})]
        spoken = [each for each in responses if each.length]
        readings = engine.read(spoken)
        for row, response in enumerate(spoken):
            for name, expected in twin.readings(response).items():
                scale = np.abs(expected).max()
                np.testing.assert_allclose(getattr(readings, name)[row], expected, atol=1e-6 * scale, err_msg=name)

    def test_it_says_what_the_transformers_engine_says_greedy_sampled_and_steered(
        self, engine: NaiveEngine, checkpoint: Checkpoint
    ) -> None:
        requests = a_mixed_batch(engine)
        answers = TransformersEngine(checkpoint).generate(requests)
        assert [said(each) for each in engine.generate(requests)] == [said(each) for each in answers]

    def test_its_own_greedy_answers_fall_short_of_nothing_and_another_token_does(self, engine: NaiveEngine) -> None:
        plain = greedy(6, repetition_penalty=1.0)
        response = engine.generate([Request(prompts_of(engine)[1], plain)])[0]
        tokens, start = response.spoken
        other = (*tokens[: start + 3], (tokens[start + 3] + 1) % toy_models.VOCABULARY, *tokens[start + 4 :])
        changed = Response(response.request, other, start, None, "length")
        ours, theirs = engine.shortfalls([response, changed])
        np.testing.assert_array_equal(ours, 0.0)
        assert len(ours) == response.length + (response.finish == "stop")
        np.testing.assert_array_equal(theirs[:3], 0.0)
        assert theirs[3] > 0.01, "a token that is not the likeliest falls short of it"
        ended = Response(response.request, tokens[: start + 2], start, None, "stop")
        assert len(engine.shortfalls([ended])[0]) == 3, "the token that ended an answer counts"

    def test_its_layers_are_those_transformers_names(self, engine: NaiveEngine) -> None:
        responses = engine.generate([Request(text, greedy(4)) for text in prompts_of(engine)])
        apart = engine.layers_apart(responses)
        assert apart.shape == (len(responses), engine.last_layer)
        assert apart.max() == 0


def test_a_checkpoint_without_an_end_token_is_not_asked(tmp_path: Path) -> None:
    toy_models.build(tmp_path / "endless", eos=False)
    toy_models.byte_tokenizer(eos=False).save_pretrained(tmp_path / "endless")
    engine = NaiveEngine(Checkpoint.at(tmp_path / "endless"))
    with pytest.raises(EngineError, match="endless names no end-of-text token"):
        engine.generate([Request("who?", greedy())])
