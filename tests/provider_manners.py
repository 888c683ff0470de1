"""Servers that take calls as providers do, by the name of the endpoint: what their own pages say of them.

Each is strict where the real one is: a field it does not know is refused in its own words, one it ignores is ignored.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

from fake_endpoint import Manners

Body = Mapping[str, Any]
Refusal = Mapping[str, Any] | None

_PLAIN = {"model", "messages", "max_tokens", "temperature", "seed", "logprobs", "top_logprobs"}


def _matches(body: Body, *patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(body["model"].casefold(), pattern) for pattern in patterns)


def _too_many(body: Body) -> Refusal:
    if body.get("top_logprobs", 0) > 20:
        return {
            "message": "Invalid 'top_logprobs': at most 20",
            "param": "top_logprobs",
        }
    return None


def _openai(body: Body) -> Refusal:
    """A model that thinks takes no max_tokens, no temperature but 1, and gives no log-probabilities."""
    thinks = _matches(body, "o[134]*", "gpt-5*") and not _matches(body, "gpt-5-chat*")
    for name in body:
        if name not in _PLAIN | {"max_completion_tokens", "reasoning_effort"}:
            return {"message": f"Unrecognized request argument supplied: {name}", "code": None, "param": None}
    if thinks and "max_tokens" in body:
        told = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return {"message": told, "code": "unsupported_parameter", "param": "max_tokens"}
    if thinks and body.get("temperature", 1) != 1:
        told = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."
        return {"message": told, "code": "unsupported_value", "param": "temperature"}
    if thinks and body.get("logprobs"):
        return {"message": "You are not allowed to request logprobs from this model", "param": "logprobs"}
    if not thinks and "reasoning_effort" in body:
        return {"message": "Unrecognized request argument supplied: reasoning_effort", "param": "reasoning_effort"}
    return _too_many(body)


def _openai_thinks(body: Body) -> int:
    if not _matches(body, "o[134]*", "gpt-5*") or _matches(body, "gpt-5-chat*"):
        return 0
    return {"minimal": 0, "low": 300}.get(body.get("reasoning_effort", "medium"), 2000)


def _gemini(body: Body) -> Refusal:
    for name in body:
        if name not in {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "reasoning_effort"}:
            told = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
            return {"code": 400, "message": told, "status": "INVALID_ARGUMENT"}
    effort = body.get("reasoning_effort")
    if effort == "none" and _matches(body, "*-pro*"):
        return {"code": 400, "message": "Budget 0 is invalid. This model only works in thinking mode.", "status": "X"}
    if effort is not None and _matches(body, "gemini-2.0*", "gemini-1*"):
        return {"code": 400, "message": "Unable to submit request because thinking is not supported", "status": "X"}
    return None


def _gemini_thinks(body: Body) -> int:
    if _matches(body, "gemini-2.0*", "gemini-1*") or body.get("reasoning_effort") == "none":
        return 0
    return 900


def _deepseek(body: Body) -> Refusal:
    if _matches(body, "deepseek-reasoner*") and ("logprobs" in body or "top_logprobs" in body):
        told = "deepseek-reasoner does not support the parameter `logprobs`"
        return {"message": told, "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}
    return _too_many(body)


def _deepseek_thinks(body: Body) -> int:
    off = body.get("thinking", {}).get("type") == "disabled"
    return 3000 if _matches(body, "deepseek-reasoner*", "deepseek-v4*") and not off else 0


def _template_thinks(body: Body) -> int:
    """A model of one's own whose chat template thinks unless told not to."""
    told = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
    return 400 if _matches(body, "*qwen3*") and told else 0


MANNERS: Mapping[str, Manners] = {
    "openai": Manners(refuses=_openai, thinks=_openai_thinks, tokens_fields=("max_completion_tokens", "max_tokens")),
    "anthropic": Manners(tokens_fields=("max_tokens", "max_completion_tokens"), top_logprobs=0),
    "gemini": Manners(
        refuses=_gemini,
        thinks=_gemini_thinks,
        tokens_fields=("max_completion_tokens", "max_tokens"),
        top_logprobs=0,
        as_list=True,
    ),
    # While a call waits for its turn the server sends blank lines, which a reader must not take for an answer.
    "deepseek": Manners(refuses=_deepseek, thinks=_deepseek_thinks, keep_alive=b"\n\n\n"),
    "vllm": Manners(refuses=_too_many, thinks=_template_thinks, tokens_fields=("max_completion_tokens", "max_tokens")),
    "llamacpp": Manners(thinks=_template_thinks),
}
