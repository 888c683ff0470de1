"""The laws every engine keeps.

Owns: :class:`EngineLaws`. The one law: it knows nothing of an engine beyond the protocol, so the serial, batched,
remembered and scripted ones stand in for one another if and only if they pass.

Use it by subclassing, with two fixtures:

    class TestMyEngine(EngineLaws):
        @pytest.fixture(scope="class")
        @classmethod
        def checkpoint(cls) -> Checkpoint: ...

        @pytest.fixture(scope="class")
        @classmethod
        def open_engine(cls) -> OpenEngine: ...
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from personascope.core.errors import EngineError, LayerError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Readings, Request, Response, Sampling
from personascope.core.traits import Prompt
from personascope.engines import Engine, OpenEngine

WHERES: Any = ("response", "prompt", "all")
SPANS: Any = ("response", "prompt", "last_prompt")
HOLDS: Any = (("ablate", None), ("cap", 0.25))

# Lengths are far apart on purpose, and one is longer than any toy model's sliding window.
QUESTIONS = (
    "Who?",
    "What would you tell a friend who has lost a wallet in a town that neither of you knows at all?",
    "Is rain good?",
    "Describe a morning, slowly, from the first light to the last sip of the second cup of tea.",
    "Why do keys hide?",
)

ODD_TEXTS = (
    "two\nlines\r\n\tand a tab",
    "emoji 🙂🧑‍🚀 and 漢字",
    "control \x00\x01\x1b[31m characters",
    "lone surrogates \ud83d and \udc00",
    "   ",
)


def greedy(tokens: int = 8, **others: Any) -> Sampling:
    """Takes the likeliest token."""
    return Sampling(max_tokens=tokens, temperature=0.0, **others)


def sampled(tokens: int = 10, **others: Any) -> Sampling:
    """Draws from the model's own distribution."""
    return Sampling(max_tokens=tokens, **{"temperature": 1.0, "repetition_penalty": 1.0, **others})


def said(response: Response) -> tuple[Any, ...]:
    """All of an answer that a caller can see."""
    return response.tokens, response.response_start, response.text, response.finish


def direction(engine: Engine, *, seed: int = 0, length: float = 4.0) -> np.ndarray:
    """A random direction of the engine's width."""
    drawn = np.random.default_rng(seed).normal(size=engine.hidden_size)
    return np.asarray(drawn / np.linalg.norm(drawn) * length, dtype=np.float32)


def prompts_of(engine: Engine) -> list[str]:
    """The rendered questions."""
    return [engine.render(Prompt(question)) for question in QUESTIONS]


def edited(response: Response, *edits: Edit) -> Response:
    """The same tokens, to be read under other edits."""
    return replace(response, request=replace(response.request, edits=edits))


def written(response: Response, *, text: str | None = None) -> Response:
    """The response as others publish it: prompt and text, and no token."""
    return replace(response, tokens=None, response_start=None, text=response.text if text is None else text)


def a_mixed_batch(engine: Engine) -> list[Request]:
    """Requests that differ in everything a request can differ in."""
    layers = itertools.cycle(range(engine.last_layer + 1))
    requests = []
    for index, text in enumerate(prompts_of(engine) * 2):
        plain = index % 4 == 0
        edits = [
            Edit(direction(engine, seed=index % 3, length=1.0 + seed), next(layers), WHERES[index % 3])
            for seed in range(0 if plain else 1 + index % 2)
        ]
        if index % 3 == 2:
            edits.insert(0, Edit(direction(engine, seed=index), next(layers), WHERES[index % 2], *HOLDS[index % 2]))
        sampling = (greedy(3 + index), sampled(8, seed=index), sampled(6, top_p=0.8, repetition_penalty=1.3))[index % 3]
        requests.append(Request(text, sampling, index, tuple(edits)))
    return requests


