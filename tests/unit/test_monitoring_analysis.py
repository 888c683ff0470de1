"""Correlations of projections with scores: pooled, within conditions, beside random directions, while speaking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from personascope.analysis.monitoring import (
    CORRELATION,
    GROUP,
    POINT,
    beside_random,
    correlations,
    pearson,
    random_correlations,
    while_speaking,
)

ABOUT = dict(zip(GROUP, ("model", 0, "grim", "grim", 2, "system prompts"), strict=True))


def points(
    *, between: float, within: float, conditions: int = 8, questions: int = 20, seed: int = 0, noise: float = 0.0
) -> pd.DataFrame:
    """Points whose conditions and whose questions move projections and scores together, as strongly as is said."""
    generator, rows = np.random.default_rng(seed), []
    for place in range(conditions):
        for question in range(questions):
            own = generator.standard_normal()
            projection = between * place + own
            score = 50 + 5 * (between * (place - conditions / 2) + within * own) + 5 * generator.standard_normal()
            rows.append(
                {
                    **ABOUT,
                    "place": place,
                    "condition": f"c{place}",
                    "question": f"q{question}",
                    "projection": projection,
                }
                | {"score": score, "noise": noise, "spoken": projection, "coherence": 90.0}
            )
    return pd.DataFrame(rows, columns=POINT)


def naive_pearson(first, second) -> float:
    both = [(a, b) for a, b in zip(first, second, strict=True) if np.isfinite(a) and np.isfinite(b)]
    one, other = (np.array(each) for each in zip(*both, strict=True))
    top = sum((a - one.mean()) * (b - other.mean()) for a, b in both)
    return float(top / np.sqrt(((one - one.mean()) ** 2).sum() * ((other - other.mean()) ** 2).sum()))


def test_the_pooled_and_the_within_correlation_are_those_of_a_naive_loop() -> None:
    frame = points(between=1.0, within=0.7)
    frame.loc[[3, 77], "score"] = np.nan
    frame.loc[[50], "projection"] = np.nan
    (row,) = correlations(frame, resamples=50).to_dict("records")
    assert list(row) == CORRELATION
    assert row["pearson"] == pytest.approx(naive_pearson(frame["projection"], frame["score"]))
    inside = [naive_pearson(some["projection"], some["score"]) for _, some in frame.groupby("place")]
    assert row["within"] == pytest.approx(np.mean(inside))
    assert row["spearman"] == pytest.approx(frame[["projection", "score"]].corr(method="spearman").iloc[0, 1])
    ranked = [some[["projection", "score"]].corr(method="spearman").iloc[0, 1] for _, some in frame.groupby("place")]
    assert row["within_spearman"] == pytest.approx(np.mean(ranked))
    assert row["points"] == 157


def test_conditions_that_move_both_give_a_pooled_correlation_and_none_within() -> None:
    (row,) = correlations(points(between=1.0, within=0.0)).to_dict("records")
    assert row["pearson"] > 0.8
    assert row["low"] > 0.7
    assert row["within_low"] < 0 < row["within_high"], "within a condition nothing was planted"


def test_what_moves_questions_of_one_condition_shows_within_and_hardly_pooled() -> None:
    (row,) = correlations(points(between=0.0, within=1.0)).to_dict("records")
    assert row["within_low"] > 0.5


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """With 20 questions percentile intervals are somewhat narrow; the docstring says so."""
    held = []
    for seed in range(50):
        (row,) = correlations(points(between=0.0, within=1.0, conditions=2, seed=seed), resamples=200).to_dict(
            "records"
        )
        held.append(row["low"] <= np.sqrt(0.5) <= row["high"])
    assert np.mean(held) >= 0.85, f"held {np.mean(held):.2f} of the time"


def test_conditions_whose_scores_hardly_vary_are_left_out_of_the_within_figure_and_named() -> None:
    frame = points(between=1.0, within=0.5)
    still = frame["place"].isin([2, 5])
    frame.loc[still, "score"] = 50 + 0.01 * frame.loc[still, "score"]
    (row,) = correlations(frame, resamples=50).to_dict("records")
    assert row["within_conditions"] == 6
    assert row["left_out"] == "c2; c5"
    kept = [
        naive_pearson(some["projection"], some["score"])
        for place, some in frame.groupby("place")
        if place not in (2, 5)
    ]
    assert row["within"] == pytest.approx(np.mean(kept))
    frame["score"] = 50.0
    (row,) = correlations(frame, resamples=50).to_dict("records")
    assert np.isnan(row["within"])
    assert np.isnan(row["pearson"]), "scores that do not vary correlate with nothing"
    assert row["left_out"].count(";") == 7


def test_what_is_resampled_is_a_question_with_all_its_conditions() -> None:
    """Copies of the same conditions add points and no questions: the interval does not get narrower."""
    frame = points(between=0.0, within=1.0, conditions=2, seed=3)
    twice = pd.concat([frame, *(frame.assign(place=frame["place"] + 2 * copy) for copy in range(1, 6))])
    one, many = (correlations(each).iloc[0] for each in (frame, twice))
    assert many["high"] - many["low"] == pytest.approx(one["high"] - one["low"], rel=1e-6)


def test_the_ceiling_is_what_noise_of_few_draws_leaves() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(20, 80, (30, 40))
    draws = generator.binomial(10, truth / 100, truth.shape) / 10 * 100
    noise = draws * (100 - draws) / 9  # what the variance of a mean of ten yes-or-no draws is estimated by
    rows = [
        {**ABOUT, "place": place, "condition": str(place), "question": str(question)}
        | {"projection": truth[place, question], "score": draws[place, question], "noise": noise[place, question]}
        | {"spoken": 0.0, "coherence": 90.0}
        for place in range(30)
        for question in range(40)
    ]
    (row,) = correlations(pd.DataFrame(rows, columns=POINT), resamples=10).to_dict("records")
    assert row["ceiling"] == pytest.approx(row["pearson"], abs=0.03), "a perfect predictor reaches the ceiling"
    assert row["within_ceiling"] == pytest.approx(row["within"], abs=0.05)


def test_without_points_there_is_no_row() -> None:
    assert correlations(pd.DataFrame(columns=POINT)).empty
    assert list(correlations(pd.DataFrame(columns=POINT)).columns) == CORRELATION


def test_a_correlation_of_what_does_not_vary_is_not_known() -> None:
    assert np.isnan(pearson(np.full(5, 0.1), np.arange(5.0)))
    assert np.isnan(pearson(np.array([1.0]), np.array([2.0])))
    assert np.isnan(pearson(np.array([]), np.array([])))
    assert pearson(np.array([1.0, np.nan, 3.0, 4.0]), np.array([1.0, 9.0, 3.0, np.nan])) == pytest.approx(1.0)


def test_random_directions_give_what_a_loop_over_them_gives() -> None:
    generator = np.random.default_rng(4)
    streams, scores = generator.standard_normal((24, 6)), generator.uniform(0, 100, 24)
    conditions = np.repeat([0, 1, 2], 8)
    scores[conditions == 1] = 40.0
    found = random_correlations(streams, scores, conditions, directions=5, seed=7)
    drawn = np.random.default_rng(7).standard_normal((5, 6))
    for row, direction in zip(found.itertuples(), drawn, strict=True):
        along = streams @ direction
        assert row.pearson == pytest.approx(naive_pearson(along, scores))
        inside = [naive_pearson(along[conditions == each], scores[conditions == each]) for each in (0, 2)]
        assert row.within == pytest.approx(np.mean(inside)), "the condition that does not vary is left out here too"


def test_a_random_direction_is_no_better_than_random() -> None:
    generator = np.random.default_rng(5)
    streams, scores = generator.standard_normal((160, 32)), generator.uniform(0, 100, 160)
    drawn = random_correlations(streams, scores, np.zeros(160), directions=400)["pearson"].to_numpy()
    again = random_correlations(streams, scores, np.zeros(160), directions=200, seed=9)["pearson"].to_numpy()
    p = np.array([beside_random(each, drawn)["p_random"] for each in again])
    assert abs((p < 0.2).mean() - 0.2) < 0.1, "p-values of random directions are about uniform"


def test_a_correlation_stands_beside_the_sizes_of_random_ones() -> None:
    found = beside_random(-0.9, np.array([0.1, -0.2, 0.95, np.nan]))
    assert found["random_median"] == pytest.approx(0.2)
    assert found["p_random"] == pytest.approx(2 / 4), "the found one counts among them"
    assert all(np.isnan(value) for value in beside_random(np.nan, np.array([0.1])).values())
    assert all(np.isnan(value) for value in beside_random(0.5, np.array([])).values())


def test_while_speaking_each_answer_is_an_item_and_each_moment_a_row() -> None:
    generator = np.random.default_rng(6)
    scores = generator.uniform(0, 100, 200)
    heard = np.stack([generator.standard_normal(200), scores + 40 * generator.standard_normal(200), scores], axis=1)
    rows = while_speaking(heard, scores, [f"q{place % 20}" for place in range(200)], resamples=200)
    assert list(rows["moment"]) == [0, 1, 2]
    assert rows["low"][0] < 0 < rows["high"][0]
    assert 0.4 < rows["pearson"][1] < 0.8
    assert rows["pearson"][2] == pytest.approx(1.0)
    assert (rows["low"] <= rows["pearson"] + 1e-9).all()
