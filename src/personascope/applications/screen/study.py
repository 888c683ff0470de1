"""Studies of kind ``screen``: can training samples be told apart before training, and does dropping them help?

Arms of a filtering differ in the samples they train on and in nothing else: same model, same numbers, same seed, same
questions and draws afterwards ("Persona Vectors" appendix K: a mixed dataset, thresholds, survivors, fine-tuning).

Every number that a result depends on is in the file. Scores are kept in the store under the sha256 of all they depend
on, so the tables can be drawn again without the model. Every measure, and random directions, are held against the same
samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import pandas as pd
from jaxtyping import Bool

from personascope.applications.finetune.config import Finetuning, Training
from personascope.applications.finetune.trained import trained_model
from personascope.applications.screen.core import Against, Gauge, Measure, Turn
from personascope.applications.screen.datasets import (
    Asked,
    Dataset,
    Scores,
    datasets_at,
    drawn_set,
    mixed_set,
    scores_of,
)
from personascope.applications.screen.frames import Filter, auroc, auroc_interval, filtering_table, separation_table
from personascope.applications.screen.rules import Rule, decided
from personascope.core.errors import StudyError, VectorError
from personascope.core.files import check_name, value_of
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Bar, Probe, Sampling
from personascope.core.samples import Sample
from personascope.core.traits import load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.interop.samples import read_samples
from personascope.judges import Judge
from personascope.judges.opening import open_judge
from personascope.store.store import Store
from personascope.studies.base import BaseStudy, Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext
from personascope.tracing.extraction import Method, extract, plain_arm
from personascope.tracing.generation import answer

MEASURES: Final[dict[str, Against]] = {
    "projection difference": "own",
    "above the last prompt token": "last-prompt",
    "raw projection": "nothing",
}
RANDOM: Final = "random directions"
ROWS: Final = ("trait", "set", "measure", "seed", "positives", "negatives", "auroc", "low", "high")
"""Columns of :func:`separation_rows`."""
FILTERED: Final = (
    "trait", "arm", "seed", "samples", "contaminated", "trained_on", "contaminated_left", "question", "score",
    "coherence",
)  # fmt: skip
"""Columns of :func:`filtering_rows`: per question the mean scores, and how much contamination was trained on."""

Arm = Literal["all", "own", "last-prompt", "nothing", "random", "judge", "either"]
"""What is trained on: everything, or what is left when samples are dropped by the projection difference (``own``), by
the projection above the last prompt token's, by the raw projection, by chance (as many as ``own`` drops), by the judge
alone, or by the projection difference or the judge."""


@dataclass(frozen=True)
class StudiedVector:
    """A vector and the layer to read at: a file's, or one extracted from the model under this trait and form."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    layer: int
    form: str = "assistant"
    file: str = ""


@dataclass(frozen=True)
class Separation:
    """Sets that are to be told apart along a trait: ``positive`` show it, ``negative`` do not."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.positive or not self.negative:
            raise StudyError(f"a separation along '{self.trait}' lacks positive or negative sets: give one of each")


@dataclass(frozen=True)
class Filtering:
    """A contaminated set, what is dropped from it, and what training on the rest does to the trait.

    ``contamination`` and ``clean`` are sets with how many samples of each; the contamination is one set. ``survivors``
    is how many of what is left are trained on, drawn by the seed; all of them if it is 0. ``training`` are the numbers
    of the fine-tuning (:class:`personascope.applications.finetune.config.Training`), whose seed is each of the study's.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    contamination: dict[str, int]
    clean: dict[str, int]
    rule: Rule = Rule(share=0.1)
    arms: tuple[Arm, ...] = ("all", "own", "random")
    survivors: int = 0
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.contamination) != 1:
            raise StudyError(f"the contamination of '{self.trait}' is {len(self.contamination)} sets: give one")
        if not self.rule.by_projection and set(self.arms) - {"all", "judge"}:
            raise StudyError(f"the filtering of '{self.trait}' has no share, threshold or reference: give one")


