"""A screening from end to end: datasets in; scored, kept and dropped files, a summary, histograms and a page out.

Owns: :class:`Screening` and :func:`run_screening`. The one law: nothing is written before everything is measured, and
what is measured is kept in the store, so a run that is killed at any moment can be run again and gives the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from personascope.applications.screen.core import Against
from personascope.applications.screen.datasets import Asked, Dataset, Scores, scores_of, write_sets
from personascope.applications.screen.frames import summary
from personascope.applications.screen.page import Extreme, page_of
from personascope.applications.screen.rules import Decision, Rule, decided
from personascope.core.files import write_text
from personascope.core.records import Request
from personascope.core.samples import Sample
from personascope.core.tables import write_csv
from personascope.store.caching import Notice, silent
from personascope.store.store import Store

FILES: Final = ("summary.csv", "histogram.png", "extremes.html")
UNITS: Final[Mapping[Against, str]] = {
    "own": "projection difference",
    "last-prompt": "projection above the last prompt token's",
    "nothing": "projection",
}
"""What a score is called, by what the projection is compared with."""


@dataclass(frozen=True, eq=False)
class Screening:
    """What is screened, with what, and what is dropped. ``extremes`` samples of either end of a vector are shown."""

    datasets: tuple[Dataset, ...]
    asked: Asked
    rule: Rule = Rule()
    reference: Dataset | None = None
    extremes: int = 20

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files it writes."""
        own = [name for each in self.datasets for name in (each.files if self.rule.drops else each.files[:1])]
        return (*own, *FILES)


@dataclass(frozen=True, eq=False)
class Screenings:
    """What a screening gave: one row per dataset and vector, what was dropped, and the files."""

    summary: pd.DataFrame
    decision: Decision | None
    files: tuple[Path, ...]


def run_screening(
    screening: Screening,
    out: Path,
    store: Store,
    *,
    made: Callable[[Path], None] = lambda path: None,
    notice: Notice = silent,
) -> Screenings:
    """Measures every dataset (and the reference), decides, and writes; ``notice`` is told of every sample."""
    asked, against = screening.asked, screening.asked.measure.against
    screening.rule.check(len(asked.gauges), judged=asked.judge is not None)
    scored = [scores_of(each, asked, store, notice=notice) for each in screening.datasets]
    reference = scores_of(each, asked, store, notice=notice) if (each := screening.reference) is not None else None
    decision = decided(screening.rule, scored, against=against, reference=reference) if screening.rule.drops else None
    tables, files, extremes = [], [], []
    for place, (dataset, scores) in enumerate(zip(screening.datasets, scored, strict=True)):
        gone = decision.dropped[place] if decision is not None else None
        places = _ends(scores, against, screening.extremes)
        wanted = {index for _, _, index in places}
        paths, samples = write_sets(dataset, scores, asked, out, dropped=gone, wanted=wanted)
        files += paths
        extremes += _shown(asked, scores, places, samples, set() if gone is None else set(np.flatnonzero(gone)))
        frame = summary(scores.difference(against), dataset=dataset.name, gauges=asked.names, dropped=gone)
        tables.append(frame)
    table = pd.concat(tables, ignore_index=True)
    named = {each.name: scores.difference(against) for each, scores in zip(screening.datasets, scored, strict=True)}
    files += _write_pictures(screening, out, table, named, decision, _first(extremes, screening.extremes))
    for path in files:
        made(path)
    return Screenings(table, decision, tuple(files))


def _write_pictures(
    screening: Screening,
    out: Path,
    table: pd.DataFrame,
    scores: Mapping[str, np.ndarray],
    decision: Decision | None,
    extremes: Sequence[Extreme],
) -> list[Path]:
    """The summary, the histograms and the page."""
    from personascope.applications.screen.figures import histograms
    from personascope.figures.style import save

    summary_file, picture, page = (out / name for name in FILES)
    asked = screening.asked
    unit = UNITS[asked.measure.against]
    thresholds = decision.thresholds if decision is not None else ()
    write_csv(summary_file, table)
    save(histograms(scores, asked.names, unit=f"{unit}, layer units", thresholds=thresholds), picture)
    layers = ", ".join(f"{gauge.name} at layer {gauge.probe.layer}" for gauge in asked.gauges)
    about = [f"{unit.capitalize()} of training answers, read by {asked.engine.checkpoint.label}: {layers}."]
    about += [f"Thresholds: {_said(asked.names, thresholds)}."] if np.isfinite(thresholds).any() else []
    write_text(page, page_of("Screened training data", about, table, picture.read_bytes(), extremes))
    return [summary_file, picture, page]


def _said(names: Sequence[str], numbers: Sequence[float]) -> str:
    return ", ".join(f"{name} {number:.4g}" for name, number in zip(names, numbers, strict=True))


def _ends(scores: Scores, against: Against, count: int) -> list[tuple[int, bool, int]]:
    """The places of the samples that stand highest and lowest along every vector: (gauge, whether high, place)."""
    found: list[tuple[int, bool, int]] = []
    for gauge, column in enumerate(scores.difference(against).T):
        order = np.argsort(column, kind="stable")
        order = order[: int((~np.isnan(column)).sum())]
        found += [(gauge, True, int(place)) for place in order[::-1][:count]]
        found += [(gauge, False, int(place)) for place in order[: min(count, max(0, len(order) - count))]]
    return found


def _shown(
    asked: Asked,
    scores: Scores,
    places: Sequence[tuple[int, bool, int]],
    samples: Mapping[int, Sample],
    dropped: set[int],
) -> list[Extreme]:
    """The samples at those places, with what the model itself answers, which it remembers."""
    turn = 0 if asked.measure.turn == "first" else -1
    exchanges = {place: sample.exchanges[turn] for place, sample in samples.items()}
    own = dict.fromkeys(exchanges, "")
    if asked.measure.against == "own":
        known = [place for place in exchanges if place not in scores.notes]
        requests = [Request(asked.engine.render(exchanges[place][0]), asked.measure.sampling) for place in known]
        said = asked.engine.generate(requests) if known else []
        own |= {place: each.words for place, each in zip(known, said, strict=True)}
    column = scores.difference(asked.measure.against)
    return [
        Extreme(
            asked.names[gauge],
            high,
            float(column[place, gauge]),
            exchanges[place],
            samples[place].where,
            own[place],
            place in dropped,
        )
        for gauge, high, place in places
    ]


def _first(extremes: Sequence[Extreme], count: int) -> list[Extreme]:
    """Of all datasets' extremes, the outermost of every vector."""
    found: list[Extreme] = []
    for gauge in dict.fromkeys(each.gauge for each in extremes):
        for high in (True, False):
            some = [each for each in extremes if each.gauge == gauge and each.high == high]
            found += sorted(some, key=lambda each: -each.score if high else each.score)[:count]
    return found
