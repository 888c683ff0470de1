"""What a persona vector is made of: its features in a sparse dictionary, and what each of them does.

Every arm that steers with a feature adds as much as the vector itself does, so that features, random features and the
vector are compared at one norm; every arm that ablates adds the vector without a part of it, at what length is left.

Source: "Persona Vectors" appendix M: cosine of the unit vector with every decoder direction (M.2), steering with each
of the best (M.3.2), samples that activate them most (M.3.1). Rebuilding with few features is orthogonal matching
pursuit (Pati, Rezaiifar and Krishnaprasad 1993).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from jaxtyping import Float

from personascope.core.dictionaries import Dictionary
from personascope.core.errors import StudyError, VectorError, check_layer
from personascope.core.records import Answer, Edit, Request, Response, Sampling
from personascope.core.samples import Sample
from personascope.core.steering import Steering, applied_norm
from personascope.core.traits import Prompt, Trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.generation import Arm, answer

PLAIN, VECTOR, REBUILT, REMAINDER = "plain", "vector", "rebuilt", "remainder"
STEERED, RANDOM, ABLATED = "feature", "random feature", "without feature"
CHUNK: Final = 128


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A direction in a dictionary's terms.

    ``cosines`` are with every feature; NaN for one that died. ``top`` are the best aligned, most positive first.
    ``pursued`` are the features that rebuild the direction, in the order in which they were taken, ``weights[k - 1]``
    their weights when there are k of them (on unit directions, in the direction's own units; NaN beyond k), and
    ``rebuilt[k - 1]`` the cosine of the direction with its rebuilding.
    """

    direction: Float[np.ndarray, "hidden"]
    cosines: Float[np.ndarray, "feature"]
    top: tuple[int, ...]
    pursued: tuple[int, ...]
    weights: Float[np.ndarray, "taken taken"]
    rebuilt: Float[np.ndarray, "taken"]

    def rebuilding(self, dictionary: Dictionary, count: int) -> Float[np.ndarray, "hidden"]:
        """The direction as its first so many pursued features rebuild it."""
        if not 1 <= count <= len(self.pursued):
            raise StudyError(f"a rebuilding with {count} features was asked for, and {len(self.pursued)} were pursued")
        made: np.ndarray = self.weights[count - 1, :count] @ dictionary.unit(list(self.pursued[:count]))
        return made


@dataclass(frozen=True, eq=False)
class FeatureArm:
    """One way to steer: what was done (``kind``), with which feature, if one, and with which edits."""

    kind: str
    feature: int | None
    edits: tuple[Edit, ...]

    @property
    def name(self) -> str:
        """A name of its own: ``"feature 12"``."""
        return self.kind if self.feature is None else f"{self.kind} {self.feature}"


@dataclass(frozen=True, eq=False)
class Activation:
    """A sample that makes a feature active: how much at its strongest token, and which one of the answer that is."""

    feature: int
    activation: float
    sample: Sample
    token: int


@dataclass(frozen=True, eq=False)
class TriedArm:
    """An arm with what it did: the effect on every question, in score points, and the mean coherence of its answers."""

    kind: str
    feature: int | None
    applied_norm: float
    differences: Float[np.ndarray, "question"]
    coherence: float


@dataclass(frozen=True)
class Trial:
    """How many features are looked at: the ``top`` by cosine, up to ``taken`` to rebuild with, so many ``tested`` by
    steering, so many ``random`` ones beside them. ``keep`` samples of a corpus are listed for each tested feature.
    """

    top: int = 50
    taken: int = 32
    tested: int = 10
    random: int = 20
    keep: int = 5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Bench:
    """Where features are tried: the model, the trait that is scored, the judge, how to steer and how to draw."""

    engine: Engine
    trait: Trait
    judge: Judge
    steering: Steering
    sampling: Sampling


@dataclass(frozen=True, eq=False)
class Explained:
    """What was found of one vector in one dictionary; ``case`` names them.

    ``tried`` is empty where there was no bench, and ``samples``, by tested feature, where there was no corpus.
    """

    case: dict[str, object]
    parts: Decomposition
    tried: tuple[TriedArm, ...] = ()
    samples: Mapping[int, list[Activation]] = field(default_factory=dict)


def explain(
    vector: PersonaVector,
    dictionary: Dictionary,
    *,
    layer: int,
    trial: Trial,
    bench: Bench | None = None,
    corpus: Iterable[Sample] | None = None,
) -> Explained:
    """Decomposes a vector and, where there is a bench, tries its features and looks for samples in the corpus."""
    case: dict[str, object] = {"trait": vector.trait, "sae": dictionary.name, "layer": layer}
    parts = decompose(dictionary, vector.at(layer), top=trial.top, taken=trial.taken)
    if bench is None:
        return Explained(case, parts)
    arms = feature_arms(
        dictionary, parts, steering=bench.steering, tested=trial.tested, random=trial.random, seed=trial.seed
    )
    effects = effects_of(try_features(bench.engine, bench.trait, arms, judge=bench.judge, sampling=bench.sampling))
    tried = tuple(TriedArm(each.kind, each.feature, applied_norm(each.edits), *effects[each.name]) for each in arms)
    if corpus is None:
        return Explained(case, parts, tried)
    tested = parts.top[: trial.tested]
    best = strongest_samples(bench.engine, dictionary, tested, corpus, layer=layer, keep=trial.keep)
    return Explained(case, parts, tried, best)


