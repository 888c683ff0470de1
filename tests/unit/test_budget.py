"""Prices, estimates, and a budget that holds."""

from __future__ import annotations

import json
import math
import random
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from personascope.studies.planning import estimate_study, plan_study
from personascope.studies.trace_study import load_study

from personascope.core.errors import JudgeError
from personascope.core.files import bundled
from personascope.core.lineages import load_lineage
from personascope.providers.costs import (
    Budget,
    Ledger,
    Price,
    estimate,
    price_given,
    price_of,
    tokens_of,
    usage_estimate,
)
from personascope.providers.endpoints import Failure, Usage


def body(text: str = "word" * 40, *, most: int = 1, model: str = "m") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": most}


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("5.00", 5.0, "dollars"),
        ("$5", 5.0, "dollars"),
        (".5 USD", 0.5, "dollars"),
        ("200000 tokens", 200_000.0, "tokens"),
        ("200000tokens", 200_000.0, "tokens"),
        ("0", 0.0, "dollars"),
    ],
)
def test_a_budget_is_money_or_tokens(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "five", "-5", "5 euros", "nan", "inf", "5,00", "1e3", "5 5"])
def test_what_is_no_budget_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(JudgeError, match="is no budget: give US dollars") as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1"])
def test_what_is_no_price_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(JudgeError, match="is no price: give dollars per million tokens"):
        price_given(text)


def test_a_price_is_per_million_tokens() -> None:
    assert price_given("0.40,1.60").of(Usage(500_000, 250_000)) == pytest.approx(0.2 + 0.4)


@pytest.mark.parametrize("name", bundled("prices"))
def test_every_noted_price_says_when_and_where_from(name: str) -> None:
    table = tomllib.loads(bundled("prices")[name].read_text())
    assert table["noted"]
    assert table["source"]
    for each in table["prices"]:
        for pattern in each["models"]:
            price = price_of(name, pattern.replace("*", "-x" if pattern.endswith("*") else ""))
            assert price == Price(each["input"], each["output"], f"noted {table['noted']}"), pattern


def test_a_price_nobody_noted_is_unknown_and_never_nothing() -> None:
    assert price_of("openai", "gpt-99") is None
    assert price_of("local", "gpt-4.1-mini") is None, "a server of one's own has no price list"
    found = estimate([body()], None)
    assert math.isnan(found.dollars)
    assert "no price of the model is noted" in str(found)


def test_tokens_are_a_quarter_of_plain_letters_and_all_of_the_others() -> None:
    assert tokens_of("") == 0
    assert tokens_of("word" * 10) == 10
    assert tokens_of("漢字\ufffd") == 3, "garbage and scripts other than ours are dear"
    assert usage_estimate(body("word" * 10, most=5)) == Usage(20, 5)
    assert usage_estimate({**body("word"), "max_completion_tokens": 9}).output == 9


def test_an_estimate_adds_up() -> None:
    found = estimate([body("word" * 90), body("word" * 190)], Price(1.0, 2.0))
    assert (found.calls, found.usage) == (2, Usage(300, 2))
    assert found.dollars == pytest.approx(304e-6)
    assert "at most 2 calls, about 300 tokens in and 2 out: $0.00 at $1 in" in str(found)


def test_a_study_is_estimated_before_anything_is_asked() -> None:
    study = load_study("olmo-3-7b-emergence")
    plan = plan_study(study, load_lineage(study.lineage))
    found = estimate_study(study, plan)
    assert found is not None
    assert found.calls == plan.verdicts
    assert found.price is not None
    longest = max(study.extraction.max_tokens, study.evaluation.max_tokens)
    per_verdict = found.usage.input / plan.verdicts
    assert longest < per_verdict < longest + 1500, "the answer, and a rubric of some hundred words"
    lab = load_study("lab")
    for judge in ("lab", "engine:my-model"):
        assert estimate_study(replace(lab, judge=judge), plan) is None, f"{judge} costs nothing"


def test_a_budget_in_dollars_needs_a_price() -> None:
    ledger = Ledger(budget=Budget(5, "dollars"))
    with pytest.raises(JudgeError, match=r"no price of m at local is noted: give --price IN,OUT"):
        ledger.reserve("local", body())
    assert Ledger(budget=Budget(5, "dollars"), price=Price(1, 1)).reserve("local", body()) is not None
    assert Ledger(budget=Budget(500, "tokens")).reserve("local", body()) is not None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("unit", ["tokens", "dollars"])
