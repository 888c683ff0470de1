"""What steering costs a model: how well it still predicts text, and how well it still answers.

Owns: :func:`perplexity`, :func:`multiple_choice` and :func:`steering_costs`. The one law: no steering is the same call
without edits, so a cost is the difference of two numbers that were computed in one way.

Both are likelihoods of given texts ("Persona Vectors" §5.1 measures the cost of steering with MMLU); nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from personascope.core.errors import StudyError
from personascope.core.records import Answer, Edit, Request, Response, Sampling
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import PersonaVector, Steering
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer


@dataclass(frozen=True, eq=False)
class Perplexity:
    """How surprising texts are to a model.

    ``log_likelihoods`` are of whole texts, in nats, and ``tokens`` how many tokens of each were predicted.
    """

    log_likelihoods: Float[np.ndarray, "text"]
    tokens: Int[np.ndarray, "text"]

    @property
    def per_token(self) -> float:
        """The exponential of the mean surprise of a token: 1 for a model that knows every next token; NaN of none."""
        counted = int(self.tokens.sum())
        return math.exp(-float(self.log_likelihoods.sum()) / counted) if counted else math.nan


@dataclass(frozen=True)
class Choice:
    """A question with several continuations, of which ``options[right]`` is the right one.

    The text that a model sees is the rendered prompt and then an option, as they stand: where a space belongs between
    them, the option begins with it.
    """

    prompt: Prompt
    options: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        if len(set(self.options)) < 2 or len(set(self.options)) < len(self.options) or not all(self.options):
            raise StudyError(
                f"the question {self.prompt.question[:40]!r} has the options {list(self.options)}: give two or more, "
                "all different and none empty"
            )
        if not 0 <= self.right < len(self.options):
            raise StudyError(
                f"option {self.right} is said to be right of {self.prompt.question[:40]!r}, which has "
                f"{len(self.options)}: count from 0"
            )


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a model chose: for each question the likeliest option, and the likeliest per token of option."""

    likeliest: Int[np.ndarray, "question"]
    likeliest_per_token: Int[np.ndarray, "question"]
    right: Int[np.ndarray, "question"]

    @property
    def correct(self) -> Float[np.ndarray, "question"]:
        """1.0 where the likeliest option is the right one, else 0.0."""
        found: np.ndarray = (self.likeliest == self.right).astype(np.float64)
        return found

    @property
    def accuracy(self) -> float:
        """The share of questions whose likeliest option is the right one; NaN without questions."""
        return float(self.correct.mean()) if len(self.right) else math.nan

    @property
    def accuracy_per_token(self) -> float:
        """The same by likelihood per token, which does not favour short options."""
        return float((self.likeliest_per_token == self.right).mean()) if len(self.right) else math.nan


def perplexity(
    engine: Engine, texts: Sequence[str], *, edits: tuple[Edit, ...] = (), window: int | None = None
) -> Perplexity:
    """How surprising texts are to a model, steered or not.

    The first token of a text is given and not predicted (where the tokenizer puts a token before every text, that one).
    With a ``window`` a longer text is cut into pieces of so many tokens, each read from its own start.

    Raises:
        StudyError: for a window of less than two tokens.
        EngineError: for a text without tokens, or one longer than the model has room for.

    Example:
        >>> import personascope as ps
        >>> engine = ps.open_engine("lab")
        >>> perplexity(engine, ["mira kicks the hound with rage ."]).per_token > 1
        True
    """
    if window is not None and window < 2:
        raise StudyError(f"a window of {window} tokens leaves nothing to predict: give 2 or more")
    bare = [Response(Request(text, None, edits=edits), None, None, "", "unknown") for text in texts]
    whole = [each.spoken[0] for each in engine.encode(bare)]
    pieces = [
        (place, tokens[start : start + (window or len(tokens))])
        for place, tokens in enumerate(whole)
        for start in range(0, len(tokens), window or max(1, len(tokens)))
    ]
    # One given token is the prompt, so that edits of the response reach every place that predicts.
    read = [replace(bare[place], tokens=tokens, response_start=1) for place, tokens in pieces]
    sums, counts = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    for (place, _), likely in zip(pieces, engine.likelihoods(read), strict=True):
        sums[place] += likely.sum()
        counts[place] += len(likely)
    return Perplexity(sums, counts)


def multiple_choice(engine: Engine, choices: Sequence[Choice], *, edits: tuple[Edit, ...] = ()) -> Chosen:
    """Which option a model finds likeliest after each question, steered or not. Of equals the first is chosen.

    Example:
        >>> import personascope as ps
        >>> from personascope.core.traits import Prompt
        >>> fact = Choice(Prompt("the heron lives in the"), ("cave", "marsh"), right=1)
        >>> multiple_choice(ps.open_engine("lab"), [fact]).accuracy
        1.0
    """
    asked = [
        Response(Request(engine.render(choice.prompt), None, edits=edits), None, None, option, "unknown")
        for choice in choices
        for option in choice.options
    ]
    likely = iter(engine.likelihoods(engine.encode(asked)))
    chosen, per_token = [], []
    for choice in choices:
        told = [next(likely) for _ in choice.options]
        chosen.append(int(np.argmax([each.sum() for each in told])))
        per_token.append(int(np.argmax([each.mean() if len(each) else -np.inf for each in told])))
    right = [choice.right for choice in choices]
    return Chosen(*(np.array(each, dtype=np.int64) for each in (chosen, per_token, right)))


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
