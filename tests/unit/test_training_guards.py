"""Guards of training: what they are as values, and what they do to a forward pass and its gradients."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy_models
import toy_training
from personascope.applications.finetune.callback import guarded
from personascope.applications.finetune.guards import Guard, Schedule, ablation, preventative
from personascope.core.edits import Edit
from personascope.core.errors import LayerError, StudyError, VectorError

ARCHITECTURES = ("Qwen2", "Llama")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, tmp_path_factory):
    return toy_models.build(tmp_path_factory.mktemp(request.param), request.param)


def gradients(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def blocks_of(model):
    return (model.get_base_model() if hasattr(model, "peft_config") else model).model.layers


@given(warm_up=st.floats(0, 0.5), decay=st.floats(0, 0.5), steps=st.integers(1, 50))
def test_a_schedule_never_pushes_backwards_nor_harder_than_asked(warm_up, decay, steps):
    factors = [Schedule(warm_up, decay).factor(step, steps) for step in range(steps)]
    assert all(0 < each <= 1 for each in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])


def test_without_warm_up_and_decay_a_guard_is_constant():
    assert {Schedule().factor(step, 7) for step in range(7)} == {1.0}


@pytest.mark.parametrize("shares", [(-0.1, 0), (0.6, 0.6), (float("nan"), 0)])
def test_a_schedule_that_is_no_part_of_a_run_is_refused(shares):
    with pytest.raises(StudyError, match="shares of the steps"):
        Schedule(*shares)


def test_increments_add_up_to_the_vector_over_its_start():
    vector = toy_training.vector()
    for start, origin in (("embedding", vector.at(0)), ("zero", 0 * vector.at(0))):
        guard = preventative([vector], layers=[1, 2, 3], strength=2.0, increments=start)
        total = np.sum([edit.direction for edit in guard.edits], axis=0)
        np.testing.assert_allclose(total, 2.0 * (vector.at(3) - origin), atol=1e-5)


def test_several_layers_without_increments_each_get_the_whole_vector():
    vector = toy_training.vector()
    guard = preventative([vector], layers=[3, 1], strength=1.5)
    assert guard.layers == (1, 3)
    for edit in guard.edits:
        np.testing.assert_allclose(edit.direction, 1.5 * vector.at(edit.layer), rtol=1e-6)


def test_what_a_guard_cannot_be_is_refused():
    vector = toy_training.vector()
    with pytest.raises(LayerError, match="layer 9"):
        preventative([vector], layers=[9], strength=1.0)
    with pytest.raises(LayerError, match="without a layer"):
        ablation([vector], layers=[])
    with pytest.raises(StudyError, match="increments"):
        preventative([vector], layers=[1], strength=1.0, unit="unit", increments="zero")
    with pytest.raises(StudyError, match="every position"):
        Guard((Edit(vector.at(1), 1, "response"),))
    with pytest.raises(StudyError, match="without an edit"):
        Guard(())
    with pytest.raises(VectorError, match="no length"):
        ablation([vector.with_directions(0 * vector.directions, origin="nothing")], layers=[1])


def test_a_guard_of_another_width_or_depth_is_refused_before_it_acts(folder):
    model = toy_training.model(folder)
    narrow = Guard((Edit(np.ones(7), 1, "all"),))
    with pytest.raises(VectorError, match="7"), guarded(model, narrow):
        pass
    deep = Guard((Edit(np.ones(toy_models.HIDDEN), 99, "all"),))
    with pytest.raises(LayerError, match="layer 99"), guarded(model, deep):
        pass


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "LoRA"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "recomputed"])
def test_its_gradients_are_those_of_a_hook_written_by_hand(folder, wrapped, checkpointed):
    model = toy_training.adapted(folder) if wrapped else toy_training.model(folder)
    vector, batch = toy_training.vector(), toy_training.batch()
    if checkpointed:
        enable = getattr(model, toy_training.by_its_name_here("activation_checkpointing_enable"))
        enable({"use_reentrant": False})
        if wrapped:
            model.enable_input_require_grads()
    with guarded(model, preventative([vector], layers=[1, 3], strength=2.0)) as fired:
        found = gradients(model, batch)
    added = {blocks_of(model)[layer - 1]: torch.tensor(2.0 * vector.at(layer)) for layer in (1, 3)}
    handles = [block.register_forward_hook(lambda block, _, stream: stream + added[block]) for block in added]
    naive = gradients(model, batch)
    for handle in handles:
        handle.remove()
    assert torch.equal(found[0], naive[0])
    assert same(found[1], naive[1]), "a guard is nothing but the vector, added to the block's output"
    assert set(fired) == {1, 3}
    assert all(count >= 1 for count in fired.values())


def test_afterwards_the_model_is_bit_for_bit_the_unguarded_one(folder):
    model, batch = toy_training.model(folder), toy_training.batch()
    untouched = toy_training.model(folder)
    with contextlib.suppress(RuntimeError), guarded(model, ablation([toy_training.vector()], layers=[2])):
        assert not torch.equal(model(**batch).logits, untouched(**batch).logits)
        raise RuntimeError("even so")
    assert torch.equal(model(**batch).logits, untouched(**batch).logits)


def test_adding_nothing_changes_neither_loss_nor_gradient(folder):
    model, batch = toy_training.model(folder), toy_training.batch()
    plain = gradients(model, batch)
    with guarded(model, preventative([toy_training.vector()], layers=[0, 2], strength=0.0)):
        nothing = gradients(model, batch)
    assert torch.equal(plain[0], nothing[0])
    assert same(plain[1], nothing[1])


def test_ablation_leaves_no_projection_on_anything_the_vectors_span(folder):
    model, batch = toy_training.model(folder), toy_training.batch()
    vectors = [toy_training.vector(seed) for seed in (0, 1)]
    left = []
    with guarded(model, ablation(vectors, layers=[2])):
        # Hooks run in the order in which they were put on: this one sees what the guard leaves.
        handle = blocks_of(model)[1].register_forward_hook(lambda _, __, stream: left.append(stream.detach()))
        model(**batch)
        handle.remove()
    for vector in vectors:
        unit = torch.tensor(vector.at(2) / np.linalg.norm(vector.at(2)))
        assert float((left[0] @ unit).abs().max()) < 1e-4
    assert float(left[0].abs().max()) > 0.1


def test_a_guard_adds_in_the_dtype_of_the_stream(folder):
    model = toy_training.model(folder).to(torch.bfloat16)
    seen = []
    with guarded(model, preventative([toy_training.vector()], layers=[2], strength=1.0)):
        handle = blocks_of(model)[1].register_forward_hook(lambda _, __, stream: seen.append(stream.dtype))
        model(**toy_training.batch())
        handle.remove()
    assert seen == [torch.bfloat16]


def test_a_factor_scales_what_is_added(folder):
    model, batch, vector = toy_training.model(folder), toy_training.batch(), toy_training.vector()
    with guarded(model, preventative([vector], layers=[2], strength=2.0), factor=0.5):
        half = model(**batch).logits
    with guarded(model, preventative([vector], layers=[2], strength=1.0)):
        assert torch.equal(half, model(**batch).logits)