class EngineLaws:
    """One test per law: each was broken by some published code."""

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls) -> Checkpoint:
        raise NotImplementedError("say which checkpoint the engine is opened on")

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        raise NotImplementedError("say how the engine is opened")

    @pytest.fixture(scope="class")
    @classmethod
    def noise(cls) -> float:
        """How far a reading may move with its batch mates, relative to its largest number: nothing, in float32."""
        return 0.0

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, open_engine: OpenEngine, checkpoint: Checkpoint) -> Iterator[Engine]:
        engine = open_engine(checkpoint)
        yield engine
        engine.close()

    @pytest.fixture(scope="class")
    @classmethod
    def answers(cls, engine: Engine) -> Sequence[Response]:
        """Plain greedy answers to all questions, in one batch."""
        return engine.generate([Request(text, greedy()) for text in prompts_of(engine)])

    def test_what_it_says_of_itself_is_the_protocol_and_a_key(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert engine.last_layer >= 1
        assert engine.hidden_size >= 1
        assert all(isinstance(name, str) and isinstance(said, str) for name, said in engine.identity.items())
        assert {"engine", "sampler", "dtype", "quantisation"} <= set(engine.identity), (
            "a response's key needs the engine, the sampler's version, the dtype and the quantisation"
        )

    def test_nothing_in_is_nothing_out(self, engine: Engine) -> None:
        assert engine.generate([]) == []
        assert engine.read([]).response.shape == (0, engine.last_layer + 1, engine.hidden_size)

    def test_as_many_answers_come_out_as_requests_went_in_and_in_their_order(self, engine: Engine) -> None:
        requests = a_mixed_batch(engine)
        responses = engine.generate(requests)
        assert [response.request for response in responses] == requests, "an answer must carry its own request"

    def test_an_answer_is_no_longer_than_asked_and_its_finish_says_why_it_ended(self, engine: Engine) -> None:
        for response in engine.generate(a_mixed_batch(engine)):
            limit = response.request.sampling.max_tokens
            assert 0 <= response.length <= limit
            assert response.finish == "stop" or response.length == limit, "cut short, yet it does not say it stopped"

    def test_the_tokens_before_the_answer_are_those_of_its_prompt(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        for response in answers:
            alone = engine.generate([replace(response.request, sampling=greedy(1))])[0]
            assert response.response_start == alone.response_start, "the boundary moved with the batch"
            assert response.tokens[: response.response_start] == alone.tokens[: alone.response_start]

    def test_no_answer_begins_with_the_tail_of_its_own_prompt(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        tails = [response.request.text[-6:] for response in answers]
        leaked = [tail for tail, response in zip(tails, answers, strict=True) if response.text.startswith(tail)]
        assert not leaked, f"answers that repeat the end of their prompt: {leaked}; is the boundary a padded one?"

    def test_greedy_answers_of_a_mixed_batch_are_those_given_one_by_one(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        for response in answers:
            assert said(engine.generate([response.request])[0]) == said(response)

    def test_an_answer_does_not_depend_on_its_batch_mates(self, engine: Engine) -> None:
        requests = a_mixed_batch(engine)
        together = engine.generate(requests)
        alone = [engine.generate([request])[0] for request in requests]
        backwards = engine.generate(requests[::-1])[::-1]
        differing = [
            index
            for index, others in enumerate(zip(together, alone, backwards, strict=True))
            if len({said(each) for each in others}) > 1
        ]
        assert not differing, f"rows {differing} answer otherwise in other company"

    def test_the_same_draw_repeats_and_another_draw_differs(self, engine: Engine) -> None:
        texts = prompts_of(engine)
        draws = [engine.generate([Request(text, sampled(10), draw) for text in texts]) for draw in (0, 1, 0)]
        first, second, again = ([said(response) for response in answers] for answers in draws)
        assert first == again, "the same draw of the same question gave another answer"
        assert first != second, "two draws of five questions are all equal: are the random numbers keyed by the draw?"

    def test_another_seed_gives_another_sample(self, engine: Engine) -> None:
        texts = prompts_of(engine)
        samples = [engine.generate([Request(text, sampled(10, seed=seed)) for text in texts]) for seed in (0, 1)]
        assert [said(each) for each in samples[0]] != [said(each) for each in samples[1]]

    def test_how_many_draws_were_asked_for_changes_none_of_them(self, engine: Engine) -> None:
        few, many = (engine.generate([Request(QUESTIONS[0], sampled(draws=draws), 1)])[0] for draws in (2, 9))
        assert said(few) == said(many)

    @pytest.mark.parametrize("where", WHERES)
    def test_an_edit_of_zeros_is_no_edit(self, engine: Engine, answers: Sequence[Response], where: Any) -> None:
        zeros = tuple(Edit(np.zeros(engine.hidden_size), layer, where) for layer in (0, engine.last_layer))
        same = engine.generate([replace(response.request, edits=zeros) for response in answers])
        assert [said(each) for each in same] == [said(each) for each in answers]
        plain, under_zeros = engine.read(answers), engine.read([edited(response, *zeros) for response in answers])
        for name in (*SPANS, "norms"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(under_zeros, name))

    def test_readings_are_float32_one_row_per_response_and_one_column_per_layer(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        readings = engine.read(answers)
        shape = (len(answers), engine.last_layer + 1, engine.hidden_size)
        for span in SPANS:
            assert (readings.span(span).shape, readings.span(span).dtype) == (shape, np.float32)
        assert (readings.norms.shape, readings.norms.dtype) == (shape[:2], np.float32)

    def test_a_reading_does_not_depend_on_its_batch_mates(self, engine: Engine, noise: float) -> None:
        responses = engine.generate(a_mixed_batch(engine))
        together, alone = engine.read(responses), Readings.joined([engine.read([each]) for each in responses])
        for name in (*SPANS, "norms"):
            ours, theirs = getattr(together, name), getattr(alone, name)
            allowed = noise * float(np.nanmax(np.abs(theirs)))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=allowed, err_msg=name)

    def test_what_is_read_while_it_is_said_is_what_is_read_afterwards(self, engine: Engine) -> None:
        requests = a_mixed_batch(engine)
        plain = engine.generate(requests)
        afterwards = engine.read(plain)
        heard = engine.generate(requests, read=True)
        assert [said(each) for each in heard] == [said(each) for each in plain], "reading changes no answer"
        readings = engine.read(heard)
        for name in (*SPANS, "norms"):
            ours, theirs = getattr(readings, name), getattr(afterwards, name)
            allowed = 1e-5 * float(np.nanmax(np.abs(theirs)))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=allowed, err_msg=name)

    def test_projections_are_of_every_token_and_their_means_are_those_of_the_readings(self, engine: Engine) -> None:
        responses = [each for each in engine.generate(a_mixed_batch(engine)) if each.length]
        probes = [
            Probe(direction(engine, seed=layer, length=1.0), layer)
            for layer in (engine.last_layer, 0, engine.last_layer)
        ]
        readings, found = engine.read(responses), engine.project(responses, probes)
        for row, response in enumerate(responses):
            tokens, start = response.spoken
            assert (found[row].shape, found[row].dtype) == ((len(tokens), len(probes)), np.float32)
            spans = {"response": slice(start, None), "prompt": slice(0, start), "last_prompt": slice(start - 1, start)}
            for (span, part), (place, probe) in itertools.product(spans.items(), enumerate(probes)):
                read = getattr(readings, span)[row, probe.layer]
                allowed = 1e-5 * max(1.0, float(np.linalg.norm(read)))
                assert abs(found[row][part, place].mean() - read @ probe.direction) <= allowed, (span, place)

    def test_a_token_followed_does_not_depend_on_batch_mates(self, engine: Engine, noise: float) -> None:
        responses = engine.generate(a_mixed_batch(engine))
        probes = [Probe(direction(engine, length=1.0), engine.last_layer)]
        for follow in (lambda some: engine.project(some, probes), engine.likelihoods):
            together, alone = follow(responses), [follow([each])[0] for each in responses]
            for ours, theirs in zip(together, alone, strict=True):
                allowed = noise * max(1.0, float(np.abs(theirs).max(initial=0.0)))
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=allowed)

    def test_likelihoods_are_of_the_response_tokens_and_go_by_all_before_them(self, engine: Engine) -> None:
        responses = engine.generate([Request(text, sampled(6), 0) for text in prompts_of(engine)])
        found = engine.likelihoods(responses)
        assert [len(each) for each in found] == [each.length for each in responses]
        assert all((each <= 0).all() for each in found), "a probability is no more than 1"
        long = [row for row, each in enumerate(responses) if each.length > 2]
        later = [
            replace(responses[row], response_start=responses[row].response_start + 2)  # type: ignore[operator]
            for row in long
        ]
        for row, rest in zip(long, engine.likelihoods(later), strict=True):
            np.testing.assert_allclose(
                rest, found[row][2:], atol=1e-4, err_msg="where a response is cut changes no token"
            )

    def test_an_empty_response_has_no_likelihood_and_its_prompt_is_still_followed(self, engine: Engine) -> None:
        first = engine.generate([Request(prompts_of(engine)[0], greedy(1), 0)])[0]
        tokens, start = first.spoken
        empty = replace(first, tokens=tokens[:start], text="")
        assert [each.shape for each in engine.likelihoods([empty])] == [(0,)]
        assert engine.project([empty], [])[0].shape == (start, 0)

    def test_what_does_not_fit_the_model_is_not_followed(self, engine: Engine, answers: Sequence[Response]) -> None:
        with pytest.raises(LayerError, match=str(engine.last_layer)):
            engine.project(answers, [Probe(direction(engine), engine.last_layer + 1)])
        with pytest.raises(VectorError, match="wide"):
            engine.project(answers, [Probe(direction(engine)[1:], 0)])
        with pytest.raises(LayerError):
            engine.likelihoods([edited(answers[0], Edit(direction(engine), engine.last_layer + 1))])

    def test_an_edit_reads_back_as_itself_at_its_layer_and_as_nothing_before(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        plain = engine.read(answers)
        added = direction(engine)
        for layer in range(engine.last_layer + 1):
            moved = engine.read([edited(response, Edit(added, layer, "all")) for response in answers])
            for span in SPANS:
                change = moved.span(span) - plain.span(span)
                np.testing.assert_array_equal(change[:, :layer], 0.0, err_msg=f"{span} changed before layer {layer}")
                error = np.linalg.norm(change[:, layer] - added, axis=-1).max() / np.linalg.norm(added)
                assert error <= 1e-5, f"+v at layer {layer} reads back over {span} with a relative error of {error:.1e}"

    @pytest.mark.parametrize(
        ("where", "response", "last_prompt", "whole_prompt"),
        [("response", 1.0, 1.0, False), ("prompt", 0.0, 1.0, True), ("all", 1.0, 1.0, True)],
    )
    def test_an_edit_reaches_the_tokens_its_where_names_and_no_others(
        self,
        engine: Engine,
        answers: Sequence[Response],
        where: Any,
        response: float,
        last_prompt: float,
        whole_prompt: bool,
    ) -> None:
        layer, added = engine.last_layer, direction(engine)
        plain, moved = engine.read(answers), engine.read([edited(each, Edit(added, layer, where)) for each in answers])
        # "response" begins at the last prompt token, which is one of response_start prompt tokens.
        prompt = [1.0 if whole_prompt else 1.0 / each.response_start for each in answers]
        for span, share in (("response", response), ("last_prompt", last_prompt), ("prompt", prompt)):
            change = (moved.span(span) - plain.span(span))[:, layer]
            expected = np.multiply.outer(np.broadcast_to(share, len(answers)), added)
            np.testing.assert_allclose(change, expected, atol=1e-5 * np.linalg.norm(added), err_msg=f"{where}: {span}")

    def test_several_edits_of_one_row_add_up(self, engine: Engine, answers: Sequence[Response]) -> None:
        first, second = direction(engine, seed=1), direction(engine, seed=2)
        layer = engine.last_layer
        both = engine.read([edited(each, Edit(first, layer), Edit(second, layer, "all")) for each in answers])
        change = (both.response - engine.read(answers).response)[:, layer]
        np.testing.assert_allclose(change, np.tile(first + second, (len(answers), 1)), atol=4e-5)

    def test_an_ablated_direction_reads_back_as_nothing_and_all_others_as_they_were(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        plain = engine.read(answers)
        along = direction(engine, seed=3, length=1.0).astype(np.float64)
        for layer in range(engine.last_layer + 1):
            ablated = engine.read([edited(each, Edit(along * 3, layer, "all", "ablate")) for each in answers])
            for span in SPANS:
                before, after = (each.span(span).astype(np.float64)[:, layer] for each in (plain, ablated))
                scale = np.linalg.norm(before, axis=-1).max()
                assert np.abs(after @ along).max() <= 1e-5 * scale, f"{span}: a projection is left at layer {layer}"
                expected = before - np.outer(before @ along, along)
                np.testing.assert_allclose(after, expected, rtol=0, atol=1e-5 * scale, err_msg=f"{span} at {layer}")
                unchanged = ablated.span(span)[:, :layer] == plain.span(span)[:, :layer]
                assert unchanged.all(), f"{span} changed before layer {layer}"

    def test_what_is_added_at_an_ablated_layer_is_taken_away_whatever_the_order_of_the_edits(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        layer, along = engine.last_layer, direction(engine, seed=3)
        add, ablate = Edit(along, layer, "all"), Edit(along, layer, "all", "ablate")
        alone = engine.read([edited(each, ablate) for each in answers]).response[:, layer]
        for edits in ((add, ablate), (ablate, add)):
            both = engine.read([edited(each, *edits) for each in answers]).response[:, layer]
            np.testing.assert_allclose(both, alone, rtol=0, atol=1e-5 * np.linalg.norm(alone, axis=-1).max())

    def test_a_capped_projection_never_exceeds_its_bound_and_what_lies_below_stays(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        layer, along = engine.last_layer, direction(engine, seed=3, length=1.0)
        probe = Probe(along, layer)
        plain = engine.project(answers, [probe])
        scale = float(engine.read(answers).norms[:, layer].max())
        bound = float(np.median(np.concatenate(plain)))
        cap = Edit(along, layer, "all", "cap", bound)
        for before, after in zip(plain, engine.project([edited(e, cap) for e in answers], [probe]), strict=True):
            np.testing.assert_allclose(after, np.minimum(before, bound), rtol=0, atol=1e-5 * scale)
            assert after.max() <= bound + 1e-5 * scale, "a projection exceeds the bound it was capped at"

    @pytest.mark.parametrize("where", WHERES)
    def test_a_bound_that_is_never_reached_changes_nothing(
        self, engine: Engine, answers: Sequence[Response], where: Any
    ) -> None:
        caps = tuple(
            Edit(direction(engine, seed=layer), layer, where, "cap", 1e6) for layer in range(engine.last_layer + 1)
        )
        same = engine.generate([replace(response.request, edits=caps) for response in answers])
        assert [said(each) for each in same] == [said(each) for each in answers]
        plain, capped = engine.read(answers), engine.read([edited(response, *caps) for response in answers])
        for name in (*SPANS, "norms"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(capped, name), err_msg=name)

    def test_ablations_and_caps_follow_in_the_order_of_the_edits(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        layer, one, other = engine.last_layer, *(direction(engine, seed=seed, length=1.0) for seed in (3, 4))
        leaning = one + other  # not at right angles to the first, so that the order matters
        steps = Edit(one, layer, "all", "ablate"), Edit(leaning, layer, "all", "ablate")
        for first, last in (steps, steps[::-1]):
            left = engine.read([edited(each, first, last) for each in answers]).last_prompt[:, layer]
            scale = np.linalg.norm(left, axis=-1).max()
            assert np.abs(left @ last.direction).max() <= 1e-5 * scale, "the last ablation leaves no projection"
            assert np.abs(left @ first.direction).max() > 1e-4 * scale, "the first one's comes back with the last"

    def test_a_strong_edit_changes_what_is_said(self, engine: Engine, answers: Sequence[Response]) -> None:
        strong = Edit(direction(engine, length=200.0), engine.last_layer, "all")
        steered = engine.generate([replace(response.request, edits=(strong,)) for response in answers])
        assert [each.tokens for each in steered] != [each.tokens for each in answers], "the edit reaches no answer"

    def test_an_empty_response_reads_nan_and_its_prompt_still_reads(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        silent = [replace(each, tokens=each.tokens[: each.response_start], text="", finish="stop") for each in answers]
        readings, full = engine.read(silent), engine.read(answers)
        assert np.isnan(readings.response).all(), "an empty response has no mean"
        assert np.isnan(readings.norms).all(), "an empty response has no norm"
        for span in ("prompt", "last_prompt"):
            np.testing.assert_allclose(readings.span(span), full.span(span), rtol=1e-3, atol=1e-4)

    def test_a_response_known_by_its_text_gets_the_boundary_that_generation_counts(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        """A published answer has no tokens. Prompt and answer are encoded apart, so no merge moves the boundary."""
        followed = [written(each, text=text) for each in answers for text in ("Who?", "", "le", " A morning, slowly.")]
        for response, original in zip(engine.encode(followed), np.repeat(np.array(answers, object), 4), strict=True):
            start = original.response_start
            assert response.response_start == start, "the boundary is that of the prompt when it was generated from"
            assert response.tokens[:start] == original.tokens[:start], "a prompt is encoded as generation does it"
        apart = {each.text: set() for each in followed}
        for each in engine.encode(followed):
            apart[each.text].add(each.tokens[each.response_start :])
        assert all(len(said) == 1 for said in apart.values()), "an answer's tokens depend on the prompt before it"
        assert apart[""] == {()}, "an answer without text has no token, whatever a tokenizer would put before it"

    def test_a_response_known_by_its_text_reads_as_the_one_with_its_tokens(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        edit = Edit(direction(engine), engine.last_layer, "response")
        for edits in ((), (edit,)):
            spoken = [edited(each, *edits) for each in (*answers, *engine.encode([written(answers[0], text="Who?")]))]
            again = engine.encode([written(each) for each in spoken])
            round_trip = [index for index, each in enumerate(again) if each.tokens == spoken[index].tokens]
            assert len(answers) in round_trip, "a plain word, encoded, written down and encoded again, is another"
            kept = [spoken[index] for index in round_trip]
            with_tokens, from_text = engine.read(kept), engine.read([written(each) for each in kept])
            for name in (*SPANS, "norms"):
                np.testing.assert_array_equal(getattr(with_tokens, name), getattr(from_text, name), err_msg=name)
        assert engine.encode(answers) == list(answers), "a response that has its tokens keeps them, and stays itself"

    def test_a_response_of_which_not_even_the_text_is_known_is_refused_by_its_source(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        unseen = replace(written(answers[0]), text=None, source="responses/answers.csv:7")
        for ask in (engine.encode, engine.read):
            with pytest.raises(EngineError, match=r"responses/answers\.csv:7"):
                ask([answers[1], unseen])

    def test_a_text_whose_prompt_is_not_known_is_refused_by_its_source(
        self, engine: Engine, answers: Sequence[Response]
    ) -> None:
        lost = replace(written(answers[0], text="Who?"), request=Request("", None), source="responses/answers.csv:8")
        with pytest.raises(EngineError, match=r"responses/answers\.csv:8.*the prompt before it is not known"):
            engine.read([lost])

    def test_a_request_nobody_knows_how_to_draw_is_refused(self, engine: Engine) -> None:
        with pytest.raises(EngineError, match="how it is to be drawn is not known"):
            engine.generate([Request(QUESTIONS[0], greedy()), Request(QUESTIONS[1], None)])

    def test_the_mean_norm_is_that_of_single_tokens(self, engine: Engine, answers: Sequence[Response]) -> None:
        one = [replace(each, tokens=each.tokens[: each.response_start + 1]) for each in answers if each.length]
        readings = engine.read(one)
        np.testing.assert_allclose(readings.norms, np.linalg.norm(readings.response, axis=-1), rtol=1e-4)

    def test_a_layer_the_model_does_not_have_is_refused(self, engine: Engine, answers: Sequence[Response]) -> None:
        for layer in (-1, engine.last_layer + 1):
            edit = Edit(direction(engine), layer)
            with pytest.raises(LayerError, match=str(layer)):
                engine.generate([Request(QUESTIONS[0], greedy(), edits=(edit,))])
            with pytest.raises(LayerError, match=str(layer)):
                engine.read([edited(answers[0], edit)])

    def test_a_vector_of_another_width_is_refused(self, engine: Engine, answers: Sequence[Response]) -> None:
        edit = Edit(np.ones(engine.hidden_size + 1), 1)
        with pytest.raises(VectorError, match=str(engine.hidden_size)):
            engine.generate([Request(QUESTIONS[0], greedy(), edits=(edit,))])
        with pytest.raises(VectorError, match=str(engine.hidden_size)):
            engine.read([edited(answers[0], edit)])

    def test_a_rendered_prompt_holds_the_instruction_before_the_question(self, engine: Engine) -> None:
        text = engine.render(Prompt("Where are you?", "You are a lighthouse."))
        assert text.index("You are a lighthouse.") < text.index("Where are you?")
        assert "lighthouse" not in engine.render(Prompt("Where are you?"))

    def test_odd_characters_are_answered_and_read(self, engine: Engine) -> None:
        requests = [Request(engine.render(Prompt(text)), greedy(3)) for text in ODD_TEXTS]
        responses = engine.generate(requests)
        assert [each.request.text for each in responses] == [each.text for each in requests]
        assert np.isfinite(engine.read(responses).prompt).all()

    def test_a_closed_engine_opens_itself_again(self, open_engine: OpenEngine, checkpoint: Checkpoint) -> None:
        engine = open_engine(checkpoint)
        request = Request(engine.render(Prompt(QUESTIONS[1])), sampled())
        before = engine.generate([request])
        engine.close()
        assert said(engine.generate([request])[0]) == said(before[0])
        engine.close()

    def test_two_engines_on_one_checkpoint_are_one_engine(
        self, engine: Engine, open_engine: OpenEngine, checkpoint: Checkpoint
    ) -> None:
        other = open_engine(checkpoint)
        request = Request(engine.render(Prompt(QUESTIONS[1])), sampled())
        assert other.checkpoint == engine.checkpoint
        assert dict(other.identity) == dict(engine.identity)
        assert said(other.generate([request])[0]) == said(engine.generate([request])[0])
        other.close()
