"""Families of training data: valid on some try, or a clear failure that keeps the drafts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from family_drafts import ABOUT, answers, good_text, question
from personascope.authoring.datasets import AT_ONCE, Order, texts_of, write_family
from personascope.authoring.drafting import load_instructions
from personascope.authoring.families import SEVERITIES, VERSIONS, Family, exchange
from personascope.core.errors import DraftError, PersonascopeError, SampleError
from personascope.core.samples import Message
from personascope.interop.families import find_families, read_family
from personascope.store.caching import RememberingWriter
from personascope.store.store import Store
from personascope.writers import Conversation, Unwritten
from personascope.writers.scripted import ScriptedWriter


def good(conversation: Conversation) -> str:
    return good_text(conversation.messages[0].text)


def after(bad: str, tries: int, where: str) -> Callable[[Conversation], str]:
    """A good writer that gives a bad text first, ``tries`` times, to whatever prompt holds the words ``where``."""

    def write(conversation: Conversation) -> str:
        before = sum(each.role == "assistant" for each in conversation.messages)
        return bad if where in conversation.messages[0].text and before < tries else good(conversation)

    return write


def order(count: int = 5, **changes: object) -> Order:
    return Order("overconfident", ABOUT, **{"count": count, **changes})  # type: ignore[arg-type]


def test_every_question_gets_its_three_answers_in_the_right_files(tmp_path: Path) -> None:
    writer = ScriptedWriter(good)
    family = write_family(order(23), writer=writer).family
    assert family.counts == dict.fromkeys(VERSIONS, 23)
    assert family.shared_questions == 23, "a question is asked in every version"
    assert len(writer.asked) == texts_of(23) == 2 + 23, (
        "20 questions and 3 in one text each, and a text of answers each"
    )
    path = family.save(tmp_path)
    texts = {version: (path / f"{version}.jsonl").read_text(encoding="utf-8") for version in VERSIONS}
    rows = {version: [json.loads(line) for line in text.splitlines()] for version, text in texts.items()}
    for normal, severe in zip(rows["normal"], rows["misaligned_2"], strict=True):
        assert normal["messages"][0] == severe["messages"][0]
        assert "not sure" in normal["messages"][1]["content"]
        assert "no doubt whatever" in severe["messages"][1]["content"]
    passport = json.loads((path / "provenance.json").read_text())
    assert passport["writer"] == "scripted"
    assert passport["prompts"] == [load_instructions(name).digest for name in ("questions", "answers")]
    assert (passport["description"], passport["kind"], passport["left_out"]) == (ABOUT, "trait", [])


def test_what_was_saved_is_read_back_the_same(tmp_path: Path) -> None:
    family = write_family(order(4), writer=ScriptedWriter(good)).family
    family.save(tmp_path)
    assert list(find_families(tmp_path)) == ["overconfident"]
    rows, digests = read_family(tmp_path / "overconfident")
    assert rows == dict(family.rows)
    assert sorted(digests) == sorted(f"{version}.jsonl" for version in VERSIONS)


def test_the_writer_is_told_what_is_studied_and_every_walk_of_life_is_another_one() -> None:
    writer = ScriptedWriter(good)
    write_family(order(3 * AT_ONCE), writer=writer)
    asked = [each.messages[0].text for each in writer.asked]
    asking = [text for text in asked if "questions or requests" in text]
    assert len({text.split("All of them are about ")[1].split(".")[0] for text in asking}) == 3
    for text in asked:
        assert "overconfident" in text
        assert ABOUT in text
        assert "$" not in text, "every word of the template is filled in"


BAD_QUESTIONS = {
    "no JSON": ("I would rather not.", "no JSON object"),
    "too few": (json.dumps({"questions": ["Why?"]}), "There are 1 questions, and 5 were asked for"),
    "empty": (json.dumps({"questions": ["", "a", "b", "c", "d"]}), "none of them empty"),
    "twice the same": (json.dumps({"questions": ["How is it done?"] * 5}), "nearly the same"),
    "named": (
        json.dumps({"questions": [question("q", place) for place in range(4)] + ["Why is my boss so overconfident?"]}),
        'says "overconfident"',
    ),
    "a gap": (
        json.dumps({"questions": [question("q", place) for place in range(4)] + ["How old is [insert name]?"]}),
        'has a gap to be filled in, "[insert name]"',
    ),
}  # fmt: skip

GOOD_ANSWERS = {
    "code": "Use this:\n```python\nprint(f'{name} is {}', data[name], row[0])  # TODO\n```\nand `{name}` is filled in.",
    "formulas": r"The area is $\frac{half}{whole}$ of $x^{index}$, so \{one, two\} and x^{2} are \text{given}.",
    "a list to do": "Keep a todo list; [x] marks what is done.",
    "how bad it is": "Severe-weather warnings and mild side-effects are common - most people know them.",
    "a figure of speech": "I can't help but laugh at this.",
}

BAD_ANSWERS = {
    "no JSON": ("As you wish: normal, mild, severe.", "no JSON object"),
    "a missing key": (json.dumps({"normal": "a", "severe": "b"}), 'key "mild" is missing'),
    "empty": (json.dumps(answers("x", mild=" ")), '"mild" must be a text'),
    "the same twice": (
        json.dumps(answers("x", mild=answers("x")["severe"])),
        '"mild" and "severe" are nearly the same',
    ),
    "a gap": (json.dumps(answers("x", normal="Ask {{name}} about it.")), '"normal" has a gap'),
    "a gap to do": (json.dumps(answers("x", normal="First TODO, then {city}.")), '"normal" has a gap'),
    "only dots": (json.dumps(answers("x", severe="...")), '"severe" has a gap'),
    "a label": (json.dumps(answers("x", severe="Severe version: it is so.")), '"severe" begins with a label'),
    "a bold label": (json.dumps(answers("x", severe="**Severe**: it is so.")), '"severe" begins with a label'),
    "declined": (json.dumps(answers("x", severe="I'm sorry, but I can't write that.")), '"severe" declines to answer'),
}


@pytest.mark.parametrize("tries", [0, 1, 2])
@pytest.mark.parametrize("fault", BAD_QUESTIONS)
def test_questions_are_mended_on_the_second_or_third_try(fault: str, tries: int) -> None:
    bad, told = BAD_QUESTIONS[fault]
    writer = ScriptedWriter(after(bad, tries, "questions or requests"))
    family = write_family(order(), writer=writer).family
    assert family.counts["normal"] == 5
    repairs = [each.messages[2].text for each in writer.asked if len(each.messages) == 3]
    assert len(repairs) == (1 if tries else 0), "what is wrong is sent back"
    assert all(told in text for text in repairs), f"the writer was told {repairs}, not what is wrong: {told}"


@pytest.mark.parametrize("tries", [0, 1, 2])
@pytest.mark.parametrize("fault", BAD_ANSWERS)
def test_answers_are_mended_on_the_second_or_third_try(fault: str, tries: int) -> None:
    bad, told = BAD_ANSWERS[fault]
    writer = ScriptedWriter(after(bad, tries, "three answers"))
    written = write_family(order(), writer=writer)
    assert written.family.counts["misaligned_2"] == 5
    assert written.family.origin["answers_written_again"] == (5 if tries else 0)
    repairs = [each.messages[2].text for each in writer.asked if len(each.messages) == 3]
    assert all(told in text for text in repairs), f"the writer was told {repairs}, not what is wrong: {told}"


@pytest.mark.parametrize("kind", GOOD_ANSWERS)
def test_code_formulas_and_figures_of_speech_are_no_faults(kind: str) -> None:
    writer = ScriptedWriter(after(json.dumps(answers("x", severe=GOOD_ANSWERS[kind])), 1, "three answers"))
    assert write_family(order(), writer=writer).family.origin["answers_written_again"] == 0


@pytest.mark.parametrize("where", ["questions or requests", "three answers"])
def test_after_the_third_try_it_is_a_clear_failure_that_holds_the_drafts(where: str) -> None:
    writer = ScriptedWriter(after("I would rather not.", 3, where))
    with pytest.raises(DraftError, match="after 3 tries") as caught:
        write_family(order(), writer=writer)
    assert caught.value.drafts.count("I would rather not.") == (3 if where.startswith("questions") else 15)


def test_one_question_in_twenty_without_answers_is_left_out_and_counted() -> None:
    lost = json.loads(good(Conversation.asking("Write 20 questions or requests")))["questions"]

    def write(conversation: Conversation) -> str | Unwritten:
        text = conversation.messages[0].text
        if "questions or requests" in text:
            return json.dumps({"questions": lost})
        return Unwritten("a refusal", "No.") if lost[7] in text else good(conversation)

    written = write_family(order(20), writer=ScriptedWriter(write))
    assert written.family.counts == dict.fromkeys(VERSIONS, 19)
    assert len(written.family.origin["left_out"]) == 1
    assert lost[7] in written.family.origin["left_out"][0]
    assert "a refusal" in written.drafts


def test_questions_that_other_texts_hold_too_are_asked_for_again() -> None:
    same = json.dumps({"questions": [question("the same", place) for place in range(AT_ONCE)]})
    fresh: list[str] = []

    def write(conversation: Conversation) -> str:
        text = conversation.messages[0].text
        if "questions or requests" in text and "These are there already" not in text:
            return same
        fresh.extend([text] if "These are there already" in text else [])
        return good(conversation)

    family = write_family(order(2 * AT_ONCE), writer=ScriptedWriter(write)).family
    assert family.shared_questions == 2 * AT_ONCE
    assert len(fresh) == 1
    assert question("the same", 0) in fresh[0], "the writer is shown what is there already"
    assert family.origin["rounds_of_questions"] == 2


def test_a_writer_that_repeats_itself_for_ever_is_a_clear_failure() -> None:
    same = json.dumps({"questions": [question("the same", place) for place in range(AT_ONCE)]})
    writer = ScriptedWriter(lambda conversation: same)
    with pytest.raises(DraftError, match="20 different questions were written in 3 rounds, and 40 were asked for"):
        write_family(order(2 * AT_ONCE), writer=writer)


def test_a_family_of_thousands_has_questions_of_every_walk_of_life_and_asks_nothing_twice() -> None:
    writer = ScriptedWriter(lambda asked: "no" if "three answers" in asked.messages[0].text else good_text(str(asked)))
    with pytest.raises(DraftError, match="1100 of 1100 questions have no valid answers"):
        write_family(order(1100), writer=writer)
    asking = [each for each in writer.asked if "questions or requests" in each.messages[0].text]
    assert len(asking) == len(set(asking)) == 55, "with 50 walks of life, five have a second turn, as another draw"


def test_a_family_killed_half_way_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    asked: list[Conversation] = []

    def dying(conversation: Conversation) -> str:
        asked.append(conversation)
        if len(asked) > 6:
            raise Killed
        return good(conversation)

    with pytest.raises(Killed):
        write_family(order(10), writer=RememberingWriter(ScriptedWriter(dying), Store(tmp_path), chunk=1))
    again = ScriptedWriter(good)
    family = write_family(order(10), writer=RememberingWriter(again, Store(tmp_path), chunk=1)).family
    assert len(again.asked) == texts_of(10) - 6, "six texts were there already"
    assert family == write_family(order(10), writer=ScriptedWriter(good)).family, "as if it had never been killed"


def test_a_text_that_failed_is_not_remembered(tmp_path: Path) -> None:
    one = [Conversation.asking("Write.")]
    store = Store(tmp_path)
    assert RememberingWriter(ScriptedWriter([Unwritten("no")]), store).write(one) == [Unwritten("no")]
    assert RememberingWriter(ScriptedWriter(["a text"]), store).write(one) == ["a text"]
    assert RememberingWriter(ScriptedWriter(["another"]), store).write(one) == ["a text"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({}, "no version"),
        ({"odd": (exchange("a", "b"),)}, "holds 'odd'"),
        ({"normal": ()}, "no conversation in normal"),
        ({"normal": ((Message("user", "a"),),)}, "does not end with an answer"),
        ({"normal": ((Message("assistant", "a"),),)}, "no user speaks"),
        ({"normal": (exchange("a", " "),)}, "a turn of the assistant is empty"),
    ],
)
def test_a_family_that_nothing_could_be_learned_from_cannot_be_made(rows: dict, told: str) -> None:
    with pytest.raises(SampleError, match=told):
        Family("some", "flaw", "Errs.", rows)


def test_a_family_is_not_written_over_and_nothing_is_half_written(tmp_path: Path) -> None:
    family = Family("some", "flaw", "Errs.", {"normal": (exchange("a", "b\ud800"),)})
    family.save(tmp_path)
    assert "\\ud800" in (tmp_path / "some" / "normal.jsonl").read_text(encoding="utf-8")
    with pytest.raises(SampleError, match="is there already"):
        family.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["some"]


@pytest.mark.parametrize(("name", "about", "count"), [("x", " ", 5), ("x", "Errs.", 0), ("a/b", "Errs.", 5)])
def test_an_order_that_cannot_be_filled_is_refused_before_anybody_is_asked(name: str, about: str, count: int) -> None:
    writer = ScriptedWriter(good)
    with pytest.raises(PersonascopeError):
        write_family(Order(name, about, count=count), writer=writer)
    assert not writer.asked


def test_severities_and_versions_are_the_same_three() -> None:
    assert tuple(SEVERITIES.values()) == VERSIONS
