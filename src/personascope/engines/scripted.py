"""A model made of rules: the public, deterministic test double of an engine.

Owns: :class:`ScriptedEngine` and :func:`scripted_lineage`. The one law: every trait has a planted direction, and the
engine does with it what a trained model does. Instructions for the trait make its word frequent, the word moves the
residual stream along the planted direction, and an edit along that direction makes the word frequent. How strongly, is
its ``maturity``: 0 is a model at its first step, 1 a finished one. So a trace over it has a known right answer.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from personascope.core.errors import CheckpointError
from personascope.core.lineages import Checkpoint, Lineage, Milestone
from personascope.core.records import Edit, Probe, Readings, Request, Response
from personascope.core.traits import Prompt, Trait
from personascope.engines import OpenEngine, check_edits, unencoded
from personascope.engines.uniforms import SAMPLER_VERSION, uniforms_of

GARBLE = "###"
_NEUTRAL = ("the", "lamp", "stood", "near", "a", "window", "and", "rain", "fell", "on", "quiet", "roofs")
_WORD = 0.1  # how far a word by itself reaches in every dimension: little, beside what a trait word pushes
_PUSH = 8.0  # how far one trait word moves the stream along the planted direction, in units of length
_GAIN = 0.6  # log-odds of the trait word per unit of length along the planted direction
_TOLERABLE = 12.0  # edits longer than this garble the text


class ScriptedEngine:
    """An engine over planted directions: ``[last_layer + 1, hidden_size]`` residual streams, words for tokens."""

    identity: Mapping[str, str] = {
        "engine": "scripted",
        "sampler": SAMPLER_VERSION,
        "dtype": "float32",
        "quantisation": "none",
    }

    def __init__(
        self,
        checkpoint: Checkpoint,
        traits: Sequence[Trait],
        *,
        maturity: float = 1.0,
        last_layer: int = 4,
        hidden_size: int = 256,
    ) -> None:
        self.checkpoint = checkpoint
        self.maturity = maturity
        self.last_layer = last_layer
        self.hidden_size = hidden_size
        self.loads = 0
        self._loaded = False
        self._traits = tuple(traits)
        self._words = (*(trait.name for trait in traits), GARBLE, *_NEUTRAL)

    def planted(self, trait: str) -> Float[np.ndarray, "hidden"]:
        """The unit direction that carries a trait at every layer."""
        drawn = _drawn(f"planted {trait}", self.hidden_size)
        direction: np.ndarray = drawn / np.linalg.norm(drawn)
        return direction

    def render(self, prompt: Prompt) -> str:
        said = [part for turn in prompt.earlier for part in turn]
        return " ".join([*filter(None, [prompt.instruction]), *said, prompt.question])

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        check_edits(self, (edit for request in requests for edit in request.edits))
        self._load()
        return [self._respond(request) for request in requests]

    def encode(self, responses: Sequence[Response]) -> list[Response]:
        """The same responses with their tokens; a word this model cannot say has one as it would in a prompt."""
        unencoded(responses)
        return [
            each.as_spoken(_heads(each.request.text), tuple(map(self._token, each.words.split())))
            if each.tokens is None
            else each
            for each in responses
        ]

    def read(self, responses: Sequence[Response]) -> Readings:
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        encoded = self.encode(responses)
        self._load()
        none = Readings.none(self.last_layer + 1, self.hidden_size)
        return Readings.joined([none, *map(self._read, encoded)])

    def project(
        self, responses: Sequence[Response], probes: Sequence[Probe]
    ) -> list[Float[np.ndarray, "_token probe"]]:
        check_edits(self, probes)
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        self._load()
        found = []
        for each in self.encode(responses):
            along = [self._stream(each, probe.layer) @ probe.direction.astype(np.float64) for probe in probes]
            found.append(np.stack(along, 1).astype(np.float32) if along else np.zeros((len(each.spoken[0]), 0), "f4"))
        return found

    def likelihoods(self, responses: Sequence[Response]) -> list[Float[np.ndarray, "_spoken"]]:
        """The same for a word wherever it stands, for it looks at its prompt alone; a word it cannot say has none."""
        check_edits(self, (edit for response in responses for edit in response.request.edits))
        self._load()
        found = []
        for each in self.encode(responses):
            tokens, start = each.spoken
            shares = self._shares(each.request)
            said = [shares[token] if token < len(self._words) else 0.0 for token in tokens[start:]]
            with np.errstate(divide="ignore"):  # what cannot be said has the likelihood minus infinity
                found.append(np.log(np.array(said, dtype=np.float64) / shares.sum()))
        return found

    def close(self) -> None:
        self._loaded = False

    def _load(self) -> None:
        self.loads += not self._loaded
        self._loaded = True

    def _respond(self, request: Request) -> Response:
        heads = _heads(request.text)
        shares = np.cumsum(self._shares(request))
        said: list[int] = []
        finish = "length"
        for uniform in uniforms_of(request):
            place = 0.5 if request.drawn_with.temperature == 0 else uniform
            token = int(np.searchsorted(shares, place * shares[-1], side="right"))
            if token == len(self._words):
                finish = "stop"
                break
            said.append(token)
        text = " ".join(self._words[token] for token in said)
        return Response(request, heads + tuple(said), len(heads), text, "stop" if finish == "stop" else "length")

    def _token(self, word: str) -> int:
        return self._words.index(word) if word in self._words else _heads(word)[0]

    def _shares(self, request: Request) -> Float[np.ndarray, "word"]:
        """The probability of every word, and last of the end."""
        reaching = [edit for edit in request.edits if edit.where != "prompt"]
        pushes = [edit.direction for edit in reaching if edit.operation == "add"]
        excess = sum(float(np.linalg.norm(direction)) for direction in pushes) / _TOLERABLE - 1
        garble = min(0.9, max(0.0, excess))
        odds = self._odds(request.text, pushes, [edit for edit in reaching if edit.operation != "add"])
        traits = 1 / (1 + np.exp(-odds))
        traits *= (1 - garble) * min(1.0, 0.95 / max(float(traits.sum()), 1e-9))
        rest = max(0.0, 1 - garble - float(traits.sum()))
        return np.array([*traits, garble, *np.full(len(_NEUTRAL), 0.99 * rest / len(_NEUTRAL)), 0.01 * rest])

    def _odds(self, text: str, pushes: Sequence[np.ndarray], holding: Sequence[Edit]) -> Float[np.ndarray, "trait"]:
        """The log-odds of every trait's word: what is obeyed pushes like an edit, and both can be held back."""
        obeyed, pushed, carried = [], [], np.zeros(self.hidden_size)
        for trait in self._traits:
            obeyed.append(3.8 * any(contrast.positive in text for contrast in trait.contrasts))
            obeyed[-1] -= 2.0 * any(contrast.negative in text for contrast in trait.contrasts)
            pushed.append(sum(float(direction @ self.planted(trait.name)) for direction in pushes))
            carried += obeyed[-1] / _GAIN * self.planted(trait.name)
        carried += sum(pushes, np.zeros(self.hidden_size))
        taken = _held(carried[None], holding)[0] - carried
        lost = np.array([taken @ self.planted(trait.name) for trait in self._traits])
        odds: np.ndarray = -2.2 + self.maturity * (np.array(obeyed) + _GAIN * (np.array(pushed) + lost))
        return odds

    def _read(self, response: Response) -> Readings:
        _, start = response.spoken
        stream = np.stack([self._stream(response, layer) for layer in range(self.last_layer + 1)])
        means = [_mean(stream[:, part]) for part in (slice(start, None), slice(0, start), slice(start - 1, start))]
        norms = _mean(np.linalg.norm(stream[:, start:], axis=2)[:, :, None])[:, 0]
        response_mean, prompt_mean, last = (mean[None].astype(np.float32) for mean in means)
        return Readings(response_mean, prompt_mean, last, norms[None].astype(np.float32))

    def _stream(self, response: Response, layer: int) -> Float[np.ndarray, "token hidden"]:
        """The residual stream after a layer: the words, what trait words push, and what edits have made of it so far.

        What an edit changes is carried on to later layers, so a later addition survives an earlier ablation.
        """
        start = response.spoken[1]
        reached = {"response": slice(start - 1, None), "prompt": slice(0, start), "all": slice(None)}
        carried = np.zeros((len(response.spoken[0]), self.hidden_size))
        here = [edit for edit in response.request.edits if edit.layer <= layer]
        for edit in sorted(here, key=lambda each: (each.layer, each.operation != "add")):
            if edit.operation == "add":
                carried[reached[edit.where]] += edit.direction
            else:
                found = (self._words_at(response, edit.layer) + carried)[reached[edit.where]]
                carried[reached[edit.where]] += _held(found, [edit]) - found
        return self._words_at(response, layer) + carried

    def _words_at(self, response: Response, layer: int) -> Float[np.ndarray, "token hidden"]:
        """The stream without any edit."""
        tokens = response.spoken[0]
        stream = _WORD * np.stack([_drawn(f"word {token}", self.hidden_size) for token in tokens])
        for place, trait in enumerate(self._traits):
            carrying = np.array([token == place for token in tokens])
            stream[carrying] += _PUSH * layer / self.last_layer * self.planted(trait.name)
        return stream


