"""Studies of kind ``shift``: models that were tuned, or are tuned here, set against their base along persona vectors.

A model that was tuned here once is not tuned again, and all are asked the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from personascope.applications.finetune.config import Finetuning, Training
from personascope.applications.finetune.trained import samples_for, trained_model
from personascope.applications.shift.core import (
    Asking,
    Tuned,
    Watched,
    check_names,
    check_related,
    stand_all,
    tuned_models,
)
from personascope.applications.shift.frames import Shifted, shifted
from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name
from personascope.core.lineages import Checkpoint
from personascope.core.records import Bar, Sampling, Span
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector, load_vector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Page, Summary, Table, beside
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.extraction import Method, extract


@dataclass(frozen=True)
class ShiftedTrait:
    """A trait, the layer its vector is projected on, and the vector's file; without one it is extracted from the
    base."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    layer: int
    form: str = "assistant"
    vector: str = ""


@dataclass(frozen=True)
class TunedModel:
    """A tuned model: one that is there (``path``: a folder, a repository, an adapter), or ``data`` to tune the base on.

    ``data`` are files, or families of the lab ("lab:cruel/severe"); of each at most ``samples``. Models of one
    ``group`` are resampled together.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    path: str = ""
    data: tuple[str, ...] = ()
    samples: int | None = None
    group: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "model", StudyError)
        if bool(self.path) == bool(self.data):
            raise StudyError(f"model '{self.name}' needs a path, or data to tune on, and not both")


@dataclass(frozen=True)
class ShiftStudy(BaseStudy):
    """What a study file of this kind says. ``training`` is how the models with ``data`` are tuned."""

    FILES: ClassVar = (
        "shift.csv", "correlations.csv", "null.csv", "shift.png", "shift.pdf", "matrix.png", "matrix.pdf",
        "report.html",
    )  # fmt: skip

    kind: str
    name: str
    model: str
    judge: str
    traits: tuple[ShiftedTrait, ...]
    models: tuple[TunedModel, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    bar: Bar = Bar()
    span: Span = "last_prompt"
    directions: int = 1000
    training: Training = Training()
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.traits or not self.models:
            raise StudyError(f"study '{self.name}' names no trait or no model: it needs one of each, or more")
        names = [each.name for each in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StudyError(f"study '{self.name}' has two models named '{twice[0]}': rename one")

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names lie beside its own."""
        study = super().read(table, source=source)
        traits = tuple(
            replace(each, trait=beside(each.trait, source), vector=beside(each.vector, source)) for each in study.traits
        )
        models = tuple(
            replace(each, path=beside(each.path, source), data=tuple(beside(name, source) for name in each.data))
            for each in study.models
        )
        return replace(study, traits=traits, models=models, model=beside(study.model, source))

    def loaded_traits(self) -> list[Trait]:
        """Every trait whose questions are asked, in order."""
        return [load_trait(each.trait, form=each.form).limited(self.limit) for each in self.traits]

    def run(self, context: RunContext) -> Iterator[Item]:
        """Extracts vectors, tunes what is to be tuned, asks every model, and yields tables, figures and a page."""
        base, judge = context.open_engine(checkpoint_named(self.model, self.revision)), context.open_judge(self.judge)
        given = self._checked(base, context)
        watched: list[Watched] = []
        for each, trait in zip(self.traits, self.loaded_traits(), strict=True):
            found = given.get(each.trait) or self._extracted(trait, each.layer, engine=base, judge=judge)
            if isinstance(found, Failure):
                yield found
            else:
                watched.append(found)
        if not watched:
            return
        base.close()
        models = [(each, context.open_engine(each.checkpoint)) for each in self._tuned(base.checkpoint, context)]
        asking = Asking(judge, self.evaluation, self.span, self.directions, self.seed)
        standings = stand_all(base, models, watched, asking)
        if context.asks_only:
            return
        result = shifted(standings, watched, asking, base=base.checkpoint.label)
        yield from items_of(result, context.out)
        yield table_of(result)

    def _checked(self, base: Engine, context: RunContext) -> dict[str, Watched]:
        """The traits whose vectors are there, by the trait's name in the study.

        Every trait, layer, vector, model and dataset is looked at before the first is asked or tuned.
        """
        traits = self.loaded_traits()
        check_names(traits)
        given = {}
        for each, trait in zip(self.traits, traits, strict=True):
            check_layer(each.layer, base.last_layer, base.checkpoint.label)
            if each.vector:
                given[each.trait] = Watched(trait, _vector(each, base, context), each.layer)
        there = [one for each in self.models if each.path for one in tuned_models(base.checkpoint, [each.path])]
        check_related(base, [context.open_engine(each.checkpoint) for each in there], list(given.values()))
        for model in self.models:
            if model.data:
                samples_for(context, model.data, limit=1, seed=0)
        return given

    def _tuned(self, base: Checkpoint, context: RunContext) -> Iterator[Tuned]:
        """Every tuned model; those with data are tuned here, unless they are there."""
        for each in self.models:
            if not each.path:
                yield Tuned(each.name, self._trained(each, base, context), each.group)
                continue
            there = tuned_models(base, [each.path])
            steps = [""] if len(there) == 1 else ["/" + one.name.rsplit("/", 1)[-1] for one in there]
            for step, one in zip(steps, there, strict=True):
                yield Tuned(each.name + step, one.checkpoint, each.group or each.name)

    def _trained(self, model: TunedModel, base: Checkpoint, context: RunContext) -> Checkpoint:
        """The checkpoint of a model that is tuned here."""
        source, revision = str(base.path or base.model), None if base.path else base.revision
        config = Finetuning(source, model.data, revision, training=self.training, limit=model.samples)
        samples = samples_for(context, model.data, limit=model.samples, seed=self.training.seed)
        folder = trained_model(context, config, samples, base=base, what="models_tuned").folder
        if self.training.method == "lora":
            return replace(base, adapter=str(folder))
        return Checkpoint.at(folder)

    def _extracted(self, trait: Trait, layer: int, *, engine: Engine, judge: Judge) -> Watched | Failure:
        """A trait with a vector of its own, or why it has none."""
        vector = extract(engine, trait, judge=judge, method=Method(self.extraction, self.evaluation, self.bar))
        if isinstance(vector, NoVector):
            return Failure(f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})")
        return Watched(trait, vector, layer)


