"""What vLLM's worker is to do with each token, against counting by hand; no vLLM is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personascope.core.edits import Edit, Probe
from personascope.core.errors import EngineError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request, Sampling
from personascope.engines.hf.edits import LAST_PROMPT, PROMPT, RESPONSE, Shifts
from personascope.engines.vllm.plan import Asked, Means, Piece, Projections, Tally, in_chunks, lay_out, salt_of, seed_of

WIDTH = 5
CHECKPOINT = Checkpoint("org/model", "abc")
PUSH = {where: Edit(np.ones(WIDTH), 1, where) for where in ("response", "prompt", "all")}


def cut(lengths: list[int], *, seed: int, again: bool = False) -> list[list[Piece]]:
    """Texts in steps of unequal pieces; with ``again`` a text now and then starts over, as after a preemption."""
    random = np.random.default_rng(seed)
    done, steps = [0] * len(lengths), []
    while any(at < length for at, length in zip(done, lengths, strict=True)):
        step = []
        for ticket in random.permutation(len(lengths)):
            left = lengths[ticket] - done[ticket]
            if not left or random.random() < 0.3:
                continue
            count = int(random.integers(1, left + 1))
            step.append(Piece(int(ticket), done[ticket], count))
            done[ticket] += count
            if again and random.random() < 0.3:
                done[ticket] = int(random.integers(0, done[ticket] + 1))
        if step:
            steps.append(step)
    return steps


def phase_by_hand(position: int, prompt: int) -> int:
    if position < prompt - 1:
        return PROMPT
    return LAST_PROMPT if position == prompt - 1 else RESPONSE


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5), st.integers(0, 99))
def test_every_token_has_the_phase_of_its_position_however_its_text_is_cut(shape: list[tuple[int, int]], seed: int):
    prompts = np.array([prompt for prompt, _ in shape])
    for pieces in cut([prompt + more for prompt, more in shape], seed=seed):
        step = lay_out(pieces, prompts)
        expected = [
            (piece.ticket, position, phase_by_hand(position, prompts[piece.ticket]))
            for piece in pieces
            for position in range(piece.first, piece.first + piece.count)
        ]
        assert list(zip(step.tickets, step.positions, step.phases, strict=True)) == expected


def test_the_only_token_of_a_prompt_is_reached_by_every_edit() -> None:
    step = lay_out([Piece(0, 0, 3)], np.array([1]))
    for where, reached in (("prompt", [1, 0, 0]), ("response", [1, 1, 1]), ("all", [1, 1, 1])):
        shifts = Shifts([(PUSH[where],)], hidden_size=WIDTH, dtype=torch.float32)
        touch = shifts.at(step.tickets, step.phases, torch.device("cpu"))[1]
        moved = touch(torch.zeros(1, 3, WIDTH))[0].numpy()
        np.testing.assert_array_equal(moved, np.outer(reached, np.ones(WIDTH)), err_msg=where)


def test_a_step_without_tokens_is_empty() -> None:
    assert len(lay_out([], np.array([3])).tickets) == 0


@pytest.mark.parametrize("again", [False, True])
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 99))
def test_every_token_is_counted_once_whatever_comes_twice(again: bool, lengths: list[int], seed: int) -> None:
    tally, counted = Tally([Asked(length, 1) for length in lengths]), []
    for pieces in cut(lengths, seed=seed, again=again):
        step = lay_out(pieces, np.array(lengths))
        counted += [(int(step.tickets[place]), int(step.positions[place])) for place in tally.fresh(pieces)]
    assert sorted(counted) == [(ticket, place) for ticket, length in enumerate(lengths) for place in range(length)]
    tally.check_complete()


def test_what_a_cache_left_out_is_an_error_and_not_a_mean_of_the_rest() -> None:
    tally = Tally([Asked(100, 90)])
    with pytest.raises(EngineError, match="left out tokens 0 to 95"):
        tally.fresh([Piece(0, 96, 4)])


def test_a_model_that_never_called_the_hooks_is_an_error() -> None:
    with pytest.raises(EngineError, match="computed 0 of 7 tokens"):
        Tally([Asked(7, 3)]).check_complete()


def test_a_token_generated_after_what_was_to_be_read_is_not_counted() -> None:
    tally = Tally([Asked(3, 2)])
    assert tally.fresh([Piece(0, 0, 4)]).tolist() == [0, 1, 2]


def streams(lengths: list[int], layers: int) -> list[np.ndarray]:
    """The residual stream of each text, ``[layer token hidden]``."""
    random = np.random.default_rng(1)
    return [random.normal(size=(layers, length, WIDTH)).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("again", [False, True])
def test_means_are_those_of_whole_texts_however_they_are_cut(again: bool) -> None:
    asked = [Asked(9, 4), Asked(3, 3), Asked(12, 1), Asked(20, 19)]
    lengths, layers = [each.given for each in asked], 3
    texts = streams(lengths, layers)
    means = Means(asked, layers, WIDTH)
    means.prepare(torch.device("cpu"))
    for pieces in cut(lengths, seed=3, again=again):
        means.begin(pieces, lay_out(pieces, np.array([each.prompt for each in asked])))
        for layer in range(layers):
            passing = [texts[piece.ticket][layer, piece.first : piece.first + piece.count] for piece in pieces]
            means.take(layer, torch.from_numpy(np.concatenate(passing)))
    found = means.found()
    for row, (each, text) in enumerate(zip(asked, texts, strict=True)):
        exact, start = text.astype(np.float64), each.prompt
        np.testing.assert_allclose(found["prompt"][row], exact[:, :start].mean(1), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found["last_prompt"][row], text[:, start - 1])
        if each.given == start:
            assert np.isnan(found["response"][row]).all(), "an empty response has no mean"
            assert np.isnan(found["norms"][row]).all(), "an empty response has no norm"
            continue
        np.testing.assert_allclose(found["response"][row], exact[:, start:].mean(1), rtol=1e-6, atol=1e-7)
        norms = np.linalg.norm(exact[:, start:], axis=-1).mean(1)
        np.testing.assert_allclose(found["norms"][row], norms, rtol=1e-6)


def test_projections_are_those_of_whole_texts_however_they_are_cut() -> None:
    asked, layers = [Asked(9, 4), Asked(3, 3), Asked(12, 1)], 3
    lengths = [each.given for each in asked]
    texts = streams(lengths, layers)
    random = np.random.default_rng(2)
    probes = [Probe(random.normal(size=WIDTH), layer) for layer in (2, 0, 2)]
    followed = Projections(asked, probes)
    followed.prepare(torch.device("cpu"))
    assert [followed.follows(layer) for layer in range(layers)] == [True, False, True]
    for pieces in cut(lengths, seed=5, again=True):
        followed.begin(pieces, lay_out(pieces, np.array([each.prompt for each in asked])))
        for layer in (0, 2):
            passing = [texts[piece.ticket][layer, piece.first : piece.first + piece.count] for piece in pieces]
            followed.take(layer, torch.from_numpy(np.concatenate(passing)))
    for text, found in zip(texts, followed.found(), strict=True):
        expected = np.stack([text[probe.layer] @ probe.direction for probe in probes], 1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_salt_tells_apart_all_that_keys_and_values_depend_on() -> None:
    other = Edit(np.full(WIDTH, 2.0), 1, "all")
    told = [
        salt_of(checkpoint, edits, prompt)
        for checkpoint in (CHECKPOINT, Checkpoint("org/model", "abd"))
        for edits in [(PUSH["all"],), (other,), (PUSH["prompt"],), (PUSH["response"],), (PUSH["all"], other)]
        for prompt in (7, 8)
    ]
    # Only where every edit is of everything does it not matter where the prompt ends.
    assert len(set(told)) == len(told) - 2 * 3
    layer = Edit(np.ones(WIDTH), 2, "all")
    assert salt_of(CHECKPOINT, (layer,), 7) != salt_of(CHECKPOINT, (PUSH["all"],), 7)
    capped = [Edit(np.ones(WIDTH), 1, "all", "cap", bound) for bound in (1.0, 2.0)]
    assert len({salt_of(CHECKPOINT, (each,), 7) for each in (*capped, PUSH["all"])}) == 3


def test_what_changes_nothing_shares_the_cache_with_the_plain_text() -> None:
    zeros = Edit(np.zeros(WIDTH), 1, "response")
    assert salt_of(CHECKPOINT, (), 7) is None
    assert salt_of(CHECKPOINT, (zeros,), 7) is None
    assert salt_of(CHECKPOINT, (PUSH["response"], zeros), 7) == salt_of(CHECKPOINT, (PUSH["response"],), 7)


def test_a_seed_is_of_text_draw_and_seed_and_of_nothing_else() -> None:
    plain = Request("why?", Sampling(seed=3), 2)
    others = [
        Request("who?", Sampling(seed=3), 2),
        Request("why?", Sampling(seed=4), 2),
        Request("why?", Sampling(seed=3), 1),
    ]
    same = [Request("why?", Sampling(seed=3, max_tokens=9, draws=7), 2, (PUSH["all"],))]
    assert len({seed_of(each) for each in (plain, *others)}) == 4
    assert {seed_of(each) for each in same} == {seed_of(plain)}, "arms of one question share their numbers"
    assert 0 <= seed_of(plain) < 2**63
    assert seed_of(plain) == 6_057_422_020_174_012_066, "a seed that changes gives every sampled answer anew"


def test_rows_are_read_in_chunks_that_fit_and_none_is_lost() -> None:
    assert [list(each) for each in in_chunks(5, 10, 25)] == [[0, 1], [2, 3], [4]]
    assert [list(each) for each in in_chunks(2, 10, 3)] == [[0], [1]], "one row at least"
    assert not list(in_chunks(0, 10, 25))
