"""Studies of kind ``trace``: traits followed along a lineage.

A study file says everything that a result depends on: an unknown key is an error, and nothing is read from the
environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from personascope.analysis.frames import answer_rows
from personascope.analysis.geometry import Placed
from personascope.analysis.selection import selection_rows
from personascope.core.errors import CheckpointError, StoreError, StudyError, check_layer
from personascope.core.files import check_name, found_beside, value_of
from personascope.core.lineages import Lineage, Milestone
from personascope.core.outcomes import Selection
from personascope.core.records import Bar, Sampling, Span
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.engines import Engine, OpenEngine
from personascope.engines.opening import Opener, open_lineage
from personascope.judges import Judge
from personascope.studies.artifacts import FILES, Drawable, items_of, summaries
from personascope.studies.base import BaseStudy, Item
from personascope.studies.context import RunContext, name_of
from personascope.studies.counting import Tally
from personascope.studies.registry import open_study
from personascope.tracing.controls import Controls, with_permutations
from personascope.tracing.extraction import Method, Rule, extraction, instructed_arms, plain_arm, residual_norms
from personascope.tracing.generation import answer
from personascope.tracing.operating_point import Grid, select_steering
from personascope.tracing.tracing import Absence, Effect, OperatingPoint, Outcome, Subject, trace

ITSELF = "itself"
"""Among a study's targets: the checkpoint that a vector is from."""


