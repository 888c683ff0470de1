"""Spectra, many-shot series, examples to show, and what is seen under every condition."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from personascope.applications.monitor import (
    MANY_SHOT,
    SYSTEM_PROMPTS,
    Spectrum,
    Watched,
    exemplars,
    graded,
    load_spectrum,
    many_shot,
    observe,
    project_prompts,
    project_tokens,
    write_spectrum,
)
from personascope.authoring.spectra import save_spectrum
from personascope.core.errors import DraftError, StudyError, TraitError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Answer, Bar, Request, Response, Sampling, Verdict
from personascope.core.traits import load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge
from personascope.lab.traits import graded_descriptions
from personascope.lab.world import FREQUENCIES
from personascope.writers.scripted import ScriptedWriter
from scripted_world import TRAITS

GRIM, MERRY = TRAITS
BETWEEN = ["You are a friend of light talk.", "You are plain.", "You are a little dark in what you say.", "You brood."]
PAIRS = [(f"q{place}", f"a{place}") for place in range(20)]


def drafted(texts: list[str]) -> str:
    return json.dumps({"instructions": texts})


def said(question: str, text: str, score: float, coherence: float = 90.0) -> Answer:
    response = Response(Request(question, Sampling()), None, None, text, "stop")
    return Answer(question, 0, response, Verdict("scored", score), Verdict("scored", coherence))


def test_a_spectrum_runs_from_the_negative_to_the_positive_pole_of_a_contrast() -> None:
    writer = ScriptedWriter([drafted(BETWEEN)])
    found = write_spectrum(GRIM, writer=writer, contrast=1, steps=6)
    assert found.instructions == (GRIM.contrasts[1].negative, *BETWEEN, GRIM.contrasts[1].positive)
    asked = writer.asked[0].messages[0].text
    for part in (GRIM.contrasts[1].negative, GRIM.contrasts[1].positive, GRIM.description, "the 4 system prompts"):
        assert part in asked
    assert "$" not in asked, "every blank was filled in"
    assert found.provenance is not None
    assert found.provenance.writer == "scripted"
    assert found.provenance.source == "contrast 1 of scripted/grim"


@pytest.mark.parametrize(
    ("draft", "fault"),
    [
        (drafted(BETWEEN[:3]), "There are 3 instructions, and 4 were asked for"),
        (drafted([*BETWEEN, "You sulk."]), "without the first and last"),
        (drafted([*BETWEEN[:3], BETWEEN[0]]), "are the same"),
        (drafted([*BETWEEN[:3], GRIM.contrasts[0].positive]), "are the same"),
        (drafted([*BETWEEN[:3], "You are grim. " * 20]), "too long"),
        ("I would rather not.", "no JSON object"),
    ],
)
def test_a_draft_that_breaks_a_rule_is_sent_back_with_what_is_wrong(draft: str, fault: str) -> None:
    writer = ScriptedWriter([draft, drafted(BETWEEN)])
    found = write_spectrum(GRIM, writer=writer, steps=6)
    assert len(found.instructions) == 6
    assert fault in writer.asked[1].messages[-1].text
    assert found.provenance is not None
    assert found.provenance.tries == 2
    with pytest.raises(DraftError, match="not valid after 3 tries"):
        write_spectrum(GRIM, writer=ScriptedWriter([draft]), steps=6)


def test_a_contrast_that_is_not_there_and_too_few_steps_are_refused_before_anyone_is_asked() -> None:
    writer = ScriptedWriter(["unasked"])
    with pytest.raises(TraitError, match="contrast 2 asked of 'grim', which has 2: choose 0 to 1"):
        write_spectrum(GRIM, writer=writer, contrast=2)
    with pytest.raises(TraitError, match="nothing between its ends"):
        write_spectrum(GRIM, writer=writer, steps=2)
    assert not writer.asked


def test_a_spectrum_is_read_as_it_was_saved_and_never_written_over(tmp_path) -> None:
    found = write_spectrum(GRIM, writer=ScriptedWriter([drafted(BETWEEN)]), steps=6)
    save_spectrum(found, tmp_path / "grim.toml")
    assert load_spectrum(tmp_path / "grim.toml") == found
    with pytest.raises(TraitError, match="is there already"):
        save_spectrum(found, tmp_path / "grim.toml")
    (tmp_path / "wrong.toml").write_text('trait = "grim"\ninstruction = ["a", "b"]\n')
    with pytest.raises(TraitError, match="did you mean 'instructions'"):
        load_spectrum(tmp_path / "wrong.toml")
    for texts, fault in ((("a", " "), "none of them empty"), (("A b!", "a b"), "twice"), (("a",), "two instructions")):
        with pytest.raises(TraitError, match=fault):
            Spectrum("grim", texts)


@pytest.mark.parametrize("name", ["cruel", "flattering", "rude", "funny"])
def test_the_labs_spectrum_goes_up_in_what_it_states_and_ends_in_the_first_contrast(name: str) -> None:
    texts, trait = graded_descriptions(name), load_trait(name, form="lab")
    assert (texts[0], texts[-1]) == (trait.contrasts[0].negative, trait.contrasts[0].positive)
    assert len(set(texts)) == 8
    stated = []
    for text in texts:
        word = next(each for each in FREQUENCIES if each in text.split())
        of_trait = text.split(word)[1].split()[0] in trait.contrasts[0].positive.split()
        stated.append(round(FREQUENCIES[word] if of_trait else 1 - FREQUENCIES[word], 6))
    assert stated == sorted(stated)
    with pytest.raises(StudyError, match="did you mean 'cruel'"):
        graded_descriptions("crul")


def test_every_many_shot_series_is_the_beginning_of_the_next() -> None:
    conditions = many_shot(PAIRS)
    assert [each.place for each in conditions] == [0, 5, 10, 15, 20]
    assert conditions[0].prompt("Why?").earlier == ()
    for less, more in itertools.pairwise(conditions):
        assert more.earlier[: len(less.earlier)] == less.earlier
    with pytest.raises(StudyError, match="20 examples were asked for before a question and there are 3"):
        many_shot(PAIRS[:3])


def test_the_best_sound_answer_to_each_question_is_shown() -> None:
    answers = [
        said("one", "good", 80), said("one", "better", 95), said("one", "babble", 99, coherence=10),
        said("two", "low", 20), said("three", "", 90), said("four", "unread", math.nan), said("five", "fine", 60),
        said("five", "as fine", 60),
    ]  # fmt: skip
    assert exemplars(answers) == (("one", "better"), ("five", "fine"))
    assert ("two", "low") in exemplars(answers, bar=Bar(None, None)), "without a bar every question has one"
    assert exemplars([]) == ()


def test_what_is_observed_is_read_from_the_prompt_and_judged_on_the_answer() -> None:
    engine = ScriptedEngine(Checkpoint("scripted"), TRAITS, hidden_size=16)
    vector = PersonaVector(
        np.random.default_rng(0).standard_normal((5, 16)), np.ones(5), "grim", "scripted", engine.checkpoint
    )
    watched = [Watched("grim", vector, 3), Watched("other", vector.with_directions(-vector.directions, origin="x"), 1)]
    conditions = [*graded([GRIM.contrasts[0].negative, GRIM.contrasts[0].positive]), *many_shot(PAIRS, counts=[0, 2])]
    sampling = Sampling(max_tokens=12, draws=3)
    found = observe(engine, GRIM, conditions, watched, judge=ScriptedJudge(TRAITS), sampling=sampling)
    assert [(each.condition, each.question) for each in found] == [
        (condition, question) for condition in conditions for question in GRIM.evaluation_questions
    ]
    assert {each.condition.series for each in found} == {SYSTEM_PROMPTS, MANY_SHOT}
    for each in (found[0], found[9], found[-1]):
        text = engine.render(each.condition.prompt(each.question))
        assert each.projections == pytest.approx(project_prompts(engine, [text], watched)[0], abs=1e-5)
        assert each.streams[0] @ watched[0].unit == pytest.approx(each.projections[0])
        assert len(each.answers) == 3
        for answer, spoken in zip(each.answers, each.spoken, strict=True):
            (along,) = project_tokens(engine, [answer.response], watched)
            if answer.response.empty:
                assert np.isnan(spoken).all(), "nothing said has no mean"
            else:
                assert along[answer.response.spoken[1] :].mean(axis=0) == pytest.approx(spoken, abs=1e-5)
    scores = [np.mean([answer.trait.score for answer in each.answers]) for each in found]
    assert np.mean(scores[8:16]) > np.mean(scores[:8]), "the eliciting instruction elicits"
