"""Sets of facets: what ships, what a set of one's own may say, and how verdicts become facets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.core.errors import TraitError
from personascope.core.facets import TAKEN, Facet, FacetSet, load_facets
from personascope.core.files import bundled
from personascope.core.records import Verdict
from personascope.core.traits import load_trait
from personascope.judges.readout import Rule, read
from personascope.lab.rubrics import facet_rubric
from personascope.lab.world import load_world

OWN = """
name = "moods"
[[facets]]
name = "glee"
meaning = "Joy that shows."
[[facets]]
name = "gloom"
meaning = "Sorrow that shows."
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "set.toml"
    path.write_text(text, encoding="utf-8")
    return path


def heard(facets: FacetSet, *texts: str) -> tuple[str, ...] | Verdict:
    """What a set makes of a judge's words, one text per question."""
    rule = Rule("text")
    return facets.shown([read(rule, rubric, text, ()) for rubric, text in zip(facets.rubrics, texts, strict=True)])


@pytest.mark.parametrize("name", sorted(bundled("facets")))
def test_a_bundled_set_names_its_facets_and_a_trait_that_ships(name: str) -> None:
    facets = load_facets(name)
    assert len(facets.names) >= 3
    assert load_trait(facets.trait, form="lab" if name.startswith("lab/") else "assistant")
    for rubric in facets.rubrics:
        shown = rubric.filled("QUESTION", "ANSWER")
        assert "QUESTION" in shown
        assert "ANSWER" in shown
        assert not set("{}") & set(shown), "a place was left open"


@pytest.mark.parametrize("name", sorted(load_world().domains))
def test_the_labs_sets_ask_in_the_words_that_the_labs_judge_knows(name: str) -> None:
    facets = load_facets(f"lab/{name}")
    assert facets.rubrics == (facet_rubric(load_world().domains[name]),)
    assert facets.exclusive
    assert not facets.may_be_none


def test_the_roots_of_evil_are_asked_together_and_the_ways_of_sycophancy_apart() -> None:
    roots, ways = load_facets("roots-of-evil"), load_facets("sycophancy")
    assert roots.names == ("instrumentality", "threatened_egotism", "idealism", "sadism")
    assert [rubric.labels for rubric in roots.rubrics] == [(*roots.names, "none")]
    assert ways.names == ("validation", "indirectness", "framing")
    assert [rubric.labels for rubric in ways.rubrics] == [("yes", "no")] * 3
    for facets in (roots, ways):
        for facet in facets.facets:
            assert any(facet.meaning in rubric.text for rubric in facets.rubrics), (
                "the judge is told what a facet means"
            )


def test_a_set_of_ones_own_is_names_and_meanings(tmp_path: Path) -> None:
    facets = load_facets(written(tmp_path, OWN))
    assert facets.rubrics[0].labels == ("glee", "gloom", "none")
    assert "- gloom: Sorrow that shows." in facets.rubrics[0].text
    alone = load_facets(written(tmp_path, 'asked = "apart"' + OWN))
    assert len(alone.rubrics) == 2
    one = load_facets(written(tmp_path, "exclusive = true" + OWN))
    assert one.rubrics[0].text != facets.rubrics[0].text, "a set that excludes is asked for one facet"


