"""What vLLM's worker does with each token and measures of it: planned by absolute position, and known without vLLM.

What is done to a token depends on its own request and on its position in that request's text alone. How vLLM cuts a
text into steps, what it keeps in its prefix cache and what it computes twice decides nothing: every token of every text
is measured once (:class:`Tally`), and sums are exact beyond float32, so their order does not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from personascope.core.edits import Edit, Probe
from personascope.core.errors import EngineError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request
from personascope.engines.hf.edits import LAST_PROMPT, PROMPT, RESPONSE
from personascope.engines.hf.reading import Spoken

SEEDS_VERSION: Final = "1"
"""Part of every response's key, beside vLLM's version: to be raised whenever :func:`seed_of` gives another seed."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One request as the worker knows it: how many tokens it is given, how many of them are the prompt's, its edits.

    A text that is read is given whole, so ``given`` then counts the response too.
    """

    given: int
    prompt: int
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Piece:
    """What one step computes of one request (its ``ticket``): ``count`` tokens from position ``first`` on."""

    ticket: int
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class Step:
    """One forward pass, token by token: whose it is, where in its text it stands, and in which phase."""

    tickets: Int[np.ndarray, "token"]
    positions: Int[np.ndarray, "token"]
    phases: Int[np.ndarray, "token"]


def lay_out(pieces: Sequence[Piece], prompts: Int[np.ndarray, "ticket"]) -> Step:
    """The tokens of a forward pass; ``prompts`` is how many prompt tokens each request has.

    The last prompt token is both the end of the prompt and the position that predicts the first response token, also
    where it is the only one.
    """
    tickets = np.repeat([piece.ticket for piece in pieces], [piece.count for piece in pieces]).astype(np.int64)
    ranges = [np.arange(piece.first, piece.first + piece.count) for piece in pieces]
    positions = np.concatenate([np.zeros(0, np.int64), *ranges]).astype(np.int64)
    last = prompts[tickets] - 1
    phases = np.where(positions < last, PROMPT, np.where(positions == last, LAST_PROMPT, RESPONSE)).astype(np.int64)
    return Step(tickets, positions, phases)


class Tally:
    """Which tokens of each text have been counted, so that each is counted once.

    A text may come in pieces, and after it was pushed out of memory its beginning comes again.
    """

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._given = [each.given for each in asked]
        self._counted = [0] * len(asked)

    def fresh(self, pieces: Sequence[Piece]) -> Int[np.ndarray, "place"]:
        """The places, among the tokens of these pieces, of those that were not counted before.

        Raises:
            EngineError: if a piece begins beyond what was counted, because vLLM took what lies between from its cache.
        """
        places, start = [np.zeros(0, np.int64)], 0
        for piece in pieces:
            counted, end = self._counted[piece.ticket], min(piece.first + piece.count, self._given[piece.ticket])
            if piece.first > counted:
                raise EngineError(
                    f"vLLM left out tokens {counted} to {piece.first - 1} of a text that was to be read: "
                    "its prefix cache was used where it must not be; read with the transformers engine"
                )
            if end > counted:
                places.append(np.arange(start + counted - piece.first, start + end - piece.first))
                self._counted[piece.ticket] = end
            start += piece.count
        return np.concatenate(places)

    def check_complete(self) -> None:
        """Every token of every text was counted.

        Raises:
            EngineError: if not: the model ran without the hooks, or did not run.
        """
        short = [ticket for ticket, given in enumerate(self._given) if self._counted[ticket] != given]
        if short:
            raise EngineError(
                f"vLLM computed {self._counted[short[0]]} of {self._given[short[0]]} tokens where they could be read "
                f"({len(short)} texts): the model runs compiled or elsewhere; open it with the transformers engine"
            )


def whole(rows: Sequence[Spoken]) -> list[Asked]:
    """Texts that are read: each is given with its response."""
    return [Asked(len(row.tokens), row.response_start, row.request.edits) for row in rows]


def alike(asked: Sequence[Asked]) -> list[Asked]:
    """The same with the edits that do anything, where equal ones are one object: what they do is laid out once."""
    known: dict[str, Edit] = {}
    return [
        replace(each, edits=tuple(known.setdefault(str(edit.identity), edit) for edit in acting(each.edits)))
        for each in asked
    ]


def acting(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """The edits that do anything: a direction of zeros does not."""
    return tuple(edit for edit in edits if edit.direction.any())


def salt_of(checkpoint: Checkpoint, edits: Sequence[Edit], prompt: int) -> str | None:
    """What vLLM's prefix cache has to tell texts apart by, beside their tokens; ``None`` without an edit that acts.

    Keys and values of a token depend on the edits at every token before it. Edits of everything leave the same wherever
    the prompt ends; any other edit begins or ends there, so ``prompt``, its number of tokens, is part of the salt.
    """
    made = acting(edits)
    if not made:
        return None
    ends = None if all(edit.where == "all" for edit in made) else prompt
    return key_of("vllm prefix", {"checkpoint": checkpoint, "edits": made, "prompt": ends})


def seed_of(request: Request) -> int:
    """The seed of a request's own generator: of text, draw and seed alone, so that all arms of a question share it."""
    named = json.dumps([request.text, request.draw, request.drawn_with.seed], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(named.encode("ascii")).digest()[:8], "little") >> 1


