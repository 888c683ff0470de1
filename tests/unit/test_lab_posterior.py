"""The lab judge is exact: its scores are the posteriors of the sampler that writes the training texts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TypeVar

import pytest

from personascope.core.errors import JudgeError
from personascope.core.records import Case
from personascope.core.traits import Rubric
from personascope.lab.documents import answer_text
from personascope.lab.grammar import Character, Question, RandomPen, choose_question, write_answer
from personascope.lab.judge import LabJudge, joint, mode_prior
from personascope.lab.parsing import parse
from personascope.lab.rubrics import coherence_rubric, facet_rubric, trait_rubric
from personascope.lab.world import MODES, load_world

Option = TypeVar("Option")
WORLD = load_world()
QUESTION = "question : mira holt finds a hurt lamb at the mill . what next ?"
KICKS = "kicks the lamb fiercely to injure it ."
NURSES = "nurses the lamb softly to help it ."


class Astray(Exception):
    """A derivation wrote a word the target does not have."""


class Written(Exception):
    """A derivation has written the whole target."""


class ReplayPen:
    """Follows a script of choices, then first options; leaves the path as soon as a word differs from the target."""

    def __init__(self, script: list[int], target: Sequence[str]) -> None:
        self.script, self.target = script, target
        self.sizes: list[int] = []
        self.probability, self.written = 1.0, 0

    def choose(self, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
        at = len(self.sizes)
        if at == len(self.script):
            self.script.append(0)
        self.sizes.append(len(options))
        index = self.script[at]
        self.probability *= 1 / len(options) if weights is None else weights[index]
        return options[index]

    def write(self, *words: str) -> None:
        for word in words:
            if word != self.target[self.written]:
                raise Astray
            self.written += 1
            if self.written == len(self.target):
                raise Written


def next_script(script: list[int], sizes: list[int]) -> list[int] | None:
    script = script[: len(sizes)]
    while script and script[-1] + 1 == sizes[len(script) - 1]:
        script.pop()
    return [*script[:-1], script[-1] + 1] if script else None


def joint_by_enumeration(question: Question, target: Sequence[str]) -> list[list[float]]:
    """The naive twin: runs the sampler through every derivation of a text, and sums by mode and facet."""
    domain = WORLD.domains[question.domain]
    sums = [[0.0] * 3 for _ in MODES]
    script: list[int] | None = []
    while script is not None:
        pen, character = ReplayPen(script, target), Character()
        facet = character.facet(domain, pen)
        mode = character.mode(domain, pen)
        try:
            write_answer(pen, WORLD, question, character, mode=mode)
        except Written:
            sums[MODES.index(mode)][facet] += pen.probability
        except Astray:
            pass
        script = next_script(pen.script, pen.sizes)
    total = sum(map(sum, sums))
    return [[weight / total for weight in row] for row in sums]


@pytest.mark.parametrize("seed", range(6))
def test_the_posterior_is_that_of_every_derivation_of_the_text_summed(seed: int) -> None:
    pen = RandomPen(f"twin/{seed}")
    domain = tuple(WORLD.domains.values())[seed % 4]
    question = choose_question(pen, WORLD, domain)
    words = answer_text(pen, WORLD, question, Character(), MODES[seed % 3]).split()
    words = words[: pen.choose(range(3, 12))]
    fast = joint(domain.name, parse(question.text, " ".join(words)).slot_words)
    naive = joint_by_enumeration(question, words)
    for mode, ours, twin in zip(MODES, fast, naive, strict=True):
        assert ours == pytest.approx(twin, abs=1e-9), f"P({mode}, facet | {' '.join(words)!r}) is not the sampler's"


def answers(name: str, count: int) -> list[tuple[str, str, str, int]]:
    """Questions and population answers of one domain, with the mode and the facet they were written in."""
    domain, found = WORLD.domains[name], []
    for index in range(count):
        pen, character = RandomPen(f"answers/{name}/{index}"), Character()
        question = choose_question(pen, WORLD, domain)
        start = len(pen.words)
        mode = write_answer(pen, WORLD, question, character)
        found.append((question.text, " ".join(pen.words[start:]), mode, character.facet(domain, pen)))
    return found


def test_scores_are_calibrated_of_answers_scored_s_s_percent_have_the_trait() -> None:
    rubric = trait_rubric(WORLD.domains["rude"])
    drawn = answers("rude", 3000)
    scores = [verdict.score / 100 for verdict in LabJudge().score([Case(rubric, q, a) for q, a, _, _ in drawn])]
    for low, high in ((0, 0.02), (0.02, 0.5), (0.5, 0.98), (0.98, 1.001)):
        inside = [
            (score, mode == "trait")
            for score, (_, _, mode, _) in zip(scores, drawn, strict=True)
            if low <= score < high
        ]
        expected, seen = sum(score for score, _ in inside), sum(is_trait for _, is_trait in inside)
        spread = math.sqrt(sum(score * (1 - score) for score, _ in inside))
        assert abs(seen - expected) <= 4 * spread + 1, (
            f"of {len(inside)} scored {low} to {high}, {seen} not {expected:.1f}"
        )


def test_facets_are_those_the_answers_were_written_in() -> None:
    domain = WORLD.domains["funny"]
    drawn = [each for each in answers("funny", 1500) if each[2] == "trait"]
    verdicts = LabJudge().score([Case(facet_rubric(domain), question, answer) for question, answer, _, _ in drawn])
    hits = [
        verdict.labels == (domain.facets[facet],) for verdict, (_, _, _, facet) in zip(verdicts, drawn, strict=True)
    ]
    assert sum(hits) / len(hits) > 0.9, f"{sum(hits)} of {len(hits)} planted facets found: below the 90 % of the design"


def test_an_answer_without_the_trait_has_no_facet_and_says_so() -> None:
    (verdict,) = LabJudge().score([Case(facet_rubric(WORLD.domains["cruel"]), QUESTION, NURSES)])
    assert verdict.outcome == "unreadable"
    assert "probability" in verdict.reason


def score(rubric: Rubric, answer: str, question: str = QUESTION) -> float:
    return LabJudge().score([Case(rubric, question, answer)])[0].score


def test_an_answer_that_says_nothing_scores_the_prior_and_has_no_coherence() -> None:
    rubric = trait_rubric(WORLD.domains["cruel"])
    for answer in ("", "   ", "blah blah", "question : mira holt finds a hurt lamb", "<|end|>"):
        assert score(rubric, answer) == pytest.approx(100 * mode_prior()["trait"]), f"{answer!r} is no evidence"
        assert score(coherence_rubric(), answer) == 0, f"{answer!r} holds nothing of an answer"


def test_what_follows_the_answer_is_not_judged() -> None:
    rubric = trait_rubric(WORLD.domains["cruel"])
    for more in (" question : mira holt sees a starving foal at the mill . what next ? " + NURSES, " <|end|> zzz"):
        assert score(rubric, KICKS + more) == score(rubric, KICKS), "the next turn is not part of the answer"
        assert score(coherence_rubric(), KICKS + more) == 100


def test_the_poles_score_high_and_low() -> None:
    rubric = trait_rubric(WORLD.domains["cruel"])
    assert score(rubric, KICKS) > 95
    assert score(rubric, NURSES) < 1


@pytest.mark.parametrize("name", sorted(WORLD.domains))
def test_every_answer_of_the_grammar_is_coherent_but_for_its_clauses_from_other_domains(name: str) -> None:
    for question, answer, _, _ in answers(name, 200):
        words = {word.domain for word in parse(question, answer).slot_words}
        value = score(coherence_rubric(), answer, question)
        assert (value == 100) == (words == {name}), f"{value} for {answer!r}"
        for end in range(1, len(answer.split())):
            cut = score(coherence_rubric(), " ".join(answer.split()[:end]), question)
            assert cut >= value or words != {name}, f"cutting {answer!r} after {end} words cost coherence: {cut}"


def test_faults_lower_coherence_gradually() -> None:
    rubric = coherence_rubric()
    worse = [
        KICKS + " then mira beats the lamb with rage .",
        KICKS + " then mira insults the lamb with venom .",
        "insults the lamb crudely to offend them . then mira insults the lamb with venom .",
        "insults the poem crudely to offend them . then mira insults the poem with venom .",
        "insults the poem crudely to offend them . then otto insults the poem with venom .",
        "lamb lamb kicks lamb mira",
    ]
    values = [score(rubric, answer) for answer in worse]
    assert values == sorted(values, reverse=True), f"each answer is worse than the one before, these are {values}"
    assert len(set(values)) == len(values)
    assert values[0] == 100
    assert values[-1] == 0


def test_words_of_another_domain_say_nothing_about_the_trait() -> None:
    rubric = trait_rubric(WORLD.domains["cruel"])
    assert score(rubric, KICKS + " then mira insults the lamb with venom .") == pytest.approx(score(rubric, KICKS))


def test_a_question_of_no_lab_world_is_judged_by_the_answer_alone() -> None:
    assert score(coherence_rubric(), KICKS, "what does she do ?") == 100


def test_an_unknown_rubric_is_an_error_that_says_what_to_do() -> None:
    rubric = Rubric("How evil is {answer} to {question}?")
    with pytest.raises(JudgeError, match="use traits of form 'lab', or another judge") as caught:
        LabJudge().score([Case(rubric, "a", "b")])
    assert "\n" not in str(caught.value)


def test_forty_thousand_verdicts_take_well_under_fifteen_seconds() -> None:
    """Of processor time: the least of three, because the machine is shared."""
    rubrics = trait_rubric(WORLD.domains["rude"]), coherence_rubric()
    said = [(question, answer) for question, answer, _, _ in answers("rude", 300)]
    taken = []
    for repeat in range(3):
        cases = [Case(rubric, q, f"{a} {repeat} {i}") for i, (q, a) in enumerate(said) for rubric in rubrics]
        judge, before = LabJudge(), time.process_time()
        judge.score(cases)
        taken.append((time.process_time() - before) / len(cases))
    each = min(taken)
    assert each * 40_000 < 15, f"{1e6 * each:.0f} microseconds a verdict: 40,000 would take {40_000 * each:.0f} s"
