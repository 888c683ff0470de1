"""Vectors: the laws of units and steering, the file and its passport, and the errors at the door."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from personascope.core.errors import LayerError, StudyError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.steering import Steering, Unit, applied_norm
from personascope.core.vectors import PairCounts, PersonaVector, load_vector
from shape_checks import unchecked

LAYERS, HIDDEN = 5, 8
UNITS: tuple[Unit, ...] = ("vector", "unit", "residual")


def a_vector(seed: int = 0, *, layers: int = LAYERS, hidden: int = HIDDEN, **changes: Any) -> PersonaVector:
    draw = np.random.default_rng(seed)
    return PersonaVector(
        draw.normal(size=(layers, hidden)) * 3,
        draw.uniform(1, 50, size=layers),
        **{"trait": "bold", "form": "assistant", "checkpoint": Checkpoint("a/model", "step10"), **changes},
    )


def length(array: np.ndarray) -> float:
    return float(np.sqrt((array.astype(np.float64) ** 2).sum()))


# Units.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), layer=st.integers(0, LAYERS - 1), strength=st.floats(-8, 8), unit=st.sampled_from(UNITS)
)
def test_a_strength_means_what_its_unit_says(seed: int, layer: int, strength: float, unit: Unit) -> None:
    vector = a_vector(seed)
    (edit,) = Steering(layer, strength, unit).along(vector)
    own = length(vector.directions[layer])
    wanted = abs(strength) * {"vector": own, "unit": 1.0, "residual": vector.residual_norms[layer]}[unit]
    assert length(edit.direction) == pytest.approx(wanted, rel=1e-5, abs=1e-30), f"{strength} {unit}s"
    if abs(strength) > 1e-3:
        cosine = edit.direction.astype(np.float64) @ vector.directions[layer] / (length(edit.direction) * own)
        assert cosine == pytest.approx(np.sign(strength), abs=1e-6), "a negative strength steers the other way"
    assert (edit.layer, edit.where) == (layer, "response")


def test_the_residual_unit_is_that_of_the_steered_model_where_it_is_given() -> None:
    vector, steered = a_vector(), np.arange(1.0, LAYERS + 1)
    (edit,) = Steering(3, 0.5, "residual").along(vector, residual_norms=steered)
    assert length(edit.direction) == pytest.approx(0.5 * 4.0, rel=1e-6)


@pytest.mark.parametrize("unit", UNITS)
def test_a_control_is_multiplied_by_what_the_vector_would_be_multiplied_by(unit: Unit) -> None:
    vector = a_vector(1)
    steering = Steering(2, 1.7, unit)
    (real,) = steering.along(vector)
    multiplier = length(real.direction) / length(vector.directions[2])
    control = vector.with_directions(np.random.default_rng(9).normal(size=(LAYERS, HIDDEN)), origin="random-9")
    (moved,) = steering.along(vector, control=control)
    np.testing.assert_allclose(moved.direction, multiplier * control.directions[2], rtol=1e-5)

    lengths = vector.lengths / control.lengths
    matched = vector.with_directions(control.directions * lengths[:, None], origin="random-9")
    assert applied_norm(steering.along(vector, control=matched)) == pytest.approx(applied_norm((real,)), rel=1e-5), (
        "a control of the vector's length must be applied at the vector's norm"
    )


def test_the_norms_of_a_control_play_no_part() -> None:
    vector = a_vector(1)
    control = replace(a_vector(2), residual_norms=np.full(LAYERS, np.nan))
    (edit,) = Steering(2, 1.0, "residual").along(vector, control=control)
    assert length(edit.direction) == pytest.approx(
        vector.residual_norms[2] / length(vector.directions[2]) * length(control.directions[2]), rel=1e-5
    )


def test_several_layers_give_several_edits_and_their_norms_add_in_squares() -> None:
    vector = a_vector()
    edits = Steering((1, 3), 2.0, "unit", where="all").along(vector)
    assert [(edit.layer, edit.where) for edit in edits] == [(1, "all"), (3, "all")]
    assert applied_norm(edits) == pytest.approx(np.sqrt(2.0**2 + 2.0**2), rel=1e-6)
    assert applied_norm(()) == 0.0


# Operations beside adding, increments, and norms that are given.


def test_increments_add_up_to_the_vector_and_each_is_what_its_layer_adds() -> None:
    vector = a_vector(3)
    increments = vector.incremental().directions.astype(np.float64)
    np.testing.assert_allclose(increments[0], vector.directions[0], rtol=1e-6)
    for layer in range(1, LAYERS):
        np.testing.assert_allclose(
            increments[layer], vector.directions[layer] - vector.directions[layer - 1], atol=1e-5
        )
    edits = Steering(tuple(range(1, LAYERS)), 1.5, "vector", increments=True).along(vector)
    added = sum(edit.direction.astype(np.float64) for edit in edits)
    wanted = 1.5 * (vector.directions[-1].astype(np.float64) - vector.directions[0])
    np.testing.assert_allclose(added, wanted, atol=1e-4, err_msg="all layers together add v_last - v_0")


def test_an_ablation_is_a_unit_direction_and_a_strength_of_its_own_is_refused() -> None:
    vector = a_vector(3)
    (edit,) = Steering(2, 1, "unit", operation="ablate").along(vector)
    assert (edit.operation, edit.bound) == ("ablate", None)
    assert length(edit.direction) == pytest.approx(1, abs=1e-6)
    assert np.isnan(applied_norm((edit,))), "how much an ablation changes is another matter at every token"
    for strength, unit in ((0.5, "unit"), (1, "vector"), (2, "residual")):
        with pytest.raises(StudyError, match="give strength 1 and unit 'unit'"):
            Steering(2, strength, unit, operation="ablate")


@pytest.mark.parametrize("unit", UNITS)
def test_the_bound_of_a_cap_is_as_far_as_the_vector_would_be_added(unit: Unit) -> None:
    vector = a_vector(3)
    (edit,) = Steering(2, 1.5, unit, operation="cap").along(vector)
    assert edit.bound == pytest.approx(length(Steering(2, 1.5, unit).along(vector)[0].direction), rel=1e-6)
    (below,) = Steering(2, -1.5, unit, operation="cap").along(vector)
    assert below.bound == pytest.approx(-edit.bound, rel=1e-6), "a bound may lie below zero"
    np.testing.assert_array_equal(below.direction, edit.direction)


def test_a_bound_can_be_a_quantile_of_plain_answers_projections() -> None:
    vector, plain = a_vector(3), np.random.default_rng(0).normal(size=(30, LAYERS, HIDDEN))
    (edit,) = Steering(2, 0.9, "quantile", operation="cap").along(vector, plain=plain)
    along = [answer[2] @ vector.directions[2] / length(vector.directions[2]) for answer in plain]
    assert edit.bound == pytest.approx(np.quantile(along, 0.9), rel=1e-5)
    with pytest.raises(VectorError, match="needs the activations of plain answers"):
        Steering(2, 0.9, "quantile", operation="cap").along(vector)
    for wrong in ({"operation": "add"}, {"operation": "cap", "strength": 1.5}):
        with pytest.raises(StudyError, match="from 0 to 1"):
            Steering(**{"layer": 2, "strength": 0.5, "unit": "quantile", **wrong})


def test_a_given_residual_norm_takes_the_measured_ones_place() -> None:
    vector = a_vector(3)
    (edit,) = Steering(2, 0.5, "residual", residual_norm=300.0).along(vector)
    assert length(edit.direction) == pytest.approx(150, rel=1e-5)
    edits = Steering((1, 2), 0.5, "residual", residual_norm=(10.0, 20.0)).along(vector)
    assert [length(each.direction) for each in edits] == pytest.approx([5, 10], rel=1e-5)
    with pytest.raises(StudyError, match="the unit is 'vector'"):
        Steering(2, 0.5, "vector", residual_norm=300.0)
    for norm in (0.0, -1.0, float("nan"), (1.0, 2.0)):
        with pytest.raises(StudyError, match="one number above 0 for each"):
            Steering(2, 0.5, "residual", residual_norm=norm)


def test_increments_are_added_and_nothing_else() -> None:
    with pytest.raises(StudyError, match="increments of a vector are added"):
        Steering(2, 1, "unit", operation="ablate", increments=True)


# Algebra.


def test_a_vector_is_at_cosine_one_with_itself_minus_one_with_its_opposite_and_nan_with_nothing() -> None:
    vector = a_vector()
    np.testing.assert_allclose(vector.cosine(vector), 1.0)
    np.testing.assert_allclose(vector.cosine(vector.with_directions(-2 * vector.directions, origin="x")), -1.0)
    empty = vector.directions.copy()
    empty[1] = 0
    cosines = vector.cosine(vector.with_directions(empty, origin="x"))
    assert np.isnan(cosines[1]), "a direction without length has no angle"
    assert np.isfinite(np.delete(cosines, 1)).all()


def test_the_cosine_agrees_with_one_computed_layer_by_layer() -> None:
    one, other = a_vector(1), a_vector(2)
    naive = [
        sum(float(a) * float(b) for a, b in zip(one.directions[k], other.directions[k], strict=True))
        / (length(one.directions[k]) * length(other.directions[k]))
        for k in range(LAYERS)
    ]
    np.testing.assert_allclose(one.cosine(other), naive, rtol=1e-12)


def test_a_vectors_identity_is_its_bytes_and_nothing_can_write_into_it() -> None:
    vector = a_vector()
    assert vector.digest == a_vector().digest
    changed = vector.directions.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(100))
    assert vector.with_directions(changed, origin="x").digest != vector.digest, "one bit is another vector"
    for array in (vector.directions, vector.residual_norms):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_array_a_vector_was_made_from_stays_the_callers_own() -> None:
    mine = np.ones((2, 3), dtype=np.float32)
    vector = PersonaVector(mine, np.ones(2), trait="bold", form="x", checkpoint=Checkpoint("m"))
    mine[0, 0] = 5.0
    assert vector.directions[0, 0] == 1.0


def test_pair_counts_say_what_was_lost_and_why() -> None:
    assert str(PairCounts(10, 10)) == "10 of 10 pairs kept"
    assert (
        str(PairCounts(10, 6, unscored=1, positive_too_low=3)) == "6 of 10 pairs kept (1 unscored, 3 positive too low)"
    )


# Files.


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("a/model", "step10"),
        Checkpoint("folder", "f" * 64, path=Path("/somewhere/step-10")),
        Checkpoint("a/model", "main", adapter_revision="0ff", adapter="me/tuned"),
    ],
)
def test_a_vector_and_its_whole_passport_survive_the_file(tmp_path: Path, checkpoint: Checkpoint) -> None:
    norms = np.linspace(1 / 3, 7, LAYERS)
    norms[2] = np.nan
    vector = a_vector(
        checkpoint=checkpoint,
        span="last_prompt",
        origin="shuffled-3",
        counts=PairCounts(100, 60, empty=1, unscored=2, positive_too_low=30, negative_too_high=4, incoherent=3),
        judge="judge-x@1",
        sources=("aa", "bb"),
    )
    vector = replace(vector, residual_norms=norms)
    vector.save(tmp_path / "deep" / "v.safetensors")
    back = load_vector(tmp_path / "deep" / "v.safetensors")
    assert back.directions.tobytes() == vector.directions.tobytes()
    np.testing.assert_array_equal(back.residual_norms, norms, err_msg="norms are float64 and NaN stays NaN")
    assert back.passport == vector.passport
    assert back.checkpoint == checkpoint
    assert (back.checkpoint.path, back.checkpoint.adapter) == (checkpoint.path, checkpoint.adapter)
    assert (back.counts, back.sources, back.judge) == (vector.counts, vector.sources, vector.judge)


def test_a_missing_vector_file_and_a_file_of_something_else_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="no such file"):
        load_vector(tmp_path / "none.safetensors")
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not safetensors at all")
    with pytest.raises(VectorError, match="is not a persona vector file"):
        load_vector(other)
    save_file({"weight": np.ones(3, dtype=np.float32)}, str(other))
    with pytest.raises(VectorError, match="is not a persona vector file"):
        load_vector(other)


@pytest.mark.parametrize(
    "change", [{"checkpoint": None}, {"counts": {"asked": 1}}, {"colour": "red"}, {"sources": None}]
)
def test_a_passport_that_was_tampered_with_is_one_line_and_no_traceback(tmp_path: Path, change: dict[str, Any]) -> None:
    vector = a_vector()
    passport = {**vector.passport, **change}
    arrays = {"directions": vector.directions, "residual_norms": vector.residual_norms}
    save_file(arrays, str(tmp_path / "v.safetensors"), metadata={"personascope": json.dumps(passport)})
    with pytest.raises(VectorError, match=r"the passport of .*v\.safetensors cannot be read") as caught:
        load_vector(tmp_path / "v.safetensors")
    assert "\n" not in str(caught.value)


def test_a_file_with_nan_in_it_names_the_layers(tmp_path: Path) -> None:
    vector = a_vector()
    broken = vector.directions.copy()
    broken[[1, 4], 0] = np.nan, np.inf
    arrays = {"directions": broken, "residual_norms": vector.residual_norms}
    save_file(arrays, str(tmp_path / "v.safetensors"), metadata={"personascope": json.dumps(vector.passport)})
    with pytest.raises(VectorError, match=r"bold vector is not finite at layers \[1, 4\]"):
        load_vector(tmp_path / "v.safetensors")


class Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".pkl"])
def test_a_pickle_is_never_opened_as_a_vector_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"v{ending}"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    with pytest.raises(VectorError, match=r"is a pickle, .* read it with personascope\.interop\.load_pt"):
        load_vector(path)
    assert not (tmp_path / "executed").exists()


# Errors.


@pytest.mark.parametrize("layer", [LAYERS, 40])
@pytest.mark.parametrize("unit", UNITS)
def test_a_layer_the_model_does_not_have_is_named_with_those_it_has(layer: int, unit: Unit) -> None:
    said = f"layer {layer} asked of a bold vector from model@step10, which has 4 blocks: choose 0 .* to 4"
    with pytest.raises(LayerError, match=said):
        Steering(layer, 1.0, unit).along(a_vector())


def test_layers_are_not_negative_and_there_is_at_least_one() -> None:
    with pytest.raises(LayerError, match="layers count from 0"):
        Steering(-1, 1.0, "unit")
    with pytest.raises(LayerError, match="layers count from 0"):
        Steering((1, -2), 1.0, "unit")
    with pytest.raises(LayerError, match="name one twice"):
        Steering((1, 2, 1), 1.0, "unit")
    with pytest.raises(LayerError, match="steers nothing"):
        Steering((), 1.0, "unit")
    with pytest.raises(LayerError, match="choose 0"):
        a_vector().at(-1)


@pytest.mark.parametrize("strength", [np.nan, np.inf, -np.inf])
def test_a_strength_is_a_finite_number(strength: float) -> None:
    with pytest.raises(StudyError, match="give a finite one"):
        Steering(1, strength, "unit")


def test_there_is_no_default_unit() -> None:
    with pytest.raises(TypeError, match="unit"):
        Steering(1, 1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(value: float) -> None:
    directions = np.ones((LAYERS, HIDDEN))
    directions[3, 2] = value
    with pytest.raises(VectorError, match=r"not finite at layers \[3\]: extract it again"):
        a_vector().with_directions(directions, origin="x")


@pytest.mark.parametrize(("directions", "norms"), [((LAYERS,), LAYERS), ((LAYERS, HIDDEN), LAYERS - 1), ((2, 3, 4), 2)])
def test_a_vector_of_the_wrong_shape_is_refused(directions: tuple[int, ...], norms: int) -> None:
    with unchecked(), pytest.raises(VectorError, match=r"needs directions \[layer, hidden\] and one norm per layer"):
        PersonaVector(np.ones(directions), np.ones(norms), trait="bold", form="x", checkpoint=Checkpoint("m"))


@pytest.mark.parametrize("shape", [{"hidden": HIDDEN + 1}, {"layers": LAYERS + 1}])
def test_vectors_of_two_models_have_no_cosine_and_do_not_control_each_other(shape: dict[str, int]) -> None:
    vector, other = a_vector(), a_vector(**shape)
    with pytest.raises(VectorError, match="have no cosine: compare vectors of one model"):
        vector.cosine(other)
    with pytest.raises(VectorError, match="make the control from that vector"):
        Steering(1, 1.0, "vector").along(vector, control=other)


@pytest.mark.parametrize("unit", UNITS)
def test_a_direction_without_length_cannot_be_steered_along(unit: Unit) -> None:
    directions = a_vector().directions.copy()
    directions[2] = 0
    with pytest.raises(VectorError, match="the bold vector has no length at layer 2: choose another layer"):
        Steering(2, 1.0, unit).along(a_vector().with_directions(directions, origin="x"))


@pytest.mark.parametrize("norms", [np.full(LAYERS, np.nan), np.ones(2)])
def test_a_residual_norm_nobody_measured_is_missed_only_where_it_is_the_unit(norms: np.ndarray) -> None:
    vector = a_vector()
    assert len(Steering(3, 1.0, "unit").along(vector, residual_norms=norms)) == 1
    with pytest.raises(VectorError, match=r"the residual norm at layer 3 was not measured .* choose another unit"):
        Steering(3, 1.0, "residual").along(vector, residual_norms=norms)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"unit": "residuals"}, "unit 'residuals' is not a way to steer; did you mean 'residual'"),
        ({"unit": "unit", "where": "answer"}, "where 'answer'"),
        ({"unit": "unit", "operation": "remove"}, "operation 'remove'"),
    ],
)
def test_a_misspelt_way_is_refused_and_not_taken_for_another(way: dict[str, str], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        Steering(1, 1.0, **way)  # type: ignore[arg-type]
