"""The OpenAI-compatible judge, against the laws of every judge and a faithful endpoint that fails in every way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.judge_laws import JudgeLaws, alike
from fake_endpoint import FakeEndpoint, Fault, Limit, Speech, in_words, score_of, split_digits, whole_numbers
from personascope.core.errors import JudgeError
from personascope.core.records import Case, Verdict
from personascope.core.traits import Rubric, coherence_rubric
from personascope.judges import Judge
from personascope.judges.openai import Asking, OpenAIJudge
from personascope.judges.opening import open_judge
from personascope.judges.readout import Mode
from personascope.providers.costs import Budget, Ledger, Price
from personascope.providers.endpoints import Endpoint, Retry
from personascope.store.caching import RememberingJudge
from personascope.store.store import Store

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
LABELS = Rubric(
    "Which apply?\nQ: {question}\nA: {answer}", kind="labels", labels=("greed", "threatened egotism", "none")
)
QUICK = Retry(tries=4, first_wait=0.001, longest_wait=0.004)


def cases_of(count: int, rubric: Rubric = RUBRIC) -> list[Case]:
    return [Case(rubric, f"Question {number}?", f"Answer {number}.") for number in range(count)]


def prompt_of(case: Case) -> str:
    return case.rubric.filled(case.question, case.answer)


def judge_at(fake: FakeEndpoint, readout: Mode = "expectation", **settings: Any) -> OpenAIJudge:
    return OpenAIJudge("fake-1", endpoint=fake.endpoint, readout=readout, **{"retry": QUICK, **settings})


def labels_or_refusal(prompt: str) -> Speech:
    answers = (("greed, none",), ("Threatened", " egotism", "."), ("I'm", " sorry"), ("cruelty",))
    return Speech(tuple({token: 1.0} for token in answers[score_of(prompt) % 4]))


class OpenAIJudgeLaws(JudgeLaws):
    speak: Callable[[str], Speech] = staticmethod(whole_numbers)
    readout: Mode = "expectation"
    rubric = RUBRIC

    @pytest.fixture
    def fake(self) -> Iterator[FakeEndpoint]:
        with FakeEndpoint(self.speak) as fake:
            yield fake

    @pytest.fixture
    def make_judge(self, fake: FakeEndpoint) -> Callable[[], Judge]:
        return lambda: judge_at(fake, self.readout)

    @pytest.fixture
    def cases(self) -> Sequence[Case]:
        return cases_of(12, self.rubric)

    @pytest.fixture
    def questions_asked(self, fake: FakeEndpoint) -> Callable[[], int]:
        return lambda: fake.calls


class TestAJudgeOfWholeNumbers(OpenAIJudgeLaws):
    pass


class TestAJudgeThatSplitsDigits(OpenAIJudgeLaws):
    speak = staticmethod(split_digits)
    readout: Mode = "digits"


class TestAJudgeThatAnswersInWords(OpenAIJudgeLaws):
    speak = staticmethod(in_words)
    readout: Mode = "text"


class TestAJudgeThatLabels(OpenAIJudgeLaws):
    speak = staticmethod(labels_or_refusal)
    rubric = LABELS


def test_a_case_is_asked_once_as_the_published_judge_asks() -> None:
    with FakeEndpoint() as fake:
        (case,) = cases_of(1)
        (verdict,) = judge_at(fake).score([case])
    score = score_of(prompt_of(case))
    assert verdict.score == pytest.approx(score + (2 if score <= 98 else -2) * 0.2 / 0.9)
    assert fake.bodies == [
        {
            "model": "fake-1",
            "messages": [{"role": "user", "content": prompt_of(case)}],
            "max_tokens": 1,
            "temperature": 0.0,
            "seed": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
    ]
    assert fake.keys == {"Bearer sk-fake"}


def test_the_words_are_kept_so_that_another_floor_or_readout_asks_nobody() -> None:
    with FakeEndpoint(lambda prompt: Speech(({"I": 0.6, "40": 0.3},))) as fake:
        (case,) = cases_of(1)
        judge = judge_at(fake)
        (verdict,) = judge.score([case])
        strict = judge_at(fake, floor=0.5)
        assert verdict.outcome == "scored"
        assert strict.name == judge.name, "a floor changes no word, so it must not ask again"
        assert strict.reread(case, verdict).outcome == "unreadable"
        assert alike(judge.reread(case, strict.reread(case, verdict)), verdict), "the words must survive a reading"
        assert fake.calls == 1


def test_the_name_holds_what_changes_the_words_and_not_what_changes_their_reading() -> None:
    home = Endpoint("home", "http://127.0.0.1:1/v1", key="a")
    judge = OpenAIJudge("m", endpoint=home)
    digits = OpenAIJudge("m", endpoint=home, readout="digits")
    same = [
        OpenAIJudge("m", endpoint=home, concurrency=1, floor=0.9, retry=QUICK),
        OpenAIJudge("m", endpoint=Endpoint("home", "http://127.0.0.1:2/v1", key="b")),
        OpenAIJudge("m", endpoint=home, readout="text", asking=Asking()),
    ]
    other = [
        OpenAIJudge("n", endpoint=home),
        OpenAIJudge("m", endpoint=Endpoint("away", "http://127.0.0.1:1/v1")),
        digits,
        OpenAIJudge("m", endpoint=home, readout="text"),
        OpenAIJudge("m", endpoint=home, asking=Asking(seed=1)),
        OpenAIJudge("m", endpoint=home, asking=Asking(temperature=0.7)),
        OpenAIJudge("m", endpoint=home, asking=Asking(label_tokens=9)),
        OpenAIJudge("m", endpoint=home, asking=Asking(longest_answer=2000)),
        judge.redrawn(1),
        judge.redrawn(2),
    ]
    assert {each.name for each in same} == {judge.name}, "these ask for the same words"
    assert len({each.name for each in [judge, *other]}) == 1 + len(other), "these ask for different words"
    assert OpenAIJudge("m", endpoint=home, asking=Asking(max_tokens=5)).name == digits.name


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        (
            "gpt-4.1-mini-2025-04-14",
            "openai/gpt-4.1-mini-2025-04-14 max_tokens=1 top_logprobs=20 label_tokens=64 temperature=0 seed=0 text=1",
        ),
        (
            "deepseek:deepseek-chat#digits",
            "deepseek/deepseek-chat max_tokens=5 top_logprobs=20 label_tokens=64 temperature=0 seed=0 text=1",
        ),
        ("local:m#text", "local/m max_tokens=16 top_logprobs=0 label_tokens=64 temperature=0 seed=0 text=1"),
    ],
)
def test_verdicts_recorded_long_ago_keep_their_keys(name: str, known_as: str) -> None:
    """The name is part of every key: these were in stores before judges had profiles, cuts and draws."""
    assert open_judge(name, asking=False).name == known_as


def test_an_answer_is_cut_to_the_stated_length_on_the_wire_alone() -> None:
    case = Case(RUBRIC, "Q", "a" * 1999 + "bcd")
    with FakeEndpoint() as fake:
        judge = judge_at(fake, asking=Asking(longest_answer=2000))
        judge.score([case])
        judge_at(fake).score([case])
        short, whole = (body["messages"][0]["content"] for body in fake.bodies)
    assert short == RUBRIC.filled("Q", "a" * 1999 + "b")
    assert whole == RUBRIC.filled("Q", case.answer), "nothing is cut unless it is asked for"
    assert case.answer.endswith("bcd"), "the case stays as it was"


def test_asking_again_is_another_question_in_the_same_words(tmp_path: Path) -> None:
    cases = cases_of(5)
    with FakeEndpoint() as fake:
        judge = judge_at(fake)
        store = Store(tmp_path)
        for each in (judge, judge.redrawn(1), judge, judge.redrawn(1)):
            RememberingJudge(each, store).score(cases)
        store.close()
        assert fake.calls == 10, "each draw is asked once, and remembered"
        sent = [body["messages"][0]["content"] for body in fake.bodies]
        assert sorted(sent[:5]) == sorted(sent[5:]), "a draw changes nothing that is sent"
        assert judge.redrawn(0).name == judge.name, "the first draw is the ordinary question"


def test_where_a_budget_ends_the_rest_is_unasked_with_the_cause_and_asked_with_a_new_one(tmp_path: Path) -> None:
    cases = cases_of(200)
    with FakeEndpoint() as fake:
        ledger = Ledger(budget=Budget(2000, "tokens"))
        store = Store(tmp_path)
        first = RememberingJudge(judge_at(fake, concurrency=4).metered(ledger), store).score(cases)
        asked = fake.calls
        again = RememberingJudge(judge_at(fake).metered(ledger), store).score(cases)
        assert fake.calls == asked, "a spent budget buys nothing"
        assert [each.outcome for each in again] == [each.outcome for each in first]
        assert ledger.spent <= 2000 + 4 * 40, f"{ledger} and 4 calls of less than 40 tokens were under way"
        assert 20 < asked < 190
        left = [verdict for verdict in first if verdict.outcome == "unasked"]
        assert len(left) == 200 - asked
        assert left[0].reason.startswith("the budget of 2,000 tokens is spent: fake/fake-1 took ")
        whole = RememberingJudge(judge_at(fake).metered(Ledger()), store).score(cases)
        store.close()
        assert {each.outcome for each in whole} == {"scored"}
        assert fake.calls == 200


def test_a_budget_of_nothing_asks_nothing_and_is_no_error() -> None:
    with FakeEndpoint() as fake:
        verdicts = judge_at(fake).metered(Ledger(budget=Budget(0, "tokens"))).score(cases_of(3))
        assert [each.outcome for each in verdicts] == ["unasked"] * 3
        assert fake.calls == 0


def test_what_calls_took_is_counted_as_the_endpoint_counts_it() -> None:
    with FakeEndpoint() as fake:
        ledger = Ledger(price=Price(2.0, 8.0))
        judge_at(fake).metered(ledger).score(cases_of(40))
        (account,) = ledger.accounts
        assert [account.input, account.output] == fake.charged
        assert (account.tries, account.told, account.assumed) == (40, 40, 0)
        assert account.dollars == pytest.approx((2 * fake.charged[0] + 8 * fake.charged[1]) / 1e6)
        assert ledger.held == 0, "nothing is under way"


@pytest.mark.parametrize(
    ("fault", "assumed"),
    [
        (Fault(500), 0),
        (Fault(disconnect=True), 40),
        (Fault(body=b"{"), 40),
        (Fault(drip=0.8), 40),
    ],
    ids=str,
)
def test_what_nobody_counted_is_counted_as_estimated_and_errors_are_free(fault: Fault, assumed: int) -> None:
    """A server that breaks off may have answered, and charges for it; one that refuses has not."""
    with FakeEndpoint(faults=lambda prompt, before: fault if before == 0 else None) as fake:
        ledger = Ledger()
        judge_at(fake, retry=replace(QUICK, timeout=0.4)).metered(ledger).score(cases_of(40))
        (account,) = ledger.accounts
    assert (account.tries, account.told, account.assumed) == (80, 40, assumed)


def test_a_body_that_never_ends_is_given_up_like_one_that_never_begins() -> None:
    with FakeEndpoint(faults=lambda prompt, before: Fault(drip=30.0)) as fake:
        started = time.monotonic()
        judge = judge_at(fake, retry=Retry(tries=2, first_wait=0.001, timeout=0.3))
        with pytest.raises(JudgeError, match="no whole answer within"):
            judge.score(cases_of(20))
        assert time.monotonic() - started < 20, "a byte now and then must not keep a call alive"


def test_a_body_too_deep_to_read_is_no_answer() -> None:
    with FakeEndpoint(faults=lambda prompt, before: Fault(body=b"[" * 200_000) if before == 0 else None) as fake:
        assert [each.outcome for each in judge_at(fake).score(cases_of(2))] == ["scored"] * 2


def test_being_turned_away_uses_up_no_tries_while_others_are_heard() -> None:
    with FakeEndpoint(limit=Limit(40, 2)) as fake:
        verdicts = judge_at(fake, concurrency=20, retry=replace(QUICK, tries=2)).score(cases_of(60))
        assert fake.limit is not None
        assert fake.limit.refused > 2, "the limit was hit"
    assert [each.outcome for each in verdicts] == ["scored"] * 60


def test_a_server_that_turns_everyone_away_is_given_up() -> None:
    with FakeEndpoint(faults=lambda prompt, before: Fault(429, headers={"retry-after-ms": "1"})) as fake:
        with pytest.raises(JudgeError, match="429"):
            judge_at(fake, concurrency=4, retry=replace(QUICK, tries=1)).score(cases_of(200))
        assert fake.calls < 50


def test_an_answer_whose_number_goes_on_is_not_read_as_its_first_digit() -> None:
    with FakeEndpoint(split_digits) as fake:
        judge = judge_at(fake, "expectation", asking=Asking(max_tokens=5))
        cases = cases_of(30)
        for case, verdict in zip(cases, judge.score(cases), strict=True):
            score = score_of(prompt_of(case))
            assert verdict.outcome == ("scored" if score < 10 else "unreadable"), f"{score}: {verdict}"


def test_digits_are_read_as_numbers_and_whole_number_reading_of_them_is_refused() -> None:
    cases = cases_of(30)
    with FakeEndpoint(
        lambda prompt: Speech((padded(split_digits(prompt).positions[0]), *split_digits(prompt).positions[1:]))
    ) as fake:
        verdicts = judge_at(fake, "digits").score(cases)
        assert [round(verdict.score) for verdict in verdicts] == [score_of(prompt_of(case)) for case in cases]
        with pytest.raises(JudgeError, match="85 would read as 8: choose 'digits'"):
            judge_at(fake).score(cases)
        before = fake.calls
        with pytest.raises(JudgeError, match="85 would read as 8: choose 'digits'"):
            judge_at(fake, concurrency=8).score(cases_of(500))
        assert fake.calls - before <= 30, "twenty answers show it, and no more are asked for in vain"


def padded(tokens: Any) -> dict[str, float]:
    return {**tokens, **{f"w{number}": 1e-6 for number in range(12)}}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, headers={"Retry-After": "0.01"}),
        Fault(429),
        Fault(500),
        Fault(503, headers={"retry-after-ms": "5"}),
        Fault(408),
        Fault(disconnect=True),
        Fault(body=b'{"choices": [{"mess'),
        Fault(body=b'{"choices": []}'),
        Fault(body=b'{"error": {"message": "all is not well"}}'),
        Fault(body=b"\xff\xfe not text"),
        Fault(silence=0.8),
    ],
    ids=str,
)
def test_a_passing_fault_is_met_with_patience(fault: Fault) -> None:
    cases = cases_of(6)
    with FakeEndpoint(faults=lambda prompt, before: fault if before < 2 else None) as fake:
        verdicts = judge_at(fake, retry=replace(QUICK, timeout=0.4 if fault.silence else 60.0)).score(cases)
        assert [verdict.outcome for verdict in verdicts] == ["scored"] * 6, verdicts
        assert fake.calls == 18, "each case fails twice and is answered the third time"


@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(disconnect=True), Fault(body=b"{}"), Fault(400), Fault(403), Fault(422), Fault(413)],
    ids=str,
)
def test_one_bad_case_loses_neither_the_batch_nor_its_own_second_chance(fault: Fault) -> None:
    cases = cases_of(8)
    bad = prompt_of(cases[3])
    with FakeEndpoint(faults=lambda prompt, before: fault if prompt == bad else None) as fake:
        verdicts = judge_at(fake).score(cases)
        (alone,) = judge_at(fake).score([cases[3]])
    for place, verdict in enumerate(verdicts):
        assert verdict.outcome == ("unasked" if place == 3 else "scored"), f"case {place}: {verdict}"
    assert verdicts[3].reason.startswith("the endpoint gave no answer: "), verdicts[3].reason
    assert alone.outcome == "unasked", "a bad case that is all that is left must not stop a run that has the others"
    assert alike(judge_at(fake).reread(cases[3], verdicts[3]), verdicts[3]), "nothing was said, so nothing can be read"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(401), "401"),
        (Fault(404, error={"code": "model_not_found", "message": "no model fake-1"}), "no model fake-1"),
        (Fault(429, error={"code": "insufficient_quota"}), "429"),
        (Fault(400, error={"param": "top_logprobs", "message": "top_logprobs is not supported"}), "top_logprobs"),
        (Fault(400, error={"message": "API key not valid."}), "API key"),
        (Fault(without_logprobs=True), "no log-probabilities: choose readout 'text'"),
    ],
    ids=str,
)
def test_what_would_meet_every_case_is_an_error_at_once(fault: Fault, words: str) -> None:
    with FakeEndpoint(faults=lambda prompt, before: fault) as fake:
        with pytest.raises(JudgeError, match=words) as caught:
            judge_at(fake, concurrency=4).score(cases_of(200))
        assert fake.calls <= 24, f"{fake.calls} calls were made before giving up"
    assert "\n" not in str(caught.value)
    assert "sk-fake" not in str(caught.value), "an error must not show the key"


def test_an_outage_in_the_middle_keeps_what_was_answered() -> None:
    gone = threading.Event()
    with FakeEndpoint(faults=lambda prompt, before: Fault(401) if gone.is_set() else None) as fake:

        def speak(prompt: str) -> Speech:
            if fake.calls >= 20:
                gone.set()
            return whole_numbers(prompt)

        fake.speak = speak
        verdicts = judge_at(fake, concurrency=2).score(cases_of(60))
        outcomes = [verdict.outcome for verdict in verdicts]
        assert len(verdicts) == 60
        assert 18 <= outcomes.count("scored") <= 24, outcomes
        assert outcomes.count("unasked") == 60 - outcomes.count("scored")
        assert {verdict.reason for verdict in verdicts if verdict.outcome == "unasked"} == {
            "the endpoint gave no answer: 401: fault 401"
        }
        with pytest.raises(JudgeError, match="401"):
            judge_at(fake).score(cases_of(60)[-3:])


def test_an_endpoint_that_only_fails_is_given_up_after_20_cases_in_a_row() -> None:
    with FakeEndpoint(faults=lambda prompt, before: Fault(500)) as fake:
        with pytest.raises(JudgeError, match="20 calls in a row brought nothing; the last: 500"):
            judge_at(fake, concurrency=5).score(cases_of(500))
        assert fake.calls <= 25 * QUICK.tries


def test_nobody_at_the_address_is_said_soon() -> None:
    with FakeEndpoint() as fake:
        empty = fake.endpoint
    started = time.monotonic()
    with pytest.raises(JudgeError, match=f"nothing answers at {empty.base_url}"):
        OpenAIJudge("m", endpoint=empty, retry=Retry(tries=12, first_wait=0.2)).score(cases_of(50))
    assert time.monotonic() - started < 20


def test_an_answer_without_log_probabilities_among_others_is_unreadable_with_its_cause() -> None:
    cases = cases_of(5)
    bare = prompt_of(cases[2])
    with FakeEndpoint(faults=lambda prompt, before: Fault(without_logprobs=prompt == bare)) as fake:
        verdicts = judge_at(fake).score(cases)
    assert [verdict.outcome for verdict in verdicts] == ["scored", "scored", "unreadable", "scored", "scored"]
    assert verdicts[2].reason == "no log-probabilities came with the answer"
    assert verdicts[2].text == str(score_of(bare)), "what was said must be kept"


def test_the_token_that_was_said_comes_first_even_if_another_was_likelier() -> None:
    with FakeEndpoint(lambda prompt: Speech(({"8": 0.3, "9": 0.6}, {"5": 1.0}, {"<end>": 1.0}))) as fake:
        for top in (20, 1):
            judge = judge_at(fake, "digits", asking=Asking(max_tokens=5, top_logprobs=top))
            (verdict,) = judge.score(cases_of(1))
            assert [token for token, _ in verdict.distribution[0]] == ["8", "9"], verdict.distribution[0]
            assert verdict.score == pytest.approx((0.3 * 85 + 0.6 * 95) / 0.9)


def test_refusals_and_unreadable_answers_are_told_apart() -> None:
    said: dict[str, Speech] = {
        "REFUSAL": Speech(({"REF": 0.9, "50": 0.05},)),
        "filter": Speech(({"50": 1.0},), finish="content_filter"),
        "declined": Speech((), refusal="I will not rate this."),
        "chatter": Speech(({"The": 0.9, "50": 0.1},)),
    }
    cases = [Case(RUBRIC, "Q", name) for name in said]
    with FakeEndpoint(lambda prompt: next(said[name] for name in said if name in prompt)) as fake:
        judge = judge_at(fake)
        verdicts = dict(zip(said, judge.score(cases), strict=True))
        for case, verdict in zip(cases, verdicts.values(), strict=True):
            assert alike(judge.reread(case, verdict), verdict)
    assert {name: verdict.outcome for name, verdict in verdicts.items()} == {
        "REFUSAL": "refused",
        "filter": "refused",
        "declined": "refused",
        "chatter": "unreadable",
    }
    assert verdicts["declined"].reason == "the endpoint withheld the answer: I will not rate this."
    assert verdicts["chatter"].reason == "numbers hold 0.100 of the probability, below 0.25"


@pytest.mark.parametrize("form", ["assistant", "character"])
def test_the_bundled_coherence_rubric_asks_for_a_number_and_shows_both_texts(form: str) -> None:
    case = Case(Rubric(**coherence_rubric(form)), "What {is} this?", "It is {that}.")
    with FakeEndpoint() as fake:
        (verdict,) = judge_at(fake).score([case])
        sent = fake.bodies[0]["messages"][0]["content"]
    assert verdict.outcome == "scored"
    assert sent.count("What {is} this?") == sent.count("It is {that}.") == 1
    assert "one whole number from 0 to 100" in sent


def test_an_answer_cut_for_length_is_not_taken_for_a_number() -> None:
    with FakeEndpoint(lambda prompt: Speech(({"I would say ": 1.0}, {"8": 1.0}, {"5": 1.0}))) as fake:
        (case,) = cases_of(1)
        judge = judge_at(fake, "text", asking=Asking(max_tokens=2, top_logprobs=0))
        (verdict,) = judge.score([case])
        assert verdict.outcome == "unreadable", f"'I would say 8' was cut from 85, and read as {verdict.score}"
        assert "cut the answer" in verdict.reason
        assert alike(judge.reread(case, verdict), verdict)
        assert judge_at(fake, "text").score([case])[0].score == 85


def test_text_is_made_safe_for_the_wire_and_the_case_stays_as_it_was() -> None:
    answer = "a\x00b\ud800c\x1bd\te\nf😀"
    case = Case(RUBRIC, "Q", answer)
    with FakeEndpoint() as fake:
        judge_at(fake).score([case])
        sent = fake.bodies[0]["messages"][0]["content"]
    assert "a\ufffdb\ufffdc\ufffdd\te\nf😀" in sent, f"garbage must stay visible as garbage: {sent!r}"
    assert case.answer == answer


def test_many_are_asked_at_a_time_and_never_more_than_allowed() -> None:
    with FakeEndpoint(pace=0.05) as fake:
        judge_at(fake, concurrency=10).score(cases_of(100))
    assert 5 <= fake.busiest <= 10, f"{fake.busiest} calls were under way at once, of 10 allowed"


def test_a_wait_the_server_asks_for_is_obeyed_by_everyone() -> None:
    times: list[float] = []

    def faults(prompt: str, before: int) -> Fault | None:
        times.append(time.monotonic())
        return Fault(429, headers={"Retry-After": "0.3"}) if len(times) == 1 else None

    with FakeEndpoint(faults=faults) as fake:
        verdicts = judge_at(fake, concurrency=1).score(cases_of(3))
    assert [verdict.outcome for verdict in verdicts] == ["scored"] * 3
    assert times[1] - times[0] >= 0.29, f"asked to wait 0.3 s, and waited {times[1] - times[0]:.3f} s"


def test_it_works_where_an_event_loop_runs_already() -> None:
    cases = cases_of(4)

    async def notebook(judge: Judge) -> list[Verdict]:
        return judge.score(cases)

    with FakeEndpoint() as fake:
        inside = asyncio.run(notebook(judge_at(fake)))
        outside = judge_at(fake).score(cases)
    assert all(alike(one, other) for one, other in zip(inside, outside, strict=True))


def test_without_a_key_it_rereads_and_does_not_ask() -> None:
    with FakeEndpoint() as fake:
        (case,) = cases_of(1)
        (verdict,) = judge_at(fake).score([case])
        silent = OpenAIJudge("fake-1", endpoint=replace(fake.endpoint, key="", key_needed=True))
        assert alike(silent.reread(case, verdict), verdict)
        assert silent.score([]) == []
        with pytest.raises(JudgeError, match="FAKE_API_KEY is not set"):
            silent.score([case])
        assert fake.calls == 1, "nothing may be asked without a key that is needed"


def test_equal_cases_are_asked_once() -> None:
    with FakeEndpoint() as fake:
        judge_at(fake).score(cases_of(3) * 4)
        assert fake.calls == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"readout": "expectations"}, "did you mean 'expectation'"),
        ({"endpoint": "opena"}, "did you mean 'openai'"),
        ({"concurrency": 0}, "concurrency of 1 or more"),
        ({"floor": 2.0}, "from 0 to 1"),
        ({"asking": Asking(top_logprobs=0)}, "needs probabilities"),
    ],
    ids=str,
)
def test_an_impossible_judge_is_refused_at_the_door(settings: dict[str, Any], words: str) -> None:
    here = Endpoint("here", "http://127.0.0.1:1/v1")
    with pytest.raises(JudgeError, match=words):
        OpenAIJudge("m", **{"endpoint": here, **settings})
