"""What is asked and what comes back: every stop of the data's way, as a frozen value.

Owns: sampling, requests, responses, readings, cases, verdicts, answers, pairs and the bar they clear.
The one law: a value says all that its question depended on, and absence is a value with a reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from personascope.core.edits import Edit as Edit
from personascope.core.edits import Probe as Probe
from personascope.core.edits import Where as Where
from personascope.core.errors import EngineError, StudyError
from personascope.core.identity import annotation
from personascope.core.traits import Rubric

Span = Literal["response", "prompt", "last_prompt"]
Outcome = Literal["scored", "refused", "unreadable", "unasked"]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn.

    ``temperature`` 0 is greedy. ``draws`` is how many responses each prompt gets; it is annotation, because the
    third draw is the same whether five or ten were asked for. Defaults: tracing study §1.3.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_tokens: int = 64
    temperature: float = 0.5
    top_p: float = 1.0
    repetition_penalty: float = 1.1
    seed: int = 0
    draws: int = annotation(3)

    def __post_init__(self) -> None:
        for name in ("max_tokens", "seed", "draws"):  # 1 and 1.0 are one question, with one key
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("temperature", "top_p", "repetition_penalty"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.max_tokens < 1 or self.draws < 1:
            raise StudyError(f"max_tokens {self.max_tokens} and draws {self.draws} must each be 1 or more")
        finite = math.isfinite(self.temperature) and math.isfinite(self.repetition_penalty)
        # A temperature this close to 0 divides logits past the largest number there is.
        near_zero = 0 < self.temperature < 1e-3
        if not finite or near_zero or self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise StudyError(
                f"temperature {self.temperature} must be 0 (greedy) or at least 0.001, top_p {self.top_p} in (0, 1], "
                f"and repetition_penalty {self.repetition_penalty} above 0"
            )


@dataclass(frozen=True, eq=False)
class Request:
    """What one response depends on, beside the engine that gives it: the key of a response.

    ``sampling`` is ``None`` for a response that others drew in a way they did not publish: it can be read, and not be
    asked for again.
    """

    text: str
    sampling: Sampling | None
    draw: int = 0
    edits: tuple[Edit, ...] = ()

    @property
    def drawn_with(self) -> Sampling:
        """``sampling``; an :class:`EngineError` where it is not known."""
        if self.sampling is None:
            raise EngineError(
                f"an answer was asked to {self.text[:40]!r}, and how it is to be drawn is not known: give a sampling"
            )
        return self.sampling


@dataclass(frozen=True, eq=False)
class Response:
    """What a model said: every token of prompt and response, and the count at which the response starts.

    ``tokens`` holds no end-of-text token; ``finish`` says whether the model ended (``"stop"``) or ran out of
    tokens (``"length"``). An empty response has ``len(tokens) == response_start``.

    Of a response that others published (``source`` says where) less is known: ``tokens`` and ``response_start`` are
    ``None`` where only its text is, until an engine encodes it; ``text`` is ``None`` too where it was not published.
    """

    request: Request
    tokens: tuple[int, ...] | None
    response_start: int | None
    text: str | None
    finish: Literal["stop", "length", "unknown"]
    key: str = annotation("")
    source: str = annotation("")

    @property
    def spoken(self) -> tuple[tuple[int, ...], int]:
        """``tokens`` and ``response_start``; an :class:`EngineError` where they are not known."""
        if self.tokens is None or self.response_start is None:
            raise EngineError(
                f"the tokens of {self.source or 'a response'} were asked for, and only its text is known: "
                "let an engine of its checkpoint encode it"
            )
        return self.tokens, self.response_start

    def as_spoken(self, prompt: tuple[int, ...], answer: tuple[int, ...]) -> Response:
        """The same response with its tokens, which an engine knows."""
        return replace(self, tokens=prompt + answer, response_start=len(prompt))

    @property
    def words(self) -> str:
        """``text``; an :class:`EngineError` that names the source where it was not published."""
        if self.text is None:
            raise EngineError(
                f"the text of {self.source or 'a response'} was asked for, which was not published: only its verdicts "
                "are known; choose a file with an answer column"
            )
        return self.text

    @property
    def length(self) -> int:
        """How many tokens the response has; an error where only its text is known."""
        tokens, start = self.spoken
        return len(tokens) - start

    @property
    def empty(self) -> bool:
        """Whether nothing was said. A response whose words are not known counts as said: it was judged."""
        return self.text == "" if self.tokens is None else self.length == 0


@dataclass(frozen=True, eq=False)
class Readings:
    """Mean activations of responses, one row per response and layer 0 to the last.

    ``response``, ``prompt`` and ``last_prompt`` are means over the response tokens, the prompt tokens and the
    last prompt token; ``norms`` is the mean L2 norm of the residual stream over the response tokens. An empty
    response reads NaN in ``response`` and ``norms``. Disposable: the same model gives them again.
    """

    response: Float[np.ndarray, "response layer hidden"]
    prompt: Float[np.ndarray, "response layer hidden"]
    last_prompt: Float[np.ndarray, "response layer hidden"]
    norms: Float[np.ndarray, "response layer"]

    def __len__(self) -> int:
        return len(self.norms)

    def span(self, span: Span) -> Float[np.ndarray, "response layer hidden"]:
        """The means over one span."""
        array: np.ndarray = getattr(self, span)
        return array

    def row(self, place: int) -> Readings:
        """The readings of one response, still with a leading dimension."""
        one = slice(place, place + 1)
        return Readings(self.response[one], self.prompt[one], self.last_prompt[one], self.norms[one])

    @classmethod
    def none(cls, layers: int, hidden: int) -> Readings:
        """The readings of no response."""
        means = np.zeros((0, layers, hidden), np.float32)
        return cls(means, means, means, np.zeros((0, layers), np.float32))

    @classmethod
    def joined(cls, parts: list[Readings]) -> Readings:
        """Several readings one after another, at least one."""
        names = ("response", "prompt", "last_prompt", "norms")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Case:
    """What a judge sees: a rubric, a question and an answer. Never the instruction, the model or the arm."""

    rubric: Rubric
    question: str
    answer: str


@dataclass(frozen=True)
class Verdict:
    """What a judge said, and what it means.

    For a rubric of kind ``"score"``, ``score`` is 0 to 100 if it was ``"scored"``, else NaN, and ``reason`` says why;
    for ``"labels"`` the answer is ``labels``. ``"unasked"`` is a verdict nobody gave, never remembered. ``text`` and
    ``distribution`` (per token position, the top tokens with their log-probabilities) are what was said: a changed
    rule for reading them costs no new question.
    """

    outcome: Outcome
    score: float = math.nan
    labels: tuple[str, ...] = ()
    reason: str = ""
    text: str = ""
    distribution: tuple[tuple[tuple[str, float], ...], ...] = ()
    key: str = annotation("")


UNASKED = Verdict("unasked", reason="no judge was asked")


@dataclass(frozen=True, eq=False)
class Answer:
    """A response to a question, with what the judge made of it."""

    question: str
    draw: int
    response: Response
    trait: Verdict = UNASKED
    coherence: Verdict = UNASKED


@dataclass(frozen=True, eq=False)
class Pair:
    """A positive and a negative answer to the same question, contrast and draw."""

    positive: Answer
    negative: Answer


@dataclass(frozen=True)
class Bar:
    """What a pair must clear, in score points: tracing study §1.5.

    The positive answer scores at least ``trait``, the negative below ``100 - trait``, and both are at least
    ``coherence`` coherent. A verdict without a score clears no bar. ``Bar(None, None)`` keeps every pair.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: float | None = 50.0
    coherence: float | None = 50.0

    def __post_init__(self) -> None:
        for name in ("trait", "coherence"):
            points = getattr(self, name)
            if points is not None and not 0 <= points <= 100:
                raise StudyError(f"a bar of {name} {points} is no score: give 0 to 100 points, or none")

    def fault(self, pair: Pair) -> str:
        """Why a pair does not clear the bar, in the order the bar is applied; empty if it does."""
        if pair.positive.response.empty or pair.negative.response.empty:
            return "empty"
        asked = [each.trait for each in (pair.positive, pair.negative) if self.trait is not None]
        asked += [each.coherence for each in (pair.positive, pair.negative) if self.coherence is not None]
        if any(verdict.outcome == "unasked" for verdict in asked):
            return "unasked"
        if self.trait is not None:
            scores = (pair.positive.trait.score, pair.negative.trait.score)
            if any(map(math.isnan, scores)):
                return "unscored"
            if scores[0] < self.trait:
                return "positive_too_low"
            if scores[1] >= 100 - self.trait:
                return "negative_too_high"
        if self.coherence is not None:
            scores = (pair.positive.coherence.score, pair.negative.coherence.score)
            if any(map(math.isnan, scores)):
                return "unscored"
            if min(scores) < self.coherence:
                return "incoherent"
        return ""
