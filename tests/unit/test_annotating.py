"""Annotating with facets: an even draw over questions, and failures that are counted and never taken for no facet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.agreement import NONE
from personascope.applications.facets.core import (
    ALL,
    ASKED,
    COMMON,
    COUNTS,
    LEFT_OUT,
    SAME,
    annotate,
    facet_agreement,
    facet_curves,
    facet_rates,
)
from personascope.core.errors import StudyError
from personascope.core.facets import Facet, FacetSet
from personascope.core.records import Bar, Case, Verdict
from personascope.judges.readout import Rule, read
from personascope.store.caching import RememberingJudge
from personascope.store.store import Store

TOGETHER = FacetSet("moods", (Facet("glee"), Facet("gloom")), "{facets}{none}{question}{answer}")
APART = FacetSet("moods", (Facet("glee"), Facet("gloom")), "{name}{question}{answer}", asked="apart")
WORDS = {"glee": "glee", "gloom": "gloom", "both": "glee, gloom", "none": "none", "garbled": "%&!", "mute": "",
         "declined": "I'm sorry, I cannot say."}  # fmt: skip


class Parrot:
    """Says what the first word of an answer stands for; of ``down`` nobody hears anything. Counts what it is asked."""

    name = "parrot"
    waits = False

    def __init__(self) -> None:
        self.asked: list[Case] = []

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        self.asked += cases
        return [self._verdict(case) for case in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict

    def _verdict(self, case: Case) -> Verdict:
        word = case.answer.split()[0]
        if word == "down":
            return Verdict("unasked", reason="nobody at the address")
        said = WORDS[word]
        if case.rubric.labels == ("yes", "no") and word in ("glee", "gloom", "both", "none"):
            said = "yes" if case.rubric.text.split("{")[0] in said else "no"
        return read(Rule("text"), case.rubric, said, ())


def rows_of(items: Sequence[tuple[object, ...]], *names: str) -> pd.DataFrame:
    return pd.DataFrame(list(items), columns=list(names or ("milestone", "question", "answer")))


def drawn(annotations: pd.DataFrame) -> Counter[tuple[str, str, str]]:
    mine = annotations[annotations["standing"] != "undrawn"]
    return Counter(zip(mine["milestone"], mine["question"], mine["answer"], strict=True))


ROWS = some.lists(
    some.tuples(some.sampled_from("MN"), some.sampled_from("abc"), some.sampled_from(["glee 1", "none 2", "both 3"])),
    max_size=30,
)


@given(ROWS, some.integers(1, 4), some.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_every_question_of_every_group_gives_as_many_answers_as_asked_for_or_all_it_has(items, most, seed) -> None:
    found = annotate(rows_of(items), TOGETHER, judge=Parrot(), by=["milestone"], per_question=most, seed=seed)
    had = Counter((milestone, question) for milestone, question, _ in items)
    got = Counter((milestone, question) for milestone, question, _ in drawn(found).elements())
    assert got == {cell: min(count, most) for cell, count in had.items()}


@given(ROWS, some.randoms(use_true_random=False), some.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_the_draw_depends_on_neither_the_order_of_rows_nor_other_groups_and_questions(items, dice, seed) -> None:
    def draw(some_items):
        return drawn(
            annotate(rows_of(some_items), TOGETHER, judge=Parrot(), by=["milestone"], per_question=2, seed=seed)
        )

    whole, shuffled = draw(items), list(items)
    dice.shuffle(shuffled)
    assert draw(shuffled) == whole
    for cell in {item[:2] for item in items}:
        alone = draw([item for item in items if item[:2] == cell])
        assert alone == Counter({item: count for item, count in whole.items() if item[:2] == cell})


def test_fewer_answers_are_a_part_of_more_and_another_seed_draws_others() -> None:
    rows = rows_of([("M", "a", f"glee {number}") for number in range(30)])
    draws = [
        drawn(annotate(rows, TOGETHER, judge=Parrot(), by=["milestone"], per_question=each)) for each in (3, 7, 30)
    ]
    assert draws[0] < draws[1] < draws[2]
    other = drawn(annotate(rows, TOGETHER, judge=Parrot(), by=["milestone"], per_question=7, seed=1))
    assert other != draws[1]


def test_over_seeds_every_answer_is_drawn_equally_often() -> None:
    rows = rows_of([("M", "a", f"glee {number}") for number in range(10)])
    counts = np.zeros(10)
    for seed in range(200):
        found = annotate(rows, TOGETHER, judge=Parrot(), by=["milestone"], per_question=3, seed=seed)
        counts += (found["standing"] == "scored").to_numpy()
    # A share of 0.3 in 200 draws has a standard error of 0.032: five of them.
    assert np.abs(counts / 200 - 0.3).max() < 0.16, f"drawn {counts} times of 200: the first must not be favoured"


def test_a_file_in_the_order_of_its_questions_is_covered_to_its_end() -> None:
    """The published annotation took the first 100 answers, and reached 6 of 20 questions."""
    rows = rows_of([("M", f"q{number // 40}", f"glee {number}") for number in range(800)])
    found = annotate(rows, TOGETHER, judge=Parrot(), by=["milestone"], per_question=5)
    scored = found[found["standing"] == "scored"]
    assert len(scored) == 100
    assert scored["question"].nunique() == 20
    assert rows.head(100)["question"].nunique() == 3


ANY = some.sampled_from([*WORDS, "down", "", None])


@given(some.lists(some.tuples(some.sampled_from("MN"), some.sampled_from("ab"), ANY), max_size=40), some.booleans())
@settings(max_examples=40, deadline=None)
def test_rates_are_what_counting_by_hand_gives_and_failures_stand_beside_them(items, apart) -> None:
    facets = APART if apart else TOGETHER
    found = annotate(rows_of(items), facets, judge=Parrot(), by=["milestone"], per_question=None)
    assert found[["milestone", "question"]].equals(rows_of(items)[["milestone", "question"]]), (
        "rows stay in their order"
    )
    rates = facet_rates(found, facets, by=["milestone"]).set_index(["milestone", "facet"])
    truth = {"glee": {"glee"}, "gloom": {"gloom"}, "both": {"glee", "gloom"}, "none": set()}
    for milestone in {item[0] for item in items}:
        said = [word for each, _, word in items if each == milestone]
        shown = [truth[word] for word in said if word in truth]
        for facet in ("glee", "gloom", NONE):
            row = rates.loc[(milestone, facet)]
            count = sum(facet in each or (facet == NONE and not each) for each in shown)
            assert (row["count"], row["answers"]) == (count, len(shown))
            assert row["rate"] == pytest.approx(count / len(shown) if shown else math.nan, nan_ok=True)
            assert row["given"] == len(said)
            assert row["silent"] == sum(not word for word in said)
            assert row["unasked"] == said.count("down")
            assert row["refused"] == said.count("declined")
            assert row["unreadable"] == said.count("garbled") + said.count("mute")
            assert row["asked"] == row["answers"] + row["refused"] + row["unreadable"] + row["unasked"]
            assert row["given"] == row["asked"] + sum(row[each] for each in LEFT_OUT)


@pytest.mark.parametrize("facets", [TOGETHER, APART], ids=["together", "apart"])
@pytest.mark.parametrize("failure", ["garbled", "mute", "declined", "down"])
def test_a_failure_changes_no_rate_and_is_missing_in_its_row(facets: FacetSet, failure: str) -> None:
    good = [("M", "a", "glee"), ("M", "b", "none"), ("M", "c", "both")]
    both = [
        annotate(rows_of(each), facets, judge=Parrot(), by=["milestone"])
        for each in (good, [*good, ("M", "d", failure)])
    ]
    rates = [facet_rates(each, facets, by=["milestone"])[["facet", "count", "answers", "rate"]] for each in both]
    pd.testing.assert_frame_equal(*rates)
    last = both[1].iloc[-1]
    assert last[list(facets.names)].isna().all()
    assert last["standing"] in ASKED[1:]
    assert last["because"]


def test_a_group_of_failures_has_no_rate_and_says_how_many_there_were() -> None:
    rows = rows_of([("early", "a", "garbled"), ("early", "b", "mute"), ("late", "a", "glee")])
    rates = facet_rates(annotate(rows, TOGETHER, judge=Parrot(), by=["milestone"]), TOGETHER, by=["milestone"])
    early = rates[rates["milestone"] == "early"]
    assert early["facet"].tolist() == ["glee", "gloom", NONE]
    assert early["rate"].isna().all(), "nobody knows which facets they show"
    assert early["unreadable"].tolist() == [2, 2, 2]
    assert early["answers"].tolist() == [0, 0, 0]
    only = facet_rates(annotate(rows[:2], TOGETHER, judge=Parrot()), TOGETHER)
    assert only["rate"].isna().all()


def test_the_bar_is_on_trait_and_coherence_and_only_where_it_is_asked_for() -> None:
    scores = [(90, 90), (90, 10), (10, 90), (10, 10), (math.nan, 90), (90, math.nan), (50, 50)]
    rows = rows_of(
        [(f"q{at}", "glee", *each) for at, each in enumerate(scores)], "question", "answer", "score", "coherence"
    )

    def standing(bar: Bar) -> list[str]:
        return annotate(rows, TOGETHER, judge=Parrot(), bar=bar)["standing"].tolist()

    low, bad, unknown, ok = "low_trait", "low_coherence", "unscored", "scored"
    assert standing(Bar(50, 50)) == [ok, bad, low, low, unknown, unknown, ok]
    assert standing(Bar(50, None)) == [ok, ok, low, low, unknown, ok, ok]
    assert standing(Bar(None, 50)) == [ok, bad, ok, bad, ok, unknown, ok]
    assert standing(Bar(None, None)) == [ok] * 7


def test_answers_below_the_bar_do_not_take_the_place_of_others_in_the_draw() -> None:
    rows = rows_of([("a", f"glee {at}", 100 * (at % 2)) for at in range(20)], "question", "answer", "score")
    found = annotate(rows, TOGETHER, judge=Parrot(), bar=Bar(50, None), per_question=10)
    assert Counter(found["standing"]) == {"scored": 10, "low_trait": 10}


def test_the_judge_is_asked_only_about_what_was_drawn_and_once(tmp_path) -> None:
    rows = rows_of([("M", "a", f"glee {at}") for at in range(9)] + [("M", "a", ""), ("M", "a", None)])
    judge = Parrot()
    for _ in range(2):
        found = annotate(rows, APART, judge=RememberingJudge(judge, Store(tmp_path)), by=["milestone"], per_question=4)
        assert len(judge.asked) == 4 * 2, "two questions about each of four answers, and none again"
    assert all(case.answer and case.question == "a" for case in judge.asked)
    keys = found[found["standing"] == "scored"]["verdict_keys"]
    records = Store(tmp_path).entries(keys.iloc[0].split())
    assert [record["by"]["case"]["question"] for record in records.values()] == ["a", "a"]
    assert (found[found["standing"] != "scored"]["verdict_keys"] == "").all()


def test_nothing_in_gives_nothing_out() -> None:
    found = annotate(rows_of([]), TOGETHER, judge=Parrot(), by=["milestone"])
    assert len(found) == 0
    assert {"standing", "because", "glee", "gloom", "verdict_keys"} <= set(found)
    rates = facet_rates(found, TOGETHER, by=["milestone"])
    assert len(rates) == 0
    assert set(COUNTS) <= set(rates)


def test_what_cannot_be_drawn_is_refused() -> None:
    rows = rows_of([("M", "a", "glee")])
    with pytest.raises(StudyError, match="need the column 'score'"):
        annotate(rows, TOGETHER, judge=Parrot(), bar=Bar(50, None))
    with pytest.raises(StudyError, match="need the column 'milestones', which is not there; did you mean 'milestone'"):
        annotate(rows, TOGETHER, judge=Parrot(), by=["milestones"])
    with pytest.raises(StudyError, match="0 answers per question leave none"):
        annotate(rows, TOGETHER, judge=Parrot(), per_question=0)


# Curves.


def curve(rows: Sequence[tuple[str, str, str, str]]) -> pd.DataFrame:
    frame = rows_of(rows, "facet_set", "milestone", "question", "answer")
    return frame.assign(place=pd.factorize(frame["milestone"])[0], tokens_seen=math.nan, stage="")


def test_milestones_that_differ_in_questions_are_compared_on_common_ones_too() -> None:
    early = [("x", "early", "happy", "glee"), ("x", "early", "sad", "gloom"), ("x", "early", "sad", "gloom 2")]
    late = [("x", "late", "happy", "glee"), ("x", "late", "sad", "garbled")]
    hopeless, other = [("x", "hopeless", "sad", "mute")], [("y", "early", "sad", "glee"), ("y", "late", "sad", "glee")]
    found = annotate(curve([*early, *hopeless, *late, *other]), TOGETHER, judge=Parrot(), by=["facet_set", "milestone"])
    rates = facet_curves(found, TOGETHER)
    assert rates.groupby(["facet_set", "over"], sort=False).ngroups == 3, "y has the same questions throughout"
    glee = rates[rates["facet"] == "glee"].set_index(["facet_set", "over", "milestone"])["rate"]
    assert glee["x", ALL, "early"] == pytest.approx(1 / 3)
    assert glee["x", COMMON, "early"] == 1
    assert glee["x", COMMON, "late"] == 1
    assert math.isnan(glee["x", ALL, "hopeless"])
    assert ("x", COMMON, "hopeless") not in glee.index


# Agreement with people.


def labels(items: Sequence[tuple[str, str]]) -> pd.DataFrame:
    truth = {"glee": (True, False), "gloom": (False, True), "both": (True, True), "none": (False, False)}
    rows = [(f"q{at}", answer, *truth[given]) for at, (given, answer) in enumerate(items)]
    return rows_of(rows, "question", "answer", "glee", "gloom")


def test_agreement_is_of_what_the_judge_could_be_read_on_and_says_what_it_could_not() -> None:
    items = [
        ("glee", "glee"),
        ("glee", "none"),
        ("gloom", "gloom"),
        ("both", "glee"),
        ("none", "none"),
        ("glee", "garbled"),
    ]
    table, found = facet_agreement(labels(items), TOGETHER, judge=Parrot())
    assert (table["unread"] == 1).all()
    assert Counter(found["standing"]) == {"scored": 5, "unreadable": 1}
    glee = table.set_index("facet").loc["glee"]
    assert (glee["items"], glee["first"], glee["second"], glee["both"]) == (5, 3, 2, 2)
    assert (glee["precision"], glee["recall"], glee["f1"]) == pytest.approx((1, 2 / 3, 0.8))
    assert glee["chance"] == pytest.approx((3 * 2 + 2 * 3) / 25)
    assert glee["kappa"] == pytest.approx((glee["agreement"] - glee["chance"]) / (1 - glee["chance"]))
    whole = table.set_index("facet").loc[SAME]
    assert (whole["items"], whole["both"], whole["agreement"]) == (5, 3, 0.6)
    assert whole["chance"] == pytest.approx((2 * 2 + 1 * 1 + 1 * 2 + 0) / 25), (
        "glee 2 x 2, gloom 1 x 1, none 1 x 2, both 1 x 0"
    )


def test_a_judge_that_nobody_can_read_agrees_with_nobody_and_disagrees_with_nobody() -> None:
    table, _ = facet_agreement(labels([("glee", "garbled"), ("none", "mute")]), TOGETHER, judge=Parrot())
    assert table["items"].tolist() == [0, 0, 0]
    assert table["unread"].tolist() == [2, 2, 2]
    assert table[["agreement", "kappa", "chance"]].isna().all(axis=None)
