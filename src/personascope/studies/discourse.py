"""Studies of kind ``discourse``: does a vector from one form of text act in another? (tracing study §6)

Owns: :class:`DiscourseStudy`. The one law: every cell of a row steers with the same vector, and every cell of a column
is compared with the same plain answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import pandas as pd

from personascope.analysis.discourse import form_matrix
from personascope.analysis.effects import effects
from personascope.analysis.frames import answer_rows
from personascope.analysis.geometry import cosines
from personascope.core.errors import StudyError
from personascope.figures.discourse import discourse
from personascope.studies.along_series import SeriesStudy, Tracing
from personascope.studies.base import Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext
from personascope.studies.trace import StudiedTrait, Study
from personascope.tracing.operating_point import Grid
from personascope.tracing.tracing import Effect, OperatingPoint


@dataclass(frozen=True, kw_only=True)
class DiscourseStudy(SeriesStudy):
    """A trait in several forms. Each of ``extract`` gives a vector, which is evaluated on each of ``evaluate``.

    Forms are those of the bundled ``trait``, or .toml files. They are steered in one way, the ``point``; without it the
    ``selection`` chooses a way for every cell. ``milestones`` get a matrix each.
    """

    FILES: ClassVar = ("discourse.csv", "discourse.png", "discourse.pdf", "cosines.csv", "effects.csv", "answers.csv")

    kind: Literal["discourse"]
    trait: str = ""
    extract: tuple[str, ...]
    evaluate: tuple[str, ...] = ()
    traits: tuple[StudiedTrait, ...] = ()
    point: OperatingPoint | None = None
    selection: Grid | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.traits:
            raise StudyError(f"study '{self.name}': a discourse study has a trait with forms, and no [[traits]]")
        if not self.extract or (self.point is None) == (self.selection is None):
            raise StudyError(f"study '{self.name}': give forms to extract with, and a [point] or a [selection]")

    def as_trace(self) -> Study:
        """The trace of every cell."""
        points = (self.point,) if self.point is not None else ()
        cells = [(one, other) for one in self.extract for other in self.evaluate or self.extract]
        traits = tuple(
            StudiedTrait(one, evaluate=other, points=points)
            if one.endswith(".toml")
            else StudiedTrait(self.trait, one, other, points)
            for one, other in cells
        )
        return self.trace(traits=traits, selection=self.selection)

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        study = super().read(table, source=source)
        extract, evaluate = (tuple(beside(each, source) for each in forms) for forms in (study.extract, study.evaluate))
        study = replace(study, extract=extract, evaluate=evaluate)
        study.as_trace().load_traits()
        return study

    def run(self, context: RunContext) -> Iterator[Item]:
        """Steers every form's answers with every form's vector, and yields the matrix with its figure."""
        tracing = Tracing(self, context)
        result = tracing.run(self.as_trace())
        if context.asks_only:
            return
        answers = answer_rows(result.outcomes)
        cells = form_matrix(answers, by=("milestone", "trait", "extracted_as", "evaluated_as"))
        cells.insert(0, "judge", tracing.judge.name)
        cosines = _cosines([each for each in result.outcomes if isinstance(each, Effect)])
        yield Table("discourse", cells)
        yield Figure("discourse", lambda: discourse(cells.assign(judge=_panels(cells))))
        yield Table("cosines", cosines)
        yield Table("effects", effects(answers))
        yield Table("answers", answers)
        yield from _summaries(cells, cosines)


def _panels(cells: pd.DataFrame) -> pd.Series:
    """What each matrix is called: its judge, and its milestone where there are several."""
    judge = cells["judge"].str.split(" ").str[0]
    return judge if cells["milestone"].nunique() < 2 else cells["milestone"] + ", " + judge


def _cosines(found: list[Effect]) -> pd.DataFrame:
    """The cosines between the forms' vectors at the layers where they steer, milestone by milestone."""
    frames = []
    for milestone in dict.fromkeys(each.milestone.label for each in found):
        mine = [each for each in found if each.milestone.label == milestone and each.vector.origin == "extracted"]
        for layer in sorted({layer for each in mine for layer in each.steering.layers}):
            vectors = {each.reference.form: each.reference for each in mine}
            frames.append(cosines(vectors, layer).assign(milestone=milestone))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["layer", "first", "second"])


def _summaries(cells: pd.DataFrame, cosines: pd.DataFrame) -> tuple[Summary, ...]:
    rows = tuple(
        (
            str(each.milestone), str(each.extracted_as), str(each.evaluated_as), f"{each.plain:.1f}",
            f"{each.effect:+.1f}  {each.low:+.1f} to {each.high:+.1f}", f"{each.p_two_sided:.1g}",
            f"{each.steered_coherence:.0f}",
        )
        for each in cells.itertuples()
    )  # fmt: skip
    columns = ("milestone", "vector from", "evaluated on", "plain", "effect, 95 % interval", "p", "coh.")
    pairs = cosines[cosines["first"] < cosines["second"]] if len(cosines) else cosines
    alike = tuple(
        (str(e.milestone), str(e.layer), str(e.first), str(e.second), f"{e.cosine:.2f}") for e in pairs.itertuples()
    )
    return (
        Summary("steered minus plain, in score points", columns, rows),
        Summary("cosines between the forms' vectors", ("milestone", "layer", "form", "form", "cosine"), alike),
    )
