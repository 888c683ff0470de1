"""How a study of kind ``finetune`` is run: models trained and kept, each measured, strengths chosen, files written.

Owns: :func:`compare`. The one law: a model is trained once for all ways that ask it, and never again while its
folder is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from personascope.applications.finetune.config import Finetuning
from personascope.applications.finetune.core import Condition, Measured, Measures, chosen_strength, measure, random_like
from personascope.applications.finetune.naming import samples_named
from personascope.applications.finetune.reading import Vectors
from personascope.applications.finetune.run import Run
from personascope.applications.finetune.study import FILES, PLAIN, FinetuneStudy, Way
from personascope.core.errors import check_layer
from personascope.core.lineages import Checkpoint
from personascope.core.tables import write_csv
from personascope.core.traits import load_trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.studies.context import Report, Table, Workplace, checkpoint_named
from personascope.tracing.eval_data import load_choices, load_texts
from personascope.tracing.extraction import Method, extract

if TYPE_CHECKING:
    import pandas as pd


class _Comparison:
    """One study at work: what all of its ways share."""

    def __init__(self, study: FinetuneStudy, place: Workplace) -> None:
        self.study, self.place = study, place
        self.trait = load_trait(study.trait, form=study.form).limited(study.limit)
        others = tuple(load_trait(each, form=study.form).limited(study.limit) for each in study.others)
        texts, choices = load_texts(study.texts, limit=study.limit), load_choices(study.choices, limit=study.limit)
        self.measures = Measures(self.trait, others, study.evaluation, texts, choices)
        self.judge = place.open_judge(study.judge)
        self.engine = place.open_engine(checkpoint_named(study.model, study.revision))
        self.checkpoint = self.engine.checkpoint
        for layer in {layer for way in study.ways for layer in way.layers}:
            check_layer(layer, self.engine.last_layer, self.checkpoint.label)

    def vector(self) -> PersonaVector | NoVector:
        """The trait's vector of the untrained model."""
        method = Method(self.study.extraction, self.study.evaluation, self.study.bar)
        return extract(self.engine, self.trait, judge=self.judge, method=method)

    def untrained(self) -> Measured:
        """The model before training."""
        return measure(self.engine, Condition("untrained"), self.measures, judge=self.judge)

    def measured(self, way: Way, strength: float, vector: PersonaVector) -> Iterator[Measured]:
        """A way at a strength, from every seed."""
        at = way if np.isnan(strength) else way.at(strength)
        for seed in self.study.seeds:
            along = random_like(vector, seed) if way.random else vector
            run = self._trained(self.study.ways[0] if way.asks_plain else at, seed, along)
            engine = self.place.open_engine(self._checkpoint(run))
            yield measure(
                engine,
                Condition(way.name, strength, seed),
                self.measures,
                judge=self.judge,
                edits=at.inference.along(along) if at.inference is not None else (),
                instruction=self.trait.contrasts[0].negative if at.negative_prompt else None,
                last_loss=float("nan") if way.asks_plain else run.last_loss(),
            )
            engine.close()

    def _trained(self, way: Way, seed: int, vector: PersonaVector) -> Run:
        study = self.study
        positive = tuple(each.positive for each in self.trait.contrasts)
        config = Finetuning(
            study.model,
            study.data,
            study.revision or None,
            training=replace(study.training, seed=seed),
            guard=way.guard,
            penalty=way.penalty,
            inoculation=positive if way.inoculate else (),
            limit=study.samples,
        )
        needed = Vectors((vector,) if way.guard else (), (vector,) if way.penalty else ())
        samples = samples_named(study.data, limit=study.samples, seed=seed)
        return self.place.tuned(config, samples, base=self.checkpoint, vectors=needed)

    def _checkpoint(self, run: Run) -> Checkpoint:
        if (run.folder / "adapter_config.json").is_file():
            return replace(self.checkpoint, adapter=str(run.folder))
        return Checkpoint.at(run.folder)


