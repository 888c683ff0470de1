"""Geometry along a lineage: what is compared with what, and a map whose distances mean what it says."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from personascope.analysis.geometry import (
    PATH,
    TRAJECTORY,
    Placed,
    cosines,
    milestone_cosines,
    noise_ceiling,
    paths,
    place_vectors,
    trait_cosines,
    trajectory,
)
from personascope.core.errors import LayerError, LineageError, VectorError
from personascope.core.lineages import Checkpoint, Lineage, Milestone
from personascope.core.vectors import PersonaVector

HIDDEN = 12
LAYER = 1


def a_lineage(*labels: str, aliases: dict[str, str] | None = None) -> Lineage:
    milestones = (
        Milestone(Checkpoint("a/model", label), label, (place + 1) * 1000, "1", (aliases or {}).get(label, ""))
        for place, label in enumerate(labels)
    )
    return Lineage("toy", tuple(milestones))


def a_vector(direction: np.ndarray, label: str, *, trait: str = "bold", form: str = "story", norm: float = math.nan):
    """A vector with this direction at layer 1, and one of another direction and no norm at layer 0."""
    directions = np.stack([np.roll(direction, 1) + 1, direction])
    return PersonaVector(directions, np.array([math.nan, norm]), trait, form, Checkpoint("a/model", label))


def drawn(labels: list[str], *, seed: int = 0, **about) -> list[PersonaVector]:
    draw = np.random.default_rng(seed)
    return [a_vector(draw.normal(size=HIDDEN), label, **about) for label in labels]


def naive_cosine(one: PersonaVector, other: PersonaVector, layer: int) -> float:
    """The sum of products over the product of lengths, one number at a time."""
    a, b = one.directions[layer].tolist(), other.directions[layer].tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


# Placing.


def test_vectors_are_placed_by_their_checkpoints_in_order_of_training_and_not_as_they_come() -> None:
    lineage = a_lineage("early", "middle", "late")
    given_ = [*drawn(["late", "early"]), *drawn(["middle"], trait="airy")]
    placed = place_vectors(lineage, given_)
    assert [(e.vector.trait, e.milestone.label, e.place) for e in placed] == [
        ("airy", "middle", 1), ("bold", "early", 0), ("bold", "late", 2)
    ]  # fmt: skip


def test_checkpoints_in_folders_are_told_apart_by_their_paths() -> None:
    """Their revisions are known only once they were opened, and a lineage is read before."""
    folders = [Path("/some/step-1"), Path("/some/step-2")]
    lineage = Lineage("lab", tuple(Milestone(Checkpoint("folder", "", path=each), each.name) for each in folders))
    opened = Checkpoint("folder", "a-sha-of-files", path=folders[0])
    vector = PersonaVector(np.eye(2, HIDDEN), np.ones(2), "bold", "lab", opened)
    assert [each.milestone.label for each in place_vectors(lineage, [vector])] == ["step-1"]


def test_a_vector_that_has_no_place_or_whose_place_is_taken_is_refused() -> None:
    lineage = a_lineage("early", "late")
    with pytest.raises(VectorError, match="has no place in lineage 'toy'"):
        place_vectors(lineage, drawn(["elsewhere"]))
    with pytest.raises(VectorError, match="two bold vectors"):
        place_vectors(lineage, [*drawn(["late"]), *drawn(["late"], seed=1)])


# Cosines.


@given(seed=some.integers(0, 10**6), scale=some.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_cosines_are_the_naive_ones_symmetric_one_with_themselves_and_blind_to_length(seed: int, scale: float) -> None:
    vectors = dict(zip("abc", drawn(["x", "y", "z"], seed=seed), strict=True))
    frame = cosines(vectors, LAYER).set_index(["first", "second"])["cosine"]
    for first, second in itertools.product("abc", repeat=2):
        expected = naive_cosine(vectors[first], vectors[second], LAYER)
        assert frame[first, second] == pytest.approx(expected, abs=1e-12)
        assert frame[first, second] == pytest.approx(frame[second, first], abs=1e-15)
    assert [frame[name, name] for name in "abc"] == pytest.approx([1.0] * 3, abs=1e-15)
    longer = {**vectors, "a": vectors["a"].with_directions(vectors["a"].directions * scale, origin="extracted")}
    turned = {**vectors, "a": vectors["a"].with_directions(-vectors["a"].directions, origin="extracted")}
    for other, sign in ((longer, 1), (turned, -1)):
        again = cosines(other, LAYER).set_index(["first", "second"])["cosine"]
        assert again["a", "b"] == pytest.approx(sign * frame["a", "b"], abs=1e-6)


def test_a_vector_without_length_has_no_cosine_rather_than_one_of_zero() -> None:
    vectors = {"some": drawn(["x"])[0], "none": a_vector(np.zeros(HIDDEN), "y")}
    frame = cosines(vectors, LAYER).set_index(["first", "second"])["cosine"]
    assert frame["some", "some"] == pytest.approx(1)
    assert frame[["some", "none"]].isna().tolist() == [False, True, True, True]


def test_vectors_of_other_models_and_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(VectorError, match="compare vectors of one model"):
        cosines({"a": drawn(["x"])[0], "b": a_vector(np.ones(HIDDEN + 1), "y")}, LAYER)
    with pytest.raises(LayerError):
        cosines({"a": drawn(["x"])[0]}, 7)


def test_matrices_hold_every_ordered_pair_of_milestones_and_of_traits() -> None:
    lineage = a_lineage("early", "late")
    vectors = {name: drawn(["early", "late"], seed=seed, trait=name) for seed, name in enumerate(["bold", "airy"])}
    placed = place_vectors(lineage, [*vectors["bold"], *vectors["airy"]])
    along = milestone_cosines(placed, LAYER).set_index(["trait", "first", "second"])["cosine"]
    across = trait_cosines(placed, LAYER).set_index(["milestone", "first", "second"])["cosine"]
    assert (len(along), len(across)) == (8, 8)
    assert along["bold", "late", "early"] == pytest.approx(naive_cosine(*vectors["bold"], LAYER), abs=1e-12)
    one, other = vectors["bold"][1], vectors["airy"][1]
    assert across["late", "airy", "bold"] == pytest.approx(naive_cosine(one, other, LAYER), abs=1e-12)


def test_a_trait_extracted_in_two_forms_is_two_directions_with_two_names() -> None:
    lineage = a_lineage("only")
    vectors = [*drawn(["only"], form="story"), *drawn(["only"], form="dialogue", seed=1), *drawn(["only"], trait="shy")]
    frame = trait_cosines(place_vectors(lineage, vectors), LAYER)
    assert set(frame["first"]) == {"bold, story", "bold, dialogue", "shy"}


# Trajectories.


def planted(angles: dict[str, float], **about) -> list[PersonaVector]:
    """Vectors in a plane, at these angles, each of another length."""
    plane = np.eye(2, HIDDEN)
    return [
        a_vector((number + 1) * (math.cos(angle) * plane[0] + math.sin(angle) * plane[1]), label, **about)
        for number, (label, angle) in enumerate(angles.items())
    ]


def test_a_trajectory_gives_the_planted_angles_to_the_milestone_that_was_named_and_to_the_one_before() -> None:
    """Not to the last one of a sort, which in the published figure was an alias of the final checkpoint."""
    angles = {"early": 0.1, "middle": 0.7, "late": 1.0}
    lineage = a_lineage(*angles)
    frame = trajectory(place_vectors(lineage, planted(angles)), LAYER, reference="middle")
    assert list(frame.columns) == TRAJECTORY
    assert frame["to_reference"].tolist() == pytest.approx([math.cos(0.6), 1, math.cos(0.3)], abs=1e-7)
    assert frame["previous"].tolist() == ["", "early", "middle"]
    assert frame["to_previous"].tolist() == pytest.approx(
        [math.nan, math.cos(0.6), math.cos(0.3)], abs=1e-7, nan_ok=True
    )
    assert frame["length"].tolist() == pytest.approx([1, 2, 3], rel=1e-6)


def test_two_extractions_of_the_same_weights_are_no_step_of_training() -> None:
    angles = {"early": 0.0, "twin": 0.9, "end": 1.0, "after": 1.2}
    lineage = a_lineage(*angles, aliases={"twin": "end"})
    placed = place_vectors(lineage, planted(angles))
    frame = trajectory(placed, LAYER, reference="early").set_index("milestone")
    assert frame["previous"].to_dict() == {"early": "", "twin": "early", "end": "early", "after": "end"}
    assert frame.loc["end", "skipped"] == "twin", "what was passed over is named"
    assert frame.loc["end", "to_previous"] == pytest.approx(math.cos(1.0), abs=1e-6)
    ceiling = noise_ceiling(placed, LAYER)
    assert ceiling[["milestone", "same_weights_as"]].to_numpy().tolist() == [["twin", "end"]]
    assert ceiling["cosine"].tolist() == pytest.approx([math.cos(0.1)], abs=1e-6)


def test_an_alias_after_its_milestone_is_passed_over_by_what_follows() -> None:
    angles = {"early": 0.0, "end": 1.0, "twin": 0.9, "after": 1.2}
    lineage = a_lineage(*angles, aliases={"twin": "end"})
    frame = trajectory(place_vectors(lineage, planted(angles)), LAYER, reference="end").set_index("milestone")
    assert frame["previous"].to_dict() == {"early": "", "end": "early", "twin": "early", "after": "end"}


def test_an_alias_stands_in_for_a_milestone_that_has_no_vector_itself() -> None:
    angles = {"twin": 0.9, "other twin": 0.8, "after": 1.2}
    lineage = a_lineage("twin", "other twin", "end", "after", aliases={"twin": "end", "other twin": "end"})
    placed = place_vectors(lineage, planted(angles))
    frame = trajectory(placed, LAYER, reference="after").set_index("milestone")
    assert frame["previous"].to_dict() == {"twin": "", "other twin": "", "after": "other twin"}
    assert noise_ceiling(placed, LAYER).empty, "two aliases are compared with what they repeat, which has no vector"


def test_a_trait_without_a_vector_at_the_reference_is_unknown_there_and_a_reference_nobody_has_is_refused() -> None:
    lineage = a_lineage("early", "late")
    placed = place_vectors(lineage, [*drawn(["early", "late"]), *drawn(["early"], trait="airy")])
    frame = trajectory(placed, LAYER, reference="late").set_index(["trait", "milestone"])
    assert math.isnan(frame.loc[("airy", "early"), "to_reference"])
    assert frame.loc[("bold", "late"), "to_reference"] == pytest.approx(1)
    with pytest.raises(LineageError, match="did you mean 'late'"):
        trajectory(placed, LAYER, reference="lat")


def test_norms_are_the_vectors_own_or_those_that_are_given_and_unknown_where_there_are_none() -> None:
    angles = {"early": 0.0, "late": 0.0}
    placed = place_vectors(a_lineage(*angles), planted(angles, norm=8.0))
    own = trajectory(placed, LAYER, reference="late")
    assert own["relative_norm"].tolist() == pytest.approx([1 / 8, 2 / 8], rel=1e-6)
    others = trajectory(placed, LAYER, reference="late", residual_norms={"late": 4.0})
    assert others["residual_norm"].tolist() == pytest.approx([math.nan, 4], nan_ok=True)
    assert others["relative_norm"].tolist() == pytest.approx([math.nan, 0.5], rel=1e-6, nan_ok=True)


# Maps.


def distances(points: pd.DataFrame) -> list[float]:
    both = itertools.combinations(zip(points["x"], points["y"], strict=True), 2)
    return [math.dist(one, other) for one, other in both]


def test_directions_that_fit_in_a_plane_are_mapped_at_their_distances_and_length_does_not_count() -> None:
    vectors = [a_vector((3.0**number) * np.eye(HIDDEN)[number], f"m{number}") for number in range(3)]
    placed = place_vectors(a_lineage("m0", "m1", "m2"), vectors)
    frame = paths(placed, LAYER)
    assert list(frame.columns) == PATH
    assert distances(frame) == pytest.approx([math.sqrt(2)] * 3, abs=1e-2), "orthogonal units are sqrt(2) apart"
    assert frame["stress"].max() < 1e-3


def test_stress_is_what_its_definition_says() -> None:
    labels = [f"m{number}" for number in range(5)]
    vectors = [*drawn(labels), *drawn(labels, trait="airy", seed=9)]
    placed = place_vectors(a_lineage(*labels), vectors)
    frame = paths(placed, LAYER, seed=3)
    shown = {(row.trait, row.milestone): (row.x, row.y) for row in frame.itertuples()}
    stress = total = 0.0
    for one, other in itertools.combinations(placed, 2):
        wanted = math.sqrt(max(0.0, 2 - 2 * naive_cosine(one.vector, other.vector, LAYER)))
        ends = [shown[each.vector.trait, each.milestone.label] for each in (one, other)]
        stress += (math.dist(*ends) - wanted) ** 2
        total += wanted**2
    assert frame["stress"].tolist() == pytest.approx([stress] * 10, rel=1e-9)
    assert frame["stress_1"].iloc[0] == pytest.approx(math.sqrt(stress / total), rel=1e-9)
    assert 0 < frame["stress_1"].iloc[0] < 0.5, "12 dimensions in two: neither perfect nor arbitrary"
    pd.testing.assert_frame_equal(frame, paths(placed[::-1], LAYER, seed=3))


def test_a_milestone_where_a_trait_is_missing_is_left_off_the_map() -> None:
    labels = ["early", "middle", "late"]
    placed = place_vectors(a_lineage(*labels), [*drawn(labels), *drawn(labels[1:], trait="airy", seed=9)])
    assert set(paths(placed, LAYER)["milestone"]) == {"middle", "late"}


def test_a_vector_without_length_has_no_place_on_a_map() -> None:
    placed = [Placed(Milestone(Checkpoint("a/model", "x"), "x"), 0, a_vector(np.zeros(HIDDEN), "x"))]
    with pytest.raises(VectorError, match="no length at layer 1"):
        paths(placed, LAYER)


def test_one_vector_is_a_map_of_one_point_and_nothing_in_gives_nothing_out() -> None:
    one = paths(place_vectors(a_lineage("only"), drawn(["only"])), LAYER)
    assert one[["x", "y", "stress", "stress_1"]].to_numpy().tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert trajectory([], LAYER, reference="any").empty
    for frame in (
        cosines({}, LAYER),
        *(each([], LAYER) for each in (milestone_cosines, trait_cosines, noise_ceiling, paths)),
    ):
        assert frame.empty
        assert len(frame.columns) > 3, "columns are there even where rows are not"