@dataclass(frozen=True)
class StudiedTrait:
    """A trait in a study: the form to extract with, the form to evaluate with, and how it is steered.

    ``trait`` is a bundled name, and ``extract`` and ``evaluate`` its forms; or it is a .toml file, which has a form of
    its own, and ``evaluate`` may be another file. Without ``points`` the study's ``selection`` chooses.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    extract: str = ""
    evaluate: str = ""
    points: tuple[OperatingPoint, ...] = ()

    def __post_init__(self) -> None:
        if len({point.from_tokens for point in self.points}) < len(self.points):
            raise StudyError(f"trait '{self.trait}' has two points with one from_tokens: give each its own")

    def load(self) -> tuple[Trait, Trait]:
        """The trait in the form to extract with and in the form to evaluate with."""
        if not self.trait.endswith(".toml"):
            extract = load_trait(self.trait, form=self.extract or "assistant")
            return extract, load_trait(self.trait, form=self.evaluate) if self.evaluate else extract
        extract = load_trait(self.trait)
        evaluate = load_trait(self.evaluate) if self.evaluate.endswith(".toml") else extract
        for asked, trait in ((self.extract, extract), (self.evaluate, evaluate)):
            if asked and not asked.endswith(".toml") and asked != trait.form:
                raise StudyError(
                    f"{self.trait} describes the form '{trait.form}', and '{asked}' was asked for: leave the form "
                    "out, or give evaluate another .toml file"
                )
        return extract, evaluate


@dataclass(frozen=True)
class Study(BaseStudy):
    """What a study file says. ``milestones`` keeps only those labels.

    ``target`` is one of the lineage's targets, which vectors steer instead of their own checkpoint; ``targets`` are
    several, and their own checkpoint where one is ``"itself"``. How to steer is chosen on the first of them.

    ``limit`` cuts every question set; ``seed`` is that of the controls (that of the answers is in each sampling).
    """

    FILES: ClassVar = FILES
    JSON_TABLE: ClassVar = "effects"

    kind: Literal["trace"]
    name: str
    lineage: str
    judge: str
    traits: tuple[StudiedTrait, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    milestones: tuple[str, ...] = ()
    target: str = ""
    targets: tuple[str, ...] = ()
    bar: Bar = Bar()
    span: Span = "response"
    rule: Rule = "paired"
    controls: Controls = Controls()
    selection: Grid | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.traits:
            raise StudyError(f"study '{self.name}' names no trait: add [[traits]]")
        if self.target and self.targets:
            raise StudyError(f"study '{self.name}' has a target and targets: put '{self.target}' among the targets")
        unsteered = [each.trait for each in self.traits if not each.points]
        if unsteered and self.selection is None:
            raise StudyError(
                f"study '{self.name}': trait '{unsteered[0]}' has no points and there is no [selection]: add one"
            )

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table, with the files it names found beside its own, where they are there."""
        study, folder = super().read(table, source=source), Path(source).parent
        traits = tuple(
            replace(each, trait=found_beside(each.trait, folder), evaluate=found_beside(each.evaluate, folder))
            for each in study.traits
        )
        return replace(study, lineage=found_beside(study.lineage, folder), traits=traits)

    def run(self, context: RunContext) -> Iterator[Item]:
        """Traces the study's traits, then yields every table and figure that the answers give."""
        result = self.result(context)
        if context.asks_only:
            return
        drawn = drawable(result)
        yield from items_of(drawn)
        yield from summaries(drawn, result.selections)

    def result(self, context: RunContext) -> StudyResult:
        """Every outcome of the trace. At most the milestone's model and the targets stay loaded at once.

        Raises:
            DiskError: if the disk limit has no room for a checkpoint and the models that stay loaded beside it.
        """
        lineage, traits = context.open_lineage(self.lineage), context.inputs.get("traits") or self.load_traits()
        others = [target_named(lineage, each).checkpoint for each in self.steered if each != ITSELF]
        judge = context.open_judge(self.judge)
        context.checkpoint_cache.prefetch_order(
            [each.checkpoint for each in reversed(self.cut(lineage).milestones)], beside=others
        )
        opener = Opener(context.open_engine, keep=1 + len(others))
        try:
            result = run_study(self, lineage, traits, open_engine=opener, judge=judge)
        finally:
            context.checkpoint_cache.prefetch_order(())  # no checkpoint is needed next any more
        for outcome in result.outcomes:
            if isinstance(outcome, Absence) and outcome.kind == "no checkpoint":
                context.opened[name_of(outcome.milestone.checkpoint)] = outcome.reason
        return result

    def loaded_traits(self) -> list[Trait]:
        return [trait for both in self.load_traits() for trait in both]

    def counts(self) -> dict[str, int]:
        """Responses with what they are for, verdicts, loads and new tokens, at most."""
        return _planned(self, open_lineage(self.lineage), self.tally).table()

    def kept(self, context: RunContext, *, table: dict[str, Any], source: str) -> dict[str, Any]:
        """The study with its lineage and traits in full, so that no file is needed to draw it again."""
        lineage = context.open_lineage(self.lineage)
        # A milestone that is steered and not traced is needed to run it again.
        whole = any(each.label in self.steered for each in lineage)
        kept = asdict(lineage if whole else self.cut(lineage))
        return {
            "study": asdict(self),
            "lineage": kept,
            "traits": [list(map(asdict, both)) for both in self.load_traits()],
        }

    @classmethod
    def from_kept(cls, value: dict[str, Any], *, source: str) -> tuple[Study, dict[str, Any]]:
        kept = value_of(
            {name: value[name] for name in ("study", "lineage", "traits")}, _Kept, source=source, error=StoreError
        )
        return kept.study, {"lineage": kept.lineage, "traits": kept.traits}

    @property
    def method(self) -> Method:
        """How answers are drawn and vectors made."""
        return Method(self.extraction, self.evaluation, self.bar, self.span, self.rule, self.controls.prompted)

    @property
    def steered(self) -> tuple[str, ...]:
        """What the vectors steer: labels of targets, and ``"itself"`` for their own checkpoint."""
        return tuple(dict.fromkeys(self.targets or (self.target or ITSELF,)))

    def cut(self, lineage: Lineage) -> Lineage:
        """The lineage, cut to the milestones the study names."""
        return lineage.only(self.milestones) if self.milestones else lineage

    def load_traits(self) -> list[tuple[Trait, Trait]]:
        """Each trait in the form to extract with and the form to evaluate with.

        Raises:
            StudyError: if one would be traced twice, and its answers counted twice.
        """
        both = [each.load() for each in self.traits]
        loaded = [(extract.limited(self.limit), evaluate.limited(self.limit)) for extract, evaluate in both]
        for place, (extract, evaluate) in enumerate(loaded):
            names = [(one.name, one.form, other.form) for one, other in loaded[:place]]
            if (extract.name, extract.form, evaluate.form) in names:
                raise StudyError(f"study '{self.name}' traces '{extract.name}' twice in the same forms: drop one")
        return loaded


@dataclass(frozen=True)
class _Kept:
    """What a store keeps of a trace."""

    study: Study
    lineage: Lineage
    traits: tuple[tuple[Trait, Trait], ...]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study gave: every outcome, and how each trait's steering was chosen (where it was)."""

    study: Study
    outcomes: tuple[Outcome, ...]
    selections: tuple[Selection, ...]


