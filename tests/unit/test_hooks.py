"""Finding, reading and writing the residual stream, and what is added to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import toy_models
from personascope.core.errors import EngineError
from personascope.core.records import Edit
from personascope.engines.hf.edits import Shifts
from personascope.engines.hf.hooks import ResidualStream, find_blocks

transformers.utils.logging.disable_progress_bar()
PATHS = {"GPTNeoX": "gpt_neox.layers"}


def model_of(folder: Path, architecture: str, **settings: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(toy_models.build(folder, architecture, **settings))


@pytest.mark.parametrize("architecture", toy_models.ARCHITECTURES)
def test_the_blocks_of_every_architecture_are_found_without_its_name(architecture: str, tmp_path: Path) -> None:
    model = model_of(tmp_path, architecture)
    assert find_blocks(model, toy_models.BLOCKS) is model.get_submodule(PATHS.get(architecture, "model.layers"))


def test_as_many_experts_as_blocks_are_not_taken_for_blocks(tmp_path: Path) -> None:
    model = model_of(tmp_path, "Mixtral", num_local_experts=toy_models.BLOCKS)
    assert find_blocks(model, toy_models.BLOCKS) is model.model.layers


def test_blocks_are_found_through_an_adapters_wrapping(tmp_path: Path) -> None:
    import peft

    model = model_of(tmp_path, "Llama")
    blocks = model.model.layers
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "embed_tokens"]))
    assert find_blocks(wrapped, toy_models.BLOCKS) is blocks


class Tower(nn.Module):
    """Something with a list of blocks, and perhaps an embedding beside it."""

    def __init__(self, *, embedding: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4) if embedding else nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))


class Multimodal(nn.Module):
    """A vision tower as deep as the language model, which lies two levels down."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.vision_tower = Tower(embedding=False)
        self.model.language_model = Tower(embedding=True)

    def get_input_embeddings(self) -> nn.Module:
        return self.model.language_model.embed  # type: ignore[union-attr, return-value]


def test_a_vision_tower_as_deep_as_the_language_model_is_not_taken_for_it() -> None:
    model = Multimodal()
    assert find_blocks(model, 3) is model.model.language_model.layers  # type: ignore[union-attr]


def test_a_model_without_such_blocks_is_refused_with_what_was_looked_for() -> None:
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=9, is_decoder=True
    )
    with pytest.raises(EngineError, match=r"BertLMHeadModel was not found: looked for one list of 2 blocks beside"):
        find_blocks(transformers.BertLMHeadModel(config), 2)


def test_layer_0_is_what_enters_the_first_block_after_any_scaling_of_the_embedding(tmp_path: Path) -> None:
    model = model_of(tmp_path, "Gemma3Text")
    seen: list[torch.Tensor] = []

    def touch(stream: torch.Tensor) -> torch.Tensor:
        seen.append(stream)
        return stream

    with torch.no_grad(), ResidualStream(model, blocks=3, hidden_size=32).touched({0: touch}):
        model(torch.tensor([[9, 8, 7]]))
    plain = model.model.embed_tokens.weight[[9, 8, 7]]
    torch.testing.assert_close(seen[0][0], plain * 32**0.5)


class Block(nn.Module):
    """Doubles the stream; answers with a tuple where asked to."""

    def __init__(self, as_tuple: bool) -> None:
        super().__init__()
        self.as_tuple = as_tuple

    def forward(self, hidden_states: torch.Tensor) -> Any:
        return (hidden_states * 2, "weights") if self.as_tuple else hidden_states * 2


