"""Controls that do not control.

Owns: :func:`find_controls`. The one law: a control is judged by what it did to the answers beside what the real vectors
did at the same milestones; how it was meant is not known from the data and not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import SIGNIFICANT, Evidence
from personascope_published.audits.findings import Finding, Kind, named, records, span
from personascope_published.audits.rows import ITSELF
from personascope_published.reading import ResultsFile

IDLE = Kind(
    "controls whose norm does not match",
    "{pushed} control rows {at} changed coherence by {moved:+.2f} where the vectors changed it by {real:+.1f}, and "
    "the p-values of all {rows} were {uniform} (Kolmogorov-Smirnov {ks_statistic:.3f}, p {ks_p:.2f}; {below} below "
    "0.05): controls that push as hard as the vectors would hardly look so",
    "they do not show that a direction of the vectors' norm does nothing: that would push with {matched} at these "
    "milestones and has to be run; the norms applied and the directions are not published, so that their norm is "
    "the cause can only be inferred",
)
STRENGTH = Kind(
    "controls at another strength than the curve",
    "{rows} of {of} control rows were applied at another strength than the curve they stand beside ({which}){alone}",
    "compare only runs of the same strength; the others bound nothing about the curve",
)
SEEDS = Kind(
    "few distinct control directions",
    "{rows} rows of random directions ({cells} of trait, checkpoint and seed) had {seeds} seeds ({which}), "
    "{per_milestone} per milestone: if the generator knew the seed alone, there were {seeds} directions in all",
    "an effect of chance exceeds all of {per_milestone} directions {chance:.0f} % of the time, so they have no 97.5th "
    "percentile; that needs at least 39 directions of matched norm per milestone",
)
BASELINE = Kind(
    "controls with another baseline than the curve",
    "in {cells} of {of} cells the controls' own baseline was {apart} points of coherence away from the curve's "
    "baseline of the same checkpoint ({which}; {errors} standard errors; elsewhere {elsewhere} points): the two "
    "were not generated alike",
    "against the curve's baseline these controls changed coherence by {against:+.1f} points on average instead "
    "of {own:+.1f} (the vectors: {real:+.1f}), so a part of what the vectors seem to cost there may be the "
    "generation's; controls and curve need one baseline",
)
ABSENT = Kind(
    "controls whose answers are not published",
    "the answers behind {rows} of {of} control rows were not there ({files} files that the tables name)",
    "none of their statistics can be computed again; the answers would have to be drawn again",
)
SHARE = 0.5
"""A control that changes coherence by less than this share of what the vectors change it by did not push as hard."""
FAR = 4.0
"""Standard errors between two baselines of one checkpoint that sampling does not explain."""
FEWEST = 10
ENOUGH = 39
"""Directions. An effect of chance is as likely to be any of 40 in order, so above 39 with a chance of 2.5 %."""

_REAL = [
    "strength", "coherence_change", "baseline_mean", "baseline_coherence", "baseline_deviation", "baseline_rows",
    "target_norm",
]  # fmt: skip
_NEEDED = {
    "revision", "mode", "seed", "trait", "layer", "coef", "baseline_trait_mean", "baseline_coherence_mean",
    "output_coherence_mean", "delta_trait_mean", "delta_coherence_mean", "trait_primary_p_two_sided",
}  # fmt: skip


def find_controls(evidence: Evidence) -> Iterator[Finding]:
    """What all controls together did and what they cannot show."""
    held = [frame for each in evidence.study.controls() if not (frame := _beside(evidence, each)).empty]
    if not held:
        return
    rows = pd.concat(held, ignore_index=True)
    yield from _idle(rows)
    yield from _strength(rows)
    yield from _seeds(rows)
    yield from _baseline(rows)
    yield from _absent(evidence, rows)


def _beside(evidence: Evidence, results: ResultsFile) -> pd.DataFrame:
    """The rows of a run of controls, each beside its trait's point at that checkpoint on the longest curve."""
    rows = results.rows
    if not set(rows) >= _NEEDED or rows.empty:
        return pd.DataFrame()
    curves = evidence.curves
    points = curves[(curves["target"] == ITSELF) & (curves["source_model"] == results.model)]
    length = points.groupby(["file", "curve"])["row"].transform("size")
    points = points.assign(length=length).sort_values("length", kind="stable")
    keys = ["trait", "layer", "source"]
    real = points.drop_duplicates(keys, keep="last")[[*keys, *_REAL]]
    real = real.rename(columns={"source": "revision"} | {name: f"real_{name}" for name in _REAL})
    beside = rows.merge(real, on=["trait", "layer", "revision"], how="left")
    return beside.assign(file=results.file, run=results.run, p=beside["trait_primary_p_two_sided"])


