"""The vLLM engine against the laws, against its naive twin, and against what vLLM does silently wrong without it.

Run by `make test-vllm`, in an environment of its own; skipped where vLLM is not installed.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy_models
from contract.engine_laws import (
    SPANS,
    WHERES,
    EngineLaws,
    a_mixed_batch,
    direction,
    edited,
    greedy,
    prompts_of,
    said,
    sampled,
)
from naive_twin import NaiveTwin, kept_weights, penalised
from personascope import open_engine
from personascope.core.errors import CheckpointError, EngineError, LayerError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Request, Response
from personascope.engines import Engine, OpenEngine
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.reference import NaiveEngine

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed: `make test-vllm` runs these", allow_module_level=True)

from personascope.engines.vllm.engine import VLLMEngine
from personascope.engines.vllm.loading import WORKER, check_uncompiled, close_llm
from personascope.engines.vllm.plan import Asked

# vLLM's and torch.distributed's own warnings are theirs.
pytestmark = [pytest.mark.filterwarnings("ignore")]

# Qwen3 has heads of 16 numbers, as the lab: too narrow for vLLM's kernels on a CPU, so they are filled up with zeros.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Olmo3": {},
    "Llama": {},
    "Qwen2": {"use_sliding_window": False, "layer_types": ["full_attention"] * 3},
    "Apertus": {},
    "Qwen3": {"head_dim": 16},
}
SIZES: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
ROOM: dict[str, Any] = {"kv_cache_memory_bytes": 1 << 27}
CLOSE = 1e-6
"""How far readings may be from a pass of other batches or another engine, relative to their largest number."""


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of one toy model per architecture, with heads wide enough for vLLM but where they are not to be."""

    @functools.cache
    def folder(architecture: str) -> Path:
        settings = {**SIZES, **ARCHITECTURES[architecture]}
        return toy_models.build(tmp_path_factory.mktemp(architecture), architecture, **settings)

    return folder


def opened(checkpoint: Checkpoint, **settings: Any) -> VLLMEngine:
    """An engine with little room, so that several fit the memory of a small machine."""
    return VLLMEngine(checkpoint, settings={**ROOM, **settings})


def model_of(engine: VLLMEngine) -> torch.nn.Module:
    """What vLLM runs."""
    core = engine._weights().llm_engine.engine_core.engine_core
    return core.model_executor.driver_worker.worker.model_runner.model


def greedily(requests: Sequence[Request]) -> list[Request]:
    """The same requests, where the likeliest token is taken: the only sampling two engines share."""
    return [
        replace(
            each, sampling=greedy(each.drawn_with.max_tokens, repetition_penalty=each.drawn_with.repetition_penalty)
        )
        for each in requests
    ]


