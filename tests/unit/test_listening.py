"""Judging while engines speak: the same verdicts, sooner, and nothing that hangs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest

from personascope.core.errors import JudgeError
from personascope.core.outcomes import Absence, Effect, Subject
from personascope.core.records import UNASKED, Case, Readings, Request, Response, Sampling, Verdict
from personascope.core.steering import Steering
from personascope.core.traits import Prompt
from personascope.engines.opening import Opener
from personascope.engines.scripted import ScriptedEngine, scripted_lineage
from personascope.judges.scripted import ScriptedJudge
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.tracing.controls import random_direction
from personascope.tracing.extraction import Method
from personascope.tracing.generation import Arm, answer, speak
from personascope.tracing.judging import AT_ONCE, FEWEST, MOST, Listener, following
from personascope.tracing.tracing import trace
from scripted_world import TRAITS

LONG = 30.0  # seconds after which a test that hangs fails: no test waits for it
QUESTION = TRAITS[0].questions("evaluation")[0]
METHOD = Method(Sampling(max_tokens=12, draws=2), Sampling(max_tokens=12, draws=3), prompted=True)


def cases_of(count: int) -> list[Case]:
    return [Case(TRAITS[0].rubric, QUESTION, f"grim {number}") for number in range(count)]


class Slow(ScriptedJudge):
    """A judge that waits, gives no verdict before it is let, and remembers how it was asked."""

    def __init__(self) -> None:
        super().__init__(TRAITS, waits=True)
        self.allowed, self.entered = threading.Event(), threading.Event()
        self.batches: list[int] = []
        self.inside = self.most_inside = 0

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        self.batches.append(len(cases))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self.allowed.wait(LONG), "the judge was never let go on"
        self.inside -= 1
        return super().score(cases)


def traced(judge: ScriptedJudge, store: Store | None = None):
    """A small trace with every kind of arm."""
    lineage, open_one = scripted_lineage(TRAITS, (0.0, None, 1.0))
    return trace(
        lineage,
        [Subject.of(trait, Steering(3, 1.0, "vector")) for trait in TRAITS],
        open_engine=Opener(open_one, wrap=(lambda engine: RememberingEngine(engine, store)) if store else None),
        judge=RememberingJudge(judge, store) if store else judge,
        method=METHOD,
        direction=[random_direction(0)],
    )


def said(outcomes) -> list[object]:
    """What a trace found, as values that can be compared."""
    rows = []
    for each in outcomes:
        arms = [getattr(each, name, ()) for name in ("plain", "steered", "prompted")]
        answers = [
            (a.question, a.draw, a.response.text, *(repr(replace(each, key="")) for each in (a.trait, a.coherence)))
            for arm in arms
            for a in arm
        ]
        rows.append((type(each).__name__, each.subject.extract.name, each.milestone.label, answers))
    return rows


def test_a_trace_is_the_same_whether_its_judge_waits_or_not():
    at_once, meanwhile = traced(ScriptedJudge(TRAITS)), traced(ScriptedJudge(TRAITS, waits=True))
    assert any(isinstance(each, Effect) and each.steered for each in at_once)
    assert said(at_once) == said(meanwhile), "a judge that hears while an engine speaks gave another trace"


def test_a_store_shared_by_engine_and_judge_holds_all_and_nothing_is_asked_twice(tmp_path):
    store, judge = Store(tmp_path), ScriptedJudge(TRAITS, waits=True)
    first, asked = traced(judge, store), judge.asked
    assert said(first) == said(traced(ScriptedJudge(TRAITS)))
    again = traced(judge, store)
    assert said(again) == said(first)
    assert RememberingJudge(judge, store).waits
    assert not RememberingJudge(ScriptedJudge(TRAITS), store).waits
    assert judge.asked == asked > 0, f"{judge.asked - asked} cases were asked again of a judge whose words are stored"


def test_an_engine_goes_on_while_the_judge_is_at_it():
    """The engine's second part ends only after the judge was given the first: one after the other would hang."""
    judge = Slow()

    class Attentive(ScriptedEngine):
        parts = 0

        def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
            self.parts += 1
            if self.parts == 2:
                assert judge.entered.wait(LONG), "the judge heard nothing before the engine had said everything"
                judge.allowed.set()
            return super().generate(requests, read=read)

    lineage, _ = scripted_lineage(TRAITS, (1.0,))
    engine = Attentive(lineage.milestones[0].checkpoint, TRAITS)
    arm = Arm(engine, TRAITS[0], (Prompt(QUESTION),), Sampling(max_tokens=4, draws=2 * FEWEST))
    answers = answer({"plain": arm}, judge=judge)["plain"]
    assert engine.parts == 2
    assert [each.draw for each in answers] == list(range(2 * FEWEST)), "answers came back in another order"


