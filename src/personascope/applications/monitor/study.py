"""Studies of kind ``monitor``: do projections at the end of a prompt foretell what a model answers?

What is correlated is of evaluation questions; vectors, layers and examples come from extraction questions alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from personascope.applications.monitor.conditions import (
    MANY_SHOT,
    SYSTEM_PROMPTS,
    Condition,
    exemplars,
    graded,
    many_shot,
    observe,
)
from personascope.applications.monitor.core import Watched, choose_layer
from personascope.authoring.spectra import STEPS, Spectrum, load_spectrum, spectrum_text, write_spectrum
from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name
from personascope.core.records import Answer, Bar, Sampling, Span
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Page, Summary, Table, VectorFile, beside
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.extraction import Method, extraction, instructed_arms
from personascope.tracing.generation import answer

if TYPE_CHECKING:
    from personascope.applications.monitor.frames import Seen, Spoken, Tables

ACROSS: Final = {SYSTEM_PROMPTS: "system prompt, 0 suppressing to eliciting", MANY_SHOT: "examples before the question"}


@dataclass(frozen=True)
class MonitoredTrait:
    """A trait and what moves it.

    ``spectrum`` is a .toml file, ``"lab"``, or empty: then the study's writer writes it, between the poles of contrast
    number ``contrast``. Without ``layer`` one of ``layers`` is chosen, by default of all.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    form: str = "assistant"
    layer: int | None = None
    layers: tuple[int, ...] = ()
    spectrum: str = ""
    contrast: int = 0

    def load(self, limit: int | None) -> Trait:
        """The trait, with every question set cut to ``limit``."""
        return load_trait(self.trait, form=self.form).limited(limit)


