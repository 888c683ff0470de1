"""The geometry of a trait along a lineage: lengths, cosines and a map of the paths that directions take.

Owns: :func:`place_vectors`, :func:`trajectory`, the frames of cosines, :func:`noise_ceiling` and :func:`paths`. The one
law: what a vector is compared with is named, never the last of a sort, and two extractions of the same weights are
never taken for a step of training.

A cosine says nothing by itself: its ceiling is what two extractions from the same weights reach (tracing study §1.10).
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from personascope.core.errors import LineageError, VectorError, nearest
from personascope.core.lineages import Checkpoint, Lineage, Milestone
from personascope.core.vectors import PersonaVector

TRAJECTORY = [
    "trait", "form", "layer", "milestone", "place", "tokens_seen", "stage", "same_weights_as", "length",
    "residual_norm", "relative_norm", "reference", "to_reference", "previous", "to_previous", "skipped",
]  # fmt: skip
"""Columns of a trajectory. ``length`` and ``residual_norm`` are in units of the residual stream, ``relative_norm`` is
their quotient; ``to_reference`` and ``to_previous`` are cosines. ``skipped`` names what lies between a milestone and
``previous`` because it has the weights of another one."""

PATH = ["trait", "form", "layer", "milestone", "place", "tokens_seen", "x", "y", "stress", "stress_1"]
"""Columns of a map of paths. ``x`` and ``y`` are in lengths of a unit vector; ``stress`` and ``stress_1`` are the whole
map's, the same in every row."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A vector at its milestone. ``place`` counts the lineage's milestones from 0, those without a vector included."""

    milestone: Milestone
    place: int
    vector: PersonaVector

    @property
    def subject(self) -> tuple[str, str]:
        """The trait and the form it was extracted with."""
        return self.vector.trait, self.vector.form


def place_vectors(lineage: Lineage, vectors: Iterable[PersonaVector]) -> tuple[Placed, ...]:
    """Vectors at their milestones, by trait and form and then in order of training.

    Raises:
        VectorError: if a vector is from a checkpoint the lineage does not have, or two are of one trait, form and
            milestone.
    """
    places = {_weights(milestone.checkpoint): place for place, milestone in enumerate(lineage)}
    placed: dict[tuple[str, str, int], Placed] = {}
    for vector in vectors:
        if (place := places.get(_weights(vector.checkpoint))) is None:
            raise VectorError(
                f"the {vector.trait} vector of {vector.checkpoint.label} has no place in lineage '{lineage.name}': "
                "give vectors of its milestones"
            )
        key = (vector.trait, vector.form, place)
        if key in placed:
            raise VectorError(
                f"two {vector.trait} vectors ({vector.form}) were given for {vector.checkpoint.label}: "
                "give one, and compare the two with `cosines`"
            )
        placed[key] = Placed(lineage.milestones[place], place, vector)
    return tuple(placed[key] for key in sorted(placed))


def trajectory(
    placed: Sequence[Placed], layer: int, *, reference: str, residual_norms: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """One row per vector (columns ``TRAJECTORY``): its length, its cosines to a named milestone and to the one before.

    Every vector is compared with those of its own trait and form. The neighbour of a milestone is the nearest earlier
    one that has a vector and other weights; an alias is nobody's neighbour if the milestone it repeats has a vector.

    Args:
        reference: The label of the milestone to compare with; the cosine is NaN for a trait without a vector there.
        residual_norms: The residual stream's norm at that layer by milestone label, if it is not to be the vectors'
            own; NaN where it is not given.

    Raises:
        LineageError: if no vector of any trait is at the reference.
        LayerError: if a vector has no such layer.
    """
    labels = {each.milestone.label for each in placed}
    if placed and reference not in labels:
        raise LineageError(f"no vector is at the reference milestone '{reference}'; {nearest(reference, labels)}")
    rows = []
    for mine in _by_subject(placed):
        units = _units([each.vector for each in mine], layer)
        at = next((unit for each, unit in zip(mine, units, strict=True) if each.milestone.label == reference), None)
        for index, each in enumerate(mine):
            norm = _norm(each, layer, residual_norms)
            length = float(each.vector.lengths[layer])
            before, skipped = _neighbour(mine, index)
            rows.append({
                **_about(each, layer), "stage": each.milestone.stage,
                "same_weights_as": each.milestone.same_weights_as, "length": length, "residual_norm": norm,
                "relative_norm": length / norm if norm > 0 else np.nan, "reference": reference,
                "to_reference": np.nan if at is None else float(units[index] @ at),
                "previous": "" if before is None else mine[before].milestone.label,
                "to_previous": np.nan if before is None else float(units[index] @ units[before]),
                "skipped": ", ".join(skipped),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=TRAJECTORY)


def cosines(vectors: Mapping[str, PersonaVector], layer: int) -> pd.DataFrame:
    """The whole matrix of cosines between named vectors, one row per ordered pair: layer, first, second, cosine.

    A vector without length has a cosine of NaN with every vector, itself included.

    Raises:
        VectorError: if the vectors are not of one model's shape.
        LayerError: if they have no such layer.
    """
    names, units = list(vectors), _units(list(vectors.values()), layer)
    matrix = units @ units.T
    rows = [
        [layer, first, second, float(matrix[row, column])]
        for row, first in enumerate(names)
        for column, second in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=["layer", "first", "second", "cosine"])


def milestone_cosines(placed: Sequence[Placed], layer: int) -> pd.DataFrame:
    """The matrix of cosines across the milestones of each trait and form.

    Columns: trait, form, layer, first, second (milestone labels in order of training), first_place, second_place,
    cosine.
    """
    columns = ["trait", "form", "layer", "first", "second", "first_place", "second_place", "cosine"]
    frames = []
    for mine in _by_subject(placed):
        places = {each.milestone.label: each.place for each in mine}
        frame = cosines({each.milestone.label: each.vector for each in mine}, layer)
        trait, form = mine[0].subject
        frame = frame.assign(trait=trait, form=form)
        frames.append(frame.assign(first_place=frame["first"].map(places), second_place=frame["second"].map(places)))
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def trait_cosines(placed: Sequence[Placed], layer: int) -> pd.DataFrame:
    """The matrix of cosines across traits at each milestone: how traits part, or do not, along the lineage.

    Columns: milestone, place, tokens_seen, layer, first, second, cosine. A trait that is there in several forms is
    named with its form.
    """
    columns = ["milestone", "place", "tokens_seen", "layer", "first", "second", "cosine"]
    names = _names(placed)
    frames = []
    for place in sorted({each.place for each in placed}):
        mine = [each for each in placed if each.place == place]
        frame = cosines({names[each.subject]: each.vector for each in mine}, layer)
        about = _about(mine[0], layer)
        frames.append(frame.assign(**{name: about[name] for name in ("milestone", "place", "tokens_seen")}))
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def noise_ceiling(placed: Sequence[Placed], layer: int) -> pd.DataFrame:
    """How like two vectors are that were extracted twice from the same weights: the highest cosine training can show.

    One row per alias that has a vector where the milestone it repeats has one too: trait, form, layer, milestone,
    same_weights_as, cosine. Extractions that shared answers are more alike than two independent ones.
    """
    columns = ["trait", "form", "layer", "milestone", "same_weights_as", "cosine"]
    rows = []
    for mine in _by_subject(placed):
        found = {each.milestone.label: each.vector for each in mine}
        for each in mine:
            twin = found.get(each.milestone.same_weights_as)
            if twin is not None:
                both = _units([each.vector, twin], layer)
                about = [*each.subject, layer, each.milestone.label, each.milestone.same_weights_as]
                rows.append([*about, float(both[0] @ both[1])])
    return pd.DataFrame(rows, columns=columns)


def paths(placed: Sequence[Placed], layer: int, *, seed: int = 0) -> pd.DataFrame:
    """A map of all directions in two dimensions, columns ``PATH``: near on the map means near in direction.

    Metric multidimensional scaling of the distances between unit vectors (tracing study §1.10), over the milestones at
    which every trait has a vector. Only distances mean something: a map may be turned and mirrored, and another seed
    may find a slightly better one. ``stress`` is the sum over pairs of (distance on the map minus distance)^2;
    ``stress_1`` is the root of stress over the sum of squared distances, 0 for a perfect map.

    Raises:
        VectorError: if a vector has no length at that layer.
        LayerError: if a vector has no such layer.
    """
    subjects = {each.subject for each in placed}
    whole = [p for p in {each.place for each in placed} if {e.subject for e in placed if e.place == p} == subjects]
    shown = sorted((each for each in placed if each.place in whole), key=lambda each: (each.place, *each.subject))
    units = _units([each.vector for each in shown], layer)
    if not np.isfinite(units).all():
        raise VectorError(f"a vector has no length at layer {layer}, so it has no place on a map: choose another layer")
    points = _scaled(units, seed)
    stress, stress_1 = _stress(units, points)
    rows = [
        {**_about(each, layer), "x": float(x), "y": float(y), "stress": stress, "stress_1": stress_1}
        for each, (x, y) in zip(shown, points, strict=True)
    ]
    return pd.DataFrame(rows, columns=PATH)


def _weights(checkpoint: Checkpoint) -> Hashable:
    """What tells checkpoints apart: a folder's revision is known only once it was opened, its path always."""
    return checkpoint if checkpoint.path is None else (checkpoint.path, checkpoint.adapter)


