"""The engine written as plainly as it can be: what faster ones are held against.

Owns: :class:`NaiveEngine`. The one law: one text at a time, whole, from its first token: no padding, no cache, no
batch and no shared computation, so nothing of these can go wrong in it. It is slow, and meant for a few short texts.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Readings, Request, Response, Sampling
from personascope.core.traits import Prompt
from personascope.engines import check_edits
from personascope.engines.hf import loading, rendering
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.hooks import ResidualStream, Touch
from personascope.engines.uniforms import uniforms_of


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one forward pass over one text gave: the stream at every layer, the logits, the model's own streams."""

    streams: Float[torch.Tensor, "layer position hidden"]
    logits: Float[torch.Tensor, "position token"]
    named: tuple[torch.Tensor, ...] | None


class NaiveEngine:
    """A checkpoint on transformers, asked one whole text at a time, with attention written out (``eager``).

    Words and tokens are those of the transformers engine: it renders and encodes alike. Beyond the protocol it says how
    far each token of a greedy answer is from the likeliest one, and whether layers are those transformers names.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str | None = None) -> None:
        self._words = TransformersEngine(checkpoint, device=device, dtype=dtype)
        self._device = loading.choose_device(device)
        self._dtype = loading.choose_dtype(dtype, self._device)
        folder = loading.text_folder(self.checkpoint)
        self._tokenizer = loading.load_tokenizer(self.checkpoint, folder)
        config = loading.load_config(self.checkpoint, folder)
        self._ends = sorted(loading.end_tokens(folder, config, self._tokenizer))
        self._loaded: tuple[Any, ResidualStream] | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint with its exact revision."""
        return self._words.checkpoint

    @property
    def identity(self) -> Mapping[str, str]:
        """What beside checkpoint and request can change an answer."""
        return {**self._words.identity, "engine": "naive"}

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
        """One response per request, in order: every token costs a pass over all before it.

        Raises:
            LayerError, VectorError: for an edit that does not fit.
            EngineError: for a prompt without tokens, or a checkpoint that names no end-of-text token.
        """
        check_edits(self, (edit for request in requests for edit in request.edits))
        if not self._ends:
            raise EngineError(f"{self.checkpoint.label} names no end-of-text token, so no answer of its could end")
        prompts = rendering.encode(self._tokenizer, (request.text for request in requests))
        return [self._respond(request, prompts[request.text]) for request in requests]

    def read(self, responses: Sequence[Response]) -> Readings:
        """Mean activations of each response under the edits of its own request; means are taken in float64."""
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        none = Readings.none(self.last_layer + 1, self.hidden_size)
        return Readings.joined([none, *map(self._read, self.encode(responses))])

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        """The dot product of the residual stream with each probe, at every token; taken in float64."""
        check_edits(self, probes)
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        found = []
        for each in self.encode(responses):
            streams = self._pass(*each.spoken, each.request.edits).streams.double().numpy()
            along = [streams[probe.layer] @ probe.direction.astype(np.float64) for probe in probes]
            found.append(
                np.stack(along, 1).astype(np.float32) if along else np.zeros((streams.shape[1], 0), np.float32)
            )
        return found

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """The natural logarithm of each response token's probability, given all before it; taken in float64."""
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        found = []
        for each in self.encode(responses):
            tokens, start = each.spoken
            chances = self._pass(tokens, start, each.request.edits).logits.double().log_softmax(-1).numpy()
            found.append(np.array([chances[start - 1 + step, token] for step, token in enumerate(tokens[start:])]))
        return found

    def shortfalls(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_step"]]:
        """How far each token of each greedy answer lies below the likeliest, given all that was said before it.

        In shares of the distance from the mean logit to the highest: 0 for the token this engine would say, 1 for a
        token as unlikely as most, NaN where all are alike. An answer that ended has one number more, for the token that
        ended it. A repetition penalty is not known here.
        """
        return [self._shortfall(response) for response in self.encode(responses)]

    def layers_apart(self, responses: Sequence[Response]) -> Float[np.ndarray, "response layer"]:
        """How far the stream of each layer below the last is from the one transformers itself gives for that number.

        The largest distance of any token, relative to the token's own length; NaN where the model gives none.
        Transformers' last entry is after the final norm, so the last layer has no such witness.
        """
        rows = np.full((len(responses), self.last_layer), np.nan)
        for row, response in enumerate(self.encode(responses)):
            tokens, start = response.spoken
            found = self._pass(tokens, start, ())
            if found.named is not None and len(found.named) == self.last_layer + 1:
                for layer in range(self.last_layer):
                    theirs = found.named[layer][0].to("cpu", torch.float64)
                    lengths = torch.linalg.vector_norm(theirs, dim=-1)
                    distances = torch.linalg.vector_norm(found.streams[layer].double() - theirs, dim=-1)
                    rows[row, layer] = float((distances / lengths).max())
        return rows

    def close(self) -> None:
        """Frees the weights."""
        self._loaded = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _respond(self, request: Request, prompt: tuple[int, ...]) -> Response:
        said: tuple[int, ...] = ()
        finish: Literal["stop", "length"] = "length"
        for uniform in uniforms_of(request):
            logits = self._pass(prompt + said, len(prompt), request.edits).logits[-1]
            token = _choose(logits.double().numpy(), float(uniform), request.drawn_with, prompt + said)
            if token in self._ends:
                finish = "stop"
                break
            said += (token,)
        text = rendering.decode(self._tokenizer, [said])[0]
        return Response(request, prompt + said, len(prompt), text, finish)

    def _read(self, response: Response) -> Readings:
        tokens, start = response.spoken
        streams = self._pass(tokens, start, response.request.edits).streams.double()
        norms = torch.linalg.vector_norm(streams, dim=-1)
        # The mean of no token is NaN, which is what an empty response reads.
        means = (
            streams[:, start:].mean(1),
            streams[:, :start].mean(1),
            streams[:, start - 1],
            norms[:, start:].mean(1),
        )
        response_mean, prompt, last, norm = (each[None].to(torch.float32).numpy() for each in means)
        return Readings(response_mean, prompt, last, norm)

    def _shortfall(self, response: Response) -> Float[np.ndarray, "step"]:
        tokens, start = response.spoken
        logits = self._pass(tokens, start, response.request.edits).logits[start - 1 :].double().numpy()
        best, mean = logits.max(-1), logits.mean(-1)
        said = [logits[step, token] for step, token in enumerate(tokens[start:])]
        if response.finish == "stop":
            said.append(logits[len(said), self._ends].max())
        steps = slice(0, len(said))
        with np.errstate(invalid="ignore"):  # where all logits are equal, or none is a number, no share is known
            shares: np.ndarray = (best[steps] - np.array(said)) / (best[steps] - mean[steps])
        return shares

    def _pass(self, tokens: Sequence[int], start: int, edits: Sequence[Edit]) -> _Pass:
        """One forward pass over a text whose response starts at ``start``, under edits."""
        model, stream = self._weights()
        seen: dict[int, torch.Tensor] = {}

        def touching(layer: int) -> Touch:
            here = [edit for edit in edits if edit.layer == layer and edit.direction.any()]

            def touch(found: torch.Tensor) -> torch.Tensor:
                moved = _moved(here, found, start)
                seen[layer] = moved[0].detach().to("cpu", torch.float32)
                return moved

            return touch

        with torch.inference_mode(), stream.touched({each: touching(each) for each in range(self.last_layer + 1)}):
            ids = torch.tensor([list(tokens)], device=model.get_input_embeddings().weight.device)
            out = model(input_ids=ids, use_cache=False, output_hidden_states=not edits)
        layers = torch.stack([seen[layer] for layer in range(self.last_layer + 1)])
        return _Pass(layers, out.logits[0].to("cpu", torch.float32), getattr(out, "hidden_states", None))

    def _weights(self) -> tuple[Any, ResidualStream]:
        if self._loaded is None:
            model: Any = loading.load_model(self.checkpoint, device=self._device, dtype=self._dtype)
            model.set_attn_implementation("eager")
            self._loaded = model, ResidualStream(model, blocks=self.last_layer, hidden_size=self.hidden_size)
        return self._loaded


def _moved(edits: Sequence[Edit], stream: torch.Tensor, start: int) -> torch.Tensor:
    """One text's stream after its edits at a layer: what is added, summed up and rounded once, then the others."""
    added = [edit for edit in edits if edit.operation == "add"]
    if added:
        total = torch.zeros(stream.shape, dtype=torch.float32)
        for edit in added:
            total[:, _reached(edit, stream, start)] += torch.tensor(edit.direction)
        stream = stream + total.to(stream.device, stream.dtype)
    for edit in edits:
        if edit.operation != "add":
            stream = _held(edit, stream, start)
    return stream


def _held(edit: Edit, stream: torch.Tensor, start: int) -> torch.Tensor:
    """One text's stream with its projection on a direction taken away, or lowered to a bound."""
    stream, direction = stream.clone(), torch.tensor(edit.direction, device=stream.device)
    for position in range(*_reached(edit, stream, start).indices(stream.shape[1])):
        along = stream[0, position].float() @ direction
        wanted = torch.zeros_like(along) if edit.bound is None else along.clamp(max=edit.bound)
        if wanted != along:
            stream[0, position] = (stream[0, position].float() + (wanted - along) * direction).to(stream.dtype)
    return stream


def _reached(edit: Edit, stream: torch.Tensor, start: int) -> slice:
    """The positions an edit reaches in a text whose response starts at ``start``."""
    return slice(start - 1 if edit.where == "response" else 0, start if edit.where == "prompt" else stream.shape[1])


def _choose(logits: Float[np.ndarray, "token"], uniform: float, sampling: Sampling, spoken: Sequence[int]) -> int:
    """The token the numbers choose: repetition penalty, temperature, top-p, and the inverted distribution."""
    if not np.isfinite(logits.max()):
        raise EngineError("the model's logits are not finite, so no token can be drawn: lower the strength of the edit")
    scores, heard = logits.copy(), np.array(sorted(set(spoken)))
    penalty = sampling.repetition_penalty
    scores[heard] = np.where(scores[heard] < 0, scores[heard] * penalty, scores[heard] / penalty)
    if sampling.temperature == 0:
        return int(scores.argmax())
    weights = np.exp((scores - scores.max()) / sampling.temperature)
    if sampling.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= sampling.top_p * weights.sum()]] = 0.0
    mass = np.cumsum(weights)
    return int(np.searchsorted(mass, min(uniform * mass[-1], np.nextafter(mass[-1], 0)), side="right"))
