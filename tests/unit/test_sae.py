"""Vectors in a sparse dictionary's terms: laws of the decomposition, and features that are known to be the right
ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.applications.sae.core import (
    ABLATED,
    PLAIN,
    RANDOM,
    REBUILT,
    REMAINDER,
    STEERED,
    VECTOR,
    TriedArm,
    decompose,
    effects_of,
    feature_arms,
    fitting,
    strongest_samples,
    try_features,
    without,
)
from personascope.applications.sae.frames import cosine_rows, feature_rows, feature_summary, rebuilding_rows
from personascope.core.dictionaries import Dictionary
from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Sampling
from personascope.core.samples import Message, Sample
from personascope.core.steering import Steering, applied_norm
from personascope.core.traits import Trait
from personascope.core.vectors import PersonaVector
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge
from scripted_world import trait as scripted_trait

WIDTH = 256


def dictionary(features: int = 40, width: int = WIDTH, seed: int = 0, **more: object) -> Dictionary:
    return Dictionary(
        np.random.default_rng(seed).standard_normal((features, width)).astype(np.float32), 2, "mine", **more
    )


def vector(direction: np.ndarray) -> PersonaVector:
    return PersonaVector(np.tile(direction, (5, 1)), np.full(5, np.nan), "bold", "story", Checkpoint("scripted"))


# Decomposing.


def naive_pursuit(decoder: np.ndarray, direction: np.ndarray, most: int) -> tuple[list[int], list[float]]:
    """Matching pursuit in the plainest words: the nearest unit row, then least squares over all rows taken."""
    rows = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    taken: list[int] = []
    cosines = []
    left = direction
    for _ in range(most):
        taken.append(max((row for row in range(len(rows)) if row not in taken), key=lambda row: abs(rows[row] @ left)))
        chosen = rows[taken]
        made = chosen.T @ np.linalg.pinv(chosen.T) @ direction
        left = direction - made
        cosines.append(made @ direction / np.linalg.norm(made) / np.linalg.norm(direction))
    return taken, cosines


@pytest.mark.parametrize("seed", range(5))
def test_the_pursuit_is_the_naive_one(seed: int) -> None:
    mine = dictionary(30, 12, seed)
    direction = np.random.default_rng(seed + 100).standard_normal(12)
    found = decompose(mine, direction, taken=8)
    taken, cosines = naive_pursuit(mine.decoder.astype(float), direction, 8)
    assert list(found.pursued) == taken
    np.testing.assert_allclose(found.rebuilt, cosines, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_more_features_rebuild_no_worse_and_the_length_of_the_vector_does_not_matter(seed: int, scale: float) -> None:
    mine = dictionary(20, 9, seed)
    direction = np.random.default_rng(seed + 1).standard_normal(9)
    found, scaled = decompose(mine, direction, taken=9), decompose(mine, scale * direction, taken=9)
    assert (np.diff(found.rebuilt) >= -1e-9).all()
    assert found.rebuilt[-1] == pytest.approx(1.0), "nine directions in nine dimensions rebuild everything"
    assert scaled.top == found.top
    np.testing.assert_allclose(found.rebuilding(mine, len(found.pursued)), direction, atol=1e-6)


def test_a_vector_of_two_features_is_those_two() -> None:
    mine = dictionary()
    units = mine.unit([7, 21])
    found = decompose(mine, 3 * units[0] + 2 * units[1], top=5)
    assert found.top[0] == 7
    assert sorted(found.pursued) == [7, 21], "nothing is left to explain, so nothing else is taken"
    np.testing.assert_allclose(sorted(found.weights[1]), [2, 3], atol=1e-5)
    assert found.rebuilt[1] == pytest.approx(1.0)


def test_cosines_are_those_of_the_naive_formula_and_a_dead_feature_has_none() -> None:
    mine = dictionary()
    decoder = mine.decoder.copy()
    decoder[3] = 0
    direction = np.random.default_rng(5).standard_normal(WIDTH)
    found = decompose(Dictionary(decoder, 2, "mine"), direction, top=100)
    for feature in range(40):
        row = decoder[feature].astype(float)
        if feature == 3:
            assert np.isnan(found.cosines[3])
            continue
        wanted = row @ direction / np.linalg.norm(row) / np.linalg.norm(direction)
        assert found.cosines[feature] == pytest.approx(wanted, abs=1e-6)
    assert len(found.top) == 39
    assert 3 not in found.top
    assert 3 not in found.pursued
    assert list(found.cosines[list(found.top)]) == sorted(found.cosines[list(found.top)], reverse=True)


def test_a_dead_feature_is_not_taken_where_the_living_explain_nothing() -> None:
    decoder = np.zeros((3, 4), np.float32)
    decoder[1, 0] = decoder[2, 1] = 1
    found = decompose(Dictionary(decoder, 2, "mine"), np.array([1.0, 0.0, 1.0, 0.0]), taken=3)
    assert found.pursued == (1, 2), "feature 0 died, and nothing but it and the second is left to take"
    assert found.rebuilt[-1] == pytest.approx(np.sqrt(0.5))


def test_effects_that_nobody_could_score_are_unknown_and_not_a_warning() -> None:
    case = {"trait": "bold", "sae": "mine", "layer": 2}
    found = decompose(dictionary(), np.ones(WIDTH), top=3, taken=2)
    nothing = np.full(4, np.nan)
    arms = [TriedArm(VECTOR, None, 1.0, nothing, float("nan")), TriedArm(ABLATED, found.top[0], 1.0, nothing, 90.0)]
    rows = feature_rows(case, found, arms)
    assert rows["effect"].isna().all()
    assert rows["lost"].isna().all()
    assert (feature_summary(rows)["aligned_raise"] == 0).all()


def test_a_direction_that_cannot_be_decomposed_is_refused() -> None:
    for direction in (np.zeros(WIDTH), np.ones(3)):
        with pytest.raises(VectorError, match="cannot be decomposed"):
            decompose(dictionary(), direction)
    with pytest.raises(StudyError, match="9 features was asked for"):
        decompose(dictionary(), np.ones(WIDTH), taken=2).rebuilding(dictionary(), 9)


def test_what_is_left_without_directions_is_orthogonal_to_all_of_them() -> None:
    units = dictionary().unit([1, 2, 3])
    left = without(np.ones(WIDTH), units)
    np.testing.assert_allclose(units @ left, 0, atol=1e-9)
    np.testing.assert_allclose(without(left, units), left, atol=1e-9)


def test_the_layer_is_the_dictionarys_unless_another_is_asked_for() -> None:
    along = vector(np.ones(WIDTH))
    assert fitting(dictionary(), along, None) == fitting(dictionary(), along, 2) == 2
    assert fitting(Dictionary(dictionary().decoder, None, "mine"), along, 4) == 4
    with pytest.raises(VectorError, match="layer 3 was asked for, and mine reads layer 2"):
        fitting(dictionary(), along, 3)
    with pytest.raises(VectorError, match="does not say which layer it reads"):
        fitting(Dictionary(dictionary().decoder, None, "mine"), along, None)
    with pytest.raises(LayerError, match="layer 9"):
        fitting(Dictionary(dictionary().decoder, 9, "mine"), along, None)
    with pytest.raises(VectorError, match="features of width 5"):
        fitting(dictionary(width=5), along, None)


# Trying features.


def world() -> tuple[ScriptedEngine, Trait, Dictionary, PersonaVector]:
    """A model with a planted direction, and a dictionary one of whose features is that direction."""
    trait = scripted_trait("bold")
    engine = ScriptedEngine(Checkpoint("scripted"), [trait])
    mine = dictionary()
    decoder = mine.decoder.copy()
    decoder[11] = 2.5 * engine.planted("bold")
    noise = np.random.default_rng(3).standard_normal(WIDTH)
    return engine, trait, Dictionary(decoder, 2, "mine"), vector(6 * engine.planted("bold") + 0.1 * noise)


STEERING = Steering(2, 1.0, "vector")


def test_every_arm_that_steers_adds_the_vectors_norm_and_every_ablation_what_is_left() -> None:
    _, _, mine, along = world()
    found = decompose(mine, along.at(2))
    arms = feature_arms(mine, found, steering=Steering(2, 1.5, "vector"), tested=4, random=6, seed=1)
    norm = 1.5 * float(np.linalg.norm(along.at(2)))
    kinds = [each.kind for each in arms]
    assert [kinds.count(kind) for kind in (VECTOR, STEERED, ABLATED, RANDOM, REBUILT, REMAINDER)] == [1, 4, 4, 6, 1, 1]
    for each in arms:
        if each.kind in (VECTOR, STEERED, RANDOM):
            assert applied_norm(each.edits) == pytest.approx(norm, rel=1e-5)
        if each.kind == ABLATED:
            assert each.feature is not None
            unit = mine.unit([each.feature])[0]
            assert unit @ each.edits[0].direction == pytest.approx(0, abs=1e-5)
            assert applied_norm(each.edits) < norm
    rebuilt, remainder = (next(each for each in arms if each.kind == kind) for kind in (REBUILT, REMAINDER))
    whole = rebuilt.edits[0].direction + remainder.edits[0].direction
    np.testing.assert_allclose(whole, 1.5 * along.at(2), atol=1e-4)
    drawn = {each.feature for each in arms if each.kind == RANDOM}
    assert not drawn & set(found.top[:4]), "a random feature is none of the tested"
    again = feature_arms(mine, found, steering=Steering(2, 1.5, "vector"), tested=4, random=6, seed=1)
    assert [each.name for each in again] == [each.name for each in arms]


def test_a_unit_steering_adds_its_strength_and_others_are_refused() -> None:
    _, _, mine, along = world()
    found = decompose(mine, along.at(2))
    arms = feature_arms(mine, found, steering=Steering(2, 3.0, "unit"), tested=1, random=1)
    assert applied_norm(arms[0].edits) == pytest.approx(3.0, rel=1e-5)
    for wrong in (Steering(2, 1.0, "residual"), Steering((1, 2), 1.0, "vector")):
        with pytest.raises(StudyError, match="at one layer"):
            feature_arms(mine, found, steering=wrong)


def test_the_planted_feature_raises_the_trait_and_random_ones_do_not() -> None:
    engine, trait, mine, along = world()
    found = decompose(mine, along.at(2))
    arms = feature_arms(mine, found, steering=STEERING, tested=3, random=8)
    answers = try_features(engine, trait, arms, judge=ScriptedJudge([trait]), sampling=Sampling(max_tokens=24, draws=2))
    effects = effects_of(answers)
    tried = [TriedArm(each.kind, each.feature, applied_norm(each.edits), *effects[each.name]) for each in arms]
    rows = feature_rows({"trait": "bold", "sae": "mine", "layer": 2}, found, tried)
    assert effects[PLAIN][0].tolist() == [0.0] * len(trait.evaluation_questions)
    summary = feature_summary(rows, points=20, coherence=50).iloc[0]
    assert (summary["best_feature"], summary["aligned_raise"], summary["random_raise"]) == (11, 1, 0)
    assert summary["vector"] > 20
    lost = rows[rows["kind"] == ABLATED].set_index("feature")["lost"]
    assert lost.idxmax() == 11, "without the planted feature, little of the vector is left"
    assert rows.loc[rows["kind"] == REBUILT, "effect"].item() > 20
    for kind, group in rows.groupby("kind"):
        assert (group["p_holm"] >= group["p_two_sided"] - 1e-12).all(), kind


def test_p_values_are_corrected_over_the_features_of_one_kind() -> None:
    found = decompose(dictionary(), np.ones(WIDTH), top=6, taken=2)
    drawn = np.random.default_rng(1)
    arms = [
        TriedArm(kind, feature, 1.0, drawn.normal(shift, 1.0, 8), 90.0)
        for kind, features in ((STEERED, found.top[:3]), (RANDOM, found.top[3:5]))
        for feature, shift in zip(features, (2.0, 1.0, 0.3), strict=False)
    ]
    rows = feature_rows({"trait": "bold", "sae": "mine", "layer": 2}, found, arms)
    for kind, group in rows.groupby("kind"):
        plain, wanted, highest = group["p_two_sided"].to_numpy(), {}, 0.0
        for place, which in enumerate(np.argsort(plain)):  # Holm in the plainest words
            highest = max(highest, min(1.0, plain[which] * (len(plain) - place)))
            wanted[which] = highest
        np.testing.assert_allclose(group["p_holm"], [wanted[which] for which in range(len(plain))], err_msg=str(kind))
    assert (rows["p_holm"] > rows["p_two_sided"]).any(), "with nothing to correct this test would say nothing"


def test_frames_of_nothing_are_empty_and_have_their_columns() -> None:
    case = {"trait": "bold", "sae": "mine", "layer": 2}
    found = decompose(dictionary(), np.ones(WIDTH), top=3, taken=2)
    assert len(feature_rows(case, found, [])) == 0
    assert len(cosine_rows(case, found)) == 3
    assert rebuilding_rows(case, found)["features"].tolist() == [1, 2]


# A corpus.


def sample(text: str, number: int) -> Sample:
    return Sample((Message("user", f"question {number}"), Message("assistant", text)), where=f"line {number}")


@pytest.mark.parametrize("coded", [True, False])
def test_the_strongest_samples_are_those_a_naive_search_finds(coded: bool) -> None:
    engine, _, mine, _ = world()
    drawn = np.random.default_rng(4)
    if coded:
        encoder = drawn.standard_normal(mine.decoder.shape).astype(np.float32)
        mine = Dictionary(mine.decoder, 2, "mine", encoder, drawn.standard_normal(40).astype(np.float32))
    words = ["bold", "lamp", "rain", "window", "quiet", "roofs", "stood"]
    corpus = [sample(" ".join(drawn.choice(words, 5)), number) for number in range(150)]
    best = strongest_samples(engine, mine, [11, 5], corpus, layer=2, keep=3)
    for feature in (11, 5):
        probe, bias, threshold = mine.probe(feature, 2)
        heard = []
        for number, each in enumerate(corpus):
            prompt, said = each.exchange
            (response,) = strongest_response(engine, prompt.question, said)
            along = engine.project([response], [probe])[0][response.spoken[1] :, 0] + bias
            heard.append((-along.max(), number, int(along.argmax())))
        wanted = [row for row in sorted(heard)[:3] if -row[0] > threshold]
        found = [(corpus.index(each.sample), each.token) for each in best[feature]]
        assert found == [(number, token) for _, number, token in wanted]


def strongest_response(engine: ScriptedEngine, question: str, said: str):  # type: ignore[no-untyped-def]
    from personascope.core.records import Request, Response

    return engine.encode([Response(Request(question, None), None, None, said, "unknown")])


def test_the_planted_features_strongest_samples_say_the_planted_word() -> None:
    engine, _, mine, _ = world()
    corpus = [sample("the lamp stood near" + (" bold" if number == 70 else ""), number) for number in range(140)]
    best = strongest_samples(engine, mine, [11], corpus, layer=4, keep=2)
    assert best[11][0].sample.where == "line 70"
    assert best[11][0].token == 4


def test_an_empty_corpus_is_refused() -> None:
    engine, _, mine, _ = world()
    with pytest.raises(VectorError, match="the corpus holds no sample"):
        strongest_samples(engine, mine, [11], [], layer=2)