def fitting(dictionary: Dictionary, vector: PersonaVector, layer: int | None) -> int:
    """The layer at which a vector is decomposed: the one asked for, else the dictionary's.

    Raises:
        VectorError: if the dictionary is of another width, or of another layer than asked for, or of none that is
        known. LayerError: if the vector has no such layer.
    """
    width = vector.directions.shape[1]
    if dictionary.width != width:
        raise VectorError(
            f"{dictionary.name} has features of width {dictionary.width}, and the {vector.trait} vector of "
            f"{vector.checkpoint.label} is {width} wide: give an SAE of that model"
        )
    if layer is not None and dictionary.layer is not None and layer != dictionary.layer:
        raise VectorError(
            f"layer {layer} was asked for, and {dictionary.name} reads layer {dictionary.layer} (0 is after the "
            f"embedding, k after block k): leave the layer out, or give the SAE of layer {layer}"
        )
    chosen = layer if layer is not None else dictionary.layer
    if chosen is None:
        raise VectorError(f"{dictionary.name} does not say which layer it reads: give --layer")
    check_layer(chosen, vector.last_layer, f"a {vector.trait} vector from {vector.checkpoint.label}")
    return chosen


def decompose(
    dictionary: Dictionary, direction: Float[np.ndarray, "hidden"], *, top: int = 50, taken: int = 32
) -> Decomposition:
    """Cosines with every feature, the ``top`` best aligned, and a rebuilding with up to ``taken`` features.

    The rebuilding is greedy: the feature that points most along what is left, in either sense, is taken, and the
    weights of all that were taken are then fitted anew by least squares.

    Raises:
        VectorError: if the direction is of another width, or has no length.
    """
    exact = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(exact))
    if exact.shape != (dictionary.width,) or length == 0:
        raise VectorError(
            f"a direction of shape {list(exact.shape)} and length {length:g} cannot be decomposed in "
            f"{dictionary.name}, whose features are {dictionary.width} wide: give a vector of that model"
        )
    dots = dictionary.decoder @ (exact / length).astype(np.float32)
    alive = dictionary.lengths > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(alive, dots / dictionary.lengths, np.nan)
    order = np.argsort(-np.where(alive, cosines, -np.inf), kind="stable")[: min(top, int(alive.sum()))]
    pursued, weights, rebuilt = _pursue(dictionary, exact, min(taken, dictionary.width, int(alive.sum())))
    return Decomposition(exact, cosines, tuple(map(int, order)), pursued, weights, rebuilt)


def _pursue(
    dictionary: Dictionary, direction: Float[np.ndarray, "hidden"], most: int
) -> tuple[tuple[int, ...], Float[np.ndarray, "taken taken"], Float[np.ndarray, "taken"]]:
    """Orthogonal matching pursuit; it ends early where nothing is left to explain."""
    left, length = direction, float(np.linalg.norm(direction))
    dead = dictionary.lengths == 0
    lengths = np.where(dead, np.inf, dictionary.lengths)
    found: list[int] = []
    rows: list[np.ndarray] = []
    cosines: list[float] = []
    while len(found) < most and np.linalg.norm(left) > 1e-6 * length:
        along = np.abs(dictionary.decoder @ left.astype(np.float32)) / lengths
        along[found] = along[dead] = -1
        found.append(int(along.argmax()))
        units = dictionary.unit(found)
        weights = np.linalg.lstsq(units.T, direction, rcond=None)[0]
        made = weights @ units
        left = direction - made
        rows.append(np.concatenate([weights, np.full(most - len(weights), np.nan)]))
        cosines.append(float(made @ direction / (np.linalg.norm(made) * length)))
    kept = len(found)
    table = np.stack(rows)[:, :kept] if rows else np.zeros((0, 0))
    return tuple(found), table, np.array(cosines)


