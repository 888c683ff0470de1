"""The engine on Hugging Face transformers: any decoder-only model, from the Hub or a folder.

What a model cannot do is refused before its weights load (:class:`Limits`), and what happens to a row depends on that
row alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Probe, Readings, Request, Response
from personascope.core.traits import Prompt
from personascope.engines import check_edits, unencoded
from personascope.engines.hf import batching, loading, reading, rendering
from personascope.engines.hf.batching import Size
from personascope.engines.hf.cpu import computing
from personascope.engines.hf.decoding import Drawn, Loaded, PaddedBatch, Row, decode
from personascope.engines.hf.reading import Spoken, as_heard, read_means
from personascope.engines.hf.shared_prefix import HeardBatch, SharedBatch, shares
from personascope.engines.hub.download import WeightProvider, default_weights
from personascope.engines.uniforms import SAMPLER_VERSION


class TransformersEngine:
    """A checkpoint on transformers.

    Opening one reads config and tokenizer; the weights load when first needed and stay until :meth:`close`. ``dtype``
    is bfloat16 on CUDA and float32 elsewhere unless given. ``device_map`` (as in transformers, ``"auto"``) spreads a
    model over several devices. ``rows`` is how many rows go through the model at once; it changes no answer. ``padded``
    has rows go in padded batches on a CPU too, as they do on a GPU and with models of unusual attention.
    ``weights`` is what the folder of the weights is asked of.

    Raises:
        CheckpointError: if the checkpoint, its config or its tokenizer cannot be had.
        EngineError: if device or dtype is unknown.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | None = None,
        dtype: str | None = None,
        device_map: str | None = None,
        rows: int | None = None,
        padded: bool = False,
    ) -> None:
        self._device = loading.choose_device(device)
        self._dtype = loading.choose_dtype(dtype, self._device)
        self._device_map = device_map
        self._checkpoint = loading.resolve(checkpoint)
        self._folder = loading.text_folder(self._checkpoint)
        self._config = loading.load_config(self._checkpoint, self._folder)
        self._text_config = self._config.get_text_config(decoder=True)
        self._tokenizer = loading.load_tokenizer(self._checkpoint, self._folder)
        self._end_tokens = loading.end_tokens(self._folder, self._config, self._tokenizer)
        self._rows = rows
        self.weights: WeightProvider = default_weights
        self._loaded: Loaded | None = None
        self._held = ExitStack()
        self._padded = padded
        self._shares: bool | None = None
        self._heard: dict[Any, dict[str, np.ndarray]] = {}
        self._was_read = False
        positions = getattr(self._text_config, "max_position_embeddings", None)
        label, vocabulary = self._checkpoint.label, int(self._text_config.vocab_size)
        self._limits = Limits(label, vocabulary, positions, can_end=bool(self._end_tokens))

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint with its exact revision."""
        return self._checkpoint

    @property
    def identity(self) -> Mapping[str, str]:
        """What beside checkpoint and request can change an answer."""
        said = getattr(self._config, "quantization_config", None)
        method = said.get("quant_method") if isinstance(said, dict) else getattr(said, "quant_method", None)
        return {
            "engine": "transformers",
            "sampler": SAMPLER_VERSION,
            "dtype": str(self._dtype).removeprefix("torch."),
            "quantisation": str(method or "none"),
        }

    @property
    def last_layer(self) -> int:
        """The number of blocks."""
        return int(self._text_config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return int(self._text_config.hidden_size)

    def render(self, prompt: Prompt) -> str:
        """The text the model sees for a prompt: see :func:`personascope.engines.hf.rendering.render`."""
        return rendering.render(self._tokenizer, prompt)

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        """One response per request, in order.

        On a CPU what prompts have in common is computed once, and with ``read`` the residual stream is summed up as it
        passes: to :meth:`read` these responses next, or after more of the kind, costs no further pass.

        Raises:
            LayerError: for an edit at a layer the model does not have.
            VectorError: for an edit of another width.
            EngineError: for a prompt without tokens, one that with its ``max_tokens`` exceeds the position limit, or a
                checkpoint that names no end-of-text token.
        """
        self._limits.check_end()
        check_edits(self, (edit for request in requests for edit in request.edits))
        prompts = rendering.encode(self._tokenizer, (request.text for request in requests))
        rows = [Row(request, prompts[request.text]) for request in requests]
        for row in rows:
            self._limits.check_prompt(row.prompt, row.request.drawn_with.max_tokens)
        drawn: dict[int, Drawn] = {}
        heard: dict[int, dict[str, np.ndarray]] = {}
        sizes = [Size(len(row.prompt), row.request.drawn_with.max_tokens, row.prompt) for row in rows]
        for chunk, width in self._batches(dict(enumerate(sizes)), shared=True):

            def speak(some: list[int], width: int | None = width) -> None:
                answers, means = self._spoken([rows[index] for index in some], width, read=read)
                drawn.update(zip(some, answers, strict=True))
                heard.update((index, {name: means[name][row] for name in means}) for row, index in enumerate(some))

            batching.halving(chunk, speak)
        texts = rendering.decode(self._tokenizer, [drawn[index][0] for index in range(len(rows))])
        responses = [
            Response(row.request, row.prompt + drawn[index][0], len(row.prompt), text, drawn[index][1])
            for index, (row, text) in enumerate(zip(rows, texts, strict=True))
        ]
        if self._was_read or len(self._heard) + len(heard) > batching.MOST_HEARD:
            self._heard, self._was_read = {}, False
        if read:
            self._heard |= {as_heard(responses[index]): means for index, means in heard.items()}
        return responses

    def _spoken(
        self, rows: Sequence[Row], width: int | None, *, read: bool
    ) -> tuple[list[Drawn], dict[str, np.ndarray]]:
        """What rows of a padded width, or of no width because nothing is padded, say; and its means if they are taken.

        A padded batch takes none: what it says is read in a pass of its own.
        """
        with computing(self._weights()) as loaded:
            if width is not None:
                return decode(PaddedBatch(loaded, rows, width), rows, loaded.end_tokens), {}
            batch = SharedBatch(loaded, rows, reads=read)
            answers = decode(batch, rows, loaded.end_tokens)
            return answers, batch.means() if read else {}

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        """The same responses, each with its tokens; prompt and answer are encoded apart.

        Raises:
            EngineError: for a response without text, or a prompt without tokens.
        """
        bare = unencoded(responses)
        answers = rendering.encode_answers(self._tokenizer, (each.words for each in bare))
        prompts = rendering.encode(self._tokenizer, (each.request.text for each in bare))
        return [
            each.as_spoken(prompts[each.request.text], answers[each.words]) if each.tokens is None else each
            for each in responses
        ]

    def read(self, responses: Sequence[Response]) -> Readings:
        """Mean activations of each response under the edits of its own request, one row per response.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`generate` and :meth:`encode`; also for tokens the model does
                not have.
        """
        responses, rows = self._readable(responses)
        shape = (len(rows), self.last_layer + 1, self.hidden_size)
        arrays = {name: np.full(shape, np.nan, np.float32) for name in ("response", "prompt", "last_prompt")}
        arrays["norms"] = np.full(shape[:2], np.nan, np.float32)
        heard = {index: means for index, each in enumerate(responses) if (means := self._heard.get(as_heard(each)))}
        self._was_read = True
        for index, name in itertools.product(heard, arrays):
            arrays[name][index] = heard[index][name]
        sizes = {i: Size(len(row.tokens), tokens=row.tokens) for i, row in enumerate(rows) if i not in heard}
        for chunk, width in self._batches(sizes, shared=True):

            def take(some: list[int], width: int | None = width) -> None:
                for name, means in self._means([rows[index] for index in some], width).items():
                    arrays[name][some] = means[: len(some)]

            batching.halving(chunk, take)
        spoken = np.array([len(row.tokens) > row.response_start for row in rows], dtype=bool)
        if not np.isfinite(arrays["norms"][spoken]).all():
            raise EngineError(
                f"the residual stream of {self._checkpoint.label} overflows in {self.identity['dtype']}: choose "
                "bfloat16 or float32, or lower the strength of the edits"
            )
        return Readings(**arrays)

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        """The dot product of the residual stream with each probe, at every token of prompt and response.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`read`; also for a probe that does not fit.
        """
        check_edits(self, probes)
        return self._followed(responses, partial(reading.projections, probes=probes))

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """The natural logarithm of each response token's probability, given all before it.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`read`.
        """
        return self._followed(responses, reading.log_probabilities)

    def _readable(self, responses: Sequence[Response]) -> tuple[list[Response], list[Spoken]]:
        """The responses with their tokens, every one of which the model can compute."""
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        encoded = self.encode(responses)
        rows = [Spoken(each.request, *each.spoken) for each in encoded]
        for row in rows:
            self._limits.check_spoken(row)
        return encoded, rows

    def _followed(
        self, responses: Sequence[Response], follow: Callable[[Loaded, list[Spoken], int], list[np.ndarray]]
    ) -> list[np.ndarray]:
        """What is measured of each response, in padded batches."""
        _, rows = self._readable(responses)
        found: dict[int, np.ndarray] = {}
        sizes = {index: Size(len(row.tokens)) for index, row in enumerate(rows)}
        for chunk, width in self._batches(sizes, logits=follow is reading.log_probabilities):

            def take(some: list[int], width: int | None = width) -> None:
                with computing(self._weights()) as loaded:
                    measured = follow(loaded, [rows[index] for index in some], width or 0)
                found.update(zip(some, measured, strict=True))

            batching.halving(chunk, take)
        return [found[index] for index in range(len(rows))]

    def _means(self, rows: Sequence[Spoken], width: int | None) -> dict[str, np.ndarray]:
        """What rows of a padded width, or of no width because nothing is padded, read."""
        with computing(self._weights()) as loaded:
            if width is not None:
                return read_means(loaded, rows, width)
            prompts = [Row(each.request, each.tokens[: each.response_start]) for each in rows]
            return HeardBatch(loaded, prompts, [each.tokens[each.response_start :] for each in rows]).read()

    def close(self) -> None:
        """Frees the weights."""
        self._heard = {}
        if self._loaded is None:
            return
        self._loaded, self._shares = None, None
        batching.let_go()
        self._held.close()

    def _weights(self) -> Loaded:
        if self._loaded is None:
            if self._device.type == "cpu":
                batching.keep_freed()
            self._loaded, self._held = loading.load_weights(
                self.weights,
                self._checkpoint,
                config=self._config,
                end_tokens=self._end_tokens,
                device=self._device,
                dtype=self._dtype,
                device_map=self._device_map,
            )
        return self._loaded

    def _batches(
        self, sizes: Mapping[int, Size], *, shared: bool = False, logits: bool = False
    ) -> Iterator[tuple[list[int], int | None]]:
        """Rows that go together, and their width if they are padded."""
        if not sizes:
            return
        shared = shared and self._sharing()
        kind: batching.Kind = "shared" if shared else "logits" if logits else "padded"
        room = batching.room_of(self._text_config, self._weights(), kind, rows=self._rows)
        if shared:
            yield from ((some, None) for some in batching.in_shared_batches(sizes, room))
        else:
            yield from batching.in_padded_batches(sizes, room)

    def _sharing(self) -> bool:
        """Whether rows share what their prompts have in common: on a CPU, where the model can."""
        if self._shares is None:
            with computing(self._weights()) as loaded:
                self._shares = not self._padded and shares(loaded)
        return self._shares


@dataclass(frozen=True)
class Limits:
    """A checkpoint's name, its vocabulary and how many positions it has (``None``: no limit is known)."""

    label: str
    vocabulary: int
    positions: int | None
    can_end: bool

    def check_end(self) -> None:
        """Answers need an end-of-text token to end with."""
        if not self.can_end:
            raise EngineError(
                f"{self.label} names no end-of-text token, so no answer of its could end: name eos_token "
                "in its tokenizer_config.json, or eos_token_id in its generation_config.json"
            )

    def check_prompt(self, tokens: Sequence[int], more: int) -> None:
        """A prompt and the tokens to follow it."""
        self._check_vocabulary(tokens)
        self._check_length(len(tokens), more)

    def check_spoken(self, row: Spoken) -> None:
        """A response with its prompt."""
        if not 1 <= row.response_start <= len(row.tokens):
            raise EngineError(
                f"a response of {len(row.tokens)} tokens that starts at {row.response_start} cannot be read: "
                "it needs a prompt token before it"
            )
        self._check_vocabulary(row.tokens)
        self._check_length(len(row.tokens), 0)

    def _check_length(self, tokens: int, more: int) -> None:
        if self.positions is not None and tokens + more > self.positions:
            raise EngineError(
                f"{tokens} tokens and {more} more were asked of {self.label}, which has room for {self.positions}: "
                "shorten the prompt or lower max_tokens"
            )

    def _check_vocabulary(self, tokens: Sequence[int]) -> None:
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocabulary:
            raise EngineError(
                f"token {max(tokens)} cannot be read by {self.label}, which has {self.vocabulary} tokens: "
                "use the tokenizer of this checkpoint, and responses it gave"
            )