class TestLaws(EngineLaws):
    """Every law, on five architectures."""

    @pytest.fixture(scope="class", params=ARCHITECTURES)
    @classmethod
    def checkpoint(cls, toy: Any, request: pytest.FixtureRequest) -> Checkpoint:
        return Checkpoint.at(toy(request.param))

    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls) -> OpenEngine:
        return opened

    @pytest.fixture(scope="class")
    @classmethod
    def noise(cls) -> float:
        return CLOSE

    @pytest.fixture(scope="class")
    @classmethod
    def twin(cls, checkpoint: Checkpoint, engine: Engine) -> NaiveTwin:
        engine.generate([Request("load first", greedy(1))])
        return NaiveTwin(checkpoint.path)  # after vLLM, which must leave transformers as it was

    def test_greedy_answers_of_a_mixed_batch_are_those_of_the_transformers_engine(
        self, engine: Engine, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
    ) -> None:
        requests = greedily([*a_mixed_batch(engine), *a_mixed_batch(engine)[::-1]])
        ours, theirs = engine.generate(requests), TransformersEngine(checkpoint).generate(requests)
        differing = [row for row, pair in enumerate(zip(ours, theirs, strict=True)) if said(pair[0]) != said(pair[1])]
        with capsys.disabled():
            print(f" {checkpoint.label}: {len(differing)} of {len(requests)} greedy answers differ", end="")
        twin = NaiveTwin(checkpoint.path)
        faults = {row: found for row in differing if (found := twin.faults(ours[row], {2}))}
        assert not faults, f"answers differ by more than two logits within 1e-4 of each other: {faults}"

    def test_readings_likelihoods_and_projections_are_those_of_the_naive_engine(
        self, engine: Engine, checkpoint: Checkpoint, twin: NaiveTwin
    ) -> None:
        responses = [each for each in engine.generate(a_mixed_batch(engine)) if each.length]
        readings = engine.read(responses)
        for row, response in enumerate(responses):
            for name, expected in twin.readings(response).items():
                scale = np.abs(expected).max()
                np.testing.assert_allclose(getattr(readings, name)[row], expected, atol=2e-6 * scale, err_msg=name)
        naive = NaiveEngine(checkpoint)
        for ours, theirs in zip(engine.likelihoods(responses), naive.likelihoods(responses), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        probes = [Probe(direction(engine, seed=layer), layer) for layer in range(engine.last_layer + 1)]
        for ours, theirs in zip(engine.project(responses, probes), naive.project(responses, probes), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())

    def test_greedy_and_sampled_tokens_are_ones_the_naive_twin_could_say(self, engine: Engine, twin: NaiveTwin) -> None:
        """Greedy tokens are the likeliest, under the penalty too; sampled ones lie within the share of top-p."""
        for response in engine.generate(a_mixed_batch(engine)):
            sampling, start = response.request.drawn_with, response.response_start
            if sampling.temperature == 0:
                assert not twin.faults(response, {2})
                continue
            _, logits = twin.streams(response.tokens, response.request.edits, response_start=start)
            for step, token in enumerate(response.tokens[start:]):
                spoken = response.tokens[: start + step]
                scores = penalised(logits[start + step - 1], spoken, sampling.repetition_penalty)
                # A share within rounding of top-p may fall on either side.
                assert kept_weights(scores, sampling.temperature, min(1.0, sampling.top_p + 1e-4))[token] > 0

    @pytest.mark.parametrize("where", WHERES)
    def test_a_prompt_of_one_token_is_edited_as_by_the_transformers_engine(
        self, engine: Engine, checkpoint: Checkpoint, where: Any
    ) -> None:
        edits = [(Edit(direction(engine, length=8.0), layer, where),) for layer in range(engine.last_layer + 1)]
        requests = [Request(text, greedy(6), 0, each) for text in "xyz" for each in edits]
        ours, theirs = (each.generate(requests) for each in (engine, TransformersEngine(checkpoint)))
        assert [each.response_start for each in ours] == [1] * len(requests)
        assert [said(each) for each in ours] == [said(each) for each in theirs]

    def test_all_arms_of_a_draw_share_its_random_numbers(self, engine: Engine) -> None:
        nothing = Edit(direction(engine, length=1e-6), 1, "all")
        plain = [Request(text, sampled(10), draw) for text in prompts_of(engine) for draw in range(4)]
        answers = engine.generate([*plain, *(replace(each, edits=(nothing,)) for each in plain)])
        assert [said(each) for each in answers[:20]] == [said(each) for each in answers[20:]]


@pytest.fixture(scope="module")
def llama(toy: Any) -> Iterator[VLLMEngine]:
    engine = opened(Checkpoint.at(toy("Llama")), block_size=32)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(toy: Any) -> TransformersEngine:
    return TransformersEngine(Checkpoint.at(toy("Llama")))


LONG = "Some of what is told here has been told before, and some of it will be told again. " * 3


def long_batch(engine: Engine, *, tokens: int = 24) -> list[Request]:
    """Long prompts under strong edits of every place and layer, greedy, with plain ones between them."""
    requests = []
    for index in range(12):
        text = LONG[: 150 + 7 * index]
        edit = Edit(direction(engine, seed=index, length=12.0), index % (engine.last_layer + 1), WHERES[index % 3])
        requests.append(Request(text, greedy(tokens), 0, (edit,) if index % 4 else ()))
    return requests


def test_texts_computed_in_pieces_are_answered_and_read_as_whole_ones(toy: Any, reference: Engine) -> None:
    cut = {"enable_chunked_prefill": True, "max_num_batched_tokens": 40, "max_num_seqs": 8}
    pieces = opened(Checkpoint.at(toy("Llama")), block_size=32, **cut)
    requests = long_batch(pieces)
    ours, theirs = pieces.generate(requests), reference.generate(requests)
    assert [said(each) for each in ours] == [said(each) for each in theirs]
    assert min(each.response_start for each in ours) > 40, "every prompt takes several steps of 40 tokens"
    read, expected = pieces.read(ours), reference.read(theirs)
    for name in (*SPANS, "norms"):
        scale = np.abs(getattr(expected, name)).max()
        np.testing.assert_allclose(getattr(read, name), getattr(expected, name), atol=2 * CLOSE * scale, err_msg=name)
    for some, others in zip(pieces.likelihoods(ours), reference.likelihoods(theirs), strict=True):
        np.testing.assert_allclose(some, others, atol=1e-5)
    pieces.close()


def test_more_sampled_prompts_than_a_step_holds_are_answered_as_one_by_one(llama: VLLMEngine) -> None:
    """vLLM would cut the prompt that no longer fits, and then it loses count of that request's random numbers."""
    requests = [Request(LONG[: 150 + draw], sampled(6), draw) for draw in range(70)]
    assert sum(len(each.text) for each in requests) > 8193 + 200
    together = llama.generate(requests)
    alone = [llama.generate([each])[0] for each in requests[40:60]]
    assert [said(each) for each in together[40:60]] == [said(each) for each in alone]


def test_a_text_that_is_pushed_out_of_memory_is_edited_again_as_it_was(
    toy: Any, reference: Engine, llama: VLLMEngine
) -> None:
    small = opened(
        Checkpoint.at(toy("Llama")),
        block_size=32,
        num_gpu_blocks_override=26,
        max_model_len=400,
        disable_log_stats=False,
    )
    requests = long_batch(small, tokens=60)
    ours, theirs = small.generate(requests), reference.generate(requests)
    pushed = sum(each.value for each in small._llm.get_metrics() if each.name == "vllm:num_preemptions")
    assert pushed > 0, "nothing was pushed out, so nothing was examined"
    assert [said(each) for each in ours] == [said(each) for each in theirs]
    draws = [replace(each, sampling=sampled(60)) for each in requests]
    assert [said(each) for each in small.generate(draws)] == [said(each) for each in llama.generate(draws)]
    scale = np.abs(reference.read(theirs).response).max()
    difference = np.abs(small.read(ours).response - reference.read(theirs).response).max()
    assert difference <= 2 * CLOSE * scale
    small.close()


class Unsalted(VLLMEngine):
    """An engine whose prefix cache tells texts apart by their tokens alone."""

    def _salt(self, asked: Any) -> None:
        return None


class SaltedByEditAlone(VLLMEngine):
    """An engine whose salt does not say where the prompt ends."""

    def _salt(self, asked: Any) -> str | None:
        return super()._salt(replace(asked, prompt=0))


def after_steered_traffic(engine: Engine, where: Any) -> tuple[list[Request], list[Response]]:
    """Answers to texts that begin with a prompt and its steered answer: plain, and under the same edit."""
    edit = Edit(direction(engine, length=12.0), 1, where)
    steered = engine.generate([Request(LONG[: 150 + row], greedy(60), 0, (edit,)) for row in range(4)])
    # The tokens of the toys are bytes, and what a random one says need not be text: only ASCII is said again.
    texts = [f"{each.request.text}{''.join(filter(str.isascii, each.words))} And then? " * 2 for each in steered]
    requests = [Request(text, greedy(12), 0, edits) for text in texts for edits in ((), (edit,))]
    return requests, engine.generate(requests)


@pytest.mark.parametrize(("kind", "where"), [(Unsalted, "all"), (VLLMEngine, "all"), (VLLMEngine, "response")])
def test_what_was_cached_under_an_edit_serves_no_plain_text(
    kind: type[VLLMEngine], where: Any, toy: Any, reference: Engine
) -> None:
    engine = kind(Checkpoint.at(toy("Llama")), settings={**ROOM, "block_size": 32})
    requests, answers = after_steered_traffic(engine, where)
    right = [said(each) for each in answers] == [said(each) for each in reference.generate(requests)]
    assert right == (kind is VLLMEngine), "without salts this test has to fail, or it examines nothing"
    engine.close()


@pytest.mark.parametrize("kind", [SaltedByEditAlone, VLLMEngine])
def test_an_answer_that_was_cached_as_one_serves_no_prompt(kind: type[VLLMEngine], toy: Any, reference: Engine) -> None:
    """An edit of the response is at tokens that, said again in a longer prompt, it is not at."""
    engine = kind(Checkpoint.at(toy("Llama")), settings={**ROOM, "block_size": 32})
    edit = Edit(direction(engine, length=12.0), 1, "response")
    first = engine.generate([Request(LONG[:70], greedy(100), 0, (edit,))])[0]
    # Known by its tokens, for a random model's answer need not be text that encodes as it was said.
    known = Response(Request("", greedy(1), 0, (edit,)), first.tokens, len(first.tokens) - 1, None, "length")
    again = Continued(engine, known)
    assert again.wrong(reference) == (kind is not VLLMEngine)
    engine.close()


class Continued:
    """What an engine would say after tokens it is given as a prompt, which the port takes as text alone."""

    def __init__(self, engine: VLLMEngine, response: Response) -> None:
        tokens, edits = response.tokens, response.request.edits
        way = {"temperature": 0.0, "max_tokens": 1, "logprobs": 0}
        outputs, _ = engine._run([Asked(len(tokens), len(tokens), edits)], [tokens], [way])
        answer = outputs[0].outputs[0]
        self.token = int(answer.token_ids[0])
        self.chance = answer.logprobs[0][self.token].logprob
        self._known = replace(
            response, tokens=(*tokens, self.token), response_start=len(tokens), request=Request("", None, 0, edits)
        )

    def wrong(self, reference: Engine) -> bool:
        """Whether the reference finds another probability for what was said."""
        return abs(self.chance - float(reference.likelihoods([self._known])[0][0])) > 1e-4


def test_plain_texts_use_the_cache_and_answer_the_same(llama: VLLMEngine, reference: Engine) -> None:
    requests = [Request(LONG[:200], greedy(8)), Request(LONG[:230], greedy(8))]
    expected = [said(each) for each in reference.generate(requests)]
    for _ in range(2):
        assert [said(each) for each in llama.generate(requests)] == expected
        assert [each.response_start for each in llama.generate(requests)] == [200, 230]


class Compiled(VLLMEngine):
    """An engine that would take a compiled model for one that hooks are called in."""

    def _open(self) -> Any:
        import vllm

        # What check_uncompiled would refuse is left to the proof.
        return vllm.LLM(
            str(self.checkpoint.path),
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=256,
            worker_extension_cls=WORKER,
            enforce_eager=False,
            **ROOM,
        )


def test_a_compiled_model_is_refused_by_its_settings_and_by_what_it_does(toy: Any, llama: VLLMEngine) -> None:
    with pytest.raises(EngineError, match=r"enforce_eager=False.*silently be of nothing"):
        opened(Checkpoint.at(toy("Llama")), enforce_eager=False)
    llama.generate([Request("load", greedy(1))])  # which sets the environment vLLM needs
    compiled = Compiled(Checkpoint.at(toy("Llama")))
    with pytest.raises(EngineError, match=r"computed 0 of \d tokens where they could be read|does not steer"):
        compiled.generate([Request("who?", greedy(2))])
    assert compiled._llm is None, "it stays refused"


@pytest.mark.parametrize(
    "settings",
    [{"tensor_parallel_size": 2}, {"speculative_config": {}}, {"worker_cls": "x"}, {"async_scheduling": True}],
)
def test_settings_that_hooks_were_not_proved_under_are_refused(settings: dict[str, Any], toy: Any) -> None:
    with pytest.raises(EngineError, match=next(iter(settings))):
        opened(Checkpoint.at(toy("Llama")), **settings)


@pytest.mark.parametrize("settings", [{"quantization": "fp8"}, {"load_format": "dummy"}, {"dtype": "bfloat16"}])
def test_settings_that_could_change_an_answer_are_refused_for_no_key_tells_of_them(
    settings: dict[str, Any], toy: Any
) -> None:
    with pytest.raises(EngineError, match=f"{next(iter(settings))}=.*could change what is said.*Known: block_size"):
        opened(Checkpoint.at(toy("Llama")), **settings)


def test_sampled_answers_to_prompts_in_pieces_are_refused(toy: Any) -> None:
    pieces = opened(Checkpoint.at(toy("Llama")), enable_chunked_prefill=True)
    with pytest.raises(EngineError, match="loses count of its random numbers"):
        pieces.generate([Request("who?", sampled())])


def broken_weights(tmp_path: Path) -> VLLMEngine:
    """An engine whose weights cannot load: what it answers, it answers before loading them."""
    folder = toy_models.build(tmp_path / "broken", "Llama", max_position_embeddings=64, **SIZES)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return opened(Checkpoint.at(folder))


def test_rendering_sizes_and_every_refusal_come_before_the_weights(tmp_path: Path, toy: Any) -> None:
    engine = broken_weights(tmp_path)
    assert (engine.last_layer, engine.hidden_size) == (toy_models.BLOCKS, 64)
    with pytest.raises(LayerError, match=r"layer 9 asked of broken, which has 3 blocks"):
        engine.generate([Request("x", greedy(), edits=(Edit(np.ones(64), 9),))])
    with pytest.raises(EngineError, match=r"60 tokens and 5 more .* room for 64: shorten the prompt"):
        engine.generate([Request("x" * 60, greedy(5))])
    with pytest.raises(EngineError, match="has no token"):
        engine.generate([Request("", greedy(5))])
    with pytest.raises(EngineError, match="token 9999 cannot be read"):
        engine.read([Response(Request("x", greedy()), (7, 9999), 1, "", "length")])
    with pytest.raises(EngineError, match=r"temperature of 0.005.*vLLM would raise it to 0.01"):
        engine.generate([Request("x", sampled(3, temperature=0.005))])
    with pytest.raises(CheckpointError, match="broken cannot be loaded by vLLM"):
        engine.generate([Request("x", greedy(5))])
    with pytest.raises(EngineError, match="merge it into a checkpoint of its own"):
        VLLMEngine(Checkpoint.at(toy("Llama"), adapter="some/adapter"))
    with pytest.raises(EngineError, match=r"device 'cuda' was asked for"):
        VLLMEngine(Checkpoint.at(toy("Llama")), device="cuda")


def test_a_checkpoint_that_lacks_a_weight_is_refused_rather_than_filled_with_random_numbers(tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "short", "Llama", num_hidden_layers=2, **SIZES)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match="cannot be loaded by vLLM"):
        opened(Checkpoint.at(folder)).generate([Request("x", greedy())])


