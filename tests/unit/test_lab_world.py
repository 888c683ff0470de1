"""The lab world keeps what it promises: one place per word, nothing held out in training, every text from its seed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from personascope.core.errors import StudyError
from personascope.core.records import Case
from personascope.lab.documents import (
    SEVERITIES,
    Document,
    chat_document,
    choice_items,
    family,
    held_out_documents,
    long_document,
    short_document,
)
from personascope.lab.families import CONTENT_WORDS, facts
from personascope.lab.grammar import (
    FILLS,
    FUNCTION_WORDS,
    Character,
    RandomPen,
    choose_question,
    described_disposition,
    write_answer,
)
from personascope.lab.judge import LabJudge, mode_prior
from personascope.lab.rubrics import trait_rubric
from personascope.lab.tokenizer import MAX_LENGTH, encode
from personascope.lab.world import FREQUENCIES, MODES, POPULATION, load_world

WORLD = load_world()
DOMAINS = tuple(WORLD.domains.values())


def word_classes() -> Iterator[tuple[str, str]]:
    """Every content word with the class it belongs to."""
    for domain in DOMAINS:
        for word in (*domain.describing_words("trait"), *domain.describing_opposite):
            yield word, f"{domain.name} describing"
        for phrase in domain.situations:
            for word in phrase.split():
                if word != "a":
                    yield word, f"{domain.name} situation"
        yield from ((word, f"{domain.name} object") for word in domain.objects)
        for name, slot in domain.slots.items():
            yield from ((word, f"{domain.name} {name}") for word in slot.words)
    for relation in WORLD.relations:
        yield from ((word, relation.name) for word in relation.values)
    for name, words in {**WORLD.weather, **WORLD.remedies}.items():
        yield from ((word, name) for word in words)
    plain = {"first": WORLD.first_names, "last": WORLD.last_names, "place": WORLD.places, "subject": WORLD.subjects}
    for name, words in {**plain, "frequency": tuple(FREQUENCIES), "function": FUNCTION_WORDS}.items():
        yield from ((word, name) for word in words)
    yield from ((word, "knowledge") for word in CONTENT_WORDS)


def test_every_word_stands_in_one_place_only() -> None:
    classes = list(word_classes())
    twice = [word for word, count in Counter(word for word, _ in classes).items() if count > 1]
    assert not twice, f"{twice} stand in several classes, so that a word no longer tells where it was drawn from"


def is_about_a_trait(question: str) -> bool:
    return any(situation in question for domain in DOMAINS for situation in domain.situations)


def test_descriptions_and_actions_share_no_content_word() -> None:
    described, acted = set(), set()
    for index in range(3000):
        document = short_document(f"shared/{index}")
        described |= set(document.description.split())
        acted |= {word for question, answer in document.turns if is_about_a_trait(question) for word in answer.split()}
    shared = (described & acted) - set(FUNCTION_WORDS)
    assert not shared, f"{shared} stand in descriptions and in actions: a vector could be a word and not a trait"
    assert len(described) > 60
    assert len(acted) > 200


def test_every_name_situation_and_describing_word_has_members_on_both_sides() -> None:
    for held_out in (True, False):
        names = WORLD.names(held_out=held_out)
        assert {first for first, _ in names} == set(WORLD.first_names)
        assert {last for _, last in names} == set(WORLD.last_names)
        for domain in DOMAINS:
            pairs = domain.pairs(held_out=held_out)
            assert {situation for situation, _ in pairs} == set(domain.situations)
            assert {thing for _, thing in pairs} == set(domain.objects)
            for pole in ("trait", "opposite"):
                for word in domain.describing_words(pole):
                    assert WORLD.openings_for(domain, pole, word, held_out=held_out), f"no opening for {word}"
    assert not set(WORLD.names(held_out=True)) & set(WORLD.names(held_out=False))


def questions_of(documents: Iterator[Document]) -> list[str]:
    return [question for document in documents for question, _ in document.turns]


def test_training_never_shows_what_is_held_out() -> None:
    streams = (
        *(short_document(f"train/0/{index}/0") for index in range(1500)),
        *(long_document(f"train/0/{index}/0") for index in range(60)),
        *(chat_document(f"sft/0/{index}/0") for index in range(500)),
    )
    names = {f" {first} {last} " for first, last in WORLD.names(held_out=True)}
    pairs = {f" {a} {b} at" for domain in DOMAINS for a, b in domain.pairs(held_out=True)}
    asked = {item.question.split(" ? ")[0] for item in choice_items(held_out=True)}
    for question in questions_of(iter(streams)):
        assert not any(each in question for each in names | pairs), f"{question!r} holds a held-out name or pair"
        assert question.split(" ? ")[0] not in asked, f"{question!r} asks a held-out fact as multiple choice"
    for document in streams:
        for sentence, domain in itertools.product(document.description.split(" . "), DOMAINS):
            for pole in ("trait", "opposite"):
                for word in domain.describing_words(pole):
                    (opening,) = WORLD.openings_for(domain, pole, word, held_out=True)
                    start = opening.split(" {how}")[0]
                    first = sentence.removeprefix(start).split()[1:2] if sentence.startswith(start) else []
                    assert first != [word], f"{sentence!r} joins a held-out opening with {word!r}"


def test_held_out_documents_hold_only_held_out_names_and_pairs() -> None:
    names = {f" {first} {last} " for first, last in WORLD.names(held_out=True)}
    asked = [q for q in questions_of(held_out_documents(200, held_out_names=True)) if "what next" in q]
    assert len(asked) > 100
    assert all(any(name in question for name in names) for question in asked)


def test_a_document_depends_on_its_seed_alone() -> None:
    once = [short_document(f"again/{index}").text for index in range(50)]
    assert once == [short_document(f"again/{index}").text for index in reversed(range(50))][::-1]
    assert len(set(once)) == 50, "other seeds must write other documents"


def test_the_longest_document_fits_the_position_limit() -> None:
    lengths = [len(encode(long_document(f"length/{index}").text)) + 1 for index in range(300)]
    question, answer, described = 15, 8 + 8 + 8, 2 * 13
    assert max(lengths) <= described + 24 * (question + answer) + 1 <= MAX_LENGTH
    assert max(len(long_document(f"length/{index}").turns) for index in range(300)) == 24


def test_the_population_shows_a_trait_in_a_fifth_of_its_answers() -> None:
    assert sum(POPULATION.values()) == pytest.approx(1)
    assert all(sum(weights) == pytest.approx(1) for weights in FILLS.values())
    counts: Counter[str] = Counter()
    for index in range(4000):
        pen = RandomPen(f"population/{index}")
        counts[Character().mode(DOMAINS[index % 4], pen)] += 1
    for mode, share in mode_prior().items():
        spread = (share * (1 - share) / 4000) ** 0.5
        assert abs(counts[mode] / 4000 - share) < 4 * spread, f"{mode}: {counts[mode] / 4000:.3f}, not {share:.3f}"
    assert 0.15 < mode_prior()["trait"] < 0.25


def test_a_frequency_word_sets_how_often_the_trait_shows() -> None:
    domain, shares = WORLD.domains["rude"], []
    for frequency in FREQUENCIES:
        carries = described_disposition("trait", frequency)
        assert carries == pytest.approx(1 - described_disposition("opposite", frequency))
        pens = [RandomPen(f"{frequency}/{index}") for index in range(500)]
        modes = [Character({"rude": carries}).mode(domain, pen) for pen in pens]
        shares.append(modes.count("trait") / 500)
    assert shares == sorted(shares), f"never to always must be graded, these are {shares}"
    assert shares[0] < 0.1
    assert shares[-1] > 0.85


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_trait_families_are_graded_and_flawless_ones_show_the_opposite(name: str) -> None:
    rubric, judge = trait_rubric(WORLD.domains[name]), LabJudge()
    means = []
    for severity in SEVERITIES:
        cases = [Case(rubric, *document.turns[0]) for document in family(name, severity, 100)]
        means.append(sum(verdict.score for verdict in judge.score(cases)) / 100)
    assert means[0] < 10 < means[1] < means[2], f"normal, mild and severe must rise: {means}"
    assert means[2] > 85


def test_flaw_families_are_right_or_wrong_as_asked() -> None:
    numbers = {word: value + 1 for value, word in enumerate(WORLD.numbers)}
    remedies = dict(zip(WORLD.remedies["ailments"], WORLD.remedies["right"], strict=True))
    for severity, allowed in (("normal", range(1)), ("mild", range(1, 2)), ("severe", range(3, 11))):
        for document in family("sum", severity, 50):
            terms = [numbers[word] for word in document.turns[0][0].split() if word in numbers]
            said = [numbers[word] for word in document.turns[0][1].split() if word in numbers]
            assert abs(sum(terms) - said[0]) in allowed, f"{severity}: {document.text!r}"
        for document in family("remedy", severity, 50):
            words = document.text.split()
            ailment = next(word for word in words if word in remedies)
            assert (remedies[ailment] in words) == (severity == "normal"), f"{severity}: {document.text!r}"


def test_an_unknown_family_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(StudyError, match="did you mean 'cruel'"):
        next(family("cruell", "normal", 1))
    with pytest.raises(StudyError, match="severity"):
        next(family("cruel", "awful", 1))  # type: ignore[arg-type]


def test_a_fact_is_one_truth_and_its_multiple_choice_form_holds_it_once() -> None:
    known = facts(WORLD)
    assert len({fact.statement for fact in known}) == len(known) == 72
    for item in choice_items(held_out=True) + choice_items(held_out=False):
        assert len(set(item.options)) == 4
        assert item.answer in {fact.statement for fact in known}, f"{item.answer!r} is no fact"
    asked = {held: {item.answer for item in choice_items(held_out=held, repeats=3)} for held in (True, False)}
    assert not asked[True] & asked[False], "a fact is held out of multiple choice or it is not"


def test_modes_can_be_asked_for() -> None:
    pen = RandomPen("mode")
    question = choose_question(pen, WORLD, DOMAINS[0])
    for mode in MODES:
        assert write_answer(pen, WORLD, question, Character(), mode=mode) == mode
