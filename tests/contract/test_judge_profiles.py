"""Profiles of providers: each against a server that takes calls as that provider does."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from fake_endpoint import FakeEndpoint, Speech, in_words, score_of, split_digits, whole_numbers
from personascope.core.errors import JudgeError
from personascope.core.files import bundled
from personascope.core.records import Case
from personascope.core.traits import Rubric
from personascope.judges.openai import OpenAIJudge
from personascope.judges.readout import Mode
from personascope.providers.endpoints import Retry
from personascope.providers.profiles import Profile, profile_of
from provider_manners import MANNERS

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
LABELS = Rubric("Which?\nQ: {question}\nA: {answer}", kind="labels", labels=("greed", "malice"))
QUICK = Retry(tries=2, first_wait=0.001, longest_wait=0.004)

MODELS: list[tuple[str, str, Callable[[str], Speech], Mode]] = [
    ("openai", "gpt-4.1-mini-2025-04-14", whole_numbers, "expectation"),
    ("openai", "gpt-4o", whole_numbers, "expectation"),
    ("openai", "gpt-5-chat-latest", whole_numbers, "expectation"),
    ("openai", "gpt-5-mini", in_words, "text"),
    ("openai", "o4-mini-2025-04-16", in_words, "text"),
    ("anthropic", "claude-sonnet-4-20250514", in_words, "text"),
    ("gemini", "gemini-2.0-flash", in_words, "text"),
    ("gemini", "gemini-2.5-flash", in_words, "text"),
    ("gemini", "gemini-2.5-pro", in_words, "text"),
    ("deepseek", "deepseek-chat", whole_numbers, "expectation"),
    ("deepseek", "deepseek-v4-flash", whole_numbers, "expectation"),
    ("deepseek", "deepseek-reasoner", in_words, "text"),
    ("vllm", "meta-llama/Llama-3.3-70B-Instruct", whole_numbers, "expectation"),
    ("vllm", "Qwen/Qwen2.5-32B-Instruct", split_digits, "digits"),
    ("vllm", "Qwen/Qwen3-32B", split_digits, "digits"),
    ("llamacpp", "gemma-3-27b-it", split_digits, "digits"),
    ("llamacpp", "Qwen3-8B-Q4", split_digits, "digits"),
    ("llamacpp", "my-model", whole_numbers, "expectation"),
]


def cases_of(count: int) -> list[Case]:
    return [Case(RUBRIC, f"Question {number}?", f"Answer {number}.") for number in range(count)]


@pytest.mark.parametrize(("provider", "model", "speak", "readout"), MODELS, ids=lambda value: str(value))
def test_a_judge_asks_as_its_provider_takes_it(
    provider: str, model: str, speak: Callable[[str], Speech], readout: Mode
) -> None:
    """No setting by hand: opened by name, every case is scored, and the score is the one the model has in mind."""
    cases = cases_of(25)
    with FakeEndpoint(speak, manners=MANNERS[provider], name=provider) as fake:
        judge = OpenAIJudge(model, endpoint=fake.endpoint, retry=QUICK)
        assert judge.rule.mode == readout
        for case, verdict in zip(cases, judge.score(cases), strict=True):
            assert verdict.outcome == "scored", f"{verdict.reason} {verdict.text!r} {fake.bodies[0]}"
            score = score_of(RUBRIC.filled(case.question, case.answer))
            other = (score + 2 if score <= 98 else score - 2) if speak is whole_numbers else score
            assert verdict.score == pytest.approx((0.7 * score + 0.2 * other) / 0.9)


@pytest.mark.parametrize(("provider", "model"), [(each[0], each[1]) for each in MODELS])
def test_a_judge_labels_as_its_provider_takes_it(provider: str, model: str) -> None:
    with FakeEndpoint(lambda prompt: Speech(({"Malice": 1.0},)), manners=MANNERS[provider], name=provider) as fake:
        judge = OpenAIJudge(model, endpoint=fake.endpoint, retry=QUICK)
        (verdict,) = judge.score([Case(LABELS, "Q", "A")])
    assert verdict.labels == ("malice",), f"{verdict}"


@pytest.mark.parametrize(
    ("provider", "model", "refused"),
    [
        ("openai", "gpt-5-mini", "max_tokens"),
        ("gemini", "gemini-2.5-flash", 'Unknown name "seed"'),
        ("deepseek", "deepseek-reasoner", "logprobs"),
    ],
)
def test_these_servers_refuse_the_plain_protocol_and_that_is_said_at_once(
    provider: str, model: str, refused: str
) -> None:
    """The same servers under a name nobody described: what a profile is for, and that its lack is not mysterious."""
    with FakeEndpoint(whole_numbers, manners=MANNERS[provider], name="mine") as fake:
        with pytest.raises(JudgeError, match=refused):
            OpenAIJudge(model, endpoint=fake.endpoint, retry=QUICK, concurrency=4).score(cases_of(100))
        assert fake.calls <= 8, f"{fake.calls} calls were made to find out"


@pytest.mark.parametrize(("provider", "model"), [(each[0], each[1]) for each in MODELS if each[3] == "text"])
def test_probabilities_are_not_asked_of_who_gives_none(provider: str, model: str) -> None:
    with FakeEndpoint(name=provider) as fake, pytest.raises(JudgeError, match="no log-probabilities: choose readout"):
        OpenAIJudge(model, endpoint=fake.endpoint, readout="expectation")


def test_an_unknown_provider_gets_the_plain_protocol() -> None:
    assert profile_of("somebody", "gpt-5") == Profile()
    body = {"model": "m", "messages": [], "max_tokens": 1, "seed": 0, "logprobs": True, "top_logprobs": 20}
    assert Profile().shaped(body) == body
    assert Profile().told == ""


def test_what_a_profile_sends_or_keeps_back_is_in_the_name() -> None:
    with FakeEndpoint(name="gemini") as fake:
        name = OpenAIJudge("gemini-2.5-flash", endpoint=fake.endpoint).name
    assert name == (
        "gemini/gemini-2.5-flash max_tokens=16 top_logprobs=0 label_tokens=64 temperature=0 seed=none text=1 "
        'thinking_off={"reasoning_effort": "none"}'
    )
    with FakeEndpoint(name="openai") as fake:
        name = OpenAIJudge("o4-mini", endpoint=fake.endpoint).name
    assert "temperature=none" in name
    assert name.endswith('thinking_off={"reasoning_effort": "low"} thinking_tokens=4096')


@pytest.mark.parametrize("name", bundled("providers"))
def test_every_profile_says_where_it_comes_from_and_has_a_server_to_prove_itself(name: str) -> None:
    assert tomllib.loads(bundled("providers")[name].read_text())["source"]
    assert name in MANNERS
    table = tomllib.loads(bundled("providers")[name].read_text())["profiles"]
    proved = [profile_of(name, model).models for provider, model, *_ in MODELS if provider == name]
    lacking = [each for each in table if tuple(each.get("models", ["*"])) not in proved]
    assert not lacking, f"no model above has these profiles of {name}: {lacking}"
