"""Keys, directions, folders of fine-tunings and judges' names are those of the starting commit, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden import values

DATA = Path(__file__).parent / "data"


def expected(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def test_the_keys_of_every_kind_of_record_are_the_same(tmp_path: Path) -> None:
    found, known = json.loads(json.dumps(values.keys(tmp_path))), expected("keys")
    np.testing.assert_allclose(found.pop("scores"), known.pop("scores"), rtol=1e-9)
    assert found == known


def test_every_control_draws_the_same_directions() -> None:
    found, known = values.directions(), expected("directions")
    assert set(found) == set(known)
    for name, drawn in known.items():
        if isinstance(drawn, dict):
            np.testing.assert_allclose(found[name].pop("first"), drawn.pop("first"), rtol=1e-6, err_msg=name)
            assert found[name] == drawn, name
        else:
            np.testing.assert_allclose(found[name], drawn, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", ["places", "judges"])
def test_tuned_models_and_judges_are_called_the_same(name: str) -> None:
    assert getattr(values, name)() == expected(name)
