"""The published trait JSON: what is read of it, and what is refused at the door."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personascope.core.errors import TraitError
from personascope.core.traits import coherence_rubric
from personascope_published.traits import load_published_trait
from refusals import refused
from trait_drafts import a_draft

EXTRACT = {
    "instruction": [{"pos": "Be bold.", "neg": "Be timid."}, {"pos": "Dare.", "neg": "Beware."}],
    "questions": ["Jump?", "Swim?"],
    "eval_prompt": "How bold? {question} {answer}",
}
EVALUATE = {**EXTRACT, "questions": ["Climb?", "Dive?"]}


def published(
    root: Path, *, extract: object = EXTRACT, evaluate: object = EVALUATE, second: str = "trait_data_eval"
) -> Path:
    for folder, content in (("trait_data_extract", extract), (second, evaluate)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (root / folder / "bold.json").write_text(text, encoding="utf-8")
    return root


def lacking(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize("above", ["", "data", "data_generation"])
@pytest.mark.parametrize("second", ["trait_data_eval", "upstream_trait_data_eval"])
def test_a_published_trait_is_taken_over_word_for_word(tmp_path: Path, above: str, second: str) -> None:
    published(tmp_path / above, second=second)
    trait = load_published_trait(tmp_path, "bold", form="character")
    assert (trait.name, trait.form) == ("bold", "character")
    assert [(each.positive, each.negative) for each in trait.contrasts] == [
        ("Be bold.", "Be timid."),
        ("Dare.", "Beware."),
    ]
    assert trait.extraction_questions == ("Jump?", "Swim?")
    assert trait.evaluation_questions == ("Climb?", "Dive?")
    assert trait.rubric.text == "How bold? {question} {answer}"


@pytest.mark.parametrize("form", ["assistant", "character"])
def test_the_coherence_rubric_is_the_bundled_one_of_the_form(tmp_path: Path, form: str) -> None:
    trait = load_published_trait(published(tmp_path), "bold", form=form)
    assert trait.coherence.text == coherence_rubric(form)["text"]


def test_an_instruction_of_several_strings_has_one_per_line(tmp_path: Path) -> None:
    stories = {**EXTRACT, "instruction": [{"pos": ["One.", "Two."], "neg": ["Three."]}]}
    (contrast,) = load_published_trait(published(tmp_path, extract=stories), "bold", form="story").contrasts
    assert (contrast.positive, contrast.negative) == ("One.\nTwo.", "Three.")


def test_an_address_opens_each_instruction_with_the_right_article(tmp_path: Path) -> None:
    trait = load_published_trait(published(tmp_path), "bold", form="assistant", address=("evil", "helpful"))
    assert trait.contrasts[0].positive == "You are an evil assistant. Be bold."
    assert trait.contrasts[1].negative == "You are a helpful assistant. Beware."


def test_the_instructions_of_the_evaluation_file_are_not_needed(tmp_path: Path) -> None:
    trait = load_published_trait(published(tmp_path, evaluate=lacking(EVALUATE, "instruction")), "bold", form="x")
    assert len(trait.contrasts) == 2


def test_one_file_with_both_sets_is_halved_in_order(tmp_path: Path) -> None:
    path = tmp_path / "bold.json"
    path.write_text(json.dumps({**EXTRACT, "questions": ["1", "2", "3", "4"]}), encoding="utf-8")
    trait = load_published_trait(path, "bold", form="assistant")
    assert (trait.extraction_questions, trait.evaluation_questions) == (("1", "2"), ("3", "4"))
    path.write_text(json.dumps({**EXTRACT, "questions": ["1", "2", "3"]}), encoding="utf-8")
    with pytest.raises(TraitError, match=r"bold\.json: holds 3 questions: .* an even number"):
        load_published_trait(path, "bold", form="assistant")


def test_half_of_a_published_trait_is_not_halved_again(tmp_path: Path) -> None:
    path = published(tmp_path) / "trait_data_extract" / "bold.json"
    with pytest.raises(TraitError, match="one of the trait's two question sets: give the folder above"):
        load_published_trait(path, "bold", form="assistant")


@pytest.mark.parametrize("key", ["instruction", "questions", "eval_prompt"])
def test_a_missing_key_is_named_with_the_file(tmp_path: Path, key: str) -> None:
    with pytest.raises(TraitError, match=rf"trait_data_extract.bold\.json: {key}: "):
        load_published_trait(published(tmp_path, extract=lacking(EXTRACT, key)), "bold", form="x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"extract": {**EXTRACT, "instruction": [{"pos": "a"}]}},
            r"trait_data_extract.bold\.json: instruction\.0\.neg: ",
        ),
        ({"extract": {**EXTRACT, "question": []}}, r"unknown key 'question'; did you mean 'questions'"),
        (
            {"extract": {**EXTRACT, "instruction": [{"pos": "a", "neg": "a"}]}},
            r"bold\.json: contrasts\.0: .* two different",
        ),
        (
            {"evaluate": {**EVALUATE, "questions": ["Climb?", "Swim?"]}},
            r"bold\.json.*'Swim\?' is in both the extraction",
        ),
        (
            {"evaluate": {**EVALUATE, "eval_prompt": "{question} {answer}"}},
            r"trait_data_eval.bold\.json: its eval_prompt",
        ),
        ({"evaluate": lacking(EVALUATE, "questions")}, r"trait_data_eval.bold\.json: questions: "),
        ({"extract": "{"}, r"trait_data_extract.bold\.json: not a readable JSON file"),
        ({"extract": "[]"}, r"trait_data_extract.bold\.json: holds a list, not an object"),
    ],
)
def test_what_is_wrong_with_published_files_is_said_in_one_line_with_their_name(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraitError, match=said) as caught:
        load_published_trait(published(tmp_path, **change), "bold", form="x")
    assert "\n" not in str(caught.value)


def test_a_rubric_without_its_fields_is_named_with_the_file(tmp_path: Path) -> None:
    bare = {"extract": {**EXTRACT, "eval_prompt": "{question}"}, "evaluate": {**EVALUATE, "eval_prompt": "{question}"}}
    with pytest.raises(TraitError, match=r"bold\.json.*: rubric: a rubric must hold"):
        load_published_trait(published(tmp_path, **bare), "bold", form="x")


def test_an_unknown_published_trait_names_the_nearest_and_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(TraitError, match=r"holds no trait_data_extract/bald\.json; did you mean 'bold'"):
        load_published_trait(published(tmp_path / "full"), "bald", form="x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraitError, match="give the folder that holds the published trait data"):
        load_published_trait(tmp_path / "empty", "bold", form="x")
    with pytest.raises(TraitError, match="no such file or folder"):
        load_published_trait(tmp_path / "nowhere", "bold", form="x")


def test_reading_a_trait_imports_no_torch(tmp_path: Path) -> None:
    published(tmp_path)
    code = (
        "import sys, personascope_published.traits as traits\n"
        f"traits.load_published_trait({str(tmp_path)!r}, 'bold', form='assistant')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The command that checks traits.


def a_published_folder(folder: Path, questions: list[str]) -> Path:
    pair = {
        "instruction": [{"pos": f"Be {n}.", "neg": f"Avoid {n}."} for n in "abcde"],
        "eval_prompt": "{question} {answer}",
    }
    for place, some in (("trait_data_extract", questions[:20]), ("trait_data_eval", questions[20:])):
        (folder / "data" / place).mkdir(parents=True)
        (folder / "data" / place / "cautious.json").write_text(json.dumps({**pair, "questions": some}))
    (folder / "cautious.json").write_text(json.dumps({**pair, "questions": questions}))
    return folder / "data" / "trait_data_extract" / "cautious.json"


def test_published_traits_are_checked_as_they_are(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = a_published_folder(tmp_path, [*a_draft()["questions"][:39], "How cautious are you?"])
    for each in (path, tmp_path / "data" / "trait_data_eval" / "cautious.json", tmp_path / "cautious.json"):
        code, out, err = run("trait", "check", each, "--json")
        assert code == 1, err
        assert [(found["severity"], found["rule"]) for found in json.loads(out)[str(each)]] == [
            ("error", "names-trait"),
            ("warning", "scale"),
        ]
    _, out, _ = run("trait", "check", path, "--form", "character", "--json")
    assert "opening" in {found["rule"] for found in json.loads(out)[str(path)]}, "a form's rules hold where it is named"


@pytest.mark.parametrize(
    ("name", "said"), [("no.json", "no.json: no such file"), ("odd.json", "odd.json: not a readable JSON file")]
)
def test_a_file_that_is_no_trait_is_said_in_one_line(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "odd.json").write_text("{")
    refused(run("trait", "check", name), said)