class Model(nn.Module):
    """Two blocks, the first called by position or by name."""

    def __init__(self, *, as_tuple: bool, by_name: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(Block(as_tuple) for _ in range(2))
        self.by_name = by_name

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        for block in self.layers:
            stream = block(hidden_states=stream) if self.by_name else block(stream)
            stream = stream[0] if isinstance(stream, tuple) else stream
        return stream


@pytest.mark.parametrize("as_tuple", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_every_layer_is_written_whatever_a_block_takes_and_returns(as_tuple: bool, by_name: bool) -> None:
    model = Model(as_tuple=as_tuple, by_name=by_name)
    stream = ResidualStream(model, blocks=2, hidden_size=4)
    given = torch.ones(1, 3, 4)
    with stream.touched({layer: (lambda each, layer=layer: each + 10**layer) for layer in range(3)}):  # type: ignore[misc]
        moved = model(given)
    assert moved[0, 0, 0] == ((1 + 1) * 2 + 10) * 2 + 100
    assert model(given)[0, 0, 0] == 4, "a hook stayed behind"
    assert (given == 1).all(), "the caller's tensor was written into"


def test_a_stream_of_another_shape_is_refused() -> None:
    stream = ResidualStream(Model(as_tuple=False, by_name=False), blocks=2, hidden_size=5)
    with pytest.raises(EngineError, match=r"carries \(1, 3, 4\) where a residual stream"), stream.touched({1: abs}):
        stream._blocks[0](torch.ones(1, 3, 4))


def test_adding_nothing_leaves_every_bit_even_the_sign_of_zero() -> None:
    rows = [(), (Edit(np.ones(4), 1),)]
    touches = Shifts(rows, hidden_size=4, dtype=torch.float32).onward(np.arange(2), torch.device("cpu"))
    stream = torch.full((2, 1, 4), -0.0)
    moved = touches[1](stream)
    assert torch.signbit(moved[0]).all(), "-0.0 became 0.0 in the row without an edit"
    assert (moved[1] == 1).all()


def test_an_edit_of_zeros_asks_for_no_hook() -> None:
    shifts = Shifts([(Edit(np.zeros(4), 1),)], hidden_size=4, dtype=torch.float32)
    assert shifts.over(torch.zeros(1, 3, dtype=torch.long)) == {}
    assert shifts.onward(np.arange(1), torch.device("cpu")) == {}


def test_many_rows_of_the_same_few_edits_hold_each_edit_once() -> None:
    edits = [(Edit(np.ones(4) * size, 1),) for size in range(1, 4)]
    rows = [edits[row % 3] for row in range(300)]
    shifts = Shifts(rows, hidden_size=4, dtype=torch.float32)
    moved = shifts.onward(np.arange(300), torch.device("cpu"))[1](torch.zeros(300, 1, 4))
    assert moved[:, 0, 0].tolist() == [1.0 + row % 3 for row in range(300)]
    assert shifts._tables[1].shape[0] == 3


@pytest.mark.parametrize("architecture", ["Olmo3", "GPTNeoX"])
def test_a_pass_that_is_not_needed_to_its_end_stops_after_the_layer_it_is_needed_to(
    architecture: str, tmp_path: Path
) -> None:
    model = model_of(tmp_path, architecture)
    stream, tokens = ResidualStream(model, blocks=3, hidden_size=32), torch.arange(6, 18)[None]
    computed: list[int] = []
    for block, module in enumerate(find_blocks(model, 3), 1):
        module.register_forward_hook(lambda *_, block=block: computed.append(block))
    for until in range(4):
        whole, cut = dict[int, torch.Tensor](), dict[int, torch.Tensor]()
        with torch.no_grad(), stream.touched({until: lambda each: whole.setdefault(0, each + 1)}):  # noqa: B023
            model(tokens)
        computed.clear()
        with torch.no_grad(), stream.touched({until: lambda each: cut.setdefault(0, each + 1)}, until=until):  # noqa: B023
            model(tokens)
            pytest.fail("the pass went on after the last layer that was asked for")
        assert computed == list(range(1, until + 1))
        assert torch.equal(whole[0], cut[0])
    computed.clear()
    with torch.no_grad():
        model(tokens)
    assert computed == [1, 2, 3], "a pass that was cut short left a hook behind"
