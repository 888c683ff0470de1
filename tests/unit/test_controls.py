"""Controls: directions that take a vector's place, against what they promise, on planted extractions."""

from __future__ import annotations

import numpy as np
import pytest

from personascope.core.errors import CheckpointError, StudyError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Sampling
from personascope.core.steering import Steering, applied_norm
from personascope.core.vectors import PairCounts, PersonaVector
from personascope.engines.opening import Opener
from personascope.engines.scripted import scripted_lineage
from personascope.judges.scripted import ScriptedJudge
from personascope.tracing.controls import (
    Controls,
    orthogonal_direction,
    other_traits,
    random_direction,
    shuffled_labels,
    with_permutations,
)
from personascope.tracing.extraction import Extraction, Method
from personascope.tracing.tracing import Absence, Effect, Prompted, Subject, paired_effect, trace
from scripted_world import TRAITS

LAYERS, HIDDEN, PAIRS = 4, 32, 40
MATCHED = [random_direction(0), orthogonal_direction(0), other_traits(), shuffled_labels(0, renormed=True)]
METHOD = Method(Sampling(max_tokens=24, draws=2), Sampling(max_tokens=24, draws=2))


def an_extraction(
    seed: int = 0, *, trait: str = "grim", form: str = "scripted", step: str = "step-0", growth: float = 1.0
) -> Extraction:
    """Pairs around a direction; each layer is longer than the one below."""
    drawn = np.random.default_rng(seed)
    mean = drawn.normal(size=(LAYERS, HIDDEN)) * (growth * np.arange(1, LAYERS + 1))[:, None]
    differences = mean + drawn.normal(size=(PAIRS, LAYERS, HIDDEN))
    vector = PersonaVector(
        differences.mean(axis=0), np.full(LAYERS, 9.0), trait, form, Checkpoint("scripted", step),
        counts=PairCounts(PAIRS, PAIRS),
    )  # fmt: skip
    return Extraction(vector, differences)


OTHERS = [an_extraction(1, trait="merry", growth=7.0), an_extraction(2, trait="calm"), an_extraction(3, trait="grim")]


@pytest.mark.parametrize("control", MATCHED, ids=repr)
@pytest.mark.parametrize(
    "steering",
    [
        Steering(2, 1.7, "vector"),
        Steering((1, 3), 0.3, "residual", where="all"),
        Steering((1, 2, 3), 1.2, "vector", increments=True),
        Steering(2, 0.3, "residual", residual_norm=20.0),
    ],
    ids=repr,
)
def test_a_matched_control_is_applied_at_the_vectors_norm_layer_by_layer(control, steering):
    found = an_extraction()
    made = found.incremental() if steering.increments else found
    others = [each.incremental() if steering.increments else each for each in OTHERS]
    real = steering.along(found.vector)
    for vector in control(made, others):
        for edit, expected in zip(steering.along(found.vector, control=vector), real, strict=True):
            norm = np.linalg.norm(edit.direction)
            assert norm == pytest.approx(np.linalg.norm(expected.direction), rel=1e-5), f"layer {edit.layer}"
            cosine = edit.direction @ expected.direction / norm**2
            assert cosine < 0.9, "a control that is the vector controls nothing"
        assert applied_norm(steering.along(found.vector, control=vector)) == pytest.approx(applied_norm(real), rel=1e-5)


def test_increments_of_the_pairs_average_to_those_of_the_vector():
    made = an_extraction().incremental()
    expected = made.vector.directions
    np.testing.assert_allclose(
        made.differences.mean(axis=0), expected, atol=1e-5, err_msg="shuffles are of other pairs"
    )


def test_an_orthogonal_direction_has_no_part_along_the_vector_at_any_layer():
    found = an_extraction()
    for seed in range(5):
        (vector,) = orthogonal_direction(seed)(found, ())
        np.testing.assert_allclose(found.vector.cosine(vector), 0, atol=1e-6)
    leaning = [abs(found.vector.cosine(random_direction(seed)(found, ())[0])).max() for seed in range(5)]
    assert max(leaning) > 0.1, "a random direction leans on the vector by chance, or the control would be the same"


@pytest.mark.parametrize("control", [random_direction, orthogonal_direction, shuffled_labels])
def test_every_seed_trait_form_and_checkpoint_has_a_draw_of_its_own_and_it_repeats(control):
    """The published random direction was one and the same at every checkpoint and for every trait."""
    about = ({}, {"trait": "merry"}, {"form": "story"}, {"step": "step-1"})
    drawn = [control(seed)(an_extraction(**each), ())[0] for each in about for seed in (0, 1)]
    cosines = [abs(one.cosine(other)).min() for place, one in enumerate(drawn) for other in drawn[:place]]
    assert max(cosines) < 0.9, "two of these draws are one"
    (again,) = control(0)(an_extraction(), ())
    assert again.digest == drawn[0].digest