def compare(study: FinetuneStudy, place: Workplace) -> Report:
    """Trains and measures every way of a study, and writes what was found."""
    work = _Comparison(study, place)
    vector = work.vector()
    if isinstance(vector, NoVector):
        return Report(failed=(f"{study.trait}: no vector at {work.checkpoint.label} ({vector.counts})",))
    base = work.untrained()
    work.engine.close()
    found, plain, chosen = [base], list[Measured](), dict[str, tuple[float, str]]()
    for way in study.ways:
        written = float("nan") if way.strength is None else way.strength
        strengths = (chosen[way.like][0],) if way.like else way.strengths or (written,)
        mine = [each for strength in strengths for each in work.measured(way, strength, vector)]
        plain = mine if way.name == PLAIN else plain
        if len(strengths) > 1:
            chosen[way.name] = chosen_strength(
                mine, trait=work.trait.name, base=base, plain=plain, tolerance=study.tolerance
            )
        else:
            chosen[way.name] = (strengths[0], f"that of {way.like}" if way.like else "the only one")
        found += mine
    return _written(study, place, found, chosen)


def _written(
    study: FinetuneStudy, place: Workplace, found: list[Measured], chosen: dict[str, tuple[float, str]]
) -> Report:
    import pandas as pd

    from personascope.applications.finetune.figures import prevention
    from personascope.applications.finetune.frames import UNTRAINED, compare_ways, run_rows, score_rows
    from personascope.figures.style import save

    scores, runs = score_rows(found), run_rows(found)
    ways = compare_ways(scores)
    choices = pd.DataFrame(
        [(UNTRAINED, np.nan, ""), *((name, *each) for name, each in chosen.items())],
        columns=["way", "strength", "reason"],
    )
    files = [place.out / name for name in FILES]
    for path, frame in zip(files, (scores, runs, ways, choices), strict=False):
        write_csv(path, frame)
    trait = next(iter(found[0].answers))[0]
    for path in files[4:]:
        save(prevention(ways[ways["trait"] == trait], choices, runs), path)
    for path in files:
        place.made(path)
    return Report((_table(study, ways, runs, choices), _reasons(chosen)), tuple(files))


def _table(study: FinetuneStudy, ways: pd.DataFrame, runs: pd.DataFrame, choices: pd.DataFrame) -> Table:
    """Every way at its chosen strength, seeds together."""
    rows = []
    for name, strength in choices[["way", "strength"]].itertuples(index=False):
        mine = _at(ways, name, strength)
        own, *others = mine.to_dict(orient="records")
        told = _at(runs, name, strength)[["last_loss", "accuracy", "perplexity"]].mean()
        worst = max(others, key=lambda other: abs(other["change"]), default=None)
        rows.append(
            (
                name,
                "" if np.isnan(strength) else f"{strength:g}",
                f"{own['score']:.1f} ({own['score_low']:.1f} to {own['score_high']:.1f})",
                "" if name == "untrained" else f"{own['change']:+.1f}",
                f"{mine['coherence'].mean():.1f}",
                "" if worst is None or name == "untrained" else f"{worst['change']:+.1f} {worst['trait']}",
                _shown(told["last_loss"]),
                _shown(told["accuracy"]),
                _shown(told["perplexity"]),
            )
        )
    counted = "1 seed" if len(study.seeds) == 1 else f"{len(study.seeds)} seeds"
    columns = (
        "way", "strength", f"{study.trait}, 95 %", "change", "coherence", "largest other", "loss", "right",
        "perplexity",
    )  # fmt: skip
    return Table(f"{study.name}: after training, {counted}", columns, tuple(rows))


def _reasons(chosen: dict[str, tuple[float, str]]) -> Table:
    rows = tuple((name, f"{strength:g}", why) for name, (strength, why) in chosen.items() if not np.isnan(strength))
    return Table("how strengths were chosen", ("way", "strength", "why"), rows)


def _at(frame: pd.DataFrame, way: str, strength: float) -> pd.DataFrame:
    same = frame["strength"].isna() if np.isnan(strength) else frame["strength"] == strength
    return frame[(frame["way"] == way) & same]


def _shown(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
