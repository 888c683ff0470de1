"""The published repository of the tracing study, read as it is.

Owns: the names others use. The one law: whatever the repository holds is read, whatever is missing or damaged is named,
and nothing is keyed to a model, a trait or a checkpoint.
"""

from __future__ import annotations

from personascope_published.reading.layout import is_results, revision_of, trait_of
from personascope_published.reading.reading import ANSWER, Problem, PublishedError
from personascope_published.reading.study import RESPONSE, Published, open_published
from personascope_published.reading.tables import NORM, FacetFile, ResultsFile

__all__ = [
    "ANSWER", "NORM", "RESPONSE", "FacetFile", "Problem", "Published", "PublishedError", "ResultsFile", "is_results",
    "open_published", "revision_of", "trait_of",
]  # fmt: skip
