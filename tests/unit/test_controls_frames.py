"""Where an effect stands among its controls, against counting by hand; and the strips that show it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from personascope.analysis.controls import CONTROL, against_controls, last_arms, pooled_controls
from personascope.analysis.effects import EFFECT
from personascope.analysis.frames import kinds_of
from personascope.figures.controls import control_strips


def arm(direction: str, effect: float, *, place: int = 0, norm: float = 4.0, **other) -> dict:
    about = {"trait": "grim", "extracted_as": "lab", "evaluated_as": "lab", "target": "", "milestone": f"step-{place}"}
    return {
        **dict.fromkeys(EFFECT), **about, "place": place, "tokens_seen": 1e6 * (place + 1), "direction": direction,
        "chosen": True, "effect": effect, "low": effect - 3, "high": effect + 3, "applied_norm": norm, "absence": "",
        "steered_coherence": 80.0, **other,
    }  # fmt: skip


def frame(*arms: dict) -> pd.DataFrame:
    return pd.DataFrame(arms, columns=EFFECT)


def test_the_quantile_and_the_p_value_are_those_counted_by_hand():
    drawn = [-3.0, 0.0, 2.0, 9.0, 10.0, 12.0]
    table = against_controls(frame(arm("extracted", 10.0), *(arm(f"random-{n}", e) for n, e in enumerate(drawn))))
    (row,) = table.to_dict(orient="records")
    assert list(table.columns) == CONTROL
    assert row["count"] == 6
    assert row["quantile"] == pytest.approx((4 + 0.5) / 6), "four below, one tie"
    assert row["p_greater"] == pytest.approx((1 + 2) / 7), "two at least as great, and the real one itself"
    assert row["p_two_sided"] == pytest.approx(6 / 7)
    assert (row["mean"], row["least"], row["greatest"]) == (5.0, -3.0, 12.0)


def test_permutation_p_values_are_uniform_where_the_real_vector_is_one_shuffle_among_the_others():
    random = np.random.default_rng(0)
    rows = []
    for place in range(400):
        effects = random.normal(size=20)
        rows.append(arm("extracted", effects[0], place=place))
        rows += [arm(f"shuffled-{n}", e, place=place) for n, e in enumerate(effects[1:])]
    p_values = against_controls(frame(*rows))["p_greater"]
    shares = [(p_values <= level).mean() for level in (0.05, 0.25, 0.5)]
    np.testing.assert_allclose(shares, (0.05, 0.25, 0.5), atol=0.06, err_msg="the add-one rule is exact under the null")


@pytest.mark.parametrize(("factor", "matched"), [(1.0, True), (1 + 5e-6, True), (1 + 1e-4, False), (0.3, False)])
def test_matched_means_the_same_applied_norm_to_a_hundred_thousandth(factor, matched):
    table = against_controls(frame(arm("extracted", 9.0), arm("random-0", 1.0), arm("random-1", 1.0, norm=4 * factor)))
    assert table["matched"].tolist() == [matched]
    assert table["norm_share_greatest"].iloc[0] == pytest.approx(max(1, factor))


def test_where_nothing_is_added_no_norm_is_compared_and_instructions_are_no_draws():
    table = against_controls(
        frame(
            arm("extracted", 9.0, norm=np.nan),
            arm("random-0", 1.0, norm=np.nan),
            arm("prompted-positive", 30.0, norm=0),
        )
    )
    assert table["kind"].tolist() == ["random", "prompted-positive"]
    assert table["matched"].isna().all()
    assert table["p_greater"].isna().tolist() == [False, True]


def test_a_control_speaks_for_its_own_milestone_and_target_only():
    table = against_controls(
        frame(
            arm("extracted", 9.0), arm("random-0", 1.0), arm("extracted", 50.0, place=1), arm("random-0", 5.0, place=1),
            arm("random-0", 7.0, place=1, target="sft"), arm("extracted", 60.0, place=1, target="sft"),
        )
    )  # fmt: skip
    found = [(row["curve"], row["milestone"], row["real"], row["mean"]) for row in table.to_dict(orient="records")]
    assert found == [("grim", "step-0", 9, 1), ("grim", "step-1", 50, 5), ("grim on sft", "step-1", 60, 7)]


def test_pooled_controls_weigh_each_control_alike_and_stand_beside_the_effects_at_their_places():
    pooled = pooled_controls(
        frame(arm("extracted", 10.0), arm("random-0", 1.0), arm("random-1", 3.0), arm("extracted", 40.0, place=1),
              arm("random-0", 8.0, place=1), arm("shuffled-0", 2.0, norm=0.4))
    )  # fmt: skip
    assert pooled["kind"].tolist() == ["random", "shuffled"]
    assert pooled["mean"].tolist() == [4.0, 2.0]
    assert pooled["real"].tolist() == [20.0, 10.0]
    assert pooled["matched"].tolist() == [True, False]


def test_pooled_instructions_are_those_of_milestones_that_gave_a_vector():
    pooled = pooled_controls(
        frame(arm("prompted-positive", 90.0, norm=0), arm("extracted", 40.0, place=1),
              arm("prompted-positive", 30.0, place=1, norm=0))
    )  # fmt: skip
    assert pooled[["kind", "count", "mean", "real"]].values.tolist() == [["prompted-positive", 1, 30.0, 40.0]], (
        "a mean beside the real effects is over the same places"
    )


def test_kinds_lose_seeds_and_names_and_keep_poles():
    directions = pd.Series(["extracted", "random-12", "shuffled-renormed-3", "shuffled-3", "other-self-doubting",
                            "prompted-negative", "mine-4"])  # fmt: skip
    kinds = ["extracted", "random", "shuffled-renormed", "shuffled", "other", "prompted-negative", "mine"]
    assert kinds_of(directions).tolist() == kinds


def test_no_effects_are_no_controls():
    empty = frame()
    for table in (against_controls(empty), pooled_controls(empty), last_arms(empty)):
        assert len(table) == 0


def test_strips_show_every_control_at_the_last_milestone_with_a_vector_and_the_real_effect_as_a_line():
    shuffles = [arm(f"shuffled-{n}", float(n), place=1, norm=1.0) for n in range(20)]
    arms = last_arms(
        frame(
            arm("extracted", 9.0),
            arm("random-0", 1.0),
            arm("extracted", 50.0, place=1),
            arm("random-0", 5.0, place=1),
            *shuffles,
            arm("extracted", np.nan, place=2),
            arm("prompted-positive", 70.0, place=2, norm=0),
        )
    )
    assert set(arms["milestone"]) == {"step-1"}
    assert arms.loc[arms["kind"] == "shuffled", "p_greater"].tolist() == [pytest.approx(1 / 21)] * 20
    figure = control_strips(arms)
    (panel,) = [ax for ax in figure.axes if ax.get_visible()]
    assert [text.get_text().split("\n")[-1] for text in panel.get_xticklabels()] == ["1.00 x norm", "0.25 x norm"]
    marks = sorted(
        float(height) for line in panel.lines for height in line.get_ydata() if line.get_linestyle() == "None"
    )
    assert marks == sorted([5.0, *map(float, range(20))])
    assert {"+50", "p = 0.048"} <= {text.get_text() for text in panel.texts}
    plt.close(figure)
