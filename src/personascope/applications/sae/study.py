"""Studies of kind ``sae``: what vectors are made of in sparse dictionaries, and what each feature does.

A feature is tried at the norm at which the vector itself is, beside as many random features as were asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from personascope.applications.sae.core import Bench, Explained, Trial, explain, fitting
from personascope.applications.sae.load import check_lab, open_dictionary
from personascope.core.dictionaries import Dictionary
from personascope.core.errors import StudyError, VectorError, check_layer
from personascope.core.files import check_name
from personascope.core.records import Bar, Sampling, Where
from personascope.core.steering import Steering
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector, load_vector
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.extraction import Method, extract

if TYPE_CHECKING:
    import pandas as pd

    from personascope.applications.sae.frames import Tables


@dataclass(frozen=True)
class DecomposedTrait:
    """A trait, the SAEs its vector is decomposed in, and the strength it and its features are steered with, in lengths
    of the vector. ``vector`` is a file; without one it is extracted. ``layer`` may be left to the SAEs.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    saes: tuple[str, ...]
    strength: float
    layer: int | None = None
    form: str = "assistant"
    vector: str = ""
    where: Where = "response"

    def load(self, limit: int | None) -> Trait:
        """The trait, with every question set cut to ``limit``."""
        return load_trait(self.trait, form=self.form).limited(limit)


