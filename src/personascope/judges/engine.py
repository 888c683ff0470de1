"""A judge that is a model on this machine: what an engine says is what is read.

Owns: :class:`EngineJudge` and :class:`Speaking`. The one law: it speaks through the Engine protocol alone, so any
engine can judge, and a remembering one asks nothing twice.

An engine gives words and no probabilities. For the readout ``expectation`` a model is therefore asked several times,
and the share of draws that said a number stands for its probability: the mean over 20 draws has a standard error of
0.22 of the spread of what the model says. A number is read whole, however the tokenizer splits it.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personascope.core.errors import EngineError, JudgeError
from personascope.core.records import Case, Request, Response, Sampling, Verdict
from personascope.core.traits import Prompt
from personascope.engines import Engine
from personascope.judges.readout import OF_THE_ENGINE, Distribution, Mode, Rule, plain_number, read, reread
from personascope.providers.endpoints import made_safe

_Requests = Mapping[Case, Sequence[Request]]


@dataclass(frozen=True)
class Speaking:
    """The settings that change what is said, and so are part of the judge's name.

    ``draws`` answers of at most ``max_tokens`` at ``temperature`` make a score; the readout ``text`` and rubrics with
    labels (``label_tokens``) take one greedy answer. ``longest_answer`` is how many characters of an answer are shown
    (``None``: all). Another ``draw`` draws other answers.
    """

    draws: int = 20
    max_tokens: int = 8
    label_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0
    longest_answer: int | None = None
    draw: int = 0

    def __post_init__(self) -> None:
        if min(self.draws, self.max_tokens, self.label_tokens) < 1 or self.draw < 0 or not 0 < self.temperature <= 2:
            raise JudgeError(f"{self} cannot be asked: give 1 draw and 1 token or more, and a temperature up to 2")
        if self.longest_answer is not None and self.longest_answer < 1:
            raise JudgeError(f"{self} cannot be asked: show 1 character of an answer or more")


class EngineJudge:
    """Asks a local model for a score (or labels), one user message per case. It should follow instructions.

    Raises:
        JudgeError: at once, for the readout ``digits``, which is about tokens.
    """

    def __init__(
        self, engine: Engine, *, readout: Mode = "expectation", speaking: Speaking | None = None, floor: float = 0.25
    ) -> None:
        if readout == "digits":
            raise JudgeError(
                "an engine's numbers are read whole, however its tokenizer splits them: leave 'digits' out"
            )
        self.engine = engine
        self.rule = Rule(readout, floor)
        self.speaking = speaking or Speaking()

    @property
    def name(self) -> str:
        """Checkpoint, engine and every setting that changes what is said. ``text=1`` is how text is made safe."""
        checkpoint, speaking = self.engine.checkpoint, self.speaking
        weights = f"{checkpoint.model}@{checkpoint.revision}" + (
            f"+{checkpoint.adapter_revision}" if checkpoint.adapter_revision else ""
        )
        told = " ".join(f"{name}={value}" for name, value in sorted(self.engine.identity.items()))
        drawn = f"draws={speaking.draws} temperature={speaking.temperature:g}" if self._draws else "greedy"
        answer = f" longest_answer={speaking.longest_answer}" if speaking.longest_answer is not None else ""
        again = f" draw={speaking.draw}" if speaking.draw else ""
        return (
            f"engine/{weights} {told} {drawn} max_tokens={speaking.max_tokens} label_tokens={speaking.label_tokens} "
            f"seed={speaking.seed} text=1{answer}{again}"
        )

    waits = False  # what it would overlap with is an engine on this machine, too

    def redrawn(self, draw: int) -> EngineJudge:
        """The same judge to be asked once more, with other random numbers. Greedy answers stay as they are."""
        judge = copy.copy(self)
        judge.speaking = replace(self.speaking, draw=draw)
        return judge

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case, in order; equal cases are asked once, and all in one batch.

        Raises:
            EngineError: if the engine takes none of them. One that it does not take (it is too long, say) among others
                is ``"unasked"`` with the cause.
        """
        if not cases:
            return []
        said, refused = self._said({case: self._requests(case) for case in dict.fromkeys(cases)})
        if not said:
            raise next(iter(refused.values()))
        unasked = {case: Verdict("unasked", reason=str(problem)) for case, problem in refused.items()}
        verdicts = {case: self._verdict(case, responses) for case, responses in said.items()} | unasked
        return [verdicts[case] for case in cases]

    def _said(self, requests: _Requests) -> tuple[dict[Case, list[Response]], dict[Case, EngineError]]:
        """What the engine says to each case, and the error of each that it does not take, found by halving."""
        try:
            flat = iter(self.engine.generate([request for some in requests.values() for request in some]))
            return {case: [next(flat) for _ in some] for case, some in requests.items()}, {}
        except EngineError as problem:
            if len(requests) == 1:
                return {}, dict.fromkeys(requests, problem)
        items, half = list(requests.items()), len(requests) // 2
        (said, refused), (more, others) = (self._said(dict(some)) for some in (items[:half], items[half:]))
        return said | more, refused | others

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        """The same words under the present readout and floor: asks nobody."""
        return reread(self.rule, case.rubric, verdict)

    @property
    def _draws(self) -> bool:
        return self.rule.mode == "expectation"

    def _requests(self, case: Case) -> list[Request]:
        speaking = self.speaking
        shown = case.rubric.filled(case.question, case.answer[: speaking.longest_answer])
        text = self.engine.render(Prompt(made_safe(shown)))
        labels = case.rubric.kind == "labels"
        if labels or not self._draws:
            tokens = speaking.label_tokens if labels else speaking.max_tokens
            return [Request(text, Sampling(tokens, temperature=0.0, repetition_penalty=1.0, seed=speaking.seed))]
        sampling = Sampling(speaking.max_tokens, speaking.temperature, repetition_penalty=1.0, seed=speaking.seed)
        first = speaking.draw * speaking.draws
        return [Request(text, sampling, draw) for draw in range(first, first + speaking.draws)]

    def _verdict(self, case: Case, responses: Sequence[Response]) -> Verdict:
        if case.rubric.kind == "score" and self._draws:
            distribution = shares(responses)
            return read(self.rule, case.rubric, distribution[0][0][0], distribution)
        text = made_safe(responses[0].words)
        if responses[0].finish == "length":
            return Verdict("unreadable", reason=f"{OF_THE_ENGINE}cut the answer: allow more tokens", text=text)
        return read(self.rule, case.rubric, text, ())


def shares(responses: Sequence[Response]) -> Distribution:
    """One position, whose tokens are the answers with the logarithms of their shares, the commonest first.

    An answer with one whole number in it is that number; a number at the very end of an answer that was cut is none,
    because it may go on.
    """
    counted = Counter(_gist(response) for response in responses)
    return (tuple((answer, math.log(count / len(responses))) for answer, count in counted.most_common()),)


def _gist(response: Response) -> str:
    text = made_safe(response.words)
    number = plain_number(text)
    unfinished = response.finish == "length" and text.rstrip(".")[-1:].isdigit()
    if number is None or unfinished or number != int(number):
        return text if not unfinished else f"{text}\u2026"
    return str(int(number))
