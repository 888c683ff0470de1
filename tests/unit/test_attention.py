"""Attention token by token, against softmax over each row's own past written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personascope.engines.hf.attention import SlotAttention
from personascope.engines.hf.prefix_tree import PromptTree

SIZE = 8


def a_tree() -> PromptTree:
    beginning = tuple(range(40))
    prompts = [(*beginning[:length], *[50 + row] * (row % 3)) for row, length in enumerate((1, 17, 40, 33, 17))]
    return PromptTree.of(prompts, [()] * len(prompts))


def naive(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, pasts: list[np.ndarray], window: int | None
) -> torch.Tensor:
    """Each token's mean of the values of its past: the slots in ``pasts``, itself included."""
    heads, share = queries.shape[1], queries.shape[1] // keys.shape[1]
    told = torch.empty_like(queries)
    for token, past in enumerate(pasts):
        seen = past if window is None else past[-window:]
        for head in range(heads):
            scores = keys[seen, head // share].double() @ queries[token, head].double() / 3
            told[token, head] = (scores.softmax(0) @ values[seen, head // share].double()).float()
    return told


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
def test_every_token_learns_the_mean_of_its_own_past(window: int | None, heads: tuple[int, int]) -> None:
    torch.manual_seed(0)
    tree, steps = a_tree(), 3
    attention = SlotAttention(tree, longest=steps)
    nodes, rows = len(tree.tokens), len(tree.paths)
    slots = nodes + rows * steps
    keys, values, queries = (torch.randn(slots, count, SIZE) for count in (heads[1], heads[1], heads[0]))
    past = [
        next(path[: depth + 1] for path in tree.paths if len(path) > depth and path[depth] == node)
        for node, depth in enumerate(tree.positions)
    ]
    middle = nodes // 2
    told = []
    for first, until in ((0, middle), (middle, nodes)):
        attention.computing(first, until)
        assert attention.count == until - first
        told.append(attention.attend(0, queries[first:until], keys[first:until], values[first:until], 1 / 3, window))
    mine = list(tree.paths)
    for step in range(steps):
        if step == 2:  # two rows leave
            attention.keep(np.array([0, 2, 3]))
            mine = [mine[0], mine[2], mine[3]]
        attention.speaking(step)
        first = sum(len(each) for each in told)
        until = first + len(mine)
        mine = [np.append(each, first + row) for row, each in enumerate(mine)]
        past += mine
        told.append(attention.attend(0, queries[first:until], keys[first:until], values[first:until], 1 / 3, window))
    found = torch.cat(told)
    expected = naive(queries[: len(past)], keys, values, past, window)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_what_is_heard_at_once_has_the_bits_of_what_is_said_step_by_step() -> None:
    torch.manual_seed(0)
    tree, steps = a_tree(), 4
    rows, nodes = len(tree.paths), len(tree.tokens)
    prompt, said = torch.randn(3, nodes, 2, SIZE), torch.randn(3, steps, rows, 2, SIZE)
    speaking, hearing = SlotAttention(tree, longest=steps), SlotAttention(tree, longest=steps)
    for each in (speaking, hearing):
        each.computing(0, nodes)
        each.attend(0, prompt[0], prompt[1], prompt[2], 1.0, None)
    told = []
    for step in range(steps):
        speaking.speaking(step)
        told.append(speaking.attend(0, said[0, step], said[1, step], said[2, step], 1.0, None))
    hearing.hearing(np.tile(np.arange(rows), steps), np.repeat(np.arange(steps), rows))
    query, key, value = said.flatten(1, 2)
    assert torch.equal(hearing.attend(0, query, key, value, 1.0, None), torch.cat(told))


def test_layers_of_other_heads_sizes_and_windows_do_not_disturb_one_another() -> None:
    torch.manual_seed(0)
    tree = a_tree()
    nodes, together = len(tree.tokens), SlotAttention(tree, longest=1)
    together.computing(0, nodes)
    for layer, (heads, mine, size, window) in enumerate(
        [(4, 2, 8, 20), (2, 2, 4, None), (4, 1, 8, 20), (4, 2, 8, None)]
    ):
        query, (key, value) = torch.randn(nodes, heads, size), torch.randn(2, nodes, mine, size)
        alone = SlotAttention(tree, longest=1)
        alone.computing(0, nodes)
        expected = alone.attend(0, query, key, value, 1.0, window)
        assert torch.equal(together.attend(layer, query, key, value, 1.0, window), expected), f"layer {layer}"


def trees_apart() -> PromptTree:
    """Prompts that have nothing in common."""
    prompts = [tuple(range(100 * row, 100 * row + length)) for row, length in enumerate((20, 1, 17, 33))]
    return PromptTree.of(prompts, [()] * len(prompts))


@pytest.mark.parametrize(("tree", "spoiler"), [(a_tree(), 2), (trees_apart(), 0), (trees_apart(), 3)])
def test_a_mate_whose_numbers_overflow_spoils_nobody_else(tree: PromptTree, spoiler: int) -> None:
    torch.manual_seed(0)
    nodes, rows = len(tree.tokens), len(tree.paths)
    prompt, said = torch.randn(3, nodes, 2, SIZE), torch.randn(3, rows, 2, SIZE)
    others = np.delete(np.arange(rows), spoiler)
    shared = np.unique(np.concatenate([tree.paths[row] for row in others]))
    own = np.setdiff1d(tree.paths[spoiler], shared)
    told = []
    for number in (None, torch.inf, torch.nan):
        if number is not None:
            prompt[:, own], said[:, spoiler] = number, number
        attention = SlotAttention(tree, longest=1)
        attention.computing(0, nodes)
        layers = [attention.attend(layer, *prompt, 1.0, None)[shared] for layer in range(2)]
        attention.speaking(0)
        told.append(torch.cat([*layers, *(attention.attend(layer, *said, 1.0, None)[others] for layer in range(2))]))
    assert torch.equal(told[1], told[0])
    assert torch.equal(told[2], told[0])
