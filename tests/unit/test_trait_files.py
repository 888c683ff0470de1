"""Traits written to files: what is saved is loaded, nothing is written over, and provenance is annotation."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.core.errors import TraitError
from personascope.core.files import bundled
from personascope.core.identity import canonical
from personascope.core.traits import (
    Contrast,
    Provenance,
    Rubric,
    Trait,
    coherence_rubric,
    load_provenance,
    load_trait,
    save_trait,
    trait_toml,
)

FIELDS = "{question}\n{answer}"
ORIGIN = Provenance("scripted", "2026-01-01T00:00:00+00:00", "new 1 sha256 00", 2, "a description", 7)


def a_trait(**changes: object) -> Trait:
    parts: dict[str, object] = {
        "name": "bold",
        "form": "assistant",
        "description": "Takes risks.",
        "contrasts": (Contrast("Be bold.", "Be timid."), Contrast("Dare.", "Beware."), Contrast("Go.", "Stay.")),
        "extraction_questions": ("Jump?", "Swim?", "Fly?", "Ride?"),
        "evaluation_questions": ("Climb?",),
        "rubric": Rubric(FIELDS),
        "coherence": Rubric(coherence_rubric("assistant")["text"]),
    }
    return Trait(**{**parts, **changes})  # type: ignore[arg-type]


# What a text may hold: anything but lone surrogates, and braces only where no rubric reads them.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, min_size=6, max_size=12, unique=True), strands=st.integers(1, 3))
def test_whatever_a_trait_says_is_loaded_as_it_was_saved(
    texts: list[str], strands: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    safe = texts[0].replace("{", "{{").replace("}", "}}")
    trait = a_trait(
        description=texts[1],
        contrasts=tuple(Contrast(text, f"not {text}") for text in texts[:3]),
        extraction_questions=tuple(texts[2:5]),
        evaluation_questions=(texts[5],),
        selection_questions=tuple(texts[6:]),
        rubric=Rubric(safe + FIELDS + safe),
        strands=strands,
    )
    path = tmp_path_factory.mktemp("traits") / "trait.toml"
    save_trait(trait, path, provenance=ORIGIN)
    assert load_trait(path) == trait
    assert load_provenance(path) == ORIGIN


@pytest.mark.parametrize("name", sorted(bundled("traits")))
def test_a_shipped_trait_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    trait = load_trait(name)
    save_trait(trait, tmp_path / "trait.toml")
    assert load_trait(tmp_path / "trait.toml") == trait


def test_a_rubric_with_labels_and_a_coherence_of_its_own_survive_too(tmp_path: Path) -> None:
    trait = a_trait(rubric=Rubric(FIELDS, "labels", ("greed", "none")), coherence=Rubric(f"Clear?\n{FIELDS}"))
    save_trait(trait, tmp_path / "trait.toml")
    assert load_trait(tmp_path / "trait.toml") == trait


def test_a_saved_trait_is_for_people_to_review() -> None:
    trait = a_trait(rubric=Rubric(f"First line.\n\n{FIELDS}\n"))
    text = trait_toml(trait, provenance=ORIGIN)
    lines = text.splitlines()
    assert '  "Jump?",' in lines, "one question to a line"
    assert lines.count("[[contrasts]]") == 3
    assert "First line." in lines, "a rubric keeps its lines"
    assert "coherence" not in tomllib.loads(text), "what the form says by itself is not said again"
    assert "strands" not in tomllib.loads(text)
    assert list(tomllib.loads(text)["provenance"]) == ["writer", "asked", "prompt", "tries", "source", "seed"]


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "bold.toml"
    path.write_text("mine")
    with pytest.raises(TraitError, match=r"bold\.toml is there already and is not written over"):
        save_trait(a_trait(), path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path], "no draft is left behind"


def test_text_no_file_holds_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(TraitError, match=r"'\\ud800', which no file does") as caught:
        save_trait(a_trait(description="a \ud800 b"), tmp_path / "bold.toml")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_provenance_is_part_of_the_file_and_of_no_trait(tmp_path: Path) -> None:
    save_trait(a_trait(), tmp_path / "plain.toml")
    save_trait(a_trait(), tmp_path / "told.toml", provenance=ORIGIN)
    plain, told = load_trait(tmp_path / "plain.toml"), load_trait(tmp_path / "told.toml")
    assert plain == told
    assert canonical(plain) == canonical(told), "where a trait comes from must not ask its questions again"
    assert load_provenance(tmp_path / "plain.toml") is None
    without = dataclasses.replace(ORIGIN, seed=None)
    save_trait(a_trait(), tmp_path / "unseeded.toml", provenance=without)
    assert load_provenance(tmp_path / "unseeded.toml") == without


def test_a_misspelt_provenance_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bold.toml"
    path.write_text(trait_toml(a_trait(), provenance=ORIGIN).replace("writer =", "wirter ="), encoding="utf-8")
    with pytest.raises(TraitError, match=r"bold\.toml: provenance: unknown key 'wirter'; did you mean 'writer'"):
        load_trait(path)


def test_a_bundled_trait_is_found_by_form_and_name_in_one_word() -> None:
    assert load_trait("character/evil") == load_trait("evil", form="character")


# Strands.


def test_in_a_combined_trait_a_question_is_asked_under_the_contrasts_of_its_own_strand() -> None:
    trait = a_trait(strands=2, contrasts=tuple(Contrast(f"+{n}", f"-{n}") for n in range(4)))
    naive = [
        (question, contrast.positive)
        for number, question in enumerate(trait.extraction_questions)
        for place, contrast in enumerate(trait.contrasts)
        if place % 2 == number % 2
    ]
    assert [(each.question, each.instruction) for each in trait.instructed("positive")] == naive
    assert len(trait.instructed("negative")) == len(naive) == 8
    limited = trait.limited(3)
    assert [each.question for each in limited.instructed("positive")] == ["Jump?"] * 2 + ["Swim?"] * 2 + ["Fly?"] * 2


def test_with_one_strand_every_question_meets_every_contrast() -> None:
    assert len(a_trait().instructed("positive")) == 12
    assert a_trait() == a_trait(strands=1)


@pytest.mark.parametrize("strands", [0, -1, 4])
def test_a_strand_without_a_contrast_is_refused(strands: int) -> None:
    with pytest.raises(TraitError, match="each strand has contrasts of its own"):
        a_trait(strands=strands)
