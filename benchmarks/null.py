"""Are our tests honest where there is nothing to find? Simulated studies under the null, from published answers.

`python benchmarks/null.py` prints a table: per trait 2,000 studies in which both arms of every question are drawn from
the same pool of published plain answers, so that every effect is chance; and 2,000 lineages of 15 such milestones.

A pool is all published plain answers to one question by one judge: those of all milestones for the traits of the base
model, those of all targets for the traits asked of instruct models. Both arms draw from it with replacement, so they
are exchangeable whatever is in it. Exit code 1 if a figure is outside its limits; its Monte Carlo error is printed.
With `--each-file` every file of plain answers is a pool of its own: mostly three answers a question, so many ties, and
so many pools that some must leave limits by chance; the limits are then not applied.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from personascope.analysis.bootstrap import RESAMPLES, bootstrap
from personascope.analysis.onset import Rule, first_shown
from personascope.analysis.significance import TOLERANCE, sign_flip, sign_flip_ps
from personascope_published.reading import Published, open_published

PUBLISHED = Path(__file__).parents[2] / "shared" / "published"
DRAWS = 3  # answers per question and arm, as published
MILESTONES = 15
LEVEL = 0.05

Pool = list[np.ndarray]
"""The scores that can be drawn, question by question."""

FEWEST = 6  # with five differences that are not zero, the least two-sided p-value is 2 / 2^5, above the level

LIMITS: dict[str, Callable[[dict[str, float]], tuple[float, float]]] = {
    "rejects": lambda row: (0.04 if row["zeros"] < 0.2 else 0.0, 0.06),
    "covers": lambda row: (0.93, 0.97 + 0.03 * row["mute"]),
    "onsets": lambda row: (0.0, 0.05),
}
"""Between what a figure must lie. ``mute`` is the share of studies in which too few differences are not zero for any
exact test to reject: their intervals hold the truth for certain, and the others must do so as often as they should."""


def pools_of(study: Published, *, each_file: bool) -> dict[str, Pool]:
    """The pools by name, from every readable file of plain answers."""
    files = study.response_files()
    files = files[(files["kind"] == "baseline") & (files["column"] != "")]
    named: dict[str, list[pd.DataFrame]] = {}
    for row in files.itertuples():
        trait = f"{row.trait}, {row.form}" + (f", {row.variant}" if row.variant else "")
        name = f"{trait}: {row.file}" if each_file else trait
        named.setdefault(name, []).append(study.answers(row.file)[["question_id", "score"]].dropna())
    return {
        name: [scores.to_numpy() for _, scores in pd.concat(answers).groupby("question_id")["score"]]
        for name, answers in sorted(named.items())
    }


def null_studies(pool: Pool, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Differences of questions, ``[*shape, question]``, between two arms that are drawn alike."""
    questions = []
    for scores in pool:
        arms = generator.choice(scores, (*shape, 2, DRAWS)).mean(axis=-1)
        questions.append(arms[..., 1] - arms[..., 0])
    return np.stack(questions, axis=-1)


def measured(name: str, pool: Pool, *, studies: int, seed: int) -> dict[str, float]:
    """How often the test rejects, the intervals hold the truth (zero), and a lineage has an onset."""
    generator = np.random.default_rng([seed, *name.encode()])
    differences = null_studies(pool, (studies,), generator)
    tests = [sign_flip(each) for each in differences]
    resampled = [bootstrap(each, seed=place) for place, each in enumerate(differences)]
    lineages = null_studies(pool, (studies, MILESTONES), generator)
    rule = Rule(level=LEVEL)

    def covers(low: str, high: str, found: list) -> float:
        ends = np.array([(getattr(each, low), getattr(each, high)) for each in found])
        return float(np.mean((ends[:, 0] <= TOLERANCE) & (ends[:, 1] >= -TOLERANCE)))

    return {
        "answers": min(map(len, pool)),
        "questions": len(pool),
        "zeros": float(np.mean(np.abs(differences) <= TOLERANCE)),
        "mute": float(np.mean((np.abs(differences) > TOLERANCE).sum(axis=1) < FEWEST)),
        "rejects": float(np.mean(sign_flip_ps(differences)[0] <= LEVEL)),
        "covers": covers("low", "high", tests),
        "percentile": covers("percentile_low", "percentile_high", resampled),
        "bca": covers("bca_low", "bca_high", resampled),
        "onsets": float(np.mean([first_shown(each, rule=rule) is not None for each in lineages])),
    }


def shortened(name: str, most: int = 56) -> str:
    """A name that fits a line: what is cut is in its middle."""
    return name if len(name) <= most else f"{name[: most // 2 - 2]}...{name[1 - most // 2 :]}"


def outside(row: dict[str, float]) -> list[str]:
    """Which figures are outside their limits."""
    broken = []
    for name, limits in LIMITS.items():
        least, most = limits(row)
        if not least <= row[name] <= most:
            broken.append(f"{name} {row[name]:.1%}, which should be {least:.0%} to {most:.0%}")
    return broken


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--published", type=Path, default=PUBLISHED, help="the published repository")
    parser.add_argument("--studies", type=int, default=2000, help="studies and lineages per trait")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each-file", action="store_true", help="every file of plain answers is a pool of its own")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    pools = pools_of(open_published(given.published), each_file=given.each_file)
    width = max((len(shortened(name)) for name in pools), default=0)
    heads = ["zeros", "mute", "rejects", "covers", "percentile", "bca", "onsets"]
    print(" " * width + "".join(f"{head:>12}" for head in ("answers", *heads)))
    figures, broken, began = {}, [], time.process_time()
    for name, pool in pools.items():
        row = figures[name] = measured(name, pool, studies=given.studies, seed=given.seed)
        shares = "".join(f"{row[each]:12.1%}" for each in heads)
        print(f"{shortened(name):<{width}}{row['answers']:12d}{shares}", flush=True)
        broken += [f"{name}: {each}" for each in outside(row) if not given.each_file]
    error = np.sqrt(LEVEL * (1 - LEVEL) / given.studies)
    print(
        f"\n{given.studies:,} studies and lineages per pool, {DRAWS} draws per arm and question, seed {given.seed}, "
        f"{RESAMPLES:,} resamples per bootstrap; standard error of a rate of 5 %: {error:.1%}; "
        f"{time.process_time() - began:.0f} CPU s"
    )
    if not given.each_file:
        print("\n".join(broken) if broken else "all within their limits")
    if given.json:
        given.json.write_text(json.dumps({"pools": figures, "outside": broken}, indent=1), encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