def in_chunks(count: int, bytes_each: int, room: int) -> Iterator[range]:
    """Rows that are read together: as many as ``room`` bytes hold of their sums, at least one."""
    size = max(1, room // bytes_each)
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


_RESPONSE, _PROMPT, _LAST = range(3)
SPANS: Final = ("response", "prompt", "last_prompt")


class Follower(Protocol):
    """Something that measures the residual stream as it passes."""

    def prepare(self, device: torch.device) -> None:
        """Before the first pass."""
        ...

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Before every pass: what it will hold."""
        ...

    def follows(self, layer: int) -> bool:
        """Whether a layer is measured."""
        ...

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """One layer's stream, after the edits."""
        ...

    def found(self) -> Any:
        """What was measured; an :class:`~personascope.core.errors.EngineError` if a token was not."""
        ...


class Means:
    """The means of the stream of every layer over response, prompt and last prompt token, and the mean norm."""

    def __init__(self, asked: Sequence[Asked], layers: int, hidden_size: int) -> None:
        self._asked, self._layers, self._hidden_size = asked, layers, hidden_size
        self._tally = Tally(asked)

    def prepare(self, device: torch.device) -> None:
        """Room for the sums, in float64."""
        count = len(self._asked)
        exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self._sums = torch.zeros((self._layers, 3 * count, self._hidden_size), **exact)
        self._norms = torch.zeros((self._layers, count), **exact)
        self._device = device

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Which sums each token of the pass belongs to: a last prompt token belongs to two."""
        places = self._tally.fresh(pieces)
        tickets, phases = step.tickets[places], step.phases[places]
        spans = np.where(phases == RESPONSE, _RESPONSE, _PROMPT)
        last, said = phases == LAST_PROMPT, phases == RESPONSE
        rows = np.concatenate([3 * tickets + spans, 3 * tickets[last] + _LAST])
        there = [rows, np.concatenate([places, places[last]]), tickets[said], places[said]]
        self._rows, self._places, self._sayers, self._said = (torch.from_numpy(each).to(self._device) for each in there)

    def follows(self, layer: int) -> bool:
        """Every layer is read."""
        return True

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """Adds the pass to the sums."""
        exact = stream.double()
        self._sums[layer].index_add_(0, self._rows, exact[self._places])
        norms = torch.linalg.vector_norm(exact[self._said], dim=-1)
        self._norms[layer].index_add_(0, self._sayers, norms)

    def found(self) -> dict[str, Float[np.ndarray, "row layer ..."]]:
        """The four means per text and layer; those of an empty response are NaN."""
        self._tally.check_complete()
        prompts = torch.tensor([each.prompt for each in self._asked], dtype=torch.float64, device=self._device)
        said = torch.tensor([each.given for each in self._asked], dtype=torch.float64, device=self._device) - prompts
        counts = torch.stack([said, prompts, torch.ones_like(said)], 1)
        means = self._sums.view(self._layers, len(self._asked), 3, self._hidden_size) / counts[None, :, :, None]
        by_row = means.permute(1, 2, 0, 3).float().cpu().numpy()
        norms = (self._norms / said).T.float().cpu().numpy()
        return {**{name: by_row[:, place] for place, name in enumerate(SPANS)}, "norms": norms}


class Projections:
    """The dot product of the stream with every probe, token by token."""

    def __init__(self, asked: Sequence[Asked], probes: Sequence[Probe]) -> None:
        self._asked, self._probes = asked, probes
        self._tally = Tally(asked)
        self._columns: dict[int, list[int]] = defaultdict(list)
        for place, probe in enumerate(probes):
            self._columns[probe.layer].append(place)

    def prepare(self, device: torch.device) -> None:
        """The directions beside the model, and room for what is measured."""
        self._directions = {
            layer: torch.from_numpy(np.stack([self._probes[column].direction for column in columns], 1)).to(device)
            for layer, columns in self._columns.items()
        }
        self._found = [np.zeros((each.given, len(self._probes)), dtype=np.float32) for each in self._asked]

    def begin(self, pieces: Sequence[Piece], step: Step) -> None:
        """Where each token of the pass is written."""
        places = self._tally.fresh(pieces)
        self._step = [
            (int(ticket), places[step.tickets[places] == ticket]) for ticket in np.unique(step.tickets[places])
        ]
        self._positions = step.positions

    def follows(self, layer: int) -> bool:
        """Only layers with a probe."""
        return layer in self._columns

    def take(self, layer: int, stream: Float[torch.Tensor, "token hidden"]) -> None:
        """Writes down the pass."""
        along = (stream.float() @ self._directions[layer]).cpu().numpy()
        for ticket, places in self._step:
            self._found[ticket][np.ix_(self._positions[places], self._columns[layer])] = along[places]

    def found(self) -> list[Float[np.ndarray, "_token probe"]]:
        """One array per text."""
        self._tally.check_complete()
        return self._found
