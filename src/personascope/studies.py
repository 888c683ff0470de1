"""Studies: one file, one result.

Owns: :class:`Study`, :func:`load_study` and :func:`run_study`. The one law: a study file says
everything that a result depends on; an unknown key is an error, and nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from personascope.engines import Engine, OpenEngine
from personascope.errors import LayerError, StudyError, nearest
from personascope.extract import (
    Direction,
    Method,
    extraction,
    instructed_arms,
    plain_arm,
    random_direction,
    residual_norms,
    shuffled_labels,
)
from personascope.files import bundled, read_toml, value_of
from personascope.judges import Judge
from personascope.lineages import Lineage, Milestone
from personascope.records import Bar, Sampling, Span
from personascope.respond import answer
from personascope.selection import Grid, Selection, select_steering
from personascope.trace import OperatingPoint, Outcome, Subject, trace
from personascope.traits import Trait, load_trait
from personascope.vectors import NoVector, PersonaVector


@dataclass(frozen=True)
class StudiedTrait:
    """A trait in a study: the form to extract with, the form to evaluate with, and how it is steered.

    Without ``points`` the study's ``selection`` chooses.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    extract: str = "assistant"
    evaluate: str = ""
    points: tuple[OperatingPoint, ...] = ()


@dataclass(frozen=True)
class Controls:
    """How many directions of each kind take the vector's place: random ones of its length, and shuffled labels."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    random: int = 0
    shuffled: int = 0

    def directions(self, seed: int) -> list[Direction]:
        """The controls, each with a seed of its own."""
        drawn: list[Direction] = [random_direction(seed + each) for each in range(self.random)]
        return drawn + [shuffled_labels(seed + each) for each in range(self.shuffled)]


@dataclass(frozen=True)
class Study:
    """What a study file says. ``milestones`` keeps only those labels; ``target`` is one of the lineage's targets.

    ``limit`` cuts every question set; ``seed`` is that of the controls (that of the answers is in each sampling).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

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
    bar: Bar = Bar()
    span: Span = "response"
    controls: Controls = Controls()
    selection: Grid | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.traits:
            raise StudyError(f"study '{self.name}' names no trait: add [[traits]]")
        unsteered = [each.trait for each in self.traits if not each.points]
        if unsteered and self.selection is None:
            raise StudyError(
                f"study '{self.name}': trait '{unsteered[0]}' has no points and there is no [selection]: add one"
            )

    @property
    def method(self) -> Method:
        """How answers are drawn and vectors made."""
        return Method(self.extraction, self.evaluation, self.bar, self.span)

    def cut(self, lineage: Lineage) -> Lineage:
        """The lineage, cut to the milestones the study names."""
        return lineage.only(self.milestones) if self.milestones else lineage

    def load_traits(self) -> list[tuple[Trait, Trait]]:
        """Each trait in the form to extract with and the form to evaluate with."""
        return [
            (
                load_trait(each.trait, form=each.extract).limited(self.limit),
                load_trait(each.trait, form=each.evaluate or each.extract).limited(self.limit),
            )
            for each in self.traits
        ]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study gave: every outcome, and how each trait's steering was chosen (where it was)."""

    study: Study
    outcomes: tuple[Outcome, ...]
    selections: tuple[Selection, ...]


def load_study(name: str | Path) -> Study:
    """A bundled study by name, or the study in a TOML file.

    Raises:
        StudyError: naming the file, the key and the nearest known one.
    """
    return read_study(study_path(name))


def study_path(name: str | Path) -> Path:
    """Where a study's file lies."""
    known = bundled("studies")
    if not str(name).endswith(".toml") and str(name) not in known:
        raise StudyError(f"study '{name}' is neither bundled nor a .toml file; {nearest(str(name), known)}")
    return known.get(str(name), Path(name))


def read_study(path: Path) -> Study:
    """The study in a TOML file."""
    return study_of(read_toml(path, error=StudyError), source=str(path))


