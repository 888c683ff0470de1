"""What steering costs a model: how well it still predicts text, and how well it still answers.

No steering is the same call without edits, so a cost is the difference of two numbers that were computed in one way.
("Persona Vectors" §5.1 measures the cost of steering with MMLU.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personascope.core.records import Answer, Edit, Sampling
from personascope.core.steering import Steering
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.eval_data import Choice, Chosen, Perplexity, multiple_choice, perplexity
from personascope.tracing.generation import Arm, answer


@dataclass(frozen=True)
class Yardsticks:
    """What capability is measured by: texts, questions with a right answer, and how answers are drawn."""

    texts: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    sampling: Sampling = Sampling()
    window: int | None = None


@dataclass(frozen=True, eq=False)
class Cost:
    """One way to steer, or none: the answers to the trait's evaluation questions, and what was measured beside them.

    ``origin`` is that of the vector steered along (a control included), ``"plain"`` where ``steering`` is None.
    """

    trait: str
    origin: str
    steering: Steering | None
    edits: tuple[Edit, ...]
    answers: tuple[Answer, ...]
    perplexity: Perplexity
    chosen: Chosen


def steering_costs(
    engine: Engine,
    trait: Trait,
    vectors: Sequence[PersonaVector],
    *,
    ways: Sequence[Steering],
    judge: Judge | None,
    yardsticks: Yardsticks,
) -> list[Cost]:
    """What each way of steering gains and costs, the unsteered model first.

    The first of ``vectors`` is steered along; the others are controls, which stand in its place at its applied norm.
    Texts and questions are read first, for what is wrong with them costs nothing then; all answers are drawn in one
    batch. A way of strength 0 is the unsteered model again, and is left out.
    """
    steered = [
        (vector.origin, way, way.along(vectors[0], control=vector))
        for way in ways
        if way.strength != 0
        for vector in vectors
    ]
    arms: list[tuple[str, Steering | None, tuple[Edit, ...]]] = [("plain", None, ()), *steered]
    measured = [
        (
            perplexity(engine, yardsticks.texts, edits=edits, window=yardsticks.window),
            multiple_choice(engine, yardsticks.choices, edits=edits),
        )
        for _, _, edits in arms
    ]
    prompts = tuple(Prompt(question) for question in trait.questions("evaluation"))
    answers = answer(
        {place: Arm(engine, trait, prompts, yardsticks.sampling, edits) for place, (_, _, edits) in enumerate(arms)},
        judge=judge,
    )
    return [Cost(trait.name, *arm, tuple(answers[place]), *measured[place]) for place, arm in enumerate(arms)]