@dataclass(frozen=True)
class Plan:
    """How much a study asks for, at most: responses, of them for choosing how to steer, verdicts and loads.

    A milestone without a vector asks for less.
    """

    study: str
    milestones: int
    traits: int
    instructed: int
    plain: int
    steered: int
    selection: int
    verdicts: int
    loads: int
    tokens: int

    @property
    def responses(self) -> int:
        """Every response the study asks for."""
        return self.instructed + self.plain + self.steered + self.selection

    def seconds(self, tokens_per_second: float) -> float:
        """How long the responses take at a given speed, without loading and judging."""
        return self.tokens / tokens_per_second

    def table(self) -> dict[str, int]:
        """The counts by name."""
        parts = ("milestones", "traits", "instructed", "plain", "steered", "selection", "responses", "verdicts")
        return {name: getattr(self, name) for name in (*parts, "loads", "tokens")}


def plan_study(study: Study, lineage: Lineage) -> Plan:
    """What a study of a lineage asks for. Reads the traits' files, opens no model."""
    return _planned(study, lineage, study.counted(lineage=lineage))


def _planned(study: Study, lineage: Lineage, tally: Tally) -> Plan:
    """The requests of a tally by what they are for."""
    traits = study.load_traits()
    selecting = {question for _, evaluate in traits for question in evaluate.questions("selection")}
    extracting = {question for extract, _ in traits for question in extract.extraction_questions}
    counts = dict.fromkeys(("instructed", "plain", "steered", "selection"), 0)
    for _, request in tally.requests.values():
        prompt = tally.prompts[request.text]
        if request.edits:
            counts["selection" if prompt.question in selecting else "steered"] += 1
        elif prompt.instruction:
            counts["instructed" if prompt.question in extracting else "steered"] += 1
        else:
            counts["plain"] += 1
    totals = {name: tally.totals()[name] for name in ("verdicts", "loads", "tokens")}
    return Plan(study.name, len(study.cut(lineage)), len(traits), **counts, **totals)


def load_study(name: str | Path) -> Study:
    """A bundled study of kind ``trace`` by name, or the one in a TOML file.

    Raises:
        StudyError: naming the file, the key and the nearest known one.
    """
    found = open_study(name)
    if not isinstance(found.study, Study):
        raise StudyError(
            f"{found.source}: a study of kind 'trace' was expected, and this one is of kind '{found.kind}': "
            "open it with personascope.studies.registry.open_study, or personascope run"
        )
    return found.study


def drawable(result: StudyResult) -> Drawable:
    """What the files of a study's result are made of."""
    chosen = [
        each
        for each in result.outcomes
        if isinstance(each, Effect) and each.chosen and each.vector.origin == "extracted"
    ]
    vectors = {f"{_subject_label(each, result)}.{each.milestone.label}": each.vector for each in chosen}
    floor = result.study.selection.coherence_floor if result.study.selection is not None else 0.0
    selections = selection_rows(result.selections)
    return Drawable(answer_rows(result.outcomes), vectors, selections, floor, tuple(_placed(result, chosen)))


def run_study(
    study: Study,
    lineage: Lineage,
    traits: Sequence[tuple[Trait, Trait]],
    *,
    open_engine: OpenEngine,
    judge: Judge,
) -> StudyResult:
    """Chooses how to steer where the study leaves it open, then traces the study's traits along its lineage.

    The choice is made at the last milestone that can be had, and the lineage is walked from its end, so that no
    checkpoint is loaded twice; the order of milestones changes no answer.
    """
    whole, lineage = lineage, study.cut(lineage)
    targets = [None if each == ITSELF else target_named(whole, each) for each in study.steered]
    subjects = [
        Subject(extract, each.points, evaluate) for each, (extract, evaluate) in zip(study.traits, traits, strict=True)
    ]
    subjects, selections = _decided(study, subjects, lineage, targets[0], open_engine=open_engine, judge=judge)
    outcomes = with_permutations(
        lineage,
        subjects,
        study.controls,
        seed=study.seed,
        tracing=lambda some, traced, directions: trace(
            some,
            traced,
            open_engine=open_engine,
            judge=judge,
            method=study.method,
            direction=directions,
            target=targets,
        ),
    )
    order = [milestone.label for milestone in lineage]
    return StudyResult(study, tuple(sorted(outcomes, key=lambda each: order.index(each.milestone.label))), selections)