def test_the_two_lengths_of_a_shuffle_are_one_direction_and_the_coins_are_fair():
    found = an_extraction()
    along = []
    for seed in range(60):
        (own,), (renormed,) = shuffled_labels(seed)(found, ()), shuffled_labels(seed, renormed=True)(found, ())
        np.testing.assert_allclose(own.cosine(renormed), 1, atol=1e-6)
        assert (own.lengths < 0.6 * found.vector.lengths).all(), "its own length is shorter than the vector's"
        np.testing.assert_allclose(renormed.lengths, found.vector.lengths, rtol=1e-5)
        along.append(found.vector.cosine(own)[3])
    assert abs(np.mean(along)) < 0.35, "swapping labels leaves the vector as often as its opposite"
    assert np.abs(along).mean() > 0.2, "and leaves some of it: re-normed, a shuffle is not expected to do nothing"


def test_other_traits_are_those_of_the_study_but_this_one_in_its_form_where_they_have_it():
    merry = [an_extraction(seed, trait="merry", form=form) for seed, form in ((1, "story"), (2, "scripted"))]
    found = an_extraction()
    vectors = other_traits()(found, [*merry, an_extraction(3, form="story")])
    assert [each.origin for each in vectors] == ["other-merry"]
    np.testing.assert_allclose(vectors[0].cosine(merry[1].vector), 1, atol=1e-6)
    assert other_traits()(found, ()) == []


def test_controls_count_what_they_give_and_refuse_less_than_none():
    controls = Controls(random=2, orthogonal=1, shuffled=1, renormed=2, other_traits=True, permutations=5)
    given = [vector for each in controls.directions(7) for vector in each(an_extraction(), OTHERS[:2])]
    assert len(given) == controls.count(3) == 8
    assert {each.origin for each in given if each.origin.startswith("random")} == {"random-7", "random-8"}
    names = [each(an_extraction(), ())[0].origin for each in controls.further(7)]
    kinds = [name.rsplit("-", 1)[0] for name in names]
    assert (kinds.count("shuffled"), kinds.count("shuffled-renormed")) == (4, 3), "the others are controls already"
    with pytest.raises(StudyError, match="-1 permutations controls cannot be"):
        Controls(permutations=-1)


# In a trace.


def traced(maturities, controls, *, target=None, steering=None, prompted=False):
    lineage, open_one = scripted_lineage(TRAITS, maturities)
    judge = ScriptedJudge(TRAITS)
    loads = []

    def opened(checkpoint):
        loads.append(checkpoint.revision)
        return open_one(checkpoint)

    subjects = [Subject.of(each, steering or Steering(3, 1.0, "vector")) for each in TRAITS]
    method = Method(METHOD.extraction, METHOD.evaluation, prompted=prompted)

    def tracing(some, subjects, directions):
        opener = Opener(opened, keep=3)
        return trace(
            some, subjects, open_engine=opener, judge=judge, method=method, direction=directions,
            target=[lineage.milestones[-1], None] if target else None,
        )  # fmt: skip

    return with_permutations(lineage, subjects, controls, seed=0, tracing=tracing), loads


def origins(outcomes, step, trait="grim"):
    return [
        each.vector.origin
        for each in outcomes
        if isinstance(each, Effect) and each.milestone.label == step and each.subject.extract.name == trait
    ]


def test_permutations_are_made_at_the_last_milestone_that_gives_a_vector_and_nowhere_else():
    outcomes, loads = traced([0.7, 1.0, 0.0], Controls(random=1, permutations=4))
    assert origins(outcomes, "step-0") == ["extracted", "random-0"]
    assert origins(outcomes, "step-2") == [], "the last checkpoint gives no vector here"
    kinds = [name.rsplit("-", 1)[0] for name in origins(outcomes, "step-1")]
    assert [kinds.count(kind) for kind in ("extracted", "random", "shuffled", "shuffled-renormed")] == [1, 1, 4, 4]
    assert sorted(loads) == ["step-0", "step-1", "step-2"], "each checkpoint is opened once"


