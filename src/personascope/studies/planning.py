"""What a study will cost, said before anything runs.

Owns: :class:`Plan` and :func:`plan_study`. The one law: counts are exact upper bounds (a milestone without a vector
asks for less); times are rough, and say what they assume.
"""

from __future__ import annotations

from dataclasses import dataclass

from personascope.core.lineages import Lineage
from personascope.studies.trace_study import ITSELF, Study


@dataclass(frozen=True)
class Plan:
    """How much a study asks for, at most: responses, of them for choosing how to steer, verdicts and loads."""

    study: str
    milestones: int
    traits: int
    instructed: int
    plain: int
    steered: int
    selection: int
    loads: int
    tokens: int

    @property
    def responses(self) -> int:
        """Every response the study asks for, at most."""
        return self.instructed + self.plain + self.steered + self.selection

    @property
    def verdicts(self) -> int:
        """Every verdict: a trait and a coherence score per response."""
        return 2 * self.responses

    def seconds(self, tokens_per_second: float) -> float:
        """How long the responses take at a given speed, without loading and judging."""
        return self.tokens / tokens_per_second


def plan_study(study: Study, lineage: Lineage) -> Plan:
    """Counts what a study of a lineage asks for. Reads the traits' files, opens no model."""
    lineage, traits = study.cut(lineage), study.load_traits()
    controls = study.controls.count(len(traits))
    instructed = plain = steered = selection = permuted = 0
    for chosen, (extract, evaluate) in zip(study.traits, traits, strict=True):
        baseline = len(evaluate.questions("evaluation")) * study.evaluation.draws
        instructed += 2 * len(extract.instructed("positive")) * study.extraction.draws
        plain += baseline
        if chosen.points:
            ways = 1 + controls + max(len(point.also) for point in chosen.points)
        else:
            grid = study.selection
            assert grid is not None  # a study without points has a selection: Study checks it
            ways = controls + len(grid.where)
            selection += len(grid.cells()) * len(evaluate.questions("selection")) * grid.draws
        steered += ways * baseline
        if study.controls.prompted:  # each question once under each instruction, for the trait and against it
            steered += 2 * len(evaluate.questions("evaluation")) * len(evaluate.contrasts)
        permuted += len(study.controls.further(study.seed)) * baseline  # at one milestone
    milestones, targets = len(lineage), [each for each in study.steered if each != ITSELF]
    instructed *= milestones
    plain *= milestones * (ITSELF in study.steered) + len(targets)  # a target answers plainly once
    steered = (steered * milestones + permuted) * len(study.steered)
    tokens = instructed * study.extraction.max_tokens + (plain + steered + selection) * study.evaluation.max_tokens
    loads = milestones + len(targets)
    return Plan(study.name, milestones, len(traits), instructed, plain, steered, selection, loads, tokens)
