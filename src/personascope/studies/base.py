"""What kinds of study that follow the main path have in common.

Owns: :class:`Asked`, and tracing in a workplace. The one law: such a kind asks by way of :mod:`personascope.studies.trace_study`
alone, so its answers are those of a trace of the same numbers, and are asked once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from personascope.core.errors import StudyError
from personascope.core.files import check_name, value_of, write_text
from personascope.core.lineages import Lineage
from personascope.core.records import Bar, Sampling, Span
from personascope.core.vectors import Steering
from personascope.engines.opening import Opener, open_lineage
from personascope.judges import Judge
from personascope.studies.context import Workplace
from personascope.studies.registry import beside
from personascope.studies.trace_study import StudiedTrait, Study, StudyResult, run_study
from personascope.tracing.operating_point import Grid
from personascope.tracing.pairs import Rule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from personascope.providers.costs import Estimate


UNSTEERED = Grid(layers=(1,), strengths=(0.0,), unit="vector")
"""For a trace that is not run: one whose traits are read, or whose judge's cost is estimated."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Fields that mean what they mean in a study of kind ``trace``; ``milestones`` is by default the last one alone."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    lineage: str
    judge: str
    traits: tuple[StudiedTrait, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    milestones: tuple[str, ...] = ()
    bar: Bar = Bar()
    span: Span = "response"
    rule: Rule = "paired"
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)

    def trace(self, **changes: Any) -> Study:
        """The trace that asks the same, with some fields set."""
        shared = {each.name: getattr(self, each.name) for each in fields(Asked)}
        return Study(**{"kind": "trace", **shared, **changes})

    def cut(self, lineage: Lineage) -> Lineage:
        """The milestones of the lineage that it is about."""
        return lineage.only(self.milestones) if self.milestones else lineage.only((lineage.milestones[-1].label,))


Kind = TypeVar("Kind", bound=Asked)


def read_asked(table: dict[str, Any], kind: type[Kind], *, source: str) -> Kind:
    """A table as a study of a kind, with the files it names found beside its own."""
    study = value_of(table, kind, source=source, error=StudyError)
    traits = tuple(
        replace(each, trait=beside(each.trait, source), evaluate=beside(each.evaluate, source)) for each in study.traits
    )
    return replace(study, lineage=beside(study.lineage, source), traits=traits)


def counted(study: Study, lineage: Lineage) -> dict[str, int]:
    """What a trace asks for, for a plan."""
    from personascope.studies.planning import plan_study

    plan = plan_study(study, lineage)
    return {name: getattr(plan, name) for name in ("responses", "verdicts", "loads", "tokens")}


def cost_of(trace: Study, verdicts: int) -> Estimate | None:
    """About what a trace's judge takes for so many verdicts, none of which is remembered."""
    from personascope.studies.planning import estimate_verdicts

    return estimate_verdicts(trace, verdicts)


class Tracing:
    """Traces in a workplace: every checkpoint opened once, its weights kept while they are in use.

    A kind that walks the milestones itself walks them from the last one, as a trace does.
    """

    def __init__(self, study: Asked, place: Workplace, *, keep: int = 1) -> None:
        self.lineage = study.cut(open_lineage(study.lineage))
        self.judge: Judge = place.open_judge(study.judge)
        place.shelf.follow([each.checkpoint for each in reversed(self.lineage.milestones)])
        self.open_engine = Opener(place.open_engine, keep=keep)

    def run(self, study: Study) -> StudyResult:
        """What a trace gives along the milestones that it names, by default all of this study's."""
        lineage = self.lineage.only(study.milestones) if study.milestones else self.lineage
        traits = study.load_traits()
        return run_study(study, lineage, traits, open_engine=self.open_engine, judge=self.judge)


class Writing:
    """Files of a study, each told of as it is written."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.files: list[Path] = []

    def frame(self, name: str, rows: pd.DataFrame) -> None:
        """A frame as a CSV file."""
        write_text(self._place.out / name, rows.to_csv(index=False))
        self._told(self._place.out / name)

    def figure(self, name: str, figure: Figure) -> None:
        """A figure, as PNG and PDF."""
        from personascope.figures.style import save

        self._place.out.mkdir(parents=True, exist_ok=True)
        paths = [self._place.out / f"{name}.{kind}" for kind in ("png", "pdf")]
        save(figure, *paths)
        for path in paths:
            self._told(path)

    def _told(self, path: Path) -> None:
        self.files.append(path)
        self._place.made(path)


def way(steering: Steering) -> str:
    """A way to steer in words."""
    layers = "+".join(map(str, steering.layers))
    return f"layer {layers}, strength {steering.strength:g} x {steering.unit}, where {steering.where}"
