"""Which revisions are one checkpoint, and which files hold the same answers.

Owns: :class:`Twins` and :func:`twins_in`. The one law: two revisions are one checkpoint if the lineage says so, if
their residual norms are equal at every layer, or if they gave the same answers word for word; equal tokens alone are no
evidence.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pandas as pd

from personascope.published.audits.evidence import Evidence
from personascope.published.audits.findings import several

Copy = tuple[str, str]
"""Two files that hold the same questions and answers in the same order."""


@dataclass
class Twins:
    """Two revisions of a model that are one checkpoint, and why that is so."""

    model: str
    first: str
    second: str
    listed: bool = False
    same_tokens: bool = False
    norm_labels: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, str]:
        """The two revisions, in order of training."""
        return self.first, self.second

    @property
    def reasons(self) -> str:
        """The evidence in words."""
        said = ["the lineage lists them as one"] if self.listed else []
        said += ["equal tokens seen"] if self.same_tokens else []
        said += [f"equal norms at every layer in {several(len(self.norm_labels), 'file')}"] if self.norm_labels else []
        said += [f"the same answers in {several(len(self.copies), 'file')}"] if self.copies else []
        return ", ".join(said)


def copies_in(survey: pd.DataFrame) -> list[Copy]:
    """Every two files whose questions and answers are the same, in the same order."""
    groups = survey[survey["digest"] != ""].groupby("digest")["file"]
    return [pair for _, files in groups for pair in itertools.combinations(sorted(files), 2)]


def twins_in(evidence: Evidence) -> list[Twins]:
    """Every two revisions of a model that are one checkpoint, with all the evidence for it."""
    found: dict[tuple[str, str, str], Twins] = {}

    def twins(model: str, names: tuple[str, str]) -> Twins:
        order = {each.label: place for place, each in enumerate(evidence.study.lineage(model))}
        first, second = sorted(names, key=lambda name: (order.get(name, len(order)), name))
        return found.setdefault((model, first, second), Twins(model, first, second))

    for model in evidence.study.models:
        for names in evidence.aliases(model).items():
            twins(model, names).listed = True
    for model, label, names in _equal_norms(evidence.study.norms()):
        twins(model, names).norm_labels.append(label)
    about = evidence.survey.set_index("file")
    for one, two in copies_in(evidence.survey):
        pair = about.loc[[one, two]]
        # What a steered model says depends on its vector as well, so equal steered answers are another finding.
        if pair["model"].nunique() == 1 and pair["revision"].nunique() == 2 and "steered" not in set(pair["kind"]):
            names = (str(pair["revision"].iloc[0]), str(pair["revision"].iloc[1]))
            twins(str(pair["model"].iloc[0]), names).copies.append((one, two))
    for each in found.values():
        tokens = {evidence.study.place(each.model, name).tokens_seen for name in each.names}
        each.same_tokens = len(tokens) == 1 and None not in tokens
    return list(found.values())


def _equal_norms(table: pd.DataFrame) -> list[tuple[str, str, tuple[str, str]]]:
    """Model, label and the two revisions of norm files of one label that agree at every layer."""
    found = []
    for (model, label), norms in table.groupby(["model", "label"]):
        profiles = {str(revision): tuple(mine["mean"]) for revision, mine in norms.groupby("revision")}
        for (first, mine), (second, theirs) in itertools.combinations(profiles.items(), 2):
            if len(mine) > 1 and mine == theirs:
                found.append((str(model), str(label), (first, second)))
    return found
