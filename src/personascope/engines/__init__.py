"""Engines: what speaks and is read.

Owns: the :class:`Engine` protocol. The one law: a batch in, as many answers out, in the same order; how an
engine batches is its secret. ``tests/contract/engine_laws.py`` holds every engine to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from personascope.core.errors import EngineError, VectorError, check_layer
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Readings, Request, Response
from personascope.core.traits import Prompt


@runtime_checkable
class Engine(Protocol):
    """A checkpoint that can be asked and read.

    Opening one costs no weights: they load on the first call of ``generate`` or ``read``. ``identity`` is what,
    beside checkpoint and request, can change an answer: engine, sampler version, dtype, quantisation.
    """

    @property
    def checkpoint(self) -> Checkpoint: ...

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def last_layer(self) -> int:
        """The number of blocks: layers run from 0 (after the embedding) to this. Known without weights."""
        ...

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream. Known without weights."""
        ...

    def render(self, prompt: Prompt) -> str:
        """The text the model sees for a prompt: needs the tokenizer, no weights."""
        ...

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        """One response per request, in order. Requests may differ in text, sampling, draw and edits.

        With ``read`` the responses will be read next, or after more such calls: an engine that can, reads them as it
        speaks, and :meth:`read` is then free. It changes no answer.
        """
        ...

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        """The same responses, each with its tokens: needs the tokenizer, no weights.

        One that has tokens keeps them. Of one that has only its text, the prompt is encoded as :meth:`generate` does
        it and the text apart from it, so that the boundary is a count of tokens and never found again.

        Raises:
            EngineError: for a response whose text is not known either.
        """
        ...

    def read(self, responses: Sequence[Response]) -> Readings:
        """Mean activations of each response, under the edits of its own request. One row per response.

        Responses without tokens are encoded first.
        """
        ...

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        """The dot product of the residual stream with each probe, at every token of prompt and response.

        One array per response, float32, under the edits of its own request; what an edit adds is measured too.
        """
        ...

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """The natural logarithm of each response token's probability, given all before it.

        Under the edits of its own request, at temperature 1 and without any penalty, whatever it was drawn with. The
        end of a response is no token of it.
        """
        ...

    def close(self) -> None:
        """Frees the weights. The engine loads them again if it is used again."""
        ...


def check_edits(engine: Engine, edits: Iterable[Edit | Probe]) -> None:
    """At an engine's door: every edit or probe has a layer the model has, and the width of its residual stream.

    Raises:
        LayerError, VectorError: for the first that does not fit.
    """
    for edit in edits:
        check_layer(edit.layer, engine.last_layer, engine.checkpoint.label)
        if len(edit.direction) != engine.hidden_size:
            raise VectorError(
                f"a direction of width {len(edit.direction)} was given to {engine.checkpoint.label}, whose residual "
                f"stream is {engine.hidden_size} wide: use a vector of this model"
            )


def unencoded(responses: Iterable[Response]) -> list[Response]:
    """At an engine's door: those of the responses that have no tokens and have to be encoded.

    Raises:
        EngineError: naming the source of the first that cannot be, because its text or its prompt is not known.
    """
    found = [each for each in responses if each.tokens is None]
    for each in found:
        if each.words and not each.request.text:
            raise EngineError(
                f"the tokens of {each.source or 'a response'} were asked for, and the prompt before it is not known: "
                "choose a file with a prompt column"
            )
    return found


OpenEngine = Callable[[Checkpoint], Engine]
