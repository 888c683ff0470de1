"""Edits: what is done to the residual stream, as a value."""

from __future__ import annotations

import numpy as np
import pytest

from personascope.core.errors import VectorError
from personascope.core.identity import key_of
from personascope.core.records import Edit


def test_an_ablation_knows_a_direction_and_no_length() -> None:
    direction = np.random.default_rng(0).normal(size=8)
    one, other = (Edit(direction * scale, 2, "all", "ablate") for scale in (1.0, 37.0))
    assert np.linalg.norm(one.direction) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(one.direction, other.direction, rtol=1e-6)
    again = Edit(one.direction, 2, "all", "ablate")
    assert again.identity == one.identity, "what has length 1 stays the same bytes, and so the same question"


def test_an_addition_is_the_question_it_was_before_there_were_others() -> None:
    identity = Edit(np.ones(3), 1).identity
    assert set(identity) == {"direction", "layer", "where"}
    assert Edit(np.ones(3), 1, "response", "ablate").identity != identity


def test_every_operation_and_bound_is_a_question_of_its_own() -> None:
    edits = [Edit(np.eye(3)[0], 1, "all", *rest) for rest in ((), ("ablate",), ("cap", 0.0), ("cap", 1.0))]
    assert len({key_of("edit", {"edit": each}) for each in edits}) == 4


@pytest.mark.parametrize(
    "arguments", [("cap",), ("cap", float("nan")), ("cap", float("inf")), ("add", 1.0), ("ablate", 1.0)]
)
def test_a_bound_belongs_to_a_cap_and_to_nothing_else(arguments) -> None:
    with pytest.raises(VectorError, match="a cap needs a finite one"):
        Edit(np.ones(3), 1, "all", *arguments)


@pytest.mark.parametrize("arguments", [("answer",), ("all", "remove")])
def test_a_misspelt_place_or_operation_is_refused(arguments) -> None:
    with pytest.raises(VectorError, match=f"an edit was given '{arguments[-1]}'"):
        Edit(np.ones(3), 1, *arguments)
