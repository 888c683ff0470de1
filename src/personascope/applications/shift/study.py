"""Studies of kind ``shift``: models that were tuned, or are tuned here, set against their base along persona vectors.

Owns: :class:`ShiftStudy`. The one law: a model that was tuned here once is not tuned again, and all are asked the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from personascope.applications.finetune.config import Finetuning, Training
from personascope.applications.shift import models as _shifting
from personascope.core.errors import StudyError
from personascope.core.files import check_name, value_of
from personascope.core.records import Bar, Sampling, Span
from personascope.core.vectors import NoVector, load_vector
from personascope.studies.context import Report, Table, Workplace, checkpoint_named
from personascope.studies.registry import beside

if TYPE_CHECKING:
    from personascope.applications.shift.core import Watched
    from personascope.core.lineages import Checkpoint
    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.judges import Judge

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
    from personascope.applications.shift.models import Asking, shifted, write

    base, judge = place.open_engine(checkpoint_named(study.model, study.revision)), place.open_judge(study.judge)
    given = _checked(study, base, place)
    found = [given.get(each.trait) or _extracted(study, each, engine=base, judge=judge) for each in study.traits]
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
        interval = f"[{mine['low']:.2f}, {mine['high']:.2f}]" if mine["low"] == mine["low"] else "too few groups"
        null = f"{row['random_median']:.2f}, {row['random_95']:.2f}"
        rows.append((str(row["trait"]), str(row["models"]), f"{mine['pearson']:.3f}", interval, null,
                     f"{row['p_random']:.3f}"))  # fmt: skip
    columns = ("trait", "models", "r of shift and change", "95 %", "random |r|: median, 95th", "p")
    return Table("finetuning shift against judged change, over models", columns, tuple(rows))


def _checked(study: ShiftStudy, base: Engine, place: Workplace) -> dict[str, Watched]:
    """The traits whose vectors are there, by the trait's name in the study.

    Every trait, layer, vector, model and dataset is looked at before the first is asked or tuned.
    """
    from personascope.applications.finetune.naming import samples_named
    from personascope.applications.shift.core import Watched, check_names, check_related
    from personascope.applications.shift.models import tuned_models
    from personascope.core.errors import check_layer

    traits = [_trait(study, each) for each in study.traits]
    check_names(traits)
    given = {}
    for each, trait in zip(study.traits, traits, strict=True):
        check_layer(each.layer, base.last_layer, base.checkpoint.label)
        if each.vector:
            given[each.trait] = Watched(trait, load_vector(each.vector), each.layer)
    there = [one for each in study.models if each.path for one in tuned_models(base.checkpoint, [each.path])]
    check_related(base, [place.open_engine(each.checkpoint) for each in there], list(given.values()))
    for model in study.models:
        if model.data:
            samples_named(model.data, limit=1)
    return given


def _tuned(study: ShiftStudy, base: Engine, place: Workplace) -> list[_shifting.Tuned]:
    """Every tuned model; those with data are tuned here, unless they are there."""
    from personascope.applications.shift.models import Tuned, tuned_models

    found = []
    for each in study.models:
        if each.path:
            there = tuned_models(base.checkpoint, [each.path])
            steps = [""] if len(there) == 1 else ["/" + one.name.rsplit("/", 1)[-1] for one in there]
            found += [
                Tuned(each.name + step, one.checkpoint, each.group or each.name)
                for one, step in zip(there, steps, strict=True)
            ]
        else:
            found.append(Tuned(each.name, _trained(study, each, base, place), each.group))
    return found


def _trained(study: ShiftStudy, model: TunedModel, base: Engine, place: Workplace) -> Checkpoint:
    """The checkpoint of a model that is tuned here."""
    from personascope.applications.finetune.naming import samples_named
    from personascope.core.lineages import Checkpoint

    source = str(base.checkpoint.path or base.checkpoint.model)
    revision = None if base.checkpoint.path else base.checkpoint.revision
    config = Finetuning(source, model.data, revision, training=study.training, limit=model.samples)
    samples = samples_named(model.data, limit=model.samples, seed=study.training.seed)
    folder = place.tuned(config, samples, base=base.checkpoint).folder
    if study.training.method == "lora":
        return replace(base.checkpoint, adapter=str(folder))
    return Checkpoint.at(folder)


def _extracted(study: ShiftStudy, each: ShiftedTrait, *, engine: Engine, judge: Judge) -> Watched | str:
    """A trait with a vector of its own, or why it has none."""
    from personascope.applications.shift.core import Watched
    from personascope.tracing.extraction import Method, extract

    trait = _trait(study, each)
    vector = extract(engine, trait, judge=judge, method=Method(study.extraction, study.evaluation, study.bar))
    if isinstance(vector, NoVector):
        return f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})"
    return Watched(trait, vector, each.layer)


def _trait(study: ShiftStudy, each: ShiftedTrait) -> Trait:
    from personascope.core.traits import load_trait

    return load_trait(each.trait, form=each.form).limited(study.limit)
