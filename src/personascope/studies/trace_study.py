"""Studies: one file, one result.

Owns: :class:`Study`, :func:`load_study` and :func:`run_study`. The one law: a study file says
everything that a result depends on; an unknown key is an error, and nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from personascope.core.errors import CheckpointError, StudyError, check_layer, nearest
from personascope.core.files import bundled, check_name, found_beside, read_toml, value_of
from personascope.core.lineages import Lineage, Milestone
from personascope.core.records import Bar, Sampling, Span
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.engines import Engine, OpenEngine
from personascope.judges import Judge
from personascope.tracing.controls import Controls, with_permutations
from personascope.tracing.extraction import Method, extraction, instructed_arms, plain_arm, residual_norms
from personascope.tracing.generation import answer
from personascope.tracing.operating_point import Grid, Selection, select_steering
from personascope.tracing.pairs import Rule
from personascope.tracing.tracing import OperatingPoint, Outcome, Subject, trace

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
class Study:
    """What a study file says. ``milestones`` keeps only those labels.

    ``target`` is one of the lineage's targets, which vectors steer instead of their own checkpoint; ``targets`` are
    several, and their own checkpoint where one is ``"itself"``. How to steer is chosen on the first of them.

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

    def beside(self, folder: Path) -> Study:
        """The same study with the files it names found beside its own, where they are there."""
        traits = tuple(
            replace(each, trait=found_beside(each.trait, folder), evaluate=found_beside(each.evaluate, folder))
            for each in self.traits
        )
        return replace(self, lineage=found_beside(self.lineage, folder), traits=traits)


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
    return study_of(read_toml(path, error=StudyError), source=str(path)).beside(path.parent)


def study_of(table: dict[str, Any], *, source: str) -> Study:
    """The study that a table (of a TOML file, or kept in a store) describes."""
    if table.get("kind") != "trace":
        raise StudyError(
            f"{source}: a study of kind 'trace' was expected, and this one is of kind '{table.get('kind')}': "
            "open it with personascope.studies.registry.open_study, or personascope run"
        )
    # What may be spent on a study changes nothing of what it asks.
    return value_of({k: v for k, v in table.items() if k != "budget"}, Study, source=source, error=StudyError)


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
