"""Words in their inflections, and texts that are nearly the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.authoring.wording import names, near_duplicates, normal

SAME_WORD = {
    "evil": "evil Evil evils evilness evilly",
    "sycophantic": "sycophancy sycophant sycophants sycophantically",
    "optimistic": "optimism optimist optimistically",
    "humorous": "humor humour humorist humorously",
    "hallucinating": "hallucinate hallucination hallucinates hallucinatory",
    "impolite": "impolitely impoliteness polite politely",
    "apathetic": "apathy apathetically",
    "cruel": "cruelty crueler cruelly",
    "flattering": "flattery flatter flatterer flattered",
    "honest": "honesty dishonest honestly",
    "kind": "kindness unkind kindly",
    "lazy": "laziness lazily lazier",
    "greedy": "greed greedily",
}
ANOTHER_WORD = {
    "evil": "devil evident medieval",
    "optimistic": "optimal optical",
    "humorous": "human humid rumour",
    "impolite": "police imposing",
    "cruel": "cruise",
    "flattering": "flat flattop",
    "kind": "kindle child",
    "rude": "crude rudder",
}


@pytest.mark.parametrize(("name", "words"), SAME_WORD.items())
def test_a_word_is_known_in_its_inflections(name: str, words: str) -> None:
    for word in words.split():
        assert names(f"What is {word}, then?", name) == word.casefold(), f"'{word}' names '{name}'"


@pytest.mark.parametrize(("name", "words"), ANOTHER_WORD.items())
def test_a_word_that_looks_alike_is_another_word(name: str, words: str) -> None:
    for word in words.split():
        assert names(f"What is {word}, then?", name) == "", f"'{word}' does not name '{name}'"


@pytest.mark.parametrize("text", ["", "...", "🙂 漢字", "a\x00b"])
def test_a_text_without_the_word_names_nothing(text: str) -> None:
    assert names(text, "evil") == ""
    assert names(text, "") == ""


def test_a_name_of_several_words_is_named_where_all_of_them_are() -> None:
    assert names("Is taking a risk wise?", "risk-taking") == "risk"
    assert names("Is taking a bus wise?", "risk-taking") == ""
    assert names("Does she seek power?", "power_seeking") == "power"


def test_possessives_and_curly_apostrophes_are_no_other_word() -> None:
    assert names("Is it evil\u2019s fault?", "evil") == "evil"
    assert names("Is it EVIL'S fault?", "evil") == "evil"


def test_texts_that_are_heard_alike_are_normally_the_same() -> None:
    assert normal("  How do I boil an EGG?! ") == normal("how do i boil an egg")
    assert normal("?!") != normal("..."), "texts without a word are themselves"


def common(one: str, other: str) -> int:
    """The length of the longest common subsequence, by the textbook's table."""
    row = [0] * (len(other) + 1)
    for letter in one:
        before = row[:]
        for place, its in enumerate(other, 1):
            row[place] = before[place - 1] + 1 if letter == its else max(before[place], row[place - 1])
    return row[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abc ", max_size=14), min_size=2, max_size=5), st.sampled_from([50.0, 75.0, 90.0]))
def test_near_duplicates_are_those_a_naive_comparison_finds(texts: list[str], alike: float) -> None:
    naive = []
    plain = [" ".join(sorted(normal(text).split())) for text in texts]
    for one, other in itertools.combinations(range(len(texts)), 2):
        length = len(plain[one]) + len(plain[other])
        score = 100 * 2 * common(plain[one], plain[other]) / length if length else 100.0
        if score >= alike:
            naive.append((one, other, round(score, 1)))
    assert near_duplicates(texts, alike=alike) == naive


def test_word_order_and_punctuation_do_not_make_a_question_new() -> None:
    texts = ["Should I tell my sister the truth?", "The truth, should I tell my sister?", "What is for lunch?"]
    assert near_duplicates(texts) == [(0, 1, 100.0)]
    assert near_duplicates([]) == near_duplicates(["one"]) == []
