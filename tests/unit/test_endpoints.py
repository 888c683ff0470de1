"""Addresses, keys, and what to do when a call fails."""

from __future__ import annotations

import ast
import email.utils
import re
from pathlib import Path
from typing import Any

import pytest

import personascope
from personascope.core.errors import JudgeError
from personascope.providers.endpoints import Endpoint, Retry, Usage, failure_of, open_endpoint, retry_after, usage_of

PACKAGE = Path(personascope.__file__).parent


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("deepseek", "DEEPSEEK_API_KEY"),
    ],
)
def test_a_key_comes_from_its_variable_or_is_missed_by_name(name: str, variable: str) -> None:
    endpoint = open_endpoint(name, environment={variable: " secret-1 \n"})
    assert (endpoint.name, endpoint.key) == (name, "secret-1")
    assert endpoint.base_url.startswith("https://")
    for environment in ({}, {variable: "  "}):
        with pytest.raises(JudgeError, match=f"export {variable}="):
            open_endpoint(name, environment=environment)
        silent = open_endpoint(name, environment=environment, asking=False)
        with pytest.raises(JudgeError, match=f"export {variable}="):
            silent.require_key()


def test_a_key_is_never_shown_and_is_no_part_of_identity() -> None:
    endpoint = open_endpoint("openai", environment={"OPENAI_API_KEY": "sk-secret"})
    assert "sk-secret" not in repr(endpoint) + str(endpoint)
    assert endpoint == open_endpoint("openai", environment={"OPENAI_API_KEY": "sk-other"})
    with pytest.raises(JudgeError, match="MY_KEY") as caught:
        Endpoint("mine", "http://localhost/v1", key="sk secret", key_variable="MY_KEY")
    assert "secret" not in str(caught.value)


def test_a_local_server_needs_no_key_and_may_be_anywhere() -> None:
    assert open_endpoint("local", environment={}).base_url == "http://localhost:8000/v1"
    moved = open_endpoint("local", environment={"PERSONASCOPE_LOCAL_BASE_URL": "http://127.0.0.1:9/v1/"})
    assert moved.base_url == "http://127.0.0.1:9/v1"
    for name in ("vllm", "llamacpp"):
        other = open_endpoint(name, environment={"PERSONASCOPE_LOCAL_BASE_URL": "http://127.0.0.1:9/v1/"})
        assert (other.name, other.base_url) == (name, moved.base_url), "one server of one's own, whatever it runs"


def test_an_unknown_endpoint_or_address_is_refused() -> None:
    with pytest.raises(JudgeError, match="did you mean 'openai'"):
        open_endpoint("opnai", environment={})
    with pytest.raises(JudgeError, match="starts with http"):
        Endpoint("mine", "localhost:8000")


def test_the_example_file_names_every_variable_that_is_read() -> None:
    source = (PACKAGE / "providers/endpoints.py").read_text()
    read = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*_(?:API_KEY|BASE_URL))"', source))
    example = (PACKAGE.parent.parent / ".env.example").read_text()
    named = set(re.findall(r"^#? ?([A-Z_]+)=", example, flags=re.MULTILINE))
    assert read == named, f"in one and not in the other: {read ^ named}"


def test_nothing_else_in_the_package_reads_the_environment() -> None:
    """What others are to find there may be set: some packages are told of settings in no other way."""
    readers = []
    for path in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        set_ = {id(n.value) for n in nodes if isinstance(n, ast.Attribute) and n.attr in ("update", "setdefault")}
        for node in nodes:
            named = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
            reads = named and id(node) not in set_
            names = isinstance(node, ast.ImportFrom) and any(each.name in ("environ", "getenv") for each in node.names)
            if reads or names:
                readers.append(path.relative_to(PACKAGE).as_posix())
    assert set(readers) == {"providers/endpoints.py"}, f"only one may read the environment: {readers}"


def test_waits_double_up_to_the_longest_and_end_with_the_tries() -> None:
    retry = Retry(tries=5, first_wait=1, longest_wait=5)
    waits = [retry.wait(failures, asked=None, chance=0.0) for failures in range(1, 6)]
    assert waits == [1, 2, 4, 5, None]
    assert retry.wait(2, asked=None, chance=0.999) == pytest.approx(1, abs=0.01), "chance takes off up to half"


def test_a_wait_the_server_asks_for_is_taken_unless_it_is_longer_than_patience() -> None:
    retry = Retry(tries=3, patience=60)
    assert retry.wait(1, asked=42.0, chance=0.9) == 42.0
    assert retry.wait(1, asked=61.0, chance=0.0) is None
    assert retry.wait(3, asked=1.0, chance=0.0) is None, "the tries are used up"


@pytest.mark.parametrize("settings", [{"tries": 0}, {"first_wait": -1.0}, {"timeout": 0.0}], ids=str)
def test_an_impossible_policy_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(JudgeError):
        Retry(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": email.utils.formatdate(1030, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(900, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_every_form_it_comes_in(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1000.0) == seconds


@pytest.mark.parametrize(
    ("status", "blame", "kind"),
    [
        (401, {}, "fatal"),
        (402, {}, "fatal"),
        (404, {}, "fatal"),
        (429, {"code": "insufficient_quota"}, "fatal"),
        (400, {"setting": "logprobs"}, "fatal"),
        (400, {"code": "unsupported_parameter"}, "fatal"),
        (429, {}, "retryable"),
        (408, {}, "retryable"),
        (500, {}, "retryable"),
        (529, {}, "retryable"),
        (400, {}, "case"),
        (400, {"setting": "messages"}, "case"),
        (403, {}, "case"),
        (400, {"message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'}, "fatal"),
        (400, {"message": "Unsupported parameter: logprobs is not supported with this model"}, "fatal"),
        (400, {"message": "This content is not supported by the model"}, "case"),
        (400, {"message": "max_tokens is too large: the prompt has 9,000 tokens"}, "case"),
        (413, {}, "case"),
    ],
)
def test_a_failure_is_laid_at_the_right_door(status: int, blame: dict[str, str], kind: str) -> None:
    message = blame.get("message", "no\nluck")
    blame = {name: value for name, value in blame.items() if name != "message"}
    settings = {"model", "logprobs", "seed", "max_tokens"}
    failure = failure_of(status, message, settings=settings, wait=2.0, **blame)  # type: ignore[arg-type]
    assert failure.kind == kind
    assert failure.reason == f"{status}: {message.replace(chr(10), ' ')}"
    assert failure.wait == (2.0 if kind == "retryable" else None)
    assert failure.rate_limited == (kind == "retryable" and status == 429)


@pytest.mark.parametrize(("wait", "crowded"), [(None, False), (1.0, True)])
def test_a_busy_server_is_crowded_if_it_says_when_to_come_back(wait: float | None, crowded: bool) -> None:
    assert failure_of(503, "overloaded", wait=wait).rate_limited == crowded


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}}, Usage(7, 1)),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 0}}, Usage(7, 0)),
        ({"usage": {"prompt_tokens": 7}}, None),
        ({"usage": {"prompt_tokens": -7, "completion_tokens": 1}}, None),
        ({"usage": {"prompt_tokens": "7", "completion_tokens": 1}}, None),
        ({"usage": None}, None),
        ({"usage": [7, 1]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_usage_is_what_the_endpoint_counted_or_unknown(said: dict[str, Any], usage: Usage | None) -> None:
    assert usage_of(said) == usage
