"""The published repository as one value: what it holds, read when asked for.

Owns: :func:`open_published` and :class:`Published`. The one law: a file that cannot be read becomes a problem with its
name, and everything else is still read. Paths are relative to the repository's root, with ``/``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pandas as pd

from personascope.core.errors import PersonascopeError
from personascope.core.lineages import Lineage, Milestone
from personascope.core.vectors import PersonaVector
from personascope_published.reading import places, tables, vectors
from personascope_published.reading.layout import (
    PLACES,
    RESPONSES,
    TRAIT_SETS,
    VECTORS,
    is_of_the_layout,
    is_results,
    response_place,
    trait_of,
)
from personascope_published.reading.reading import (
    Problem,
    PublishedError,
    answers_in,
    files_below,
    read_header,
    read_rows,
    trait_column,
)
from personascope_published.reading.tables import FacetFile, ResultsFile

Value = TypeVar("Value")

RESPONSE = [
    "file", "kind", "model", "revision", "source_revision", "run", "variant", "column", "trait", "form", "pole",
    "vector_column", "layer", "coef", "scaling", "target_norm", "extended",
]  # fmt: skip
"""The columns of the list of responses files: what each is by its place and its name, and whose scores it holds."""


@dataclass(eq=False)
class Published:
    """A published repository. What is read is kept, so a second question costs nothing.

    ``problems`` are those met so far: they grow as more is read.
    """

    root: Path
    problems: list[Problem] = field(default_factory=list)
    _files: tuple[str, ...] = ()
    _answers: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def note(self, file: str, reason: str) -> None:
        """Adds a problem, once."""
        if (problem := Problem(file, reason)) not in self.problems:
            self.problems.append(problem)

    def files(self, below: str = "", ending: str = "") -> list[str]:
        """The files below a folder whose names end so, in alphabetical order."""
        start = f"{below}/" if below else ""
        return [each for each in self._files if each.startswith(start) and each.endswith(ending)]

    def has(self, file: str) -> bool:
        """Whether there is such a file."""
        return file in self._known

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._files)

    def path(self, file: str) -> Path:
        """Where a file lies.

        Raises:
            PublishedError: if the path leaves the repository.
        """
        parts = PurePosixPath(file)
        if parts.is_absolute() or ".." in parts.parts:
            raise PublishedError(f"{file} lies outside the published data: paths are relative to its root")
        return self.root / file

    # What answered, and when in training.

    @functools.cached_property
    def models(self) -> list[str]:
        """The model folders, in alphabetical order."""
        return places.models_of(self._files)

    def lineage(self, model: str) -> Lineage:
        """The revisions of a model that the repository holds, in order of training, and those it was transferred to."""
        return self._lineages(model)

    def place(self, model: str, revision: str) -> Milestone:
        """When in training a revision was saved, as far as its name or a bundled lineage says."""
        return places.place_of(model, revision)

    @functools.cached_property
    def _lineages(self) -> Callable[[str], Lineage]:
        seen, targets = places.revisions_of(self._files), dict[str, set[str]]()
        for each in self.results():
            for name, held in (("extract_revision", seen), ("eval_model_name", targets)):
                if name in each.rows:
                    held.setdefault(each.model, set()).update(set(each.rows[name]) - {""})
        return functools.cache(lambda model: places.lineage_of(model, seen.get(model, ()), targets.get(model, ())))

    # Answers.

    def response_files(self) -> pd.DataFrame:
        """One row per responses file, columns ``RESPONSE``: what :class:`Place` says of it, and its trait column."""
        return self._response_files.copy()

    @functools.cached_property
    def _response_files(self) -> pd.DataFrame:
        rows = []
        for file in self.files(RESPONSES, ".csv"):
            place = response_place(file)
            if place is None:
                self.note(file, "its name is none of the layout (baseline, steering results, pos or neg instruct)")
                continue
            column = self._try(file, self._column_of)
            if column is not None:
                trait, form = trait_of(column) if column else ("", "")
                rows.append({"file": file, **vars(place), "column": column, "trait": trait, "form": form})
        return pd.DataFrame(rows, columns=RESPONSE)

    def _column_of(self, root: Path, file: str) -> str:
        column = trait_column(read_header(root / file, file), file)
        named = re.search(r"/([^/]+)_(?:pos|neg)_instruct\.csv$", file)
        if named and column and column != named[1]:
            self.note(
                file, f"{file} is named for {named[1]} and holds the scores of {column}: it is read as the latter"
            )
        return column

    def answers(self, file: str) -> pd.DataFrame:
        """The rows of a responses file, columns ``ANSWER``. Not to be changed: the frame is kept.

        Raises:
            PublishedError: if it cannot be read; the reason is then among ``problems`` as well.
        """
        if file not in self._answers:
            try:
                self._answers[file] = answers_in(*read_rows(self.path(file), file), file)
            except PublishedError as problem:
                self.note(file, str(problem))
                raise
        return self._answers[file]

    # Results.

    def results(self) -> list[ResultsFile]:
        """Every ``combined_significance.csv``."""
        return self._results("results", lambda file: file.endswith("/combined_significance.csv"))

    def other_results(self) -> list[ResultsFile]:
        """Tables beside them that call themselves significance as well."""
        return self._results("other", lambda f: is_results(f) and not f.endswith("/combined_significance.csv"))

    def combined(self) -> list[ResultsFile]:
        """Every ``combined.csv`` of a grid, which has the milestones without a vector as well."""
        return [each for each in self._all_combined() if each.kind != "control"]

    def controls(self) -> list[ResultsFile]:
        """Every ``combined.csv`` of a run of controls."""
        return [each for each in self._all_combined() if each.kind == "control"]

    def _all_combined(self) -> list[ResultsFile]:
        return self._results("combined", lambda file: file.endswith("/combined.csv"))

    def cosines(self) -> list[ResultsFile]:
        """Every published table of cosines between vectors."""
        files = [file for file in self.files("results", ".csv") if "/vector_similarity/" in file]
        return self._kept("cosines", lambda: self._each(files, tables.cosine_file))

    def _results(self, key: str, wanted: Callable[[str], bool]) -> list[ResultsFile]:
        files = [file for file in self.files("results", ".csv") if wanted(file)]
        return self._kept(key, lambda: self._each(files, tables.results_file))

    def pass_rates(self) -> pd.DataFrame:
        """The published extraction pass rates, with file and row."""
        files = self.files("results", "/pass_rate.csv")
        return _stacked(each.assign(file=file) for file, each in self._pairs(files, tables.read_table))

    # Vectors and norms.

    def vectors(self) -> pd.DataFrame:
        """One row per vector, or per status that says why there is none (its ``file`` is then empty)."""
        found = self._kept("vectors", lambda: [vectors.vector_rows(self.files(VECTORS), self.root, self.note)])
        return found[0].copy()

    def vector(self, file: str) -> PersonaVector:
        """The vector in a file.

        Raises:
            PublishedError: if it is damaged, would execute code, or holds no vector.
        """
        try:
            return vectors.load_vector(self.path(file), file)
        except PersonascopeError as problem:
            self.note(file, str(problem))
            raise

    def norms(self) -> pd.DataFrame:
        """One row per activation-norm file and layer: file, model, revision, label, layer, mean, std, count."""
        files = [file for file in self.files("results", ".csv") if "/activation_norms/" in file]
        frame = _stacked(each for _, each in self._pairs(files, tables.norms_in))
        return frame if len(frame.columns) else pd.DataFrame(columns=tables.NORM)

    # Annotations and traits.

    def facets(self) -> list[FacetFile]:
        """Every annotation file; a label that any of them uses is a column of all that share its column of labels."""
        files = [file for file in self.files("results", ".csv") if "/facet_annotation/" in file]
        return self._kept("facets", lambda: tables.with_shared_labels(self._each(files, tables.facet_file)))

    def human_facets(self) -> list[tuple[str, pd.DataFrame]]:
        """The annotations of a person beside the model's, by file."""
        files = [f for f in self.files("analysis", ".json") if "_validation/annotations" in f]
        return self._pairs(files, tables.human_annotations)

    def traits(self) -> pd.DataFrame:
        """One row per trait file: file, set, column, questions, eval_prompt, instructions."""
        files = [file for folder in TRAIT_SETS.values() for file in self.files(folder, ".json")]
        columns = ["file", "set", "column", "questions", "eval_prompt", "instructions"]
        return pd.DataFrame([row for _, row in self._pairs(files, tables.trait_rows)], columns=columns)

    # Reading what can be read.

    @functools.cached_property
    def _store(self) -> dict[str, Any]:
        return {}

    def _kept(self, key: str, read: Callable[[], Value]) -> Value:
        if key not in self._store:
            self._store[key] = read()
        found: Value = self._store[key]
        return found

    def _try(self, file: str, read: Callable[[Path, str], Value]) -> Value | None:
        try:
            return read(self.root, file)
        except PersonascopeError as problem:
            self.note(file, str(problem))
            return None

    def _pairs(self, files: Iterable[str], read: Callable[[Path, str], Value]) -> list[tuple[str, Value]]:
        tried = [(file, self._try(file, read)) for file in files]
        return [(file, value) for file, value in tried if value is not None]

    def _each(self, files: Iterable[str], read: Callable[[Path, str], Value]) -> list[Value]:
        return [value for _, value in self._pairs(files, read)]


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    held = list(frames)
    return pd.concat(held, ignore_index=True) if held else pd.DataFrame()


def open_published(path: str | Path) -> Published:
    """The published repository in a folder. Nothing is read yet but the names of its files.

    Raises:
        PublishedError: if there is no such folder, or it holds nothing of the layout.
    """
    root = Path(path)
    if not root.is_dir():
        raise PublishedError(f"{path} is not a folder: give the one that holds the published repository")
    files, problems = files_below(root)
    if not any(map(is_of_the_layout, files)):
        raise PublishedError(
            f"{path} holds nothing of the published layout ({', '.join(PLACES)}): give the repository's root folder"
        )
    return Published(root, problems, tuple(files))
