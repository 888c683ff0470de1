"""Every figure and table of a published study, drawn from its data.

Beside every picture lies the frame it was drawn from, whose rows name the published files and rows behind them. A part
says what it lacks instead of drawing nothing, and no part knows a trait, a checkpoint or a file by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from personascope.analysis import geometry as angles
from personascope.analysis.corrections import corrected
from personascope.analysis.discourse import FORMS, form_matrix
from personascope.analysis.onset import onset
from personascope.analysis.transfer import Bin, binned, target_pairs, without_aliases
from personascope.applications.facets.figures import facets
from personascope.core.errors import PersonascopeError
from personascope.figures import tables
from personascope.figures.controls import controls
from personascope.figures.discourse import discourse
from personascope.figures.emergence import emergence
from personascope.figures.geometry import cosine_matrices, cosine_trajectory, mds, norms
from personascope.figures.style import save
from personascope.figures.transfer import transfer, transfer_bins, transfer_pairs
from personascope_published import frames
from personascope_published.arms import arms_of
from personascope_published.curves import Led, answer_frame, led
from personascope_published.directions import FEWEST, directions_of, shared_extractions
from personascope_published.reading import Published


def draw(study: Published, out: Path, *, made: Callable[[Path], None] = lambda path: None) -> list[str]:
    """Writes every figure (PNG and PDF), table (.tex) and the frame behind each (.csv), in a folder per model.

    A model that only others' vectors were steered on has no folder of its own.

    Args:
        out: Where to write; it is made.
        made: What is told of every file.

    Returns:
        What could not be drawn, or not from the answers, and why: one sentence each. Files that could not be read are
        among the study's problems.
    """
    notes: list[str] = []
    for model, (pieces, said) in pieces_of(study).items():
        notes += [f"{model}: {note}" for note in said]
        for piece in pieces:
            _write(piece, out / model, made)
    return notes


def _write(piece: Piece, folder: Path, made: Callable[[Path], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in piece.frames.items()}
    if piece.table is not None:
        texts[f"{piece.name}.tex"] = piece.table()
    for name, text in texts.items():
        draft = folder / f".{name}.{os.getpid()}.draft"  # a file is there whole or not at all
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(folder / name)
        made(folder / name)
    if piece.figure is not None:
        pictures = [folder / f"{piece.name}.{kind}" for kind in ("png", "pdf")]
        save(piece.figure(), *pictures)
        for picture in pictures:
            made(picture)


STRETCHES = (Bin("below 100 B", end=1e11), Bin("100 B to 5 T", 1e11, 5e12), Bin("from 5 T", 5e12))
"""The stretches of training over which transfer is averaged: those of the published figure."""


@dataclass(frozen=True)
class Piece:
    """A figure, a table, or both, and the frames behind them by the name of their file."""

    name: str
    frames: Mapping[str, pd.DataFrame]
    figure: Callable[[], Figure] | None = None
    table: Callable[[], str] | None = None


@dataclass(frozen=True)
class Shared:
    """What the parts of one model's drawing share; ``notes`` grows as parts find out what is missing."""

    study: Published
    model: str
    arms: tuple[Led, ...]
    answers: pd.DataFrame
    effects: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """What vectors were transferred to: the model's own revisions, then its lineage's targets, then others."""
        lineage = self.study.lineage(self.model)
        order = [each.label for each in (*lineage.milestones, *lineage.targets)]
        found = set(self.effects["target"]) - {""}
        return sorted(found, key=lambda target: (order.index(target) if target in order else len(order), target))

    def transferred(self) -> pd.DataFrame:
        """The curves onto every target, those with at least ``FEWEST`` effects."""
        every = [frames.drawn_curves(self.effects, target=target) for target in self.targets]
        drawn = pd.concat(every, ignore_index=True) if every else frames.drawn_curves(self.effects, target="none")
        effects = drawn.groupby(["curve", "target"])["effect"].transform("count")
        return drawn[effects >= FEWEST].reset_index(drop=True)


def pieces_of(study: Published) -> dict[str, tuple[list[Piece], list[str]]]:
    """What there is to draw of every model that has vectors or effects of its own, and what is missing."""
    arms = led(study, arms_of(study))
    found = {}
    for model in study.models:
        mine = tuple(each for each in arms if each.arm.model == model)
        answers = frames.whole_answers(study, mine)
        shared = Shared(study, model, mine, answers, frames.effect_frame(study, mine, answers))
        pieces = [piece for part in PARTS for piece in part(shared)]
        if pieces:
            found[model] = (pieces, shared.notes)
    return found


