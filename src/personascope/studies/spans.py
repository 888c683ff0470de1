"""Studies of kind ``spans``: which tokens and which answers should a vector be made of?

Owns: :class:`SpansStudy`. The one law: vectors are compared at the same applied norm, with the same random numbers and
against the same plain answers, so that only what they are made of differs.

Sources: "Persona Vectors" A.3 compares the mean over response tokens, the mean over prompt tokens and the last prompt
token at equal norms; its §2.2 keeps answers one by one and its code keeps pairs (tracing study §1.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

from personascope.core.errors import StudyError
from personascope.core.records import Span, Where
from personascope.core.vectors import PersonaVector, Steering
from personascope.studies.base import Asked, Tracing, Writing, cost_of, counted, read_asked
from personascope.studies.context import Report, Table, Workplace
from personascope.studies.trace_study import StudiedTrait, Study
from personascope.tracing.pairs import Rule
from personascope.tracing.tracing import Effect, OperatingPoint

if TYPE_CHECKING:
    import pandas as pd

    from personascope.providers.costs import Estimate

FILES: Final = ("spans.csv", "spans.png", "spans.pdf", "cosines.csv", "answers.csv")


@dataclass(frozen=True, kw_only=True)
class SpansStudy(Asked):
    """Vectors of every span and every rule, steered with at one layer and several strengths.

    ``strengths`` are multiples of a ``unit`` that is the same for all vectors: of a direction of length 1, where they
    are norms, or of the residual norm.
    ``span`` and ``rule`` are not used: ``spans`` and ``rules`` are.
    """

    kind: Literal["spans"]
    layer: int
    strengths: tuple[float, ...]
    unit: Literal["unit", "residual"] = "unit"
    where: Where = "response"
    spans: tuple[Span, ...] = ("response", "prompt", "last_prompt")
    rules: tuple[Rule, ...] = ("paired", "independent")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strengths or not self.spans or not self.rules:
            raise StudyError(f"study '{self.name}': give one or more strengths, spans and rules")
        if any(each.points for each in self.traits):
            raise StudyError(f"study '{self.name}': its layer and strengths say how traits are steered: give no points")

    def variants(self) -> list[tuple[Span, Rule]]:
        """What vectors are made of, all ways."""
        return list(product(self.spans, self.rules))

    def as_trace(self, span: Span, rule: Rule, milestones: tuple[str, ...] = ()) -> Study:
        """The trace with vectors of one span, kept by one rule, at every strength."""
        first, *others = (Steering(self.layer, each, self.unit, self.where) for each in self.strengths)
        point = OperatingPoint(first, also=tuple(others))
        traits: tuple[StudiedTrait, ...] = tuple(replace(each, points=(point,)) for each in self.traits)
        return self.trace(traits=traits, span=span, rule=rule, milestones=milestones)


def read(table: dict[str, Any], *, source: str) -> SpansStudy:
    """The study of a table."""
    study = read_asked(table, SpansStudy, source=source)
    study.as_trace(*study.variants()[0]).load_traits()
    return study


def run(study: SpansStudy, place: Workplace) -> Report:
    """Traces every variant, milestone by milestone, and writes effects, cosines and a figure."""
    import pandas as pd

    from personascope.analysis.effects import effects
    from personascope.analysis.frames import answer_rows
    from personascope.figures.doses import doses

    tracing, writing = Tracing(study, place), Writing(place)
    frames, found = [], []
    for milestone in reversed(tracing.lineage.milestones):
        for span, rule in study.variants():
            outcomes = tracing.run(study.as_trace(span, rule, (milestone.label,))).outcomes
            frames.append(answer_rows(outcomes).assign(span=span, rule=rule))
            found += [
                (milestone.label, span, rule, each.reference)
                for each in outcomes
                if isinstance(each, Effect) and isinstance(each.reference, PersonaVector)
            ]
    answers = pd.concat(frames, ignore_index=True)
    parts = [
        effects(answers[(answers["span"] == span) & (answers["rule"] == rule)]).assign(span=span, rule=rule)
        for span, rule in study.variants()
    ]
    rows = pd.concat([each for each in parts if len(each)], ignore_index=True)
    cosines = _cosines(found, study.layer)
    writing.frame("spans.csv", rows)
    writing.frame("cosines.csv", cosines)
    writing.frame("answers.csv", answers)
    named = rows.assign(line=_lines(rows, study))
    writing.figure("spans", doses(named, line="line"))
    return Report(_tables(rows, cosines), tuple(writing.files))


def counts(study: SpansStudy) -> dict[str, int]:
    """Instructed and plain answers once, and every variant's steered ones."""
    from personascope.engines.opening import open_lineage
    from personascope.studies.planning import plan_study

    lineage = study.cut(open_lineage(study.lineage))
    trace = study.as_trace(*study.variants()[0])
    one, plan = counted(trace, lineage), plan_study(trace, lineage)
    more = (len(study.variants()) - 1) * plan.steered
    return one | {
        "responses": one["responses"] + more,
        "verdicts": one["verdicts"] + 2 * more,
        "tokens": one["tokens"] + more * study.evaluation.max_tokens,
    }


def cost(study: SpansStudy) -> Estimate | None:
    """About what the judge takes."""
    return cost_of(study.as_trace(*study.variants()[0]), counts(study)["verdicts"])


def _lines(rows: pd.DataFrame, study: SpansStudy) -> pd.Series:
    """What the line of each row is called: its span and its rule, those of which there are several."""
    named = rows["span"].str.replace("_", " ")
    if len(study.rules) < 2:
        return named
    return rows["rule"] if len(study.spans) < 2 else named + ", " + rows["rule"]


def _cosines(found: list[tuple[str, Span, Rule, PersonaVector]], layer: int) -> pd.DataFrame:
    """The cosines between a trait's vectors of all variants, at the layer where they steer."""
    import pandas as pd

    from personascope.analysis.geometry import cosines

    frames = []
    subjects = dict.fromkeys((milestone, each.trait, each.form) for milestone, _, _, each in found)
    for milestone, trait, form in subjects:
        vectors = {
            f"{span}, {rule}": each
            for label, span, rule, each in found
            if (label, each.trait, each.form) == (milestone, trait, form)
        }
        frames.append(cosines(vectors, layer).assign(milestone=milestone, trait=trait, form=form))
    columns = ["milestone", "trait", "form", "layer", "first", "second", "cosine"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _tables(rows: pd.DataFrame, cosines: pd.DataFrame) -> tuple[Table, ...]:
    cells = tuple(
        (
            str(each.trait), str(each.milestone), str(each.span), str(each.rule),
            f"{each.pairs_kept}/{each.pairs_asked}", f"{each.applied_norm:.3g}",
            f"{each.effect:+.1f}  {each.low:+.1f} to {each.high:+.1f}", f"{each.steered_coherence:.0f}",
        )
        for each in rows.itertuples()
    )  # fmt: skip
    columns = ("trait", "milestone", "span", "rule", "kept", "norm", "effect, 95 % interval", "coh.")
    base = cosines[cosines["first"] == cosines["first"].iloc[0]] if len(cosines) else cosines
    others = base[base["first"] != base["second"]]
    heads = ["milestone", "trait", "first", "second"]
    alike = tuple(
        (*map(str, names), f"{cosine:.3f}")
        for *names, cosine in others[[*heads, "cosine"]].itertuples(index=False, name=None)
    )
    return (
        Table("steered minus plain, in score points, by what the vector is made of", columns, cells),
        Table("cosines with the first kind of vector", ("milestone", "trait", "vector", "vector", "cosine"), alike),
    )
