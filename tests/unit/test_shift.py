"""Finetuning shift: laws of what is measured, and correlations that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from personascope.applications.shift.core import Standing, Watched, check_related, stand
from personascope.applications.shift.frames import shift_correlations, shift_null, shift_rows
from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Answer, Request, Response, Sampling, Verdict
from personascope.core.vectors import PersonaVector
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge
from scripted_world import trait as scripted_trait

WIDTH = 8
BOLD, SHY = scripted_trait("bold"), scripted_trait("shy")


def vector(direction: Sequence[float], trait: str = "bold", layers: int = 5) -> PersonaVector:
    return PersonaVector(
        np.tile(np.array(direction, dtype=float), (layers, 1)), np.full(layers, np.nan), trait, "story", Checkpoint("x")
    )


WATCHED = (
    Watched(BOLD, vector([2, 0, 0, 0, 0, 0, 0, 0]), 2),
    Watched(SHY, vector([0, 0.5, 0, 0, 0, 0, 0, 0], "shy"), 3),
)


def answers(score: float, trait: str, coherence: float = 90.0) -> list[Answer]:
    """Ten questions, two draws each, at a score and a point more or less."""
    said = Response(Request("q", None), (1, 2), 1, "x", "stop")
    return [
        Answer(f"{trait} {q}", d, said, Verdict("scored", score + (-1) ** d), Verdict("scored", coherence))
        for q in range(10)
        for d in range(2)
    ]


def standing(name: str, at: Sequence[float], scores: tuple[float, float], group: str = "") -> Standing:
    """A model whose mean activations are the same at every layer and for every trait."""
    means = np.tile(np.array(at, dtype=float), (5, 1))
    said = {"bold": answers(scores[0], "bold"), "shy": answers(scores[1], "shy")}
    return Standing(name, {"bold": means, "shy": means}, said, group or name)


BASE = standing("base", np.ones(WIDTH), (20, 30))


def world(count: int = 12, noise: float = 0.0) -> list[Standing]:
    """Models that moved along the bold vector as far as they became bold, and along nothing of shyness."""
    drawn = np.random.default_rng(0)
    made = []
    for number in range(count):
        moved = np.ones(WIDTH)
        moved[0] += number
        moved[1:] += drawn.standard_normal(WIDTH - 1)
        made.append(
            standing(f"m{number}", moved, (20 + 3 * number + noise * drawn.standard_normal(), 30 + drawn.normal()))
        )
    return made


def test_the_shift_is_the_movement_along_the_unit_vector_and_no_movement_is_none() -> None:
    same = shift_rows(BASE, [BASE], WATCHED)
    assert same["shift"].tolist() == [0.0, 0.0]
    assert same["change"].tolist() == [0.0, 0.0]
    moved = standing("m", [4, 3, 1, 1, 1, 1, 1, 1], (50, 30))
    rows = shift_rows(BASE, [moved], WATCHED).set_index("trait")
    assert rows.loc["bold", "shift"] == pytest.approx(3.0), "the length of the vector does not count"
    assert rows.loc["shy", "shift"] == pytest.approx(2.0)
    assert rows.loc["bold", "cosine"] == pytest.approx(3 / np.sqrt(13))
    assert (rows.loc["bold", "before"], rows.loc["bold", "after"]) == (20, 50)
    assert (rows.loc["bold", "change"], rows.loc["bold", "low"], rows.loc["bold", "high"]) == pytest.approx(
        (30, 30, 30)
    )
    assert rows.loc["shy", "change"] == pytest.approx(0)


def test_swapping_base_and_tuned_negates_shift_and_change() -> None:
    moved = standing("m", [4, 3, 1, 1, 1, 1, 1, 1], (50, 10))
    there, back = shift_rows(BASE, [moved], WATCHED), shift_rows(moved, [BASE], WATCHED)
    for column in ("shift", "change", "cosine"):
        np.testing.assert_allclose(there[column], -back[column])


def test_models_that_moved_as_far_as_they_changed_correlate_and_others_do_not() -> None:
    found = shift_correlations(shift_rows(BASE, world(40), WATCHED)).set_index(["vector", "trait"])
    own = found.loc[("bold", "bold")]
    assert own["pearson"] == pytest.approx(1.0)
    assert own["low"] == pytest.approx(1.0)
    other = found.loc[("shy", "shy")]
    assert abs(other["pearson"]) < 0.4, "noise against noise"
    assert len(found) == 4


def test_the_correlation_is_scipys_and_its_interval_holds_it() -> None:
    from scipy import stats

    rows = shift_rows(BASE, world(noise=8.0), WATCHED)
    mine = rows[rows["trait"] == "bold"]
    own = shift_correlations(rows).iloc[0]
    assert own["pearson"] == pytest.approx(stats.pearsonr(mine["shift"], mine["change"])[0])
    assert own["low"] < own["pearson"] < own["high"]
    again = shift_correlations(rows).iloc[0]
    assert (again["low"], again["high"]) == (own["low"], own["high"]), "the same seed draws the same"


def test_copies_of_a_model_in_one_group_narrow_nothing() -> None:
    alone = world(8, noise=6.0)
    copies = [
        Standing(f"{each.name}-{copy}", each.means, each.answers, each.name) for each in alone for copy in range(4)
    ]
    few, many = (shift_correlations(shift_rows(BASE, some, WATCHED)).iloc[0] for some in (alone, copies))
    assert (many["models"], many["groups"]) == (32, 8)
    assert many["high"] - many["low"] == pytest.approx(few["high"] - few["low"], abs=1e-9)


def test_checkpoints_of_one_run_have_a_correlation_and_no_interval() -> None:
    steps = [Standing(each.name, each.means, each.answers, "run") for each in world(8, noise=6.0)]
    own = shift_correlations(shift_rows(BASE, steps, WATCHED)).iloc[0]
    assert (own["models"], own["groups"]) == (8, 1)
    assert np.isfinite(own["pearson"])
    assert np.isnan(own["low"]), "one group resampled is itself every time: an interval without width would be wrong"
    assert np.isnan(own["high"])


def test_a_model_that_nobody_could_judge_is_not_counted() -> None:
    models = world(5)
    said = [
        Answer(each.question, each.draw, each.response, Verdict("refused"), each.coherence)
        for each in models[0].answers["bold"]
    ]
    models[0] = Standing("m0", models[0].means, {**models[0].answers, "bold": said})
    rows = shift_rows(BASE, models, WATCHED)
    found = shift_correlations(rows).set_index(["vector", "trait"])
    assert found.loc[("bold", "bold"), "models"] == 4
    assert found.loc[("bold", "shy"), "models"] == 5
    assert shift_null(BASE, models, WATCHED).set_index("trait")["models"].tolist() == [4, 5]
    three = shift_correlations(shift_rows(BASE, models[:4], WATCHED)).set_index(["vector", "trait"])
    assert np.isnan(three.loc[("bold", "bold"), "pearson"]), "three models with a change are too few"


def test_with_three_models_there_is_no_correlation_and_of_none_no_row() -> None:
    rows = shift_rows(BASE, world(3), WATCHED)
    assert shift_correlations(rows)["pearson"].isna().all()
    assert shift_null(BASE, world(3), WATCHED)["p_random"].isna().all()
    empty = shift_rows(BASE, [], WATCHED)
    assert list(empty.columns) == list(rows.columns)
    assert len(shift_correlations(empty)) == 0


def test_the_null_is_as_high_as_one_dimension_makes_it() -> None:
    line = [standing(f"m{n}", np.ones(WIDTH) + n * np.arange(1, 9), (20 + n, 30)) for n in range(10)]
    null = shift_null(BASE, line, WATCHED, directions=200).set_index("trait")
    assert null.loc["bold", "random_median"] == pytest.approx(1.0), (
        "all movement is along one line: any direction has it"
    )
    assert null.loc["bold", "p_random"] > 0.5, "but for rounding, every direction is as good as the vector"
    free = shift_null(BASE, world(30), WATCHED, directions=200).set_index("trait")
    assert free.loc["bold", "p_random"] < 0.05
    assert free.loc["bold", "random_95"] < 1


def test_the_null_is_the_naive_one() -> None:
    models = world(9, noise=5.0)
    null = shift_null(BASE, models, WATCHED, directions=50, seed=3).set_index("trait")
    drawn = np.random.default_rng(3).standard_normal((50, WIDTH))
    change = shift_rows(BASE, models, WATCHED).set_index("trait").loc["bold", "change"].to_numpy(dtype=float)
    sizes = []
    for direction in drawn:
        along = [(each.means["bold"][2] - BASE.means["bold"][2]) @ direction for each in models]
        sizes.append(abs(np.corrcoef(along, change)[0, 1]))
    assert null.loc["bold", "random_95"] == pytest.approx(np.quantile(sizes, 0.95))
    assert null.loc["bold", "random_median"] == pytest.approx(np.median(sizes))


def test_unscored_answers_are_counted_and_left_out() -> None:
    moved = standing("m", np.ones(WIDTH), (50, 30))
    said = [*answers(50, "bold")]
    said[0] = Answer(said[0].question, 0, said[0].response, Verdict("refused"), Verdict("scored", 90))
    rows = shift_rows(BASE, [Standing("m", moved.means, {**moved.answers, "bold": said})], WATCHED)
    assert rows["unscored"].tolist() == [1, 0]
    assert np.isfinite(rows["change"]).all()


# Asking models.


def test_a_model_that_leans_to_a_trait_stands_further_along_its_vector() -> None:
    def engine(maturity: float) -> ScriptedEngine:
        return ScriptedEngine(Checkpoint("scripted", f"{maturity}"), [BOLD, SHY], maturity=maturity)

    planted = engine(1).planted("bold")
    watched = [Watched(BOLD, vector(planted), 4)]
    sampling = Sampling(max_tokens=24, draws=2)
    one, other = (
        stand(engine(maturity), watched, name="m", judge=ScriptedJudge([BOLD, SHY]), sampling=sampling, span="response")
        for maturity in (1.0, 0.0)
    )
    assert set(one.means) == set(one.answers) == {"bold"}
    assert one.means["bold"].shape == (5, 256)
    naive = engine(1.0)
    said = [each.response for each in one.answers["bold"] if not each.response.empty]
    questions = [each.question for each in one.answers["bold"] if not each.response.empty]
    means = pd.DataFrame(naive.read(said).response[:, 4].astype(float)).groupby(questions).mean()
    np.testing.assert_allclose(one.means["bold"][4], means.to_numpy().mean(axis=0), atol=1e-9)
    last = stand(engine(1.0), watched, name="m", judge=ScriptedJudge([BOLD, SHY]), sampling=sampling)
    assert not np.allclose(last.means["bold"], one.means["bold"]), "the last prompt token is another place"
    assert other.group == "m"


def test_what_does_not_belong_together_is_refused_before_anything_is_asked() -> None:
    base = ScriptedEngine(Checkpoint("scripted"), [BOLD])
    other = ScriptedEngine(Checkpoint("scripted", "wide"), [BOLD], hidden_size=64)
    fitting = Watched(BOLD, vector(np.ones(256)), 2)
    check_related(base, [base], [fitting])
    with pytest.raises(VectorError, match="wide has 4 blocks of width 64"):
        check_related(base, [base, other], [fitting])
    with pytest.raises(VectorError, match="give a vector of that base"):
        check_related(base, [], [Watched(BOLD, vector(np.ones(8)), 2)])
    with pytest.raises(LayerError, match="layer 5"):
        check_related(base, [], [Watched(BOLD, vector(np.ones(256)), 5)])
    with pytest.raises(VectorError, match="no length at layer 2"):
        check_related(base, [], [Watched(BOLD, vector(np.zeros(256)), 2)])
    with pytest.raises(StudyError, match="'bold' is watched twice"):
        stand(base, [fitting, fitting], name="m", judge=ScriptedJudge([BOLD]), sampling=Sampling())
    assert base.loads == 0