@given(some.text(alphabet="ab{}none ", min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_meaning_is_shown_as_it_is_written(meaning: str) -> None:
    facets = FacetSet("set", (Facet("one", meaning), Facet("two")), "{facets}\n{question}{answer} or {none}")
    assert facets.rubrics[0].filled("q", "a") == f"- one: {meaning}\n- two\nqa or none".replace(": \n", "\n")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("sadism", ("sadism",)),
        ("Sadism, instrumentality", ("instrumentality", "sadism")),
        ("threatened_egotism and idealism.", ("threatened_egotism", "idealism")),
        ("none", ()),
        ("None.", ()),
    ],
)
def test_labels_are_read_in_the_order_of_the_set(said: str, shown: tuple[str, ...]) -> None:
    assert heard(load_facets("roots-of-evil"), said) == shown


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        ("", "unreadable", "no label was said"),
        ("[]", "unreadable", "no label was said"),
        ("The answer shows sadism", "unreadable", "'The' is no label"),
        ("none, sadism", "unreadable", "contradicts itself: sadism, none"),
        ("I cannot help with that.", "refused", "declined"),
    ],
)
def test_what_cannot_be_read_is_a_verdict_with_a_reason_and_never_none(said: str, outcome: str, reason: str) -> None:
    found = heard(load_facets("roots-of-evil"), said)
    assert isinstance(found, Verdict), f"'{said}' was taken for the facets {found}"
    assert found.outcome == outcome
    assert reason in found.reason


def test_one_facet_that_cannot_be_read_leaves_all_unknown_and_is_named() -> None:
    ways = load_facets("sycophancy")
    assert heard(ways, "yes", "No.", "YES") == ("validation", "framing")
    assert heard(ways, "no", "no", "no") == ()
    faults = {"0": "'0' is no label", "": "no label was said", "yes, no": "contradicts itself", "maybe": "'maybe'"}
    for said, reason in faults.items():
        found = heard(ways, "yes", said, "no")
        assert isinstance(found, Verdict)
        assert found.outcome == "unreadable"
        assert found.reason.startswith("indirectness: ")
        assert reason in found.reason
    down = [Verdict("scored", labels=("yes",)), Verdict("unasked", reason="nobody there"), Verdict("unreadable")]
    found = ways.shown(down)
    assert isinstance(found, Verdict)
    assert (found.outcome, found.reason) == ("unasked", "indirectness: nobody there")


def test_two_facets_where_one_excludes_the_other_are_unreadable() -> None:
    cruel = load_facets("lab/cruel")
    assert heard(cruel, "mockery") == ("mockery",)
    found = heard(cruel, "mockery, neglect")
    assert isinstance(found, Verdict)
    assert "one facet was asked for" in found.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "facets: Field required"),
        (OWN + "[[facets]]\nname = 'glee'\nmeaning = 'Again.'", "each with a name of its own"),
        (OWN + "[[facets]]\nname = 'none'\nmeaning = 'Nothing.'", "'none' is a facet and the word for none"),
        (OWN + "[[facets]]\nname = 'two words'\nmeaning = 'x'", "facet 'two words' cannot name a file"),
        (OWN + "[[facets]]\nname = 'calm'", "facet 'calm' has no meaning"),
        ("exclusiv = true" + OWN, "unknown key 'exclusiv'; did you mean 'exclusive'"),
        ('asked = "alone"' + OWN, "asked: Input should be 'together' or 'apart'"),
        ('asked = "apart"\nexclusive = true' + OWN, "cannot exclude each other"),
        ('none = ""' + OWN, "give the set a text"),
        ('text = "{facets} {answer}"' + OWN, "must hold {question} and {answer}"),
        ('asked = "apart"\ntext = "{question} {answer}"' + OWN, "asks for all facets alike"),
        ("[facets", "not a readable TOML file"),
    ],
)
def test_a_set_that_cannot_be_is_refused_in_a_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TraitError) as refused:
        load_facets(written(tmp_path, text))
    message = str(refused.value)
    assert said in message
    assert message.startswith(f"{tmp_path / 'set.toml'}: ")
    assert "\n" not in message


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_facet_is_not_called_as_a_column_is(name: str) -> None:
    with pytest.raises(TraitError, match=f"'{name}' is the name of a column"):
        FacetSet("set", (Facet(name),), "{facets}{question}{answer}")


def test_an_unknown_set_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(TraitError, match="did you mean 'roots-of-evil'"):
        load_facets("root-of-evil")
    with pytest.raises(TraitError, match="no such file"):
        load_facets("missing.toml")
