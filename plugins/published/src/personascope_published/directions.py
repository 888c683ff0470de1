"""The published vectors of one model, at their milestones and layers, and the frames of their geometry.

Owns: :class:`Directions`, :func:`directions_of` and :func:`shared_extractions`. The one law: which layer a trait
is shown at, which milestone it is compared with and which norm files are used follow from the data by rules that are
written here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from personascope.analysis import geometry
from personascope.analysis.geometry import Placed
from personascope.core.errors import PersonascopeError
from personascope.core.vectors import PersonaVector
from personascope_published.audits.survey import digest_of
from personascope_published.curves import Led
from personascope_published.reading import Published, PublishedError

FEWEST = 3
"""A trait with vectors at fewer milestones has no course to draw."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The vectors of traits with at least ``FEWEST`` milestones, and how they are shown.

    ``layers`` is the layer by trait and form: the one the trait's own curve was steered at, else the one most traits
    were, else the middle. ``reference`` is the milestone with vectors of most traits, of those the last, and none that
    repeats another's weights. ``norms`` are the files with the label that most milestones have; ``others`` are all
    vectors of one revision that are not on a course, by name.
    """

    placed: tuple[Placed, ...]
    layers: Mapping[tuple[str, str], int]
    reference: str
    norms: pd.DataFrame
    others: Mapping[str, Mapping[str, PersonaVector]]

    @property
    def common(self) -> int:
        """The layer at which most traits are shown."""
        return Counter(self.layers.values()).most_common(1)[0][0]

    def name(self, trait: str, form: str) -> str:
        """A trait's name, with its form and layer where traits differ in them."""
        forms = {each for named, each in self.layers if named == trait}
        layer = f", layer {self.layers[trait, form]}" if len(set(self.layers.values())) > 1 else ""
        return f"{trait}{f', {form}' if len(forms) > 1 else ''}{layer}"

    def trajectories(self) -> pd.DataFrame:
        """:func:`~personascope.analysis.geometry.trajectory` of every trait at its layer, with ``curve``, its name."""
        frames = []
        for layer in sorted(set(self.layers.values())):
            at = self.norms[self.norms["layer"] == layer]
            norms = dict(zip(at["revision"].astype(str), at["mean"].astype(float), strict=True))
            found = geometry.trajectory(self.placed, layer, reference=self.reference, residual_norms=norms)
            frames.append(self._of_layer(found, layer))
        return self._named(pd.concat(frames, ignore_index=True))

    def ceiling(self) -> pd.DataFrame:
        """:func:`~personascope.analysis.geometry.noise_ceiling` of every trait at its layer, with its name."""
        layers = sorted(set(self.layers.values()))
        frames = [self._of_layer(geometry.noise_ceiling(self.placed, layer), layer) for layer in layers]
        return self._named(pd.concat(frames, ignore_index=True))

    def milestones(self) -> pd.DataFrame:
        """:func:`~personascope.analysis.geometry.milestone_cosines` of every trait at its layer, with its name."""
        layers = sorted(set(self.layers.values()))
        frames = [self._of_layer(geometry.milestone_cosines(self.placed, layer), layer) for layer in layers]
        return self._named(pd.concat(frames, ignore_index=True))

    def paths(self) -> pd.DataFrame:
        """:func:`~personascope.analysis.geometry.paths` at the common layer, without revisions that repeat weights."""
        labels = {each.milestone.label for each in self.placed}
        once = [each for each in self.placed if each.milestone.same_weights_as not in labels]
        return geometry.paths(once, self.common)

    def _of_layer(self, frame: pd.DataFrame, layer: int) -> pd.DataFrame:
        mine = {subject for subject, each in self.layers.items() if each == layer}
        return frame[[pair in mine for pair in zip(frame["trait"], frame["form"], strict=True)]]

    def _named(self, frame: pd.DataFrame) -> pd.DataFrame:
        names = [self.name(*pair) for pair in zip(frame["trait"], frame["form"], strict=True)]
        order = sorted(range(len(frame)), key=lambda row: names[row])  # layers must not decide the order of lines
        return frame.assign(curve=names).iloc[order].reset_index(drop=True)