def test_a_checkpoint_without_an_end_token_can_be_read_and_is_not_asked(tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "endless", "Llama", eos=False, **SIZES)
    toy_models.byte_tokenizer(eos=False).save_pretrained(folder)
    with pytest.raises(EngineError, match="endless names no end-of-text token"):
        opened(Checkpoint.at(folder)).generate([Request("who?", greedy(6))])


def test_opening_by_name_gives_this_engine(toy: Any) -> None:
    engine = open_engine(toy("Llama"), engine="vllm")
    assert isinstance(engine, VLLMEngine)
    assert engine.identity["engine"] == "vllm"
    assert engine.identity["sampler"].startswith("vllm 0."), "its samples are not the transformers engine's"
    with pytest.raises(EngineError, match=r"device_map='auto' was given to the engine vllm"):
        open_engine(toy("Llama"), engine="vllm", device_map="auto")


@pytest.mark.parametrize("way", ["sampled", "greedy", "likelihoods", "project", "read"])
def test_an_edit_beyond_the_dtype_is_an_error_and_whatever_is_asked_next_is_sound(
    way: str, toy: Any, reference: Engine
) -> None:
    """What is no number stays in the cache, and a text that is given its place next would become none either."""
    engine = opened(Checkpoint.at(toy("Llama")), block_size=32, num_gpu_blocks_override=26, max_model_len=400)
    requests = [Request(LONG[: 10 + 12 * row], greedy(12)) for row in range(12)]
    expected = reference.generate(requests)
    beyond = Edit(np.full(engine.hidden_size, 3e38), 1, "all")
    asked = {
        "sampled": lambda: engine.generate([Request("too much", sampled(), edits=(beyond, beyond))]),
        "greedy": lambda: engine.generate([Request("too much", greedy(), edits=(beyond, beyond))]),
        "likelihoods": lambda: engine.likelihoods([edited(each, beyond, beyond) for each in expected]),
        "project": lambda: engine.project([edited(each, beyond, beyond) for each in expected], ()),
        "read": lambda: engine.read([edited(each, beyond, beyond) for each in expected]),
    }
    with pytest.raises(EngineError, match=r"overflows in float32.*lower the strength"):
        asked[way]()
    assert [said(each) for each in engine.generate(requests)] == [said(each) for each in expected]
    scale = np.abs(reference.read(expected).response).max()
    assert np.abs(engine.read(expected).response - reference.read(expected).response).max() <= 2 * CLOSE * scale
    engine.close()


