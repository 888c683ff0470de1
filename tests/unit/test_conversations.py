"""Conversations, the scripted and the local writer, and opening a writer by name."""

from __future__ import annotations

import pytest

from personascope.core.errors import WriterError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Sampling
from personascope.core.traits import load_trait
from personascope.engines.scripted import ScriptedEngine
from personascope.writers import Conversation, Message, Unwritten
from personascope.writers.engine import EngineWriter, prompt_of
from personascope.writers.openai import Writing
from personascope.writers.opening import open_writer
from personascope.writers.scripted import ScriptedWriter

ASK, SAY, SYSTEM = Message("user", "Write."), Message("assistant", "A draft."), Message("system", "You write.")


@pytest.mark.parametrize("messages", [(ASK,), (SYSTEM, ASK), (ASK, SAY, ASK), (SYSTEM, ASK, SAY, ASK, SAY, ASK)])
def test_a_conversation_is_turns_of_which_the_users_is_last(messages: tuple[Message, ...]) -> None:
    assert Conversation(messages).messages == messages


@pytest.mark.parametrize(
    "messages", [(), (SYSTEM,), (SAY,), (ASK, SAY), (ASK, ASK), (SAY, ASK), (ASK, SYSTEM, ASK), (SYSTEM, SYSTEM, ASK)]
)
def test_turns_nobody_can_answer_are_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(WriterError, match="cannot be answered"):
        Conversation(messages)


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(WriterError, match="empty question"):
        Conversation.asking(" \n")


def test_then_adds_a_turn_each_and_keeps_the_draw() -> None:
    first = Conversation.asking("Write.", system="You write.", draw=4)
    assert first.then("A draft.", "Write.") == Conversation((SYSTEM, ASK, SAY, ASK), draw=4)


def test_a_scripted_writer_goes_through_its_list_by_tries_and_by_draws() -> None:
    writer = ScriptedWriter(["one", "two", "three"])
    first = Conversation.asking("Write.")
    second = first.then("one", "Better.")
    assert writer.write([first, second, second.then("two", "Better."), Conversation.asking("Write.", draw=1)]) == [
        "one",
        "two",
        "three",
        "two",
    ]
    assert len(writer.asked) == 4
    assert writer.asked[1] == second


def test_a_scripted_writer_without_answers_is_refused_and_an_empty_answer_is_an_absence() -> None:
    with pytest.raises(WriterError, match="no answers"):
        ScriptedWriter([])
    assert ScriptedWriter([" "]).write([Conversation.asking("Write.")]) == [Unwritten("nothing was written")]


def test_a_local_writer_tells_a_long_conversation_in_the_users_turn() -> None:
    prompt = prompt_of(Conversation((SYSTEM, ASK, SAY, Message("user", "Better."))))
    assert prompt.instruction == "You write."
    assert prompt.question == "Write.\n\nYou have answered:\n\nA draft.\n\nBetter."
    assert prompt_of(Conversation.asking("Write.")).instruction is None


def test_a_local_writer_writes_what_its_engine_says_and_a_text_that_ran_out_of_tokens_is_none() -> None:
    engine = ScriptedEngine(Checkpoint("scripted"), [load_trait("evil")])
    asked = [Conversation.asking("Write.", draw=draw) for draw in range(30)]
    texts = EngineWriter(engine, sampling=Sampling(max_tokens=40, draws=1)).write(asked)
    whole = [text for text in texts if isinstance(text, str)]
    cut = [text for text in texts if isinstance(text, Unwritten)]
    assert whole, "the scripted engine ends one text in three within 40 words"
    assert cut, "and does not end the others"
    assert {text.reason for text in cut} <= {
        "the answer was cut after 40 tokens: allow more max_tokens",
        "nothing was written",
    }
    assert all(text.text for text in cut if "cut" in text.reason), "what was written of a cut text is kept"
    assert len(set(whole)) == len(whole), "another draw is another text"


def test_a_local_writers_name_says_which_weights_wrote_and_how() -> None:
    engine = ScriptedEngine(Checkpoint("scripted", "step-1"), [load_trait("evil")])
    name = EngineWriter(engine).name
    for part in ("scripted", "step-1", "dtype=float32", "temperature=0.8", "max_tokens=4096", "seed=0"):
        assert part in name
    assert EngineWriter(engine, sampling=Sampling(seed=1)).name != EngineWriter(engine, sampling=Sampling()).name


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("opena:gpt", {}, "did you mean 'openai'"),
        ("gpt-9", {}, "OPENAI_API_KEY is not set"),
        ("local:", {}, "needs a model's name"),
        ("local:m", {"url": "localhost"}, "starts with http"),
        ("local:m", {"max_tokens": 0}, "1 token or more"),
        ("local:m", {"temperature": 3.0}, "temperature from 0 to 2"),
    ],
)
def test_an_impossible_writer_is_refused_at_the_door(
    name: str, settings: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(WriterError, match=said) as caught:
        open_writer(name, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_model_on_this_machine_is_opened_by_whoever_can_and_keeps_the_settings() -> None:
    engine = ScriptedEngine(Checkpoint("scripted"), [load_trait("evil")])
    opened: list[str] = []

    def open_engine(model: str) -> ScriptedEngine:
        opened.append(model)
        return engine

    writer = open_writer("engine:some/model", max_tokens=9, temperature=0.0, open_engine=open_engine)
    assert opened == ["some/model"]
    assert "max_tokens=9 temperature=0 " in writer.name
    with pytest.raises(WriterError, match="no engine can be opened here"):
        open_writer("engine:some/model")
    with pytest.raises(WriterError, match="no place to look for it"):
        open_writer("engine:some/model", url="http://h/v1", open_engine=open_engine)


def test_a_writers_name_holds_what_changes_the_words_and_not_where_they_come_from() -> None:
    one = open_writer("local:m", url="http://127.0.0.1:1/v1")
    assert one.name == open_writer("local:m", url="http://127.0.0.1:2/v1").name
    others = [
        open_writer("local:n"),
        open_writer("local:m", seed=1),
        open_writer("local:m", temperature=0.5),
        open_writer("local:m", max_tokens=7),
    ]
    assert len({one.name, *(other.name for other in others)}) == 5
    assert Writing().temperature == 1.0
