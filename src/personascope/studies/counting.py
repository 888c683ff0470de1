"""Counting what a study asks for before it runs, by running it on scripted ports that compute nothing.

Every pair of instructed answers is kept and every trait gets a vector, so the counts are upper bounds: a checkpoint
without a vector asks for less.
"""

from __future__ import annotations

import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from personascope.core.errors import StudyError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Case, Probe, Readings, Request, Response, Verdict
from personascope.core.traits import Prompt, Rubric, Trait
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.judges.openai import OpenAIJudge
from personascope.judges.opening import open_judge
from personascope.providers.costs import Estimate, price_of, sum_of
from personascope.store.store import Store
from personascope.studies.context import Made, RunContext, name_of
from personascope.writers import Writer

_LAYERS, _HIDDEN = 128, 8  # deeper than any model a study names; a few dimensions, so that directions differ
_DRAWN = np.random.default_rng(0).normal(size=(3, 65521, _HIDDEN)).astype(np.float32)
_BY_LAYER = np.arange(1, _LAYERS + 2, dtype=np.float32)[:, None]
_MARK = "\x00against"


@dataclass(eq=False)
class Tally:
    """Everything that was asked for once: distinct requests and cases, as a store would key them."""

    traits: Sequence[Trait] = ()
    """Those whose instructions tell which answers are for the trait and which against it."""
    requests: dict[tuple[object, ...], tuple[int, Request]] = field(default_factory=dict)
    """By engine, text, sampling, draw and edits, numbered as they came."""
    prompts: dict[str, Prompt] = field(default_factory=dict)
    """By rendered text."""
    cases: Counter[tuple[str, Rubric, str, int]] = field(default_factory=Counter)
    """Distinct cases by judge, rubric, question and the most tokens that the answer may have."""
    loads: int = 0
    made: Counter[str] = field(default_factory=Counter)
    judges: dict[str, Judge] = field(default_factory=dict)

    def totals(self) -> dict[str, int]:
        """Responses, verdicts, loads and new tokens, with what else was made."""
        return {
            "responses": len(self.requests),
            "verdicts": self.cases.total(),
            "loads": self.loads,
            "tokens": sum(each.drawn_with.max_tokens for _, each in self.requests.values()),
            **self.made,
        }


def count(
    run: Callable[[RunContext], Iterable[object]], traits: Sequence[Trait], *, inputs: Mapping[str, Any]
) -> Tally:
    """What a study's ``run`` asks for at most. Reads the files it names, opens no model, asks nobody."""
    tally = Tally(traits)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # statistics of made-up answers
        store = Store(Path(folder) / "store")
        context = CountingContext(Path(folder), store, asks_only=True, inputs=inputs, tally=tally)
        for _ in run(context):
            pass
        context.store.close()
    return tally


def costs_of(tally: Tally) -> list[str]:
    """About what each judge's calls will take, at most, in words; says plainly where nobody knows."""
    return list(map(str, estimates_of(tally)))


def estimates_of(tally: Tally) -> list[Estimate | str]:
    """About what each judge's calls will take, at most, if answers are as long as they may be. Asks nobody."""
    found: list[Estimate | str] = []
    for name, judge in tally.judges.items():
        cases = [(key[1:], number) for key, number in tally.cases.items() if key[0] == name]
        if cases and isinstance(judge, OpenAIJudge):
            price = price_of(judge.endpoint.name, judge.model)
            found.append(sum_of(((_body(judge, *case), number) for case, number in cases), price))
        elif cases and judge.waits:
            total = sum(number for _, number in cases)
            found.append(f"{total:,} calls of {name} at most, whose cost is not estimated")
    return found


def _body(judge: OpenAIJudge, rubric: Rubric, question: str, most: int) -> Mapping[str, Any]:
    return judge.bodies([Case(rubric, question, "word" * most)])[0]