def _emergence(shared: Shared) -> Iterator[Piece]:
    found = shared.effects
    if found.empty:
        shared.notes.append("no effects: no results file has rows of this model")
        return
    yield Piece("effects", {"effects": found})
    ways = frames.ways_frame(shared.arms)
    yield Piece("ways", {"ways": ways}, table=partial(tables.plain_table, ways.drop(columns="results")))
    drawn = frames.drawn_curves(found, target="")
    if drawn.empty:
        shared.notes.append("no emergence: no vector was steered on the checkpoint it is from")
        return
    _published(shared, drawn, "emergence")
    drawn = corrected(drawn, family=["curve"])
    own = shared.answers[(shared.answers["target"] == "") & shared.answers["chosen"].astype(bool)]
    onsets = onset(own)
    yield Piece("onset", {"onset": onsets}, table=partial(tables.plain_table, onsets[_ONSET]))
    whole = frames.drawn_curves(found, target="", aliases=True)
    figure = partial(emergence, drawn, p="p_holm", onsets=onsets)
    yield Piece("emergence", {"emergence": drawn}, figure, partial(tables.emergence_table, whole))


_ONSET = ["curve", "milestone", "tokens_seen", "effect", "last_not_shown", "low_milestone", "high_milestone", "rule"]


def _published(shared: Shared, drawn: pd.DataFrame, part: str) -> None:
    """Notes what is drawn as published, because its answers are not there, and what is not as published."""
    lost = drawn[drawn["basis"] == "published"]
    if len(lost):
        shared.notes.append(
            f"{part}: {len(lost)} of {int(drawn['effect'].notna().sum())} effects are drawn as published, without an "
            f"interval, because their answers are missing or written over (first: {lost['results'].iloc[0]})"
        )
    apart = (drawn["effect"] - drawn["published_effect"]).abs() > 1e-9
    if apart.any():
        shared.notes.append(
            f"{part}: {int(apart.sum())} effects are not the published ones (by up to "
            f"{(drawn['effect'] - drawn['published_effect']).abs().max():.2f} points): `published check` says why"
        )
    silent = drawn[drawn["absence"].isin(["no scores"])]
    if len(silent):
        shared.notes.append(f"{part}: {len(silent)} milestones have neither answers nor a published effect")


def _transfer(shared: Shared) -> Iterator[Piece]:
    drawn = shared.transferred()
    if drawn.empty:
        shared.notes.append(f"no transfer: no target was steered with vectors of {FEWEST} milestones or more")
        return
    _published(shared, drawn, "transfer")
    drawn = corrected(drawn, family=["curve", "target"])
    figure = partial(transfer, drawn, p="p_holm")
    yield Piece("transfer_by_trait", {"transfer": drawn}, figure, partial(tables.transfer_table, drawn))
    yield Piece("transfer_by_target", {}, partial(transfer, drawn, panel="target", line="curve", p="p_holm"))
    bins = binned(drawn, STRETCHES, by=("curve", "target"))
    if len(bins):
        order = bins["target"].map({target: place for place, target in enumerate(shared.targets)})
        bins = bins.assign(order=order).sort_values(["curve", "order", "bin_place"], kind="stable")
        bins = bins.drop(columns="order").reset_index(drop=True)
        yield Piece("transfer_binned", {"transfer_binned": bins}, partial(transfer_bins, bins))
    else:
        shared.notes.append("no means over stretches of training: how many tokens were seen is not known")
    pairs = target_pairs(drawn, by=("curve",))
    if len(pairs):
        yield Piece("transfer_pairs", {"transfer_pairs": pairs}, partial(transfer_pairs, pairs))
    else:
        shared.notes.append("no pairs of targets: no vector was steered on two")


