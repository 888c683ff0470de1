"""Every problem in published data that changes a conclusion, found from the data.

Owns: :func:`audit` and :class:`Audit`. The one law: a finding follows from the files alone; nothing is looked for by
the name of a model, a trait or a checkpoint, and data without a problem give no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from personascope_published.audits.aliases import find_aliases
from personascope_published.audits.annotations import find_annotations
from personascope_published.audits.controls import find_controls
from personascope_published.audits.counts import find_counts
from personascope_published.audits.designs import find_designs
from personascope_published.audits.duplicates import find_duplicates
from personascope_published.audits.evidence import Evidence
from personascope_published.audits.facets import find_facets
from personascope_published.audits.families import find_families
from personascope_published.audits.findings import SEVERITIES, Finding
from personascope_published.audits.geometry import find_geometry
from personascope_published.audits.judging import find_judging
from personascope_published.audits.leaks import find_leaks
from personascope_published.audits.norm_files import find_norm_files
from personascope_published.audits.norms import find_norms
from personascope_published.audits.pairs import find_pairs
from personascope_published.audits.records import find_records
from personascope_published.reading import Problem, Published

FAMILIES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    find_leaks, find_controls, find_pairs, find_norms, find_records, find_duplicates, find_aliases, find_families,
    find_facets, find_designs, find_judging, find_counts, find_annotations, find_geometry, find_norm_files,
)  # fmt: skip
"""Every family of problems; among findings of one severity this is their order."""

PRINTED = ["severity", "kind", "where", "finding", "correction"]
"""The columns of an audit for people."""

OVERVIEW = ["severity", "kind", "findings"]
"""The columns of an audit in brief."""


@dataclass(frozen=True)
class Audit:
    """What is wrong with published data, the worst first; and the files that could not be read."""

    findings: tuple[Finding, ...]
    problems: tuple[Problem, ...] = ()

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(each for each in self.findings if each.kind == kind)

    def rows(self) -> pd.DataFrame:
        """One row per finding, columns ``PRINTED``; ``where`` is its first place and the number of the others."""
        rows = [[each.severity, each.kind, _first(each.where), each.what, each.correction] for each in self.findings]
        return pd.DataFrame(rows, columns=PRINTED)

    def overview(self) -> pd.DataFrame:
        """One row per severity and kind, columns ``OVERVIEW``: how many findings there are of it, the worst first."""
        counts = Counter((each.severity, each.kind) for each in self.findings)
        return pd.DataFrame([[*about, count] for about, count in counts.items()], columns=OVERVIEW)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, unknown numbers as ``None``."""
        counts = {severity: sum(each.severity == severity for each in self.findings) for severity in SEVERITIES}
        return {
            "severities": counts,
            "findings": [each.to_json() for each in self.findings],
            "problems": [vars(problem) for problem in self.problems],
        }


def audit(study: Published) -> Audit:
    """Looks for every family of problems in a published study.

    Files that cannot be read are among ``problems``; everything else is looked at all the same.
    """
    evidence = Evidence(study)
    found = [finding for family in FAMILIES for finding in family(evidence)]
    worst_first = sorted(found, key=lambda each: SEVERITIES.index(each.severity))
    return Audit(tuple(worst_first), tuple(study.problems))


def _first(where: tuple[str, ...]) -> str:
    if not where:
        return ""
    return where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"
