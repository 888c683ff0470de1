"""The lint of traits: whatever ships is clean, every kind of damage is found where it is, and nothing else is."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from personascope.authoring.lint import Finding, check_table, check_trait
from personascope.core.errors import TraitError
from personascope.core.files import bundled, read_toml
from personascope.core.traits import load_trait, trait_toml

Table = dict[str, Any]


def table_of(name: str) -> Table:
    return read_toml(bundled("traits")[name], error=TraitError)


def add_to_contrast(pole: str, *, of: str = "positive", more: str = "") -> Callable[[Table], None]:
    """Contrast 4 says what contrast 1 says, and perhaps more."""
    return lambda table: table["contrasts"][3].update({pole: table["contrasts"][0][of] + more})


def told(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.severity, each.rule, each.place) for each in found]


# What ships.


@pytest.mark.parametrize("name", sorted(bundled("traits")))
def test_every_shipped_trait_passes(name: str) -> None:
    found = check_trait(name)
    errors = [str(each) for each in found if each.severity == "error"]
    assert not errors, f"{name}: {errors}"
    # The lab's world is small: its sentences differ in a name and a place.
    assert name.startswith("lab/") or not found, f"{name}: {[*map(str, found)]}"


def test_a_trait_its_file_and_its_name_are_checked_alike(tmp_path: Path) -> None:
    path = tmp_path / "evil.toml"
    path.write_text(trait_toml(load_trait("character/evil")), encoding="utf-8")
    assert check_trait(path) == check_trait("evil", form="character") == check_trait(load_trait("character/evil")) == []


# One damage, one finding.


def put(*places: Any) -> Callable[[Table], None]:
    """A damage: the last of the places is put where the others lead."""
    *way, last, value = places

    def damage(table: Table) -> None:
        here: Any = table
        for step in way:
            here = here[step]
        here[last] = value(here[last]) if callable(value) else value

    return damage


def copied(
    source: tuple[str, int], target: tuple[str, int], change: Callable[[str], str] = str
) -> Callable[[Table], None]:
    return lambda table: table[target[0]].__setitem__(target[1], change(table[source[0]][source[1]]))


EXTRACT, EVALUATE = "extraction_questions", "evaluation_questions"
DAMAGES: list[tuple[str, Callable[[Table], None], tuple[str, str, str]]] = [
    ("assistant", copied((EXTRACT, 2), (EVALUATE, 4)), ("error", "overlap", "evaluation 5")),
    ("assistant", copied((EXTRACT, 2), (EVALUATE, 4), str.upper), ("error", "overlap", "evaluation 5")),
    ("assistant", copied((EXTRACT, 2), (EXTRACT, 7)), ("error", "overlap", "extraction 8")),
    (
        "assistant",
        copied((EXTRACT, 2), (EXTRACT, 7), lambda q: f"{q} Say"),
        ("warning", "near-duplicate", "extraction 8"),
    ),
    (
        "assistant",
        copied((EXTRACT, 2), (EVALUATE, 7), lambda q: f"{q} Say"),
        ("warning", "near-duplicate", "evaluation 8"),
    ),
    ("assistant", put(EXTRACT, 0, "How may I be more evil?"), ("error", "names-trait", "extraction 1")),
    (
        "assistant",
        put(EVALUATE, 3, "Where do all the evils in the world come from?"),
        ("error", "names-trait", "evaluation 4"),
    ),
    ("assistant", put(EXTRACT, 0, "  "), ("error", "empty", "extraction 1")),
    ("assistant", put(EXTRACT, 0, lambda q: f"{q} "), ("error", "edges", "extraction 1")),
    ("assistant", put(EXTRACT, lambda some: some[:12]), ("warning", "counts", "extraction questions")),
    ("assistant", put(EVALUATE, []), ("error", "counts", "evaluation questions")),
    ("assistant", put("selection_questions", ["What time is it?"]), ("warning", "counts", "selection questions")),
    ("assistant", put("contrasts", lambda some: some[:2]), ("warning", "counts", "contrasts")),
    ("assistant", put("contrasts", []), ("error", "counts", "contrasts")),
    (
        "assistant",
        put("contrasts", 1, {"positive": "Be bad!", "negative": " be  BAD"}),
        ("error", "contrast", "contrast 2"),
    ),
    ("assistant", put("contrasts", 1, {"positive": "Be bad.", "negative": ""}), ("error", "contrast", "contrast 2")),
    (
        "assistant",
        put("contrasts", 1, {"positive": "Be bad.", "negative": "Be as good as you can."}),
        ("warning", "lengths", "contrast 2"),
    ),
    ("assistant", add_to_contrast("positive"), ("error", "contrast", "contrast 4 positive")),
    ("assistant", add_to_contrast("positive", of="negative"), ("error", "contrast", "contrast 4 positive")),
    ("assistant", add_to_contrast("positive", more=" Now."), ("warning", "near-duplicate", "contrast 4 positive")),
    (
        "assistant",
        put("rubric", "text", lambda text: text.replace("{answer}", "")),
        ("error", "placeholders", "rubric"),
    ),
    ("assistant", put("rubric", "text", lambda text: text + "{question}"), ("error", "placeholders", "rubric")),
    ("assistant", put("rubric", "text", lambda text: text + "{instruction}"), ("error", "placeholders", "rubric")),
    ("assistant", put("rubric", "text", lambda text: text + "{"), ("error", "placeholders", "rubric")),
    ("assistant", put("rubric", "text", lambda text: text.replace("100", "10")), ("warning", "scale", "rubric")),
    ("assistant", put("rubric", "text", lambda text: text.replace("REFUSAL", "no")), ("warning", "scale", "rubric")),
    ("assistant", put("coherence", {"text": "{question} 0 100"}), ("error", "placeholders", "coherence")),
    ("character", put(EXTRACT, 4, "What would Dana do in the rain?"), ("error", "opening", "extraction 5")),
    ("character", put(EXTRACT, 4, "Dana walked through the rain."), ("error", "opening", "extraction 5")),
    ("character", put(EXTRACT, 4, "Alice walked through the rain and"), ("error", "person", "extraction 5")),
    (
        "character",
        put("contrasts", 0, "positive", lambda text: text.replace("Dana", "She")),
        ("error", "person", "contrast 1 positive"),
    ),
    ("dialogue", put(EXTRACT, 4, '[Scene]\nA friend: "Is it late?"'), ("error", "turn", "extraction 5")),
    ("dialogue", put(EXTRACT, 4, '[Scene]\nA friend: "Is it late?"\nAlice:'), ("error", "turn", "questions")),
    (
        "dialogue",
        put("contrasts", 0, "negative", lambda text: text.replace("Dana:", "Alice:", 1)),
        ("error", "two-shot", "contrast 1 negative"),
    ),
    ("story", put(EVALUATE, 4, "[Story]\nWhat did the miller see?"), ("error", "opening", "evaluation 5")),
]


@pytest.mark.parametrize(
    ("form", "damage", "finding"), DAMAGES, ids=[f"{d[0]}-{d[2][1]}-{n}" for n, d in enumerate(DAMAGES)]
)
def test_each_damage_is_found_where_it_is_and_nothing_else(
    form: str, damage: Callable[[Table], None], finding: tuple[str, str, str]
) -> None:
    table = copy.deepcopy(table_of(f"{form}/evil"))
    table.setdefault("selection_questions", [])
    assert check_table(table) == [], "the trait is clean before it is damaged"
    damage(table)
    assert told(check_table(table)) == [finding]


def test_errors_come_first_and_all_of_them_are_said() -> None:
    table = table_of("assistant/evil")
    put(EXTRACT, lambda some: some[:12])(table)
    copied((EXTRACT, 2), (EVALUATE, 4))(table)
    put(EXTRACT, 0, "How evil is it?")(table)
    severities = [each.severity for each in check_table(table)]
    assert severities == ["error", "error", "warning"]


def test_a_finding_quotes_what_it_is_about_in_one_line() -> None:
    table = table_of("dialogue/evil")
    put(EXTRACT, 0, 'A friend:\n"Is there evil in\nthe world, and who is to blame for it all, do you think?"\nDana:')(
        table
    )
    (found,) = check_table(table)
    assert str(found) == (
        "extraction 1: asks for the trait with 'evil': 'A friend: \"Is there evil in the world, and who is to blame f…'"
    )


def test_a_name_in_snake_case_counts_the_words_its_rubric_speaks_of() -> None:
    table = table_of("assistant/evil") | {"name": "evil_version_two"}
    put(EXTRACT, 0, "How evil is it?")(table)
    assert told(check_table(table)) == [("error", "names-trait", "extraction 1")]


def test_a_combined_trait_is_counted_by_strands() -> None:
    table = table_of("combined/evil")
    assert check_table(table) == []
    assert {each.rule for each in check_table(table | {"strands": 1})} == {"counts"}


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"contrasts": 3, "extraction_questions": "Why?", "rubric": [], "strands": "two"},
        {"contrasts": [1, {"positive": 2}], "evaluation_questions": [None, 4], "rubric": {"text": 5}},
        {"form": "dialogue", "contrasts": [{}], "extraction_questions": [":"]},
        {"form": "character", "name": 5},
    ],
)
def test_a_table_of_any_shape_is_checked_without_a_word_of_python(table: Table) -> None:
    assert any(each.severity == "error" for each in check_table(table))


# Files.


def test_everything_wrong_with_a_file_is_found_even_where_it_would_not_load(tmp_path: Path) -> None:
    text = trait_toml(load_trait("evil"))
    table_text = text.replace("{answer}", "").replace(
        '"What do you think of people who give away', '"Is evil what gives away'
    )
    path = tmp_path / "evil.toml"
    path.write_text(table_text, encoding="utf-8")
    with pytest.raises(TraitError):
        load_trait(path)
    assert {each.rule for each in check_trait(path)} == {"placeholders", "names-trait"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("description =", "descriptoin ="), "unknown key 'descriptoin'; did you mean 'description'"),
        (('form = "assistant"', "form = 3"), "form: "),
        (('name = "evil"', 'name = "e vil"'), "cannot name a file"),
    ],
)
def test_what_no_rule_knows_and_no_run_accepts_is_an_error_too(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "evil.toml"
    path.write_text(trait_toml(load_trait("evil")).replace(*change, 1), encoding="utf-8")
    (found,) = check_trait(path)
    assert (found.severity, found.rule, found.place) == ("error", "loads", "file")
    assert said in found.what
    assert str(path) not in found.what, "the table says which trait it is"


@pytest.mark.parametrize(
    ("form", "damage"), [(form, damage) for form, damage, (kind, *_) in DAMAGES if kind == "warning"]
)
def test_a_trait_without_errors_loads(form: str, damage: Callable[[Table], None], tmp_path: Path) -> None:
    table = table_of(f"{form}/evil")
    table.setdefault("selection_questions", [])
    damage(table)
    path = tmp_path / "evil.toml"
    path.write_text(tomlkit.dumps(table), encoding="utf-8")
    assert load_trait(path).name == "evil"


def test_a_character_trait_about_nobody_is_said_once() -> None:
    table = table_of("character/evil")
    people = itertools.cycle(("Ada", "Bo", "Cy"))
    for name in (EXTRACT, EVALUATE):
        table[name] = [text.replace("Dana", next(people)) for text in table[name]]
    for contrast in table["contrasts"]:
        contrast |= {pole: text.replace("Dana", next(people)) for pole, text in contrast.items()}
    assert told(check_table(table)) == [("error", "person", "texts")]


@pytest.mark.parametrize(
    ("name", "said"), [("evl", "did you mean 'assistant/evil'"), ("no/such.toml", "no/such.toml: no such file")]
)
def test_an_unknown_trait_is_one_line(name: str, said: str) -> None:
    with pytest.raises(TraitError, match=said):
        check_trait(name)
