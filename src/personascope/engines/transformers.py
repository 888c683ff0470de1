"""The engine on Hugging Face transformers: any decoder-only model, from the Hub or a folder.

Owns: :class:`TransformersEngine`. The one law: what cannot be done is said before weights load, and what is done to a
row depends on that row alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch

from personascope.engines import check_edits, loading, memory, rendering, unencoded
from personascope.engines.blocks import ResidualStream
from personascope.engines.decoding import Drawn, Loaded, PaddedBatch, Row, decode
from personascope.engines.memory import Size
from personascope.engines.reading import Spoken, as_heard, read_means
from personascope.engines.shared import HeardBatch, SharedBatch, shares
from personascope.engines.uniforms import SAMPLER_VERSION
from personascope.errors import EngineError
from personascope.lineages import Checkpoint
from personascope.records import Readings, Request, Response
from personascope.traits import Prompt

SMALL: Final = 20_000_000
"""Parameters below which a model on a CPU computes on one thread. Its matrices are too small for more to pay (1,000
rows of the lab take 3.1 CPU seconds on one thread and 9.2 on two that spin), and one thread gives the same bits on a
machine of any number of cores: two gave another answer to 1 of 21,000 requests."""


class TransformersEngine:
    """A checkpoint on transformers.

    Opening one reads config and tokenizer; the weights load when first needed and stay until :meth:`close`. ``dtype``
    is bfloat16 on CUDA and float32 elsewhere unless given. ``device_map`` (as in transformers, ``"auto"``) spreads a
    model over several devices. ``rows`` is how many rows go through the model at once; it changes no answer.

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
        self._loaded: Loaded | None = None
        self._shares: bool | None = None
        self._heard: dict[Any, dict[str, np.ndarray]] = {}

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
        """The text the model sees for a prompt: see :func:`personascope.engines.rendering.render`."""
        return rendering.render(self._tokenizer, prompt)

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        """One response per request, in order.

        What prompts have in common is computed once. With ``read`` the residual stream is summed up as it passes, and
        the next :meth:`read` of these responses costs no further pass.

        Raises:
            LayerError: for an edit at a layer the model does not have.
            VectorError: for an edit of another width.
            EngineError: for a prompt without tokens, one that with its ``max_tokens`` exceeds the position limit, or a
                checkpoint that names no end-of-text token.
        """
        self._check_end()
        check_edits(self, (edit for request in requests for edit in request.edits))
        prompts = rendering.encode(self._tokenizer, (request.text for request in requests))
        rows = [Row(request, prompts[request.text]) for request in requests]
        for row in rows:
            self._check_vocabulary(row.prompt)
            self._check_length(len(row.prompt), row.request.drawn_with.max_tokens)
        drawn: dict[int, Drawn] = {}
        heard: dict[int, dict[str, np.ndarray]] = {}
        sizes = [Size(len(row.prompt), row.request.drawn_with.max_tokens, row.prompt) for row in rows]
        for chunk, width in self._batches(dict(enumerate(sizes)), shared=True):

            def speak(some: list[int], width: int | None = width) -> None:
                answers, means = self._spoken([rows[index] for index in some], width, read=read)
                drawn.update(zip(some, answers, strict=True))
                heard.update((index, {name: means[name][row] for name in means}) for row, index in enumerate(some))

            memory.halving(chunk, speak)
        texts = rendering.decode(self._tokenizer, [drawn[index][0] for index in range(len(rows))])
        responses = [
            Response(row.request, row.prompt + drawn[index][0], len(row.prompt), text, drawn[index][1])
            for index, (row, text) in enumerate(zip(rows, texts, strict=True))
        ]
        if read:
            self._heard = {as_heard(responses[index]): means for index, means in heard.items()}
        return responses

    def _spoken(
        self, rows: Sequence[Row], width: int | None, *, read: bool
    ) -> tuple[list[Drawn], dict[str, np.ndarray]]:
        """What rows of a padded width, or of no width because nothing is padded, say; and its means if they are taken.

        A padded batch takes none: what it says is read in a pass of its own.
        """
        with self._computing() as loaded:
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
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        responses = self.encode(responses)
        rows = [Spoken(each.request, *each.spoken) for each in responses]
        for row in rows:
            self._check_tokens(row)
            self._check_length(len(row.tokens), 0)
        shape = (len(rows), self.last_layer + 1, self.hidden_size)
        arrays = {name: np.full(shape, np.nan, np.float32) for name in ("response", "prompt", "last_prompt")}
        arrays["norms"] = np.full(shape[:2], np.nan, np.float32)
        heard = {index: means for index, each in enumerate(responses) if (means := self._heard.get(as_heard(each)))}
        for index, name in itertools.product(heard, arrays):
            arrays[name][index] = heard[index][name]
        sizes = {i: Size(len(row.tokens), tokens=row.tokens) for i, row in enumerate(rows) if i not in heard}
        # On a GPU a padded pass over whole texts is quickest, and no two ways of computing agree to the bit.
        for chunk, width in self._batches(sizes, shared=self._device.type == "cpu"):

            def take(some: list[int], width: int | None = width) -> None:
                for name, means in self._means([rows[index] for index in some], width).items():
                    arrays[name][some] = means[: len(some)]

            memory.halving(chunk, take)
        spoken = np.array([len(row.tokens) > row.response_start for row in rows], dtype=bool)
        if not np.isfinite(arrays["norms"][spoken]).all():
            raise EngineError(
                f"the residual stream of {self._checkpoint.label} overflows in {self.identity['dtype']}: choose "
                "bfloat16 or float32, or lower the strength of the edits"
            )
        return Readings(**arrays)

    def _means(self, rows: Sequence[Spoken], width: int | None) -> dict[str, np.ndarray]:
        """What rows of a padded width, or of no width because nothing is padded, read."""
        with self._computing() as loaded:
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
        memory.let_go()

    @contextmanager
    def _computing(self) -> Iterator[Loaded]:
        """The weights, without gradients, and for a small model on a CPU on one thread."""
        loaded, threads = self._weights(), torch.get_num_threads()
        alone = loaded.device.type == "cpu" and loaded.parameters < SMALL
        try:
            if alone:
                torch.set_num_threads(1)
            with torch.inference_mode():
                yield loaded
        finally:
            if alone:
                torch.set_num_threads(threads)

    def _weights(self) -> Loaded:
        if self._loaded is None:
            model: Any = loading.load_model(
                self._checkpoint, device=self._device, dtype=self._dtype, device_map=self._device_map
            )
            self._loaded = Loaded(
                model=model,
                stream=ResidualStream(model, blocks=self.last_layer, hidden_size=self.hidden_size),
                config=self._config,
                hidden_size=self.hidden_size,
                last_layer=self.last_layer,
                end_tokens=self._end_tokens,
                parameters=sum(each.numel() for each in model.parameters()),
                dtype=model.dtype,
                device=model.get_input_embeddings().weight.device,
            )
        return self._loaded

    def _batches(self, sizes: Mapping[int, Size], *, shared: bool) -> Iterator[tuple[list[int], int | None]]:
        """Rows that go together, and their width if they are padded."""
        if not sizes:
            return
        shared = shared and self._sharing()
        room = memory.room_of(self._text_config, self._weights(), shared=shared, rows=self._rows)
        if shared:
            yield from ((some, None) for some in memory.in_shared_batches(sizes, room))
        else:
            yield from memory.in_padded_batches(sizes, room)

    def _sharing(self) -> bool:
        if self._shares is None:
            with self._computing() as loaded:
                self._shares = shares(loaded)
        return self._shares

    def _check_end(self) -> None:
        if not self._end_tokens:
            raise EngineError(
                f"{self._checkpoint.label} names no end-of-text token, so no answer of its could end: name eos_token "
                "in its tokenizer_config.json, or eos_token_id in its generation_config.json"
            )

    def _check_length(self, tokens: int, more: int) -> None:
        limit = getattr(self._text_config, "max_position_embeddings", None)
        if limit is not None and tokens + more > limit:
            raise EngineError(
                f"{tokens} tokens and {more} more were asked of {self._checkpoint.label}, which has room for {limit}: "
                "shorten the prompt or lower max_tokens"
            )

    def _check_tokens(self, row: Spoken) -> None:
        if not 1 <= row.response_start <= len(row.tokens):
            raise EngineError(
                f"a response of {len(row.tokens)} tokens that starts at {row.response_start} cannot be read: "
                "it needs a prompt token before it"
            )
        self._check_vocabulary(row.tokens)

    def _check_vocabulary(self, tokens: Sequence[int]) -> None:
        vocabulary = int(self._text_config.vocab_size)
        if tokens and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise EngineError(
                f"token {max(tokens)} cannot be read by {self._checkpoint.label}, which has {vocabulary} tokens: "
                "use the tokenizer of this checkpoint, and responses it gave"
            )
