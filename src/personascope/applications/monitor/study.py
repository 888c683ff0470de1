"""Studies of kind ``monitor``: do projections at the end of a prompt foretell what a model answers?

Owns: :class:`MonitorStudy`. The one law: what is correlated is of evaluation questions; vectors, layers and examples
come from extraction questions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name, value_of
from personascope.core.records import Answer, Bar, Sampling, Span
from personascope.studies.context import Report, Workplace, checkpoint_named
from personascope.studies.registry import beside

if TYPE_CHECKING:
    import pandas as pd

    from personascope.applications.monitor import Condition, Spectrum, Watched
    from personascope.applications.monitor.frames import Seen
    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.judges import Judge

FILES: Final = (
    "monitor.csv", "monitor-points.csv", "monitor-random.csv", "monitor-speaking.csv",
    *(f"monitor-{name}.{kind}" for name in ("system-prompts", "many-shot", "random", "speaking")
      for kind in ("png", "pdf")),
)  # fmt: skip


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


@dataclass(frozen=True)
class MonitorStudy:
    """What a study file of this kind says.

    ``many_shot`` are counts of examples, none for no such series; ``directions`` how many are random; ``moments`` the
    counts of answer tokens after which the running mean is correlated. Each of ``seeds`` draws all answers anew, and so
    makes other vectors. ``limit`` cuts every question set, and with it the examples there are.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

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


def read(table: dict[str, Any], *, source: str) -> MonitorStudy:
    """The study of a table; the files it names lie beside its own."""
    study = value_of(table, MonitorStudy, source=source, error=StudyError)
    traits = tuple(
        replace(each, trait=beside(each.trait, source), spectrum=beside(each.spectrum, source)) for each in study.traits
    )
    loaded = [_load(each, study) for each in traits]
    if len({trait.name for trait in loaded}) < len(loaded):
        raise StudyError(f"{source}: a trait is named twice: a monitor has one vector of each")
    most = min(len(trait.extraction_questions) for trait in loaded)
    if study.limit is None and max(study.many_shot, default=0) > most:
        raise StudyError(
            f"{source}: many_shot has {max(study.many_shot)}, and an example is the answer to one of {most} extraction "
            "questions: lower it"
        )
    return replace(study, model=beside(study.model, source), traits=traits)


