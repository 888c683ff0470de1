"""What the prompts of a batch have in common.

Owns: :class:`PromptTree` and :class:`Pages`. The one law: a token of a prompt is one node however many prompts begin
with the same tokens under the same edits, and where a prompt is cut into blocks and pages depends on its length alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Int

from personascope.core.records import Edit
from personascope.engines.edits import LAST_PROMPT, PROMPT

BLOCK: Final = 16
"""Prompt tokens that look back together. Where blocks begin is a matter of the position alone."""

PAGE: Final = 32
"""Prompt tokens that answers look back at together: a page is held once, for all rows whose prompts share it. Measured
on CPU (400 rows of some 90 prompt tokens, 512 wide): pages of 64 take twice as long where few rows share the last."""


@dataclass(frozen=True, eq=False)
class PromptTree:
    """The distinct prompt tokens of a batch, parents before children and shallow ones first.

    ``paths`` are the nodes of each row's prompt; ``rows`` is for each node a row it belongs to, and ``phases`` what it
    is in that row's prompt: together they say which edits reach it.
    """

    tokens: Int[np.ndarray, "node"]
    positions: Int[np.ndarray, "node"]
    parents: Int[np.ndarray, "node"]
    rows: Int[np.ndarray, "node"]
    phases: Int[np.ndarray, "node"]
    paths: list[Int[np.ndarray, "position"]]

    @classmethod
    def of(cls, prompts: Sequence[tuple[int, ...]], edits: Sequence[tuple[Edit, ...]]) -> PromptTree:
        """The tree of prompts under their rows' edits.

        Two prompts share a token if all tokens up to it are the same and the same edits reach them; those of
        ``where="response"`` reach a prompt's last token only, so a plain and a steered row share all but that.
        """
        places: dict[tuple[int, int, tuple[int, ...]], int] = {}
        nodes: list[tuple[int, int, int, int, int]] = []
        walked: dict[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], list[int]] = {}
        chosen = []
        for row, (prompt, mine) in enumerate(zip(prompts, edits, strict=True)):
            before = tuple(id(edit) for edit in mine if edit.where != "response" and edit.direction.any())
            at_last = tuple(id(edit) for edit in mine if edit.direction.any())
            path = walked.get((prompt, before, at_last))
            if path is None:
                path, parent = [], -1
                for position, token in enumerate(prompt):
                    last = position == len(prompt) - 1
                    key = (parent, token, at_last if last else before)
                    if key not in places:
                        places[key] = len(nodes)
                        nodes.append((token, position, parent, row, LAST_PROMPT if last else PROMPT))
                    parent = places[key]
                    path.append(parent)
                walked[prompt, before, at_last] = path
            chosen.append(path)
        table = np.array(nodes, dtype=np.int64)
        order = np.argsort(table[:, 1], kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        tokens, positions, parents, rows, phases = table[order].T
        parents = np.where(parents < 0, -1, rank[parents])
        ranked = {id(path): rank[path] for path in walked.values()}
        return cls(tokens, positions, parents, rows, phases, [ranked[id(path)] for path in chosen])

    def blocks(self) -> list[tuple[Int[np.ndarray, "block position"], Int[np.ndarray, "block"]]]:
        """For every depth of blocks: the nodes up to the end of each distinct block, and how many they are.

        A short last block is filled up with node 0.
        """
        found: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
        for path in {int(path[-1]): path for path in self.paths}.values():
            for start in range(0, len(path), BLOCK):
                some = path[: start + BLOCK]
                found[start // BLOCK].setdefault(int(some[-1]), some)
        levels = []
        for level in sorted(found):
            filled = np.zeros((len(found[level]), (level + 1) * BLOCK), dtype=np.int64)
            for place, some in enumerate(found[level].values()):
                filled[place, : len(some)] = some
            levels.append((filled, np.array([len(some) for some in found[level].values()])))
        return levels


@dataclass(frozen=True, eq=False)
class Group:
    """Pages that about as many rows share.

    ``rows`` are the rows of each page, filled up with the first so that every page has as many.
    """

    first: int
    rows: Int[np.ndarray, "page place"]


@dataclass(frozen=True, eq=False)
class Pages:
    """The pages of a batch: which nodes each holds, which rows look at it, and where each row finds its own.

    A page is named by its first position and its last node. ``nodes`` are filled up with node 0 and ``filled`` says how
    many are real; ``starts`` are their first positions.
    ``places`` gives, for the n-th page of each row, the place of the pair (page, row) among all of ``groups`` one after
    another; one past the last place for a row of fewer pages.
    """

    names: list[tuple[int, int]]
    nodes: Int[np.ndarray, "page PAGE"]
    filled: Int[np.ndarray, "page"]
    starts: Int[np.ndarray, "page"]
    groups: list[Group]
    places: Int[np.ndarray, "slot row"]

    @classmethod
    def of(cls, paths: Sequence[Int[np.ndarray, "position"]], *, fewest: int) -> Pages:
        """The pages of rows with these paths; each is looked at by at least ``fewest`` places, copies if need be."""
        users: dict[tuple[int, int], list[int]] = defaultdict(list)
        ends = {}
        for row, path in enumerate(paths):
            for start in range(0, len(path), PAGE):
                some = path[start : start + PAGE]
                users[start, int(some[-1])].append(row)
                ends[start, int(some[-1])] = some
        by_size: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for page, rows in users.items():
            by_size[max(fewest, 1 << (len(rows) - 1).bit_length())].append(page)
        order = [page for size in sorted(by_size) for page in by_size[size]]
        nodes = np.zeros((len(order), PAGE), dtype=np.int64)
        for place, page in enumerate(order):
            nodes[place, : len(ends[page])] = ends[page]
        total = sum(size * len(some) for size, some in by_size.items())
        places = np.full((max(len(path) - 1 for path in paths) // PAGE + 1, len(paths)), total)
        groups, first, before = [], 0, 0
        for size in sorted(by_size):
            looking = np.zeros((len(by_size[size]), size), dtype=np.int64)
            for place, page in enumerate(by_size[size]):
                looking[place] = users[page][0]
                looking[place, : len(users[page])] = users[page]
                places[page[0] // PAGE, users[page]] = before + place * size + np.arange(len(users[page]))
            groups.append(Group(first, looking))
            first, before = first + len(looking), before + looking.size
        filled = np.array([len(ends[page]) for page in order])
        return cls(order, nodes, filled, np.array([start for start, _ in order]), groups, places)
