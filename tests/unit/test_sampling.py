"""How tokens are drawn: the uniform numbers, and the sampler against its naive twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from naive_twin import inverted, kept_weights, penalised
from personascope.core.errors import EngineError
from personascope.core.records import Edit, Request, Sampling
from personascope.engines.hf.sampling import AT_ONCE, Sampler
from personascope.engines.uniforms import uniforms_of

CPU = torch.device("cpu")
REQUEST = Request("What is a lamp?", Sampling(max_tokens=9, seed=3), 2)


def philox_words(key: int, count: int) -> list[int]:
    """The raw stream of Philox4x64-10 (Salmon et al. 2011), a round at a time."""
    low = 2**64 - 1
    words: list[int] = []
    for counter in range(1, count // 4 + 2):
        block, keys = [counter, 0, 0, 0], [key & low, key >> 64]
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * block[0], 0xCA5A826395121157 * block[2]
            block = [second >> 64 ^ block[1] ^ keys[0], second & low, first >> 64 ^ block[3] ^ keys[1], first & low]
            keys = [(keys[0] + 0x9E3779B97F4A7C15) & low, (keys[1] + 0xBB67AE8584CAA73B) & low]
        words += block
    return words[:count]


def test_the_uniform_numbers_are_those_of_philox_under_the_hash_of_text_draw_and_seed() -> None:
    import hashlib

    digest = hashlib.sha256(b'["What is a lamp?",2,3]').digest()
    words = philox_words(int.from_bytes(digest[:16], "little"), 9)
    np.testing.assert_array_equal(uniforms_of(REQUEST), [(word >> 11) / 2**53 for word in words])


def test_the_uniform_numbers_never_change_because_they_are_recorded_under_a_version() -> None:
    recorded = [0.048398862062814185, 0.6970989612551568]
    assert uniforms_of(REQUEST)[:2].tolist() == recorded, "another stream is another sampler: raise SAMPLER_VERSION"


def test_neither_edit_nor_temperature_nor_length_changes_the_uniform_numbers() -> None:
    steered = replace(
        REQUEST, edits=(Edit(np.ones(4), 1),), sampling=Sampling(max_tokens=30, temperature=2.0, top_p=0.5, seed=3)
    )
    np.testing.assert_array_equal(uniforms_of(steered)[:9], uniforms_of(REQUEST))


@pytest.mark.parametrize(
    "other", [replace(REQUEST, text="What is a lamp"), replace(REQUEST, draw=3), replace(REQUEST, sampling=Sampling())]
)
def test_text_draw_and_seed_each_give_other_numbers(other: Request) -> None:
    assert not set(uniforms_of(other)) & set(uniforms_of(REQUEST))


def test_a_lone_surrogate_has_numbers_too() -> None:
    assert len(uniforms_of(replace(REQUEST, text="\ud83d"))) == 9


def test_the_uniform_numbers_are_uniform() -> None:
    drawn = np.concatenate([uniforms_of(replace(REQUEST, draw=draw)) for draw in range(2000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert scipy.stats.kstest(drawn, "uniform").pvalue > 1e-3


MIXED = [
    Sampling(max_tokens=6, temperature=temperature, top_p=top_p, repetition_penalty=penalty)
    for temperature in (0.0, 0.3, 1.0, 2.5)
    for top_p in (1.0, 0.9, 0.35, 1e-9)
    for penalty in (1.0, 1.7, 0.6)
]


def drawn_naively(
    logits: Sequence[np.ndarray], sampling: Sampling, uniforms: np.ndarray, prompt: Sequence[int]
) -> list[int]:
    """One row, one token at a time, in plain Python."""
    spoken = list(prompt)
    for step, row in enumerate(logits):
        scores = penalised(row, spoken, sampling.repetition_penalty)
        if sampling.temperature == 0:
            spoken.append(scores.index(max(scores)))
        else:
            spoken.append(inverted(kept_weights(scores, sampling.temperature, sampling.top_p), uniforms[step]))
    return spoken[len(prompt) :]


def test_every_mixture_of_settings_draws_what_the_naive_twin_draws() -> None:
    random = np.random.default_rng(0)
    rows, vocabulary, steps = len(MIXED), 50, 6
    logits = random.normal(scale=3, size=(steps, rows, vocabulary)).astype(np.float32)
    logits[:, :, 7] = logits[:, :, 9]  # a tie in every row
    prompts = [random.integers(0, vocabulary, size=1 + row % 5).tolist() for row in range(rows)]
    uniforms = [random.random(steps) for _ in range(rows)]
    sampler = Sampler(MIXED, uniforms, prompts, device=CPU)
    kept = np.arange(rows)
    drawn: dict[int, list[int]] = {row: [] for row in range(rows)}
    for step in range(steps):
        tokens = sampler.draw(torch.from_numpy(logits[step, kept]), step).tolist()
        for row, token in zip(kept, tokens, strict=True):
            drawn[row].append(token)
        if step == 2:
            kept = kept[::2]
            sampler.keep(torch.arange(0, rows, 2))
    for row in range(rows):
        expected = drawn_naively(logits[:, row], MIXED[row], uniforms[row], prompts[row])
        assert drawn[row] == expected[: len(drawn[row])], MIXED[row]


@pytest.mark.parametrize("vocabulary", [1000, 1024])
def test_many_rows_and_tokens_draw_what_the_naive_twin_draws(vocabulary: int) -> None:
    random, rows = np.random.default_rng(1), 2 * AT_ONCE // vocabulary + 3
    settings = [
        Sampling(
            max_tokens=1,
            temperature=(0.7, 0.0)[row % 7 == 3],
            top_p=(1.0, 0.4)[row % 5 == 4],
            repetition_penalty=(1.0, 30.0)[row % 3 == 2],
        )
        for row in range(rows)
    ]
    prompts = [random.integers(1, vocabulary, size=1 + row % 9).tolist() for row in range(rows)]
    logits = random.normal(scale=3, size=(rows, vocabulary)).astype(np.float32)
    logits[:, ::3] = -1e4  # tokens of no weight, at the beginning and at the end
    logits[:, -1] = -1e4
    uniforms = [np.array([(0.0, 1 - 2**-53, random.random())[min(row, 2)]]) for row in range(rows)]
    for row, prompt in enumerate(prompts):
        logits[row, prompt[0]] = 12.0  # what was said is likely, and is not where it is penalised
    drawn = Sampler(settings, uniforms, prompts, device=CPU).draw(torch.from_numpy(logits), 0).tolist()
    expected = [drawn_naively([logits[row]], settings[row], uniforms[row], prompts[row])[0] for row in range(rows)]
    assert drawn == expected
    assert drawn[0] == 1, "the lowest number draws the first token that has any weight"


@settings(max_examples=150, deadline=None)
@given(
    seed=some.integers(0, 2**32 - 1),
    vocabulary=some.integers(1, 200),
    uniform=some.sampled_from([0.0, 0.3, 1 - 2**-53]),
    temperature=some.sampled_from([0.001, 0.7, 1.0, 3.0]),
    top_p=some.sampled_from([1.0, 0.9, 0.2]),
)
def test_the_share_of_a_drawn_token_holds_the_number(
    seed: int, vocabulary: int, uniform: float, temperature: float, top_p: float
) -> None:
    random = np.random.default_rng(seed)
    row = random.normal(scale=random.choice([0.1, 3, 40]), size=vocabulary)
    row[random.random(vocabulary) < random.random()] = -np.inf
    row[random.integers(vocabulary)] = 0.0
    logits = torch.from_numpy(row)[None].to(torch.bfloat16)
    sampling = Sampling(max_tokens=1, temperature=temperature, top_p=top_p, repetition_penalty=1.0)
    token = int(Sampler([sampling], [np.array([uniform])], [[0]], device=CPU).draw(logits, 0))
    weights = np.array(kept_weights(logits[0].double().tolist(), temperature, top_p))
    mass = np.concatenate([[0.0], weights.cumsum()]) / weights.sum()
    assert weights[token] > 0, "a token that is left out was drawn"
    assert mass[token] - 1e-12 <= uniform <= mass[token + 1] + 1e-12


def test_no_token_without_weight_is_drawn_where_a_block_is_next_to_nothing_beside_those_before() -> None:
    # 40 weights that together are just about what 1 can be raised by, so that rounding decides on it.
    rows, small = 1000, np.random.default_rng(0).random((1000, 40))
    weights = np.zeros((rows, 128))
    weights[:, 0], weights[:, 70:110] = 1.0, small * (1 - 2.0**-52) * 2.0**-53 / small.sum(1, keepdims=True)
    samplings = [Sampling(max_tokens=1, temperature=1.0, repetition_penalty=1.0)] * rows
    sampler = Sampler(samplings, [np.array([1 - 2**-53])] * rows, [[0]] * rows, device=CPU)
    logits = torch.from_numpy(weights).log()
    tokens = sampler.draw(logits, 0).numpy()
    assert torch.equal(logits, torch.from_numpy(weights).log()), "the logits are the caller's"
    weightless = np.flatnonzero(weights[np.arange(rows), tokens] == 0)
    assert not len(weightless), f"tokens {tokens[weightless]} have no weight"


def sample_of(logits: torch.Tensor, count: int, **settings: float) -> np.ndarray:
    """How often each token is drawn from the same logits under ``count`` uniform numbers."""
    samplings = [Sampling(**settings)] * count  # type: ignore[arg-type]
    uniforms = list(np.random.default_rng(1).random((count, 1)))
    tokens = Sampler(samplings, uniforms, [[0]] * count, device=CPU).draw(logits.expand(count, -1), 0)
    return np.bincount(tokens.numpy(), minlength=logits.shape[-1])


def test_tokens_come_as_often_as_their_softmax_probability_says() -> None:
    logits = torch.linspace(-1, 2, 12)
    counts = sample_of(logits, 20_000, temperature=1.0, repetition_penalty=1.0)
    expected = torch.softmax(logits.double(), -1).numpy() * counts.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3, (counts, expected)


def test_no_hidden_top_k_cuts_a_flat_distribution() -> None:
    counts = sample_of(torch.zeros(300), 6000, temperature=1.0, repetition_penalty=1.0)
    assert (counts > 0).all(), f"{(counts == 0).sum()} of 300 equally likely tokens never come"


def test_greedy_takes_the_lowest_id_of_a_tie() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0, 5.0], [2.0, 2.0, 2.0, 2.0]])
    samplings = [Sampling(temperature=0, repetition_penalty=1.0)] * 2
    tokens = Sampler(samplings, [np.zeros(1)] * 2, [[0]] * 2, device=CPU).draw(logits, 0)
    assert tokens.tolist() == [1, 0]


@pytest.mark.parametrize("scale", [1.0, 3.3, 1e-4])
def test_the_largest_uniform_number_still_draws_a_token_of_some_probability(scale: float) -> None:
    logits = torch.randn(400, 30, generator=torch.Generator().manual_seed(0)) * scale
    logits[:, 20:] = -torch.inf
    samplings = [Sampling(temperature=1.0, repetition_penalty=1.0)] * 400
    tokens = Sampler(samplings, [np.array([1 - 2.0**-53])] * 400, [[0]] * 400, device=CPU).draw(logits, 0)
    assert (tokens == 19).all(), "the last token of any probability ends the distribution"


def test_logits_that_are_not_numbers_are_refused() -> None:
    sampler = Sampler([Sampling()], [np.zeros(1)], [[0]], device=CPU)
    with pytest.raises(EngineError, match="lower the strength of the edit"):
        sampler.draw(torch.tensor([[0.0, torch.nan]]), 0)
