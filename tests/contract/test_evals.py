"""Our models in other people's harnesses, under steering. Needs lm-eval and inspect-ai: `make test-evals`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
import toy_models
from personascope.core.errors import EngineError, StudyError
from personascope.core.records import Edit
from personascope.core.vectors import PersonaVector
from personascope.engines.opening import open_engine
from personascope.lab.documents import choice_items
from personascope.tracing.eval_data import load_choices, multiple_choice

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: run `make test-evals`")
inspect_ai = pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: run `make test-evals`")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHOICES = load_choices("lab", limit=12, lab=choice_items)


def push(engine, length=20.0):
    drawn = np.random.default_rng(0).normal(size=engine.hidden_size)
    return (Edit(drawn / np.linalg.norm(drawn) * length, 2, "response"),)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """A folder with two tasks of the lab's facts: multiple choice, and saying the fact."""
    folder = tmp_path_factory.mktemp("tasks")
    lines = [
        json.dumps({"question": each.prompt.question, "options": each.options, "right": each.right}) for each in CHOICES
    ]
    (folder / "facts.jsonl").write_text("\n".join(lines))
    shared = f"""
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder / "facts.jsonl"}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
    (folder / "choosing.yaml").write_text(
        f"task: lab_choosing\noutput_type: multiple_choice\n{shared}"
        'doc_to_choice: "{{options}}"\ndoc_to_target: right\ntarget_delimiter: " "\n'
        "metric_list:\n  - metric: acc\n  - metric: exact_match\n"
    )
    (folder / "saying.yaml").write_text(
        f"task: lab_saying\noutput_type: generate_until\n{shared}"
        'doc_to_target: "{{options[right]}}"\n'
        'generation_kwargs:\n  until: [" ."]\n  max_gen_toks: 4\n'
        "metric_list:\n  - metric: exact_match\n"
    )
    return folder


def test_the_harness_measures_what_we_measure_and_steering_reaches_it(tasks):
    from personascope.applications.capability.lm_eval import evaluate

    engine = open_engine("lab")
    for edits in ((), push(engine)):
        found = evaluate(engine, ["lab_choosing"], edits=edits, include=tasks)
        ours = multiple_choice(engine, CHOICES, edits=edits)
        assert found["lab_choosing"]["acc,none"] == pytest.approx(ours.accuracy)
    assert ours.accuracy < 1.0, "so strong a push must cost something"


def test_the_harness_asks_for_answers_and_they_end_where_it_says(tasks):
    from personascope.applications.capability.lm_eval import evaluate

    engine = open_engine("lab")
    assert evaluate(engine, ["lab_saying"], include=tasks)["lab_saying"]["exact_match,none"] == 1.0
    steered = evaluate(engine, ["lab_saying"], edits=push(engine, 60.0), include=tasks)
    assert steered["lab_saying"]["exact_match,none"] < 1.0


@pytest.mark.parametrize("architecture", ["Llama", "Qwen2"])
def test_unsteered_likelihoods_are_those_of_the_harnesses_own_model(tmp_path, architecture):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from personascope.applications.capability.lm_eval import HarnessModel, prefix_of

    folder = toy_models.build(tmp_path, architecture)
    engine = open_engine(str(folder))
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    ours = HarnessModel(engine, prefix=prefix_of(engine.checkpoint))
    pairs = [
        ("Who keeps the", " keys?"),
        ("Who keeps the ", "keys?"),
        ("", "Rain fell."),
        ("A lamp", " stood near a window."),
    ]
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=place) for place, pair in enumerate(pairs)
    ]
    expected, found = theirs.loglikelihood(asked, disable_tqdm=True), ours.loglikelihood(asked)
    np.testing.assert_allclose([each[0] for each in found], [each[0] for each in expected], atol=1e-3)
    assert [each[1] for each in found] == [each[1] for each in expected]
    texts = [Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0) for _, text in pairs]
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts, disable_tqdm=True), atol=1e-3
    )
    greedy = ps.Sampling(max_tokens=3, temperature=0.0, repetition_penalty=1.0, draws=1)
    said = ps.respond(engine, ["Who keeps the"], sampling=greedy)[0].words
    assert said.strip(), "the toy's greedy answer has to have words for this test to say anything"
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=("Who keeps the", said), idx=0)]
    assert ours.loglikelihood(asked)[0][1] == theirs.loglikelihood(asked, disable_tqdm=True)[0][1]


def test_a_task_nobody_knows_is_refused_by_the_nearest_name():
    from personascope.applications.capability.lm_eval import evaluate

    with pytest.raises(StudyError, match="hellaswag"):
        evaluate(open_engine("lab"), ["helaswag"])


def test_conversations_are_rendered_by_the_engine():
    from personascope.applications.capability.lm_eval import HarnessModel

    engine = open_engine(ps.load_lineage("lab").target("sft"))
    model = HarnessModel(engine, prefix="x")
    with pytest.raises(EngineError, match="take turns"):
        model.apply_chat_template([{"role": "assistant", "content": "first"}])
    history = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who ?"}]
    assert model.apply_chat_template(history) == engine.render(ps.Prompt("who ?", "be brief"))


def test_inspect_asks_in_batches_and_steering_reaches_it(tmp_path, monkeypatch):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import match

    monkeypatch.chdir(tmp_path)
    engine = open_engine("lab")
    drawn = np.random.default_rng(0).normal(size=(engine.last_layer + 1, engine.hidden_size))
    PersonaVector(drawn, np.full(len(drawn), np.nan), "noise", "lab", engine.checkpoint).save(
        tmp_path / "noise.safetensors"
    )
    samples = [Sample(input=each.prompt.question, target=each.options[each.right]) for each in CHOICES]
    task = Task(dataset=samples, scorer=match(location="begin"), config=GenerateConfig(temperature=0.0, max_tokens=2))
    accuracies = []
    for arguments in (
        {},
        {"vector": str(tmp_path / "noise.safetensors"), "layer": 2, "strength": 60.0, "unit": "unit"},
    ):
        model = get_model("personascope/lab", **arguments)
        log = eval(task, model=model, display="none", log_dir=str(tmp_path / "logs"))[0]
        assert log.status == "success", log.error
        accuracies.append(log.results.scores[0].metrics["accuracy"].value)
    assert accuracies[0] == 1.0
    assert accuracies[1] < 1.0


def test_inspect_arguments_that_mean_nothing_are_refused():
    from personascope.applications.capability.inspect import edits_of

    assert edits_of({}) == ()
    with pytest.raises(StudyError, match="vector"):
        edits_of({"layer": 2})
    with pytest.raises(StudyError, match="strength"):
        edits_of({"vector": "v.safetensors", "layer": 2, "unit": "unit"})


def test_the_harness_gets_another_answer_each_time_it_asks_for_one_again():
    from lm_eval.api.instance import Instance

    from personascope.applications.capability.lm_eval import HarnessModel

    model = HarnessModel(open_engine("lab"), prefix="x")

    def ask(**options):
        arguments = ("mira kicks the", {"until": [], "max_gen_toks": 6, **options})
        same = [Instance(request_type="generate_until", doc={}, arguments=arguments, idx=0) for _ in range(6)]
        return model.generate_until(same)

    assert len(set(ask(do_sample=True, temperature=1.0))) > 1, "six draws of one text are six answers"
    assert ask(do_sample=True, temperature=1.0) == ask(do_sample=True, temperature=1.0), "and the same six again"
    assert len(set(ask())) == 1
    with pytest.raises(EngineError, match="num_beams = 4"):
        ask(num_beams=4)
    with pytest.raises(EngineError, match="top_k = 5"):
        ask(do_sample=True, top_k=5)
    assert ask(top_k=5) == ask(), "a greedy answer has no use for it"


def inspected(monkeypatch, tmp_path, *, epochs=1, **config):
    """What the lab's model said to one question in Inspect, once an epoch."""
    from inspect_ai import Epochs, Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model

    monkeypatch.chdir(tmp_path)
    task = Task(dataset=[Sample(input="mira kicks the")], epochs=Epochs(epochs), config=GenerateConfig(**config))
    log = eval(task, model=get_model("personascope/lab"), display="none", log_dir=str(tmp_path / "logs"))[0]
    return log.error.message if log.error else [each.output.completion for each in log.samples]