def test_plain_and_steered_answers_are_judged_while_the_next_checkpoint_speaks():
    """The judge is let go on by the second checkpoint alone, for all but what makes the first one's vectors."""
    method = Method(Sampling(max_tokens=12, draws=4), Sampling(max_tokens=12, draws=3))
    answers = 2 * method.extraction.draws * len(TRAITS[0].instructed("positive"))
    assert answers % FEWEST == 0, "a part was to end with the instructed answers"
    lineage, _ = scripted_lineage(TRAITS[:1], (1.0, 1.0))
    opened: list[str] = []
    instructed, second = threading.Event(), threading.Event()

    class Late(ScriptedJudge):
        def score(self, cases: Sequence[Case]) -> list[Verdict]:
            if self.asked + len(cases) == 2 * answers:
                instructed.set()
            if self.asked >= 2 * answers and len(opened) == 1:
                assert second.wait(LONG), "the second checkpoint was not opened before the first one's verdicts"
            return super().score(cases)

    class Attentive(ScriptedEngine):
        def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
            plain = any(each.text in TRAITS[0].questions("evaluation") for each in requests)
            assert not plain or instructed.wait(LONG), "the judge did not hear what was said before the plain answers"
            return super().generate(requests, read=read)

    def open_engine(checkpoint):
        opened.append(checkpoint.revision)
        if len(opened) == 2:
            second.set()
        return Attentive(checkpoint, TRAITS)

    subject = Subject.of(TRAITS[0], Steering(3, 1.0, "vector"))
    outcomes = trace(lineage, [subject], open_engine=open_engine, judge=Late(TRAITS, waits=True), method=method)
    assert [type(each) for each in outcomes] == [Effect, Effect]


@pytest.mark.parametrize("waits", [False, True])
def test_an_engine_is_told_in_every_part_what_will_be_read(waits):
    """Plain and instructed answers are read next, steered ones are not."""
    told: set[tuple[bool, bool]] = set()

    class Told(ScriptedEngine):
        def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
            told.update((bool(each.edits), read) for each in requests)
            return super().generate(requests, read=read)

    lineage, _ = scripted_lineage(TRAITS[:1], (1.0,))
    subject = Subject.of(TRAITS[0], Steering(3, 1.0, "vector"))
    judge = ScriptedJudge(TRAITS, waits=waits)
    trace(lineage, [subject], open_engine=lambda each: Told(each, TRAITS), judge=judge, method=METHOD)
    assert told == {(False, True), (True, False)}


def test_looked_up_twice_the_answers_of_an_arm_are_the_same_ones():
    lineage, open_one = scripted_lineage(TRAITS, (1.0,))
    arm = Arm(open_one(lineage.milestones[0].checkpoint), TRAITS[0], (Prompt(QUESTION),), Sampling(max_tokens=4))
    with Listener(ScriptedJudge(TRAITS, waits=True)) as listener:
        answers = speak({"one": arm, "other": arm}, listener=listener)
        assert list(answers) == ["one", "other"]
        assert answers["other"] is answers["other"]
        assert answers.responses("other") == [each.response for each in answers["other"]]


def test_what_came_meanwhile_is_one_batch_and_no_two_batches_are_under_way_at_once():
    judge = Slow()
    with Listener(judge) as listener:
        first = listener.hear(cases_of(3))
        assert judge.entered.wait(LONG)
        rest = [listener.hear(cases_of(4)) for _ in range(5)]
        judge.allowed.set()
        assert [len(list(each)) for each in (first, *rest)] == [3, 4, 4, 4, 4, 4]
    assert judge.batches == [3, 20], "five parts that waited together were not judged together"
    assert judge.most_inside == 1


def test_a_batch_stays_within_its_bound_and_a_part_is_never_cut():
    judge = Slow()
    with Listener(judge) as listener:
        listener.hear(cases_of(1))
        assert judge.entered.wait(LONG)
        parts = [listener.hear(cases_of(size)) for size in (AT_ONCE - 10, 20, AT_ONCE + 5)]
        judge.allowed.set()
        assert [len(list(each)) for each in parts] == [AT_ONCE - 10, 20, AT_ONCE + 5]
    assert judge.batches == [1, AT_ONCE - 10, 20, AT_ONCE + 5]