def test_other_traits_vectors_steer_in_the_place_of_the_own_one_and_do_little():
    outcomes, _ = traced([1.0], Controls(other_traits=True))
    assert origins(outcomes, "step-0") == ["extracted", "other-merry"]
    for trait in ("grim", "merry"):
        mine = [each for each in outcomes if each.subject.extract.name == trait]
        real, other = (np.nanmean([one.trait for one in paired_effect(e.plain, e.steered)]) for e in mine)
        assert real > other + 20, f"{trait}: its own vector {real:+.1f}, the other's {other:+.1f}"


def test_prompts_alone_are_an_arm_of_their_own_even_where_there_is_no_vector():
    outcomes, _ = traced([0.0, 1.0], Controls(prompted=True), prompted=True)
    for step in ("step-0", "step-1"):
        arms = {
            each.pole: each
            for each in outcomes
            if isinstance(each, Prompted) and each.milestone.label == step and each.subject.extract.name == "grim"
        }
        asked = [each.question for each in arms["positive"].prompted]
        assert asked == [q for q in TRAITS[0].evaluation_questions for _ in TRAITS[0].contrasts], "once per instruction"
        texts = {each.response.request.text for each in arms["positive"].prompted}
        assert all(text.startswith("Be grim") for text in texts)
        assert not any(each.response.request.edits for each in arms["positive"].prompted)
    means = {pole: np.nanmean([answer.trait.score for answer in each.prompted]) for pole, each in arms.items()}
    assert means["positive"] > means["negative"] + 30
    assert any(isinstance(each, Absence) and each.milestone.label == "step-0" for each in outcomes)


def test_several_targets_are_steered_from_one_load_of_the_source():
    outcomes, loads = traced([0.7, 1.0], Controls(random=1), target=True)
    found = [each for each in outcomes if isinstance(each, Effect) and each.milestone.label == "step-0"]
    assert {each.target.label if each.target else "own" for each in found} == {"step-1", "own"}
    assert loads.count("step-0") == 1
    by_target = {each.target: each for each in found if each.vector.origin == "extracted"}
    own, other = by_target[None], by_target[found[0].target]
    assert own.vector.digest == other.vector.digest, "the same vector steers both"
    assert own.plain is not other.plain, "each is compared with the plain answers of the model that is steered"
    assert np.isfinite(own.vector.residual_norms).all()
    assert np.isnan(other.vector.residual_norms).all()


def test_a_target_that_cannot_be_had_costs_only_its_own_arms():
    lineage, open_one = scripted_lineage(TRAITS, [1.0, None])
    outcomes = trace(
        lineage.only(("step-0",)),
        [Subject.of(TRAITS[0], Steering(3, 1.0, "vector"))],
        open_engine=open_one,
        judge=ScriptedJudge(TRAITS),
        method=METHOD,
        target=[None, lineage.milestones[1]],
    )
    kinds = {each.target.label if each.target else "own": type(each) for each in outcomes}
    assert kinds == {"own": Effect, "step-1": Absence}


def test_ablating_the_vector_undoes_an_instruction_and_a_random_direction_does_not():
    """On the scripted engine, whose obedience is a push along the planted direction."""
    lineage, open_one = scripted_lineage(TRAITS, [1.0])
    engine = open_one(lineage.milestones[0].checkpoint)
    from personascope.tracing.extraction import extract
    from personascope.tracing.generation import respond

    vector = extract(engine, TRAITS[0], judge=ScriptedJudge(TRAITS), method=METHOD)
    drawn = vector.with_directions(np.random.default_rng(0).normal(size=vector.directions.shape), origin="random-0")
    ablation = Steering((1, 2, 3, 4), 1, "unit", where="all", operation="ablate")
    asked = TRAITS[0].instructed("positive")
    said = {
        name: np.mean([each.text.split().count("grim") for each in respond(engine, asked, edits=edits)])
        for name, edits in {"plain": (), "real": ablation.along(vector), "random": ablation.along(drawn)}.items()
    }
    assert said["real"] < 0.3 * said["plain"], said
    assert said["random"] > 0.8 * said["plain"], said


def test_a_missing_source_is_an_absence_for_every_target():
    lineage, _ = scripted_lineage(TRAITS, [1.0])

    def nowhere(checkpoint):
        raise CheckpointError("gone")

    subjects = [Subject.of(TRAITS[0], Steering(3, 1.0, "vector"))]
    outcomes = trace(
        lineage, subjects, open_engine=nowhere, judge=ScriptedJudge(TRAITS), target=[None, lineage.milestones[0]]
    )
    assert [(type(each), each.kind) for each in outcomes] == [(Absence, "no checkpoint")] * 2
