"""The main path on the scripted engine, whose right answers are known because they were planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from personascope.analysis.effects import effects, growth
from personascope.analysis.frames import answer_rows
from personascope.core.errors import LayerError, VectorError
from personascope.core.records import Bar, Sampling
from personascope.core.steering import Steering
from personascope.core.vectors import NoVector, PersonaVector
from personascope.engines.opening import Opener
from personascope.engines.scripted import scripted_lineage
from personascope.judges.scripted import ScriptedJudge
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.tracing.controls import random_direction, shuffled_labels
from personascope.tracing.extraction import Method, extract
from personascope.tracing.tracing import Absence, Effect, Subject, trace
from scripted_world import TRAITS

METHOD = Method(Sampling(max_tokens=24, draws=2), Sampling(max_tokens=24, draws=3))
STEERING = Steering(3, 1.0, "vector")
MATURITIES = (0.0, 0.6, None, 1.0)


def traced(store: Store | None = None, maturities=MATURITIES):
    lineage, open_one = scripted_lineage(TRAITS, maturities)
    judge = ScriptedJudge(TRAITS)
    opener = Opener(open_one, wrap=(lambda engine: RememberingEngine(engine, store, chunk=7)) if store else None)
    outcomes = trace(
        lineage,
        [Subject.of(each, STEERING) for each in TRAITS],
        open_engine=opener,
        judge=RememberingJudge(judge, store, chunk=11) if store else judge,
        method=METHOD,
        direction=[random_direction(0), random_direction(1), shuffled_labels(0)],
    )
    return outcomes, judge, open_one


def arm(frame: pd.DataFrame, **where) -> pd.DataFrame:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


@pytest.fixture(scope="module")
def outcomes():
    return traced()[0]


def test_extraction_recovers_the_planted_direction():
    lineage, open_engine = scripted_lineage(TRAITS, [1.0])
    engine = open_engine(lineage.milestones[0].checkpoint)
    for each in TRAITS:
        vector = extract(engine, each, judge=ScriptedJudge(TRAITS), method=METHOD)
        assert isinstance(vector, PersonaVector)
        planted = engine.planted(each.name)
        cosine = vector.at(4) @ planted / np.linalg.norm(vector.at(4))
        assert cosine > 0.9, f"the {each.name} vector has cosine {cosine:.3f} with the direction that was planted"
        assert vector.counts.kept == vector.counts.asked - sum(
            getattr(vector.counts, fault)
            for fault in ("empty", "unscored", "positive_too_low", "negative_too_high", "incoherent")
        )
        assert np.isfinite(vector.residual_norms).all()
        assert len(vector.sources) == 2 * vector.counts.kept


def test_swapping_the_poles_negates_the_vector():
    from dataclasses import replace

    from personascope.core.traits import Contrast

    lineage, open_engine = scripted_lineage(TRAITS, [1.0])
    engine = open_engine(lineage.milestones[0].checkpoint)
    upright = TRAITS[0]
    swapped = replace(upright, contrasts=tuple(Contrast(each.negative, each.positive) for each in upright.contrasts))
    keep_all = Method(METHOD.extraction, METHOD.evaluation, Bar(None, None))
    one = extract(engine, upright, judge=None, method=keep_all)
    other = extract(engine, swapped, judge=None, method=keep_all)
    assert np.array_equal(one.directions, -other.directions), (
        "the same answers with poles swapped must negate the vector"
    )


def test_without_a_judge_every_pair_is_kept_and_the_passport_says_so():
    lineage, open_engine = scripted_lineage(TRAITS, [0.0])
    vector = extract(open_engine(lineage.milestones[0].checkpoint), TRAITS[0], judge=None, method=METHOD)
    assert isinstance(vector, PersonaVector)
    assert vector.counts.kept + vector.counts.empty == vector.counts.asked == 6 * 2 * 2
    assert "every pair kept" in vector.judge


def test_an_immature_checkpoint_gives_no_vector_and_says_why():
    lineage, open_engine = scripted_lineage(TRAITS, [0.0])
    found = extract(
        open_engine(lineage.milestones[0].checkpoint), TRAITS[0], judge=ScriptedJudge(TRAITS), method=METHOD
    )
    assert isinstance(found, NoVector)
    assert found.counts.positive_too_low > 0.8 * found.counts.asked


def test_effects_emerge_and_absences_are_rows_with_reasons(outcomes):
    frame = effects(answer_rows(outcomes))
    for each in TRAITS:
        mine = arm(frame, trait=each.name, direction="extracted")
        assert list(mine["milestone"]) == ["step-0", "step-1", "step-2", "step-3"]
        assert "no vector: 0 of 24 pairs kept" in mine["reason"].iloc[0]
        assert "scripted to be missing" in mine["reason"].iloc[2]
        assert mine["effect"].isna().tolist() == [True, False, True, False]
        assert mine["effect"].iloc[3] > mine["effect"].iloc[1] > 5, "steering must grow with maturity"
        assert mine["p_greater"].iloc[3] == 2**-8, "all eight questions move up, so the exact test gives its least p"
    assert (growth(answer_rows(outcomes))["growth"] > 0).all()


def test_a_random_direction_is_applied_at_the_vectors_norm_and_a_shuffled_one_at_its_own(outcomes):
    found = [each for each in outcomes if isinstance(each, Effect)]
    frame = effects(answer_rows(found))
    for (_, _), mine in frame.groupby(["trait", "milestone"]):
        real = arm(mine, direction="extracted").iloc[0]
        for control in ("random-0", "random-1"):
            assert arm(mine, direction=control)["applied_norm"].iloc[0] == pytest.approx(real["applied_norm"], rel=1e-5)
        assert arm(mine, direction="shuffled-0")["applied_norm"].iloc[0] < 0.8 * real["applied_norm"]
    controls = frame[frame["direction"].str.startswith("random")]
    assert abs(controls["effect"].mean()) < 6, "random directions of the same norm must do next to nothing on average"
    drawn = {each.vector.digest for each in found if each.vector.origin == "random-0"}
    assert len(drawn) == 4, "each trait and checkpoint must get a draw of its own"


def test_plain_answers_are_shared_by_all_arms(outcomes):
    frame = answer_rows(outcomes)
    plain = frame[frame["pole"] == "plain"].groupby(["trait", "milestone"])["response_key"]
    assert plain.size().eq(8 * 3 * 4).all(), "eight questions, three draws, beside each of four arms"
    behind = [each for each in outcomes if isinstance(each, Effect) and each.milestone.label == "step-3"]
    assert len({id(each.plain[0].response) for each in behind}) == len(TRAITS), (
        "one baseline serves all arms of a trait"
    )


def test_a_second_run_asks_nothing_and_gives_the_same_table(tmp_path):
    first, judge, _ = traced(Store(tmp_path))
    assert judge.asked > 0
    second, judge, open_one = traced(Store(tmp_path))
    assert judge.asked == 0, "every verdict is remembered"
    lineage, _ = scripted_lineage(TRAITS, MATURITIES)
    loads = [open_one(m.checkpoint).loads for m in lineage if m.label != "step-2"]
    assert loads == [0, 0, 0], f"a second run must load no weights, it loaded {loads}"
    one, other = (effects(answer_rows(each)).to_csv() for each in (first, second))
    assert one == other
    assert one == effects(answer_rows(traced()[0])).to_csv(), "a store must not change a result"


def test_a_figure_can_be_traced_back_to_every_response(tmp_path):
    store = Store(tmp_path)
    rows = answer_rows(traced(store)[0])
    row = rows[rows["pole"] == "steered"].iloc[0]
    behind = store.provenance(row["response_key"])
    assert behind["by"]["request"]["edits"][0]["layer"] == 3
    assert behind["by"]["checkpoint"]["revision"] == row["milestone"]
    said = store.provenance(row["verdict_key"])
    assert said["by"]["case"]["answer"] == behind["value"]["text"]
    assert said["value"]["score"] == row["score"]


def test_transfer_steers_the_target_with_the_sources_vector():
    lineage, open_one = scripted_lineage(TRAITS, [0.6, 1.0])
    last = lineage.milestones[-1]
    outcomes = trace(
        lineage,
        [Subject.of(TRAITS[0], STEERING)],
        open_engine=Opener(open_one, keep=2),
        judge=ScriptedJudge(TRAITS),
        method=METHOD,
        target=last,
    )
    assert [each.target.label for each in outcomes] == ["step-1", "step-1"]
    assert outcomes[0].vector.checkpoint.revision == "step-0"
    plain = [[answer.response.text for answer in each.plain] for each in outcomes]
    assert plain[0] == plain[1], "both are compared with the target's own plain answers"


@pytest.mark.parametrize("layer", [5, 40])
def test_a_layer_the_model_lacks_is_refused_before_anything_is_asked(layer):
    lineage, open_one = scripted_lineage(TRAITS, [1.0])
    with pytest.raises(LayerError, match=f"layer {layer} asked of scripted@step-0, which has 4 blocks"):
        trace(
            lineage,
            [Subject.of(TRAITS[0], Steering(layer, 1.0, "vector"))],
            open_engine=open_one,
            judge=ScriptedJudge(TRAITS),
        )
    assert open_one(lineage.milestones[0].checkpoint).loads == 0


def test_a_target_of_another_width_is_refused_before_anything_is_asked():
    from personascope.engines.scripted import ScriptedEngine

    lineage, open_one = scripted_lineage(TRAITS, [1.0, 1.0])
    narrow = ScriptedEngine(lineage.milestones[1].checkpoint, TRAITS, hidden_size=64)
    engines = {lineage.milestones[0].checkpoint: open_one(lineage.milestones[0].checkpoint), narrow.checkpoint: narrow}
    with pytest.raises(VectorError, match="cannot steer"):
        trace(
            lineage.only(("step-0",)),
            [Subject.of(TRAITS[0], STEERING)],
            open_engine=engines.__getitem__,
            judge=ScriptedJudge(TRAITS),
            target=lineage.milestones[1],
        )


def test_verdicts_nobody_gave_are_counted_and_are_no_finding():
    from personascope.core.records import Verdict

    class Down(ScriptedJudge):
        def score(self, cases):
            return [Verdict("unasked", reason="nobody at the address") for _ in cases]

    lineage, open_one = scripted_lineage(TRAITS, [1.0])
    found = extract(open_one(lineage.milestones[0].checkpoint), TRAITS[0], judge=Down(TRAITS), method=METHOD)
    assert isinstance(found, NoVector)
    assert found.counts.unasked + found.counts.empty == found.counts.asked
    assert "unasked" in str(found.counts)


def test_a_vector_of_a_run_carries_its_judge_and_its_own_checkpoints_norms(outcomes):
    lineage, open_one = scripted_lineage(TRAITS, [0.6, 1.0])
    for each in outcomes:
        if isinstance(each, Effect) and each.vector.origin == "extracted":
            assert each.vector.judge == "scripted"
            assert np.array_equal(each.vector.residual_norms, each.residual_norms)
    moved = trace(
        lineage.only(("step-0",)),
        [Subject.of(TRAITS[0], STEERING)],
        open_engine=open_one,
        judge=ScriptedJudge(TRAITS),
        method=METHOD,
        target=lineage.milestones[1],
    )
    assert np.isnan(moved[0].vector.residual_norms).all(), "the target's norms are not the source's"
    assert np.isfinite(moved[0].residual_norms).all()


def test_the_same_trait_twice_is_refused():
    from personascope.core.errors import StudyError

    lineage, open_one = scripted_lineage(TRAITS, [1.0])
    with pytest.raises(StudyError, match="trait 'grim' was given twice"):
        trace(lineage, [Subject.of(TRAITS[0], STEERING)] * 2, open_engine=open_one, judge=ScriptedJudge(TRAITS))


def test_an_absence_counts_its_pairs(outcomes):
    absent = [each for each in outcomes if isinstance(each, Absence) and each.milestone.label == "step-0"]
    assert all(each.counts is not None and each.counts.kept == 0 for each in absent)
