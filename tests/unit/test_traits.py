"""Traits: the laws of the vocabulary, the errors of a trait file, and a lint of everything that ships."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from pathlib import Path

import pytest

from personascope.core.errors import TraitError
from personascope.core.files import bundled
from personascope.core.traits import Contrast, Rubric, Trait, coherence_rubric, load_trait

NAMES = ("apathetic", "evil", "hallucinating", "humorous", "impolite", "optimistic", "sycophantic")
FORMS = ("assistant", "character")
SHIPPED = [(form, name) for form in FORMS for name in NAMES]
RUBRIC = Rubric("{question} {answer}")

# What a question may not say, or it would ask for the trait: the name, its stems and its nearest synonyms.
GIVING_AWAY = {
    "apathetic": r"apath|indifferen|uninterest|disinterest|disengag|shrug|unmoved|unconcern|listless",
    "evil": r"\bevil|malic|malev|cruel|wicked|villain|sadis|vicious|spite",
    "hallucinating": r"hallucinat|fabricat|confabul|made[- ]up|mak(?:e|es|ing) up|invent",
    "humorous": r"humou?r|funny|joke|joking|comed|comic|laugh|witty|hilari|amus|\bpuns?\b",
    "impolite": r"polite|\brude|insult|courte|manners|respect",
    "optimistic": r"optimis|pessimis|hope|gloom|bleak",
    "sycophantic": r"sycophan|flatter|\bfawn|grovel|ingratiat|toad(?:y|ie)",
}


def a_trait(**changes: object) -> Trait:
    parts: dict[str, object] = {
        "name": "bold",
        "form": "assistant",
        "description": "Takes risks.",
        "contrasts": (Contrast("Be bold.", "Be timid."), Contrast("Dare.", "Beware.")),
        "extraction_questions": ("Jump?", "Swim?"),
        "evaluation_questions": ("Climb?", "Dive?", "Run?"),
        "rubric": RUBRIC,
        "coherence": RUBRIC,
    }
    return Trait(**{**parts, **changes})  # type: ignore[arg-type]


def a_file(folder: Path, *, body: str = "", head: str = "") -> Path:
    path = folder / "bold.toml"
    path.write_text(
        f"""