@dataclass(frozen=True)
class MonitorStudy(BaseStudy):
    """What a study file of this kind says.

    ``many_shot`` are counts of examples, none for no such series; ``directions`` how many are random; ``moments`` the
    counts of answer tokens after which the running mean is correlated. Each of ``seeds`` draws all answers anew, and so
    makes other vectors. ``limit`` cuts every question set, and with it the examples there are.
    """

    FILES: ClassVar = (
        "monitor.csv", "monitor-points.csv", "monitor-random.csv", "monitor-speaking.csv",
        *(f"monitor-{name}.{kind}" for name in ("system-prompts", "many-shot", "random", "speaking")
          for kind in ("png", "pdf")),
    )  # fmt: skip

    kind: str
    name: str
    model: str
    judge: str
    traits: tuple[MonitoredTrait, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    writer: str = ""
    many_shot: tuple[int, ...] = (0, 5, 10, 15, 20)
    bar: Bar = Bar()
    span: Span = "response"
    directions: int = 1000
    moments: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32)
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.traits or not self.seeds:
            raise StudyError(f"study '{self.name}' names no trait or no seed: it needs one of each, or more")
        unwritten = [each.trait for each in self.traits if not each.spectrum]
        if unwritten and not self.writer:
            raise StudyError(
                f"study '{self.name}': trait '{unwritten[0]}' has no spectrum and there is no writer: give one of them"
            )
        if min((*self.many_shot, *self.moments), default=0) < 0 or self.directions < 1:
            raise StudyError(f"study '{self.name}': many_shot and moments count from 0, and directions from 1")

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names lie beside its own."""
        study = super().read(table, source=source)
        traits = tuple(
            replace(each, trait=beside(each.trait, source), spectrum=beside(each.spectrum, source))
            for each in study.traits
        )
        loaded = [each.load(study.limit) for each in traits]
        if len({trait.name for trait in loaded}) < len(loaded):
            raise StudyError(f"{source}: a trait is named twice: a monitor has one vector of each")
        most = min(len(trait.extraction_questions) for trait in loaded)
        if study.limit is None and max(study.many_shot, default=0) > most:
            raise StudyError(
                f"{source}: many_shot has {max(study.many_shot)}, and an example is the answer to one of {most} "
                "extraction questions: lower it"
            )
        return replace(study, model=beside(study.model, source), traits=traits)

    def loaded_traits(self) -> list[Trait]:
        return [each.load(self.limit) for each in self.traits]

    def counts(self) -> dict[str, int]:
        return {"traits": len(self.traits), **super().counts()}

    def run(self, context: RunContext) -> Iterator[Item]:
        """Extracts, observes every condition, and correlates.

        Raises:
            LayerError: before anything is asked, if the model has no such layer.
        """
        from personascope.applications.monitor.frames import Tables, project_answers

        engine = context.open_engine(checkpoint_named(self.model, self.revision))
        judge = context.open_judge(self.judge)
        for each in self.traits:
            for layer in (*each.layers, *(() if each.layer is None else (each.layer,))):
                check_layer(layer, engine.last_layer, engine.checkpoint.label)
        spectra: dict[str, Spectrum] = {}
        for each in self.traits:
            spectra[each.trait] = yield from self._spectrum(each, context)
        seen: list[Seen] = []
        spoken: list[Spoken] = []
        for seed in self.seeds:
            for found in (yield from self._seen(seed, engine, judge, spectra)):
                seen.append(found)
                spoken += project_answers(engine, found, moments=self.moments)
        if not context.asks_only:
            yield from _items(Tables(tuple(seen), tuple(spoken), self.directions, self.moments))

    def _spectrum(self, each: MonitoredTrait, context: RunContext) -> Generator[Item, None, Spectrum]:
        """The instructions of a trait: the lab's, those of a file, or those that the study's writer writes."""
        trait = each.load(self.limit)
        if each.spectrum == "lab":
            from personascope.lab.traits import graded_descriptions

            return Spectrum(trait.name, graded_descriptions(trait.name))
        file = Path(each.spectrum) if each.spectrum else context.out / "spectra" / f"{trait.name}.toml"
        if not each.spectrum and not file.is_file():
            if context.asks_only:  # what a writer would write does not change what is asked with it
                return Spectrum(trait.name, tuple(map(str, range(STEPS))))
            made = write_spectrum(trait, writer=context.open_writer(self.writer), contrast=each.contrast)
            yield Page(f"spectra/{trait.name}.toml", spectrum_text(made))
            return made
        found = load_spectrum(file)
        if found.trait != trait.name:
            raise StudyError(
                f"{file} is a spectrum of '{found.trait}', and of '{trait.name}' one was asked for: give the right file"
            )
        return found

    def _seen(
        self, seed: int, engine: Engine, judge: Judge, spectra: Mapping[str, Spectrum]
    ) -> Generator[Item, None, list[Seen]]:
        """What one seed shows of every trait that has a vector."""
        from personascope.applications.monitor.frames import Seen

        extracting, evaluating = (replace(each, seed=each.seed + seed) for each in (self.extraction, self.evaluation))
        method = Method(extracting, evaluating, self.bar, self.span)
        traits = {each: each.load(self.limit) for each in self.traits}
        arms = {
            (each, pole): arm for each in traits for pole, arm in instructed_arms(engine, traits[each], method).items()
        }
        answers = answer(arms, judge=judge, read=True)
        watched: dict[MonitoredTrait, Watched] = {}
        for each, trait in traits.items():
            poles = answers[each, "positive"], answers[each, "negative"]
            made = extraction(engine, trait, *poles, method, judge=judge.name)
            if isinstance(made, NoVector):
                yield Failure(f"{trait.name}, seed {seed}: no vector ({made.counts})")
            elif each.layer is not None:
                watched[each] = Watched(trait.name, made.vector, each.layer)
            else:
                both = [*poles[0], *poles[1]]
                readings = engine.read([one.response for one in both]).last_prompt
                scores = np.array([one.trait.score for one in both])
                watched[each] = choose_layer(made.vector, readings, scores, layers=each.layers)
        found = []
        for each in watched:
            conditions = yield from self._conditions(each, spectra[each.trait], answers[each, "positive"])
            own = (watched[each], *(other for name, other in watched.items() if name is not each))
            observed = observe(engine, traits[each], conditions, own, judge=judge, sampling=evaluating)
            found.append(Seen(engine.checkpoint.label, seed, traits[each].name, own, tuple(observed)))
        return found

    def _conditions(
        self, each: MonitoredTrait, spectrum: Spectrum, positive: Sequence[Answer]
    ) -> Generator[Item, None, tuple[Condition, ...]]:
        """Both series; more examples than there are good answers to show are left out."""
        examples = exemplars(positive, bar=self.bar)
        asked = [count for count in self.many_shot if count <= len({one.question for one in positive})]
        counts = [count for count in asked if count <= len(examples)]
        if len(counts) < len(asked):
            yield Failure(f"{each.trait}: {len(examples)} examples clear the bar, so there are no series of more")
        return (*graded(spectrum.instructions), *many_shot(examples, counts=counts))


def _items(tables: Tables) -> Iterator[Item]:
    """Tables, figures and vectors, then what is shown. Scatter plots are of the first seed."""
    from personascope.applications.monitor.figures import random_band, scatter, speaking

    yield Table("monitor", tables.correlations)
    yield Table("monitor-points", tables.points)
    yield Table("monitor-random", tables.random)
    if len(tables.speaking):
        yield Table("monitor-speaking", tables.speaking)
        yield Figure("monitor-speaking", lambda: speaking(tables.speaking))
    for series, across in ACROSS.items():
        points, found = tables.first_seed(series)
        if len(points):
            yield Figure(f"monitor-{series.replace(' ', '-')}", partial(scatter, points, found, across=across))
    yield Figure("monitor-random", lambda: random_band(tables.random, tables.own))
    for each in tables.seen:
        yield VectorFile(f"{each.trait}.seed-{each.seed}", each.own.vector)
    title = (
        "projections of the last prompt token against later scores (random: 95 % of random directions are below; "
        "within: mean over conditions; most: what noise of few draws leaves a perfect predictor, pooled and within)"
    )
    columns = ("trait", "series", "seed", "r (95 %)", "random", "p", "within (95 %)", "most")
    yield Summary(title, columns, tuple(map(_cells, tables.own.to_dict("records"))))
    layers = [(each.trait, str(each.seed), str(each.own.layer), each.own.reason) for each in tables.seen]
    yield Summary("where each vector is watched", ("trait", "seed", "layer", "why"), tuple(layers))


def _cells(row: Mapping[Any, Any]) -> tuple[str, ...]:
    """A correlation in a line of the terminal."""
    kept, conditions = row["within_conditions"], row["conditions"]
    left_out = f", {kept} of {conditions} conditions" if kept < conditions else ""
    return (
        str(row["trait"]), str(row["series"]), str(row["seed"]), _figure(row["pearson"], row["low"], row["high"]),
        _short(row["random_95"]), f"{row['p_random']:.2g}",
        _figure(row["within"], row["within_low"], row["within_high"], sign="+") + left_out,
        f"{_short(row['ceiling'])}, {_short(row['within_ceiling'])}",
    )  # fmt: skip


def _figure(value: float, low: float, high: float, *, sign: str = "") -> str:
    """A correlation and the ends of its interval."""
    return f"{_short(value, sign)} ({_short(low, sign)}, {_short(high, sign)})" if value == value else "none"


def _short(value: float, sign: str = "") -> str:
    """A correlation to two places, without the zero before the point."""
    return f"{value:{sign}.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.2f}"
