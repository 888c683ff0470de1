"""Vectors from files, made into gauges.

Owns: :func:`gauges_of` and :func:`load_any`. The one law: a vector and its layer are named by the user; nothing about
them is guessed but the trait of a published tensor, which is its file's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from personascope.applications.screen.core import Gauge
from personascope.core.errors import LayerError, VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Span
from personascope.core.traits import Rubric, load_trait
from personascope.core.vectors import PersonaVector, load_vector

_SPANS: dict[str, Span] = {"response_avg": "response", "prompt_avg": "prompt", "prompt_last": "last_prompt"}


def load_any(path: Path, checkpoint: Checkpoint) -> PersonaVector:
    """A vector from a safetensors file, or from a published ``TRAIT_response_avg_diff.pt`` of this checkpoint.

    Raises:
        VectorError: if it is neither.
    """
    if path.suffix not in (".pt", ".pth"):
        return load_vector(path)
    from personascope.interop.tensors import load_pt

    trait = path.name.partition(".")[0].removesuffix("_diff")
    for ending, span in _SPANS.items():
        if trait.endswith(f"_{ending}"):
            return load_pt(
                path, trait=trait.removesuffix(f"_{ending}"), form="assistant", checkpoint=checkpoint, span=span
            )
    return load_pt(path, trait=trait, form="assistant", checkpoint=checkpoint)


def gauges_of(vectors: Sequence[PersonaVector], layers: Sequence[int], *, judged: bool = False) -> tuple[Gauge, ...]:
    """A gauge for each vector at its layer; one layer serves them all.

    Two of one trait are told apart by their layers, or else by number. With ``judged`` each gets its trait's rubric.

    Raises:
        LayerError: for as many layers as fit neither one nor every vector.
        TraitError: if a rubric is needed and the vector's trait is not known in its form.
    """
    if len(layers) not in (1, len(vectors)):
        raise LayerError(f"{len(layers)} layers were given for {len(vectors)} vectors: give one, or one for each")
    if not vectors:
        raise VectorError("no vector was given to screen with: give at least one")
    chosen = [layers[0]] * len(vectors) if len(layers) == 1 else list(layers)
    names = [vector.trait for vector in vectors]
    if max(Counter(names).values()) > 1:
        names = [f"{name}_layer{layer}" for name, layer in zip(names, chosen, strict=True)]
    if max(Counter(names).values()) > 1:
        names = [f"{name}_{place}" for place, name in enumerate(names, 1)]
    rubrics: list[Rubric | None] = [
        load_trait(vector.trait, form=vector.form).rubric if judged else None for vector in vectors
    ]
    return tuple(
        Gauge.of(vector, layer, name=name, rubric=rubric)
        for vector, layer, name, rubric in zip(vectors, chosen, names, rubrics, strict=True)
    )