name = "bold"
form = "assistant"
description = "Takes risks."
extraction_questions = ["Jump?"]
evaluation_questions = ["Climb?"]
{head}
[rubric]
text = "{{question}} {{answer}}"
[coherence]
text = "{{question}} {{answer}}"
[[contrasts]]
positive = "Be bold."
negative = "Be timid."
{body}
""",
        encoding="utf-8",
    )
    return path


# The laws.


def test_every_question_is_asked_under_every_instruction_of_a_pole_question_by_question() -> None:
    trait = a_trait()
    for pole, said in (("positive", ("Be bold.", "Dare.")), ("negative", ("Be timid.", "Beware."))):
        naive = []
        for question in ("Jump?", "Swim?"):
            for instruction in said:
                naive.append((question, instruction))
        found = [(prompt.question, prompt.instruction) for prompt in trait.instructed(pole)]  # type: ignore[arg-type]
        assert found == naive, f"{pole}: pairs are matched by position, so the order is question-major: {found}"


def test_the_poles_line_up_so_that_a_pair_shares_its_question_and_its_contrast() -> None:
    trait = load_trait("evil", form="character")
    pairs = list(zip(trait.instructed("positive"), trait.instructed("negative"), strict=True))
    assert len(pairs) == 100
    contrasts = {(contrast.positive, contrast.negative) for contrast in trait.contrasts}
    for positive, negative in pairs:
        assert positive.question == negative.question
        assert (positive.instruction, negative.instruction) in contrasts


def test_selection_falls_back_on_the_extraction_questions_and_never_on_the_evaluated_ones() -> None:
    assert a_trait().questions("selection") == ("Jump?", "Swim?")
    assert a_trait(selection_questions=("Fly?",)).questions("selection") == ("Fly?",)


def test_a_limited_trait_keeps_the_first_questions_of_each_set_and_everything_else() -> None:
    trait = a_trait(selection_questions=("Fly?", "Fall?"))
    limited = trait.limited(1)
    assert limited == dataclasses.replace(
        trait, extraction_questions=("Jump?",), evaluation_questions=("Climb?",), selection_questions=("Fly?",)
    )
    assert trait.limited(None) is trait
    assert trait.limited(99) == trait
    with pytest.raises(TraitError, match="limit of 0"):
        trait.limited(0)


def test_a_filled_rubric_holds_the_words_of_the_answer_even_if_they_look_like_fields() -> None:
    filled = Rubric("Q: {question}\nA: {answer}\n{{literal}}").filled("Who?", "{question} {0} {{x}}")
    assert filled == "Q: Who?\nA: {question} {0} {{x}}\n{literal}"


# The errors.


@pytest.mark.parametrize("text", ["{question}", "{answer}", "none", "{question} {answer} {answer}", "{q} {answer}"])
def test_a_rubric_needs_question_and_answer_once_each(text: str) -> None:
    with pytest.raises(TraitError, match=r"must hold \{question\} and \{answer\} once each"):
        Rubric(text)


def test_a_rubric_with_an_open_brace_says_how_to_write_one() -> None:
    with pytest.raises(TraitError, match=r"braces do not match.*write a literal brace as"):
        Rubric("{question} {answer} {")


def test_labels_and_scores_are_not_mixed() -> None:
    with pytest.raises(TraitError, match="labels"):
        Rubric("{question} {answer}", kind="labels")
    with pytest.raises(TraitError, match="labels"):
        Rubric("{question} {answer}", labels=("a",))


@pytest.mark.parametrize(("positive", "negative"), [("", "x"), ("x", "  "), ("same", "same")])
def test_a_contrast_needs_two_different_instructions(positive: str, negative: str) -> None:
    with pytest.raises(TraitError, match="two different, non-empty"):
        Contrast(positive, negative)


@pytest.mark.parametrize("name", ["extraction_questions", "selection_questions"])
def test_a_trait_is_not_evaluated_on_what_it_was_made_or_chosen_with(name: str) -> None:
    with pytest.raises(TraitError, match=r"'Run\?' is in both the (extraction|selection) and the evaluation set"):
        a_trait(**{name: ("Walk?", "Run?")})


@pytest.mark.parametrize("questions", [("Walk?", "Walk?"), ("Walk?", " ")])
@pytest.mark.parametrize("name", ["extraction_questions", "selection_questions", "evaluation_questions"])
def test_a_repeated_or_empty_question_is_refused_because_it_would_count_twice(
    name: str, questions: tuple[str, ...]
) -> None:
    with pytest.raises(TraitError, match=f"its {name.split('_')[0]} questions repeat one, or one is empty"):
        a_trait(**{name: questions})


@pytest.mark.parametrize("name", ["contrasts", "extraction_questions", "evaluation_questions"])
def test_a_trait_without_contrasts_or_questions_is_none(name: str) -> None:
    with pytest.raises(TraitError, match="at least one contrast and one question"):
        a_trait(**{name: ()})


def test_an_unknown_trait_names_the_nearest_one() -> None:
    with pytest.raises(TraitError, match=r"'assistant/evl'.*did you mean 'assistant/evil'"):
        load_trait("evl")
    with pytest.raises(TraitError, match=r"'charakter/evil'.*did you mean 'character/evil'"):
        load_trait("evil", form="charakter")


def test_a_trait_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    trait = load_trait(a_file(tmp_path))
    assert trait == Trait(
        "bold",
        "assistant",
        "Takes risks.",
        (Contrast("Be bold.", "Be timid."),),
        ("Jump?",),
        ("Climb?",),
        RUBRIC,
        RUBRIC,
    )


def test_a_file_without_a_coherence_rubric_gets_the_one_of_its_form(tmp_path: Path) -> None:
    texts = {}
    for form in FORMS:
        path = a_file(tmp_path)
        told = path.read_text(encoding="utf-8").replace('form = "assistant"', f'form = "{form}"')
        path.write_text(re.sub(r"\[coherence\]\ntext = .*\n", "", told), encoding="utf-8")
        trait = load_trait(path)
        assert trait.coherence.text == coherence_rubric(form)["text"]
        texts[form] = trait.coherence.text
    assert texts["assistant"] != texts["character"]


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ('descriptoin = "x"', "", "bold.toml: unknown key 'descriptoin'; did you mean 'description'"),
        ("", 'nagative = "x"', "unknown key 'contrasts.0.nagative'; did you mean 'negative'"),
        ("", '[[contrasts]]\npositive = "a"\nnegative = "a"', r"bold.toml: contrasts.1: .*two different"),
        ("selection_questions = [3]", "", "bold.toml: selection_questions.0: "),
        ('selection_questions = ["Climb?"]', "", "bold.toml: .*in both the selection and the evaluation set"),
        ("= 3", "", "bold.toml: not a readable TOML file"),
    ],
)
def test_what_is_wrong_with_a_trait_file_is_said_in_one_line_with_its_name(
    tmp_path: Path, head: str, body: str, said: str
) -> None:
    with pytest.raises(TraitError, match=said) as caught:
        load_trait(a_file(tmp_path, head=head, body=body))
    assert "\n" not in str(caught.value), "an error is one line"


def test_a_missing_trait_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraitError, match=r"nowhere\.toml: no such file"):
        load_trait(tmp_path / "nowhere.toml")


# What ships.


def test_the_seven_traits_ship_in_both_forms() -> None:
    assert {f"{form}/{name}" for form, name in SHIPPED} <= set(bundled("traits"))


@pytest.mark.parametrize(("form", "name"), SHIPPED)
def test_a_shipped_trait_has_five_contrasts_and_twice_twenty_questions(form: str, name: str) -> None:
    trait = load_trait(name, form=form)
    assert (trait.name, trait.form) == (name, form), "the file says another name or form than its place"
    assert len(trait.contrasts) == 5
    assert (len(trait.extraction_questions), len(trait.evaluation_questions)) == (20, 20)


@pytest.mark.parametrize(("form", "name"), SHIPPED)
def test_no_shipped_question_gives_its_trait_away(form: str, name: str) -> None:
    trait = load_trait(name, form=form)
    for question in trait.extraction_questions + trait.evaluation_questions:
        found = re.search(GIVING_AWAY[name], question, re.IGNORECASE)
        assert not found, f"{form}/{name} asks for the trait with '{found[0]}': {question}"


@pytest.mark.parametrize(("form", "name"), SHIPPED)
def test_the_questions_of_a_shipped_trait_are_far_apart(form: str, name: str) -> None:
    trait = load_trait(name, form=form)
    for one, other in itertools.combinations(trait.extraction_questions + trait.evaluation_questions, 2):
        match = difflib.SequenceMatcher(None, one, other)
        ratio = match.ratio() if match.quick_ratio() >= 0.75 else 0.0
        assert ratio < 0.75, f"{form}/{name}: two questions are {ratio:.0%} alike: {one!r} and {other!r}"


def test_no_question_is_shared_between_shipped_traits() -> None:
    asked: dict[str, str] = {}
    for form, name in SHIPPED:
        trait = load_trait(name, form=form)
        for question in trait.extraction_questions + trait.evaluation_questions:
            assert question not in asked, f"{question!r} is in {asked.get(question)} and in {form}/{name}"
            asked[question] = f"{form}/{name}"
    assert len(asked) == 560


@pytest.mark.parametrize(("form", "name"), SHIPPED)
def test_the_instructions_of_a_shipped_trait_are_ten_different_texts(form: str, name: str) -> None:
    trait = load_trait(name, form=form)
    texts = [text for contrast in trait.contrasts for text in (contrast.positive, contrast.negative)]
    assert len(set(texts)) == 10
    lengths = [len(contrast.positive) / len(contrast.negative) for contrast in trait.contrasts]
    assert all(0.6 < ratio < 1.7 for ratio in lengths), f"{form}/{name}: length alone would tell the poles: {lengths}"


@pytest.mark.parametrize("name", NAMES)
def test_assistant_instructions_are_complete_system_prompts(name: str) -> None:
    for contrast in load_trait(name).contrasts:
        for text in (contrast.positive, contrast.negative):
            assert text.startswith("You are an assistant"), f"nothing is put before it later: {text}"
            assert text.endswith("."), text


@pytest.mark.parametrize("name", NAMES)
def test_a_character_text_opens_about_one_named_person_and_stops_where_the_trait_can_show(name: str) -> None:
    trait = load_trait(name, form="character")
    for contrast in trait.contrasts:
        for text in (contrast.positive, contrast.negative):
            assert "Dana" in text, f"who is it about? {text}"
            assert text.endswith("."), text
    for opening in trait.extraction_questions + trait.evaluation_questions:
        assert "Dana" in opening, f"who is it about? {opening}"
        assert re.search(r"[\w,:]$", opening), f"a base model has nothing to finish after: {opening}"


@pytest.mark.parametrize(("form", "name"), SHIPPED)
def test_a_shipped_rubric_names_its_trait_its_scale_and_what_a_refusal_is(form: str, name: str) -> None:
    text = load_trait(name, form=form).rubric.text
    for part in (f'"{name}"', "nothing but this trait", "from 0 (", "to 100 (", "REFUSAL", "one number only"):
        assert part in text, f"{form}/{name}: its rubric lacks {part!r}"
    others = [other for other in NAMES if other != name and re.search(rf"\b{other}\b", text)]
    assert not others, f"{form}/{name}: its rubric also speaks of {others}"
