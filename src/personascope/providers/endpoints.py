"""Endpoints that speak the OpenAI protocol: addresses, keys, retry policy, and what a failed call means.

Nothing else in the package reads the environment, and a key is shown nowhere. ``.env.example`` names the variables.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from personascope.core.errors import JudgeError, nearest

FailureKind = Literal["retryable", "case", "fatal", "budget"]


def _is_address(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket that does not close
        return False


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and with which key.

    ``name`` is what the store knows it by; ``base_url`` and ``key`` say how to get there and change no answer. A
    gateway to the same models therefore needs no name of its own, and other models under the same names do.
    """

    name: str
    base_url: str
    key: str = field(default="", repr=False, compare=False)
    key_variable: str = ""
    key_needed: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or not _is_address(self.base_url):
            raise JudgeError(
                f"endpoint '{self.name}' has the address '{self.base_url}': give it a name, and an address that "
                "starts with http:// or https:// and ends before /chat/completions"
            )
        if not self.key.isascii() or any(mark.isspace() or not mark.isprintable() for mark in self.key):
            where = self.key_variable or "Endpoint(key=...)"
            raise JudgeError(
                f"the key of endpoint '{self.name}' in {where} holds a space or a letter no key has: mend it"
            )

    def require_key(self) -> None:
        """Raises :class:`JudgeError`, naming the variable, if a key is needed and there is none."""
        if self.key_needed and not self.key:
            raise JudgeError(
                f"endpoint '{self.name}' needs a key and the variable {self.key_variable} is not set: "
                f"export {self.key_variable}=... and run again (.env.example names all variables)"
            )


@dataclass(frozen=True)
class _Provider:
    base_url: str
    key_variable: str
    base_url_variable: str
    key_needed: bool = True


_LOCAL = ("PERSONASCOPE_LOCAL_API_KEY", "PERSONASCOPE_LOCAL_BASE_URL")
# The addresses have variables of our own: ANTHROPIC_BASE_URL, say, means another protocol to Anthropic's own client.
_PROVIDERS = {
    "openai": _Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "PERSONASCOPE_OPENAI_BASE_URL"),
    "anthropic": _Provider("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "PERSONASCOPE_ANTHROPIC_BASE_URL"),
    "gemini": _Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "PERSONASCOPE_GEMINI_BASE_URL"
    ),
    "deepseek": _Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "PERSONASCOPE_DEEPSEEK_BASE_URL"),
    # One server of one's own, whatever it runs; the other two names say what that is (personascope.providers.profiles).
    "local": _Provider("http://localhost:8000/v1", *_LOCAL, key_needed=False),
    "vllm": _Provider("http://localhost:8000/v1", *_LOCAL, key_needed=False),
    "llamacpp": _Provider("http://localhost:8080/v1", *_LOCAL, key_needed=False),
}


def open_endpoint(name: str, *, asking: bool = True, environment: Mapping[str, str] | None = None) -> Endpoint:
    """A known endpoint by name, with its key from the environment.

    With ``asking`` false a missing key is missed only when something is asked after all: a store may know every answer.

    Raises:
        JudgeError: if the name is unknown, or the key's variable is not set.

    Example:
        >>> open_endpoint("openai", environment={"OPENAI_API_KEY": "sk-secret"}).base_url
        'https://api.openai.com/v1'
    """
    if name not in _PROVIDERS:
        raise JudgeError(f"endpoint '{name}' is unknown; {nearest(name, _PROVIDERS)}, or give an Endpoint of your own")
    provider = _PROVIDERS[name]
    variables = os.environ if environment is None else environment
    base_url = variables.get(provider.base_url_variable, "").strip() or provider.base_url
    key = variables.get(provider.key_variable, "").strip()
    endpoint = Endpoint(name, base_url.rstrip("/"), key, provider.key_variable, provider.key_needed)
    if asking:
        endpoint.require_key()
    return endpoint


