"""The penalty on drift, against a naive computation, alone and in both libraries' trainers."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch
import trl as trl_library

import toy_models
import toy_training
from personascope.applications.finetune.penalty import ProjectionPenalty, penalised
from personascope.core.errors import EngineError, LayerError, VectorError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy_models.build(tmp_path_factory.mktemp("Llama"), "Llama")


def streams(model, batch, layer):
    kept = []
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    handle = inner.model.layers[layer - 1].register_forward_hook(lambda _, __, stream: kept.append(stream))
    output = model(**{name: value for name, value in batch.items() if name != "labels"})
    handle.remove()
    return kept[0], output


def naive(model, base, batch, vectors, *, layers, weight):
    """Token by token: the language loss, and the squared difference of every projection at every learned token."""
    labels, total, count, drift = batch["labels"], 0.0, 0, 0.0
    _, output = streams(model, batch, layers[0])
    for row, position in np.argwhere(labels.numpy() != -100):
        logits = output.logits[row, position - 1]
        total = total - torch.log_softmax(logits, -1)[labels[row, position]]
        count += 1
    for layer in layers:
        moved, _ = streams(model, batch, layer)
        with torch.no_grad():
            unmoved, _ = streams(base, batch, layer)
        for vector in vectors:
            unit = torch.tensor(vector.at(layer) / np.linalg.norm(vector.at(layer)))
            for row, position in np.argwhere(labels.numpy() != -100):
                drift = drift + ((moved[row, position] - unmoved[row, position]) @ unit) ** 2
    return total / count + weight * drift / count


@pytest.mark.parametrize("wrapped", [False, True], ids=["frozen copy", "adapter off"])
def test_the_loss_and_its_gradients_are_those_of_a_naive_sum(folder, wrapped):
    base, vectors, batch = (
        toy_training.model(folder),
        [toy_training.vector(0), toy_training.vector(1)],
        toy_training.batch(),
    )
    model = toy_training.adapted(folder) if wrapped else copy.deepcopy(base)
    if not wrapped:
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.mul_(1.3)
    expected = naive(model, base, batch, vectors, layers=[1, 3], weight=0.7)
    expected.backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    reference = None if wrapped else copy.deepcopy(base)
    with ProjectionPenalty(model, vectors, layers=[1, 3], weight=0.7, reference=reference) as penalty:
        asked = {name: value for name, value in batch.items() if name != "labels"}
        found = penalty(model(**asked), batch["labels"])
    found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert float(found.detach()) > 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient, rtol=1e-3, atol=1e-4)


def test_a_model_that_has_not_moved_pays_nothing(folder):
    model, batch = toy_training.adapted(folder, moved=False), toy_training.batch()
    with ProjectionPenalty(model, [toy_training.vector()], layers=[2], weight=5.0) as penalty:
        model(**batch)
        assert float(penalty.penalty(batch["labels"]).detach()) == 0.0
        assert penalty.drift == 0.0


def test_afterwards_no_hook_is_left(folder):
    model, batch = toy_training.model(folder), toy_training.batch()
    before = model(**batch).logits
    with (
        contextlib.suppress(RuntimeError),
        ProjectionPenalty(model, [toy_training.vector()], layers=[2], weight=1.0, reference=copy.deepcopy(model)),
    ):
        raise RuntimeError
    assert torch.equal(model(**batch).logits, before)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


def test_what_cannot_be_penalised_is_refused(folder):
    model, vector = toy_training.model(folder), toy_training.vector()
    with pytest.raises(EngineError, match="no adapter to turn off"):
        ProjectionPenalty(model, [vector], layers=[2], weight=1.0)
    with pytest.raises(VectorError, match="weight -1"):
        ProjectionPenalty(model, [vector], layers=[2], weight=-1.0, reference=model)
    deep = ProjectionPenalty(
        model, [toy_training.vector(layers=9)], layers=[8], weight=1.0, reference=copy.deepcopy(model)
    )
    with pytest.raises(LayerError, match="layer 8"), deep:
        pass
    closed = ProjectionPenalty(model, [vector], layers=[2], weight=1.0, reference=copy.deepcopy(model))
    with pytest.raises(EngineError, match="no forward pass was seen"):
        closed.penalty(toy_training.batch()["labels"])


# TRL says that it will do without compute_loss_func one day; not every version says so.
@pytest.mark.filterwarnings("ignore:.*compute_loss_func:FutureWarning")
@pytest.mark.parametrize("accumulated", [1, 2])
def test_in_both_trainers_the_first_loss_is_the_naive_one(folder, tmp_path, accumulated):
    vector = toy_training.vector()
    logged = {}
    for name, make in (("transformers", toy_training.stock), ("TRL", toy_training.trl)):
        model = toy_training.adapted(folder)
        with ProjectionPenalty(model, [vector], layers=[2], weight=3.0) as penalty:
            trainer = make(
                model, tmp_path, compute_loss_func=penalty, max_steps=1, gradient_accumulation_steps=accumulated
            )
            trainer.train()
        logged[name] = trainer.state.log_history[0]["loss"]
        plain = make(toy_training.adapted(folder), tmp_path, max_steps=1, gradient_accumulation_steps=accumulated)
        plain.train()
        assert logged[name] > plain.state.log_history[0]["loss"] + 1e-3, "the drift of a moved adapter costs something"
    model = toy_training.adapted(folder)
    with ProjectionPenalty(model, [vector], layers=[2], weight=3.0) as penalty:
        trainer = toy_training.trl(
            model,
            tmp_path,
            base=penalised(trl_library.SFTTrainer, penalty),
            max_steps=1,
            gradient_accumulation_steps=accumulated,
        )
        trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(logged["TRL"], rel=1e-4)
