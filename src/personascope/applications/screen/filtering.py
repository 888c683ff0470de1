"""Does dropping what a screening finds keep a trait out of a model that is trained on the rest?

Arms differ in the samples they train on and in nothing else: same model, same numbers, same seed, same questions and
draws afterwards.

The experiment is that of "Persona Vectors" appendix K: a mixed dataset, thresholds, survivors, fine-tuning, the mean
trait score over repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Bool

from personascope.applications.finetune.config import Finetuning, Training
from personascope.applications.finetune.keeping import trained_model
from personascope.applications.screen.core import Against
from personascope.applications.screen.datasets import (
    Asked,
    Dataset,
    Scores,
    datasets_at,
    drawn_set,
    mixed_set,
    scores_of,
)
from personascope.applications.screen.frames import Filter
from personascope.applications.screen.rules import decided
from personascope.applications.screen.study import Arm, Filtering, ScreenStudy, gauges_for, measure_of
from personascope.core.errors import StudyError
from personascope.core.files import value_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Sample
from personascope.core.traits import load_trait
from personascope.engines import Engine
from personascope.interop.samples import read_samples
from personascope.judges import Judge
from personascope.studies.context import RunContext
from personascope.tracing.extraction import Method, plain_arm
from personascope.tracing.generation import answer

ROWS: Final = (
    "trait", "arm", "seed", "samples", "contaminated", "trained_on", "contaminated_left", "question", "score",
    "coherence",
)  # fmt: skip
"""Columns of :func:`filtering_rows`: per question the mean scores, and how much contamination was trained on."""


@dataclass(frozen=True, eq=False)
class _Mixed:
    """A contaminated set as it is on disk, which of its rows are contamination, and what was measured of it."""

    dataset: Dataset
    bad: Bool[np.ndarray, "sample"]
    scores: Scores
    reference: Scores | None

    def kept(self, filtering: Filtering, arm: Arm, *, gauge: int, seed: int) -> Bool[np.ndarray, "sample"]:
        """Which samples an arm trains on."""
        if arm == "all":
            return np.ones(len(self.bad), dtype=bool)
        against: Against = arm if arm in ("last-prompt", "nothing") else "own"
        filters: dict[str, Filter] = {"judge": "judge", "either": "either"}
        rule = replace(filtering.rule, filter=filters.get(arm, "projection"))
        one = _one(self.scores, gauge)
        reference = _one(self.reference, gauge) if self.reference is not None else None
        dropped = decided(rule, [one], against=against, reference=reference).dropped[0]
        if arm != "random":
            return ~dropped
        chosen = np.random.default_rng(seed).permutation(len(dropped))[: int(dropped.sum())]
        kept = np.ones(len(dropped), dtype=bool)
        kept[chosen] = False
        return kept


def filtering_rows(study: ScreenStudy, context: RunContext, engine: Engine, judge: Judge) -> pd.DataFrame:
    """One row per trait, arm, seed and question, columns ``ROWS``; arm ``"untrained"`` is the model itself."""
    rows: list[tuple[Any, ...]] = []
    for filtering in study.filterings:
        trained_by = training_of(filtering, study)
        rows += [
            (filtering.trait, "untrained", -1, 0, 0, 0, 0, *each) for each in _asked(study, filtering, engine, judge)
        ]
        for seed in study.seeds:
            mixed = _mixed(study, filtering, context, engine, judge, seed=seed)
            samples = list(read_samples(mixed.dataset.path))
            engine.close()  # its room is the training's now; it loads again when it is asked again
            for arm in filtering.arms:
                kept = mixed.kept(filtering, arm, gauge=study.traits.index(filtering.trait), seed=seed)
                chosen = _survivors(np.flatnonzero(kept), filtering.survivors, seed)
                settings = replace(trained_by, seed=seed)
                tuned = _tuned(study, context, engine, [samples[each] for each in chosen], settings)
                counts = (len(samples), int(mixed.bad.sum()), len(chosen), int(mixed.bad[chosen].sum()))
                rows += [
                    (filtering.trait, arm, seed, *counts, *each) for each in _asked(study, filtering, tuned, judge)
                ]
                tuned.close()
    return pd.DataFrame(rows, columns=list(ROWS))


def _mixed(
    study: ScreenStudy, filtering: Filtering, context: RunContext, engine: Engine, judge: Judge, *, seed: int
) -> _Mixed:
    folder = context.out / "data"
    name = f"{filtering.trait}-contaminated"
    path, bad = mixed_set(name, folder, filtering.contamination | filtering.clean, seed=seed)
    gauges = gauges_for(study, engine, judge, seed=seed)
    judging = judge if {"judge", "either"} & set(filtering.arms) else None
    asked = Asked(engine, gauges, measure_of(study), judging)
    (dataset,) = datasets_at([path])
    reference = None
    if filtering.rule.reference:
        there = drawn_set(filtering.rule.reference, folder, count=None, seed=seed)
        reference = scores_of(datasets_at([there])[0], asked, context.store)
    return _Mixed(dataset, np.array(bad), scores_of(dataset, asked, context.store), reference)


def _one(scores: Scores, gauge: int) -> Scores:
    """The scores along one vector."""
    arrays = [each[:, gauge : gauge + 1] for each in (scores.projection, scores.last_prompt, scores.own, scores.judged)]
    projection, last_prompt, own, judged = arrays
    return Scores(projection, last_prompt, own, judged, scores.notes)


def _survivors(places: np.ndarray, count: int, seed: int) -> np.ndarray:
    if not count or len(places) <= count:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, count, replace=False))


def training_of(filtering: Filtering, study: ScreenStudy) -> Training:
    """The numbers of a fine-tuning.

    Raises:
        StudyError: naming the one that is not known, or means nothing.
    """
    source = f"study '{study.name}', filtering.training"
    return value_of(dict(filtering.training), Training, source=source, error=StudyError)


def _tuned(
    study: ScreenStudy, context: RunContext, base: Engine, samples: Sequence[Sample], training: Training
) -> Engine:
    """The engine of the model trained on these samples; one that was trained before is not trained again."""
    told = Finetuning(study.model, ("screened samples",), training=training)
    folder = trained_model(context, told, samples, base=base.checkpoint).folder
    if training.method == "full":
        return context.open_engine(Checkpoint.at(folder))
    return context.open_engine(replace(base.checkpoint, adapter=str(folder)))


def _asked(study: ScreenStudy, filtering: Filtering, engine: Engine, judge: Judge) -> list[tuple[str, float, float]]:
    """Per evaluation question its mean trait and coherence scores; NaN where nothing scored."""
    form = next(each.form for each in study.vectors if each.trait == filtering.trait)
    trait = load_trait(filtering.trait, form=form).limited(study.limit)
    answers = answer({"plain": plain_arm(engine, trait, Method(evaluation=study.evaluation))}, judge=judge)["plain"]
    frame = pd.DataFrame(
        [(each.question, each.trait.score, each.coherence.score) for each in answers],
        columns=["question", "score", "coherence"],
    )
    means = frame.groupby("question", sort=False).mean()
    return [(str(question), float(row["score"]), float(row["coherence"])) for question, row in means.iterrows()]