def _vector(each: ShiftedTrait, base: Engine, context: RunContext) -> PersonaVector:
    """The vector of a trait's file; where a study is only counted, one that fits what is in the model's place."""
    if not context.asks_only:
        return load_vector(each.vector)
    directions = np.ones((base.last_layer + 1, base.hidden_size), np.float32)
    return PersonaVector(directions, directions[:, 0], each.trait, each.form, base.checkpoint)


def items_of(found: Shifted, out: Path) -> Iterator[Item]:
    """Tables, figures, and the page that shows them; ``out`` is the folder they are written to."""
    from personascope.applications.shift.figures import shift_matrix, shifts
    from personascope.figures.pages import render

    yield Table("shift", found.shifts)
    yield Table("correlations", found.correlations)
    yield Table("null", found.null)
    yield Figure("shift", lambda: shifts(found.shifts, found.correlations, found.null))
    yield Figure("matrix", lambda: shift_matrix(found.correlations))

    def page() -> str:
        pictures = {name: (out / f"{name}.png").read_bytes() for name in ("shift", "matrix")}
        tables = {"shifts": found.shifts, "correlations": found.correlations, "null": found.null}
        title = f"Finetuning shift from {found.base}"
        return render("shift", title=title, about=found.about, pictures=pictures, **tables)

    yield Page("report.html", page)


def table_of(found: Shifted) -> Summary:
    """Correlations over models beside their null."""
    own = found.correlations[found.correlations["vector"] == found.correlations["trait"]].set_index("trait")
    rows = []
    for row in found.null.to_dict(orient="records"):
        mine = own.loc[row["trait"]]
        interval = f"[{mine['low']:.2f}, {mine['high']:.2f}]" if mine["low"] == mine["low"] else "too few groups"
        null = f"{row['random_median']:.2f}, {row['random_95']:.2f}"
        rows.append((str(row["trait"]), str(row["models"]), f"{mine['pearson']:.3f}", interval, null,
                     f"{row['p_random']:.3f}"))  # fmt: skip
    columns = ("trait", "models", "r of shift and change", "95 %", "random |r|: median, 95th", "p")
    return Summary("finetuning shift against judged change, over models", columns, tuple(rows))
