"""Which arms make which curves of an imported study.

Owns: :func:`curve_sets`. The one law: one curve is steered in one way. Of all the ways that were tried, the one with
the most milestones is the curve; the others stand beside it as arms not chosen, and no answer counts twice.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from personascope.core.vectors import PairCounts
from personascope_published.arms import Arm
from personascope_published.import_rows import Source
from personascope_published.import_vectors import Pairs, Vectors
from personascope_published.imported import Imported, ImportedArm, PublishedCurves
from personascope_published.reading import Published, PublishedError, trait_of

_ROUNDING = 1e-9  # score points: more than sums of another order differ by

_Subject = tuple[str, str]  # the trait column of the vector, and that of the evaluation


@dataclass
class _Set:
    """The arms of one model that steer the same checkpoint: their own, or one target."""

    model: str
    target: str
    arms: list[Arm] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the study is called; folders are named for it, and a target's name is whatever a table says."""
        name = f"{self.model}-onto-{self.target}" if self.target else f"{self.model}-emergence"
        return re.sub(r"[\\/:]", "_", name)


def curve_sets(
    study: Published, arms: Sequence[Arm], sources: Mapping[str, Source], vectors: Vectors
) -> tuple[list[Imported], list[str]]:
    """An imported study per model for its own milestones, and one per target that its vectors steer; and notes.

    Args:
        arms: Those that are wanted.
        sources: The imported files of answers, by path.
        vectors: The imported vectors.
    """
    notes: list[str] = []
    sets: dict[tuple[str, str], _Set] = {}
    for arm, target in zip(arms, _targets(study, arms), strict=True):
        sets.setdefault((arm.model, target), _Set(arm.model, target)).arms.append(arm)
    made = []
    for each in sets.values():
        lineage = study.lineage(each.model)
        order = {milestone.label: place for place, milestone in enumerate(lineage)}
        chosen = _chosen(each.arms, notes)
        notes += _written_over(study, [arm for arm, _ in chosen])
        kept = [_kept(arm, first, sources, vectors) for arm, first in chosen]
        kept += _without_vectors(study, each, vectors)
        kept.sort(key=lambda arm: (arm.trait, arm.extracted_as, arm.evaluated_as, order[arm.milestone], not arm.chosen))
        made.append(Imported(PublishedCurves(each.name, model=each.model, target=each.target), lineage, tuple(kept)))
    return made, notes


def _targets(study: Published, arms: Sequence[Arm]) -> list[str]:
    """What each arm steers: nothing but its own checkpoint (empty), or the label of a target.

    A vector on its own checkpoint is the end of a target's curve if it is the only such arm of its way, and the others
    steer that checkpoint too.
    """
    own: dict[object, int] = defaultdict(int)
    onto: dict[object, set[str]] = defaultdict(set)
    for arm in arms:
        own[arm.way] += arm.diagonal
        if not arm.diagonal:
            onto[arm.way].add(_label(study, arm))
    return [
        "" if arm.diagonal and (own[arm.way] > 1 or _label(study, arm) not in onto[arm.way]) else _label(study, arm)
        for arm in arms
    ]


def _label(study: Published, arm: Arm) -> str:
    """What a steered checkpoint is called: its revision, or a target of the lineage, or the model's folder."""
    if arm.steered_model == arm.model:
        return arm.evaluated.label
    known = [each for each in study.lineage(arm.model).targets if each.checkpoint == arm.evaluated.checkpoint]
    if known:
        return known[0].label
    revision = arm.evaluated.checkpoint.revision
    return arm.steered_model if revision == "main" else f"{arm.steered_model}@{revision}"


def _chosen(arms: Sequence[Arm], notes: list[str]) -> list[tuple[Arm, bool]]:
    """The arms to keep, each with whether it is on the curve: those of its subject's way with the most milestones."""
    milestones: dict[object, set[str]] = defaultdict(set)
    for arm in arms:
        milestones[arm.way].add(arm.source.label)

    def rank(arm: Arm) -> tuple[int, bool, str]:
        return -len(milestones[arm.way]), math.isnan(arm.strength), str(arm.way)

    kept: dict[tuple[_Subject, str], list[Arm]] = defaultdict(list)
    leading: dict[_Subject, object] = {}
    found: list[tuple[Arm, bool]] = []
    parts: list[tuple[Arm, Arm]] = []
    # Compositions of several files first, so that their parts are seen to be parts.
    for arm in sorted(arms, key=lambda each: (*rank(each), -len(each.steered_files), each.row)):
        subject = (arm.column, arm.evaluated_column)
        chosen = leading.setdefault(subject, arm.way) == arm.way
        beside = kept[subject, arm.source.label]
        whole = next((other for other in beside if _part_of(arm, other)), None)
        if whole is not None:
            parts.append((arm, whole))
            continue
        if any(_same_way(arm, other) for other in beside):
            notes.append(
                f"{arm.results_file}: row {arm.row} was steered as another arm of {arm.source.label} and has other "
                "answers: its records are there, it is on no curve"
            )
            continue
        beside.append(arm)
        found.append((arm, chosen))
    notes += _mixed(parts)
    return found


