"""Thresholds: calibrated to a false-alarm rate, stored, and refused for what they were not made for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from personascope.applications.monitor import Watched, calibrate, load_thresholds, save_thresholds
from personascope.applications.monitor.thresholds import check_rate
from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.vectors import PersonaVector

MODEL = Checkpoint("org/model", "abc")
VECTOR = PersonaVector(np.ones((5, 8)), np.ones(5), "grim", "scripted", MODEL)
WATCHED = [Watched("grim", VECTOR, 2)]


def threshold(count: int = 99, rate: float = 0.05, seed: int = 0):
    return calibrate(np.random.default_rng(seed).standard_normal((count, 1)), WATCHED, MODEL, rate=rate)[0]


@pytest.mark.parametrize(("count", "rate"), [(99, 0.05), (60, 0.1), (19, 0.05), (33, 0.3)])
def test_further_prompts_of_the_same_traffic_are_flagged_at_most_at_the_rate_on_average(count, rate) -> None:
    generator = np.random.default_rng(1)
    flagged = []
    for _ in range(400):
        traffic = generator.exponential(size=(count, 1))  # any distribution will do
        limit = calibrate(traffic, WATCHED, MODEL, rate=rate)[0]
        flagged.append(np.exp(-limit.projection))  # the rate of this very threshold, known exactly
    spread = np.std(flagged) / np.sqrt(len(flagged))
    assert np.mean(flagged) <= rate + 3 * spread, "the promise of the method"
    assert np.mean(flagged) >= rate - 1.5 / (count + 1) - 3 * spread, "and no more cautious than the count makes it"


def test_the_interval_holds_the_rate_of_a_threshold_19_times_in_20() -> None:
    generator = np.random.default_rng(2)
    held = []
    for _ in range(600):
        limit = calibrate(generator.exponential(size=(80, 1)), WATCHED, MODEL, rate=0.1)[0]
        held.append(limit.low <= np.exp(-limit.projection) <= limit.high)
    assert 0.92 <= np.mean(held) <= 0.98, f"the interval is said to be one of 95 %, and held {np.mean(held):.3f}"


@pytest.mark.parametrize(("count", "rate"), [(40, 0.05), (99, 0.01), (30, 0.3)])
def test_the_interval_is_what_counting_prompts_below_a_quantile_gives(count, rate) -> None:
    """The naive twin: a threshold's rate is above p when k prompts or more lie below the quantile of 1 - p."""
    limit, place = threshold(count, rate), check_rate(rate, count)
    above = [binom.sf(place - 1, count, 1 - end) for end in (limit.low, limit.high)]
    np.testing.assert_allclose(above, [0.975, 0.025], rtol=1e-9)


def test_the_threshold_is_one_of_the_projections_and_what_equals_it_is_not_flagged() -> None:
    along = np.arange(1.0, 20.0)[:, None]
    (limit,) = calibrate(along, WATCHED, MODEL, rate=0.1)
    assert limit.projection == 18.0
    assert not limit.flags(18.0)
    assert limit.flags(18.5)
    assert limit.prompts == 19


@pytest.mark.parametrize(
    ("count", "rate", "said"),
    [
        (18, 0.05, "needs 19 prompts at least and there are 18"),
        (98, 0.01, "needs 99 prompts"),
        (0, 0.5, "there are 0"),
        (50, 0.0, "between 0 and 1"),
        (50, 1.0, "between 0 and 1"),
        (50, float("nan"), "between 0 and 1"),
    ],
)
def test_a_rate_that_cannot_be_had_is_refused_with_what_it_needs(count, rate, said) -> None:
    with pytest.raises(StudyError, match=said):
        calibrate(np.zeros((count, 1)), WATCHED, MODEL, rate=rate)
    with pytest.raises(StudyError, match=said):
        check_rate(rate, count)


def test_a_threshold_is_read_as_it_was_written(tmp_path) -> None:
    save_thresholds([threshold()], tmp_path / "t.json")
    assert load_thresholds(tmp_path / "t.json") == {"grim": threshold()}


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no file of thresholds"), ("[]", "holds no thresholds"), ('{"thresholds": [{"nam": 1}]}', "unknown key")],
)
def test_a_file_that_holds_something_else_is_refused_in_a_line(tmp_path, text, said) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(StudyError, match=said) as caught:
        load_thresholds(tmp_path / "t.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(StudyError, match="no such file"):
        load_thresholds(tmp_path / "none.json")


def test_a_threshold_judges_only_what_it_was_made_for() -> None:
    made, other = threshold(), PersonaVector(2 * np.ones((5, 8)), np.ones(5), "grim", "scripted", MODEL)
    made.check(WATCHED[0], MODEL, source="t.json")
    with pytest.raises(VectorError, match="another grim vector"):
        made.check(Watched("grim", other, 2), MODEL, source="t.json")
    with pytest.raises(LayerError, match="calibrated at layer 2 of the grim vector and layer 3"):
        made.check(Watched("grim", VECTOR, 3), MODEL, source="t.json")
    with pytest.raises(VectorError, match="calibrate on this model"):
        made.check(WATCHED[0], replace(MODEL, revision="def"), source="t.json")


def test_a_file_of_thresholds_says_what_people_need_to_judge_it(tmp_path) -> None:
    save_thresholds([threshold()], tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["thresholds"]
    assert row["vector"] == VECTOR.digest
    assert (row["layer"], row["model"], row["revision"], row["rate"], row["prompts"]) == (
        2,
        "org/model",
        "abc",
        0.05,
        99,
    )
