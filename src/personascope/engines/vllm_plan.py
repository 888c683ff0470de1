"""What vLLM's worker does with each token: planned by absolute position, and known without vLLM.

Owns: :class:`Asked`, :func:`lay_out`, :class:`Tally`, :func:`salt_of`, :func:`seed_of`. The one law: what is done to a
token depends on its own request and on its position in that request's text alone. How vLLM cuts a text into steps, what
it keeps in its prefix cache and what it computes twice decides nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Int

from personascope.core.edits import Edit
from personascope.core.errors import EngineError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request
from personascope.engines.edits import LAST_PROMPT, PROMPT, RESPONSE
from personascope.engines.reading import Spoken

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
