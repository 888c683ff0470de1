"""Guards and watches in stock trainers: transformers' Trainer and TRL's SFTTrainer, plain and LoRA."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers

import toy_models
import toy_training
from personascope.applications.finetune.callback import GuardCallback
from personascope.applications.finetune.guards import Schedule, ablation, preventative
from personascope.applications.finetune.watch import ProjectionWatch
from personascope.core.errors import EngineError, LayerError, StudyError
from personascope.core.records import Request, Response
from personascope.engines.opening import open_engine

TRAINERS = {"transformers": toy_training.stock, "TRL": toy_training.trl}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: toy_models.build(tmp_path_factory.mktemp(name), name) for name in ("Qwen2", "Llama")}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("architecture", ["Qwen2", "Llama"])
@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["full", "LoRA"])
def test_a_guarded_run_ends_where_one_with_hooks_by_hand_does(folders, tmp_path, architecture, trainer, wrapped):
    folder, make, vector = folders[architecture], TRAINERS[trainer], toy_training.vector()
    build = toy_training.adapted if wrapped else toy_training.model
    guard = preventative([vector], layers=[2], strength=3.0)

    guarded, by_hand, unguarded = build(folder), build(folder), build(folder)
    make(guarded, tmp_path, callbacks=[GuardCallback(guard)]).train()
    inner = by_hand.get_base_model() if wrapped else by_hand
    added = torch.tensor(3.0 * vector.at(2))
    handle = inner.model.layers[1].register_forward_hook(lambda _, __, stream: stream + added)
    make(by_hand, tmp_path).train()
    handle.remove()
    make(unguarded, tmp_path).train()

    assert same(toy_training.weights(guarded), toy_training.weights(by_hand))
    assert not same(toy_training.weights(guarded), toy_training.weights(unguarded)), "the guard did nothing"
    batch = toy_training.batch()
    with torch.no_grad():
        assert torch.equal(guarded.eval()(**batch).logits, by_hand.eval()(**batch).logits), "a hook was left behind"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_with_activations_recomputed_and_batches_accumulated_it_is_the_same_run(folders, tmp_path, trainer):
    found = []
    for recomputed in (False, True):
        model = toy_training.model(folders["Llama"])
        callback = GuardCallback(preventative([toy_training.vector()], layers=[1, 2], strength=2.0))
        kwargs = {"activation_checkpointing_kwargs": {"use_reentrant": False}} if recomputed else {}
        TRAINERS[trainer](
            model,
            tmp_path,
            callbacks=[callback],
            activation_checkpointing=recomputed,
            gradient_accumulation_steps=2,
            **kwargs,
        ).train()
        found.append(toy_training.weights(model))
    assert same(*found)


def test_ablation_trains_through_the_same_callback(folders, tmp_path):
    guarded, plain = (toy_training.model(folders["Qwen2"]) for _ in range(2))
    guard = ablation([toy_training.vector()], layers=[1, 2, 3])
    toy_training.stock(guarded, tmp_path, callbacks=[GuardCallback(guard)]).train()
    toy_training.stock(plain, tmp_path).train()
    assert not same(toy_training.weights(guarded), toy_training.weights(plain))


def test_evaluation_during_training_is_of_the_model_without_its_guard(folders, tmp_path):
    class Looking(transformers.TrainerCallback):
        def __init__(self):
            self.found = []

        def on_prediction_step(self, args, state, control, *, model, **_):
            self.found.append(sum(len(block._forward_hooks) for block in model.model.layers))

    looking = Looking()
    callback = GuardCallback(preventative([toy_training.vector()], layers=[2], strength=3.0))
    model = toy_training.model(folders["Llama"])
    trainer = toy_training.stock(model, tmp_path, callbacks=[callback, looking], eval_strategy="steps", eval_steps=1)
    trainer.train()
    assert looking.found
    assert set(looking.found) == {0}


def test_a_guard_that_no_forward_pass_meets_ends_the_run(folders, tmp_path):
    model = toy_training.model(folders["Llama"])
    other = copy.deepcopy(model)

    class Elsewhere(transformers.Trainer):
        def compute_loss(self, _, inputs, *args, **kwargs):
            return other(**inputs).loss

    callback = GuardCallback(preventative([toy_training.vector()], layers=[2], strength=1.0))
    with pytest.raises(EngineError, match="layer 2 was to be guarded in step 1"):
        toy_training.stock(model, tmp_path, base=Elsewhere, callbacks=[callback]).train()


def test_an_unknown_layer_is_named_when_training_begins(folders, tmp_path):
    guard = preventative([toy_training.vector(layers=9)], layers=[7], strength=1.0)
    with pytest.raises(LayerError, match="layer 7"):
        toy_training.stock(toy_training.model(folders["Llama"]), tmp_path, callbacks=[GuardCallback(guard)]).train()


def hooks_on(model):
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def test_a_broken_forward_pass_leaves_no_hook(folders, tmp_path):
    model = toy_training.model(folders["Llama"])

    def broken(module, args, kwargs):
        raise RuntimeError("on purpose")

    handle = model.model.layers[2].register_forward_pre_hook(broken, with_kwargs=True)
    callback = GuardCallback(preventative([toy_training.vector()], layers=[2], strength=1.0))
    with pytest.raises(RuntimeError, match="on purpose"):
        toy_training.stock(model, tmp_path, callbacks=[callback]).train()
    handle.remove()
    assert hooks_on(model) == 0


def test_within_the_callback_any_error_leaves_no_hook(folders, tmp_path):
    model = toy_training.model(folders["Llama"])

    class Broken(transformers.Trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            model(**inputs)
            raise RuntimeError("on purpose")

    guard = preventative([toy_training.vector()], layers=[2], strength=1.0)
    with pytest.raises(RuntimeError, match="on purpose"), GuardCallback(guard) as callback:
        toy_training.stock(model, tmp_path, base=Broken, callbacks=[callback]).train()
    assert hooks_on(model) == 0


def test_after_an_error_in_the_loss_a_bare_callback_edits_no_evaluation(folders, tmp_path):
    model, batch = toy_training.model(folders["Llama"]), toy_training.batch()
    with torch.no_grad():
        before = model.eval()(**batch).logits

    class Broken(transformers.Trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            model(**inputs)
            raise RuntimeError("on purpose")

    callback = GuardCallback(preventative([toy_training.vector()], layers=[0, 2], strength=3.0))
    with pytest.raises(RuntimeError, match="on purpose"):
        toy_training.stock(model, tmp_path, base=Broken, callbacks=[callback]).train()
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch).logits, before), "a guard of a broken run steers what is asked after"
        assert not torch.equal(model.train()(**batch).logits, before), "while it trains on, it is guarded"


def test_a_schedule_scales_every_step(folders, tmp_path):
    model, vector, seen = toy_training.model(folders["Llama"]), toy_training.vector(), []
    guard = preventative([vector], layers=[2], strength=4.0, schedule=Schedule(warm_up=1.0))
    before = []
    first = model.model.layers[1].register_forward_hook(lambda _, __, stream: before.append(stream.detach()))

    class Looking(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, *, model, **_):
            self.handle = model.model.layers[1].register_forward_hook(
                lambda _, __, stream: seen.append(float((stream.detach() - before[-1]).norm(dim=-1).mean()))
            )

        def on_step_end(self, *_, **__):
            self.handle.remove()

    toy_training.stock(model, tmp_path, callbacks=[GuardCallback(guard), Looking()], max_steps=4).train()
    first.remove()
    length = 4.0 * float(vector.lengths[2])
    np.testing.assert_allclose(seen, [length * share for share in (0.25, 0.5, 0.75, 1.0)], rtol=1e-4)


def test_a_watch_measures_what_an_engine_reads(folders):
    vector, prompts = toy_training.vector(), ("so it goes", "quite")
    engine = open_engine(folders["Qwen2"])
    responses = engine.encode([Response(Request(each, None), None, None, "", "unknown") for each in prompts])
    stream = engine.read(responses).last_prompt[:, 2].astype(np.float64)
    expected = float((stream @ vector.at(2)).mean() / vector.lengths[2])
    watch = ProjectionWatch({"calm": vector}, [each.spoken[0] for each in responses], layer=2)
    model = toy_training.model(folders["Qwen2"])
    model.model.layers[0].eval()
    assert watch.measure(model)["calm"] == pytest.approx(expected, rel=1e-4)
    assert model.training
    assert not model.model.layers[0].training, "a watch leaves every module in the mode it was in"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_trainers_own_log_holds_the_projections(folders, tmp_path, trainer):
    watch = ProjectionWatch({"calm": toy_training.vector()}, [(9, 10), (11,)], layer=2, every=1)
    made = TRAINERS[trainer](toy_training.model(folders["Llama"]), tmp_path, max_steps=3)
    watch.attach(made)
    made.train()
    logged = [each for each in made.state.log_history if "projection/calm" in each]
    assert [each["step"] for each in logged] == [0, 1, 2, 3]
    assert logged[0]["shift/calm"] == 0
    assert logged[-1]["shift/calm"] == pytest.approx(logged[-1]["projection/calm"] - logged[0]["projection/calm"])
    assert all("loss" not in each for each in logged)


def test_past_its_bound_it_warns_once_and_may_end_the_run(folders, tmp_path):
    model, said = toy_training.model(folders["Llama"]), []
    vector = toy_training.vector()
    # Along whichever way the model moves: the bound is below any move at all.
    for sign in (1, -1):
        moved = vector.with_directions(sign * vector.directions, origin="either")
        watch = ProjectionWatch({"calm": moved}, [(9, 10)], layer=2, every=1, bound=1e-9, stop=True, warn=said.append)
        trainer = toy_training.stock(copy.deepcopy(model), tmp_path, callbacks=[watch], max_steps=5)
        trainer.train()
        if said:
            break
    assert len(said) == 1
    assert "calm vector at layer 2" in said[0]
    assert trainer.state.global_step < 5


def test_a_watch_of_nothing_is_refused():
    with pytest.raises(StudyError, match="0 prompts"):
        ProjectionWatch({"calm": toy_training.vector()}, [], layer=2)
