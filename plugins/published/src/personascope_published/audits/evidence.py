"""What the audit looks at, read once: every family sees the same rows and the same answers.

Cells of a results table that were pooled from several files of answers are explained by files only if their rows, each
file counted so many times, give the recorded number of rows and the recorded mean; all that is assumed of a companion
file's name is that it goes on where the name of the row's file ends.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.significance import sign_flip_p
from personascope.core.vectors import PersonaVector
from personascope_published.audits.extraction import extraction_rows
from personascope_published.audits.findings import records
from personascope_published.audits.rows import result_rows, with_curves
from personascope_published.audits.survey import survey_rows
from personascope_published.reading import Published, PublishedError

MOST_TIMES = 3
MOST_COMPANIONS = 4
TOLERANCE = 1e-9

Composition = Mapping[str, int]
"""How often each file was counted."""


def merges_of(
    rows: pd.DataFrame, files: Iterable[str], answers: Callable[[str], pd.DataFrame | None]
) -> dict[tuple[str, int], Composition]:
    """The composition of every row that counts more answers than its steered file holds, where files explain it."""
    found = {}
    known = list(files)
    for row in records(rows, ["file", "row", "steered_file", "steered_rows", "steered_mean"]):
        own = answers(row["steered_file"])
        if own is None or not row["steered_rows"] > len(own):
            continue
        stem = row["steered_file"].removesuffix(".csv")
        companions = [file for file in known if file.startswith(f"{stem}_")][:MOST_COMPANIONS]
        held = {file: answers(file) for file in (row["steered_file"], *companions)}
        sides = {file: each for file, each in held.items() if each is not None and len(each)}
        if composition := _composition(sides, row["steered_rows"], row["steered_mean"]):
            found[(row["file"], row["row"])] = composition
    return found


def _composition(sides: Mapping[str, pd.DataFrame], count: float, mean: float) -> Composition | None:
    scores = {file: each["score"].dropna() for file, each in sides.items()}
    more = [range(MOST_TIMES + 1)] * (len(sides) - 1)
    for counts in itertools.product(range(1, MOST_TIMES + 1), *more):
        times = dict(zip(sides, counts, strict=True))
        if sum(n * len(sides[file]) for file, n in times.items()) != count:
            continue
        total = sum(n * scores[file].sum() for file, n in times.items())
        number = sum(n * len(scores[file]) for file, n in times.items())
        if number and abs(total / number - mean) <= TOLERANCE * max(1.0, abs(mean)):
            return {file: n for file, n in times.items() if n}
    return None


SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Contrast:
    """Steered against plain answers: the mean difference of question means, and its exact sign-flip p."""

    effect: float
    p: float
    questions: int


@dataclass(eq=False)
class Evidence:
    """A study with what several families need of it."""

    study: Published
    _vectors: dict[str, PersonaVector | None] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def results(self) -> pd.DataFrame:
        """Every row of every ``combined_significance.csv`` (see :func:`result_rows`)."""
        return result_rows(self.study, self.study.results())

    @functools.cached_property
    def listed(self) -> pd.DataFrame:
        """Every row of every grid's ``combined.csv``."""
        return result_rows(self.study, self.study.combined())

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """The results that make curves along training (see :func:`with_curves`)."""
        return with_curves(self.results)

    @functools.cached_property
    def survey(self) -> pd.DataFrame:
        """One row per file of answers: what it holds and what is odd about it (see :func:`survey_rows`)."""
        return survey_rows(self.study.response_files(), self.answers)

    @functools.cached_property
    def pairs(self) -> pd.DataFrame:
        """The pairs behind every vector, counted again (see :func:`extraction_rows`)."""
        return extraction_rows(self.study.response_files(), self.answers)

    @functools.cached_property
    def merges(self) -> dict[tuple[str, int], Composition]:
        """The cells pooled from several files, by file and row (see :func:`merges_of`)."""
        return merges_of(self.results, self.study.response_files()["file"], self.answers)

    @functools.cached_property
    def norms(self) -> dict[tuple[str, int], float]:
        """The mean norm of the residual stream by norm file and layer."""
        table = self.study.norms()
        return dict(zip(zip(table["file"], table["layer"], strict=True), table["mean"], strict=True))

    def answers(self, file: str) -> pd.DataFrame | None:
        """The answers in a file, ``None`` if there is no such file or it cannot be read."""
        if not self.study.has(file):
            return None
        try:
            return self.study.answers(file)
        except PublishedError:
            return None

    def sides(self, row: Mapping[str, Any]) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
        """The plain and the steered answers a row of results names; ``None`` where they are absent.

        A file that holds another trait's scores now was written over, and is as good as absent.
        """
        plain, steered = (self.answers(row[f"{side}_file"]) for side in ("baseline", "steered"))
        held = [
            each if each is not None and set(each["column"]) <= {row["trait"]} else None for each in (plain, steered)
        ]
        return held[0], held[1]

    def merged(self, rows: pd.DataFrame) -> np.ndarray:
        """Which of these results were pooled from several files."""
        keys = zip(rows["file"], rows["row"], strict=True)
        return np.array([key in self.merges for key in keys], dtype=bool)

    @functools.cached_property
    def _vector_files(self) -> dict[tuple[str, str, str], str]:
        table = self.study.vectors()
        held = table[(table["file"] != "") & (table["variant"] == "") & (table["span"] == "response")]
        return {(each["model"], each["revision"], each["column"]): each["file"] for each in records(held)}

    def vector(self, model: str, revision: str, column: str) -> PersonaVector | None:
        """The vector of a trait column at a revision, ``None`` if there is none or it cannot be read."""
        file = self._vector_files.get((model, revision, column), "")
        if file not in self._vectors:
            try:
                self._vectors[file] = self.study.vector(file) if file else None
            except PublishedError:
                self._vectors[file] = None
        return self._vectors[file]

    def cosine(self, model: str, column: str, one: str, two: str, *, layer: float) -> float:
        """The cosine of a trait column's vectors at two revisions; NaN where either, or the layer, is not there."""
        first, second = self.vector(model, one, column), self.vector(model, two, column)
        if first is None or second is None or not layer <= min(first.last_layer, second.last_layer):
            return np.nan
        return float(first.cosine(second)[int(layer)])

    def aliases(self, model: str) -> dict[str, str]:
        """The revisions of a model that are another one's weights under a second name, as the lineage says."""
        lineage = self.study.lineage(model)
        held = {each.label for each in lineage}
        return {each.label: each.same_weights_as for each in lineage if each.same_weights_as in held}


def contrast(plain: pd.DataFrame, steered: pd.DataFrame) -> Contrast:
    """The effect of steering over the questions both have scores of; NaN where there is none."""
    means = [each.groupby("question_id")["score"].mean() for each in (plain, steered)]
    differences = (means[1] - means[0]).dropna().to_numpy(dtype=np.float64)
    if not len(differences):
        return Contrast(np.nan, np.nan, 0)
    return Contrast(float(differences.mean()), sign_flip_p(differences)[0], len(differences))


def crossing(before: pd.Series, after: pd.Series) -> int:
    """How many p-values cross 0.05 in either direction."""
    return int(((before < SIGNIFICANT) != (after < SIGNIFICANT)).sum())