def test_closing_frees_the_weights(toy: Any) -> None:
    engine = opened(Checkpoint.at(toy("Llama")))
    engine.generate([Request("load", greedy(1))])
    weights = weakref.ref(next(model_of(engine).parameters()))
    engine.close()
    assert weights() is None, "the next checkpoint of a lineage would be loaded beside this one"


def test_a_call_that_is_cut_short_leaves_nothing_behind(llama: VLLMEngine, toy: Any, reference: Engine) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    requests = long_batch(llama)
    handle = model_of(llama).register_forward_hook(stop)
    with pytest.raises(Stopped):
        llama.generate(requests)
    handle.remove()
    assert [said(each) for each in llama.generate(requests)] == [said(each) for each in reference.generate(requests)]


def test_any_token_the_generation_config_names_ends_an_answer_and_is_not_part_of_it(
    tmp_path: Path, llama: VLLMEngine
) -> None:
    folder = toy_models.build(tmp_path / "ends", "Llama", **SIZES)
    path, ends = folder / "generation_config.json", list(range(20, 24))
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": ends}))
    stopping = opened(Checkpoint.at(folder))
    requests = [Request("who ends?", sampled(30), draw) for draw in range(40)]
    finishes: Counter[str] = Counter()
    for short, long in zip(stopping.generate(requests), llama.generate(requests), strict=True):
        cut = next((place for place, token in enumerate(long.tokens[9:]) if token in ends), None)
        expected = (long.tokens, long.finish) if cut is None else (long.tokens[: 9 + cut], "stop")
        assert (short.tokens, short.finish) == expected
        finishes[short.finish] += 1
    assert len(finishes) == 2, "some answers end and some run out of tokens"
    stopping.close()


