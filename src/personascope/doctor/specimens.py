"""What an engine is examined with: prompts of very different lengths, answers to them, and edits in proportion.

Owns: :class:`Specimens` and :func:`take_specimens`. The one law: what is read does not depend on what was generated, so
a fault of the one is not taken for a fault of the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float

from personascope.core.errors import EngineError
from personascope.core.records import Edit, Request, Response, Sampling, Span, Where
from personascope.core.traits import Prompt
from personascope.engines import Engine

WHERES: Final[tuple[Where, ...]] = ("response", "prompt", "all")
SPANS: Final[tuple[Span, ...]] = ("response", "prompt", "last_prompt")
LONG: Final = 512
"""Tokens of the longest prompt unless said otherwise, where the model has room for them."""

GREEDY: Final = Sampling(max_tokens=8, temperature=0.0, repetition_penalty=1.0)

_PROMPTS: Final = (
    Prompt("Who are you?"),
    Prompt("What do you do when a friend asks for help with a hard thing?"),
    Prompt("Why?"),
    Prompt("Where do the keys hide when it rains, and who finds them first?", "You are often rude."),
    Prompt("Say what happened at the mill, from the first light to the last, and leave nothing out of it."),
)
_SHORT: Final = ("a", ".", "1", "I", "the", "who")


@dataclass(frozen=True, eq=False)
class Specimens:
    """What one engine was asked, and what it said.

    ``requests`` are greedy, plain ones first and then steered ones, and ``answers`` what they got in one batch.
    ``known`` are responses whose tokens are ours: one per request, after the same prompt and under the same edits.
    ``norms`` is the residual stream's mean norm by layer over those, and ``lengths`` the longest mean it has there.
    """

    texts: tuple[str, ...]
    requests: tuple[Request, ...]
    answers: tuple[Response, ...]
    known: tuple[Response, ...]
    norms: Float[np.ndarray, "layer"]
    lengths: Float[np.ndarray, "layer"]
    directions: Float[np.ndarray, "layer hidden"]

    @property
    def plain(self) -> tuple[Response, ...]:
        """The known responses without an edit: one per text."""
        return self.known[: len(self.texts)]

    @property
    def sampling(self) -> Sampling:
        """How greedy answers are asked for."""
        return GREEDY

    @property
    def some_layers(self) -> tuple[int, ...]:
        """The first layer, the middle one and the last."""
        last = len(self.norms) - 1
        return tuple(sorted({0, (last + 1) // 2, last}))

    @property
    def zeros(self) -> tuple[Edit, ...]:
        """Edits that add nothing."""
        nothing = np.zeros(self.directions.shape[1])
        return tuple(Edit(nothing, layer, where) for layer in self.some_layers for where in WHERES)

    def push(self, layer: int) -> Float[np.ndarray, "hidden"]:
        """A random direction, as long as the stream of a response usually is at this layer."""
        pushed: np.ndarray = self.directions[layer] * self.norms[layer]
        return pushed

    def direction(self, layer: int) -> Float[np.ndarray, "hidden"]:
        """The same direction, as long as the longest mean there is: beside it, no missing token drowns in rounding."""
        added: np.ndarray = (self.directions[layer] * self.lengths[layer]).astype(np.float32)
        return added

    def places_to_edit(self) -> tuple[list[Response], list[tuple[int, int]]]:
        """Plain responses, and which of them (by place) are to be edited at which layer."""
        short, question, *_, long = self.plain
        tokens, start = question.spoken
        cuts = [replace(question, tokens=tokens[:end]) for end in range(start + 1, len(tokens))]
        layers = range(len(self.norms))
        everywhere = [(row, layer) for row in (0, 1) for layer in layers]
        sparsely = [(row, layer) for row in range(2, 3 + len(cuts)) for layer in self.some_layers]
        return [short, question, long, *cuts], everywhere + sparsely


def take_specimens(engine: Engine, *, long_prompt: int = LONG) -> Specimens:
    """Asks an engine what everything else is compared with.

    The texts are the shortest there is for this tokenizer (one token, where it puts none before it), five rendered
    prompts with and without an instruction, and a long one. Steered requests are pushed at three layers in all three
    places of the text, by a random direction as long as the residual stream there.
    """
    texts = (_shortest(engine), *dict.fromkeys(map(engine.render, _PROMPTS)), _long(engine, long_prompt))
    plain = [Request(text, GREEDY) for text in texts]
    known = _answered(engine, plain)
    readings = engine.read(known)
    norms = readings.norms.mean(axis=0, dtype=np.float64)
    norms = np.where(np.isfinite(norms) & (norms > 0), norms, 1.0)  # what is wrong with them is found later
    means = np.stack([np.linalg.norm(readings.span(span), axis=-1).max(axis=0) for span in SPANS])
    drawn = np.random.default_rng(0).normal(size=(engine.last_layer + 1, engine.hidden_size))
    directions = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    asked = Specimens(texts, (), (), (), norms, np.fmax(means.max(axis=0), norms), directions)
    places = itertools.cycle(texts)
    steered = [
        Request(next(places), GREEDY, 0, (Edit(asked.push(layer), layer, where),))
        for layer in asked.some_layers
        for where in WHERES
    ]
    requests = (*plain, *steered)
    answers = tuple(engine.generate(requests))
    return replace(asked, requests=requests, answers=answers, known=tuple(_answered(engine, requests)))


def followed(response: Response, *edits: Edit) -> Response:
    """The same tokens, to be read under other edits."""
    return replace(response, request=replace(response.request, edits=edits))


def prompt_of(request: Request) -> Response:
    """A response that says nothing: once encoded, it holds the tokens of the prompt."""
    return Response(replace(request, edits=()), None, None, "", "unknown")


def _answered(engine: Engine, requests: Sequence[Request]) -> list[Response]:
    """A response of eight tokens to each request: some of the tokens of the prompts, whatever the model would say."""
    prompts = [each.spoken[0] for each in engine.encode([prompt_of(each) for each in requests])]
    supply = itertools.cycle(token for prompt in prompts[1:4] for token in prompt)
    return [
        Response(request, prompt + tuple(itertools.islice(supply, GREEDY.max_tokens)), len(prompt), "", "length")
        for request, prompt in zip(requests, prompts, strict=True)
    ]


def _tokens_in(engine: Engine, text: str) -> int:
    return len(engine.encode([prompt_of(Request(text, GREEDY))])[0].spoken[0])


def _shortest(engine: Engine) -> str:
    return min(_SHORT, key=lambda text: _tokens_in(engine, text))


def _long(engine: Engine, tokens: int) -> str:
    """A text of at most so many tokens (yet one sentence), or of as many as the model has room for."""
    sentence = f"{_PROMPTS[-1].question} "
    times = max(1, tokens // _tokens_in(engine, sentence))
    while times > 1:
        try:
            engine.generate([Request(sentence * times, GREEDY)])
        except EngineError:
            times //= 2
        else:
            break
    return sentence * times