def directions_of(study: Published, model: str, arms: Sequence[Led]) -> Directions | None:
    """The vectors of a model, over response tokens; ``None`` if no trait has a course. Bad files become problems."""
    rows = study.vectors()
    rows = rows[(rows["model"] == model) & (rows["file"] != "") & (rows["span"] == "response")]
    vectors: dict[tuple[str, str, str], dict[str, PersonaVector]] = defaultdict(dict)
    for row in rows.to_dict("records"):
        try:
            vector = study.vector(str(row["file"]))
        except PersonascopeError:
            continue  # study.problems names it
        vectors[str(row["trait"]), str(row["form"]), str(row["variant"])][str(row["revision"])] = vector
    courses = {key: held for key, held in vectors.items() if key[2] == "" and len(held) >= FEWEST}
    if not courses:
        return None
    placed = geometry.place_vectors(study.lineage(model), [v for held in courses.values() for v in held.values()])
    norms = study.norms()
    norms = norms[norms["model"] == model]
    revisions = {each.milestone.label for each in placed}
    chosen = norms[norms["label"] == _label(norms, revisions)]
    return Directions(placed, _layers(placed, arms), _reference(placed), chosen, _others(vectors))


def shared_extractions(study: Published, model: str) -> list[str]:
    """The trait columns of which one checkpoint has the same extraction answers under both of its names.

    Their cosine is no ceiling of extraction noise: a side of the vector was not drawn again.
    """
    files = study.response_files()
    files = files[(files["model"] == model) & (files["kind"] == "extraction") & (files["variant"] == "")]
    held = {(row["revision"], row["column"], row["pole"]): row["file"] for row in files.to_dict("records")}
    names = {each.label: each.same_weights_as for each in study.lineage(model) if each.same_weights_as}
    found: list[str] = []
    for (revision, column, pole), file in held.items():
        other = held.get((names.get(revision, ""), column, pole))
        if other is not None and (mine := _digest(study, file)) and mine == _digest(study, other):
            found.append(column)
    return list(dict.fromkeys(found))


def _digest(study: Published, file: str) -> str:
    """What tells a file's answers from others'; empty where there are none, or too short ones."""
    try:
        answers = study.answers(file)
    except PublishedError:
        return ""
    texts = answers[["question", "answer"]].dropna()
    return digest_of(texts["question"].tolist(), texts["answer"].tolist())


def _layers(placed: Sequence[Placed], arms: Sequence[Led]) -> dict[tuple[str, str], int]:
    steered = {
        each.arm.traits[:2]: int(each.arm.layer)
        for each in sorted(arms, key=lambda each: each.target == "")  # its own curve has the last word
        if each.chosen and each.arm.layer == each.arm.layer
    }
    middle = placed[0].vector.last_layer // 2
    usual = Counter(steered.values()).most_common(1)[0][0] if steered else middle
    return {subject: steered.get(subject, usual) for subject in dict.fromkeys(each.subject for each in placed)}


def _reference(placed: Sequence[Placed]) -> str:
    labels = {each.milestone.label for each in placed}
    traits = Counter(each.place for each in placed if each.milestone.same_weights_as not in labels)
    place = max(traits, key=lambda place: (traits[place], place))
    return next(each.milestone.label for each in placed if each.place == place)


def _label(norms: pd.DataFrame, revisions: set[str]) -> str:
    """The label of norm files that most of these revisions have; of several, one that says what it is."""
    mine = norms[norms["revision"].isin(revisions)].drop_duplicates(["revision", "label"])
    counts = Counter(mine["label"].astype(str))
    return max(counts, key=lambda label: (counts[label], label)) if counts else ""


def _others(
    vectors: Mapping[tuple[str, str, str], Mapping[str, PersonaVector]],
) -> dict[str, dict[str, PersonaVector]]:
    """The vectors of a trait that has several forms or variants at one revision, by both and then by name."""
    found: dict[str, dict[str, PersonaVector]] = defaultdict(dict)
    for (trait, form, variant), held in vectors.items():
        for revision, vector in held.items():
            found[f"{trait}, {revision}"][f"{form}, {variant}" if variant else form] = vector
    return {where: named for where, named in found.items() if len(named) > 1}
