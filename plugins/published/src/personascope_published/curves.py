"""From published arms to the answers frame of the analysis.

Owns: :func:`led`, :func:`answer_frame` and :func:`absent_frame`. The one law: a published answer stands in a frame once
for every arm it belongs to, whatever the results files repeat, and ``response_key`` says which file and row it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from personascope.analysis.frames import ANSWER, ARM
from personascope.core.lineages import Milestone
from personascope_published.arms import Arm
from personascope_published.reading import Published, PublishedError, trait_of


@dataclass(frozen=True)
class Led:
    """An arm, what it steers (``target``, empty for the vector's own checkpoint), and whether it is on the curve."""

    arm: Arm
    target: str
    chosen: bool


def led(study: Published, arms: Sequence[Arm]) -> list[Led]:
    """Arms with what they steer, and with the one way of steering that makes each curve.

    Of all the ways in which the vectors of a trait were steered on a target (layer, strength, scaling, and the results
    file that says so), the curve is the one with the most milestones; ties go to a known strength, then to the name.
    The others are kept as arms that were not chosen. An arm that was steered as another one of its milestone, or whose
    answers another one has too, is left out, so that nothing counts twice.
    """
    groups: dict[tuple[str, ...], list[Arm]] = defaultdict(list)
    for arm, target in zip(arms, _targets(study, arms), strict=True):
        groups[arm.model, arm.column, arm.evaluated_column, target].append(arm)
    return [each for (*_, target), mine in groups.items() for each in _led(mine, target)]


def _led(arms: Sequence[Arm], target: str) -> Iterator[Led]:
    milestones: dict[tuple[str, str, str, str, str], set[str]] = defaultdict(set)
    for arm in arms:
        milestones[arm.way].add(arm.source.label)
    known = {arm.way: not math.isnan(arm.strength) for arm in arms}
    ways = sorted(milestones, key=lambda way: (-len(milestones[way]), not known[way], way))
    taken: dict[str, list[Arm]] = defaultdict(list)
    # Those made of several files come first, so that an arm of one of them is known for a part.
    for arm in sorted(arms, key=lambda each: (ways.index(each.way), -len(each.steered_files), each.row)):
        beside = taken[arm.source.label]
        if not any(_repeats(arm, other) for other in beside):
            beside.append(arm)
            yield Led(arm, target, arm.way == ways[0])


def _repeats(arm: Arm, other: Arm) -> bool:
    """Whether an arm is a part of another, or was steered in the same way."""
    part = arm.plain_file == other.plain_file and set(arm.steered_files) <= set(other.steered_files)
    same = {str((each.layer, each.strength, each.unit, each.norm)) for each in (arm, other)}
    return part or len(same) == 1


def _targets(study: Published, arms: Sequence[Arm]) -> list[str]:
    """What each arm steers: empty for its own checkpoint, else the target's label.

    A vector on its own checkpoint is the end of a target's curve if its way has only that one, and others onto it.
    """
    own: dict[object, int] = defaultdict(int)
    onto: dict[object, set[str]] = defaultdict(set)
    for arm in arms:
        own[arm.way] += arm.diagonal
        if not arm.diagonal:
            onto[arm.way].add(target_label(study, arm))
    return [
        ""
        if arm.diagonal and (own[arm.way] > 1 or target_label(study, arm) not in onto[arm.way])
        else target_label(study, arm)
        for arm in arms
    ]


def target_label(study: Published, arm: Arm) -> str:
    """What the steered checkpoint is called: its revision, a target of the vector's lineage, or its model's folder."""
    if arm.steered_model == arm.model:
        return arm.evaluated.label
    known = [each for each in study.lineage(arm.model).targets if each.checkpoint == arm.evaluated.checkpoint]
    return known[0].label if known else arm.steered_model


def answer_frame(study: Published, arms: Iterable[Led]) -> pd.DataFrame:
    """One row per published answer of every arm (columns ``ARM`` and ``ANSWER``), as a trace would have given.

    Questions go by their published names. An arm whose files are missing, damaged or of another trait is one row that
    says so. The arms are to be of one model, because a frame does not name the vector's.
    """
    frames = [_rows(study, each) for each in arms]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*ARM, *ANSWER])


def _rows(study: Published, each: Led) -> pd.DataFrame:
    about = _about(study, each)
    try:
        sides = {"plain": _side(study, each.arm, [each.arm.plain_file])}
        sides["steered"] = _side(study, each.arm, each.arm.steered_files)
    except PublishedError as problem:
        return pd.DataFrame([about | {"absence": "no scores", "reason": str(problem)}], columns=[*ARM, *ANSWER])
    answers = pd.concat([side.assign(pole=pole) for pole, side in sides.items()], ignore_index=True)
    return answer_columns(answers).assign(**about)[[*ARM, *ANSWER]]