def study_of(table: dict[str, Any], *, source: str) -> Study:
    """The study that a table (of a TOML file, or kept in a store) describes."""
    if table.get("kind") != "trace":
        raise StudyError(f"{source}: a study of kind '{table.get('kind')}' was asked for; the kinds that exist: trace")
    return value_of(table, Study, source=source, error=StudyError)


def run_study(study: Study, lineage: Lineage, *, open_engine: OpenEngine, judge: Judge) -> StudyResult:
    """Chooses how to steer where the study leaves it open, then traces ``lineage``, the one the study names.

    The choice is made at the last milestone, and the lineage is walked from there back, so that no checkpoint is
    loaded twice; the order of milestones changes no answer.
    """
    lineage = study.cut(lineage)
    target = lineage.target(study.target) if study.target else None
    subjects, selections = _subjects(study, lineage.milestones[-1], target, open_engine, judge)
    backwards = replace(lineage, milestones=lineage.milestones[::-1])
    outcomes = trace(
        backwards,
        subjects,
        open_engine=open_engine,
        judge=judge,
        method=study.method,
        direction=study.controls.directions(study.seed),
        target=target,
    )
    order = [milestone.label for milestone in lineage]
    return StudyResult(study, tuple(sorted(outcomes, key=lambda each: order.index(each.milestone.label))), selections)


def _subjects(
    study: Study, last: Milestone, target: Milestone | None, open_engine: OpenEngine, judge: Judge
) -> tuple[list[Subject], tuple[Selection, ...]]:
    """The study's traits with their operating points, chosen at the last milestone where the study leaves them open."""
    subjects = [
        Subject(extract, each.points, evaluate)
        for each, (extract, evaluate) in zip(study.traits, study.load_traits(), strict=True)
    ]
    undecided = [subject for subject in subjects if not subject.points]
    if not undecided or study.selection is None:
        return subjects, ()
    source = open_engine(last.checkpoint)
    steered = source if target is None else open_engine(target.checkpoint)
    chosen = _select(undecided, study.method, study.selection, source, steered, judge)
    grid = study.selection
    decided = {subject: replace(subject, points=(_point(chosen[subject.evaluate], grid),)) for subject in undecided}
    return [decided.get(subject, subject) for subject in subjects], tuple(chosen.values())


def _select(
    subjects: Sequence[Subject], method: Method, grid: Grid, source: Engine, steered: Engine, judge: Judge
) -> dict[Trait, Selection]:
    """How to steer each trait, chosen on its selection questions with the vector of the last milestone."""
    if max(grid.layers) > steered.last_layer:
        raise LayerError(
            f"layer {max(grid.layers)} asked of {steered.checkpoint.label}, which has {steered.last_layer} blocks: "
            f"choose 0 (embedding) to {steered.last_layer}"
        )
    arms = {
        (subject, pole): arm
        for subject in subjects
        for pole, arm in instructed_arms(source, subject.extract, method).items()
    }
    answers = answer(arms, judge=judge)
    plain = answer({subject: plain_arm(steered, subject.evaluate, method) for subject in subjects}, judge=None)
    vectors: dict[Trait, PersonaVector] = {}
    without: dict[Trait, Selection] = {}
    for subject in subjects:
        found = extraction(source, subject.extract, answers[subject, "positive"], answers[subject, "negative"], method)
        if isinstance(found, NoVector):
            reason = (
                f"the last milestone gives no vector to choose with ({found.counts}), so the weakest way of the grid"
            )
            without[subject.evaluate] = Selection(subject.extract.name, grid.cells()[0], reason, ())
            continue
        norms = residual_norms(steered, [each.response for each in plain[subject]])
        vectors[subject.evaluate] = replace(found.vector, residual_norms=norms)
    sampling = replace(method.evaluation, draws=grid.draws)
    return without | select_steering(steered, vectors, judge=judge, sampling=sampling, grid=grid)


def _point(selection: Selection, grid: Grid) -> OperatingPoint:
    """The chosen way, and beside it the same layer and strength at the grid's other places in the text."""
    also = tuple(replace(selection.steering, where=where) for where in grid.where if where != selection.steering.where)
    return OperatingPoint(selection.steering, also=also, reason=selection.reason)
