"""What kinds of study that follow a lineage have in common.

Such a kind asks through the trace of the same numbers, so what one asked the other does not ask again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from personascope.core.errors import StudyError
from personascope.core.files import check_name
from personascope.core.lineages import Lineage
from personascope.core.records import Bar, Sampling, Span
from personascope.core.steering import Steering
from personascope.core.traits import Trait
from personascope.engines.opening import Opener
from personascope.judges import Judge
from personascope.studies.base import BaseStudy, beside
from personascope.studies.context import RunContext
from personascope.studies.trace import StudiedTrait, Study, StudyResult, run_study
from personascope.tracing.extraction import Rule
from personascope.tracing.operating_point import Grid

UNSTEERED = Grid(layers=(1,), strengths=(0.0,), unit="vector")
"""For a trace that is not run: one whose traits are read."""


@dataclass(frozen=True, kw_only=True)
class SeriesStudy(BaseStudy):
    """Fields that mean what they mean in a study of kind ``trace``; ``milestones`` is by default the last one alone."""

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
        shared = {each.name: getattr(self, each.name) for each in fields(SeriesStudy)}
        return Study(**{"kind": "trace", **shared, **changes})

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table, with the files it names found beside its own."""
        study = super().read(table, source=source)
        traits = tuple(
            replace(each, trait=beside(each.trait, source), evaluate=beside(each.evaluate, source))
            for each in study.traits
        )
        return replace(study, lineage=beside(study.lineage, source), traits=traits)

    def as_trace(self) -> Study:
        """A trace of its traits, whatever they are steered with."""
        return self.trace(selection=UNSTEERED)

    def loaded_traits(self) -> list[Trait]:
        return [trait for both in self.as_trace().load_traits() for trait in both]

    def cut(self, lineage: Lineage) -> Lineage:
        """The milestones of the lineage that it is about."""
        return lineage.only(self.milestones) if self.milestones else lineage.only((lineage.milestones[-1].label,))


class Tracing:
    """Traces in a workplace: every checkpoint opened once, its weights kept while they are in use.

    A kind that walks the milestones itself walks them from the last one, as a trace does.
    """

    def __init__(self, study: SeriesStudy, context: RunContext, *, keep: int = 1) -> None:
        self.lineage = study.cut(context.open_lineage(study.lineage))
        self.judge: Judge = context.open_judge(study.judge)
        context.checkpoint_cache.prefetch_order([each.checkpoint for each in reversed(self.lineage.milestones)])
        self.open_engine = Opener(context.open_engine, keep=keep)

    def run(self, study: Study) -> StudyResult:
        """What a trace gives along the milestones that it names, by default all of this study's."""
        lineage = self.lineage.only(study.milestones) if study.milestones else self.lineage
        traits = study.load_traits()
        return run_study(study, lineage, traits, open_engine=self.open_engine, judge=self.judge)


def way(steering: Steering) -> str:
    """A way to steer in words."""
    layers = "+".join(map(str, steering.layers))
    return f"layer {layers}, strength {steering.strength:g} x {steering.unit}, where {steering.where}"