def test_a_budget_is_exceeded_by_no_more_than_calls_under_way_were_underestimated(seed: int, unit: str) -> None:
    """Any order of tries and endings, any length, and an endpoint that counts up to three times what was estimated."""
    chance = random.Random(seed)
    price = Price(1.0, 3.0)
    amount = 30_000 if unit == "tokens" else 0.03
    ledger = Ledger(budget=Budget(amount, unit), price=price)  # type: ignore[arg-type]
    under_way: dict[int, Usage] = {}
    worst = 0.0
    for _ in range(4000):
        if under_way and (chance.random() < 0.5 or len(under_way) == 16):
            ticket = chance.choice(list(under_way))
            estimated = under_way.pop(ticket)
            told = Usage(int(estimated.input * chance.uniform(0.5, 3)), chance.randint(0, estimated.output))
            ledger.settle(ticket, chance.choice([told, told, told, None, Usage(0, 0)]))
        else:
            asked = body("word" * chance.randint(10, 200), most=chance.randint(1, 50))
            ticket = ledger.reserve("fake", asked)
            if isinstance(ticket, int):
                under_way[ticket] = usage_estimate(asked)
        most = 3 * max((210 + 50) * 16, 1)  # sixteen calls of at most 260 tokens, each underestimated by two thirds
        worst = max(worst, ledger.spent - amount)
        allowance = most if unit == "tokens" else most * 3e-6
        assert ledger.spent <= amount + allowance, f"{ledger} of {ledger.budget}"
    refusal = ledger.reserve("fake", body("word" * 5000))
    assert isinstance(refusal, Failure)
    assert refusal.kind == "budget"


def test_where_estimates_are_right_a_budget_is_never_exceeded() -> None:
    chance = random.Random(0)
    ledger = Ledger(budget=Budget(10_000, "tokens"))
    under_way: list[tuple[int, Usage]] = []
    for _ in range(3000):
        if under_way and chance.random() < 0.5:
            ticket, usage = under_way.pop(chance.randrange(len(under_way)))
            ledger.settle(ticket, usage)
        else:
            asked = body("word" * chance.randint(10, 200))
            answer = ledger.reserve("fake", asked)
            if isinstance(answer, int):
                under_way.append((answer, usage_estimate(asked)))
    for ticket, usage in under_way:
        ledger.settle(ticket, usage)
    assert 9_700 <= ledger.spent <= 10_000, f"{ledger.spent} of 10,000: neither more than given nor much left over"


def test_a_try_that_fits_only_if_others_cost_less_waits_for_them() -> None:
    ledger = Ledger(budget=Budget(100, "tokens"))
    first = ledger.reserve("fake", body("word" * 50))
    assert isinstance(first, int)
    assert ledger.reserve("fake", body("word" * 50)) is None, "61 and 61 are more than 100, and the first may cost less"
    ledger.settle(first, Usage(20, 1))
    assert isinstance(ledger.reserve("fake", body("word" * 50)), int)


def test_estimates_learn_from_what_the_endpoint_counts() -> None:
    ledger = Ledger()
    for _ in range(20):
        ticket = ledger.reserve("fake", body("word" * 90))
        assert isinstance(ticket, int)
        ledger.settle(ticket, Usage(150, 1))
    ticket = ledger.reserve("fake", body("word" * 190))
    assert ledger.held == 301, "200 tokens estimated, of an endpoint that counts 150 for each 100"


def test_tries_that_an_interruption_left_under_way_count_once_as_was_expected(tmp_path: Path) -> None:
    ledger = Ledger()
    done, left = (ledger.reserve("fake", body("word" * 90)) for _ in range(2))
    assert isinstance(done, int)
    assert isinstance(left, int)
    ledger.settle(done, Usage(150, 1))
    ledger.append_to(tmp_path / "costs.jsonl")
    ledger.settle(left, Usage(7, 7))  # it was answered after all, when the costs had been told
    account = json.loads((tmp_path / "costs.jsonl").read_text())["accounts"][0]
    assert (account["tries"], account["told"], account["assumed"], account["input"]) == (2, 1, 1, 250)
    assert (ledger.spent, ledger.held) == (account["input"] + account["output"], 0)


def test_runs_are_kept_one_to_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "costs.jsonl"
    for turn in (1, 2):
        ledger = Ledger(budget=Budget(1, "dollars"), price=Price(1.0, 2.0))
        ticket = ledger.reserve("fake", body())
        assert isinstance(ticket, int)
        ledger.settle(ticket, Usage(50 * turn, 1))
        ledger.append_to(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["accounts"][0]["input"] for line in lines] == [50, 100]
    assert lines[0]["budget"] == "$1.00"
    assert lines[1]["accounts"][0]["dollars"] == pytest.approx(102e-6)
    assert lines[0]["when"].endswith("+00:00")
