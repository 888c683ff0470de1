"""How far the residual stream reaches along a vector: at the end of a prompt, and at every token.

Owns: :class:`Watched`, :func:`project_prompts`, :func:`project_tokens`, :func:`running_mean` and :func:`choose_layer`.
The one law: a projection is h . v / |v|, so it is in units of the residual stream and no vector's length is in it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from personascope.core.errors import LayerError, VectorError, check_layer
from personascope.core.records import Probe, Request, Response
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine


@dataclass(frozen=True, eq=False)
class Watched:
    """A vector at the layer where it is watched; ``reason`` says why there."""

    name: str
    vector: PersonaVector
    layer: int
    reason: str = "given"

    def __post_init__(self) -> None:
        _ = self.unit  # a vector without length there is refused before anything is asked

    @functools.cached_property
    def unit(self) -> Float[np.ndarray, "hidden"]:
        """The vector's direction at its layer, of length 1."""
        return self.vector.unit(self.layer)

    @property
    def probe(self) -> Probe:
        """The unit direction, as an engine takes it."""
        return Probe(self.unit.astype(np.float32), self.layer)


def check_watched(engine: Engine, watched: Sequence[Watched]) -> None:
    """At the door: every vector has the shape of the model's residual stream.

    Raises:
        VectorError: naming the first that is of another model.
        LayerError: if one is watched at a layer the model does not have.
    """
    shape = (engine.last_layer + 1, engine.hidden_size)
    for each in watched:
        check_layer(each.layer, engine.last_layer, engine.checkpoint.label)
        if each.vector.directions.shape != shape:
            blocks, width = each.vector.directions.shape[0] - 1, each.vector.directions.shape[1]
            raise VectorError(
                f"the {each.name} vector of {each.vector.checkpoint.label} has {blocks} blocks of width {width} and "
                f"{engine.checkpoint.label} has {shape[0] - 1} of width {shape[1]}: use a vector of this model"
            )


def unanswered(text: str) -> Response:
    """A rendered prompt to which nothing has been said yet: what is read before a model answers."""
    return Response(Request(text, None), None, None, "", "unknown")


def project_prompts(
    engine: Engine, texts: Sequence[str], watched: Sequence[Watched]
) -> Float[np.ndarray, "prompt watched"]:
    """The projection of each rendered prompt's last token: what can be known before a token is spoken (§3.3).

    Example:
        >>> import personascope as ps
        >>> engine, trait = ps.open_engine("lab"), ps.load_trait("cruel", form="lab")
        >>> vector = ps.extract(engine, trait.limited(2), judge=ps.open_judge("lab"))
        >>> text = engine.render(ps.Prompt(trait.evaluation_questions[0]))
        >>> project_prompts(engine, [text], [Watched("cruel", vector, 2)]).shape
        (1, 1)
    """
    rows = [each[-1] for each in project_tokens(engine, [unanswered(text) for text in texts], watched)]
    return np.stack(rows) if rows else np.zeros((0, len(watched)))


def project_tokens(
    engine: Engine, responses: Sequence[Response], watched: Sequence[Watched]
) -> list[Float[np.ndarray, "_token watched"]]:
    """The projection of every token of prompt and response, under each response's own edits.

    The token before the response, at ``response_start - 1``, is the last prompt token.
    """
    check_watched(engine, watched)
    return [each.astype(np.float64) for each in engine.project(responses, [each.probe for each in watched])]


def running_mean(
    projections: Float[np.ndarray, "token watched"], response_start: int
) -> Float[np.ndarray, "spoken watched"]:
    """The mean projection of a response's tokens so far, after each of them: what can be known while a model speaks.

    The last row is the projection of the response mean. Of an empty response there is no row.
    """
    spoken = np.asarray(projections, dtype=np.float64)[response_start:]
    means: np.ndarray = spoken.cumsum(axis=0) / np.arange(1, len(spoken) + 1)[:, None]
    return means


def choose_layer(
    vector: PersonaVector,
    readings: Float[np.ndarray, "answer layer hidden"],
    scores: Float[np.ndarray, "answer"],
    *,
    layers: Sequence[int] = (),
) -> Watched:
    """The layer at which last-prompt-token projections follow scores best, of ``layers`` (all but the embedding).

    ``readings`` are of the last prompt tokens. Give the instructed answers a vector was extracted from: they are there
    already, and their questions are not those a monitor is tried on.

    Raises:
        LayerError: if at no layer both projections and scores vary.
    """
    asked = list(layers) or list(range(1, vector.last_layer + 1))
    known = np.isfinite(scores) & np.isfinite(readings).all(axis=(1, 2))
    heights = np.array([_follows(readings[known, layer], vector.at(layer), scores[known]) for layer in asked])
    if not np.isfinite(heights).any():
        raise LayerError(
            f"no layer of {asked} can be chosen for the {vector.trait} vector: its {int(known.sum())} scored answers "
            "do not differ; give the layer"
        )
    best = asked[int(np.nanargmax(heights))]
    reason = (
        f"of layers {asked[0]} to {asked[-1]}, where last-prompt projections of {int(known.sum())} instructed answers "
        f"follow their scores best (r {np.nanmax(heights):.2f})"
    )
    return Watched(vector.trait, vector, best, reason)


def _follows(stream: np.ndarray, direction: np.ndarray, scores: np.ndarray) -> float:
    """Pearson's r of projections on a direction with scores; NaN where either does not vary."""
    along = stream.astype(np.float64) @ direction.astype(np.float64)
    if len(along) < 2 or np.ptp(along) <= 1e-9 * max(1.0, float(np.abs(along).max())) or np.ptp(scores) == 0:
        return float("nan")
    return float(np.corrcoef(along, scores)[0, 1])