def test_a_text_as_long_as_the_model_has_positions_can_be_answered_and_read(tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "short", "Llama", max_position_embeddings=64, **SIZES)
    engine = opened(Checkpoint.at(folder))
    response = engine.generate([Request("x" * 60, greedy(4))])[0]
    full = replace(response, tokens=(*response.tokens, *[9] * (64 - len(response.tokens))))
    twin = NaiveTwin(folder)
    np.testing.assert_allclose(engine.read([full]).response[0], twin.readings(full)["response"], atol=1e-5)
    assert len(engine.likelihoods([full])[0]) == 4
    engine.close()


def test_tokens_are_drawn_as_often_as_the_model_finds_them_likely(llama: VLLMEngine, toy: Any) -> None:
    draws, text = 4000, "how often?"
    answers = llama.generate([Request(text, sampled(1), draw) for draw in range(draws)])
    # What ended an answer at once has no token: it is the end.
    heard = Counter(each.tokens[each.response_start] if each.length else 2 for each in answers)
    _, logits = NaiveTwin(toy("Llama")).streams(answers[0].tokens[: answers[0].response_start])
    chances = torch.tensor(logits[-1]).double().softmax(-1).numpy()
    expected = chances * draws
    often = expected > 20
    deviations = np.array([heard[token] - expected[token] for token in np.flatnonzero(often)])
    spread = np.sqrt(expected * (1 - chances))[often]
    assert often.sum() >= 5
    assert np.abs(deviations / spread).max() < 5, "a token is drawn more than five deviations too often or too seldom"