def _idle(rows: pd.DataFrame) -> Iterator[Finding]:
    """All controls together: did they push as hard as the vectors?"""
    known = rows[rows["p"].notna() & rows["real_coherence_change"].notna()]
    same = known[known["coef"] == known["real_strength"]]
    pushed = same if len(same) else known
    moved, real = pushed["delta_coherence_mean"].mean(), pushed["real_coherence_change"].mean()
    if len(known) < FEWEST or not abs(moved) < SHARE * abs(real):
        return
    runs = pd.DataFrame([_summary("all", known), *(_summary(str(run), mine) for run, mine in known.groupby("run"))])
    matched = pushed["coef"] * pushed["real_target_norm"]
    numbers = {
        **{name: value for name, value in records(runs)[0].items() if name != "run"},
        "pushed": len(pushed),
        "moved": moved,
        "real": real,
        "matched_least": matched.min(),
        "matched_greatest": matched.max(),
    }
    words = {
        "uniform": "as uniform as under no effect" if numbers["ks_p"] > SIGNIFICANT else "not uniform",
        "at": "at the strength of the curve" if len(same) else "at other strengths than the curve's",
        "matched": span(matched, ".3g"),
    }
    yield IDLE.found(rows["file"].unique(), "conclusion", numbers, words=words, details=records(runs))


def _summary(run: str, rows: pd.DataFrame) -> dict[str, float | str]:
    from scipy import stats

    test = stats.kstest(rows["p"], "uniform")
    return {
        "run": run,
        "rows": len(rows),
        "below": int((rows["p"] < SIGNIFICANT).sum()),
        "ks_statistic": float(test.statistic),
        "ks_p": float(test.pvalue),
        "mean_effect": rows["delta_trait_mean"].mean(),
        "mean_coherence_change": rows["delta_coherence_mean"].mean(),
        "real_coherence_change": rows["real_coherence_change"].mean(),
    }


def _strength(rows: pd.DataFrame) -> Iterator[Finding]:
    other = rows[rows["real_strength"].notna() & (rows["coef"] != rows["real_strength"])]
    lone = rows[rows["real_strength"].isna()]
    if other.empty and lone.empty:
        return
    runs = other.groupby("run", as_index=False).agg(coef=("coef", span), real=("real_strength", span))
    words = {
        "which": "; ".join(f"{row['run']}: {row['coef']} instead of {row['real']}" for row in records(runs)) or "none",
        "alone": f"; {len(lone)} stood beside no point of a curve" if len(lone) else "",
    }
    numbers = {"rows": len(other), "of": len(rows), "without_a_point": len(lone)}
    where = [*other["file"], *lone["file"]]
    yield STRENGTH.found(where, "number", numbers, words=words, details=records(runs))


def _seeds(rows: pd.DataFrame) -> Iterator[Finding]:
    random = rows[rows["mode"] == "random"]
    cells = len(random.drop_duplicates(["trait", "revision", "seed"]))
    seeds = sorted(random["seed"].dropna().unique())
    if not seeds or cells <= len(seeds):
        return
    per = int(random.groupby(["trait", "revision"])["seed"].nunique().max())
    if per >= ENOUGH:
        return
    numbers = {
        "rows": len(random),
        "cells": cells,
        "seeds": len(seeds),
        "per_milestone": per,
        "chance": 100 / (per + 1),
    }
    words = {"which": named(f"{seed:g}" for seed in seeds)}
    yield SEEDS.found(random["file"].unique(), "number", numbers, words=words)


def _baseline(rows: pd.DataFrame) -> Iterator[Finding]:
    """Cells whose own baseline is further from the curve's than sampling explains, in coherence."""
    known = rows[rows["real_baseline_coherence"].notna()]
    columns = {
        "coherence": "baseline_coherence_mean",
        "steered": "output_coherence_mean",
        "curve": "real_baseline_coherence",
        "deviation": "real_baseline_deviation",
        "drawn": "real_baseline_rows",
        "real": "real_coherence_change",
    }
    grouped = known.groupby(["file", "run", "revision"], sort=False)
    cells = grouped[list(columns.values())].mean().set_axis(list(columns), axis=1).reset_index()
    cells["apart"] = cells["coherence"] - cells["curve"]
    cells["errors"] = cells["apart"].abs() / (cells["deviation"] * np.sqrt(2 / cells["drawn"]))
    far, near = cells[cells["errors"] > FAR], cells[~(cells["errors"] > FAR)]
    if far.empty:
        return
    numbers = {
        "cells": len(far),
        "of": len(cells),
        "least_apart": far["apart"].min(),
        "greatest_apart": far["apart"].max(),
        "against": (far["steered"] - far["curve"]).mean(),
        "own": (far["steered"] - far["coherence"]).mean(),
        "real": far["real"].mean(),
    }
    words = {
        "apart": span(far["apart"], "+.1f"),
        "which": named(far["revision"]),
        "errors": span(far["errors"], ".1f"),
        "elsewhere": span(near["apart"], "+.1f"),
    }
    yield BASELINE.found(far["file"].unique(), "conclusion", numbers, words=words, details=records(cells))


def _absent(evidence: Evidence, rows: pd.DataFrame) -> Iterator[Finding]:
    named = rows[[name for name in ("baseline_csv", "output_csv") if name in rows]].fillna("").astype(str)
    lost = (named != "") & ~named.map(evidence.study.has).astype(bool)
    mine = rows[lost.any(axis=1)]
    if mine.empty:
        return
    files = sorted(set(named.to_numpy()[lost.to_numpy()]))
    numbers = {"rows": len(mine), "of": len(rows), "files": len(files)}
    details = [{"file": file} for file in files]
    yield ABSENT.found(mine["file"], "number", numbers, details=details)
