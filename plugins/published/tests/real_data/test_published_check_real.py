"""The published results against the published answers, and against what an independent study of them found.

The data lies in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says; the tables of
that study in ``../reference/tables`` beside it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from personascope_published.agreement import LIMITS
from personascope_published.check import Check, check
from personascope_published.reading import Published, open_published

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
TABLES = ROOT.parent / "reference" / "tables"
pytestmark = [
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}"),
    pytest.mark.skipif(not TABLES.is_dir(), reason=f"the reference tables are not at {TABLES}"),
]
AGREE = 1e-9
"""How closely values of the reference tables are matched."""


@pytest.fixture(scope="module")
def study() -> Published:
    return open_published(ROOT)


@pytest.fixture(scope="module")
def checked(study: Published) -> Check:
    start = time.process_time()
    done = check(study)
    taken = time.process_time() - start
    assert taken < 30, f"the check took {taken:.0f} CPU seconds, it should take two"
    return done


@pytest.fixture(scope="module")
def recomputed(study: Published, checked: Check) -> pd.DataFrame:
    """Every row's recomputed numbers beside its verdict and the paths it names."""
    named = [each.rows[["row", "baseline_path", "output_path", "extract_revision"]].assign(file=each.file)
             for each in study.results()]  # fmt: skip
    told = checked.rows[["file", "row", "verdict", "reason", "pool", "family"]]
    found = checked.statistics.merge(pd.concat(named), on=["file", "row"]).merge(told, on=["file", "row"])
    assert len(found) == len(checked.rows)
    return found


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / name)


def matched(reference: pd.Series, found: pd.Series, what: str) -> int:
    """How many values were compared; all of them must agree, and none may be known to one side alone."""
    one, other = (np.asarray(each, dtype=np.float64) for each in (reference, found))
    assert (np.isnan(one) == np.isnan(other)).all(), f"{what} is known to one side only"
    worst = np.nanmax(np.abs(one - other)) if len(one) and not np.isnan(one).all() else 0.0
    assert worst <= AGREE, f"{what} differs by {worst}"
    return int((~np.isnan(one)).sum())


# Verdicts.


def test_every_row_has_the_verdict_that_was_found_independently(checked: Check) -> None:
    wanted = table("verification_by_run.csv").set_index("file")
    rows = checked.rows
    assert rows["file"].nunique() == 12
    for file, mine in rows.groupby("file"):
        expected = wanted.loc[file]
        reasons = mine["reason"]
        doubled = int((reasons == "duplicated rows").sum())
        found = {
            "rows": len(mine),
            "fully_reproduced": int((mine["verdict"] == "reproduced").sum()) - doubled,
            "baseline_mismatch": int(reasons.str.contains("overwritten baseline").sum()),
            "steered_mismatch": int(reasons.str.contains("output").sum()) + doubled,
            "steered_missing": int(mine["detail"].str.contains("the output .* is not in", regex=True).sum()),
            "baseline_missing": int(mine["detail"].str.contains("the baseline .* is not in", regex=True).sum()),
        }
        assert found == {name: int(expected[name]) for name in found}, file


def test_everything_reproducible_is_reproduced_within_the_limits(checked: Check) -> None:
    good = checked.rows[checked.rows["verdict"] == "reproduced"]
    assert len(checked.rows) == 483
    assert len(good) == 409
    assert (good["reason"] == "duplicated rows").sum() == 16
    assert (good["counts"] == 0).all()
    assert good[["descriptives", "paired"]].max(axis=None) <= 1e-12
    assert good[["sign_flip_p", "sign_test_p", "corrections"]].max(axis=None) <= 1e-15
    assert LIMITS["descriptives"] <= 1e-12
    assert LIMITS["sign_flip_p"] <= 1e-15
    assert set(checked.rows["reason"]) == {
        "", "duplicated rows", "inherited correction", "missing file", "overwritten baseline",
        "overwritten baseline and output",
    }  # fmt: skip
    assert checked.problems == ()


def test_one_table_was_corrected_by_the_rows_of_each_target(checked: Check) -> None:
    found = checked.rows.groupby("family_is").size().to_dict()
    assert found == {"rows of the file": 399, "rows of its target": 84}
    dense = checked.rows[checked.rows["family_is"] == "rows of its target"]
    assert dense["file"].nunique() == 1
    assert set(dense["family"]) == {28}


def test_the_controls_are_consistent_in_themselves(checked: Check) -> None:
    assert len(checked.controls) == 204
    assert checked.controls["file"].nunique() == 7
    assert set(checked.controls["reason"]) == {"raw absent, consistent"}


def test_rows_that_were_never_tested_agree_as_far_as_their_files_go(checked: Check) -> None:
    """The evil grid lists 94 outputs of other traits; one of their baselines is not in the published data."""
    found = checked.combined.groupby("reason").size().to_dict()
    assert found == {"": 142, "duplicated rows": 16, "raw output": 93, "no vector": 5, "missing file": 1}
    raw = checked.combined[checked.combined["reason"] == "raw output"]
    assert raw[["counts", "descriptives"]].max(axis=None) <= 1e-12