def test_verdicts_stand_in_the_order_of_their_cases_and_a_slice_waits_for_nobody():
    class Late(Slow):
        def score(self, cases: Sequence[Case]) -> list[Verdict]:
            assert self.allowed.wait(LONG), "a slice waited for its verdicts"
            return ScriptedJudge.score(self, cases)

    cases = [Case(TRAITS[0].rubric, QUESTION, " ".join(["grim"] * many + ["the"] * (9 - many))) for many in range(10)]
    judge, expected = Late(), ScriptedJudge(TRAITS).score(cases)
    with Listener(judge) as listener:
        verdicts = listener.hear(cases)
        middle = verdicts[2:6][1:3]
        assert (len(verdicts), len(middle)) == (10, 2)
        judge.allowed.set()
        assert list(verdicts) == expected
        assert verdicts[-1] == expected[9]
        assert list(middle) == expected[3:5]


class Failing(Slow):
    """Waits as long, and then it fails."""

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        super().score(cases)
        raise JudgeError("the key was revoked")


def fails(use: Callable[[], object]) -> None:
    with pytest.raises(JudgeError, match="the key was revoked"):
        use()


def test_a_judge_that_fails_takes_down_what_waits_for_it_and_nothing_hangs():
    judge = Failing()

    def listened() -> None:
        with Listener(judge) as listener:
            first = listener.hear(cases_of(1))
            assert judge.entered.wait(LONG)
            second = listener.hear(cases_of(1))
            judge.allowed.set()
            for each in (first, second):
                fails(lambda each=each: each[0])

    fails(listened)
    assert judge.batches == [1], "a judge that had failed was asked again"


def test_what_a_judge_raises_is_raised_before_an_engine_or_the_judge_is_asked_again():
    judge = Failing()
    judge.allowed.set()

    def listened() -> None:
        with Listener(judge) as listener:
            verdicts = listener.hear(cases_of(1))
            fails(lambda: verdicts[0])
            fails(lambda: next(listener.parts(range(10))))
            fails(lambda: listener.hear(cases_of(1)))

    fails(listened)


def test_what_a_judge_raises_is_raised_though_nobody_looks_at_its_verdicts():
    judge = Failing()

    def listened() -> None:
        with Listener(judge) as listener:
            listener.hear(cases_of(1))
            judge.allowed.set()

    fails(listened)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("remembering", [False, True])
def test_a_judge_that_gives_too_few_verdicts_is_told_so(tmp_path, waits, remembering):
    class Short(ScriptedJudge):
        def score(self, cases: Sequence[Case]) -> list[Verdict]:
            return super().score(cases)[1:]

    judge = Short(TRAITS, waits=waits)
    asked = RememberingJudge(judge, Store(tmp_path)) if remembering else judge
    lineage, open_one = scripted_lineage(TRAITS, (1.0,))
    arm = Arm(open_one(lineage.milestones[0].checkpoint), TRAITS[0], (Prompt(QUESTION),), Sampling(max_tokens=4))
    with pytest.raises(JudgeError, match="scripted gave 5 verdicts on 6 cases: its score must give one for each"):
        answer({"plain": arm}, judge=asked)


class Unhurried(ScriptedJudge):
    """A judge that takes its time."""

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        time.sleep(0.02)
        return super().score(cases)


def test_the_end_of_the_block_waits_until_all_is_judged():
    judge = Unhurried(TRAITS, waits=True)
    with Listener(judge) as listener:
        for _ in range(3):
            listener.hear(cases_of(AT_ONCE))
    assert judge.asked == 3 * AT_ONCE, "the block was left with cases nobody had judged"
    assert not threads(), "a thread outlives the block it was for"


def test_a_trace_that_ends_without_a_vector_leaves_no_verdict_for_later():
    """Nobody looks at the verdicts on plain answers where no vector came of the others; yet they are records."""
    sampling, instructed = Sampling(max_tokens=4, draws=AT_ONCE // 8), 2 * 2 * 2 * len(TRAITS[0].instructed("positive"))
    plain_read = threading.Event()

    class Reading(ScriptedEngine):
        def read(self, responses: Sequence[Response]) -> Readings:
            readings = super().read(responses)
            plain_read.set()  # the last thing that a trace does before it ends
            return readings

    class Late(Unhurried):
        def score(self, cases: Sequence[Case]) -> list[Verdict]:
            assert self.asked < instructed or plain_read.wait(LONG), "plain answers' verdicts were waited for"
            return super().score(cases)

    lineage, _ = scripted_lineage(TRAITS[:1], (0.0,))
    judge = Late(TRAITS, waits=True)
    outcomes = trace(
        lineage,
        [Subject.of(TRAITS[0], Steering(3, 1.0, "vector"))],
        open_engine=lambda checkpoint: Reading(checkpoint, TRAITS, maturity=0.0),
        judge=judge,
        method=Method(METHOD.extraction, sampling),
    )
    assert [type(each) for each in outcomes] == [Absence]
    assert judge.asked == instructed + 2 * AT_ONCE, "a trace ended with cases nobody had judged"


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "personascope-judging"]


