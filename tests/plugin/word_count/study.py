"""A kind of study: how long are a model's answers to some questions, by its judge's score?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import matplotlib.figure
import pandas as pd

from personascope.core.records import Case, Sampling
from personascope.core.traits import Rubric
from personascope.studies.base import BaseStudy, Figure, Item, Summary, Table
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.generation import respond

RUBRIC = Rubric("How long is the answer? {question} {answer}")


@dataclass(frozen=True)
class LengthStudy(BaseStudy):
    """Questions to a model, and the judge that scores the answers."""

    FILES: ClassVar = ("lengths.csv", "lengths.png", "lengths.pdf")

    kind: str
    name: str
    model: str
    judge: str
    questions: tuple[str, ...]
    sampling: Sampling

    def run(self, context: RunContext) -> Iterator[Item]:
        engine, judge = context.open_engine(checkpoint_named(self.model)), context.open_judge(self.judge)
        answers = respond(engine, self.questions, sampling=self.sampling)
        asked = [question for question in self.questions for _ in range(self.sampling.draws)]
        cases = [Case(RUBRIC, question, each.words) for question, each in zip(asked, answers, strict=True)]
        scores = [each.score for each in judge.score(cases)]
        rows = pd.DataFrame({"question": asked, "score": scores}).groupby("question", as_index=False).mean()
        yield Table("lengths", rows)
        yield Figure("lengths", lambda: draw(rows))
        cells = tuple((str(row.question), f"{row.score:.1f}") for row in rows.itertuples())
        yield Summary("how long answers are", ("question", "score"), cells)


def draw(rows: pd.DataFrame) -> matplotlib.figure.Figure:
    """One bar per question."""
    figure = matplotlib.figure.Figure(figsize=(4, 2))
    figure.subplots().barh(rows["question"], rows["score"])
    return figure