@dataclass(frozen=True, eq=False)
class CountingContext(RunContext):
    """A context whose engines, judges and writers count in a tally."""

    tally: Tally = field(default_factory=Tally)

    def open_engine(self, checkpoint: Checkpoint | str) -> Engine:
        return CountingEngine(checkpoint, self.tally)

    def open_judge(self, name: str) -> Judge:
        if name not in self.tally.judges:
            self.tally.judges[name] = open_judge(name, asking=False, open_engine=self.open_engine)
        return CountingJudge(name, self.tally)

    def open_writer(self, name: str) -> Writer:
        raise StudyError(
            f"a study that is only counted asked the writer '{name}' for texts, and there are none: let its kind use "
            "other texts where context.asks_only, or override counts and costs"
        )

    def obtain(
        self,
        what: str,
        *,
        load: Callable[[], Made | None],
        make: Callable[[], Made],
        stand_in: Callable[[], Made],
        called: str = "",
    ) -> Made:
        self.tally.made[what] += 1
        return stand_in()


class CountingEngine:
    """An engine whose answers say which request they are of, and under which kind of instruction."""

    identity: ClassVar[Mapping[str, str]] = {"engine": "counting"}
    last_layer = _LAYERS
    hidden_size = _HIDDEN

    def __init__(self, checkpoint: Checkpoint | str, tally: Tally) -> None:
        self.checkpoint = Checkpoint.at(checkpoint) if isinstance(checkpoint, str) else checkpoint
        self._name, self._tally, self._loaded = name_of(checkpoint), tally, False
        against = {each.negative for trait in tally.traits for each in trait.contrasts}
        self._against = frozenset(against)

    def render(self, prompt: Prompt) -> str:
        text = repr(prompt)
        self._tally.prompts[text] = prompt
        return text

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        self._load()
        return [self._respond(request) for request in requests]

    def _respond(self, request: Request) -> Response:
        edits = tuple(tuple(each.identity.items()) for each in request.edits)
        key = (self._name, request.text, request.sampling, request.draw, edits)
        number, _ = self._tally.requests.setdefault(key, (len(self._tally.requests), request))
        prompt = self._tally.prompts.get(request.text)
        mark = _MARK if prompt is not None and prompt.instruction in self._against else ""
        return Response(request, (0, 1), 1, f"{request.drawn_with.max_tokens} {number}{mark}", "stop", key=str(number))

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        return [each if each.tokens is not None else each.as_spoken((0,), (1,)) for each in responses]

    def read(self, responses: Sequence[Response]) -> Readings:
        """Made-up mean activations: others for another request, span and layer."""
        self._load()
        numbers = [zlib.crc32((each.key or str(each.text)).encode()) % len(_DRAWN[0]) for each in responses]
        response, prompt, last = (drawn[numbers][:, None] * _BY_LAYER for drawn in _DRAWN)
        return Readings(response, prompt, last, np.ones((len(responses), _LAYERS + 1), np.float32))

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        self._load()
        return [np.zeros((len(each.tokens or (0, 1)), len(probes)), np.float32) for each in responses]

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        self._load()
        return [np.full(each.length, -1.0) for each in self.encode(responses)]

    def close(self) -> None:
        self._loaded = False

    def _load(self) -> None:
        self._tally.loads += not self._loaded
        self._loaded = True


class CountingJudge:
    """A judge that gives every answer 100 points, and on its trait 0 where the instruction was against it."""

    waits = False

    def __init__(self, name: str, tally: Tally) -> None:
        self.name, self._tally = name, tally
        self._coherence = {trait.coherence for trait in tally.traits}
        self._seen: set[Case] = set()

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        for case in cases:
            if case not in self._seen:
                self._seen.add(case)
                most = case.answer.partition(" ")[0]
                self._tally.cases[self.name, case.rubric, case.question, int(most) if most.isdigit() else 0] += 1
        return [self._score(case) for case in cases]

    def _score(self, case: Case) -> Verdict:
        if case.rubric.kind == "labels":
            return Verdict("scored")
        against = case.answer.endswith(_MARK) and case.rubric not in self._coherence
        # Every other one against the trait fails, so that keeping pairs and keeping answers give different vectors.
        fails = int(case.answer.rstrip(_MARK).rpartition(" ")[2] or 0) % 2
        return Verdict("scored", 0.0 if against and not fails else 100.0)
