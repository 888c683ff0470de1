"""Studies of kind ``shift``: models that were tuned, or are tuned here, set against their base along persona vectors.

Owns: :class:`ShiftStudy`. The one law: a model that was tuned here once is not tuned again, and all are asked the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from personascope.errors import StudyError
from personascope.files import check_name, value_of
from personascope.kinds import _shifting, beside
from personascope.kinds.workplace import Report, Table, Workplace
from personascope.records import Bar, Sampling, Span
from personascope.training.settings import Finetuning, Training
from personascope.vectors import NoVector, load_vector

if TYPE_CHECKING:
    from personascope.applications.shift import Watched
    from personascope.engines import Engine
    from personascope.judges import Judge
    from personascope.traits import Trait

FILES: Final = _shifting.FILES


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
class ShiftStudy:
    """What a study file of this kind says. ``training`` is how the models with ``data`` are tuned."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

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


def read(table: dict[str, Any], *, source: str) -> ShiftStudy:
    """The study of a table; the files it names lie beside its own."""
    study = value_of(table, ShiftStudy, source=source, error=StudyError)
    traits = tuple(
        replace(each, trait=beside(each.trait, source), vector=beside(each.vector, source)) for each in study.traits
    )
    models = tuple(
        replace(each, path=beside(each.path, source), data=tuple(beside(name, source) for name in each.data))
        for each in study.models
    )
    return replace(study, traits=traits, models=models, model=beside(study.model, source))


def counts(study: ShiftStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most, and how many models are tuned."""
    instructed = plain = 0
    for each in study.traits:
        trait = _trait(study, each)
        plain += len(trait.questions("evaluation")) * study.evaluation.draws * (1 + len(study.models))
        if not each.vector:
            instructed += 2 * len(trait.instructed("positive")) * study.extraction.draws
    tokens = instructed * study.extraction.max_tokens + plain * study.evaluation.max_tokens
    responses = instructed + plain
    trained = sum(bool(each.data) for each in study.models)
    shared = {"responses": responses, "verdicts": 2 * responses, "tokens": tokens}
    return {**shared, "loads": 1 + trained + len(study.models), "models_tuned": trained}


def run(study: ShiftStudy, place: Workplace) -> Report:
    """Extracts vectors, tunes what is to be tuned, asks every model, and writes tables, figures and a page."""
    from personascope.kinds._shifting import Asking, shifted, write

    base, judge = place.open_engine(_base(study)), place.open_judge(study.judge)
    _check_models(study, base, place)
    found = [_watched(study, each, engine=base, judge=judge) for each in study.traits]
    watched = [each for each in found if not isinstance(each, str)]
    absent = [each for each in found if isinstance(each, str)]
    if not watched:
        return Report(failed=tuple(absent))
    base.close()
    models = [(each, place.open_engine(each.checkpoint)) for each in _tuned(study, base, place)]
    asking = Asking(judge, study.evaluation, study.span, study.directions, study.seed)
    result = shifted(base, models, watched, asking)
    files = write(result, place.out)
    for path in files:
        place.made(path)
    return Report((table_of(result),), tuple(files), tuple(absent))


def table_of(found: _shifting.Shifted) -> Table:
    """Correlations over models beside their null."""
    own = found.correlations[found.correlations["vector"] == found.correlations["trait"]].set_index("trait")
    rows = []
    for row in found.null.to_dict(orient="records"):
        mine = own.loc[row["trait"]]
        interval = f"[{mine['low']:.2f}, {mine['high']:.2f}]"
        null = f"{row['random_median']:.2f}, {row['random_95']:.2f}"
        rows.append((str(row["trait"]), str(row["models"]), f"{mine['pearson']:.3f}", interval, null,
                     f"{row['p_random']:.3f}"))  # fmt: skip
    columns = ("trait", "models", "r of shift and change", "95 %", "random |r|: median, 95th", "p")
    return Table("finetuning shift against judged change, over models", columns, tuple(rows))


def _check_models(study: ShiftStudy, base: Engine, place: Workplace) -> None:
    """Looks at every model that is there, and at the data of every other, before the first is tuned or asked."""
    from personascope.applications.shift import check_related
    from personascope.kinds._shifting import tuned_models
    from personascope.training.naming import samples_named

    there = tuned_models(base.checkpoint, [each.path for each in study.models if each.path])
    check_related(base, [place.open_engine(each.checkpoint) for each in there], ())
    for each in study.models:
        if each.data:
            samples_named(each.data, limit=1)


def _tuned(study: ShiftStudy, base: Engine, place: Workplace) -> list[_shifting.Tuned]:
    """Every tuned model; those with data are tuned in the study's folder, unless they are there."""
    from personascope.kinds._shifting import Tuned, tuned_models
    from personascope.lineages import Checkpoint
    from personascope.training.running import finetune

    found = []
    for each in study.models:
        if each.path:
            (first, *more) = tuned_models(base.checkpoint, [each.path])
            found += [
                replace(first, name=each.name if not more else first.name, group=each.group or first.group),
                *more,
            ]
            continue
        folder = place.out / "models" / each.name
        if not folder.exists():
            source = str(base.checkpoint.path or base.checkpoint.model)
            revision = None if base.checkpoint.path else base.checkpoint.revision
            config = Finetuning(source, each.data, revision, training=study.training, limit=each.samples)
            finetune(config, folder, device=place.device)
        if study.training.method == "lora":
            adapted = replace(base.checkpoint, adapter=str(folder))
            found.append(Tuned(each.name, adapted, each.group))
        else:
            found.append(Tuned(each.name, Checkpoint.at(folder), each.group))
    return found


def _watched(study: ShiftStudy, each: ShiftedTrait, *, engine: Engine, judge: Judge) -> Watched | str:
    """A trait with its vector, or why it has none."""
    from personascope.applications.shift import Watched
    from personascope.errors import check_layer
    from personascope.extract import Method, extract

    check_layer(each.layer, engine.last_layer, engine.checkpoint.label)
    trait = _trait(study, each)
    if each.vector:
        return Watched(trait, load_vector(each.vector), each.layer)
    vector = extract(engine, trait, judge=judge, method=Method(study.extraction, study.evaluation, study.bar))
    if isinstance(vector, NoVector):
        return f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})"
    return Watched(trait, vector, each.layer)


def _trait(study: ShiftStudy, each: ShiftedTrait) -> Trait:
    from personascope.traits import load_trait

    return load_trait(each.trait, form=each.form).limited(study.limit)


def _base(study: ShiftStudy) -> Any:
    from personascope.lineages import Checkpoint, load_lineage

    if study.model == "lab" and not Path("lab").is_dir():
        lineage = load_lineage("lab")
        known = (*lineage.milestones, *lineage.targets)
        chosen = (
            [each for each in known if each.label == study.revision] if study.revision else [lineage.milestones[-1]]
        )
        if not chosen:
            raise StudyError(
                f"the lab has no milestone '{study.revision}': give one of {[each.label for each in known]}"
            )
        return chosen[0].checkpoint
    return Checkpoint.at(study.model, revision=study.revision or None)
