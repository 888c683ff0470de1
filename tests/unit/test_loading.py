"""What a checkpoint is resolved to, and what is said when it cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

import toy_models
from personascope.core.errors import CheckpointError, EngineError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.engines.hf.loading import (
    choose_device,
    choose_dtype,
    end_tokens,
    load_config,
    load_model,
    load_tokenizer,
    resolve,
)

transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A toy checkpoint of its own."""
    return toy_models.build(tmp_path / "toy", num_hidden_layers=1, layer_types=["full_attention"])


def revision(folder: Path) -> str:
    return resolve(Checkpoint.at(folder)).revision


def test_a_folder_is_named_by_its_content_and_not_by_its_place(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    here, there = resolve(Checkpoint.at(folder)), resolve(Checkpoint.at(moved))
    assert (here.model, len(here.revision)) == ("folder", 64)
    assert here == there
    assert key_of("x", {"c": here}) == key_of("x", {"c": there})
    assert (here.path, there.path) == (folder, moved)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_that_can_change_an_answer_changes_the_revision(folder: Path, name: str) -> None:
    before = revision(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert revision(folder) != before, name


@pytest.mark.parametrize("name", ["README.md", "optimizer.pt", "trainer_state.json", "evil.safetensors", ".lock"])
def test_a_file_that_changes_no_answer_leaves_the_revision(folder: Path, name: str) -> None:
    before = revision(folder)
    (folder / name).write_text("something")
    assert revision(folder) == before, name


def test_two_files_that_swap_their_content_are_another_checkpoint(folder: Path) -> None:
    before = revision(folder)
    first, second = folder / "config.json", folder / "generation_config.json"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert revision(folder) != before


def test_a_folder_that_changed_since_its_revision_was_recorded_is_refused(folder: Path) -> None:
    recorded = resolve(Checkpoint.at(folder))
    assert resolve(recorded) == recorded
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(CheckpointError, match="put the old files back"):
        resolve(recorded)


def test_what_is_not_a_checkpoint_is_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, reason in ((tmp_path / "none", "is not a folder"), (tmp_path / "empty", r"has no config\.json")):
        with pytest.raises(CheckpointError, match=reason):
            resolve(Checkpoint("folder", "", path=place))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        resolve(Checkpoint.at(folder))
    with pytest.raises(CheckpointError, match="holds no PEFT adapter"):
        resolve(Checkpoint.at(toy_models.build(tmp_path / "base"), adapter=str(tmp_path / "empty")))


def test_a_broken_config_and_a_missing_tokenizer_are_one_line_each(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    checkpoint = resolve(Checkpoint.at(folder))
    with pytest.raises(CheckpointError, match="the tokenizer of toy cannot be loaded") as caught:
        load_tokenizer(checkpoint, folder)
    assert "\n" not in str(caught.value)
    (folder / "config.json").write_text("{not json")
    with pytest.raises(CheckpointError, match="the config of toy cannot be loaded") as caught:
        load_config(checkpoint, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "own", "expected"),
    [(7, True, {7, 2}), ([7, 9], True, {7, 9, 2}), (None, True, {2}), (7, False, {7}), (None, False, {2})],
)
def test_a_response_ends_at_what_the_generation_config_or_the_tokenizer_names(
    folder: Path, said: object, own: bool, expected: set[int]
) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": said}))
    checkpoint = resolve(Checkpoint.at(folder))
    tokenizer = toy_models.byte_tokenizer(eos=own)
    assert end_tokens(folder, load_config(checkpoint, folder), tokenizer) == expected


def test_a_damaged_generation_config_is_refused_and_not_passed_over(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, ')
    checkpoint = resolve(Checkpoint.at(folder))
    with pytest.raises(CheckpointError, match=r"generation_config.json cannot be read .* fetch it again"):
        end_tokens(folder, load_config(checkpoint, folder), toy_models.byte_tokenizer())


def test_weights_of_more_blocks_than_the_config_names_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["num_hidden_layers"] -= 1
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][:-1]
    path.write_text(json.dumps(config))
    named = config["num_hidden_layers"]
    with pytest.raises(
        CheckpointError, match=rf"has weights of block {named + 1}, and its config names {named} blocks"
    ):
        load_model(resolve(Checkpoint.at(folder)), device=torch.device("cpu"), dtype=torch.float32)


def test_without_a_generation_config_the_config_says_what_ends_a_response(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 11}
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = resolve(Checkpoint.at(folder))
    assert end_tokens(folder, load_config(checkpoint, folder), toy_models.byte_tokenizer()) == {11, 2}


def test_the_default_dtype_is_float32_on_a_cpu_and_bfloat16_on_cuda() -> None:
    assert choose_dtype(None, torch.device("cpu")) == torch.float32
    assert choose_dtype(None, torch.device("mps")) == torch.float32
    assert choose_dtype(None, torch.device("cuda")) == torch.bfloat16


def test_an_unknown_dtype_or_device_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(EngineError, match="did you mean 'bfloat16'"):
        choose_dtype("bfloat", torch.device("cpu"))
    with pytest.raises(EngineError, match="device 'cudda' is unknown; did you mean 'cuda'"):
        choose_device("cudda")
    with pytest.raises(EngineError, match=r"torch finds only .*: choose one"):
        choose_device("cuda:99")


def test_a_revision_is_part_of_no_path(folder: Path) -> None:
    resolved = resolve(Checkpoint.at(folder))
    assert resolve(replace(resolved, revision="")) == resolved
