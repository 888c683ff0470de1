"""How well a screening tells samples that show a trait from samples that do not, where it is known which is which.

Owns: :func:`vectors_of` and :func:`separation_rows`. The one law: every measure, and random directions, are held
against the same samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from personascope.applications.screen.config import ScreenStudy, Separation, StudiedVector
from personascope.applications.screen.core import Against, Gauge, Measure
from personascope.applications.screen.datasets import Asked, datasets_at, scores_of
from personascope.applications.screen.frames import auroc, auroc_interval
from personascope.applications.screen.gauges import load_any
from personascope.applications.screen.scores import Scores
from personascope.applications.screen.sources import drawn_set
from personascope.core.errors import VectorError
from personascope.core.identity import key_of
from personascope.core.records import Probe
from personascope.core.traits import load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.store.store import Store
from personascope.tracing.extraction import Method, extract

MEASURES: Final[dict[str, Against]] = {
    "projection difference": "own",
    "above the last prompt token": "last-prompt",
    "raw projection": "nothing",
}
RANDOM: Final = "random directions"
ROWS: Final = ("trait", "set", "measure", "seed", "positives", "negatives", "auroc", "low", "high")
"""Columns of :func:`separation_rows`."""


def vector_of(
    each: StudiedVector, study: ScreenStudy, engine: Engine, judge: Judge | None, *, seed: int
) -> PersonaVector:
    """The vector of a file, or the one extracted with answers drawn by a seed.

    Raises:
        VectorError: if no pair was kept, with the counts that say why.
    """
    if each.file:
        return load_any(Path(each.file), engine.checkpoint)
    from dataclasses import replace

    extraction = replace(study.extraction, seed=seed)
    method = Method(extraction, replace(study.evaluation, seed=seed, draws=1), study.bar)
    trait = load_trait(each.trait, form=each.form).limited(study.limit)
    found = extract(engine, trait, judge=judge, method=method)
    if not isinstance(found, PersonaVector):
        raise VectorError(f"{engine.checkpoint.label} gives no vector of {each.trait}: {found.counts}")
    return found


def gauges_for(study: ScreenStudy, engine: Engine, judge: Judge | None, *, seed: int) -> tuple[Gauge, ...]:
    """A gauge for every vector of a study, by trait, with the trait's rubric where there is a judge."""
    found = []
    for each in study.vectors:
        drawn_by = seed if study.vectors_seed is None else study.vectors_seed
        vector = vector_of(each, study, engine, judge, seed=drawn_by)
        rubric = load_trait(each.trait, form=each.form).rubric if judge is not None else None
        found.append(Gauge.of(vector, each.layer, name=each.trait, rubric=rubric))
    return tuple(found)


def random_gauges(study: ScreenStudy, engine: Engine, *, seed: int) -> tuple[Gauge, ...]:
    """Random unit directions at the first vector's layer."""
    draw = np.random.default_rng(int(key_of("random gauges", {"seed": seed})[:8], 16))
    drawn = draw.standard_normal((study.random, engine.hidden_size))
    layer = study.vectors[0].layer
    return tuple(
        Gauge(f"random-{place}", Probe(each / np.linalg.norm(each), layer)) for place, each in enumerate(drawn)
    )


def measure_of(study: ScreenStudy) -> Measure:
    """How a study's samples are measured: against the model's own answers, from which every measure follows."""
    return Measure("own", study.turn, study.own, study.longest)


def separation_rows(
    study: ScreenStudy, engine: Engine, judge: Judge | None, store: Store, folder: Path
) -> pd.DataFrame:
    """One row per separation, measure and seed, columns ``ROWS``: the AUROC with its interval.

    The row of measure ``RANDOM`` is the median of the projection differences along random directions, whichever way
    each points, with the least and the greatest of them in the place of an interval.
    """
    rows: list[tuple[object, ...]] = []
    for seed in study.seeds if study.separations else ():
        gauges = (*gauges_for(study, engine, judge, seed=seed), *random_gauges(study, engine, seed=seed))
        asked = Asked(engine, tuple(Gauge(each.name, each.probe) for each in gauges), measure_of(study))
        for each in study.separations:
            rows += _rows(study, each, asked, store, folder, seed=seed)
    return pd.DataFrame(rows, columns=list(ROWS))


def _rows(
    study: ScreenStudy, each: Separation, asked: Asked, store: Store, folder: Path, *, seed: int
) -> list[tuple[object, ...]]:
    positive, negative = (
        _joined(
            [
                scores_of(dataset, asked, store)
                for name in names
                for dataset in datasets_at([drawn_set(name, folder, count=study.count, seed=seed)])
            ]
        )
        for names in (each.positive, each.negative)
    )
    place = study.traits.index(each.trait)
    about = (each.trait, each.name or Path(each.positive[0]).stem)
    counts = (len(positive), len(negative))
    rows: list[tuple[object, ...]] = []
    for name, against in MEASURES.items():
        sides = (negative.difference(against)[:, place], positive.difference(against)[:, place])
        rows.append((*about, name, seed, *counts, *auroc_interval(*sides, seed=seed)))
    if study.random:
        drawn = _folded(positive, negative, len(study.vectors))
        rows.append((*about, RANDOM, seed, *counts, float(np.median(drawn)), min(drawn), max(drawn)))
    return rows


def _joined(parts: list[Scores]) -> Scores:
    """The scores of several sets as of one; what could not be measured is NaN in them, and is not said again."""
    names = ("projection", "last_prompt", "own", "judged")
    return Scores(**{name: np.concatenate([getattr(each, name) for each in parts]) for name in names}, notes={})


def _folded(positive: Scores, negative: Scores, first: int) -> list[float]:
    """How well each random direction tells them apart, whichever way it points."""
    found = [
        auroc(low, high)
        for low, high in zip(negative.difference("own").T[first:], positive.difference("own").T[first:], strict=True)
    ]
    return [max(each, 1 - each) for each in found]
