"""Studies of kind ``sae``: what vectors are made of in sparse dictionaries, and what each feature does.

Owns: :class:`SaeStudy`. The one law: a feature is tried at the norm at which the vector itself is, beside as many
random features as were asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from personascope.core.errors import StudyError, VectorError, check_layer
from personascope.core.files import check_name, value_of
from personascope.core.records import Bar, Sampling, Where
from personascope.core.tables import write_csv
from personascope.core.vectors import NoVector, PersonaVector, Steering, load_vector
from personascope.studies.context import Report, Table, Workplace, checkpoint_named
from personascope.studies.registry import beside

if TYPE_CHECKING:
    import pandas as pd

    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.judges import Judge

FILES: Final = (
    "summary.csv", "features.csv", "rebuilding.csv", "cosines.csv", "samples.csv", "sae.png", "sae.pdf",
)  # fmt: skip


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


@dataclass(frozen=True)
class SaeStudy:
    """What a study file of this kind says.

    A feature raises the trait by ``points`` at a mean ``coherence``, or it does not. ``corpus`` is a dataset whose
    samples are looked through for those that activate the tested features most.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

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


def read(table: dict[str, Any], *, source: str) -> SaeStudy:
    """The study of a table; the files it names lie beside its own."""
    study = value_of(table, SaeStudy, source=source, error=StudyError)
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


def counts(study: SaeStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most; the corpus is read and not asked about."""
    instructed = plain = 0
    for each in study.traits:
        trait = _trait(study, each)
        questions = len(trait.questions("evaluation")) * study.evaluation.draws
        if not each.vector:
            instructed += 2 * len(trait.instructed("positive")) * study.extraction.draws
        arms = 3 + 2 * min(study.tested, study.top) + study.random
        plain += questions * (1 + arms * len(each.saes))
    tokens = instructed * study.extraction.max_tokens + plain * study.evaluation.max_tokens
    return {"responses": instructed + plain, "verdicts": 2 * (instructed + plain), "tokens": tokens, "loads": 1}


def run(study: SaeStudy, place: Workplace) -> Report:
    """Extracts each trait's vector, decomposes it, and tries its features."""
    from personascope.applications.sae.core import fitting
    from personascope.applications.sae.features import Bench, Explained, Trial, explain, open_dictionary, write
    from personascope.applications.sae.frames import feature_summary

    engine, judge = place.open_engine(checkpoint_named(study.model, study.revision)), place.open_judge(study.judge)
    if study.corpus and not Path(study.corpus).exists():
        raise VectorError(f"{study.corpus}: no such corpus; check the path in study '{study.name}'")
    _check(study, engine)
    corpus = (Path(study.corpus), engine) if study.corpus else None
    trial = Trial(study.top, study.taken, study.tested, study.random, study.keep, study.seed)
    found, absent = Explained(), list[str]()
    for each in study.traits:
        trait = _trait(study, each)
        vector = _vector(study, each, trait, engine=engine, judge=judge)
        if isinstance(vector, NoVector):
            absent.append(f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})")
            continue
        for name in each.saes:
            dictionary = open_dictionary(name, checkpoint=engine.checkpoint.path, layer=each.layer)
            layer = fitting(dictionary, vector, each.layer)
            steering = Steering(layer, each.strength, "vector", each.where)
            bench = Bench(engine, trait, judge, steering, study.evaluation)
            explain(found, vector, dictionary, layer=layer, trial=trial, bench=bench, corpus=corpus)
    if not found.features:
        return Report(failed=tuple(absent))
    summary = feature_summary(found.joined("features"), points=study.points, coherence=study.coherence)
    write_csv(place.out / "summary.csv", summary)
    files = [place.out / "summary.csv", *write(found, place.out, coherence=study.coherence)]
    for path in files:
        place.made(path)
    return Report((table_of(summary, study.points, study.coherence),), tuple(files), tuple(absent))


def _check(study: SaeStudy, engine: Engine) -> None:
    """Looks at every trait, vector, layer and SAE before anything is asked; those of the lab are made to fit."""
    from personascope.applications.sae.features import check_lab, open_dictionary

    whose = engine.checkpoint.label
    for each in study.traits:
        _trait(study, each)
        if each.layer is not None:
            check_layer(each.layer, engine.last_layer, whose)
        if each.vector and load_vector(each.vector).directions.shape != (engine.last_layer + 1, engine.hidden_size):
            raise VectorError(f"{each.vector} is of another width or depth than {whose}: give a vector of that model")
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
                    f"'{each.trait}' is to be decomposed at layer {each.layer}, and {name} reads layer {found.layer}: "
                    "leave the layer out, or give the SAE of that layer"
                )


def table_of(summary: pd.DataFrame, points: float, coherence: float) -> Table:
    """The summary as a table to show."""
    columns = ("trait", "SAE", "aligned", "random", "best", "cosine", "effect", "coh.", "vector", "rebuilt", "left")
    rows = [
        (
            str(row["trait"]),
            str(row["sae"]),
            f"{row['aligned_raise']}/{row['aligned']}",
            f"{row['random_raise']}/{row['random']}",
            *(("none", "", "", "") if row["best_cosine"] != row["best_cosine"] else _best(row)),
            *(f"{row[name]:+.1f}" for name in ("vector", "rebuilt", "remainder")),
        )
        for row in summary.to_dict(orient="records")
    ]
    said = f"features that raise the trait by {points:g} points at coherence {coherence:g}, at the vector's norm"
    return Table(said, columns, tuple(rows))


def _best(row: Mapping[Hashable, Any]) -> tuple[str, str, str, str]:
    cosine, effect, coherence = (
        f"{row['best_cosine']:.2f}",
        f"{row['best_effect']:+.1f}",
        f"{row['best_coherence']:.0f}",
    )
    return str(row["best_feature"]), cosine, effect, coherence


def _trait(study: SaeStudy, each: DecomposedTrait) -> Trait:
    from personascope.core.traits import load_trait

    return load_trait(each.trait, form=each.form).limited(study.limit)


def _vector(
    study: SaeStudy, each: DecomposedTrait, trait: Trait, *, engine: Engine, judge: Judge
) -> PersonaVector | NoVector:
    from personascope.tracing.extraction import Method, extract

    if each.vector:
        return load_vector(each.vector)
    return extract(engine, trait, judge=judge, method=Method(study.extraction, study.evaluation, study.bar))
