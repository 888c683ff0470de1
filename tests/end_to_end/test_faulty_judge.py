"""Ten thousand cases before a server that fails in every way: none is lost, none is asked twice, none too dear."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fake_endpoint import LASTING, PASSING, FakeEndpoint, Weather, score_of
from personascope.core.records import Case, Verdict
from personascope.core.traits import Rubric
from personascope.judges.openai import OpenAIJudge
from personascope.providers.costs import Budget, Ledger
from personascope.providers.endpoints import Retry
from personascope.store.caching import RememberingJudge
from personascope.store.store import Store

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
CASES = 10_000
AT_ONCE = 64
# On a busy machine a call that is well takes long too; only one that never ends may take longer than this.
PATIENT = Retry(first_wait=0.01, longest_wait=0.2, timeout=5.0)


def cases_of(count: int) -> list[Case]:
    return [Case(RUBRIC, f"Question {number % 20}?", f"Answer {number}.") for number in range(count)]


def prompt_of(case: Case) -> str:
    return case.rubric.filled(case.question, case.answer)


def expected(case: Case, last: str) -> tuple[str, float | None, str]:
    """The outcome, the score and the cause that the last thing a case met must have led to."""
    score = score_of(prompt_of(case))
    if last == "split digits":
        return "scored", float(score), ""
    if last in ("", "slow"):
        other = score + 2 if score <= 98 else score - 2
        return "scored", (0.7 * score + 0.2 * other) / 0.9, ""
    outcome, cause = {
        "no log-probabilities": ("unreadable", "no log-probabilities came with the answer"),
        "refusal": ("refused", "the endpoint withheld the answer: I will not rate this."),
        "filter": ("refused", "the endpoint withheld the answer: filtered"),
        "REFUSAL": ("refused", "the judge declined to score"),
        "chatter": ("unreadable", "numbers hold 0.050 of the probability, below 0.25"),
    }[last]
    return outcome, None, cause


def check(case: Case, verdict: Verdict, met: list[str]) -> None:
    """One case: it ended as what it met last demands, and it was asked again only after faults that pass."""
    assert set(met[:-1]) <= set(PASSING), f"answered, and asked again: {met}"
    outcome, score, cause = expected(case, met[-1])
    assert (verdict.outcome, verdict.reason) == (outcome, cause), f"{met}: {verdict}"
    if score is not None:
        assert verdict.score == pytest.approx(score, abs=1e-9), f"{met}: {verdict}"


def test_every_case_ends_none_is_lost_and_none_is_asked_again(tmp_path: Path) -> None:
    weather = Weather(seed=1, share=0.2)
    cases = cases_of(CASES)
    with FakeEndpoint(faults=weather) as fake:

        def judged(ledger: Ledger) -> list[Verdict]:
            judge = OpenAIJudge("fake-1", endpoint=fake.endpoint, readout="digits", concurrency=AT_ONCE, retry=PATIENT)
            store = Store(tmp_path)
            verdicts = RememberingJudge(judge.metered(ledger), store).score(cases)
            answered = sum(verdict.outcome != "unasked" for verdict in verdicts)
            assert sum(store.counts().values()) == answered, "one record for every answer, and none for silence"
            store.close()
            return verdicts

        budget = Budget(120_000, "tokens")
        poor = Ledger(budget=budget)
        some = judged(poor)
        under_way = AT_ONCE * 60
        assert budget.amount * 0.98 <= poor.spent <= budget.amount + under_way, f"{poor.spent} of {budget}"
        assert sum(fake.charged) <= poor.spent, "what the server charged must have been counted"
        left = [verdict for verdict in some if verdict.outcome == "unasked"]
        assert 0.2 * CASES < len(left) < 0.8 * CASES, f"{len(left)} cases are left for another day"
        assert all(verdict.reason.startswith("the budget of 120,000 tokens is spent") for verdict in left)

        asked_before = set(weather.met)
        verdicts = judged(Ledger())
        assert len(verdicts) == CASES
        for case, verdict in zip(cases, verdicts, strict=True):
            check(case, verdict, weather.met[prompt_of(case)])
        for before, after in zip(some, verdicts, strict=True):
            assert before.outcome in ("unasked", after.outcome), "a verdict changed from one run to the next"
        assert len(asked_before) < CASES == len(weather.met)

        kinds = Counter(kind for met in weather.met.values() for kind in met)
        share = sum(count for kind, count in kinds.items() if kind) / sum(kinds.values())
        assert 0.18 <= share <= 0.22, f"{share:.3f} of all calls met a fault"
        assert set(kinds) == {"", *PASSING, *LASTING}, "every kind of fault was met"

        calls = fake.calls
        again = judged(Ledger())
        assert fake.calls == calls, f"{fake.calls - calls} calls were made for cases that were all answered"
        assert [verdict.outcome for verdict in again] == [verdict.outcome for verdict in verdicts]
