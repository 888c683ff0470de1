"""What training samples would teach: where their answers lie along persona vectors, before anything is trained.

The method ("Persona Vectors" §6.1, appendix I): the mean residual stream over the tokens of a training answer,
projected on the unit vector at a layer, minus the same of what the model itself answers to the same prompt (the
projection difference), or minus the projection of the last prompt token, which needs no answer. Samples stream: a chunk
is held, whatever the dataset's size, and a sample's figures do not depend on which others it came with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from personascope.core.errors import LayerError, StudyError, VectorError, check_layer
from personascope.core.records import Case, Probe, Request, Response, Sampling
from personascope.core.samples import Sample, following
from personascope.core.traits import Prompt, Rubric, load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge

Against = Literal["own", "last-prompt", "nothing"]
"""What is taken off a training answer's projection: the model's own answer's, the last prompt token's, or nothing."""

Turn = Literal["first", "last"]

CHUNK = 128


@dataclass(frozen=True, eq=False)
class Gauge:
    """A vector at one layer, as samples are measured along it. ``rubric`` is what a judge is given, if one is asked."""

    name: str
    probe: Probe
    rubric: Rubric | None = None

    @classmethod
    def of(cls, vector: PersonaVector, layer: int, *, name: str = "", rubric: Rubric | None = None) -> Gauge:
        """The unit direction of a vector at a layer.

        Raises:
            LayerError: if the vector has no such layer.
            VectorError: if it has no length there.
        """
        return cls(name or vector.trait, Probe(vector.unit(layer), layer), rubric)


def gauges_of(vectors: Sequence[PersonaVector], layers: Sequence[int], *, judged: bool = False) -> tuple[Gauge, ...]:
    """A gauge for each vector at its layer; one layer serves them all.

    Two of one trait are told apart by their layers, or else by number. With ``judged`` each gets its trait's rubric.

    Raises:
        LayerError: for as many layers as fit neither one nor every vector.
        TraitError: if a rubric is needed and the vector's trait is not known in its form.
    """
    if len(layers) not in (1, len(vectors)):
        raise LayerError(f"{len(layers)} layers were given for {len(vectors)} vectors: give one, or one for each")
    if not vectors:
        raise VectorError("no vector was given to screen with: give at least one")
    chosen = [layers[0]] * len(vectors) if len(layers) == 1 else list(layers)
    names = [vector.trait for vector in vectors]
    if max(Counter(names).values()) > 1:
        names = [f"{name}_layer{layer}" for name, layer in zip(names, chosen, strict=True)]
    if max(Counter(names).values()) > 1:
        names = [f"{name}_{place}" for place, name in enumerate(names, 1)]
    rubrics: list[Rubric | None] = [
        load_trait(vector.trait, form=vector.form).rubric if judged else None for vector in vectors
    ]
    return tuple(
        Gauge.of(vector, layer, name=name, rubric=rubric)
        for vector, layer, name, rubric in zip(vectors, chosen, names, rubrics, strict=True)
    )


@dataclass(frozen=True)
class Measure:
    """How samples are measured.

    ``turn`` is which answer of a longer conversation: the ``"first"``, as the paper takes it of real chats (appendix
    L.1), or the ``"last"`` with all that was said before it. ``sampling`` draws the model's own answers: greedy, as
    there. A sample of more than ``longest`` tokens, its own answer's room included, is left unmeasured.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    against: Against = "own"
    turn: Turn = "first"
    sampling: Sampling = Sampling(max_tokens=256, temperature=0.0, repetition_penalty=1.0, draws=1)
    longest: int = 2048

    def __post_init__(self) -> None:
        if self.longest < 2:
            raise StudyError(f"longest {self.longest} leaves no room for a prompt and an answer: give 2 tokens or more")
        if self.sampling.draws != 1:
            raise StudyError(f"{self.sampling.draws} draws of the model's own answer were asked for: one is compared")


@dataclass(frozen=True, eq=False)
class Screened:
    """What was measured of one sample; every array has a place for each gauge, in units of the residual stream.

    ``projection`` is that of the training answer, ``last_prompt`` that of the last prompt token, ``own`` that of the
    model's own answer; ``judged`` is the judge's score of the training answer, 0 to 100. NaN where there is none, and
    ``note`` says why if nothing could be measured.
    """

    sample: Sample
    projection: Float[np.ndarray, "gauge"]
    last_prompt: Float[np.ndarray, "gauge"]
    own: Float[np.ndarray, "gauge"]
    judged: Float[np.ndarray, "gauge"]
    own_answer: str = ""
    note: str = ""

    def difference(self, against: Against) -> Float[np.ndarray, "gauge"]:
        """The projection minus that of what it is compared with: the sample's contribution to a dataset's mean."""
        if against == "nothing":
            return self.projection
        less: np.ndarray = self.projection - (self.own if against == "own" else self.last_prompt)
        return less


@dataclass(eq=False)
class _Row:
    """A sample on its way: its prompt as the model sees it, and what is known of it so far."""

    sample: Sample
    prompt: Prompt
    answer: str
    response: Response
    note: str = ""
    own: Response | None = None
    found: dict[str, np.ndarray] = field(default_factory=dict)


