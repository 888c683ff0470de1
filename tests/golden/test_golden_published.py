"""The published study is checked, audited and imported as by the starting commit, through the command line alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from golden import published

KNOWN = Path(__file__).parent / "data" / "published.json"
pytestmark = pytest.mark.skipif(not published.ROOT.is_dir(), reason=f"the published data is not at {published.ROOT}")


@pytest.mark.parametrize("way", published.WAYS)
def test_the_published_results_are_told_the_same(way: str, tmp_path: Path) -> None:
    found, known = published.told(way, tmp_path), json.loads(KNOWN.read_text(encoding="utf-8"))[way]
    assert found["printed"] == known["printed"]
    assert found["written"] == known["written"]


@pytest.mark.skipif(os.environ.get("PERSONASCOPE_GOLDEN") != "all", reason="half a minute: set PERSONASCOPE_GOLDEN=all")
def test_an_import_has_the_same_keys(tmp_path: Path) -> None:
    assert published.imported(tmp_path) == json.loads(KNOWN.read_text(encoding="utf-8"))["import"]
