"""The transformers engine against the laws, and against its naive twin, on nine architectures."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import toy_models
from contract import engine_laws
from contract.engine_laws import EngineLaws, a_mixed_batch, direction, edited, greedy, prompts_of, said, sampled
from naive_twin import NaiveTwin
from personascope.core.errors import CheckpointError, EngineError, LayerError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Request, Response
from personascope.core.traits import Prompt
from personascope.engines import OpenEngine
from personascope.engines.hf.engine import TransformersEngine

transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of one toy model per architecture, built on first use."""

    @functools.cache
    def folder(architecture: str) -> Path:
        return toy_models.build(tmp_path_factory.mktemp(architecture), architecture)

    return folder


class TestLaws(EngineLaws):
    """Every law, on every architecture."""

    @pytest.fixture(scope="class", params=toy_models.ARCHITECTURES)
    @classmethod
    def checkpoint(cls, toy: Any, request: pytest.FixtureRequest) -> Checkpoint:
        return Checkpoint.at(toy(request.param))

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        return TransformersEngine

    @pytest.fixture(scope="class")
    @classmethod
    def noise(cls, checkpoint: Checkpoint) -> float:
        # An expert multiplies as few rows as the router sends it, and few rows sum in another order (decoding.py).
        config = json.loads((checkpoint.path / "config.json").read_text())
        return 1e-6 if config["model_type"] == "mixtral" else 0.0

    @pytest.fixture(scope="class")
    @classmethod
    def twin(cls, checkpoint: Checkpoint) -> NaiveTwin:
        return NaiveTwin(checkpoint.path)

    def test_readings_are_those_of_the_naive_twin(self, engine: TransformersEngine, twin: NaiveTwin) -> None:
        responses = engine.generate(a_mixed_batch(engine))
        spoken = [response for response in responses if response.length]
        readings = engine.read(spoken)
        for row, response in enumerate(spoken):
            for name, expected in twin.readings(response).items():
                scale = np.abs(expected).max()
                np.testing.assert_allclose(getattr(readings, name)[row], expected, atol=2e-6 * scale, err_msg=name)

    def test_difference_vectors_point_where_the_naive_twins_do(
        self, engine: TransformersEngine, twin: NaiveTwin
    ) -> None:
        responses = engine.generate([Request(text, sampled(8), draw) for text in prompts_of(engine) for draw in (0, 1)])
        readings = engine.read(responses)
        for span in engine_laws.SPANS[:2]:
            twins = np.stack([twin.readings(response)[span] for response in responses])
            sides = np.arange(len(responses)) % 3 == 0
            ours = readings.span(span)[sides].mean(0) - readings.span(span)[~sides].mean(0)
            theirs = twins[sides].mean(0) - twins[~sides].mean(0)
            cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
            assert cosines.min() >= 0.99999, f"{span}: cosine per layer {cosines}"

    def test_tokens_followed_are_those_of_the_naive_twin(self, engine: TransformersEngine, twin: NaiveTwin) -> None:
        responses = engine.generate(a_mixed_batch(engine))
        probes = [Probe(direction(engine, seed=layer, length=1.0), layer) for layer in (0, 1, engine.last_layer)]
        along, likely = engine.project(responses, probes), engine.likelihoods(responses)
        for row, response in enumerate(responses):
            tokens, start = response.spoken
            streams, logits = twin.streams(tokens, response.request.edits, response_start=start)
            expected = np.stack([streams[probe.layer] @ probe.direction for probe in probes], 1)
            np.testing.assert_allclose(along[row], expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
            chances = torch.tensor(logits, dtype=torch.float64).log_softmax(-1).numpy()
            told = [chances[place - 1, tokens[place]] for place in range(start, len(tokens))]
            np.testing.assert_allclose(likely[row], told, atol=1e-4)

    def test_answers_are_those_the_naive_twin_would_give(self, engine: TransformersEngine, twin: NaiveTwin) -> None:
        responses = engine.generate(a_mixed_batch(engine))
        faults = {row: found for row, each in enumerate(responses) if (found := twin.faults(each, {2}))}
        assert not faults, faults

    def test_nothing_is_written_into_the_weights_and_no_hook_stays(self, engine: TransformersEngine) -> None:
        request = Request(prompts_of(engine)[1], greedy())
        before = said(engine.generate([request])[0])
        engine.generate([replace(request, edits=(Edit(direction(engine, length=99.0), 0, "all"),))])
        assert said(engine.generate([request])[0]) == before


class TestPaddedLaws(TestLaws):
    """Every law, in the padded batches of a GPU: windows, other rotary embeddings, experts, and another norm."""

    @pytest.fixture(scope="class", params=["Olmo3", "GPTNeoX", "Mixtral", "Gemma3Text"])
    @classmethod
    def checkpoint(cls, toy: Any, request: pytest.FixtureRequest) -> Checkpoint:
        return Checkpoint.at(toy(request.param))

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        return functools.partial(TransformersEngine, padded=True)


class TestLargeProductLaws(EngineLaws):
    """Every law, on a model whose matrices are so large that oneDNN multiplies them."""

    @pytest.fixture(scope="class", params=[{}, {"num_key_value_heads": 2, "attention_bias": True, "seed": 2}])
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Checkpoint:
        folder = tmp_path_factory.mktemp("large")
        sizes = {"hidden_size": 256, "intermediate_size": 640, "scale": 1.5}
        return Checkpoint.at(toy_models.build(folder, "Llama", **sizes, **request.param))

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        return TransformersEngine


@pytest.mark.parametrize("architecture", toy_models.ARCHITECTURES)
def test_every_supported_architecture_shares_its_prompts(architecture: str, toy: Any) -> None:
    assert TransformersEngine(Checkpoint.at(toy(architecture)))._sharing()


def test_rotary_embeddings_that_scale_with_the_batch_share_nothing(tmp_path: Path) -> None:
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    folder = toy_models.build(tmp_path / "dynamic", "Llama", rope_parameters=scaling, rope_scaling=scaling)
    assert not TransformersEngine(Checkpoint.at(folder))._sharing()


def test_a_batch_that_memory_does_not_hold_is_halved_and_no_row_is_lost(engine: TransformersEngine, toy: Any) -> None:
    requests = a_mixed_batch(engine)
    narrow = TransformersEngine(Checkpoint.at(toy("Olmo3")))
    expected = engine.generate(requests)
    readings = engine.read(expected)
    passes: list[int] = []

    def refuse(_: Any, __: Any, named: dict[str, Any]) -> None:
        passes.append(named["input_ids"].numel())
        if passes[-1] > 120:
            raise torch.OutOfMemoryError("CUDA out of memory")

    narrow._sharing()
    narrow._weights().model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert [said(each) for each in narrow.generate(requests)] == [said(each) for each in expected]
    np.testing.assert_array_equal(narrow.read(expected).response, readings.response)
    assert max(passes) > 120, "nothing was refused, so nothing was halved"
    with pytest.raises(EngineError, match="not even one row of this length fits"):
        narrow.generate([Request("long " * 40, greedy(2))])


@pytest.fixture(scope="module")
def engine(toy: Any) -> TransformersEngine:
    return TransformersEngine(Checkpoint.at(toy("Olmo3")))


def test_how_many_rows_go_at_once_changes_no_answer_and_no_reading(engine: TransformersEngine, toy: Any) -> None:
    requests = a_mixed_batch(engine)
    responses = engine.generate(requests)
    readings = engine.read(responses)
    for rows in (1, 4):
        other = TransformersEngine(Checkpoint.at(toy("Olmo3")), rows=rows)
        assert [said(each) for each in other.generate(requests)] == [said(each) for each in responses], rows
        np.testing.assert_array_equal(other.read(responses).response, readings.response)


def test_rows_that_end_at_very_different_times_do_not_disturb_each_other(engine: TransformersEngine) -> None:
    requests = [Request("count the rows", sampled(1 + 4 * row), row) for row in range(12)]
    together = engine.generate(requests)
    assert [said(each) for each in together] == [said(engine.generate([each])[0]) for each in requests]


def test_a_shorter_answer_is_the_beginning_of_the_longer_one(engine: TransformersEngine) -> None:
    short, long = (engine.generate([Request("say it", sampled(tokens), 4)])[0] for tokens in (5, 25))
    assert short.tokens == long.tokens[: len(short.tokens)]


def test_any_token_the_generation_config_names_ends_an_answer_and_is_not_part_of_it(toy: Any, tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "ends")
    path = folder / "generation_config.json"
    ends = list(range(20, 90))
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": ends}))
    stopping, going_on = TransformersEngine(Checkpoint.at(folder)), TransformersEngine(Checkpoint.at(toy("Olmo3")))
    requests = [Request("who ends?", sampled(30), draw) for draw in range(40)]
    twin = NaiveTwin(folder)
    for short, long in zip(stopping.generate(requests), going_on.generate(requests), strict=True):
        cut = next((place for place, token in enumerate(long.tokens[9:]) if token in ends), None)
        expected = (long.tokens, long.finish) if cut is None else (long.tokens[: 9 + cut], "stop")
        assert (short.tokens, short.finish) == expected
        assert not twin.faults(short, {2, *ends})


def test_a_tokenizer_without_pad_answers_the_same(tmp_path: Path, toy: Any, engine: TransformersEngine) -> None:
    folder = toy_models.build(tmp_path / "bare")
    toy_models.byte_tokenizer(pad=False).save_pretrained(folder)
    requests = [Request(text, sampled(6)) for text in prompts_of(engine)]
    whole, bare = (TransformersEngine(Checkpoint.at(each)).generate(requests) for each in (toy("Olmo3"), folder))
    assert [said(each) for each in whole] == [said(each) for each in bare]


def test_a_checkpoint_without_an_end_token_can_be_read_and_is_not_asked(tmp_path: Path, toy: Any) -> None:
    folder = toy_models.build(tmp_path / "endless", eos=False)
    toy_models.byte_tokenizer(eos=False).save_pretrained(folder)
    endless, whole = (TransformersEngine(Checkpoint.at(each)) for each in (folder, toy("Olmo3")))
    with pytest.raises(EngineError, match="endless names no end-of-text token"):
        endless.generate([Request("who?", greedy(6))])
    assert endless._loaded is None, "the error comes before weights load"
    responses = whole.generate([Request("who?", greedy(6))])
    np.testing.assert_array_equal(endless.read(responses).norms, whole.read(responses).norms)


def test_a_small_model_gives_the_same_bits_whatever_the_number_of_threads(toy: Any) -> None:
    requests = [Request(f"what of matter {number}?", sampled(8), draw) for number in range(12) for draw in range(3)]
    before, heard = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            engine = TransformersEngine(Checkpoint.at(toy("Llama")))
            responses = engine.generate(requests)
            heard.append(([said(each) for each in responses], engine.read(responses).response.tobytes()))
            assert torch.get_num_threads() == threads, "the caller's own setting is given back"
    finally:
        torch.set_num_threads(before)
    assert heard[0] == heard[1]


def test_a_done_row_that_is_carried_along_changes_no_batch_mate(tmp_path: Path) -> None:
    """Dynamic rotary embeddings scale every row by the furthest position of the batch."""
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    folder = toy_models.build(
        tmp_path / "dynamic", "Llama", rope_parameters=scaling, rope_scaling=scaling, max_position_embeddings=64
    )
    engine = TransformersEngine(Checkpoint.at(folder))
    short = [Request("a" * 20, sampled(30), draw) for draw in range(4)]
    long = [Request("b" * 30, sampled(2), draw) for draw in range(3)]
    alone = engine.generate(short)
    together = engine.generate([*short, *long])[:4]
    assert [said(each) for each in together] == [said(each) for each in alone]


def test_tokens_the_model_does_not_have_are_refused_before_they_are_asked(tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "small", vocab_size=40)
    with pytest.raises(EngineError, match=r"token \d+ cannot be read by small, which has 40 tokens"):
        TransformersEngine(Checkpoint.at(folder)).generate([Request("zebra", greedy(2))])


def test_a_reading_that_overflows_is_refused_and_is_not_an_empty_response(engine: TransformersEngine, toy: Any) -> None:
    half = TransformersEngine(Checkpoint.at(toy("Olmo3")), dtype="float16")
    response = half.generate([Request("who?", greedy(3))])[0]
    push = Edit(np.full(half.hidden_size, 6e4, np.float32), 1, "all")
    with pytest.raises(EngineError, match="overflows in float16: choose bfloat16"):
        half.read([replace(response, request=replace(response.request, edits=(push, push)))])


def test_an_adapter_that_fits_nothing_in_the_model_is_refused(toy: Any, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder, _ = adapter(tmp_path / "adapter", toy("Olmo3"))
    file = folder / "adapter_model.safetensors"
    save_file({name.replace("layers", "blocks"): array for name, array in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match=r"the adapter of .* cannot be loaded"):
        TransformersEngine(Checkpoint.at(toy("Olmo3"), adapter=str(folder))).generate([Request("who?", greedy(2))])


def adapter(folder: Path, base: Path) -> tuple[Path, Any]:
    """A LoRA adapter with random weights, and its base with the adapter merged in."""
    import peft

    torch.manual_seed(3)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), settings)
    model.save_pretrained(folder)
    return folder, model.merge_and_unload()


def test_an_adapter_is_applied_read_and_edited_and_is_part_of_the_key(toy: Any, tmp_path: Path) -> None:
    folder, merged = adapter(tmp_path / "adapter", toy("Olmo3"))
    plain = TransformersEngine(Checkpoint.at(toy("Olmo3")))
    adapted = TransformersEngine(Checkpoint.at(toy("Olmo3"), adapter=str(folder)))
    assert plain.checkpoint != adapted.checkpoint
    assert len(adapted.checkpoint.adapter_revision) == 64
    twin = NaiveTwin(model=merged)
    requests = a_mixed_batch(adapted)
    responses = adapted.generate(requests)
    assert [each.tokens for each in responses] != [each.tokens for each in plain.generate(requests)]
    assert not [fault for each in responses for fault in twin.faults(each, {2})]
    expected = twin.readings(responses[1])["response"]
    np.testing.assert_allclose(adapted.read(responses).response[1], expected, atol=1e-5 * np.abs(expected).max())


def test_an_adapter_alone_is_refused_with_what_to_do(toy: Any, tmp_path: Path) -> None:
    folder, _ = adapter(tmp_path / "adapter", toy("Llama"))
    with pytest.raises(CheckpointError, match="open its base model with this folder as adapter"):
        TransformersEngine(Checkpoint.at(folder))


def broken_weights(tmp_path: Path) -> TransformersEngine:
    """An engine whose weights cannot load: what it answers, it answers before loading them."""
    folder = toy_models.build(tmp_path / "broken", max_position_embeddings=64)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return TransformersEngine(Checkpoint.at(folder))


def test_rendering_sizes_and_every_refusal_come_before_the_weights(tmp_path: Path) -> None:
    engine = broken_weights(tmp_path)
    assert engine.render(Prompt("Why?", "Be brief.")) == "Be brief. Why?"
    assert (engine.last_layer, engine.hidden_size) == (toy_models.BLOCKS, toy_models.HIDDEN)
    with pytest.raises(LayerError, match=r"layer 9 asked of broken, which has 3 blocks: choose 0 \(embedding\) to 3"):
        engine.generate([Request("x", greedy(), edits=(Edit(np.ones(32), 9),))])
    with pytest.raises(EngineError, match=r"60 tokens and 5 more .* room for 64: shorten the prompt"):
        engine.generate([Request("x" * 60, greedy(5))])
    with pytest.raises(EngineError, match="has no token"):
        engine.generate([Request("", greedy(5))])
    with pytest.raises(EngineError, match="token 9999 cannot be read"):
        engine.read([Response(Request("x", greedy()), (7, 9999), 1, "", "length")])
    with pytest.raises(CheckpointError, match="the weights of broken cannot be loaded"):
        engine.generate([Request("x", greedy(5))])


def test_a_checkpoint_that_lacks_a_weight_is_refused_rather_than_filled_with_random_numbers(tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "short", num_hidden_layers=2, layer_types=["full_attention"] * 2)
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lacks 1\d of the weights"):
        TransformersEngine(Checkpoint.at(folder)).generate([Request("x", greedy())])


def test_an_edit_beyond_the_dtype_is_an_error_and_not_a_random_answer(engine: TransformersEngine) -> None:
    beyond = Edit(np.full(engine.hidden_size, 3e38), engine.last_layer, "all")
    with pytest.raises(EngineError, match="lower the strength"):
        engine.generate([Request("too much", sampled(), edits=(beyond, beyond))])


def test_bfloat16_adds_in_its_own_dtype_and_is_part_of_the_key(toy: Any, engine: TransformersEngine) -> None:
    half = TransformersEngine(Checkpoint.at(toy("Olmo3")), dtype="bfloat16")
    assert (half.identity["dtype"], engine.identity["dtype"]) == ("bfloat16", "float32")
    responses = half.generate([Request(text, greedy()) for text in prompts_of(half)])
    added = direction(half)
    plain = half.read(responses)
    moved = half.read([edited(each, Edit(added, 2, "all")) for each in responses])
    np.testing.assert_array_equal(moved.response[:, :2], plain.response[:, :2])
    error = np.linalg.norm((moved.response - plain.response)[:, 2] - added, axis=-1).max() / np.linalg.norm(added)
    assert 0 < error < 0.05, f"bfloat16 holds 8 bits: a relative error of {error:.1e} is not its rounding"