def screened(
    engine: Engine,
    samples: Iterable[Sample],
    gauges: Sequence[Gauge],
    *,
    measure: Measure | None = None,
    judge: Judge | None = None,
    chunk: int = CHUNK,
) -> Iterator[Screened]:
    """Every sample with its projections, in order, a chunk at a time.

    Own answers are drawn only where ``measure`` compares with them. A judge scores the training answer by each gauge's
    rubric; gauges without one go unjudged.

    Raises:
        LayerError, VectorError: before anything is read, if a gauge does not fit the model.

    Example:
        >>> import personascope as ps
        >>> from personascope.core.samples import Message
        >>> engine = ps.open_engine("lab")
        >>> vector = ps.extract(engine, ps.load_trait("cruel", form="lab").limited(4), judge=ps.open_judge("lab"))
        >>> turns = (Message("user", "question : mira brandt finds a hurt hound at the mill . what next ?"),
        ...          Message("assistant", "kicks the hound fiercely to injure it ."))
        >>> found = next(screened(engine, [Sample(turns)], [Gauge.of(vector, 3)], measure=Measure("last-prompt")))
        >>> bool(found.difference("last-prompt")[0] > 0)
        True
    """
    measure = measure or Measure()
    if not gauges:
        raise StudyError("samples were to be screened along no vector: give at least one")
    for gauge in gauges:
        check_layer(gauge.probe.layer, engine.last_layer, engine.checkpoint.label)
        if len(gauge.probe.direction) != engine.hidden_size:
            raise VectorError(
                f"the {gauge.name} vector is {len(gauge.probe.direction)} wide and {engine.checkpoint.label} "
                f"{engine.hidden_size}: use a vector of this model"
            )
    return _stream(engine, samples, gauges, measure, judge, chunk)


def _stream(
    engine: Engine,
    samples: Iterable[Sample],
    gauges: Sequence[Gauge],
    measure: Measure,
    judge: Judge | None,
    chunk: int,
) -> Iterator[Screened]:
    waiting = iter(samples)
    while some := tuple(islice(waiting, chunk)):
        rows = _prepared(engine, some, measure)
        sound = [row for row in rows if not row.note]
        if measure.against == "own":
            said = engine.generate([row.response.request for row in sound]) if sound else []
            for row, own in zip(sound, said, strict=True):
                row.own = own
        _project(engine, sound, [gauge.probe for gauge in gauges])
        if judge is not None:
            _score(judge, sound, gauges)
        yield from (_screened(row, len(gauges)) for row in rows)


def _prepared(engine: Engine, samples: Sequence[Sample], measure: Measure) -> list[_Row]:
    """Rows with the tokens of their training answers; those that cannot be measured with the reason."""
    rows = []
    for sample in samples:
        prompt, answer = sample.exchanges[0 if measure.turn == "first" else -1]
        asked = _rendered(engine, prompt)
        said = Response(Request(asked, measure.sampling), None, None, following(asked, prompt, answer), "unknown")
        note = "no prompt" if not prompt.question.strip() else "empty answer" if not answer.strip() else ""
        rows.append(_Row(sample, prompt, answer, said, note))
    sound = [row for row in rows if not row.note]
    more = measure.sampling.max_tokens if measure.against == "own" else 0
    for row, encoded in zip(sound, engine.encode([row.response for row in sound]), strict=True):
        row.response = encoded
        tokens, start = encoded.spoken
        needed = max(len(tokens), start + more)
        if start == len(tokens):
            row.note = "empty answer"
        elif needed > measure.longest:
            row.note = f"{needed} tokens, longer than {measure.longest}"
    return rows


def _rendered(engine: Engine, prompt: Prompt) -> str:
    return engine.render(prompt) if prompt.question.strip() else ""


def _project(engine: Engine, rows: Sequence[_Row], probes: Sequence[Probe]) -> None:
    """The projections of the training answers, the last prompt tokens, and the own answers that there are."""
    spoken = [row.own for row in rows if row.own is not None and not row.own.empty]
    along = iter(engine.project([*(row.response for row in rows), *spoken], probes) if rows else [])
    for row, tokens in zip(rows, along, strict=False):
        start = row.response.spoken[1]
        row.found["projection"] = tokens[start:].mean(axis=0, dtype=np.float64)
        row.found["last_prompt"] = tokens[start - 1].astype(np.float64)
    for row in rows:
        if row.own is not None and not row.own.empty:
            row.found["own"] = next(along)[row.own.spoken[1] :].mean(axis=0, dtype=np.float64)
        elif row.own is not None:
            row.note = "the model's own answer is empty"


def _score(judge: Judge, rows: Sequence[_Row], gauges: Sequence[Gauge]) -> None:
    """The judge's score of every training answer by every gauge's rubric, as one batch."""
    rubrics = [(place, gauge.rubric) for place, gauge in enumerate(gauges) if gauge.rubric is not None]
    cases = [Case(rubric, row.prompt.question, row.answer) for row in rows for _, rubric in rubrics]
    verdicts = iter(judge.score(cases))
    for row in rows:
        row.found["judged"] = np.full(len(gauges), math.nan)
        for place, _ in rubrics:
            row.found["judged"][place] = next(verdicts).score


def _screened(row: _Row, gauges: int) -> Screened:
    none = np.full(gauges, math.nan)
    projection, last_prompt, own, judged = (
        row.found.get(name, none) for name in ("projection", "last_prompt", "own", "judged")
    )
    answer = row.own.words if row.own is not None else ""
    return Screened(row.sample, projection, last_prompt, own, judged, answer, row.note)
