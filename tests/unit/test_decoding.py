"""Why a row's numbers do not depend on its batch mates: bit for bit, below the level of tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import toy_models
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Request, Sampling
from personascope.engines.hf.decoding import FEWEST_ROWS, Batch, PaddedBatch, Row, _worth_keeping, width_of
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.shared_prefix import SharedBatch

transformers.utils.logging.disable_progress_bar()


def test_a_width_depends_on_the_length_alone_and_always_leaves_room_for_padding() -> None:
    for length in range(1, 200):
        assert width_of(length) % 16 == 0
        assert 1 <= width_of(length) - length <= 16


def logits_of(engine: TransformersEngine, rows: list[Row], *, shared: bool) -> torch.Tensor:
    """The logits of four steps, each row fed the same tokens in any company: ``[step row token]``."""
    with torch.inference_mode():
        loaded = engine._weights()
        batch: Batch = SharedBatch(loaded, rows) if shared else PaddedBatch(loaded, rows, 32)
        steps = [batch.begin()]
        for step in range(3):
            fed = torch.tensor([(7 + 11 * row.request.draw + step) % 250 + 6 for row in rows])
            steps.append(batch.go_on(fed, step, said=np.ones(len(rows), dtype=bool), last=False))
    return torch.stack(steps)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("architecture", [each for each in toy_models.ARCHITECTURES if each != "Mixtral"])
def test_the_fewest_rows_already_give_the_bits_of_many(architecture: str, shared: bool, tmp_path: Path) -> None:
    engine = TransformersEngine(Checkpoint.at(toy_models.build(tmp_path, architecture)))
    random = np.random.default_rng(0)
    rows = [
        Row(
            Request("", Sampling(), draw, (Edit(random.normal(size=32), draw % 4, "all"),) if draw % 3 else ()),
            tuple(random.integers(6, 250, size=16 + draw % 16).tolist()),
        )
        for draw in range(40)
    ]
    many = logits_of(engine, rows, shared=shared)
    for first in (0, 5, 22):
        few = logits_of(engine, rows[first : first + FEWEST_ROWS], shared=shared)
        torch.testing.assert_close(few, many[:, first : first + FEWEST_ROWS], rtol=0, atol=0)
    copies = logits_of(engine, [rows[9]] * FEWEST_ROWS, shared=shared)
    torch.testing.assert_close(copies[:, :1], many[:, 9:10], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("running", "kept"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 0], None),
        ([1, 0, 1, 1, 0, 1, 0, 1], [0, 2, 3, 5, 7]),
        ([0, 0, 0, 0, 0, 0, 1, 0], [0, 1, 2, 6]),
        ([0, 1, 0, 0], None),
    ],
)
def test_done_rows_leave_once_a_quarter_is_done_but_never_below_the_fewest(
    running: list[int], kept: list[int] | None
) -> None:
    found = _worth_keeping(np.array(running, dtype=bool))
    assert (None if found is None else found.tolist()) == kept