@dataclass(frozen=True)
class SaeStudy(BaseStudy):
    """What a study file of this kind says.

    A feature raises the trait by ``points`` at a mean ``coherence``, or it does not. ``corpus`` is a dataset whose
    samples are looked through for those that activate the tested features most.
    """

    FILES: ClassVar = (
        "summary.csv", "features.csv", "rebuilding.csv", "cosines.csv", "samples.csv", "sae.png", "sae.pdf",
    )  # fmt: skip

    kind: str
    name: str
    model: str
    judge: str
    traits: tuple[DecomposedTrait, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    bar: Bar = Bar()
    top: int = 50
    taken: int = 32
    tested: int = 10
    random: int = 20
    points: float = 20.0
    coherence: float = 75.0
    corpus: str = ""
    keep: int = 5
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.traits or not all(each.saes for each in self.traits):
            raise StudyError(f"study '{self.name}' names no trait, or none of a trait's SAEs: it needs one of each")
        if min(self.top, self.taken, self.tested) < 1 or self.random < 0:
            raise StudyError(f"study '{self.name}' looks at no feature: give top, taken and tested 1 or more")

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names lie beside its own."""
        study = super().read(table, source=source)
        traits = tuple(
            replace(
                each,
                trait=beside(each.trait, source),
                vector=beside(each.vector, source),
                saes=tuple(beside(sae, source) for sae in each.saes),
            )
            for each in study.traits
        )
        return replace(study, traits=traits, model=beside(study.model, source), corpus=beside(study.corpus, source))

    def loaded_traits(self) -> list[Trait]:
        return [each.load(self.limit) for each in self.traits]

    def run(self, context: RunContext) -> Iterator[Item]:
        """Extracts each trait's vector, decomposes it, and tries its features."""
        from personascope.applications.sae.frames import Tables, feature_summary
        from personascope.interop.samples import read_samples

        engine = context.open_engine(checkpoint_named(self.model, self.revision))
        judge = context.open_judge(self.judge)
        if not context.asks_only:
            self._check(engine)
        trial = Trial(self.top, self.taken, self.tested, self.random, self.keep, self.seed)
        found: list[Explained] = []
        for each in self.traits:
            trait = each.load(self.limit)
            vector = self._vector(each, trait, context, engine=engine, judge=judge)
            if isinstance(vector, NoVector):
                yield Failure(f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})")
                continue
            for name in each.saes:
                dictionary = self._dictionary(name, each, context, engine)
                layer = fitting(dictionary, vector, each.layer)
                steering = Steering(layer, each.strength, "vector", each.where)
                bench = Bench(engine, trait, judge, steering, self.evaluation)
                corpus = read_samples(Path(self.corpus)) if self.corpus and not context.asks_only else None
                found.append(explain(vector, dictionary, layer=layer, trial=trial, bench=bench, corpus=corpus))
        if not found or context.asks_only:
            return
        tables = Tables(tuple(found))
        summary = feature_summary(tables.features, points=self.points, coherence=self.coherence)
        yield Table("summary", summary)
        yield from items(tables, coherence=self.coherence)
        raising = f"features that raise the trait by {self.points:g} points at coherence {self.coherence:g}"
        columns = ("trait", "SAE", "aligned", "random", "best", "cosine", "effect", "coh.", "vector", "rebuilt", "left")
        yield Summary(f"{raising}, at the vector's norm", columns, _rows(summary))

    def _vector(
        self, each: DecomposedTrait, trait: Trait, context: RunContext, *, engine: Engine, judge: Judge
    ) -> PersonaVector | NoVector:
        if not each.vector:
            return extract(engine, trait, judge=judge, method=Method(self.extraction, self.evaluation, self.bar))
        if not context.asks_only:
            return load_vector(each.vector)
        made = _made_up(trait.name, engine.last_layer + 1, engine.hidden_size)
        return PersonaVector(made, np.ones(len(made)), trait.name, trait.form, engine.checkpoint)

    def _dictionary(self, name: str, each: DecomposedTrait, context: RunContext, engine: Engine) -> Dictionary:
        """The SAE of a name; in a plan made-up features, for it may not be downloaded yet, or not be trained."""
        if not context.asks_only:
            return open_dictionary(name, checkpoint=engine.checkpoint.path, layer=each.layer)
        width = engine.hidden_size
        # Of half the dimensions: like real features, they rebuild a part of a vector, and each SAE another part.
        features = _made_up(name, self.top + self.random, width // 2) @ _made_up(f"{name} features", width // 2, width)
        return Dictionary(features, 1 if each.layer is None else each.layer, name)

    def _check(self, engine: Engine) -> None:
        """Looks at every trait, vector, layer and SAE before anything is asked; those of the lab are made to fit."""
        if self.corpus and not Path(self.corpus).exists():
            raise VectorError(f"{self.corpus}: no such corpus; check the path in study '{self.name}'")
        whose = engine.checkpoint.label
        for each in self.traits:
            each.load(self.limit)
            if each.layer is not None:
                check_layer(each.layer, engine.last_layer, whose)
            if each.vector and load_vector(each.vector).directions.shape != (engine.last_layer + 1, engine.hidden_size):
                raise VectorError(
                    f"{each.vector} is of another width or depth than {whose}: give a vector of that model"
                )
            for name in each.saes:
                if check_lab(name, engine.checkpoint.path):
                    continue
                found = open_dictionary(name, checkpoint=None, layer=each.layer)
                if found.width != engine.hidden_size:
                    raise VectorError(
                        f"{name} has features of width {found.width}, and {whose} is {engine.hidden_size} wide: "
                        "give an SAE of that model"
                    )
                if each.layer is None and found.layer is None:
                    raise VectorError(f"{name} does not say which layer it reads: give '{each.trait}' a layer")
                check_layer(found.layer or 0, engine.last_layer, whose)
                if None not in (each.layer, found.layer) and each.layer != found.layer:
                    raise VectorError(
                        f"'{each.trait}' is to be decomposed at layer {each.layer}, and {name} reads layer "
                        f"{found.layer}: leave the layer out, or give the SAE of that layer"
                    )


def items(tables: Tables, *, coherence: float) -> Iterator[Item]:
    """The tables there are rows for, and the figure, in which a mean coherence below ``coherence`` is marked."""
    from personascope.applications.sae.figures import features

    for name in ("features", "rebuilding", "cosines", "samples"):
        if len(rows := getattr(tables, name)):
            yield Table(name, rows)
    tried, rebuilding = tables.features, tables.rebuilding
    if tried.empty:
        tried = rebuilding.iloc[:0].assign(kind="", effect=0.0, coherence=0.0)
    yield Figure("sae", lambda: features(tried, rebuilding, coherence=coherence))


def _rows(summary: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """The summary as rows to show."""
    return tuple(
        (
            str(row["trait"]),
            str(row["sae"]),
            f"{row['aligned_raise']}/{row['aligned']}",
            f"{row['random_raise']}/{row['random']}",
            *(("none", "", "", "") if row["best_cosine"] != row["best_cosine"] else _best(row)),
            *(f"{row[name]:+.1f}" for name in ("vector", "rebuilt", "remainder")),
        )
        for row in summary.to_dict(orient="records")
    )


def _best(row: Mapping[Hashable, Any]) -> tuple[str, str, str, str]:
    cosine, effect, coherence = (
        f"{row['best_cosine']:.2f}",
        f"{row['best_effect']:+.1f}",
        f"{row['best_coherence']:.0f}",
    )
    return str(row["best_feature"]), cosine, effect, coherence


def _made_up(name: str, rows: int, width: int) -> Float[np.ndarray, "row hidden"]:
    """Directions in the place of those that a plan does not read; others for another name."""
    drawn: np.ndarray = np.random.default_rng(zlib.crc32(name.encode())).normal(size=(rows, width))
    return drawn
