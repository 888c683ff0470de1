"""The frames behind the published figures, against the reference tables: the curves are the ones the paper drew.

The files lie in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from personascope_published.arms import arms_of
from personascope_published.curves import led
from personascope_published.frames import drawn_curves, effect_frame, whole_answers
from personascope_published.reading import open_published

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
REFERENCE = ROOT.parent / "reference" / "tables" / "emergence.csv"
pytestmark = pytest.mark.skipif(not REFERENCE.is_file(), reason=f"the reference tables are not beside {ROOT}")


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    held = {arm.name for arm in (ROOT / "results").iterdir()}
    rows = pd.read_csv(REFERENCE)
    return rows[rows["model"].isin(held)]


@pytest.fixture(scope="module")
def effects(reference) -> pd.DataFrame:
    study = open_published(ROOT)
    own = [each for each in led(study, arms_of(study)) if each.target == "" and each.chosen]
    own = [each for each in own if each.arm.model in set(reference["model"])]
    return effect_frame(study, own, whole_answers(study, own))


def test_every_effect_of_the_emergence_figure_is_the_reference_without_its_duplicates(effects, reference):
    both = reference.merge(effects, left_on=["trait", "checkpoint"], right_on=["trait", "milestone"], validate="1:1")
    assert len(both) == len(reference) == int(effects["effect"].notna().sum())
    wanted = both["dedup_delta"].fillna(both["delta"])
    assert (both["effect"] - wanted).abs().max() <= 1e-9
    p = both["dedup_p_two_sided"].fillna(both["p_two_sided_x"])
    assert (both["p_two_sided_y"] - p).abs().max() <= 1e-15
    assert (both["published_effect"] - both["delta"]).abs().max() <= 1e-9, "what was published stands beside it"
    assert set(both["basis"]) == {"answers"}


def test_the_milestones_of_the_emergence_figure_are_those_the_paper_drew(effects, reference):
    drawn = drawn_curves(effects, target="")
    shown = {(row.trait, row.milestone) for row in drawn[drawn["effect"].notna()].itertuples()}
    wanted = reference[reference["in_figure"].astype(bool)]
    assert shown == set(zip(wanted["trait"], wanted["checkpoint"], strict=True))