def counts(study: MonitorStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most."""
    extracted = observed = 0
    for each in study.traits:
        trait = _load(each, study)
        extracted += 2 * len(trait.instructed("positive")) * study.extraction.draws
        conditions = _steps(each) + len(study.many_shot)
        observed += conditions * len(trait.questions("evaluation")) * study.evaluation.draws
    extracted, observed = extracted * len(study.seeds), observed * len(study.seeds)
    tokens = extracted * study.extraction.max_tokens + observed * study.evaluation.max_tokens
    responses = extracted + observed
    return {
        "traits": len(study.traits), "responses": responses, "verdicts": 2 * responses, "tokens": tokens, "loads": 1,
    }  # fmt: skip


def run(study: MonitorStudy, place: Workplace) -> Report:
    """Extracts, observes every condition, correlates, and writes tables, figures and vectors.

    Raises:
        LayerError: before anything is asked, if the model has no such layer.
    """
    import pandas as pd

    from personascope.applications.monitor.frames import SPEAKING, heard_while_speaking, tabulated
    from personascope.applications.monitor.written import shown, write

    engine, judge = place.open_engine(checkpoint_named(study.model, study.revision)), place.open_judge(study.judge)
    for each in study.traits:
        for layer in (*each.layers, *(() if each.layer is None else (each.layer,))):
            check_layer(layer, engine.last_layer, engine.checkpoint.label)
    spectra = {each.trait: _spectrum(each, study, place) for each in study.traits}
    seen: list[Seen] = []
    speaking: list[pd.DataFrame] = []
    failed: list[str] = []
    for seed in study.seeds:
        for found in _seen(study, seed, engine, judge, spectra, failed):
            seen.append(found)
            speaking.append(heard_while_speaking(engine, found, moments=study.moments))
    heard = pd.concat(speaking, ignore_index=True) if speaking else pd.DataFrame(columns=SPEAKING)
    tables = tabulated(seen, heard, directions=study.directions)
    return Report(shown(tables, seen), tuple(write(place, tables, seen)), tuple(failed))


def _seen(
    study: MonitorStudy,
    seed: int,
    engine: Engine,
    judge: Judge,
    spectra: dict[str, Spectrum],
    failed: list[str],
) -> list[Seen]:
    """What one seed shows of every trait; a trait without a vector is told of in ``failed``."""
    from personascope.applications.monitor import Watched, choose_layer, observe
    from personascope.applications.monitor.frames import Seen
    from personascope.core.vectors import NoVector
    from personascope.tracing.extraction import Method, extraction, instructed_arms
    from personascope.tracing.generation import answer

    extracting, evaluating = (replace(each, seed=each.seed + seed) for each in (study.extraction, study.evaluation))
    method = Method(extracting, evaluating, study.bar, study.span)
    traits = {each: _load(each, study) for each in study.traits}
    arms = {(each, pole): arm for each in traits for pole, arm in instructed_arms(engine, traits[each], method).items()}
    answers = answer(arms, judge=judge, read=True)
    watched: dict[MonitoredTrait, Watched] = {}
    for each, trait in traits.items():
        poles = answers[each, "positive"], answers[each, "negative"]
        made = extraction(engine, trait, *poles, method, judge=judge.name)
        if isinstance(made, NoVector):
            failed.append(f"{trait.name}, seed {seed}: no vector ({made.counts})")
        elif each.layer is not None:
            watched[each] = Watched(trait.name, made.vector, each.layer)
        else:
            both = [*poles[0], *poles[1]]
            watched[each] = choose_layer(made.vector, *_instructed(engine, both), layers=each.layers)
    found = []
    for each in watched:
        conditions = _conditions(study, each, spectra[each.trait], answers[each, "positive"], failed)
        own = (watched[each], *(other for name, other in watched.items() if name is not each))
        observed = observe(engine, traits[each], conditions, own, judge=judge, sampling=evaluating)
        found.append(Seen(engine.checkpoint.label, seed, traits[each].name, own, tuple(observed)))
    return found


def _instructed(engine: Engine, answers: Sequence[Answer]) -> tuple[Any, Any]:
    """Last-prompt-token readings and trait scores of instructed answers."""
    import numpy as np

    readings = engine.read([each.response for each in answers]).last_prompt
    return readings, np.array([each.trait.score for each in answers])


def _conditions(
    study: MonitorStudy, each: MonitoredTrait, spectrum: Spectrum, positive: Sequence[Answer], failed: list[str]
) -> tuple[Condition, ...]:
    """Both series; more examples than there are good answers to show are left out, and told of."""
    from personascope.applications.monitor import exemplars, graded, many_shot

    examples = exemplars(positive, bar=study.bar)
    asked = [count for count in study.many_shot if count <= len({answer.question for answer in positive})]
    counts = [count for count in asked if count <= len(examples)]
    if len(counts) < len(asked):
        failed.append(f"{each.trait}: {len(examples)} examples clear the bar, so there are no series of more")
    return (*graded(spectrum.instructions), *many_shot(examples, counts=counts))


def _spectrum(each: MonitoredTrait, study: MonitorStudy, place: Workplace) -> Spectrum:
    """The instructions of a trait: the lab's, those of a file, or those a writer writes into the study's folder."""
    from personascope.applications.monitor import Spectrum, load_spectrum, write_spectrum
    from personascope.authoring.spectra import save_spectrum

    trait = _load(each, study)
    if each.spectrum == "lab":
        from personascope.lab.spectra import graded_descriptions

        return Spectrum(trait.name, graded_descriptions(trait.name))
    written = place.out / "spectra" / f"{trait.name}.toml"
    if not each.spectrum and not written.is_file():
        from personascope.store.caching_writer import RememberingWriter
        from personascope.writers.opening import open_writer

        writer = RememberingWriter(open_writer(study.writer, open_engine=place.open_engine), place.store)
        save_spectrum(write_spectrum(trait, writer=writer, contrast=each.contrast), written)
        place.made(written)
    found = load_spectrum(each.spectrum or written)
    if found.trait != trait.name:
        raise StudyError(f"{each.spectrum or written} is a spectrum of '{found.trait}', and of '{trait.name}' one was "
                         "asked for: give the right file")  # fmt: skip
    return found


def _load(each: MonitoredTrait, study: MonitorStudy) -> Trait:
    from personascope.core.traits import load_trait

    return load_trait(each.trait, form=each.form).limited(study.limit)


def _steps(each: MonitoredTrait) -> int:
    from personascope.applications.monitor import load_spectrum
    from personascope.authoring.spectra import STEPS

    return len(load_spectrum(each.spectrum).instructions) if each.spectrum not in ("", "lab") else STEPS
