"""What calls will cost: prices, budgets and estimates.

Owns: :class:`Price`, :class:`Budget` and :class:`Estimate`. The one law: a price nobody noted is unknown, never 0; then
tokens are counted and money is not.

Tokens are estimated from text where nobody counted them: one per four ASCII characters, one per other character, ten
per call, and for the answer as many as it may have.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from personascope.core.errors import JudgeError
from personascope.core.files import bundled, read_toml, value_of
from personascope.endpoints import Usage


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, and when they were noted."""

    input: float
    output: float
    noted: str = "as given"

    def __post_init__(self) -> None:
        if not (0 <= self.input < math.inf and 0 <= self.output < math.inf):
            raise JudgeError(f"a price of {self.input} and {self.output} dollars is none: give two numbers from 0 up")

    def of(self, usage: Usage) -> float:
        """What so many tokens cost, in US dollars."""
        return (self.input * usage.input + self.output * usage.output) / 1e6

    def __str__(self) -> str:
        return f"${self.input:g} in and ${self.output:g} out per million tokens ({self.noted})"


@dataclass(frozen=True)
class _Priced:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    models: tuple[str, ...]
    input: float
    output: float


@dataclass(frozen=True)
class _PriceList:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    noted: str
    source: str
    prices: tuple[_Priced, ...]


def price_of(endpoint: str, model: str) -> Price | None:
    """The noted price of a model (``data/prices/*.toml``), or None.

    Example:
        >>> price_of("openai", "gpt-4.1-mini-2025-04-14").input
        0.4
    """
    path = bundled("prices").get(endpoint)
    if path is None:
        return None
    table = value_of(read_toml(path, error=JudgeError), _PriceList, source=str(path), error=JudgeError)
    for each in table.prices:
        if any(fnmatch.fnmatchcase(model.casefold(), pattern) for pattern in each.models):
            return Price(each.input, each.output, f"noted {table.noted}")
    return None


def price_given(text: str) -> Price:
    """A price as a command line gives it: ``"0.40,1.60"``, dollars per million tokens in and out."""
    try:
        given, said = text.split(",")
        return Price(float(given), float(said))
    except (ValueError, JudgeError):
        raise JudgeError(f"'{text}' is no price: give dollars per million tokens in and out, as in 0.40,1.60") from None


@dataclass(frozen=True)
class Budget:
    """The most that may be spent."""

    amount: float
    unit: Literal["dollars", "tokens"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as a command line gives it: ``"5.00"`` (US dollars) or ``"200000 tokens"``.

        Example:
            >>> Budget.parse("5.00"), Budget.parse("200000tokens").unit
            (Budget(amount=5.0, unit='dollars'), 'tokens')
        """
        found = re.fullmatch(r"\s*\$?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(tokens|dollars|usd|)\s*", text, re.IGNORECASE)
        if not found:
            raise JudgeError(f"'{text}' is no budget: give US dollars, as in 5.00, or tokens, as in '200000 tokens'")
        return cls(float(found[1]), "tokens" if found[2].casefold() == "tokens" else "dollars")

    def __str__(self) -> str:
        return f"${self.amount:,.2f}" if self.unit == "dollars" else f"{self.amount:,.0f} tokens"


def tokens_of(text: str) -> int:
    """About how many tokens a text has: see the module's header."""
    plain = len(text.encode("ascii", "ignore"))
    return math.ceil(plain / 4) + len(text) - plain


def usage_estimate(body: Mapping[str, Any]) -> Usage:
    """About what a chat completion takes: its messages, and as many tokens as the answer may have."""
    asked = sum(tokens_of(str(message["content"])) for message in body["messages"])
    return Usage(asked + 10, int(body.get("max_completion_tokens", body.get("max_tokens", 0))))


@dataclass(frozen=True)
class Estimate:
    """About what calls will take, at most: tokens, and US dollars where the price is known (NaN where it is not)."""

    calls: int
    usage: Usage
    price: Price | None

    @property
    def dollars(self) -> float:
        return self.price.of(self.usage) if self.price is not None else math.nan

    def __str__(self) -> str:
        cost = f"${self.dollars:.2f} at {self.price}" if self.price else "no price of the model is noted"
        tokens = f"about {self.usage.input:,} tokens in and {self.usage.output:,} out"
        return f"at most {self.calls:,} calls, {tokens}: {cost}"


def sum_of(bodies: Iterable[tuple[Mapping[str, Any], int]], price: Price | None) -> Estimate:
    """What calls of each body, so many times, will take, if none is remembered and each is answered at once."""
    usages = [(usage_estimate(body), number) for body, number in bodies]
    tokens = (sum(getattr(usage, name) * number for usage, number in usages) for name in ("input", "output"))
    return Estimate(sum(number for _, number in usages), Usage(*tokens), price)


def estimate(bodies: Iterable[Mapping[str, Any]], price: Price | None) -> Estimate:
    """What so many calls will take, if none is remembered and each is answered at once."""
    usages = [usage_estimate(body) for body in bodies]
    return Estimate(len(usages), Usage(sum(each.input for each in usages), sum(each.output for each in usages)), price)
