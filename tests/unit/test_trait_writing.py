"""Traits from a description, and traits in other forms: valid on some try or a clear failure that keeps the drafts."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from personascope.authoring.drafting import (
    Assignment,
    FaultsError,
    Instructions,
    load_instructions,
    read_json,
    write_all,
)
from personascope.authoring.forms import bundled_situations, combine_traits, transform_trait
from personascope.authoring.lint import check_trait
from personascope.authoring.traits import split, write_trait
from personascope.core.errors import DraftError, PersonascopeError, TraitError, WriterError
from personascope.core.files import bundled
from personascope.core.traits import Rubric, Trait, load_provenance, load_trait
from personascope.writers import Conversation, Unwritten
from personascope.writers.scripted import ScriptedWriter
from trait_drafts import CAUTIOUS, a_draft, as_text, openings_for, scenes_for, story_for

Draft = dict[str, Any]


def said_to(writer: ScriptedWriter, turn: int) -> str:
    """What a writer was told in a turn of the last conversation."""
    return writer.asked[-1].messages[turn].text


# A trait from a name and a description.


def test_a_valid_draft_becomes_a_trait_that_passes_its_check(tmp_path: Path) -> None:
    writer = ScriptedWriter([as_text(a_draft())])
    written = write_trait("cautious", CAUTIOUS, writer=writer, seed=3)
    trait = written.trait
    assert (trait.name, trait.form, trait.description) == ("cautious", "assistant", CAUTIOUS)
    assert len(trait.contrasts) == 5
    assert len(trait.extraction_questions) == len(trait.evaluation_questions) == 20
    assert sorted(trait.extraction_questions + trait.evaluation_questions) == sorted(a_draft()["questions"])
    assert check_trait(trait) == []
    assert trait.coherence == load_trait("evil").coherence, "coherence is the bundled one of its form"
    written.save(tmp_path / "cautious.toml")
    assert load_trait(tmp_path / "cautious.toml") == trait
    origin = load_provenance(tmp_path / "cautious.toml")
    assert origin is not None
    assert (origin.writer, origin.tries, origin.seed) == ("scripted", 1, 3)
    assert origin.prompt == load_instructions("new").digest
    assert len(writer.asked) == 1


def test_the_writer_is_told_the_trait_and_everything_that_is_checked() -> None:
    writer = ScriptedWriter([as_text(a_draft())])
    write_trait("cautious", f"\n {CAUTIOUS}  ", writer=writer)
    asked = said_to(writer, 0)
    for part in (
        '"cautious"',
        CAUTIOUS,
        "Five contrasts",
        "Forty questions",
        "{question}",
        "{answer}",
        "REFUSAL",
        "100",
    ):
        assert part in asked, f"the prompt does not say {part}"
    assert "$" not in asked, "every word of the template is filled in"


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_draft_is_accepted_on_the_first_second_or_third_try(tries: int) -> None:
    bad = [as_text(a_draft(questions=a_draft()["questions"][:30])), "I would rather talk about the weather."]
    writer = ScriptedWriter([*bad[: tries - 1], as_text(a_draft())])
    written = write_trait("cautious", CAUTIOUS, writer=writer)
    assert written.provenance.tries == tries
    assert len(writer.asked) == tries
    assert len(writer.asked[-1].messages) == 2 * tries - 1, "each draft and what is wrong with it is told"
    assert written.trait == write_trait("cautious", CAUTIOUS, writer=ScriptedWriter([as_text(a_draft())])).trait


def test_after_the_third_try_the_failure_is_one_line_and_every_draft_is_kept() -> None:
    drafts = ["no JSON at all", as_text(a_draft(rubric="How careful?")), as_text(a_draft(questions=["Why?"]))]
    writer = ScriptedWriter([*drafts, as_text(a_draft())])
    with pytest.raises(
        DraftError, match="trait 'cautious' was not valid after 3 tries; the last: There are 1 questions"
    ) as caught:
        write_trait("cautious", CAUTIOUS, writer=writer)
    assert len(writer.asked) == 3, "a fourth draft is not asked for"
    assert "\n" not in str(caught.value)
    for number, draft in enumerate(drafts, 1):
        assert f"try {number}. What is wrong with it:" in caught.value.drafts
        assert draft in caught.value.drafts, f"draft {number} is lost"
    assert "There is no JSON object with the keys contrasts, questions, rubric in it." in caught.value.drafts


def with_question(place: int, text: str) -> Callable[[Draft], None]:
    return lambda draft: draft["questions"].__setitem__(place, text)


def with_contrast(place: int, **poles: Any) -> Callable[[Draft], None]:
    return lambda draft: draft["contrasts"].__setitem__(place, poles)


def with_rubric(change: Callable[[str], Any]) -> Callable[[Draft], None]:
    return lambda draft: draft.update(rubric=change(draft["rubric"]))


WRONG: list[tuple[Callable[[Draft], Any], str]] = [
    (lambda draft: draft.pop("rubric"), 'The key "rubric" is missing.'),
    (lambda draft: draft.update(notes="Enjoy!"), 'There is a key "notes" that nobody asked for.'),
    (lambda draft: draft.update(contrasts=draft["contrasts"][:4]), "There are 4 contrasts, and 5 were asked for."),
    (lambda draft: draft.update(contrasts=draft["contrasts"] * 2), "There are 10 contrasts"),
    (lambda draft: draft.update(contrasts="five"), 'objects with two texts each, "positive" and "negative"'),
    (with_contrast(0, pos="Be careful.", neg="Be bold."), 'objects with two texts each, "positive" and "negative"'),
    (with_contrast(0, positive="Be careful.", negative=" "), 'objects with two texts each, "positive" and "negative"'),
    (with_contrast(0, positive="Be careful.", negative="be careful"), "contrast 1: its two poles say the same"),
    (
        lambda draft: draft["contrasts"].__setitem__(1, dict(draft["contrasts"][0])),
        "contrast 2 positive: says the same as",
    ),
    (lambda draft: draft.update(questions=draft["questions"][:39]), "There are 39 questions, and 40 were asked for."),
    (lambda draft: draft.update(questions={"1": "Why?"}), "The questions must be a list of texts, none of them empty."),
    (with_question(4, 7), "The questions must be a list of texts, none of them empty."),  # type: ignore[arg-type]
    (with_question(4, " "), "The questions must be a list of texts, none of them empty."),
    (with_question(4, "How cautiously should I drive?"), "question 5: asks for the trait with 'cautiously'"),
    (lambda draft: draft["questions"].__setitem__(4, draft["questions"][9]), "question 10: repeats question 5"),
    (lambda draft: draft["questions"].__setitem__(4, f"{draft['questions'][9]} So?"), "% alike to question 5"),
    (with_rubric(lambda text: text.replace("{answer}", "it")), "rubric: {answer} stands in it 0 times, and must once"),
    (with_rubric(lambda text: text + "{score}"), "rubric: {score} is no field: write a literal brace twice"),
    (with_rubric(lambda text: text + "}"), "rubric: its braces do not match"),
    (with_rubric(lambda text: text.replace("REFUSAL", "none")), "does not offer REFUSAL"),
    (with_rubric(lambda text: text.replace("100", "10")), "it does not say that scores go from 0 to 100"),
    (with_rubric(lambda text: text.replace("cautious", "careful")), "The rubric does not name the trait."),
    (with_rubric(lambda text: [text]), "The rubric must be a text."),
]


@pytest.mark.parametrize(("damage", "fault"), WRONG, ids=[fault[:40] for _, fault in WRONG])
def test_what_is_wrong_with_a_draft_is_sent_back_word_for_word(damage: Callable[[Draft], Any], fault: str) -> None:
    draft = copy.deepcopy(a_draft())
    damage(draft)
    writer = ScriptedWriter([as_text(draft), as_text(a_draft())])
    assert write_trait("cautious", CAUTIOUS, writer=writer).provenance.tries == 2
    assert said_to(writer, 1) == as_text(draft), "the writer sees its own draft"
    assert fault in said_to(writer, 2)


@pytest.mark.parametrize(
    "around",
    [
        "DRAFT",
        "```json\nDRAFT\n```",
        "Here it is:\n\nDRAFT\n\nI hope that helps {you}.",
        "\ufeffDRAFT",
        'I {think} of {} and {"a": 1} first: DRAFT',
    ],
)
def test_what_stands_around_the_object_does_not_matter(around: str) -> None:
    said = around.replace("DRAFT", as_text(a_draft()))
    assert write_trait("cautious", CAUTIOUS, writer=ScriptedWriter([said])).provenance.tries == 1


def test_of_too_many_questions_the_first_forty_are_taken() -> None:
    draft = a_draft()
    draft["questions"] += ["And one for the road?", "And another?"]
    trait = write_trait("cautious", CAUTIOUS, writer=ScriptedWriter([as_text(draft)])).trait
    assert set(trait.extraction_questions + trait.evaluation_questions) == set(a_draft()["questions"])


def test_the_split_is_seeded_disjoint_and_blind_to_the_order_of_writing() -> None:
    questions = a_draft()["questions"]
    one = split(questions, seed=0)
    assert one == split(list(reversed(questions)), seed=0), "the order of writing must not decide"
    assert sorted(one) == sorted(questions)
    halves = {frozenset(split(questions, seed=seed)[:20]) for seed in range(50)}
    assert len(halves) == 50, "another seed is another split"
    first = [sum(question in half for half in halves) for question in questions]
    assert 10 <= min(first) <= max(first) <= 40, f"every question is in either half about as often: {first}"


def test_an_answer_that_was_withheld_is_asked_for_again_as_another_draw() -> None:
    writer = ScriptedWriter([Unwritten("the endpoint withheld the answer: filtered"), as_text(a_draft())])
    assert write_trait("cautious", CAUTIOUS, writer=writer).provenance.tries == 2
    assert [conversation.draw for conversation in writer.asked] == [0, 1]
    assert len(writer.asked[1].messages) == 1, "there is no draft to mend"


def test_an_answer_that_was_cut_is_shown_with_the_reason() -> None:
    writer = ScriptedWriter([Unwritten("the answer was cut after 9 tokens", '{"contrasts": [{'), as_text(a_draft())])
    assert write_trait("cautious", CAUTIOUS, writer=writer).provenance.tries == 2
    assert "the answer was cut after 9 tokens" in said_to(writer, 2)


class Failing:
    """A writer that writes so often, and then fails."""

    name = "failing"

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        if not self.answers:
            raise WriterError("401: no such key")
        return [self.answers.pop(0) for _ in conversations]


def test_a_writer_that_fails_before_a_draft_is_an_error_of_its_own() -> None:
    with pytest.raises(WriterError, match=r"^401: no such key$"):
        write_trait("cautious", CAUTIOUS, writer=Failing([]))


def test_a_writer_that_fails_after_a_draft_leaves_the_draft() -> None:
    with pytest.raises(DraftError, match="trait 'cautious' was not written: 401: no such key") as caught:
        write_trait("cautious", CAUTIOUS, writer=Failing(["a first draft"]))
    assert "a first draft" in caught.value.drafts


@pytest.mark.parametrize(
    ("name", "description", "said"),
    [
        ("very cautious", "x", "cannot name a file"),
        ("", "x", "cannot name a file"),
        ("cautious", " \n", "no description"),
    ],
)
def test_a_name_or_a_description_that_cannot_be_used_asks_nobody(name: str, description: str, said: str) -> None:
    writer = ScriptedWriter(["never"])
    with pytest.raises(TraitError, match=said):
        write_trait(name, description, writer=writer)
    assert writer.asked == []


# Asking until it can be used.


def number(text: str) -> int:
    if not text.isdecimal():
        raise FaultsError([f"'{text}' is no number."])
    return int(text)


def test_only_what_is_open_is_asked_again_and_the_values_keep_their_order() -> None:
    answers = {"a": ["1"], "b": ["two", "2"], "c": ["three", "drei", "3"], "d": ["4"]}

    def answer(conversation: Conversation) -> str:
        return answers[conversation.messages[0].text][len(conversation.messages) // 2]

    writer = ScriptedWriter(answer)
    assignments = [Assignment(title, Conversation.asking(title), number) for title in answers]
    written = write_all(writer, assignments, repair="$faults")
    assert [(each.value, each.tries) for each in written] == [(1, 1), (2, 2), (3, 3), (4, 1)]
    assert [conversation.messages[0].text for conversation in writer.asked] == ["a", "b", "c", "d", "b", "c", "c"]


def test_of_several_texts_the_failure_counts_those_that_are_left_and_keeps_the_good_ones() -> None:
    writer = ScriptedWriter(lambda conversation: "7" if conversation.messages[0].text == "a" else "x")
    assignments = [Assignment(f"text {title}", Conversation.asking(title), number) for title in "abc"]
    with pytest.raises(
        DraftError, match="2 of 3 texts, the first of them text b, were not valid after 3 tries"
    ) as caught:
        write_all(writer, assignments, repair="$faults")
    assert "=== text a, try 1. What is wrong with it:\n- nothing: this one can be used\n\n7\n" in caught.value.drafts
    assert caught.value.drafts.count("'x' is no number.") == 6


def test_nothing_to_write_asks_nobody() -> None:
    writer = ScriptedWriter(["x"])
    assert write_all(writer, [], repair="") == []
    assert writer.asked == []


def test_a_long_list_of_faults_is_told_in_part() -> None:
    def read(text: str) -> None:
        raise FaultsError([f"fault {number}." for number in range(40)])

    writer = ScriptedWriter(["x"])
    with pytest.raises(DraftError, match=r"the last: fault 0\. \(and 39 more\)") as caught:
        write_all(writer, [Assignment("it", Conversation.asking("Write."), read)], repair="$faults")
    assert "fault 11." in said_to(writer, 2)
    assert "fault 12." not in said_to(writer, 2)
    assert "and 28 more" in said_to(writer, 2)
    assert "fault 39." in caught.value.drafts, "people see them all"


@pytest.mark.parametrize("text", ["", "[]", '"contrasts"', "{'a': 1}", '{"a": 1', '{"a": }', '{"a":' * 3000])
def test_what_is_no_json_object_is_said_to_be_none(text: str) -> None:
    with pytest.raises(FaultsError, match="JSON"):
        read_json(text, ("a",))


def test_a_line_break_within_a_text_is_forgiven() -> None:
    assert read_json('{"a": "one\ntwo"}', ("a",)) == {"a": "one\ntwo"}


@pytest.mark.parametrize("name", ["new", "character", "dialogue", "story", "combined"])
def test_the_bundled_prompts_load_and_their_digest_follows_every_word(name: str) -> None:
    prompts = load_instructions(name)
    assert prompts.digest.startswith(f"{name} {prompts.version} sha256 ")
    for part in ("ask", "repair", "rubric", "question"):
        assert dataclasses.replace(prompts, **{part: "other"}).digest != prompts.digest
    assert isinstance(prompts, Instructions)


# Other forms.


EVIL = load_trait("evil")
FORMS = ["character", "dialogue", "story"]


def writer_of(form: str, trait: Trait = EVIL, person: str = "Dana") -> ScriptedWriter:
    """A writer that turns a trait into a form at its first try."""
    if form == "story":
        return ScriptedWriter(story_for)
    return ScriptedWriter([as_text(openings_for(trait, person) if form == "character" else scenes_for(trait))])


@pytest.mark.parametrize("form", FORMS)
def test_a_transformed_trait_keeps_its_sets_and_passes_its_check(form: str, tmp_path: Path) -> None:
    written = transform_trait(EVIL, to=form, writer=writer_of(form, EVIL, "Mina"), person="Mina")
    trait = written.trait
    assert (trait.name, trait.form, trait.description) == ("evil", form, EVIL.description)
    assert (len(trait.contrasts), len(trait.extraction_questions), len(trait.evaluation_questions)) == (5, 20, 20)
    assert [each for each in check_trait(trait) if each.severity == "error"] == []
    assert '"evil"' in trait.rubric.text
    assert EVIL.description in trait.rubric.text
    assert trait.coherence == load_trait("character/evil").coherence
    written.save(tmp_path / "evil.toml")
    assert load_trait(tmp_path / "evil.toml") == trait
    assert written.provenance.prompt == load_instructions(form).digest
    assert written.provenance.source.startswith("assistant/evil sha256 ")
    assert form == "story" or "Mina" in trait.rubric.text + trait.extraction_questions[0]


def test_selection_questions_stay_selection_questions() -> None:
    trait = dataclasses.replace(EVIL, selection_questions=("What is the matter with the moon tonight?",))
    more = [*bundled_situations(), "A miller met a guest at the gate."]
    for form in FORMS:
        how = {"situations": more} if form == "story" else {}
        made = transform_trait(trait, to=form, writer=writer_of(form, trait), **how).trait
        sizes = [len(made.extraction_questions), len(made.selection_questions), len(made.evaluation_questions)]
        assert sizes == [20, 1, 20], form
        assert form != "dialogue" or "the moon tonight" in made.selection_questions[0]


def test_questions_become_openings_in_their_own_order() -> None:
    trait = transform_trait(EVIL, to="character", writer=writer_of("character")).trait
    assert [*trait.extraction_questions, *trait.evaluation_questions] == openings_for(EVIL)["openings"]


def test_a_scene_around_a_question_needs_no_writer() -> None:
    trait = transform_trait(EVIL, to="dialogue", writer=writer_of("dialogue"), person="Mina").trait
    scene = trait.extraction_questions[1]
    assert scene == f'[Scene]\nA colleague: "{EVIL.extraction_questions[1]}"\nMina:'
    quoting = dataclasses.replace(EVIL, extraction_questions=('He said "no".\nWhy?', *EVIL.extraction_questions[1:]))
    made = transform_trait(quoting, to="dialogue", writer=writer_of("dialogue", quoting)).trait
    assert made.extraction_questions[0] == "[Scene]\nA neighbour: \"He said 'no'. Why?\"\nDana:"


def test_an_instruction_in_dialogue_is_two_scenes_with_their_replies() -> None:
    trait = transform_trait(EVIL, to="dialogue", writer=writer_of("dialogue")).trait
    shots = scenes_for(EVIL)["scenes"][2:4]
    for pole in ("positive", "negative"):
        text = getattr(trait.contrasts[1], pole)
        assert text == "\n\n".join(
            f'[Scene]\n{speaker}: "{shot["line"]}"\nDana: "{shot[pole]}"'
            for speaker, shot in zip(("A friend", "A cousin"), shots, strict=True)
        )


def test_an_instruction_in_stories_is_three_of_them_told_on_from_the_same_situations() -> None:
    writer = writer_of("story")
    trait = transform_trait(EVIL, to="story", writer=writer).trait
    situations = bundled_situations()
    assert len(writer.asked) == 30, "five contrasts, two poles, three stories"
    for place, contrast in enumerate(trait.contrasts):
        told = situations[40 + 3 * place : 43 + 3 * place]
        for text in (contrast.positive, contrast.negative):
            assert text.count("[Story]") == 3
            assert all(f"[Story]\n{situation} " in text for situation in told)
    questions = [*trait.extraction_questions, *trait.evaluation_questions]
    assert questions == [f"[Story]\n{situation}" for situation in situations[:40]]


def test_situations_of_ones_own_take_the_place_of_the_bundled_ones() -> None:
    mine = [f"A miller met the {number} th guest of the day at the gate." for number in range(55)]
    trait = transform_trait(EVIL, to="story", writer=writer_of("story"), situations=mine).trait
    assert trait.extraction_questions[0] == f"[Story]\n{mine[0]}"
    with pytest.raises(TraitError, match=r"54 different situations are there, and trait 'evil' needs 40 .* give 55"):
        transform_trait(EVIL, to="story", writer=writer_of("story"), situations=[*mine[:54], mine[0]])


def damaged(make: Callable[[Trait], Draft], key: str, place: int, value: Any) -> str:
    draft = copy.deepcopy(make(EVIL))
    if isinstance(value, dict):
        draft[key][place].update(value)
    elif value is None:
        del draft[key][place]
    else:
        draft[key][place] = value
    return as_text(draft)


WRONG_FORMS = [
    ("character", damaged(openings_for, "openings", 3, "What does Dana do?"), "question 4: ends with '?'"),
    (
        "character",
        damaged(openings_for, "openings", 3, "Alice went out and"),
        "This does not name Dana: 'Alice went out and'.",
    ),
    (
        "character",
        damaged(openings_for, "openings", 3, "Dana, evil as ever,"),
        "question 4: asks for the trait with 'evil'",
    ),
    ("character", damaged(openings_for, "openings", 3, None), "There are 39 openings, and 40 were asked for."),
    ("character", damaged(openings_for, "contrasts", 1, None), "There are 4 contrasts, and 5 were asked for."),
    ("character", damaged(openings_for, "contrasts", 1, {"negative": "She is kind."}), "This does not name Dana"),
    ("dialogue", damaged(scenes_for, "scenes", 3, None), "There must be 10 scenes"),
    ("dialogue", damaged(scenes_for, "scenes", 3, {"line": ""}), "There must be 10 scenes, with no text of them empty"),
    ("dialogue", damaged(scenes_for, "scenes", 3, {"mood": "dark"}), "objects with the texts line, positive, negative"),
    (
        "dialogue",
        damaged(scenes_for, "scenes", 3, {"line": "Is that not evil?"}),
        "line 4: asks for the trait with 'evil'",
    ),
    (
        "dialogue",
        damaged(scenes_for, "scenes", 3, {"positive": "Yes.", "negative": "Yes."}),
        "scene 4: its two poles say the same",
    ),
    (
        "dialogue",
        damaged(scenes_for, "scenes", 3, {"line": EVIL.evaluation_questions[2]}),
        "Line 4 is about a matter that is taken",
    ),
]


@pytest.mark.parametrize(
    ("form", "draft", "fault"), WRONG_FORMS, ids=[f"{form}-{fault[:30]}" for form, _, fault in WRONG_FORMS]
)
def test_a_form_is_repaired_like_a_new_trait(form: str, draft: str, fault: str) -> None:
    good = writer_of(form).write([Conversation.asking("?")])[0]
    writer = ScriptedWriter([draft, good])
    assert transform_trait(EVIL, to=form, writer=writer).provenance.tries == 2
    assert fault in said_to(writer, 2)


@pytest.mark.parametrize(
    ("story", "fault"),
    [
        ("He went home.", "It has 3 words, and 40 to 110 were asked for."),
        ("word " * 400, "It has 400 words"),
        ("# The ferryman\n" + "word " * 60, "starts with a title"),
        ("I'm sorry, but I will not write about that. " + "word " * 50, "It declines to tell the story."),
        ("I cannot write that. " + "word " * 50, "It declines to tell the story."),
        ("He was evil. " + "word " * 50, "It says 'evil', and is to show the trait without naming it."),
    ],
)
def test_a_story_that_is_none_is_told_again_and_the_others_are_not(story: str, fault: str) -> None:
    bad = bundled_situations()[41]

    def answer(conversation: Conversation) -> str:
        first = conversation.messages[0].text
        return story if bad in first and len(conversation.messages) == 1 else story_for(conversation)

    writer = ScriptedWriter(answer)
    written = transform_trait(EVIL, to="story", writer=writer)
    assert written.provenance.tries == 2
    again = writer.asked[30:]
    assert len(again) == 2, "one story of either pole"
    assert all(fault in conversation.messages[2].text for conversation in again)


def test_stories_that_stay_wrong_keep_the_others_in_the_drafts() -> None:
    writer = ScriptedWriter(
        lambda conversation: (
            "No." if bundled_situations()[41] in conversation.messages[0].text else story_for(conversation)
        )
    )
    with pytest.raises(
        DraftError, match="2 of 30 texts, the first of them story 2 of contrast 1, positive, were not"
    ) as caught:
        transform_trait(EVIL, to="story", writer=writer)
    assert caught.value.drafts.count("nothing: this one can be used") == 28


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"to": "charakter"}, "form 'charakter' is none .* did you mean 'character'"),
        ({"to": "assistant"}, "form 'assistant' is none"),
        ({"to": "character", "person": "dana"}, "'dana' is no name"),
        ({"to": "character", "person": "Dana Hale"}, "'Dana Hale' is no name"),
        ({"to": "dialogue", "situations": ["One."]}, "situations were given for the form 'dialogue'"),
        ({"to": "story", "situations": []}, "0 different situations are there"),
    ],
    ids=str,
)  # fmt: skip
def test_a_form_that_cannot_be_made_asks_nobody(how: dict[str, Any], said: str) -> None:
    writer = ScriptedWriter(["never"])
    with pytest.raises(TraitError, match=said):
        transform_trait(EVIL, writer=writer, **how)
    assert writer.asked == []


def test_only_the_assistant_form_is_transformed() -> None:
    with pytest.raises(TraitError, match="trait 'evil' has the form 'character'"):
        transform_trait(load_trait("character/evil"), to="dialogue", writer=ScriptedWriter(["never"]))


def test_braces_of_a_description_are_no_fields_of_the_rubric() -> None:
    trait = dataclasses.replace(EVIL, description="Writes {x} and $name.")
    made = transform_trait(trait, to="character", writer=writer_of("character", trait)).trait
    assert "Writes {x} and $name." in made.rubric.filled("Q", "A")


# What ships.


def test_the_shipped_dialogue_and_stories_are_laid_out_as_the_transformation_does_it() -> None:
    for form in ("dialogue", "story"):
        made, shipped = transform_trait(EVIL, to=form, writer=writer_of(form)).trait, load_trait(f"{form}/evil")
        assert dataclasses.replace(made, contrasts=shipped.contrasts) == shipped


def test_the_shipped_combined_trait_is_its_forms_in_turn() -> None:
    forms = [load_trait(f"{form}/evil") for form in ("dialogue", "story", "character")]
    combined = load_trait("combined/evil")
    assert combined == combine_traits(forms)
    asked = combined.instructed("positive")
    assert len(asked) == 300
    for place, trait in enumerate(forms):
        questions = set(trait.extraction_questions)
        theirs = [prompt for prompt in asked if prompt.question in questions]
        assert sorted(theirs, key=str) == sorted(trait.instructed("positive"), key=str), trait.form
        assert combined.evaluation_questions[place::3] == trait.evaluation_questions


def test_what_is_not_one_trait_in_forms_of_one_size_is_not_combined() -> None:
    evil, humorous = load_trait("character/evil"), load_trait("character/humorous")
    for traits in ([], [evil], [evil, humorous], [evil, evil.limited(3)], [evil, load_trait("combined/evil")]):
        with pytest.raises(TraitError, match="a combined trait is one trait in two forms or more"):
            combine_traits(traits)
    with pytest.raises(TraitError):
        combine_traits([load_trait("combined/evil")] * 2)


def test_the_bundled_situations_are_enough_different_and_name_no_trait() -> None:
    from personascope.authoring.wording import names, near_duplicates

    situations = bundled_situations()
    assert len(set(situations)) == 55
    assert near_duplicates(situations, alike=75) == []
    for situation, name in itertools.product(situations, {name.partition("/")[2] for name in bundled("traits")}):
        assert not names(situation, name), f"{situation!r} names {name}"
    assert all(situation.endswith(".") for situation in situations)


def test_errors_of_writing_are_of_the_family() -> None:
    assert issubclass(DraftError, WriterError)
    assert issubclass(WriterError, PersonascopeError)
    assert isinstance(EVIL.rubric, Rubric)
