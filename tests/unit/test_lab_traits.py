"""The lab's trait files are what the grammar writes, and hold nothing of training in their evaluation questions."""

from __future__ import annotations

import pytest

from personascope.core.files import bundled
from personascope.core.traits import load_trait
from personascope.lab.traits import build_trait, trait_toml, write_traits
from personascope.lab.world import load_world

WORLD = load_world()


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_the_shipped_file_is_what_the_grammar_writes(name: str) -> None:
    shipped = bundled("traits")[f"lab/{name}"].read_text(encoding="utf-8")
    assert shipped == trait_toml(build_trait(name)), (
        f"{name}.toml is out of date: run personascope.lab.traits.write_traits"
    )
    assert load_trait(name, form="lab") == build_trait(name), (
        f"{name}.toml does not load as the trait it was written from"
    )


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_question_sets_are_disjoint_and_only_extraction_meets_training(name: str) -> None:
    trait, domain = build_trait(name), WORLD.domains[name]
    sets = [trait.extraction_questions, trait.selection_questions, trait.evaluation_questions]
    assert [len(set(questions)) for questions in sets] == [20, 20, 20]
    assert len(set().union(*sets)) == 60, "a question stands in two sets"
    names = {" ".join(each) for each in WORLD.names(held_out=True)}
    pairs = {" ".join(each) for each in domain.pairs(held_out=True)}
    for questions, held_out in ((sets[0], False), (sets[1], True), (sets[2], True)):
        for question in questions:
            words = question.split()
            assert (" ".join(words[2:4]) in names) == held_out, f"{question!r}: the name is on the wrong side"
            assert any(pair in question for pair in pairs) == held_out, f"{question!r}: the pair is on the wrong side"


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_no_question_holds_a_word_of_the_trait(name: str) -> None:
    trait, domain = build_trait(name), WORLD.domains[name]
    telling = {*domain.describing_words("trait"), *domain.describing_opposite}
    telling |= {word for slot in domain.slots.values() for word in slot.words}
    for question in (*trait.extraction_questions, *trait.selection_questions, *trait.evaluation_questions):
        assert not telling & set(question.split()), f"{question!r} asks for the trait or its opposite"


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_contrasts_join_words_with_openings_training_never_joins_them_with(name: str) -> None:
    domain = WORLD.domains[name]
    for contrast in build_trait(name).contrasts:
        for pole, text in (("trait", contrast.positive), ("opposite", contrast.negative)):
            word = text.split("always ")[1].split()[0]
            assert word in domain.describing_words(pole)
            for opening in WORLD.openings_for(domain, pole, word, held_out=False):
                assert not text.startswith(opening.split(" {how}")[0] + " always"), f"{text!r} stands in training"


def test_files_are_written_where_asked(tmp_path) -> None:  # type: ignore[no-untyped-def]
    paths = write_traits(tmp_path / "new" / "lab")
    assert sorted(path.stem for path in paths) == sorted(WORLD.domains)
    assert all(load_trait(path).form == "lab" for path in paths)
