"""Conditions that move a model along a trait, and what is seen and said under them.

Owns: :class:`Condition`, the two series of them, :func:`exemplars` and :func:`observe`. The one law: what is projected
is read before a word of the answer, from the prompt alone; what it is compared with is judged afterwards ("Persona
Vectors" §3.3 and C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from personascope.applications.monitor.core import Watched, check_watched
from personascope.core.errors import StudyError
from personascope.core.records import Answer, Bar, Sampling
from personascope.core.traits import Prompt, Trait
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer

SYSTEM_PROMPTS: Final = "system prompts"
MANY_SHOT: Final = "many-shot"
COUNTS: Final = (0, 5, 10, 15, 20)
"""How many examples the paper puts before a question."""


@dataclass(frozen=True)
class Condition:
    """What precedes every question: an instruction, or earlier turns. ``place`` orders the conditions of a series."""

    series: str
    place: int
    name: str
    instruction: str | None = None
    earlier: tuple[tuple[str, str], ...] = ()

    def prompt(self, question: str) -> Prompt:
        """A question under this condition."""
        return Prompt(question, self.instruction, self.earlier)


@dataclass(frozen=True, eq=False)
class Observation:
    """One question under one condition: what was read before the answers, and the answers with their verdicts.

    ``streams`` is the residual stream at the last prompt token, at each watched vector's layer; ``projections`` and
    ``spoken`` are those of the last prompt token and of the mean response (NaN if nothing was said), per vector.
    """

    condition: Condition
    question: str
    answers: tuple[Answer, ...]
    streams: Float[np.ndarray, "watched hidden"]
    projections: Float[np.ndarray, "watched"]
    spoken: Float[np.ndarray, "answer watched"]


def graded(instructions: Sequence[str]) -> tuple[Condition, ...]:
    """The system-prompt series: instructions from suppressing a trait to eliciting it."""
    return tuple(Condition(SYSTEM_PROMPTS, place, f"{place}: {text}", text) for place, text in enumerate(instructions))


def many_shot(examples: Sequence[tuple[str, str]], *, counts: Sequence[int] = COUNTS) -> tuple[Condition, ...]:
    """The many-shot series: the first so many examples as turns before the question, each series in the next one.

    Raises:
        StudyError: if there are fewer examples than the largest count.
    """
    if max(counts, default=0) > len(examples):
        raise StudyError(
            f"{max(counts)} examples were asked for before a question and there are {len(examples)}: lower the counts"
        )
    return tuple(
        Condition(MANY_SHOT, count, f"{count} examples", earlier=tuple(examples[:count])) for count in sorted(counts)
    )


def exemplars(answers: Sequence[Answer], *, bar: Bar | None = None) -> tuple[tuple[str, str], ...]:
    """The best answer to each question that clears a bar, as an example to show, in the order of the questions.

    Best is the highest trait score; ties go to the earlier one. The paper does not say what its examples were: these
    are the answers a vector was extracted from.
    """
    bar = bar or Bar()
    best: dict[str, Answer] = {}
    for each in answers:
        high = bar.trait is None or each.trait.score >= bar.trait
        sound = bar.coherence is None or each.coherence.score >= bar.coherence
        better = each.question not in best or each.trait.score > best[each.question].trait.score
        if high and sound and better and not each.response.empty:
            best[each.question] = each
    order = dict.fromkeys(each.question for each in answers)
    return tuple((question, best[question].response.words) for question in order if question in best)


def observe(
    engine: Engine,
    trait: Trait,
    conditions: Sequence[Condition],
    watched: Sequence[Watched],
    *,
    judge: Judge,
    sampling: Sampling,
) -> list[Observation]:
    """Every evaluation question under every condition: read, then answered ``sampling.draws`` times and judged.

    One observation per condition and question, in that order. The paper draws ten answers.
    """
    check_watched(engine, watched)
    questions = trait.questions("evaluation")
    arms = {
        condition: Arm(engine, trait, tuple(map(condition.prompt, questions)), sampling) for condition in conditions
    }
    answers = answer(arms, judge=judge, read=True)
    found: list[Observation] = []
    for condition in conditions:  # one condition is read at a time: readings of every layer are large
        said = answers[condition]
        before, after = _streams(engine, said, watched, sampling.draws)
        along = np.stack([each.unit for each in watched]) if watched else np.zeros((0, engine.hidden_size))
        for place, question in enumerate(questions):
            mine = slice(place * sampling.draws, (place + 1) * sampling.draws)
            projections = np.einsum("wh,wh->w", before[place], along)
            spoken = np.einsum("awh,wh->aw", after[mine], along)
            found.append(Observation(condition, question, tuple(said[mine]), before[place], projections, spoken))
    return found


def _streams(
    engine: Engine, said: Sequence[Answer], watched: Sequence[Watched], draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """The stream at each question's last prompt token, and the mean over each answer, at the watched layers.

    All draws of a question have one prompt, so the first answer's reading gives it.
    """
    layers = [each.layer for each in watched]
    readings = engine.read([each.response for each in said])
    before = readings.last_prompt[::draws][:, layers].astype(np.float64)
    return before, readings.response[:, layers].astype(np.float64)