# Value by value.

SIDES = {
    "baseline": {"baseline_n": "baseline_rows", "baseline_mean": "baseline_trait_mean",
                 "baseline_coherence": "baseline_coherence_mean"},
    "output": {"steered_n": "output_rows", "steered_mean": "output_trait_mean",
               "steered_coherence": "output_coherence_mean"},
    "both": {"delta": "delta_trait_mean", "delta_coherence": "delta_coherence_mean",
             "p_two_sided": "trait_sign_flip_p_two_sided", "p_greater": "trait_sign_flip_p_greater",
             "p_sign_test": "trait_sign_test_p_two_sided", "paired_questions": "paired_questions",
             "recomputed_p_two_sided": "trait_sign_flip_p_two_sided", "p_bonferroni": "p_bonferroni"},
}  # fmt: skip


def joined(name: str, recomputed: pd.DataFrame) -> pd.DataFrame:
    reference = table(name).add_prefix("ref_")
    keys = {"ref_source": "file", "ref_output_path": "output_path", "ref_baseline_path": "baseline_path"}
    whole = reference.merge(recomputed, left_on=list(keys), right_on=list(keys.values()), validate="one_to_one")
    assert len(whole) == len(reference)
    corrected = whole["trait_sign_flip_p_two_sided"] * whole["family"]
    return whole.assign(p_bonferroni=np.minimum(1.0, corrected))


def compared(whole: pd.DataFrame, usable: dict[str, pd.Series]) -> int:
    """Every value of the reference table that the data at hand determine, side by side."""
    count = 0
    for side, columns in SIDES.items():
        rows = whole[usable[side]]
        count += sum(
            matched(rows[f"ref_{reference}"], rows[found], reference)
            for reference, found in columns.items()
            if f"ref_{reference}" in rows
        )
    return count


def test_emergence_is_matched_value_by_value(study: Published, recomputed: pd.DataFrame) -> None:
    whole = joined("emergence.csv", recomputed)
    everywhere = pd.Series(True, index=whole.index)
    assert (whole["verdict"] == "reproduced").all()
    count = compared(whole, {"baseline": everywhere, "output": everywhere, "both": everywhere})
    count += matched(whole["ref_bonferroni_k"], whole["family"], "bonferroni_k")
    tokens = [study.place(model, revision).tokens_seen for model, revision in
              zip(whole["ref_model"], whole["ref_checkpoint"], strict=True)]  # fmt: skip
    count += matched(whole["ref_tokens_B"], pd.Series(tokens) / 1e9, "tokens")
    assert count >= 62 * 16, f"only {count} values of emergence.csv were compared"


def test_headline_rows_are_matched_without_the_second_count_and_without_the_extension(
    checked: Check, recomputed: pd.DataFrame
) -> None:
    whole = joined("emergence.csv", recomputed)
    whole = whole[whole["ref_dedup_n"].notna()]
    assert (whole["pool"] == "output and extension twice").all()
    pools = checked.pools.set_index(["file", "row", "pool"])
    names = {
        "output and extension": {
            "dedup_n": "output_rows", "dedup_steered_mean": "output_trait_mean", "dedup_delta": "delta_trait_mean",
            "dedup_p_two_sided": "trait_sign_flip_p_two_sided",
        },
        "output alone": {"orig60_delta": "delta_trait_mean", "orig60_p": "trait_sign_flip_p_two_sided"},
    }  # fmt: skip
    count = 0
    for pool, columns in names.items():
        mine = pools.loc[[(file, row, pool) for file, row in zip(whole["file"], whole["row"], strict=True)]]
        count += sum(
            matched(whole[f"ref_{ref}"], mine[found].reset_index(drop=True), ref) for ref, found in columns.items()
        )
    assert count >= 16 * 6, f"only {count} values of the headline rows were compared"


def test_transfer_is_matched_value_by_value_where_its_inputs_are_at_hand(recomputed: pd.DataFrame) -> None:
    whole = joined("transfer.csv", recomputed)
    status = whole["ref_raw_status"]
    usable = {
        "baseline": status.str.contains("baseline ok"),
        "output": status.str.contains("steered ok"),
        "both": whole["verdict"] == "reproduced",
    }
    assert {side: int(rows.sum()) for side, rows in usable.items()} == {"baseline": 224, "output": 204, "both": 197}
    assert (usable["both"] == status.eq("baseline ok; steered ok")).all()
    count = compared(whole, usable)
    assert count >= 3 * 224 + 3 * 204 + 4 * 197, f"only {count} values of transfer.csv were compared"
    # The reference gives the rows of the file; its study (2.2) says that one file keeps the 28 rows of each target.
    own = whole[whole["ref_bonferroni_k"] != whole["family"]]
    assert set(zip(own["ref_bonferroni_k"], own["family"], strict=True)) == {(84, 28)}
