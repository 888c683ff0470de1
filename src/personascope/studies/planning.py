"""What a study will cost, before anything runs: :func:`plan_study` counts, :func:`estimate_study` gives the price.

Counts are exact upper bounds (a milestone without a vector asks for less); times are rough, and say what they assume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from personascope.core.lineages import Lineage
from personascope.core.records import Case
from personascope.providers.costs import Estimate, estimate, price_of
from personascope.providers.endpoints import Usage
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


def estimate_study(study: Study, plan: Plan) -> Estimate | None:
    """What a study's verdicts will take, if answers are as long as they may be; None where its judge costs nothing."""
    return estimate_verdicts(study, plan.verdicts)


def estimate_verdicts(study: Study, verdicts: int) -> Estimate | None:
    """What so many verdicts on a study's answers will take, as :func:`estimate_study`.

    Asks nobody and needs no key. A verdict is taken to be as dear as the mean over the study's traits of their trait
    and coherence rubrics, each filled with a question of mean length.
    """
    from personascope.judges.openai import OpenAIJudge
    from personascope.judges.opening import open_judge

    judge = None if study.judge.startswith("engine:") else open_judge(study.judge, asking=False)
    if not isinstance(judge, OpenAIJudge):
        return None
    longest = "word" * max(study.extraction.max_tokens, study.evaluation.max_tokens)
    asked = [
        judge.bodies([Case(rubric, question, longest)])[0]
        for _, trait in study.load_traits()
        for question in trait.questions("evaluation")
        for rubric in (trait.rubric, trait.coherence)
    ]
    each = estimate(asked, price_of(judge.endpoint.name, judge.model))
    share = verdicts / each.calls
    usage = Usage(math.ceil(each.usage.input * share), math.ceil(each.usage.output * share))
    return Estimate(verdicts, usage, each.price)
