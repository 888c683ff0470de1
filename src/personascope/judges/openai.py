"""A judge behind any endpoint that speaks the OpenAI protocol.

Owns: :class:`OpenAIJudge` and :class:`Asking`. The one law: what a model said is a verdict, whatever it said, and what
nobody said never is: a case without an answer comes back ``"unasked"`` with the cause, and must not be remembered.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from personascope.core.errors import JudgeError
from personascope.core.records import Case, Verdict
from personascope.judges.readout import (
    OF_THE_CALL,
    Distribution,
    Mode,
    Rule,
    distribution_of,
    read,
    reread,
    splits_numbers,
)
from personascope.providers.client import Asked, BudgetGuard, RateLimiter, Reply, ask_all
from personascope.providers.endpoints import Endpoint, Failure, Retry, made_safe, open_endpoint
from personascope.providers.profiles import profile_of


@dataclass(frozen=True)
class Asking:
    """The settings that change what is said, and so are part of the judge's name.

    ``top_logprobs`` 0 asks for no probabilities. Rubrics with labels get ``label_tokens`` and no probabilities.
    Temperature 0, seed 0, one token and the top 20 are the published judge's (tracing study §1.4). It also saw no more
    than the first 2,000 characters of an answer: ``longest_answer`` is that, and ``None`` shows the whole answer.
    ``draw`` changes nothing that is sent: it makes another question of the same one, to ask it again.
    """

    max_tokens: int = 1
    top_logprobs: int = 20
    label_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    longest_answer: int | None = None
    draw: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.label_tokens < 1 or not 0 <= self.top_logprobs <= 20:
            raise JudgeError(f"{self} cannot be asked: allow 1 token or more, and top_logprobs from 0 to 20")
        if self.draw < 0 or (self.longest_answer is not None and self.longest_answer < 1):
            raise JudgeError(f"{self} cannot be asked: show 1 character of an answer or more, and count draws from 0")
        if not 0 <= self.temperature <= 2:
            raise JudgeError(f"{self} cannot be asked: give a temperature from 0 to 2")


# A leading space, three digits and the end are five positions. Plain text leaves room for "Score: 85/100".
_ASKING: dict[Mode, Asking] = {
    "expectation": Asking(),
    "digits": Asking(max_tokens=5),
    "text": Asking(max_tokens=16, top_logprobs=0),
}


_PROBE = 20  # how many answers show whether a readout suits a judge, so that no more are asked for in vain


class OpenAIJudge:
    """Asks a model for a score (or labels), one user message per case, many at a time.

    What asks again, and what does not. The name, which is part of every verdict's key, holds the endpoint's name, the
    model and :class:`Asking`: change one and every case is a new question. ``readout``, ``floor``, ``concurrency`` and
    ``retry`` are not in it: they change how the same words are read, or how they are had. Each readout has an
    ``Asking`` of its own, so choosing another one asks again, unless you give the ``asking`` that was used before:
    with ``readout="expectation", asking=Asking(max_tokens=5)`` a judge rereads what a ``"digits"`` judge heard. Where
    no ``readout`` is given it is the one that suits the model (:mod:`personascope.providers.profiles`).

    What becomes of failures. Passing faults (no connection, time-out, 408, 409, 425, 429, 5xx, a body that is no
    answer) are retried. A case that still has no answer, or that the endpoint rejects (400, 403, 413, 422), is a
    verdict ``"unasked"`` that gives the cause. A fault that would meet every case (the key, the model, a setting,
    nobody at the address, 20 fruitless cases in a row) stops the asking: a :class:`JudgeError` if the call brought no
    answer at all, else the answers, with the rest ``"unasked"``. So raising never loses an answer.

    Raises:
        JudgeError: at once, if the endpoint is unknown, its key is not set, or a setting is impossible.
    """

    def __init__(
        self,
        model: str,
        *,
        endpoint: str | Endpoint = "openai",
        readout: Mode | None = None,
        asking: Asking | None = None,
        floor: float = 0.25,
        concurrency: int = 32,
        retry: Retry | None = None,
    ) -> None:
        if not model.strip() or concurrency < 1:
            raise JudgeError(
                f"a judge needs a model's name and a concurrency of 1 or more, not '{model}', {concurrency}"
            )
        self.model = model
        self.endpoint = endpoint if isinstance(endpoint, Endpoint) else open_endpoint(endpoint)
        self.profile = profile_of(self.endpoint.name, model)
        mode = Rule(readout or self.profile.readout).mode
        self.asking = asking or _ASKING[mode]
        self.rule = Rule(mode, floor, self.asking.max_tokens)
        if mode != "text" and not self.asking.top_logprobs:
            raise JudgeError(f"readout '{mode}' needs probabilities: ask for top_logprobs, or choose readout 'text'")
        if mode != "text" and not self.profile.top_logprobs:
            raise JudgeError(f"{model} at {self.endpoint.name} gives no log-probabilities: choose readout 'text'")
        self._fits = False
        self._concurrency = concurrency
        self._limiter = RateLimiter(4.0 * concurrency)
        self._retry = retry or Retry()
        self._meter: BudgetGuard | None = None

    @property
    def name(self) -> str:
        """Endpoint, model and every setting that changes what is said. ``text=1`` is how text is made safe."""
        asking, profile = self.asking, self.profile
        top = min(asking.top_logprobs, profile.top_logprobs)
        temperature = f"{asking.temperature:g}" if profile.temperature else "none"
        answer = f" longest_answer={asking.longest_answer}" if asking.longest_answer is not None else ""
        draw = f" draw={asking.draw}" if asking.draw else ""
        return (
            f"{self.endpoint.name}/{self.model} max_tokens={asking.max_tokens} top_logprobs={top} "
            f"label_tokens={asking.label_tokens} temperature={temperature} "
            f"seed={asking.seed if profile.seed else 'none'} text=1{profile.told}{answer}{draw}"
        )

    waits = True

    def metered(self, meter: BudgetGuard) -> OpenAIJudge:
        """The same judge with its calls counted, and stopped where the meter has no budget left.

        What is left then comes back ``"unasked"`` with the cause.
        """
        judge = copy.copy(self)
        judge._meter = meter
        return judge

    def redrawn(self, draw: int) -> OpenAIJudge:
        """The same judge to be asked once more: every case is a new question to it, sent in the same words."""
        judge = copy.copy(self)
        judge.asking = replace(self.asking, draw=draw)
        return judge

    def bodies(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """What would be sent for each different case."""
        return [self._body(case) for case in dict.fromkeys(cases)]

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case, in order; equal cases are asked once.

        Works in a notebook, where a loop is running already: the calls then run in a thread of their own.

        Raises:
            JudgeError: if a key is missing, nothing could be had from the endpoint, or this readout cannot read it.
        """
        if not cases:
            return []
        self.endpoint.require_key()
        distinct = list(dict.fromkeys(cases))
        first: list[Distribution] = []

        def useless(case: Case, reply: Reply) -> str:
            if not self._fits:
                first.append(distribution_of(reply.logprobs))
                self._fits = len(first) >= _PROBE
                if self._fits:
                    self._check_numbers(first)
            return self._useless(case, reply)

        asked = ask_all(
            self.endpoint,
            {case: self._body(case) for case in distinct},
            concurrency=self._concurrency,
            retry=self._retry,
            useless=useless,
            meter=self._meter,
            limiter=self._limiter,
        )
        self._check(asked)
        if not self._fits:
            self._check_numbers(first)
        verdicts = {case: self._verdict(case, outcome) for case, outcome in asked.outcomes.items()}
        return [verdicts[case] for case in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        """The same words under the present readout and floor: asks nobody."""
        return reread(self.rule, case.rubric, verdict)

    def _body(self, case: Case) -> dict[str, Any]:
        """What is sent for a case: the filled rubric as one user message, as the provider takes it."""
        scored = case.rubric.kind == "score"
        shown = case.rubric.filled(case.question, case.answer[: self.asking.longest_answer])
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": made_safe(shown)}],
            "max_tokens": self.asking.max_tokens if scored else self.asking.label_tokens,
            "temperature": self.asking.temperature,
            "seed": self.asking.seed,
        }
        if scored and self.asking.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": self.asking.top_logprobs}
        return self.profile.shaped(body)

    def _reads_text(self, case: Case) -> bool:
        return self.rule.mode == "text" or case.rubric.kind == "labels"

    def _useless(self, case: Case, reply: Reply) -> str:
        """Why a reply shows that the settings do not suit the endpoint; empty if it does not."""
        if reply.withheld:
            return ""
        if self._reads_text(case):
            return "" if reply.text.strip() else "the answer is empty: a model that thinks first needs more max_tokens"
        return "" if distribution_of(reply.logprobs) else "the answer has no log-probabilities: choose readout 'text'"

    def _verdict(self, case: Case, outcome: Reply | Failure) -> Verdict:
        if isinstance(outcome, Failure):
            cause = "" if outcome.kind == "budget" else f"{OF_THE_CALL}gave no answer: "
            return Verdict("unasked", reason=f"{cause}{outcome.reason}")
        text, distribution = outcome.text, distribution_of(outcome.logprobs)
        if outcome.withheld:
            reason = f"{OF_THE_CALL}withheld the answer: {outcome.withheld}"
            return Verdict("refused", reason=reason, text=text, distribution=distribution)
        if outcome.cut and self._reads_text(case):
            reason = f"{OF_THE_CALL}cut the answer: allow more tokens (Asking)"
            return Verdict("unreadable", reason=reason, text=text, distribution=distribution)
        return read(self.rule, case.rubric, text, distribution)

    def _check(self, asked: Asked[Case]) -> None:
        """Raises what concerns the endpoint as a whole, if no useful answer is lost by it."""
        judge = f"judge {self.model} at {self.endpoint.name}"
        outcomes: Mapping[Case, Reply | Failure] = asked.outcomes
        if any(isinstance(each, Failure) and each.kind == "budget" for each in outcomes.values()):
            return  # the endpoint is not to blame
        faults = {case: self._useless(case, each) for case, each in outcomes.items() if isinstance(each, Reply)}
        bare = [fault for case, fault in faults.items() if fault and not self._reads_text(case)]
        if not asked.fruitful and bare:
            raise JudgeError(f"{judge}: {bare[0]}")
        if not asked.fruitful and asked.stopped:
            key = f"the key ({self.endpoint.key_variable or 'Endpoint.key'})"
            raise JudgeError(
                f"{judge}: {asked.stopped}: check {key}, the model's name and the address {self.endpoint.base_url}"
            )

    def _check_numbers(self, said: Sequence[Distribution]) -> None:
        if self.rule.mode == "expectation" and splits_numbers(said):
            raise JudgeError(
                f"judge {self.model} at {self.endpoint.name}: no number of two digits is ever one token, so 85 would "
                "read as 8: choose 'digits'"
            )
