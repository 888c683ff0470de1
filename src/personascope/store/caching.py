"""Ports that remember: an engine, a judge and a writer that ask only what a store does not know.

Owns: :class:`RememberingEngine`, :class:`RememberingJudge` and :class:`RememberingWriter`, and :class:`RecordedEngine`
and :class:`RecordedJudge`, which stand for an engine and a judge that are not there. The one law: they are the same
ports, so no science code can tell whether an answer is new. What is missing is asked for in chunks, and each chunk is
recorded as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from personascope.core.errors import StoreError
from personascope.core.identity import canonical, key_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Case, Probe, Readings, Request, Response, Verdict
from personascope.core.traits import Prompt
from personascope.engines import Engine
from personascope.judges import Judge, scored
from personascope.store.store import Store, chunked
from personascope.writers import Conversation, Unwritten, Writer

_RENDERINGS = 4096
"""How many rendered prompts are held at a time."""

Notice = Callable[[str, int, bool], None]
"""Told of progress: the kind of record, how many, and whether they had to be asked for."""


def silent(kind: str, count: int, fresh: bool) -> None:
    """Tells nobody."""


class RememberingEngine:
    """An engine that asks only what the store does not know: the same port, so nothing else changes."""

    def __init__(self, engine: Engine, store: Store, *, chunk: int = 512, notice: Notice = silent) -> None:
        self.engine = engine
        self.store = store
        self._chunk = chunk
        self._notice = notice
        self._rendered: dict[Prompt, str] = {}
        self._unrecorded: dict[Prompt, str] = {}

    @property
    def checkpoint(self) -> Checkpoint:
        return self.engine.checkpoint

    @property
    def identity(self) -> Mapping[str, str]:
        return self.engine.identity

    @property
    def last_layer(self) -> int:
        return self.engine.last_layer

    @property
    def hidden_size(self) -> int:
        return self.engine.hidden_size

    def close(self) -> None:
        self.engine.close()

    def render(self, prompt: Prompt) -> str:
        """The engine's rendering; it is recorded with the next answers, so that a study can do without the model."""
        if prompt not in self._rendered:
            if len(self._rendered) == _RENDERINGS:  # a dataset of any size is rendered in bounded memory
                self._record_renderings()
                self._rendered.clear()
                self._unrecorded.clear()
            self._rendered[prompt] = self._unrecorded[prompt] = self.engine.render(prompt)
        return self._rendered[prompt]

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        """The same responses with their tokens; the engine is needed only where one has none."""
        return list(responses) if all(each.tokens is not None for each in responses) else self.engine.encode(responses)

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        """One response per request: those recorded from the store, the others asked for and recorded in chunks.

        With ``read`` the readings of the new ones are kept too.
        """
        giver = self._giver()
        keys = [key_of("response", {**giver, "request": request}) for request in requests]
        known = self.store.lookup(keys)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        self._notice("response", len(keys) - len(missing), False)
        self._record_renderings()
        # Prompts that begin alike stand side by side: an engine may compute that once. The order is nobody's concern.
        for some in chunked(sorted(missing.items(), key=lambda item: (item[1].text, item[0])), self._chunk):
            fresh = self.engine.generate([request for _, request in some], read=read)
            if read:
                # Before they are recorded: what is recorded has then been read, whenever the run is cut short, and a
                # vector is made of the same numbers to the bit.
                self.read(fresh)
            provenance = {**giver, "label": self.checkpoint.label}
            known |= self.store.record(
                "response",
                [
                    (key, _response_value(response), {**provenance, "request": canonical(request)})
                    for (key, request), response in zip(some, fresh, strict=True)
                ],
            )
            self._notice("response", len(some), True)
        return [response_from(known[key], request, key) for key, request in zip(keys, requests, strict=True)]

    def read(self, responses: Sequence[Response]) -> Readings:
        """Readings from the disposable folder where they are there, else from the engine, and then kept there."""
        if not responses:
            return Readings.none(self.last_layer + 1, self.hidden_size)
        responses = self.encode(responses)  # what was read is tokens, however they became known
        questions = [dict(zip(("tokens", "response_start"), each.spoken, strict=True)) for each in responses]
        keys = [
            key_of("reading", {**self._giver(), **question, "edits": each.request.edits})
            for question, each in zip(questions, responses, strict=True)
        ]
        known = self.store.readings.lookup(keys)
        missing = {key: each for key, each in zip(keys, responses, strict=True) if key not in known}
        for some in chunked(sorted(missing.items(), key=lambda item: (len(item[1].spoken[0]), item[0])), self._chunk):
            fresh = self.engine.read([response for _, response in some])
            self.store.keep_readings([key for key, _ in some], fresh)
            known |= {key: fresh.row(place) for place, (key, _) in enumerate(some)}
        return Readings.joined([known[key] for key in keys])

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        """Of the engine, every time: what it gives is large, and cheap to have again."""
        return self.engine.project(self.encode(responses), probes) if responses else []

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """Of the engine, every time."""
        return self.engine.likelihoods(self.encode(responses)) if responses else []

    def _record_renderings(self) -> None:
        """Records what was rendered since the last time."""
        if not self._unrecorded or not self.store.writable:
            return
        provenance = {"checkpoint": self.checkpoint, "label": self.checkpoint.label}
        rows = [
            (_rendering_key(self.checkpoint, prompt), {"text": text}, {**provenance, "prompt": canonical(prompt)})
            for prompt, text in self._unrecorded.items()
        ]
        self.store.record("rendering", rows)
        self._unrecorded.clear()

    def _giver(self) -> dict[str, Any]:
        return {"checkpoint": self.checkpoint, "engine": dict(self.identity)}