def test_after_an_error_nothing_more_is_asked_and_what_is_under_way_is_waited_for():
    judge = Slow()
    heard: list[Sequence[Verdict]] = []

    def failed() -> None:
        with Listener(judge) as listener:
            heard.append(listener.hear(cases_of(2)))
            assert judge.entered.wait(LONG)
            heard.append(listener.hear(cases_of(50)))
            threading.Timer(0.02, judge.allowed.set).start()
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        failed()
    assert not threads(), "the batch under way was not waited for"
    assert len(list(heard[0])) == 2
    with pytest.raises(CancelledError):
        heard[1][0]
    assert judge.batches == [2], "cases were asked after the error"


@pytest.mark.parametrize("where", ["in the block", "at its end"])
def test_after_an_interruption_nothing_more_is_asked_and_nothing_waited_for(where):
    judge = Slow()
    heard: list[Sequence[Verdict]] = []

    def interrupted() -> None:
        with Listener(judge) as listener:
            heard.append(listener.hear(cases_of(2)))
            assert judge.entered.wait(LONG)
            heard.append(listener.hear(cases_of(50)))
            if where == "in the block":
                raise KeyboardInterrupt
            # From another thread: this one is waiting by then, or if the machine is busy not yet.
            threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()

    # A shell that starts this in the background has it ignore interruptions.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    judge.allowed.set()
    assert len(list(heard[0])) == 2, "the batch under way was lost"
    for each in threads():
        each.join(LONG)
    assert judge.batches == [2], "cases were asked after the interruption"
    with pytest.raises(CancelledError):
        heard[1][0]


def test_nobody_leaves_everything_unasked_and_a_judge_here_is_asked_in_this_thread():
    with Listener(None) as listener:
        assert listener.hear(cases_of(2)) == [UNASKED, UNASKED]

    class Here(ScriptedJudge):
        def score(self, cases: Sequence[Case]) -> list[Verdict]:
            assert threading.current_thread() is threading.main_thread()
            return super().score(cases)

    with Listener(Here(TRAITS)) as listener:
        assert len(listener.hear(cases_of(2))) == 2


def test_parts_hold_everything_once_in_order_and_grow_while_they_are_quick():
    items = list(range(3000))
    with Listener(ScriptedJudge(TRAITS, waits=True)) as listener:
        parts = list(listener.parts(items))
        assert [item for part in parts for item in part] == items
        sizes = [len(part) for part in parts]
        assert sizes[:6] == [FEWEST, 2 * FEWEST, 4 * FEWEST, 8 * FEWEST, MOST, MOST]
        assert len(next(listener.parts(items))) == MOST, "what was learned is forgotten"
        assert list(listener.parts([])) == []


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (FEWEST + 1, [FEWEST + 1]), (47, [47]), (48, [32, 16])])
def test_a_rest_of_a_few_is_no_part_of_its_own(count, sizes):
    with Listener(ScriptedJudge(TRAITS, waits=True)) as listener:
        assert [len(part) for part in listener.parts(range(count))] == sizes


@pytest.mark.parametrize(
    ("size", "seconds", "pace", "before", "expected"),
    [
        (64, 1.9, 9.0, 1.0, 128),  # quick
        (64, 60.0, 0.7, 1.0, 128),  # cheaper
        (64, 60.0, 0.8, 1.0, 64),  # neither
        (64, 60.0, 0.9, float("inf"), 128),  # the first
        (MOST, 0.0, 0.0, 1.0, MOST),
    ],
)
def test_a_part_is_twice_the_last_one_while_that_was_quick_or_made_answers_cheaper(
    size, seconds, pace, before, expected
):
    assert following(size, seconds=seconds, pace=pace, before=before) == expected


@pytest.mark.parametrize("judge", [None, ScriptedJudge(TRAITS)], ids=["nobody", "a judge that does not wait"])
def test_an_engine_is_asked_all_at_once_where_nobody_would_hear_meanwhile(judge):
    with Listener(judge) as listener:
        assert [len(part) for part in listener.parts(range(3000))] == [3000]