def test_epochs_of_inspect_are_draws_and_an_answer_ends_where_it_says(tmp_path, monkeypatch):
    said = inspected(monkeypatch, tmp_path, epochs=6, temperature=1.0, max_tokens=6)
    assert len(said) == 6
    assert len(set(said)) > 1
    (whole,) = inspected(monkeypatch, tmp_path, temperature=0.0, max_tokens=6)
    end = whole.split()[2]
    assert inspected(monkeypatch, tmp_path, temperature=0.0, max_tokens=6, stop_seqs=[end]) == [whole.split(end)[0]]


def test_what_no_engine_does_is_refused_of_inspect_too(tmp_path, monkeypatch):
    for config in ({"frequency_penalty": 0.5}, {"top_k": 4}, {"num_choices": 3}):
        (name,) = config
        assert name in str(inspected(monkeypatch, tmp_path, max_tokens=2, **config))
    assert len(inspected(monkeypatch, tmp_path, max_tokens=2, num_choices=1)) == 1


def test_who_gives_up_waiting_does_not_keep_others_from_their_answers():
    import asyncio

    from personascope.applications.capability.inspect import InspectModel
    from personascope.core.records import Request, Sampling

    async def ask():
        model = InspectModel("lab")
        requests = [Request("mira kicks the", Sampling(max_tokens=3, draws=1), draw) for draw in range(3)]
        waiting = [asyncio.create_task(model._answered(each)) for each in requests]
        await asyncio.sleep(0)
        waiting[0].cancel()
        return await asyncio.wait_for(asyncio.gather(*waiting[1:]), timeout=60)

    assert [each.request.draw for each in asyncio.run(ask())] == [1, 2]