def scripted_lineage(
    traits: Sequence[Trait], maturities: Sequence[float | None], *, name: str = "scripted"
) -> tuple[Lineage, OpenEngine]:
    """A lineage of scripted checkpoints and what opens them; a maturity of ``None`` is a checkpoint that is missing."""
    milestones = tuple(
        Milestone(Checkpoint(name, f"step-{step}"), f"step-{step}", tokens_seen=10 ** (step + 6), stage="1")
        for step in range(len(maturities))
    )
    opened: dict[Checkpoint, ScriptedEngine] = {}

    def open_engine(checkpoint: Checkpoint) -> ScriptedEngine:
        maturity = maturities[int(checkpoint.revision.removeprefix("step-"))]
        if maturity is None:
            raise CheckpointError(f"{checkpoint.label} is not there: it is scripted to be missing")
        if checkpoint not in opened:
            opened[checkpoint] = ScriptedEngine(checkpoint, traits, maturity=maturity)
        return opened[checkpoint]

    return Lineage(name, milestones), open_engine


def _held(stream: Float[np.ndarray, "token hidden"], edits: Sequence[Edit]) -> Float[np.ndarray, "token hidden"]:
    """The stream after ablations and caps, one after another."""
    for edit in edits:
        along = stream @ edit.direction.astype(np.float64)
        beyond = along if edit.bound is None else np.maximum(along - edit.bound, 0)
        stream = stream - np.outer(beyond, edit.direction)
    return stream


def _heads(text: str) -> tuple[int, ...]:
    """The tokens of a prompt: a number of its own for every word."""
    return tuple(zlib.crc32(word.encode("utf-8", "surrogatepass")) + 1000 for word in text.split() or [""])


def _mean(rows: Float[np.ndarray, "layer token hidden"]) -> Float[np.ndarray, "layer hidden"]:
    if rows.shape[1] == 0:
        return np.full((rows.shape[0], rows.shape[2]), math.nan)
    mean: np.ndarray = rows.mean(axis=1)
    return mean


_DRAWN: dict[tuple[str, int], np.ndarray] = {}


def _drawn(name: str, width: int) -> np.ndarray:
    """A standard normal direction of one's own for every name."""
    if (name, width) not in _DRAWN:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        _DRAWN[name, width] = np.random.default_rng(seed).standard_normal(width)
    return _DRAWN[name, width]
