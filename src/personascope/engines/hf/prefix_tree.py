"""What the prompts of a batch have in common.

Owns: :class:`PromptTree`. The one law: a token of a prompt is one node however many prompts begin with the same tokens
under the same edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from personascope.core.records import Edit
from personascope.engines.hf.edits import LAST_PROMPT, PROMPT


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
    paths: list[Int[np.ndarray, "_position"]]

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
