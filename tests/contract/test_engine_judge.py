"""A model on this machine as a judge: the laws of every judge, and what its draws come to."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import toy_models
from contract.judge_laws import JudgeLaws, alike
from personascope.core.errors import EngineError, JudgeError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Case, Probe, Readings, Request, Response
from personascope.core.traits import Prompt, Rubric
from personascope.engines import Engine
from personascope.engines.opening import open_engine
from personascope.judges import Judge
from personascope.judges.engine import EngineJudge, Speaking
from personascope.judges.opening import open_judge
from personascope.judges.readout import Mode
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
LABELS = Rubric("Which?\nQ: {question}\nA: {answer}", kind="labels", labels=("greed", "malice"))


class SayingEngine:
    """An engine that says what a function of (text, draw) tells it to; greedy requests get draw 0."""

    identity: Mapping[str, str] = {"engine": "saying"}
    last_layer = 1
    hidden_size = 2

    def __init__(self, say: Callable[[str, int], str], *, most: int = 100) -> None:
        self.say = say
        self.most = most
        self.checkpoint = Checkpoint("saying")
        self.requests: list[Request] = []

    def render(self, prompt: Prompt) -> str:
        return f"<user>{prompt.question}<assistant>"

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        self.requests += requests
        said = [self.say(each.text, each.draw) for each in requests]
        return [
            Response(each, (1, 2), 1, text[: self.most], "length" if len(text) > self.most else "stop")
            for each, text in zip(requests, said, strict=True)
        ]

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        return list(responses)

    def read(self, responses: Sequence[Response]) -> Readings:
        raise NotImplementedError("a judge reads no activations")

    def project(self, responses: Sequence[Response], probes: Sequence[Probe]) -> list[np.ndarray]:
        raise NotImplementedError("a judge reads no activations")

    def likelihoods(self, responses: Sequence[Response]) -> list[np.ndarray]:
        raise NotImplementedError("a judge reads no likelihoods")

    def close(self) -> None:
        pass


def hesitant(text: str, draw: int) -> str:
    """Around a score of its own for every text; every tenth answer refuses."""
    middle = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 81 + 10
    chance = random.Random(f"{text} {draw}")
    return "REFUSAL" if chance.random() < 0.1 else str(middle + chance.randint(-10, 10))


def cases_of(count: int, rubric: Rubric = RUBRIC) -> list[Case]:
    return [Case(rubric, f"Question {number}?", f"Answer {number}.") for number in range(count)]


class TestALocalModelThatHesitates(JudgeLaws):
    readout: Mode = "expectation"
    rubric = RUBRIC
    say = staticmethod(hesitant)

    @pytest.fixture
    def engine(self) -> SayingEngine:
        return SayingEngine(self.say)

    @pytest.fixture
    def make_judge(self, engine: SayingEngine) -> Callable[[], Judge]:
        return lambda: EngineJudge(engine, readout=self.readout)

    @pytest.fixture
    def cases(self) -> Sequence[Case]:
        return cases_of(8, self.rubric)

    @pytest.fixture
    def questions_asked(self, engine: SayingEngine) -> Callable[[], int]:
        return lambda: len(engine.requests)


class TestALocalModelThatAnswersInWords(TestALocalModelThatHesitates):
    readout: Mode = "text"
    say = staticmethod(lambda text, draw: f"Score: {len(text) % 101}/100.")


class TestALocalModelThatLabels(TestALocalModelThatHesitates):
    rubric = LABELS
    say = staticmethod(lambda text, draw: ("greed", "malice, greed", "I'm sorry", "nothing")[len(text) % 4])

    @pytest.fixture
    def cases(self) -> Sequence[Case]:
        return [Case(LABELS, "Q" * number, "A") for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that says one digit and ends: digits lie along random directions, and push towards the end."""
    folder = toy_models.build(tmp_path_factory.mktemp("toy") / "digits", "Llama")
    tokenizer = toy_models.byte_tokenizer(template=toy_models.TEMPLATE)
    tokenizer.save_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    digits, end = tokenizer.convert_tokens_to_ids(list("12345678")), tokenizer.eos_token_id
    directions = torch.randn(4, toy_models.HIDDEN, generator=torch.Generator().manual_seed(1)) * 3
    directions[:, 0] = 0
    with torch.no_grad():
        model.lm_head.weight.zero_()
        for place, token in enumerate(digits):
            model.lm_head.weight[token] = directions[place // 2] * (-1) ** place
            model.model.embed_tokens.weight[token, 0] = 1000
        model.lm_head.weight[end, 0] = 20
        model.model.norm.weight.fill_(1)
    model.save_pretrained(folder)
    return folder


class TestAModelOnTransformers(JudgeLaws):
    @pytest.fixture
    def make_judge(self, folder: Path) -> Iterator[Callable[[], Judge]]:
        engine = open_engine(folder)
        yield lambda: EngineJudge(engine, speaking=Speaking(draws=8))
        engine.close()

    @pytest.fixture
    def cases(self) -> Sequence[Case]:
        return cases_of(4)


def test_a_score_is_the_mean_of_the_numbers_that_were_drawn() -> None:
    engine = SayingEngine(hesitant)
    (case,) = cases_of(1)
    (verdict,) = EngineJudge(engine, speaking=Speaking(draws=50)).score([case])
    said = [hesitant(engine.requests[0].text, draw) for draw in range(50)]
    numbers = [int(each) for each in said if each != "REFUSAL"]
    assert verdict.score == pytest.approx(sum(numbers) / len(numbers))
    assert [request.draw for request in engine.requests] == list(range(50))
    assert {token: round(math.exp(share) * 50) for token, share in verdict.distribution[0]} == {
        each: said.count(each) for each in said
    }, "every answer is kept with its share"


def test_numbers_are_read_whole_in_whatever_words_they_come() -> None:
    said = ["85", " 85\n", "Score: 85.", "85/100", "85.0"]
    (verdict,) = EngineJudge(SayingEngine(lambda text, draw: said[draw % 5])).score(cases_of(1))
    assert (verdict.outcome, verdict.score) == ("scored", 85.0)


def test_a_number_that_may_go_on_is_none() -> None:
    cut = SayingEngine(lambda text, draw: "I say 85", most=7)
    (verdict,) = EngineJudge(cut).score(cases_of(1))
    assert verdict.outcome == "unreadable", f"'I say 8' was cut from 85, and read as {verdict.score}"
    (verdict,) = EngineJudge(cut, readout="text").score(cases_of(1))
    assert verdict.reason == "the engine cut the answer: allow more tokens"
    assert alike(EngineJudge(cut, readout="text").reread(cases_of(1)[0], verdict), verdict)


def test_a_model_that_mostly_refuses_or_chatters_gives_no_score() -> None:
    (verdict,) = EngineJudge(SayingEngine(lambda text, draw: "50" if draw < 4 else "REFUSAL")).score(cases_of(1))
    assert verdict.outcome == "refused"
    (verdict,) = EngineJudge(SayingEngine(lambda text, draw: "50" if draw < 4 else f"hm {draw}x")).score(cases_of(1))
    assert (verdict.outcome, verdict.reason) == (
        "unreadable",
        "numbers hold 0.200 of the probability, below 0.25",
    )


def test_a_case_that_a_model_has_no_room_for_does_not_lose_the_others(folder: Path) -> None:
    cases = cases_of(9)
    cases[4] = Case(RUBRIC, "Q", "word " * 2000)
    engine = open_engine(folder)
    verdicts = EngineJudge(engine, speaking=Speaking(draws=3)).score(cases)
    assert [verdict.outcome == "unasked" for verdict in verdicts] == [place == 4 for place in range(9)]
    assert "which has room for 4096" in verdicts[4].reason
    with pytest.raises(EngineError, match="which has room for 4096"):
        EngineJudge(engine, speaking=Speaking(draws=3)).score([cases[4]])
    short = EngineJudge(engine, speaking=Speaking(draws=3, longest_answer=2000))
    assert short.score([cases[4]])[0].outcome == "scored"
    engine.close()


def test_labels_and_plain_text_take_one_greedy_answer() -> None:
    engine = SayingEngine(lambda text, draw: "malice")
    (verdict,) = EngineJudge(engine).score(cases_of(1, LABELS))
    assert verdict.labels == ("malice",)
    (request,) = engine.requests
    assert request.drawn_with.temperature == 0
    assert request.drawn_with.max_tokens == 64


def test_a_remembering_engine_and_judge_ask_a_model_once(folder: Path, tmp_path: Path) -> None:
    cases = cases_of(6)
    store = Store(tmp_path)
    counted: list[int] = []
    engine = RememberingEngine(
        open_engine(folder), store, notice=lambda kind, count, fresh: counted.append(count if fresh else 0)
    )
    speaking = Speaking(draws=6)
    first = EngineJudge(engine, speaking=speaking).score(cases)
    asked = sum(counted)
    again = EngineJudge(engine, speaking=speaking).score(cases)
    assert asked == sum(counted) == 36
    assert all(alike(one, other) for one, other in zip(first, again, strict=True))
    assert sum(verdict.outcome == "scored" for verdict in first) >= 4
    remembered = RememberingJudge(EngineJudge(engine, speaking=speaking), store)
    assert [each.score for each in remembered.score(cases)] == pytest.approx(
        [each.score for each in first], nan_ok=True
    )
    EngineJudge(engine, speaking=speaking).redrawn(1).score(cases)
    assert sum(counted) == 72, "another draw has other random numbers"
    store.close()
    engine.close()


def test_the_name_tells_weights_and_settings_apart(folder: Path) -> None:
    engine: Engine = open_engine(folder)
    other = SayingEngine(hesitant)
    names = {
        EngineJudge(engine).name,
        EngineJudge(other).name,
        EngineJudge(engine, readout="text").name,
        EngineJudge(engine, speaking=Speaking(draws=5)).name,
        EngineJudge(engine, speaking=Speaking(longest_answer=100)).name,
        EngineJudge(engine).redrawn(1).name,
    }
    assert len(names) == 6
    assert engine.checkpoint.revision in EngineJudge(engine).name, "the sha256 of the files, not the folder's name"
    assert EngineJudge(engine, floor=0.9).name == EngineJudge(engine).name
    engine.close()


def test_it_opens_by_name(folder: Path) -> None:
    judge = open_judge(f"engine:{folder}#text,max_tokens=3,longest_answer=50", open_engine=open_engine)
    assert isinstance(judge, EngineJudge)
    assert (judge.rule.mode, judge.speaking.max_tokens, judge.speaking.longest_answer) == ("text", 3, 50)
    for name, said in (
        ("engine:x#digits", "leave 'digits' out"),
        ("engine:x#drows=3", "no setting 'drows'; did you mean 'draws'"),
        ("engine:x#draws=many", "draws=many is no number"),
        ("engine:x#draws=0", "give 1 draw"),
        ("engine:x#longest_answer=0", "show 1 character"),
    ):
        with pytest.raises(JudgeError, match=said):
            open_judge(name, open_engine=lambda model: SayingEngine(hesitant))
    with pytest.raises(JudgeError, match="no engine can be opened here"):
        open_judge("engine:x")