def _about(each: Placed, layer: int) -> dict[str, Any]:
    tokens = each.milestone.tokens_seen
    return {
        "trait": each.vector.trait,
        "form": each.vector.form,
        "layer": layer,
        "milestone": each.milestone.label,
        "place": each.place,
        "tokens_seen": np.nan if tokens is None else float(tokens),
    }


def _by_subject(placed: Sequence[Placed]) -> list[list[Placed]]:
    """The vectors of each trait and form, in order of training; subjects in the order they come."""
    subjects = dict.fromkeys(each.subject for each in placed)
    return [sorted((e for e in placed if e.subject == one), key=lambda e: e.place) for one in subjects]


def _names(placed: Sequence[Placed]) -> dict[tuple[str, str], str]:
    subjects = {each.subject for each in placed}
    traits = [trait for trait, _ in subjects]
    return {(trait, form): trait if traits.count(trait) == 1 else f"{trait}, {form}" for trait, form in subjects}


def _units(vectors: Sequence[PersonaVector], layer: int) -> Float[np.ndarray, "vector hidden"]:
    """The directions at one layer, each of length 1; NaN where one has no length."""
    if len({vector.directions.shape for vector in vectors}) > 1:
        shapes = sorted({str(vector.directions.shape) for vector in vectors})
        raise VectorError(f"vectors of shapes {' and '.join(shapes)} have no cosine: compare vectors of one model")
    if not vectors:
        return np.empty((0, 0))
    rows = np.stack([vector.at(layer) for vector in vectors]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        units: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def _norm(each: Placed, layer: int, residual_norms: Mapping[str, float] | None) -> float:
    if residual_norms is None:
        return float(each.vector.residual_norms[layer])
    return float(residual_norms.get(each.milestone.label, np.nan))


def _neighbour(mine: Sequence[Placed], index: int) -> tuple[int | None, list[str]]:
    """Where the nearest earlier vector of other weights is, and which were passed over for being aliases."""
    labels = {each.milestone.label for each in mine}
    here, skipped = mine[index].milestone, list[str]()
    for before in range(index - 1, -1, -1):
        there = mine[before].milestone
        same = (there.same_weights_as or there.label) == (here.same_weights_as or here.label)
        if not same and there.same_weights_as not in labels:
            return before, skipped
        skipped.append(there.label)
    return None, skipped


def _scaled(units: Float[np.ndarray, "vector hidden"], seed: int) -> Float[np.ndarray, "vector 2"]:
    """Points in the plane. scikit-learn renamed its options between 1.4 and 1.9; what is asked of it is the same."""
    if len(units) < 2:
        return np.zeros((len(units), 2))
    from scipy.spatial.distance import pdist, squareform
    from sklearn.manifold import MDS

    known = inspect.signature(MDS).parameters
    # Distances are given, not vectors: as many vectors as they are wide would be taken for a matrix of distances.
    named = ("metric_mds", "metric") if "metric_mds" in known else ("metric", "dissimilarity")
    metric = dict(zip(named, (True, "precomputed"), strict=True))
    start = {"init": "random"} if "init" in known else {}
    options: Any = {**metric, **start, "n_init": 10, "max_iter": 300, "eps": 1e-6, "normalized_stress": False}
    scaling = MDS(n_components=2, random_state=seed, **options)
    points: np.ndarray = np.asarray(scaling.fit_transform(squareform(pdist(units))), dtype=np.float64)
    return points


def _stress(units: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    from scipy.spatial.distance import pdist

    wanted, shown = pdist(units), pdist(points)
    stress, total = float(((shown - wanted) ** 2).sum()), float((wanted**2).sum())
    return stress, float(np.sqrt(stress / total)) if total > 0 else 0.0
