"""Studies of kind ``spans``: which tokens and which answers should a vector be made of?

Owns: :class:`SpansStudy`. The one law: vectors are compared at the same applied norm, with the same random numbers and
against the same plain answers, so that only what they are made of differs.

Sources: "Persona Vectors" A.3 compares the mean over response tokens, the mean over prompt tokens and the last prompt
token at equal norms; its §2.2 keeps answers one by one and its code keeps pairs (tracing study §1.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Literal, Self

import pandas as pd

from personascope.analysis.effects import effects
from personascope.analysis.frames import answer_rows
from personascope.analysis.geometry import cosines
from personascope.core.errors import StudyError
from personascope.core.records import Span, Where
from personascope.core.steering import Steering
from personascope.core.vectors import PersonaVector
from personascope.figures.doses import doses
from personascope.studies.along_series import SeriesStudy, Tracing
from personascope.studies.base import Figure, Item, Summary, Table
from personascope.studies.context import RunContext
from personascope.studies.trace import StudiedTrait, Study
from personascope.tracing.extraction import Rule
from personascope.tracing.tracing import Effect, OperatingPoint


@dataclass(frozen=True, kw_only=True)
class SpansStudy(SeriesStudy):
    """Vectors of every span and every rule, steered with at one layer and several strengths.

    ``strengths`` are multiples of a ``unit`` that is the same for all vectors: of a direction of length 1, where they
    are norms, or of the residual norm.
    ``span`` and ``rule`` are not used: ``spans`` and ``rules`` are.
    """

    FILES: ClassVar = ("spans.csv", "spans.png", "spans.pdf", "cosines.csv", "answers.csv")

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

    def variant(self, span: Span, rule: Rule, milestones: tuple[str, ...] = ()) -> Study:
        """The trace with vectors of one span, kept by one rule, at every strength."""
        first, *others = (Steering(self.layer, each, self.unit, self.where) for each in self.strengths)
        point = OperatingPoint(first, also=tuple(others))
        traits: tuple[StudiedTrait, ...] = tuple(replace(each, points=(point,)) for each in self.traits)
        return self.trace(traits=traits, span=span, rule=rule, milestones=milestones)

    def as_trace(self) -> Study:
        return self.variant(*self.variants()[0])

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        study = super().read(table, source=source)
        study.as_trace().load_traits()
        return study

    def run(self, context: RunContext) -> Iterator[Item]:
        """Traces every variant, milestone by milestone, and yields effects, cosines and a figure."""
        tracing = Tracing(self, context)
        frames, found = [], []
        for milestone in reversed(tracing.lineage.milestones):
            for span, rule in self.variants():
                outcomes = tracing.run(self.variant(span, rule, (milestone.label,))).outcomes
                frames.append(answer_rows(outcomes).assign(span=span, rule=rule))
                found += [
                    (milestone.label, span, rule, each.reference)
                    for each in outcomes
                    if isinstance(each, Effect) and isinstance(each.reference, PersonaVector)
                ]
        if context.asks_only:
            return
        answers = pd.concat(frames, ignore_index=True)
        parts = [
            effects(answers[(answers["span"] == span) & (answers["rule"] == rule)]).assign(span=span, rule=rule)
            for span, rule in self.variants()
        ]
        rows = pd.concat([each for each in parts if len(each)], ignore_index=True)
        cosines = _cosines(found, self.layer)
        yield Table("spans", rows)
        yield Table("cosines", cosines)
        yield Table("answers", answers)
        yield Figure("spans", lambda: doses(rows.assign(line=_lines(rows, self)), line="line"))
        yield from _summaries(rows, cosines)


def _lines(rows: pd.DataFrame, study: SpansStudy) -> pd.Series:
    """What the line of each row is called: its span and its rule, those of which there are several."""
    named = rows["span"].str.replace("_", " ")
    if len(study.rules) < 2:
        return named
    return rows["rule"] if len(study.spans) < 2 else named + ", " + rows["rule"]


def _cosines(found: list[tuple[str, Span, Rule, PersonaVector]], layer: int) -> pd.DataFrame:
    """The cosines between a trait's vectors of all variants, at the layer where they steer."""
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


def _summaries(rows: pd.DataFrame, cosines: pd.DataFrame) -> tuple[Summary, ...]:
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
        Summary("steered minus plain, in score points, by what the vector is made of", columns, cells),
        Summary("cosines with the first kind of vector", ("milestone", "trait", "vector", "vector", "cosine"), alike),
    )