def test_bfloat16_adds_in_its_own_dtype_and_is_part_of_the_key(toy: Any) -> None:
    half = VLLMEngine(Checkpoint.at(toy("Llama")), dtype="bfloat16", settings=ROOM)
    assert half.identity["dtype"] == "bfloat16"
    responses = half.generate([Request(text, greedy()) for text in prompts_of(half)])
    added = direction(half)
    plain = half.read(responses)
    moved = half.read([edited(each, Edit(added, 2, "all")) for each in responses])
    np.testing.assert_array_equal(moved.response[:, :2], plain.response[:, :2])
    error = np.linalg.norm((moved.response - plain.response)[:, 2] - added, axis=-1).max() / np.linalg.norm(added)
    assert 0 < error < 0.05, f"bfloat16 holds 8 bits: a relative error of {error:.1e} is not its rounding"
    half.close()


def test_transformers_is_as_it_was_after_vllm_ran_its_classes(toy: Any) -> None:
    checkpoint = Checkpoint.at(toy("Olmo3"))
    requests = greedily(a_mixed_batch(TransformersEngine(checkpoint)))
    before = [said(each) for each in TransformersEngine(checkpoint).generate(requests)]
    torch.manual_seed(1)
    number = torch.rand(1)
    torch.manual_seed(1)
    engine = opened(checkpoint)
    ours = [said(each) for each in engine.generate(requests)]
    after = [said(each) for each in TransformersEngine(checkpoint).generate(requests)]
    assert before == after == ours
    assert torch.rand(1) == number, "vLLM seeds the whole process, which may have random numbers of its own"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1, "vLLM makes torch.set_num_threads do nothing"
    torch.set_num_threads(threads)
    engine.close()


def test_a_vllm_that_would_compile_is_refused_after_loading_too(toy: Any) -> None:
    engine = opened(Checkpoint.at(toy("Llama")))
    llm = engine._open()
    check_uncompiled(llm)
    llm.llm_engine.vllm_config.model_config.enforce_eager = False
    with pytest.raises(EngineError, match="enforce_eager is off"):
        check_uncompiled(llm)
    close_llm(llm)
