"""The engine on vLLM: the same port, for long runs on a GPU.

It refuses to run unless an edit was seen to land where it was asked and to move the logits; what it reads are the
tokens it is given, the last one included, computed for that purpose.

Prompts are rendered and encoded, and answers decoded, as by the transformers engine. vLLM draws tokens itself, so the
same draw gives another sample here; greedy answers are the same but for ties within rounding. The order is repetition
penalty over prompt and response tokens, temperature, top-p, and greedy takes the lowest id on ties; what vLLM would
draw in another way without a word is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float

from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Probe, Readings, Request, Response, Sampling
from personascope.core.traits import Prompt
from personascope.engines import check_edits
from personascope.engines.hf import batching, loading, rendering
from personascope.engines.hf.cpu import SMALL
from personascope.engines.hf.engine import Limits, TransformersEngine
from personascope.engines.hf.reading import Spoken
from personascope.engines.hub.download import WeightProvider, default_weights
from personascope.engines.vllm.loading import (
    LONGEST,
    check_settings,
    close_llm,
    on_one_thread,
    open_llm,
    prove,
    version_of_vllm,
)
from personascope.engines.vllm.plan import (
    SEEDS_VERSION,
    SPANS,
    Asked,
    Follower,
    Means,
    Projections,
    alike,
    in_chunks,
    salt_of,
    seed_of,
    whole,
)
from personascope.engines.vllm.worker import TICKET, Told

COOLEST: Final = 0.01
"""The lowest temperature but 0 that vLLM takes: it raises lower ones to this and only logs that it did."""

PREFILL: Final[Mapping[str, Any]] = {"temperature": 0.0, "max_tokens": 1, "skip_reading_prefix_cache": True}
"""A text is computed whole, as a prompt, whatever is cached; what would follow is thrown away."""

READING_BYTES: Final = 1 << 28
"""Room for the sums of texts that are read together."""


class VLLMEngine:
    """A checkpoint on vLLM.

    Opening one reads config and tokenizer; vLLM loads when first asked, proves that edits land, and stays until
    :meth:`close`. ``settings`` of room and speed are handed to vLLM's ``LLM`` (``gpu_memory_utilization``,
    ``max_model_len``, ``max_num_seqs``, ...). ``weights`` is what the folder of the weights is asked of.

    Raises:
        CheckpointError: if the checkpoint, its config or its tokenizer cannot be had.
        EngineError: if vllm is not installed, a setting could change an answer or make edits do nothing, or the
            checkpoint has an adapter.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | None = None,
        dtype: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._version = version_of_vllm()
        self._settings = dict(settings or {})
        check_settings(self._settings)
        if checkpoint.adapter is not None:
            raise EngineError(
                f"the adapter {checkpoint.adapter} was to be put over its base on the engine vllm, which takes none: "
                "merge it into a checkpoint of its own, or use the engine transformers"
            )
        self._words = TransformersEngine(checkpoint, device=device, dtype=dtype)
        self._device = loading.choose_device(device)
        self._dtype = loading.choose_dtype(dtype, self._device)
        if self._device.type == "mps":
            raise EngineError("vLLM does not run on mps: choose cpu, or use the engine transformers")
        folder = loading.text_folder(self.checkpoint)
        self._config = loading.load_config(self.checkpoint, folder)
        self._tokenizer = loading.load_tokenizer(self.checkpoint, folder)
        self._ends = loading.end_tokens(folder, self._config, self._tokenizer)
        text = self._config.get_text_config(decoder=True)
        limit = getattr(text, "max_position_embeddings", None) or LONGEST
        self._positions = min(limit, int(self._settings.get("max_model_len", LONGEST + 1)) - 1)
        vocabulary = int(text.vocab_size)
        self._limits = Limits(self.checkpoint.label, vocabulary, self._positions, can_end=bool(self._ends))
        self.weights: WeightProvider = default_weights
        self._held = ExitStack()
        self._llm: Any = None
        self._small = False

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint with its exact revision."""
        return self._words.checkpoint

    @property
    def identity(self) -> Mapping[str, str]:
        """What beside checkpoint and request can change an answer: the sampler is that of one version of vLLM."""
        return {**self._words.identity, "engine": "vllm", "sampler": f"vllm {self._version}, seeds {SEEDS_VERSION}"}

    @property
    def last_layer(self) -> int:
        """The number of blocks."""
        return self._words.last_layer

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return self._words.hidden_size

    def render(self, prompt: Prompt) -> str:
        """The text the model sees for a prompt."""
        return self._words.render(prompt)

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        """The same responses, each with its tokens."""
        return self._words.encode(responses)

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        """One response per request, in order. ``read`` changes nothing here: reading is a pass of its own.

        Raises:
            LayerError, VectorError: for an edit that does not fit.
            EngineError: for a prompt without tokens or too long, a draw vLLM would not make as asked, a checkpoint that
                names no end-of-text token, logits that are not finite, or a vLLM whose edits do nothing.
        """
        self._limits.check_end()
        check_edits(self, (edit for request in requests for edit in request.edits))
        prompts = rendering.encode(self._tokenizer, (request.text for request in requests))
        for request in requests:
            self._limits.check_prompt(prompts[request.text], request.drawn_with.max_tokens)
            check_drawing(request.drawn_with, in_pieces=bool(self._settings.get("enable_chunked_prefill")))
        rows = [(request, prompts[request.text]) for request in requests]
        asked = [Asked(len(prompt), len(prompt), request.edits) for request, prompt in rows]
        drawn, _ = self._run(asked, [prompt for _, prompt in rows], [drawing(each, self._ends) for each in requests])
        said = [said_of(each, self._ends) for each in drawn]
        texts = rendering.decode(self._tokenizer, [tokens for tokens, _ in said])
        return [
            Response(request, prompt + tokens, len(prompt), text, finish)
            for (request, prompt), (tokens, finish), text in zip(rows, said, texts, strict=True)
        ]

    def read(self, responses: Sequence[Response]) -> Readings:
        """Mean activations of each response under the edits of its own request, one row per response.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`generate` and :meth:`encode`; also for tokens the model does
                not have, or an overflow.
        """
        rows = self._readable(responses)
        layers = self.last_layer + 1
        parts = [Readings.none(layers, self.hidden_size)]
        # Per text: three sums and a norm at every layer, in float64.
        for some in in_chunks(len(rows), 8 * layers * (3 * self.hidden_size + 1), READING_BYTES):
            chunk = [rows[index] for index in some]
            asked = whole(chunk)
            means = self._followed(chunk, asked, Means(asked, layers, self.hidden_size))
            parts.append(Readings(**{name: means[name] for name in (*SPANS, "norms")}))
        readings = Readings.joined(parts)
        spoken = np.array([len(row.tokens) > row.response_start for row in rows], dtype=bool)
        if not np.isfinite(readings.norms[spoken]).all():
            self.close()  # as where the logits tell of it
            raise self._overflow()
        return readings

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        """The dot product of the residual stream with each probe, at every token of prompt and response.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`read`; also for a probe that does not fit.
        """
        check_edits(self, probes)
        rows = self._readable(responses)
        asked = whole(rows)
        found: list[np.ndarray] = self._followed(rows, asked, Projections(asked, probes)) if rows else []
        return found

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """The natural logarithm of each response token's probability, given all before it.

        Raises:
            LayerError, VectorError, EngineError: as :meth:`read`.
        """
        rows = self._readable(responses)
        if not rows:
            return []
        known = {**PREFILL, "prompt_logprobs": 0}
        outputs, _ = self._run(whole(rows), [row.tokens for row in rows], [known] * len(rows))
        found = []
        for row, output in zip(rows, outputs, strict=True):
            places = range(row.response_start, len(row.tokens))
            chances = [output.prompt_logprobs[place][row.tokens[place]].logprob for place in places]
            found.append(np.array(chances, dtype=np.float64))
        return found

    def close(self) -> None:
        """Frees the weights. The engine loads them again if it is used again."""
        if self._llm is not None:
            close_llm(self._llm)
            self._llm = None
            batching.let_go()
        self._held.close()

    def _readable(self, responses: Sequence[Response]) -> list[Spoken]:
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        rows = [Spoken(each.request, *each.spoken) for each in self.encode(responses)]
        for row in rows:
            self._limits.check_spoken(row)
        return rows

    def _followed(self, rows: Sequence[Spoken], asked: Sequence[Asked], follower: Follower) -> Any:
        """What a follower measures of whole texts; what is cached is not read, for it would not be measured."""
        return self._run(asked, [row.tokens for row in rows], [PREFILL] * len(rows), follower)[1]

    def _run(
        self,
        asked: Sequence[Asked],
        texts: Sequence[tuple[int, ...]],
        ways: Sequence[Mapping[str, Any]],
        follower: Follower | None = None,
    ) -> tuple[list[Any], Any]:
        """Hands texts to vLLM, each with its salt and its ticket: what it answers, and what the follower measured."""
        if not asked:
            return [], None
        llm = self._weights()
        from vllm import SamplingParams

        params = [
            SamplingParams(**way, detokenize=False, ignore_eos=True, extra_args={TICKET: ticket})
            for ticket, way in enumerate(ways)
        ]
        prompts = []
        for each, tokens in zip(asked, texts, strict=True):
            salt = self._salt(each)
            prompts.append({"prompt_token_ids": list(tokens), **({"cache_salt": salt} if salt else {})})
        try:
            with on_one_thread(self._small):
                llm.collective_rpc("personascope_begin", args=(alike(asked), follower))
                outputs = llm.generate(prompts, params, use_tqdm=False)
                told: Told = llm.collective_rpc("personascope_end")[0]
            if not told.finite:
                raise self._overflow()
        except BaseException:
            # What was cut short would be computed with the next call's edits; and what is no number stays in memory
            # that other texts are given next, and even masked it makes theirs none.
            self.close()
            raise
        return outputs, told.measured

    def _overflow(self) -> EngineError:
        return EngineError(
            f"the residual stream of {self.checkpoint.label} overflows in {self.identity['dtype']} and its logits are "
            "not finite: lower the strength of the edits, or choose bfloat16 or float32"
        )

    def _salt(self, asked: Asked) -> str | None:
        return salt_of(self.checkpoint, asked.edits, asked.prompt)

    def _weights(self) -> Any:
        if self._llm is None:
            batching.let_go()  # of what an error held on to while it closed the engine
            self._llm = self._open()
            try:
                self._llm.collective_rpc("personascope_plant", args=(self.last_layer, self.hidden_size))
                parameters = self._llm.collective_rpc("personascope_parameters")[0]
                self._small = self._device.type == "cpu" and parameters < SMALL
                prove(self)
            except BaseException:
                self.close()
                raise
        return self._llm

    def _open(self) -> Any:
        how = {"device": self._device, "dtype": self._dtype, "positions": self._positions}
        with ExitStack() as held:
            folder = held.enter_context(self.weights(self.checkpoint))
            llm = open_llm(self.checkpoint, self._config, folder=folder, **how, settings=self._settings)  # type: ignore[arg-type]
            self._held = held.pop_all()
        return llm


def check_drawing(sampling: Sampling, *, in_pieces: bool) -> None:
    """Refuses what vLLM would draw in another way: at a temperature it changes, or after a prompt cut ``in_pieces``.

    Raises:
        EngineError: if so.
    """
    if 0 < sampling.temperature < COOLEST:
        raise EngineError(
            f"a temperature of {sampling.temperature} was asked for, and vLLM would raise it to {COOLEST}: "
            "give 0 (greedy) or more, or use the engine transformers"
        )
    if in_pieces and sampling.temperature > 0:
        raise EngineError(
            f"an answer was to be drawn at temperature {sampling.temperature} with enable_chunked_prefill, under which "
            "vLLM loses count of its random numbers: leave that setting out, or ask greedily"
        )


def drawing(request: Request, ends: Collection[int]) -> dict[str, Any]:
    """vLLM's ``SamplingParams`` of a request."""
    sampling = request.drawn_with
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": sampling.max_tokens,
        "seed": seed_of(request),
        "stop_token_ids": sorted(ends),
    }


def said_of(output: Any, ends: Collection[int]) -> tuple[tuple[int, ...], Literal["stop", "length"]]:
    """The tokens of an answer, without the one that ended it, and how it ended.

    Raises:
        EngineError: if vLLM ended it for another reason.
    """
    answer = output.outputs[0]
    tokens = tuple(int(each) for each in answer.token_ids)
    if answer.finish_reason == "length":
        return tokens, "length"
    if answer.finish_reason == "stop" and tokens and tokens[-1] in ends:
        return tokens[:-1], "stop"
    raise EngineError(f"vLLM ended an answer for a reason of its own ({answer.finish_reason}): ask it again")