class RememberingJudge:
    """A judge that is asked each case once. A verdict nobody gave (``"unasked"``) is not remembered."""

    def __init__(self, judge: Judge, store: Store, *, chunk: int = 2048, notice: Notice = silent) -> None:
        self.judge = judge
        self.store = store
        self._chunk = chunk
        self._notice = notice
        self._unasked: set[str] = set()

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def waits(self) -> bool:
        return self.judge.waits

    @property
    def unasked(self) -> int:
        """How many cases nobody has given a verdict on: an endpoint failed, or a budget ended."""
        return len(self._unasked)

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return self.judge.reread(case, verdict)

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case: what was said comes from the store, what it means from the judge's present rule."""
        distinct = dict.fromkeys(cases)
        keys = {case: key_of("verdict", {"judge": self.name, "case": case}) for case in distinct}
        known = {key: verdict_from(value, key) for key, value in self.store.lookup(keys.values()).items()}
        missing = [case for case in distinct if keys[case] not in known]
        self._notice("verdict", len(cases) - len(missing), False)
        for some in chunked(missing, self._chunk):
            fresh = scored(self.judge, some)
            given = [(case, verdict) for case, verdict in zip(some, fresh, strict=True) if verdict.outcome != "unasked"]
            stands = self.store.record(
                "verdict",
                [
                    (keys[case], _verdict_value(verdict), {"judge": self.name, "case": canonical(case)})
                    for case, verdict in given
                ],
            )
            known |= {keys[case]: verdict for case, verdict in zip(some, fresh, strict=True)}
            self._unasked |= {keys[case] for case in some}
            self._unasked -= {keys[case] for case, _ in given}
            known |= {key: verdict_from(value, key) for key, value in stands.items()}
            self._notice("verdict", len(some), True)
        return [self.reread(case, known[keys[case]]) for case in cases]