def _part_of(arm: Arm, other: Arm) -> bool:
    return arm.plain_file == other.plain_file and set(arm.steered_files) <= set(other.steered_files)


def _mixed(pairs: Sequence[tuple[Arm, Arm]]) -> list[str]:
    """Notes on arms that hold answers which another row says were steered at another norm."""
    differing: dict[str, list[tuple[Arm, Arm]]] = defaultdict(list)
    for part, whole in pairs:
        other = set(part.steered_files) != set(whole.steered_files) and not math.isnan(part.norm)
        if other and part.norm != whole.norm:
            differing[whole.results_file].append((part, whole))
    return [
        f"{file}: {len(some)} arms mix answers steered at two norms, such as row {whole.row} at {whole.norm:g} "
        f"with those of row {part.row} at {part.norm:g}; the arm names the first"
        for file, some in differing.items()
        for part, whole in some[:1]
    ]


def _written_over(study: Published, arms: Sequence[Arm]) -> list[str]:
    """Notes on the files that no longer give what the tables record of them: what is imported is the files' answers."""
    differing: dict[tuple[str, str], list[tuple[int, float, float]]] = defaultdict(list)
    for arm in arms:
        sides = [(arm.plain_file, arm.plain_mean)]
        sides += [(file, arm.steered_mean) for file in arm.steered_files if len(arm.steered_files) == 1]
        for file, recorded in sides:
            if not study.has(file):
                continue  # the arm says so itself
            try:
                now = float(study.answers(file)["score"].mean())
            except PublishedError:
                continue
            if abs(now - recorded) > _ROUNDING:
                differing[arm.results_file, file].append((arm.row, recorded, now))
    return [
        f"{results}: {len(rows)} rows record a mean of {recorded:.4g} (row {row}) for {file}, which now gives "
        f"{now:.4g}: it was written over, and what is imported is what it holds now"
        for (results, file), rows in differing.items()
        for row, recorded, now in rows[:1]
    ]


def _same_way(arm: Arm, other: Arm) -> bool:
    def way(each: Arm) -> str:
        return str((each.layer, each.strength, each.unit, each.norm))

    return way(arm) == way(other)


def _kept(arm: Arm, chosen: bool, sources: Mapping[str, Source], vectors: Vectors) -> ImportedArm:
    trait, extracted_as, evaluated_as = arm.traits
    pairs = vectors.pairs.get((arm.model, arm.source.checkpoint.revision, "", arm.column), Pairs(PairCounts(0, 0)))
    plain, steered = sources.get(arm.plain_file), [sources.get(file) for file in arm.steered_files]
    reason = _lacking(arm, plain, steered)
    there = tuple(each for each in steered if each is not None)
    return ImportedArm(
        trait, extracted_as, evaluated_as, arm.source.label, chosen,
        layer=None if math.isnan(arm.layer) else int(arm.layer), strength=_known(arm.strength), unit=arm.unit,
        residual_norm=_known(arm.norm), vector=vectors.files.get(arm.vector_file, ""),
        plain=None if reason else plain, steered=() if reason else there,
        pairs_asked=pairs.counts.asked, pairs_kept=pairs.counts.kept,
        absence="no scores" if reason else "", reason=reason, published=f"{arm.results_file}: row {arm.row}",
    )  # fmt: skip


def _lacking(arm: Arm, plain: Source | None, steered: Sequence[Source | None]) -> str:
    """Why an arm has no answers; empty if it has."""
    for file, source in zip((arm.plain_file, *arm.steered_files), (plain, *steered), strict=True):
        if source is None:
            return f"{file} is not among the published answers"
        if source.column != arm.evaluated_column:
            held = f"the scores of {source.column}" if source.column else "no scores"
            return f"{file} holds {held}, not those of {arm.evaluated_column}: it was written over"
    return ""


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _without_vectors(study: Published, curves: _Set, vectors: Vectors) -> list[ImportedArm]:
    """The milestones where the study found no vector, for every subject of a set of curves."""
    there = {(arm.column, arm.source.label) for arm in curves.arms}
    rows = study.vectors()
    none = rows[(rows["model"] == curves.model) & (rows["variant"] == "") & (rows["status"] == "nonextractable")]
    absent = []
    for column, evaluated in dict.fromkeys((arm.column, arm.evaluated_column) for arm in curves.arms):
        trait, form = trait_of(column)
        for revision in none.loc[none["column"] == column, "revision"]:
            milestone = study.place(curves.model, revision).label
            if (column, milestone) in there:
                continue
            counts = vectors.pairs.get((curves.model, revision, "", column), Pairs(PairCounts(0, 0))).counts
            absent.append(
                ImportedArm(
                    trait,
                    form,
                    trait_of(evaluated)[1],
                    milestone,
                    pairs_asked=counts.asked,
                    pairs_kept=counts.kept,
                    absence="no vector",
                    reason=f"no vector: {counts}",
                )
            )
    return absent
