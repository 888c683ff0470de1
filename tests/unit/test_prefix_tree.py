"""What prompts have in common, against counting it by hand."""

from __future__ import annotations

import numpy as np
import pytest

from personascope.core.records import Edit
from personascope.engines.hf.prefix_tree import PromptTree

PUSH = {where: Edit(np.ones(4), 1, where) for where in ("response", "prompt", "all")}


def prompts(count: int, *, seed: int = 0) -> list[tuple[int, ...]]:
    """Prompts of unequal lengths, most of which begin alike."""
    random = np.random.default_rng(seed)
    beginnings = [tuple(random.integers(0, 9, size=50)) for _ in range(3)]
    return [
        beginnings[place % 3][: random.integers(1, 51)] + tuple(random.integers(0, 3, size=random.integers(1, 40)))
        for place in range(count)
    ]


def test_every_distinct_beginning_is_one_node_and_a_child_comes_after_its_parent() -> None:
    some = prompts(40)
    tree = PromptTree.of(some, [()] * len(some))
    beginnings = {prompt[: place + 1] for prompt in some for place in range(len(prompt))}
    assert len(tree.tokens) == len(beginnings)
    assert (tree.parents < np.arange(len(tree.tokens))).all()
    for prompt, path in zip(some, tree.paths, strict=True):
        assert tuple(tree.tokens[path]) == prompt
        assert tree.positions[path].tolist() == list(range(len(prompt)))
        assert tree.parents[path].tolist() == [-1, *path[:-1]]


@pytest.mark.parametrize(("where", "own"), [("response", 1), ("prompt", 30), ("all", 30)])
def test_a_steered_row_shares_with_a_plain_one_what_its_edits_do_not_reach(where: str, own: int) -> None:
    prompt = tuple(range(30))
    tree = PromptTree.of([prompt] * 4, [(), (PUSH[where],), (PUSH[where],), ()])
    assert len(tree.tokens) == 30 + own
    assert tree.paths[0].tolist() == tree.paths[3].tolist()
    assert tree.paths[1].tolist() == tree.paths[2].tolist()


def test_an_edit_of_zeros_is_no_reason_to_compute_anything_twice() -> None:
    nothing = Edit(np.zeros(4), 1, "all")
    assert len(PromptTree.of([(1, 2, 3)] * 2, [(), (nothing,)]).tokens) == 3