@dataclass(frozen=True)
class RecordedEngine:
    """An engine that is not there: what was recorded of it, and nothing it could be asked for anew.

    Inside a :class:`RememberingEngine` it gives a finished study again without a model, a tokenizer or a network.
    """

    checkpoint: Checkpoint
    identity: Mapping[str, str]
    last_layer: int
    hidden_size: int
    store: Store

    def render(self, prompt: Prompt) -> str:
        key = _rendering_key(self.checkpoint, prompt)
        found = self.store.lookup([key])
        if key not in found:
            raise self._lacking("the rendering of a prompt")
        text: str = found[key]["text"]
        return text

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        raise self._lacking(f"{len(requests)} responses")

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        raise self._lacking(f"the tokens of {len(responses)} responses")

    def read(self, responses: Sequence[Response]) -> Readings:
        raise self._lacking(f"the readings of {len(responses)} responses")

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        raise self._lacking(f"the tokens' projections of {len(responses)} responses, which no store keeps,")

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        raise self._lacking(f"the tokens' likelihoods of {len(responses)} responses, which no store keeps,")

    def close(self) -> None:
        pass

    def _lacking(self, what: str) -> StoreError:
        return StoreError(
            f"the store {self.store.path} lacks {what} of {self.checkpoint.label}: run the study on it again"
        )


@dataclass(frozen=True)
class RecordedJudge:
    """A judge that is not to be asked: it only reads again what it said."""

    judge: Judge
    store: Store
    waits: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.judge.name

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return self.judge.reread(case, verdict)

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        raise StoreError(f"the store {self.store.path} lacks {len(cases)} verdicts of {self.name}: run the study again")


def _rendering_key(checkpoint: Checkpoint, prompt: Prompt) -> str:
    return key_of("rendering", {"checkpoint": checkpoint, "prompt": prompt})


def _response_value(response: Response) -> dict[str, Any]:
    names = ("tokens", "response_start", "text", "finish")
    return {name: getattr(response, name) for name in names}


def response_from(value: Mapping[str, Any], request: Request, key: str, *, source: str = "") -> Response:
    """The response that a record's value says; ``source`` is where it was published, if it was."""
    tokens = None if value["tokens"] is None else tuple(value["tokens"])
    said = (tokens, value["response_start"], value["text"], value["finish"])
    return Response(request, *said, key=key, source=source)


def _verdict_value(verdict: Verdict) -> dict[str, Any]:
    value: dict[str, Any] = canonical(replace(verdict, key=""))
    return value


def verdict_from(value: Mapping[str, Any], key: str) -> Verdict:
    """The verdict that a record's value says."""
    score = math.nan if value["score"] is None else value["score"]
    distribution = tuple(tuple((token, logprob) for token, logprob in place) for place in value["distribution"])
    said = {**value, "score": score, "labels": tuple(value["labels"]), "distribution": distribution}
    return Verdict(**said, key=key)


class RememberingWriter:
    """A writer that asks only for what the store does not know, in chunks that are recorded as they come."""

    def __init__(self, writer: Writer, store: Store, *, chunk: int = 64, notice: Notice = silent) -> None:
        self.writer = writer
        self.store = store
        self._chunk = chunk
        self._notice = notice

    @property
    def name(self) -> str:
        return self.writer.name

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        """One text per conversation, in order, or why there is none."""
        keys = [key_of("text", {"writer": self.name, "conversation": canonical(each)}) for each in conversations]
        known: dict[str, str | Unwritten] = {key: found["text"] for key, found in self.store.lookup(keys).items()}
        missing = {key: each for key, each in zip(keys, conversations, strict=True) if key not in known}
        self._notice("text", len(keys) - len(missing), False)
        for some in chunked(list(missing.items()), self._chunk):
            texts = dict(zip((key for key, _ in some), self.writer.write([each for _, each in some]), strict=True))
            written = [(key, text) for key, text in texts.items() if not isinstance(text, Unwritten)]
            if written:
                self.store.record("text", [(key, {"text": text}, {"writer": self.name}) for key, text in written])
            known |= texts
            self._notice("text", len(some), True)
        return [known[key] for key in keys]