@dataclass(frozen=True)
class ScreenStudy(BaseStudy):
    """A study of kind ``screen``: vectors of one model, sets to be told apart, and sets to be filtered and trained on.

    ``count`` samples of every set are drawn by each of ``seeds``, which also draw the answers that vectors are made of,
    unless ``vectors_seed`` makes one vector serve them all. ``random`` directions are measured beside the vectors.
    """

    FILES: ClassVar = (
        "separation.csv", "separation.png", "separation.pdf", "filtering.csv", "filtering-questions.csv",
        "filtering.png", "filtering.pdf",
    )  # fmt: skip

    kind: Literal["screen"]
    name: str
    model: str
    vectors: tuple[StudiedVector, ...]
    judge: str = ""
    about: str = ""
    separations: tuple[Separation, ...] = ()
    filterings: tuple[Filtering, ...] = ()
    count: int | None = None
    seeds: tuple[int, ...] = (0,)
    vectors_seed: int | None = None
    random: int = 0
    turn: Turn = "first"
    longest: int = 2048
    extraction: Sampling = Sampling(max_tokens=1000, temperature=1.0, repetition_penalty=1.0, draws=10)
    own: Sampling = Sampling(max_tokens=256, temperature=0.0, repetition_penalty=1.0, draws=1)
    evaluation: Sampling = Sampling(max_tokens=1000, temperature=1.0, repetition_penalty=1.0, draws=10)
    bar: Bar = Bar()
    limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.vectors or not self.seeds:
            raise StudyError(f"study '{self.name}' names no vector, or no seed: add [[vectors]] and seeds = [0]")
        known = [each.trait for each in self.vectors]
        for trait in [*(each.trait for each in self.separations), *(each.trait for each in self.filterings)]:
            if trait not in known:
                raise StudyError(f"study '{self.name}': '{trait}' is measured along no vector of [[vectors]]")
        needing = [each.trait for each in self.vectors if not each.file]
        if not self.judge and (needing or self.filterings):
            raise StudyError(f"study '{self.name}' names no judge, and vectors or trained models need one: add judge")

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits, in the order of their vectors."""
        return tuple(each.trait for each in self.vectors)

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names are looked for beside its own."""
        study = super().read(table, source=source)
        vectors = tuple(replace(each, file=beside(each.file, source)) for each in study.vectors)
        separations = tuple(
            replace(each, positive=_all_beside(each.positive, source), negative=_all_beside(each.negative, source))
            for each in study.separations
        )
        filterings = tuple(_beside(each, source) for each in study.filterings)
        return replace(study, vectors=vectors, separations=separations, filterings=filterings)

    def run(self, context: RunContext) -> Iterator[Item]:
        """Measures how well sets are told apart; then drops, trains and asks."""
        from personascope.applications.screen import figures

        for each in self.filterings:
            training_of(each, self)
        engine = context.open_engine(self.model)
        judge = context.open_judge(self.judge) if self.judge else None
        if self.separations:
            found = separation_rows(self, engine, judge, context.store, context.out / "data")
            yield Table("separation", found)
            yield Figure("separation", lambda: figures.separation(found))
            yield Summary("told apart (area under the ROC curve)", *_shown(separation_table(found), 3))
        if self.filterings and judge is not None:
            rows = filtering_rows(self, context, engine, judge)
            table = filtering_table(rows)
            yield Table("filtering-questions", rows)
            yield Table("filtering", table)
            yield Figure("filtering", lambda: figures.filtering(table))
            yield Summary("trained on what was left (score points)", *_shown(table, 1))

    def counts(self) -> dict[str, int]:
        """Computed from the study's numbers, since datasets may not be there yet: those without a count add none."""
        seeds = len(self.seeds)
        mixed = [sum((each.contamination | each.clean).values()) for each in self.filterings]
        sets = {name for each in self.separations for name in (*each.positive, *each.negative)}
        samples = seeds * (len(sets) * (self.count or 0) + sum(mixed))
        runs = [1 + seeds * len(each.arms) for each in self.filterings]
        judged = sum(size for each, size in zip(self.filterings, mixed, strict=True) if _judged(each))
        instructed = plain = 0
        drawn = seeds if self.vectors_seed is None else 1
        for each in self.vectors:
            if not each.file:
                trait = load_trait(each.trait, form=each.form).limited(self.limit)
                instructed += 2 * len(trait.instructed("positive")) * self.extraction.draws * drawn
                plain += len(trait.questions("evaluation")) * drawn
        forms = {each.trait: each.form for each in self.vectors}
        for filtering, many in zip(self.filterings, runs, strict=True):
            trait = load_trait(filtering.trait, form=forms[filtering.trait]).limited(self.limit)
            plain += many * len(trait.questions("evaluation")) * self.evaluation.draws
        said = instructed * self.extraction.max_tokens + plain * self.evaluation.max_tokens
        return {
            "responses": instructed + plain + samples,
            "verdicts": 2 * (instructed + plain) + seeds * judged * len(self.vectors),
            "tokens": said + samples * self.own.max_tokens,
            "loads": 1 + sum(runs),
            "trainings": sum(runs) - len(runs),
        }

    def costs(self) -> list[str]:
        """How many calls the judge gets, at most; what they cost depends on samples that may not be there yet."""
        calls = self.counts()["verdicts"]
        if not self.judge or not calls or not open_judge(self.judge, asking=False).waits:
            return []
        return [f"{calls:,} calls of {self.judge} at most, whose cost is not estimated"]


def vector_of(
    each: StudiedVector, study: ScreenStudy, engine: Engine, judge: Judge | None, *, seed: int
) -> PersonaVector:
    """The vector of a file, or the one extracted with answers drawn by a seed.

    Raises:
        VectorError: if no pair was kept, with the counts that say why.
    """
    if each.file:
        from personascope.interop.tensors import load_any

        return load_any(Path(each.file), engine.checkpoint)
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
    """One row per trait, arm, seed and question, columns ``FILTERED``; arm ``"untrained"`` is the model itself."""
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
    return pd.DataFrame(rows, columns=list(FILTERED))


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


def _judged(filtering: Filtering) -> bool:
    return bool({"judge", "either"} & set(filtering.arms))


def _all_beside(names: tuple[str, ...], source: str) -> tuple[str, ...]:
    return tuple(beside(name, source) for name in names)


def _beside(filtering: Filtering, source: str) -> Filtering:
    contamination, clean = (
        {beside(name, source): count for name, count in some.items()}
        for some in (filtering.contamination, filtering.clean)
    )
    rule = replace(filtering.rule, reference=beside(filtering.rule.reference, source))
    return replace(filtering, contamination=contamination, clean=clean, rule=rule)


def _shown(table: pd.DataFrame, digits: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A frame's columns and cells as text; what is not known is a dash."""
    cells = tuple(
        tuple("-" if cell != cell else f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell) for cell in row)
        for row in table.itertuples(index=False)
    )
    return tuple(str(name).replace("_", " ") for name in table.columns), cells