def target_named(lineage: Lineage, label: str) -> Milestone:
    """A model to steer: one of the lineage's targets, or any of its milestones."""
    known = [each.label for each in lineage]
    return lineage.only((label,)).milestones[0] if label in known else lineage.target(label)


def _decided(
    study: Study,
    subjects: list[Subject],
    lineage: Lineage,
    target: Milestone | None,
    *,
    open_engine: OpenEngine,
    judge: Judge,
) -> tuple[list[Subject], tuple[Selection, ...]]:
    """The subjects with their operating points, chosen on the selection questions where the study leaves them open."""
    undecided = [subject for subject in subjects if not subject.points]
    if not undecided or study.selection is None:
        return subjects, ()
    for milestone in reversed(lineage.milestones):
        try:
            source = open_engine(milestone.checkpoint)
            steered = source if target is None else open_engine(target.checkpoint)
            chosen = choose_steering(undecided, study.method, study.selection, source, steered, judge)
            break
        except CheckpointError:
            if milestone is lineage.milestones[0]:
                raise
    chosen = {subject: replace(each, reason=f"{each.reason}, at {milestone.label}") for subject, each in chosen.items()}
    decided = {subject: replace(subject, points=(_point(each, study.selection),)) for subject, each in chosen.items()}
    return [decided.get(subject, subject) for subject in subjects], tuple(chosen.values())


def choose_steering(
    subjects: Sequence[Subject], method: Method, grid: Grid, source: Engine, steered: Engine, judge: Judge
) -> dict[Subject, Selection]:
    """How to steer each subject, chosen on its selection questions with its vector at one milestone."""
    check_layer(max(grid.layers), steered.last_layer, steered.checkpoint.label)
    arms = {
        (subject, pole): arm
        for subject in subjects
        for pole, arm in instructed_arms(source, subject.extract, method).items()
    }
    answers = answer(arms, judge=judge)
    plain = answer({subject: plain_arm(steered, subject.evaluate, method) for subject in subjects}, judge=None)
    vectors: dict[Subject, tuple[Trait, PersonaVector]] = {}
    without: dict[Subject, Selection] = {}
    for subject in subjects:
        found = extraction(source, subject.extract, answers[subject, "positive"], answers[subject, "negative"], method)
        if isinstance(found, NoVector):
            reason = f"no vector to choose with ({found.counts}), so the grid's weakest way"
            without[subject] = Selection(subject.extract.name, grid.cells()[0], reason, ())
            continue
        norms = residual_norms(steered, [each.response for each in plain[subject]])
        vectors[subject] = (subject.evaluate, replace(found.vector, residual_norms=norms))
    sampling = replace(method.evaluation, draws=grid.draws)
    chosen = without | select_steering(steered, vectors, judge=judge, sampling=sampling, grid=grid)
    return {subject: chosen[subject] for subject in subjects}


def _point(selection: Selection, grid: Grid) -> OperatingPoint:
    """The chosen way, and beside it the same layer and strength at the grid's other places in the text."""
    also = tuple(replace(selection.steering, where=where) for where in grid.where if where != selection.steering.where)
    return OperatingPoint(selection.steering, also=also, reason=selection.reason)


def _subject_label(effect: Effect, result: StudyResult) -> str:
    """A trait's name, with its forms where the study traces it in several."""
    extract, evaluate = effect.subject.extract, effect.subject.evaluate
    several = sum(each.trait == extract.name for each in result.study.traits) > 1
    return f"{extract.name}.{extract.form}-{evaluate.form}" if several else extract.name


def _placed(result: StudyResult, effects: list[Effect]) -> Iterator[tuple[int, Placed]]:
    """Each extracted vector once, at its milestone, with the first layer it is steered at."""
    order = {label: place for place, label in enumerate(dict.fromkeys(e.milestone.label for e in result.outcomes))}
    seen = set()
    for each in effects:
        layer = each.steering.layers[0]
        key = (each.reference.trait, each.reference.form, each.milestone.label, layer)
        if key not in seen:
            seen.add(key)
            yield layer, Placed(each.milestone, order[each.milestone.label], each.reference)