@dataclass(frozen=True)
class Retry:
    """How often to ask again when a call fails for a passing reason, and how long to wait before (seconds).

    Waits double from ``first_wait`` up to ``longest_wait``, each shortened at random by up to half so that callers do
    not march in step. A server that says how long to wait is obeyed, unless that is longer than ``patience``. A call
    that takes longer than ``timeout`` has failed.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 30.0
    patience: float = 300.0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.tries < 1 or min(self.first_wait, self.longest_wait, self.patience) < 0 or self.timeout <= 0:
            raise JudgeError(f"{self} cannot be followed: give 1 try or more, no negative wait, and a timeout above 0")

    def wait(self, failures: int, *, asked: float | None, chance: float) -> float | None:
        """How long to wait after the n-th failure of a case (1, 2, ...), or None to give up.

        ``asked`` is the wait the server asked for, ``chance`` a random number in [0, 1).
        """
        if failures >= self.tries or (asked is not None and asked > self.patience):
            return None
        if asked is not None:
            return asked
        return min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait) * (1 - chance / 2)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """The seconds a server asks to be left alone, or None: ``retry-after-ms``, or ``Retry-After`` (seconds or a date).

    Header names are looked up as given: pass a mapping that ignores case, or lower-case names.
    """
    milliseconds, asked = headers.get("retry-after-ms", "").strip(), headers.get("retry-after", "").strip()
    if _is_decimal(milliseconds) or _is_decimal(asked):
        return float(milliseconds) / 1000 if _is_decimal(milliseconds) else float(asked)
    try:
        until = email.utils.parsedate_to_datetime(asked).timestamp()
        return max(0.0, until - (time.time() if now is None else now))
    except ValueError:
        return None


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdecimal()


@dataclass(frozen=True)
class Failure:
    """Why a call gave no answer.

    ``kind`` is ``"retryable"`` (a passing fault: ask again), ``"case"`` (this case is rejected; others may not be),
    ``"fatal"`` (every case would be rejected: the key, the model, or a setting) or ``"budget"`` (no budget is left).
    ``wait`` is what the server asked for; ``rate_limited`` says that it rejected the call because too many came.
    """

    kind: FailureKind
    reason: str
    wait: float | None = None
    rate_limited: bool = False


_UNKNOWN = re.compile(r"unknown|unrecognized|unsupported|not support|cannot find|not permitted", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_FATAL_CODES = ("model_not_found", "invalid_api_key", "insufficient_quota", "billing_hard_limit_reached")


def failure_of(
    status: int, message: str, *, code: str = "", setting: str = "", settings: Collection[str] = (), wait: float | None
) -> Failure:
    """What an HTTP error status means: for this call, for this case, or for every case.

    ``code`` and ``setting`` are what the server blames (its error's ``code`` and ``param``); ``settings`` are the names
    that were sent with every case. A rejected case (400, 403, 413, 422) is blamed on the case only if neither a setting
    nor the key is; some servers name the setting in the message alone.
    """
    reason = f"{status}: {' '.join(message.split())[:200]}"
    if code in _FATAL_CODES or status in (401, 402, 404, 405):
        return Failure("fatal", reason)
    if status in (408, 409, 425, 429) or status >= 500:
        return Failure("retryable", reason, wait, rate_limited=status == 429 or (status == 503 and wait is not None))
    blamed = setting in settings or code.startswith("unsupported_") or "api key" in message.casefold()
    named = [each for each in settings if each != "model" and re.search(rf"\b{each}\b", message)]
    blamed |= bool(named and _UNKNOWN.search(message))
    return Failure("fatal" if blamed else "case", reason)


@dataclass(frozen=True)
class Usage:
    """The tokens a call took, as the endpoint counted them."""

    input: int
    output: int


NOTHING = Usage(0, 0)


def usage_of(said: Mapping[str, Any]) -> Usage | None:
    """The usage a chat completion tells of, or None."""
    usage = said.get("usage")
    told = usage if isinstance(usage, dict) else {}
    asked, answered = told.get("prompt_tokens"), told.get("completion_tokens")
    if isinstance(asked, int) and isinstance(answered, int) and min(asked, answered) >= 0:
        return Usage(asked, answered)
    return None


def made_safe(text: str) -> str:
    """Text that any JSON parser and provider takes: each lone surrogate and control character becomes U+FFFD.

    Tab, newline and carriage return stay. Garbage stays visible as garbage, because coherence is judged on it.
    """
    return _UNSAFE.sub("\ufffd", text)
