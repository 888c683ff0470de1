"""Studies of kind ``maps``: at which layer, how strongly and where in the text must one steer?

Source: "Persona Vectors" B.4, figures 3 and 13, which take the layer of the highest score at each coefficient.

Owns: :class:`MapsStudy`. The one law: maps are of the selection questions, so what is chosen by them can be evaluated
on questions that had no say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import pandas as pd

from personascope.analysis.selection import SELECTION, selection_rows
from personascope.core.errors import CheckpointError
from personascope.figures.selection import selection_maps
from personascope.studies.along_series import SeriesStudy, Tracing, way
from personascope.studies.base import Figure, Item, Summary, Table
from personascope.studies.context import RunContext
from personascope.studies.trace import Study, choose_steering
from personascope.tracing.operating_point import Grid
from personascope.tracing.tracing import Subject


@dataclass(frozen=True, kw_only=True)
class MapsStudy(SeriesStudy):
    """Every way of the ``selection`` is tried with each trait's vector at each milestone."""

    FILES: ClassVar = ("selection.csv", "selection.png", "selection.pdf")

    kind: Literal["maps"]
    selection: Grid

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        study = super().read(table, source=source)
        study.as_trace().load_traits()
        return study

    def as_trace(self) -> Study:
        """A trace whose steering is chosen on the selection."""
        return self.trace(selection=self.selection)

    def run(self, context: RunContext) -> Iterator[Item]:
        """Maps every milestone, the last first, and yields the scores with their figure."""
        tracing, trace = Tracing(self, context), self.as_trace()
        subjects = [Subject(extract, (), evaluate) for extract, evaluate in trace.load_traits()]
        frames, chosen = [], []
        for milestone in reversed(tracing.lineage.milestones):
            try:
                engine = tracing.open_engine(milestone.checkpoint)
                found = choose_steering(subjects, trace.method, self.selection, engine, engine, tracing.judge)
            except CheckpointError as problem:
                chosen.append((milestone.label, "", "", f"no checkpoint: {problem}"))
                continue
            frames.append(selection_rows(tuple(found.values())).assign(milestone=milestone.label))
            chosen += [(milestone.label, each.trait, way(each.steering), each.reason) for each in found.values()]
        if not frames:
            raise CheckpointError(f"study '{self.name}': no checkpoint could be had: {chosen[0][-1]}")
        rows = pd.concat(frames[::-1], ignore_index=True)[["milestone", *SELECTION]]
        yield Table("selection", rows)
        yield Figure("selection", lambda: selection_maps(rows, floor=self.selection.coherence_floor))
        head = ("milestone", "trait", "way", "why")
        yield Summary("how to steer, chosen on the selection questions", head, tuple(chosen))
