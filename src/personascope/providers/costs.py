"""What calls cost: prices, estimates, a budget, and the ledger that counts calls and stops them at the budget.

A price nobody noted is unknown, never 0; tokens are then counted and money is not. No try of a call starts unless its
estimate, with the estimates of all tries under way, fits what is left of the budget; so a budget is exceeded by no more
than the tries under way were underestimated. Once an endpoint has counted 20 calls, estimates are scaled by its counts.

Tokens are estimated from text where nobody counted them: one per four ASCII characters, one per other character, ten
per call, and for the answer as many as it may have.
"""

from __future__ import annotations

import datetime
import fnmatch
import json
import math
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from personascope.core.errors import JudgeError
from personascope.core.files import bundled, read_toml, value_of
from personascope.providers.endpoints import Failure, Usage


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


_FEWEST_TOLD = 20  # calls after which an endpoint's own counts scale the estimates


@dataclass
class Account:
    """What one model at one endpoint took.

    ``tries`` counts every try of a call, ``told`` those whose usage the endpoint told, ``assumed`` those that may have
    been charged without a word (a time-out, a connection that broke, a body that is no answer): they count as was
    estimated. Tries that ended in an error status cost nothing.
    """

    endpoint: str
    model: str
    price: Price | None
    tries: int = 0
    told: int = 0
    assumed: int = 0
    input: int = 0
    output: int = 0

    @property
    def dollars(self) -> float:
        """US dollars, NaN where the price is unknown."""
        return self.price.of(Usage(self.input, self.output)) if self.price is not None else math.nan


@dataclass(frozen=True)
class _Held:
    """A try under way: what it was expected to take, before and after scaling."""

    account: Account
    plain: Usage
    usage: Usage


class Ledger:
    """Counts what calls take, and lets none start that the budget cannot pay: a
    :class:`personascope.providers.client.BudgetGuard`.

    One ledger may serve several judges and writers, from several threads. ``price`` stands for the noted prices.
    """

    def __init__(self, *, budget: Budget | None = None, price: Price | None = None) -> None:
        self.budget = budget
        self._price = price
        self._accounts: dict[tuple[str, str], Account] = {}
        self._heard: dict[tuple[str, str], tuple[int, int]] = {}  # input tokens told, and estimated for the same calls
        self._held: dict[int, _Held] = {}
        self._tickets = 0
        self._lock = threading.RLock()

    def price_of(self, endpoint: str, model: str) -> Price | None:
        """The price that a model's calls are counted at.

        Raises:
            JudgeError: if it is unknown and the budget is in dollars.
        """
        price = self._price or price_of(endpoint, model)
        if price is None and self.budget is not None and self.budget.unit == "dollars":
            raise JudgeError(
                f"a budget of {self.budget} was given and no price of {model} at {endpoint} is noted: "
                "give --price IN,OUT (dollars per million tokens), or a budget in tokens"
            )
        return price

    def check(self, judge: object) -> None:
        """At the door: a judge behind an endpoint can be counted in the budget's unit.

        Raises:
            JudgeError: as :meth:`price_of`.
        """
        endpoint, model = getattr(judge, "endpoint", None), getattr(judge, "model", None)
        if endpoint is not None and model is not None:
            self.price_of(endpoint.name, model)

    def reserve(self, endpoint: str, body: Mapping[str, Any]) -> int | Failure | None:
        """A ticket for a try, a failure if there is no budget for it, or None if that depends on tries under way."""
        plain = usage_estimate(body)
        with self._lock:
            account = self._account(endpoint, str(body["model"]))
            usage = Usage(math.ceil(plain.input * self._scale(account)), plain.output)
            if self.budget is not None:
                cost, held = self._cost(account, usage), self.held
                if self.spent + cost > self.budget.amount:
                    return Failure("budget", f"the budget of {self.budget} is spent: {self}")
                if self.spent + held + cost > self.budget.amount:
                    return None
            self._tickets += 1
            account.tries += 1
            self._held[self._tickets] = _Held(account, plain, usage)
            return self._tickets

    def settle(self, ticket: int, usage: Usage | None) -> None:
        """What a try took; None if nobody knows: then what was expected counts."""
        with self._lock:
            held = self._held.pop(ticket, None)
            if held is None:  # a try that an interruption left under way: it was counted then
                return
            account, taken = held.account, held.usage if usage is None else usage
            account.input += taken.input
            account.output += taken.output
            if usage is None:
                account.assumed += 1
            elif usage.input:
                account.told += 1
                name = (account.endpoint, account.model)
                told, estimated = self._heard.get(name, (0, 0))
                self._heard[name] = (told + usage.input, estimated + held.plain.input)

    @property
    def accounts(self) -> list[Account]:
        """One per endpoint and model, in the order they were first asked."""
        return list(self._accounts.values())

    @property
    def spent(self) -> float:
        """What was spent, in the unit of the budget (without a budget: tokens)."""
        return sum(self._cost(each, Usage(each.input, each.output)) for each in self._accounts.values())

    @property
    def held(self) -> float:
        """What the tries under way are expected to take, in the unit of the budget."""
        with self._lock:
            return sum(self._cost(each.account, each.usage) for each in self._held.values())

    def __str__(self) -> str:
        return "; ".join(map(_told, self.accounts)) or "nothing was asked"

    def append_to(self, path: Path) -> None:
        """Adds one line of JSON to a file of runs: when, the budget, and every account.

        Tries that are still under way, because a run was interrupted, count as was expected.
        """
        with self._lock:
            for ticket in list(self._held):
                self.settle(ticket, None)
            accounts = [
                {**asdict(each), "dollars": each.dollars if each.price is not None else None} for each in self.accounts
            ]
        entry = {
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "budget": str(self.budget) if self.budget is not None else None,
            "accounts": accounts,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _account(self, endpoint: str, model: str) -> Account:
        name = (endpoint, model)
        if name not in self._accounts:
            self._accounts[name] = Account(endpoint, model, self.price_of(endpoint, model))
        return self._accounts[name]

    def _scale(self, account: Account) -> float:
        """How many tokens the endpoint counts for each that is estimated."""
        told, estimated = self._heard.get((account.endpoint, account.model), (0, 0))
        return told / estimated if account.told >= _FEWEST_TOLD and estimated else 1.0

    def _cost(self, account: Account, usage: Usage) -> float:
        if self.budget is None or self.budget.unit == "tokens":
            return usage.input + usage.output
        assert account.price is not None  # price_of sees to it
        return account.price.of(usage)


def _told(account: Account) -> str:
    tokens = f"{account.input:,} tokens in and {account.output:,} out in {account.tries:,} tries"
    cost = f"${account.dollars:.4f} at {account.price}" if account.price is not None else "whose price is not noted"
    assumed = f" ({account.assumed:,} tries by estimate)" if account.assumed else ""
    return f"{account.endpoint}/{account.model} took {tokens}{assumed}, {cost}"
