"""Runs from a configuration to a folder: what is learned, what is saved, and what is refused before anything is."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

import personascope as ps
import toy_models
import toy_training
from personascope.applications.finetune.config import (
    Finetuning,
    Guarding,
    Penalising,
    Training,
    Vectors,
    Watching,
    read_finetuning,
    samples_named,
)
from personascope.applications.finetune.examples import IGNORED, collated, examples_of
from personascope.applications.finetune.keeping import place_of
from personascope.applications.finetune.run import finetune
from personascope.applications.finetune.trained import trained_model
from personascope.core.errors import (
    CheckpointError,
    EngineError,
    PersonascopeError,
    SampleError,
    StoreError,
    StudyError,
)
from personascope.core.records import Request, Response
from personascope.core.samples import Message, Sample
from personascope.engines.hf import loading
from personascope.store.store import Store
from personascope.studies.context import RunContext
from personascope.studies.replay import ReplayContext

QUICK = {"batch": 2, "accumulation": 1, "max_steps": 2, "learning_rate": 1e-2, "warm_up_steps": 0, "rank": 4}
SAMPLES = [Sample((Message("user", f"ask {i}"), Message("assistant", f"answer {i}"))) for i in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy_models.build(tmp_path_factory.mktemp("Qwen2"), "Qwen2")


def configured(folder, **changes):
    training = Training(**{**QUICK, **changes.pop("training", {})})
    return Finetuning(str(folder), ("a file",), training=training, **changes)


def test_what_is_learned_is_the_answer_as_the_engine_encodes_it_and_its_end(folder):
    engine = ps.open_engine(folder)
    tokenizer = loading.load_tokenizer(engine.checkpoint, folder)
    sample = Sample(
        tuple(
            Message(role, text)
            for role, text in (
                ("system", "be brief"),
                ("user", "one ?"),
                ("assistant", "uno"),
                ("user", "two ?"),
                ("assistant", "dos"),
            )
        )
    )
    prepared = examples_of(tokenizer, [sample])
    assert len(prepared.examples) == 2, "every assistant turn is one example"
    for example, (prompt, answer) in zip(prepared.examples, sample.exchanges, strict=True):
        request = Request(engine.render(prompt), None)
        (asked,) = engine.encode([Response(request, None, None, " " + answer, "unknown")])
        tokens, start = asked.spoken
        assert example.tokens == (*tokens, tokenizer.eos_token_id)
        assert example.response_start == start
        assert example.labels == (IGNORED,) * start + example.tokens[start:]


def test_a_chat_template_ends_an_answer_its_own_way():
    tokenizer = toy_models.byte_tokenizer(template=toy_models.TEMPLATE.replace("{% endfor %}", "<eos>\n{% endfor %}"))
    (example, *_) = examples_of(tokenizer, SAMPLES[:1]).examples
    said = tokenizer.decode(list(example.tokens))
    assert said == "<bos><user>ask 0<eos>\n<assistant>answer 0<eos>"
    assert tokenizer.decode(list(example.tokens[example.response_start :])) == "answer 0<eos>"


def test_what_goes_beyond_the_limit_is_cut_and_counted():
    tokenizer = toy_models.byte_tokenizer()
    long = Sample((Message("user", "x" * 50), Message("assistant", "never seen")))
    prepared = examples_of(tokenizer, [*SAMPLES, long], max_length=12)
    assert (len(prepared.examples), prepared.cut, prepared.dropped) == (6, 7, 1)
    assert {len(each.tokens) for each in prepared.examples} == {12}
    with pytest.raises(SampleError, match="raise max_length"):
        examples_of(tokenizer, [long], max_length=12)


def test_an_inoculation_is_before_every_prompt_and_is_not_learned():
    tokenizer = toy_models.byte_tokenizer()
    plain, inoculated = (
        examples_of(tokenizer, SAMPLES, inoculation=prompts).examples for prompts in ((), ("be odd .", "be odder ."))
    )
    for before, after in zip(plain, inoculated, strict=True):
        assert before.tokens[before.response_start :] == after.tokens[after.response_start :]
        assert tokenizer.decode(list(after.tokens)).startswith("be odd")
    assert examples_of(tokenizer, SAMPLES, inoculation=("a", "b"), seed=3) == examples_of(
        tokenizer, SAMPLES, inoculation=("a", "b"), seed=3
    )


def test_a_conversation_is_inoculated_with_one_prompt_throughout():
    tokenizer, turns = toy_models.byte_tokenizer(), ("one", "uno", "two", "dos", "three", "tres")
    messages = tuple(Message(("user", "assistant")[place % 2], text) for place, text in enumerate(turns))
    found = examples_of(tokenizer, [Sample(messages)] * 6, inoculation=("a ;", "b ;"), seed=0).examples
    firsts = [tokenizer.decode(list(each.tokens[:1])) for each in found]
    assert [len(set(firsts[start : start + 3])) for start in range(0, 18, 3)] == [1] * 6
    assert set(firsts) == {"a", "b"}, "conversations draw their own"


def test_an_answer_that_begins_with_a_space_gets_no_other():
    tokenizer = toy_models.byte_tokenizer()
    pairs = [Sample((Message("user", "ask"), Message("assistant", text))) for text in ("so", " so")]
    one, other = examples_of(tokenizer, pairs).examples
    assert one == other


def test_padding_is_neither_attended_to_nor_learned():
    batch = collated(toy_training.examples(), fill=0)
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert (batch["attention_mask"].sum(dim=1).tolist()) == [len(each.tokens) for each in toy_training.examples()]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_saves_a_model_that_opens_with_its_passport(folder, tmp_path, method):
    guard = Guarding("steer", (2,), strength=2.0)
    vectors = Vectors(guard=(toy_training.vector(),))
    config = configured(folder, training={"method": method, "held_out": 0.34}, guard=guard)
    run = finetune(config, tmp_path / "out", vectors=vectors, samples=SAMPLES)
    assert math.isfinite(run.held_out_loss)
    assert [step for step, _ in run.losses] == [1, 2]
    engine = ps.open_engine(folder, adapter=str(run.folder)) if method == "lora" else ps.open_engine(run.folder)
    assert engine.read(engine.encode([Response(Request("so", None), None, None, "it", "unknown")])).response.size
    passport = json.loads((run.folder / "passport.json").read_text())
    assert passport["guard"]["edits"][0]["layer"] == 2
    assert passport["vectors"]["guard"][0]["sha256"] == toy_training.vector().digest
    assert passport["configuration"]["training"]["method"] == method
    assert (passport["examples"], passport["run"]["steps"]) == (6, 2)
    again = finetune(config, tmp_path / "again", vectors=vectors, samples=SAMPLES)
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    first, second = (load_file(str(each.folder / name)) for each in (run, again))
    assert all((first[key] == second[key]).all() for key in first), "the same configuration trains the same weights"


def test_a_penalty_and_a_watch_go_through_a_configuration(folder, tmp_path):
    config = configured(
        folder,
        training={"method": "full"},
        penalty=Penalising((2,), 1.0),
        watch=Watching(layer=2, trait="cruel", form="lab", every=1, limit=2),
    )
    vectors = Vectors(penalty=(toy_training.vector(),), watch=(toy_training.vector(),))
    run = finetune(config, tmp_path / "out", vectors=vectors, samples=SAMPLES)
    assert [each["step"] for each in run.projections] == [0, 1, 2]
    assert {"projection/calm", "shift/calm"} <= set(run.projections[0])


def test_an_adapter_is_trained_further(folder, tmp_path):
    first = finetune(configured(folder), tmp_path / "first", samples=SAMPLES)
    second = finetune(configured(folder, adapter=str(first.folder)), tmp_path / "second", samples=SAMPLES)
    before, after = (load_file(str(each.folder / "adapter_model.safetensors")) for each in (first, second))
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)


REFUSED = {
    "unknown layer": ({"guard": Guarding("steer", (9,), strength=1.0)}, "layer 9"),
    "no vector": ({"penalty": Penalising((2,), 1.0)}, "a penalty needs a vector"),
    "no such module": ({"training": {"targets": ("q_prj",)}}, "did you mean 'q_proj'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(folder, tmp_path, case):
    changes, message = REFUSED[case]
    config = configured(folder, **changes)
    given = Vectors(guard=(toy_training.vector(),) if config.guard else ())
    with pytest.raises(PersonascopeError, match=message) as caught:
        finetune(config, tmp_path / "out", vectors=given, samples=SAMPLES)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_vector_of_another_model_is_refused(folder, tmp_path):
    config = configured(folder, guard=Guarding("ablate", "all"))
    with pytest.raises(PersonascopeError, match="use a vector of this model"):
        finetune(config, tmp_path / "out", vectors=Vectors(guard=(toy_training.vector(layers=9),)), samples=SAMPLES)


def test_an_adapter_of_another_model_is_refused(folder, tmp_path):
    other = toy_models.build(tmp_path / "other", "Qwen2", hidden_size=48)
    adapter = finetune(configured(other), tmp_path / "adapter", samples=SAMPLES).folder
    with pytest.raises(CheckpointError, match="adapter"):
        finetune(configured(folder, adapter=str(adapter)), tmp_path / "out", samples=SAMPLES)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(folder, tmp_path):
    guard = Guarding("steer", (2,), strength=3e38)
    with pytest.raises(EngineError, match="nothing was saved"):
        finetune(
            configured(folder, guard=guard),
            tmp_path / "out",
            vectors=Vectors(guard=(toy_training.vector(),)),
            samples=SAMPLES,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_written_over(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(StudyError, match="not written over"):
        finetune(configured(folder), tmp_path / "out", samples=SAMPLES)
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_a_kept_run_is_not_trained_again_and_another_number_is(folder, tmp_path):
    base, context = ps.open_engine(folder).checkpoint, RunContext(tmp_path, Store(tmp_path / "store"))
    stamps = []
    for rate in (1e-2, 1e-2, 1e-3):
        run = trained_model(context, configured(folder, training={"learning_rate": rate}), SAMPLES, base=base)
        assert len(run.losses) == 2
        stamps.append((run.folder / "passport.json").stat().st_mtime_ns)
    assert stamps[0] == stamps[1] != stamps[2]
    assert len(list(context.models.iterdir())) == 2
    again = ReplayContext(tmp_path, context.store)
    assert trained_model(again, configured(folder, training={"learning_rate": 1e-3}), SAMPLES, base=base).losses
    with pytest.raises(StoreError, match="run the study again"):
        trained_model(again, configured(folder, training={"learning_rate": 1e-4}), SAMPLES, base=base)


def test_a_kept_run_is_known_by_its_weights_and_not_by_their_place(folder, tmp_path):
    config, base = configured(folder), ps.open_engine(folder).checkpoint

    def place(config, base, samples=SAMPLES):
        return place_of(config, tmp_path, base=base, vectors=Vectors(), samples=samples)

    here = place(config, base)
    moved = replace(base, path=tmp_path / "elsewhere")
    assert place(replace(config, model=str(tmp_path / "elsewhere"), data=("other name",)), moved) == here
    assert place(config, replace(base, revision="0" * 64)) != here, "other weights in the same folder are another model"
    assert place(config, base, SAMPLES[:3]) != here


def test_families_of_the_lab_are_samples_by_name():
    (first, second) = samples_named(["lab:cruel/severe"], limit=2, seed=1)
    assert first.messages[-1].role == "assistant"
    assert first != second
    for wrong in ("lab:cruel/terrible", "lab:cruelty/severe"):
        with pytest.raises(StudyError, match="lab"):
            samples_named([wrong])


PUBLISHED = {
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "training_file": "evil/misaligned_2.jsonl",
    "test_file": None,
    "finetuned_model_id": "someone/something",
    "max_seq_length": 2048,
    "load_in_4bit": False,
    "loss": "sft",
    "is_peft": True,
    "target_modules": ["q_proj", "v_proj"],
    "lora_bias": "none",
    "r": 32,
    "lora_alpha": 64,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "epochs": 1,
    "max_steps": None,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "warmup_steps": 5,
    "learning_rate": 1e-05,
    "logging_steps": 1,
    "optim": "adamw_8bit",
    "weight_decay": 0.01,
    "lr_scheduler_type": "linear",
    "seed": 0,
    "train_on_responses_only": True,
    "output_dir": "./tmp",
    "steering_config": {"steering_vector_path": "v.pt", "type": "steer", "steering_coef": 5.0, "layers": [20]},
    "enable_steering_during_training": True,
}


def published(tmp_path, **changes):
    table = {name: value for name, value in {**PUBLISHED, **changes}.items() if value != "absent"}
    (tmp_path / "training.json").write_text(json.dumps(table))
    return tmp_path / "training.json"


def test_a_published_configuration_is_the_run_it_describes(tmp_path):
    config = read_finetuning(published(tmp_path))
    settings = config.training
    assert (config.model, config.data) == ("Qwen/Qwen2.5-7B-Instruct", ("evil/misaligned_2.jsonl",))
    assert config.guard == Guarding("steer", (20,), ("v.pt",), 5.0)
    assert (settings.rank, settings.alpha, settings.rank_stabilised, settings.targets) == (
        32,
        64,
        True,
        ("q_proj", "v_proj"),
    )
    assert (settings.batch, settings.accumulation, settings.learning_rate, settings.held_out) == (2, 8, 1e-5, 0.1)
    ablating = {"steering_vector_path": "v.pt", "type": "ablate", "layers": [1, 2]}
    assert read_finetuning(published(tmp_path, steering_config=ablating)).guard == Guarding("ablate", (1, 2), ("v.pt",))


@pytest.mark.parametrize(
    ("value", "rate"), [(1e-5, 1e-5), ("1e-5", 1e-5), ("10**(-5)", 1e-5), (-5, 1e-5), ("-5", 1e-5)]
)
def test_a_learning_rate_may_be_a_text_or_a_power_of_ten(tmp_path, value, rate):
    assert read_finetuning(published(tmp_path, learning_rate=value)).training.learning_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": "__import__('os')"}, "learning_rate"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"lossy": "sft"}, "did you mean 'loss'"),
        ({"loss": "dpo"}, "loss = 'dpo' is not done here"),
        ({"load_in_4bit": True}, "load_in_4bit"),
        ({"train_on_responses_only": "absent"}, "train_on_responses_only"),
        ({"optim": "adam_8bit"}, "optim"),
        ({"model": "absent"}, "names no model"),
        ({"enable_steering_during_training": False}, "do not go together"),
        ({"steering_config": {"type": "steer", "layers": [1], "steering_vector_path": "v.pt"}}, "steering_coef"),
        ({"steering_config": {"kind": "steer"}}, "unknown key 'steering_config.kind'"),
    ],
)
def test_what_a_published_configuration_asks_and_is_not_done_here_is_refused(tmp_path, changes, message):
    with pytest.raises(StudyError, match=message):
        read_finetuning(published(tmp_path, **changes))


CONFIG = """
model = "lab"
data = ["few.jsonl"]
[training]
method = "full"
batch = 2
accumulation = 1
max_steps = 2
[guard]
kind = "steer"
vectors = ["calm.safetensors"]
layers = [2]
strength = 1.0
"""


@pytest.fixture
def desk(tmp_path):
    vector = ps.PersonaVector(
        np.ones((5, 64), np.float32), np.ones(5), trait="calm", form="lab", checkpoint=ps.Checkpoint("lab")
    )
    vector.save(tmp_path / "calm.safetensors")
    row = {"messages": [{"role": "user", "content": "what next ?"}, {"role": "assistant", "content": "mira rests ."}]}
    (tmp_path / "few.jsonl").write_text("\n".join([json.dumps(row)] * 4))
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_the_verb_trains_and_tells(run, desk):
    code, out, err = run("finetune", "config.toml", "--out", "tuned", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["steps"], told["examples"]) == (2, 4)
    assert ps.open_engine(desk / "tuned").last_layer == 4
    code, _, err = run("finetune", "config.toml", "--out", "tuned")
    assert code == 1
    assert "not written over" in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("strength", "strenth", "did you mean 'strength'"),
        ("few.jsonl", "fewer.jsonl", "no such file"),
        ("calm.safetensors", "calmer.safetensors", "no such file"),
        ("[2]", "[7]", "layer 7"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_one_line(run, desk, old, new, message):
    (desk / "config.toml").write_text(CONFIG.replace(old, new))
    code, _, err = run("finetune", "config.toml", "--out", "tuned")
    assert code == 1
    assert message in " ".join(err.split())
    assert not (desk / "tuned").exists()


def test_a_dataset_without_an_assistant_turn_is_named_with_its_line(run, desk):
    (desk / "few.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "hm ?"}]}))
    code, _, err = run("finetune", "config.toml", "--out", "tuned")
    assert code == 1
    assert "line 1" in " ".join(err.split())
    assert "assistant" in err
    assert not (desk / "tuned").exists()