def answer_columns(answers: pd.DataFrame) -> pd.DataFrame:
    """Published answers with a ``pole`` in the columns ``ANSWER``; ``draw`` counts the answers to a question."""
    keys = answers["file"] + ":" + answers["row"].astype(str)
    columns = {
        "pole": answers["pole"],
        "question": answers["question_id"],
        "draw": answers.groupby(["pole", "question_id"], sort=False).cumcount(),
        "score": answers["score"],
        "outcome": np.where(answers["score"].notna(), "scored", "unscored"),
        "coherence": answers["coherence"],
        "coherence_outcome": np.where(answers["coherence"].notna(), "scored", "unscored"),
        "response_key": keys,
        "verdict_key": keys + ":" + answers["column"],
        "coherence_key": keys + ":coherence",
    }
    return pd.DataFrame(columns, columns=ANSWER)


def _side(study: Published, arm: Arm, files: Iterable[str]) -> pd.DataFrame:
    frames = []
    for file in dict.fromkeys(files):
        answers = study.answers(file)
        if len(answers) and (held := answers["column"].iloc[0]) != arm.evaluated_column:
            raise PublishedError(
                f"{file} holds the scores of {held or 'nobody'}, not those of {arm.evaluated_column}: it was written "
                "over; ask its authors for the first version"
            )
        frames.append(answers)
    return pd.concat(frames, ignore_index=True)


def _about(study: Published, each: Led) -> dict[str, Any]:
    arm = each.arm
    trait, extracted_as, evaluated_as = arm.traits
    applied = {"residual": arm.strength * arm.norm, "unit": arm.strength}.get(arm.unit, math.nan)
    return {
        **milestone_columns(study, arm.model, arm.source), "trait": trait, "extracted_as": extracted_as,
        "evaluated_as": evaluated_as, "target": each.target, "direction": "extracted", "chosen": each.chosen,
        "layer": "" if math.isnan(arm.layer) else f"{arm.layer:g}", "strength": arm.strength, "unit": arm.unit,
        "where": "response", "operation": "add", "vector_length": math.nan, "residual_norm": arm.norm,
        "applied_norm": applied,
        "pairs_asked": math.nan, "pairs_kept": math.nan, "absence": "", "reason": "",
    }  # fmt: skip


def milestone_columns(study: Published, model: str, milestone: Milestone) -> dict[str, Any]:
    """The columns that say when in its model's training a milestone was."""
    labels = [each.label for each in study.lineage(model)]
    return {
        "milestone": milestone.label,
        "place": labels.index(milestone.label) if milestone.label in labels else len(labels),
        "tokens_seen": math.nan if milestone.tokens_seen is None else float(milestone.tokens_seen),
        "stage": milestone.stage,
        "same_weights_as": milestone.same_weights_as,
    }


def absent_frame(study: Published, arms: Iterable[Led]) -> pd.DataFrame:
    """One row (columns ``ARM`` and ``ANSWER``) per curve and milestone at which the study found no vector."""
    held = list(arms)
    there = {(each.arm.model, each.arm.column, each.target, each.arm.source.label) for each in held}
    failed = failures(study)
    rows: list[dict[str, Any]] = []
    for model, column, evaluated, target in dict.fromkeys(
        (each.arm.model, each.arm.column, each.arm.evaluated_column, each.target) for each in held
    ):
        mine = failed[(failed["model"] == model) & (failed["column"] == column)]
        for revision, reason in zip(mine["revision"], mine["reason"], strict=True):
            milestone = study.place(model, revision)
            if (model, column, target, milestone.label) not in there:
                trait, form = trait_of(column)
                rows.append({
                    **milestone_columns(study, model, milestone), "trait": trait, "extracted_as": form,
                    "evaluated_as": trait_of(evaluated)[1], "target": target, "direction": "extracted", "chosen": True,
                    "layer": "", "unit": "", "where": "", "operation": "", "absence": "no vector",
                    "reason": reason,
                })  # fmt: skip
    return pd.DataFrame(rows, columns=[*ARM, *ANSWER])


def failures(study: Published) -> pd.DataFrame:
    """Where the study found no vector, by its status files and its tables: model, column, revision, reason."""
    statuses = study.vectors()
    statuses = statuses[(statuses["status"] == "nonextractable") & (statuses["variant"] == "")]
    places = statuses["reason_code"] + " (" + statuses["status_file"] + ")"
    frames = [statuses[["model", "column", "revision"]].assign(reason=places)]
    for results in study.combined():
        held = results.rows
        if {"status", "trait", "extract_revision"} <= set(held):
            none = held[held["status"] == "nonextractable"]
            places = "nonextractable (" + results.file + ": row " + none["row"].astype(str) + ")"
            found = {"model": results.model, "column": none["trait"], "revision": none["extract_revision"]}
            frames.append(pd.DataFrame({**found, "reason": places}, index=none.index))
    frame = pd.concat(frames, ignore_index=True)
    return frame.drop_duplicates(["model", "column", "revision"], ignore_index=True)
