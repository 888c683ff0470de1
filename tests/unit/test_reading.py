"""What is read while it passes, against plain means of the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from personascope.engines.hf.decoding import Loaded
from personascope.engines.hf.prefix_tree import PromptTree
from personascope.engines.hf.reading import Sums

LAYERS, WIDTH = 2, 4


def sums_of(tree: PromptTree) -> Sums:
    """The sums of a model that has a width and layers and nothing else."""
    loaded = Loaded(
        model=torch.nn.Identity(),
        stream=None,  # type: ignore[arg-type]
        config=None,
        hidden_size=WIDTH,
        last_layer=LAYERS - 1,
        end_tokens=frozenset(),
        dtype=torch.float32,
        device=torch.device("cpu"),
        parameters=0,
    )
    return Sums(loaded, tree)


def passes(tree: PromptTree, at_once: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """The prompt tokens of each pass, and those among them that end a prompt."""
    ends = np.unique([path[-1] for path in tree.paths])
    for first in range(0, len(tree.tokens), at_once):
        until = min(first + at_once, len(tree.tokens))
        yield first, until, ends[(ends >= first) & (ends < until)]


def told(sums: Sums, tree: PromptTree, streams: np.ndarray, at_once: int) -> None:
    """Lets the prompts pass; a token more fills every pass up."""
    for first, until, ends in passes(tree, at_once):
        for layer, touch in sums.of_prompts({}, first, until, ends).items():
            passing = np.concatenate([streams[layer, first:until], np.full((1, WIDTH), np.nan, np.float32)])
            touch(torch.from_numpy(passing)[None])


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
def test_prompts_have_the_means_of_their_own_tokens_however_many_pass_at_once(at_once: int) -> None:
    random = np.random.default_rng(0)
    beginning = tuple(range(12))
    prompts = [
        (*beginning[:shared], *random.integers(20, 23, more).tolist())
        for shared, more in zip((0, 0, 0, 4, 4, 9, 12, 12, 1), (1, 3, 9, 2, 2, 5, 0, 6, 1), strict=True)
    ]
    tree = PromptTree.of(prompts, [()] * len(prompts))
    streams = random.normal(size=(LAYERS, len(tree.tokens), WIDTH)).astype(np.float32)
    sums = sums_of(tree)
    told(sums, tree, streams, at_once)
    found = sums.means()
    for row, path in enumerate(tree.paths):
        np.testing.assert_allclose(found["prompt"][row], streams[:, path].mean(1, dtype=float), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found["last_prompt"][row], streams[:, path[-1]])
    assert np.isnan(found["response"]).all(), "nobody has said anything yet"


def test_long_texts_lose_no_digits() -> None:
    length, random = 6000, np.random.default_rng(0)
    tree = PromptTree.of([tuple(range(length))], [()])
    streams = (3 + random.normal(size=(LAYERS, length, WIDTH))).astype(np.float32)
    sums = sums_of(tree)
    told(sums, tree, streams, 4096)
    row, place = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for token in range(length):
        for layer, touch in sums.of_answers({}, [(row, place)]).items():
            touch(torch.from_numpy(streams[None, layer, token : token + 1]))
    found, exact = sums.means(), streams.astype(float)
    for name, expected in (
        ("prompt", exact.mean(1)),
        ("response", exact.mean(1)),
        ("norms", np.linalg.norm(exact, axis=-1).mean(1)),
    ):
        apart = np.abs(found[name][0] / expected - 1).max()
        assert apart < 3e-7, f"after {length} tokens the {name} is {apart:.1e} from the mean in float64"
