"""Every writer against the laws of writers, and the OpenAI-compatible one against an endpoint that fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from contract.writer_laws import WriterLaws
from fake_endpoint import FakeEndpoint, Fault
from personascope.core.errors import WriterError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Sampling
from personascope.core.traits import load_trait
from personascope.engines.scripted import ScriptedEngine
from personascope.providers.costs import Budget, Ledger
from personascope.providers.endpoints import Endpoint, Retry
from personascope.writers import Conversation, Unwritten, Writer
from personascope.writers.engine import EngineWriter
from personascope.writers.openai import OpenAIWriter, Writing
from personascope.writers.scripted import ScriptedWriter
from provider_manners import MANNERS
from writing_endpoint import WritingEndpoint, text_of

QUICK = Retry(tries=3, first_wait=0.001, longest_wait=0.004)


def conversations_of(count: int) -> list[Conversation]:
    return [Conversation.asking(f"Write text {number}.", system="You write.") for number in range(count)]


def writer_at(fake: FakeEndpoint, **settings: Any) -> OpenAIWriter:
    return OpenAIWriter("fake-1", endpoint=fake.endpoint, **{"retry": QUICK, **settings})


def turns_of(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": each.role, "content": each.text} for each in conversation.messages]


class TestAWriterBehindAnEndpoint(WriterLaws):
    @pytest.fixture
    def fake(self) -> Iterator[WritingEndpoint]:
        with WritingEndpoint() as fake:
            yield fake

    @pytest.fixture
    def make_writer(self, fake: WritingEndpoint) -> Callable[[], Writer]:
        return lambda: writer_at(fake)

    @pytest.fixture
    def conversations(self) -> Sequence[Conversation]:
        return [*conversations_of(9), conversations_of(1)[0].then("A draft.", "Better.")]

    @pytest.fixture
    def questions_asked(self, fake: WritingEndpoint) -> Callable[[], int]:
        return lambda: fake.calls


class TestAScriptedWriter(WriterLaws):
    @pytest.fixture
    def make_writer(self) -> Callable[[], Writer]:
        return lambda: ScriptedWriter(lambda conversation: text_of(turns_of(conversation)))

    @pytest.fixture
    def conversations(self) -> Sequence[Conversation]:
        return conversations_of(5)


class TestAScriptedWriterWithAList(WriterLaws):
    @pytest.fixture
    def make_writer(self) -> Callable[[], Writer]:
        return lambda: ScriptedWriter(["a draft", Unwritten("it is late"), "", "a text"])

    @pytest.fixture
    def conversations(self) -> Sequence[Conversation]:
        first = Conversation.asking("Write.")
        return [first, first.then("a draft", "Better."), replace(first, draw=2), replace(first, draw=7)]


class TestALocalWriter(WriterLaws):
    @pytest.fixture
    def make_writer(self) -> Callable[[], Writer]:
        engine = ScriptedEngine(Checkpoint("scripted"), [load_trait("evil")])
        return lambda: EngineWriter(engine, sampling=Sampling(max_tokens=300, temperature=0.8, draws=1))

    @pytest.fixture
    def conversations(self) -> Sequence[Conversation]:
        return [*conversations_of(4), replace(conversations_of(1)[0], draw=3)]


def test_what_is_sent_is_the_conversation_and_the_settings_and_nothing_else() -> None:
    conversation = Conversation.asking("Write.", system="You write.", draw=2).then("A draft.", "Better.")
    with WritingEndpoint() as fake:
        assert writer_at(fake, writing=Writing(900, 0.7, 5)).write([conversation]) == [text_of(turns_of(conversation))]
    (full,) = fake.bodies
    messages = [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "Write."},
        {"role": "assistant", "content": "A draft."},
        {"role": "user", "content": "Better."},
    ]
    assert full == {"model": "fake-1", "messages": messages, "max_tokens": 900, "temperature": 0.7, "seed": 7}


PROVIDERS = [
    ("openai", "gpt-4.1"),
    ("openai", "gpt-5-mini"),
    ("openai", "o4-mini"),
    ("anthropic", "claude-sonnet-4-20250514"),
    ("gemini", "gemini-2.0-flash"),
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),
    ("deepseek", "deepseek-reasoner"),
    ("vllm", "Qwen/Qwen3-32B"),
    ("llamacpp", "my-model"),
]


@pytest.mark.parametrize(("provider", "model"), PROVIDERS)
def test_a_writer_asks_as_its_provider_takes_it(provider: str, model: str) -> None:
    """Each server refuses what the real one refuses: no setting by hand, opened by name, and it writes."""
    asked = conversations_of(3)
    with WritingEndpoint(manners=MANNERS[provider], name=provider) as fake:
        writer = OpenAIWriter(model, endpoint=fake.endpoint, retry=QUICK)
        assert writer.write(asked) == [text_of(turns_of(each)) for each in asked], fake.bodies[0]
        told = [name for name in ("temperature", "seed") if name in fake.bodies[0]]
    kept_back = [name for name in ("temperature", "seed") if f"{name}=none" in writer.name]
    assert sorted([*told, *kept_back]) == ["seed", "temperature"], "what is kept back is said in the name"


def test_a_budget_is_not_exceeded_and_what_it_left_unwritten_says_so() -> None:
    asked = conversations_of(40)
    with WritingEndpoint() as fake:
        ledger = Ledger(budget=Budget(600, "tokens"))
        writer = writer_at(fake, writing=Writing(max_tokens=30), concurrency=1).metered(ledger)
        texts = writer.write(asked)
        assert sum(fake.charged) <= 600
        left = [text for text in texts if isinstance(text, Unwritten)]
        assert 0 < len(left) < 40
        assert all(text.reason.startswith("the budget of 600 tokens is spent") for text in left)
        calls = fake.calls
        with pytest.raises(WriterError, match="the budget of 600 tokens is spent"):
            writer.write(asked)
        assert fake.calls == calls, "nothing is asked without a budget"


def test_equal_conversations_are_asked_once_and_other_draws_apart() -> None:
    (first,) = conversations_of(1)
    with WritingEndpoint() as fake:
        texts = writer_at(fake).write([first, first, replace(first, draw=1)])
        assert fake.calls == 2
    assert len(texts) == 3


@pytest.mark.parametrize("thoughts", ["<think>Hm.\nSo.</think>", "\n<Thinking>{}</Thinking>\n", ""])
def test_what_a_model_thinks_aloud_before_its_answer_is_left_out(thoughts: str) -> None:
    with WritingEndpoint(lambda messages: f"{thoughts} A text with a <think> in it. \n") as fake:
        assert writer_at(fake).write(conversations_of(1)) == ["A text with a <think> in it."]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"finish_reason": "length"}, "cut after 8192 tokens"),
        ({"finish_reason": "content_filter"}, "withheld the answer: filtered"),
        (
            {"message": {"role": "assistant", "content": None, "refusal": "I will not."}},
            "withheld the answer: I will not.",
        ),
        ({"message": {"role": "assistant", "content": " \n "}}, "the answer is empty"),
        ({"message": {"role": "assistant", "content": "<think>Long.</think>"}}, "the answer is empty"),
    ],
    ids=str,
)
def test_what_does_not_come_back_whole_is_an_absence_with_its_cause(choice: dict[str, Any], said: str) -> None:
    with WritingEndpoint(choice=choice) as fake:
        (text,) = writer_at(fake).write(conversations_of(1))
    assert isinstance(text, Unwritten), f"{text!r} was taken for a text"
    assert said in text.reason


@pytest.mark.parametrize("fault", [Fault(500), Fault(400), Fault(disconnect=True), Fault(body=b"{}")], ids=str)
def test_a_failed_conversation_loses_no_other_and_is_never_an_empty_text(fault: Fault) -> None:
    asked = [Conversation.asking(f"Write {number}.") for number in range(6)]
    bad = asked[2].messages[0].text
    with WritingEndpoint(faults=lambda prompt, before: fault if prompt == bad else None) as fake:
        texts = writer_at(fake).write(asked)
        (alone,) = writer_at(fake).write([asked[2]])
    for place, text in enumerate(texts):
        assert isinstance(text, Unwritten) == (place == 2), f"conversation {place}: {text!r}"
    for text in (texts[2], alone):
        assert isinstance(text, Unwritten)
        assert text.reason.startswith("the endpoint gave no answer: ")


def test_a_passing_fault_is_met_with_patience() -> None:
    with WritingEndpoint(faults=lambda prompt, before: Fault(503) if before < 2 else None) as fake:
        assert all(isinstance(text, str) for text in writer_at(fake).write([Conversation.asking("Write.")]))
        assert fake.calls == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(401), "401"),
        (Fault(404, error={"code": "model_not_found", "message": "no model fake-1"}), "no model fake-1"),
        (Fault(400, error={"param": "seed", "message": "seed is not supported"}), "seed"),
    ],
    ids=str,
)
def test_what_would_meet_every_conversation_is_one_error_in_one_line(fault: Fault, said: str) -> None:
    with WritingEndpoint(faults=lambda prompt, before: fault) as fake, pytest.raises(WriterError, match=said) as caught:
        writer_at(fake).write(conversations_of(40))
    assert fake.calls < 40
    assert "\n" not in str(caught.value)
    assert "sk-fake" not in str(caught.value), "an error must not show the key"


def test_nobody_at_the_address_is_said_soon() -> None:
    with WritingEndpoint() as fake:
        empty = fake.endpoint
    started = time.monotonic()
    with pytest.raises(WriterError, match=f"nothing answers at {empty.base_url}"):
        OpenAIWriter("m", endpoint=empty, retry=Retry(tries=12, first_wait=0.2)).write(conversations_of(3))
    assert time.monotonic() - started < 20


def test_a_key_that_is_missing_is_missed_at_the_door() -> None:
    away = Endpoint("away", "http://127.0.0.1:1/v1", key_variable="AWAY_KEY", key_needed=True)
    with pytest.raises(WriterError, match="AWAY_KEY is not set"):
        OpenAIWriter("m", endpoint=away)


def test_text_is_made_safe_for_the_wire() -> None:
    with WritingEndpoint() as fake:
        writer_at(fake).write([Conversation.asking("a\x00b\ud800c\td\ne")])
        sent = fake.bodies[0]["messages"][0]["content"]
    assert sent == "a\ufffdb\ufffdc\td\ne"
    assert json.loads(json.dumps(sent)) == sent