def _controls(shared: Shared) -> Iterator[Piece]:
    runs = []
    for results in shared.study.controls():
        if results.model == shared.model and len(results.rows):
            try:
                run = frames.control_frame(shared.study, results)
            except PersonascopeError as problem:
                shared.notes.append(f"controls: {problem}")
                continue
            runs.append(run.assign(note=frames.control_note(shared.effects, run)))
    if not runs:
        shared.notes.append("no controls: no table of controls has rows of this model")
        return
    every = pd.concat(runs, ignore_index=True)
    beside = pd.concat([frames.beside_controls(shared.effects, run) for run in runs], ignore_index=True)
    dots = every.assign(direction=every["kind"])
    yield Piece(
        "controls",
        {"controls": every, "controls_beside": beside},
        partial(controls, dots, curves=beside),
        partial(tables.controls_table, beside),
    )
    if every["norm"].isna().any():
        shared.notes.append(
            f"controls: the norms of {int(every['norm'].isna().sum())} of {len(every)} rows are not published, so "
            "nothing says that they were as long as the vectors they stand beside"
        )


def _geometry(shared: Shared) -> Iterator[Piece]:
    found = directions_of(shared.study, shared.model, shared.arms)
    if found is None:
        shared.notes.append(f"no geometry: no trait has vectors at {FEWEST} milestones or more")
        return
    course, ceiling = found.trajectories(), found.ceiling()
    if same := shared_extractions(shared.study, shared.model):
        shared.notes.append(
            f"geometry: the ceiling of {', '.join(same)} is too high: one checkpoint has the same extraction answers "
            "under both of its names"
        )
    yield Piece(
        "cosine_trajectory",
        {"geometry": course, "noise_ceiling": ceiling},
        partial(cosine_trajectory, course, ceiling=ceiling),
        partial(tables.geometry_table, course),
    )
    yield Piece("norms", {}, partial(norms, course))
    milestones = found.milestones()
    yield Piece(
        "cosines_of_milestones",
        {"cosines_of_milestones": milestones},
        partial(cosine_matrices, milestones, group="curve"),
    )
    traits = angles.trait_cosines(found.placed, found.common)
    if traits["first"].nunique() > 1:
        figure = partial(cosine_matrices, traits, group="milestone")
        yield Piece("cosines_of_traits", {"cosines_of_traits": traits}, figure)
    for number, (where, named) in enumerate(found.others.items()):
        forms = angles.cosines(named, found.common).assign(where=f"{where}, layer {found.common}")
        name = "cosines_of_forms" if number == 0 else f"cosines_of_forms_{number + 1}"
        yield Piece(name, {name: forms}, partial(cosine_matrices, forms, group="where"))
    try:
        points = found.paths()
    except PersonascopeError as problem:
        shared.notes.append(f"no paths: {problem}")
        return
    yield Piece("paths", {"paths": points}, partial(mds, points))


def _facets(shared: Shared) -> Iterator[Piece]:
    files = [each for each in shared.study.facets() if each.model == shared.model]
    found = frames.facet_frame(shared.study, files)
    counts = found.groupby("facet_set")["milestone"].nunique() if len(found) else pd.Series(dtype=int)
    along = found[found["facet_set"].isin(counts[counts >= FEWEST].index)].reset_index(drop=True)
    if along.empty:
        shared.notes.append(f"no facets: no kind of annotation is there for {FEWEST} revisions or more")
        return
    shown = without_aliases(along, by=("facet_set", "facet"))
    yield Piece("facets", {"facets": along}, partial(facets, shown), partial(tables.facets_table, along))


def _discourse(shared: Shared) -> Iterator[Piece]:
    answers = answer_frame(shared.study, frames.discourse_arms(shared.study, shared.model))
    answers = answers.rename(columns={"target": "judge"})
    if len(lost := answers[answers["pole"].isna()]):
        shared.notes.append(f"discourse: {len(lost)} cells are empty: {lost['reason'].iloc[0]}")
    cells = form_matrix(answers, by=("judge", *FORMS))
    if cells.empty:
        shared.notes.append("no discourse matrix: no folder holds vectors on sets of questions")
        return
    several = cells["trait"].nunique() > 1
    cells = cells.assign(judge=cells["judge"] + ", " + cells["trait"]) if several else cells
    yield Piece("discourse", {"discourse": cells}, partial(discourse, cells), partial(tables.discourse_table, cells))


PARTS: tuple[Callable[[Shared], Iterator[Piece]], ...] = (
    _emergence, _transfer, _controls, _geometry, _facets, _discourse,
)  # fmt: skip
"""The parts of a drawing, in the order of the paper."""