def feature_arms(
    dictionary: Dictionary,
    found: Decomposition,
    *,
    steering: Steering,
    tested: int = 10,
    random: int = 20,
    seed: int = 0,
) -> list[FeatureArm]:
    """The vector, its best features, random ones, the vector without each best one, and what they rebuild and leave.

    ``steering`` is how the vector steers: a strength of it, or of a unit direction. Random features are drawn from
    those that are alive and not among the tested; they are controls for the best of many.

    Raises:
        StudyError: if the steering is of a unit that is not known here, or of several layers.
    """
    if steering.unit == "residual" or len(steering.layers) != 1:
        raise StudyError("features are steered with at one layer, in unit 'vector' or 'unit': give such a steering")
    length = float(np.linalg.norm(found.direction))
    factor = steering.strength * (1.0 if steering.unit == "vector" else 1 / length)
    norm, (layer,) = factor * length, steering.layers

    def arm(kind: str, direction: np.ndarray, feature: int | None = None) -> FeatureArm:
        return FeatureArm(kind, feature, (Edit(direction, layer, steering.where),))

    best = list(found.top[:tested])
    others = np.setdiff1d(np.flatnonzero(dictionary.lengths > 0), best)
    drawn = np.random.default_rng(seed).choice(others, min(random, len(others)), replace=False)
    arms = [arm(VECTOR, factor * found.direction)]
    for feature, unit in zip(best, dictionary.unit(best), strict=True):
        arms.append(arm(STEERED, norm * unit, feature))
        arms.append(arm(ABLATED, factor * without(found.direction, unit[None]), feature))
    compared = sorted(map(int, drawn))
    for feature, unit in zip(compared, dictionary.unit(compared), strict=True):
        arms.append(arm(RANDOM, norm * unit, feature))
    made = found.rebuilding(dictionary, min(tested, len(found.pursued)))
    arms.append(arm(REBUILT, factor * made))
    arms.append(arm(REMAINDER, factor * (found.direction - made)))
    return arms


def without(
    direction: Float[np.ndarray, "hidden"], units: Float[np.ndarray, "feature hidden"]
) -> Float[np.ndarray, "hidden"]:
    """A direction with its components along some unit directions taken out, jointly: orthogonal to all of them."""
    weights = np.linalg.lstsq(units.T, direction, rcond=None)[0]
    left: np.ndarray = direction - weights @ units
    return left


def try_features(
    engine: Engine, trait: Trait, arms: Sequence[FeatureArm], *, judge: Judge, sampling: Sampling
) -> Mapping[str, list[Answer]]:
    """The answers to the trait's evaluation questions, plainly and under every arm, by its name; in one batch."""
    prompts = tuple(Prompt(question) for question in trait.questions("evaluation"))
    asked = {PLAIN: Arm(engine, trait, prompts, sampling)}
    asked |= {each.name: Arm(engine, trait, prompts, sampling, each.edits) for each in arms}
    return answer(asked, judge=judge)


def strongest_samples(
    engine: Engine, dictionary: Dictionary, features: Sequence[int], samples: Iterable[Sample], *, layer: int,
    keep: int = 20,
) -> dict[int, list[Activation]]:  # fmt: skip
    """The samples of a corpus in whose first answer each feature is most active, strongest first; of one read, so many.

    Samples stream: a chunk of them is held. Where only the decoder is known, the projection on the feature's unit
    direction stands for its activation; where only so many features of a token count (TopK), each is looked at by
    itself, whether or not it is among them. A sample in which a feature is never active is not listed under it.

    Raises:
        VectorError: if the corpus is empty.
    """
    probes = [dictionary.probe(feature, layer) for feature in features]
    best: dict[int, list[tuple[float, int, Activation]]] = {feature: [] for feature in features}
    number = 0
    for some in _chunks(samples):
        responses = [_as_response(engine, each) for each in some]
        tokens = engine.project(responses, [probe for probe, _, _ in probes])
        for sample, response, sums in zip(some, engine.encode(responses), tokens, strict=True):
            number += 1
            spoken = sums[response.spoken[1] :]
            for place, (feature, (_, bias, threshold)) in enumerate(zip(features, probes, strict=True)):
                if len(spoken) and (most := float(spoken[:, place].max()) + bias) > threshold:
                    held = Activation(feature, most, sample, int(spoken[:, place].argmax()))
                    _keep(best[feature], (most, -number, held), keep)
    if not number:
        raise VectorError("the corpus holds no sample: give one with at least one row")
    return {feature: [held for _, _, held in sorted(some, reverse=True)] for feature, some in best.items()}


def _keep(best: list[tuple[float, int, Activation]], one: tuple[float, int, Activation], keep: int) -> None:
    (heapq.heappush if len(best) < keep else heapq.heappushpop)(best, one)  # the earlier of two alike stays


def _chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    left = iter(samples)
    while some := list(islice(left, CHUNK)):
        yield some


def _as_response(engine: Engine, sample: Sample) -> Response:
    prompt, said = sample.exchange
    return Response(Request(engine.render(prompt), None), None, None, said, "unknown", source=sample.where)


def effects_of(answers: Mapping[str, Sequence[Answer]]) -> dict[str, tuple[Float[np.ndarray, "_question"], float]]:
    """Per arm: each question's effect on the trait score, in points, and the mean coherence of the arm's answers."""
    from personascope.tracing.tracing import paired_effect

    plain = answers[PLAIN]
    return {
        name: (
            np.array([each.trait for each in paired_effect(plain, some)]),
            _mean([each.coherence.score for each in some]),
        )
        for name, some in answers.items()
    }


def _mean(scores: Sequence[float]) -> float:
    known = [score for score in scores if np.isfinite(score)]
    return float(np.mean(known)) if known else float("nan")
