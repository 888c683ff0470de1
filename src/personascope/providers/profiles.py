"""How providers differ: what their servers accept, ignore or reject, as data (``data/providers/*.toml``).

Judges and writers make the same request for every provider, and a profile alone turns it into what one provider's
server accepts. A provider without a file gets the plain protocol. What a profile changes in a request is part of a
judge's name, because it changes the answer.
"""

from __future__ import annotations

import fnmatch
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from personascope.core.errors import JudgeError
from personascope.core.files import bundled, read_toml, value_of

Mode = Literal["expectation", "digits", "text"]
"""How a model's answer is read as a score: see :class:`personascope.judges.readout.Rule`."""


@dataclass(frozen=True)
class Profile:
    """What the server of some models takes.

    ``models`` are patterns (``*`` stands for anything, case does not count). ``tokens_field`` is its name for the most
    tokens of an answer, ``top_logprobs`` how many probabilities per position it gives at most (0: none). ``seed`` and
    ``temperature`` say whether it takes them. ``thinking_off`` is what is sent so that a model answers at once; one
    that cannot be stopped gets ``thinking_tokens`` more to think in. ``readout`` is how its scores are read unless
    another way is asked for.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    models: tuple[str, ...] = ("*",)
    tokens_field: str = "max_tokens"
    top_logprobs: int = 20
    seed: bool = True
    temperature: bool = True
    thinking_off: Mapping[str, Any] = field(default_factory=dict)
    thinking_tokens: int = 0
    readout: Mode = "expectation"

    def shaped(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a plain chat completion as this server takes it."""
        shaped = {name: value for name, value in body.items() if self._takes(name)}
        if "top_logprobs" in shaped:
            shaped["top_logprobs"] = min(shaped["top_logprobs"], self.top_logprobs)
        if "max_tokens" in shaped:
            shaped[self.tokens_field] = shaped.pop("max_tokens") + self.thinking_tokens
        return {**shaped, **self.thinking_off}

    @property
    def told(self) -> str:
        """What differs from the plain protocol and changes what is said, for a judge's name; empty if nothing does."""
        parts = [f" thinking_off={json.dumps(dict(self.thinking_off), sort_keys=True)}"] if self.thinking_off else []
        parts += [f" thinking_tokens={self.thinking_tokens}"] if self.thinking_tokens else []
        return "".join(parts)

    def _takes(self, name: str) -> bool:
        if name in ("logprobs", "top_logprobs"):
            return self.top_logprobs > 0
        return {"seed": self.seed, "temperature": self.temperature}.get(name, True)


@dataclass(frozen=True)
class _Provider:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    profiles: tuple[Profile, ...]
    source: str


def profile_of(endpoint: str, model: str) -> Profile:
    """The profile of a model at an endpoint: the first whose patterns match, else the plain protocol's.

    Example:
        >>> profile_of("anthropic", "claude-sonnet-4-20250514").readout
        'text'
    """
    for profile in _profiles(endpoint):
        if any(fnmatch.fnmatchcase(model.casefold(), pattern.casefold()) for pattern in profile.models):
            return profile
    return Profile()


@functools.cache
def _profiles(endpoint: str) -> tuple[Profile, ...]:
    path = bundled("providers").get(endpoint)
    if path is None:
        return ()
    return value_of(read_toml(path, error=JudgeError), _Provider, source=str(path), error=JudgeError).profiles
