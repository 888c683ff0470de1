"""Studies of kind ``finetune``: what fine-tuning teaches a model, and which way of training or asking prevents it.

All ways train on the same samples from the same seeds and are measured alike; a strength is chosen on the selection
questions and reported on the evaluation questions. A model is trained once for all ways that ask it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import pandas as pd

from personascope.applications.finetune.config import Finetuning, Guarding, Penalising, Training, Vectors
from personascope.applications.finetune.core import (
    Condition,
    Measured,
    Measures,
    Tolerance,
    chosen_strength,
    measure,
    random_like,
)
from personascope.applications.finetune.frames import UNTRAINED, compare_ways, run_rows, score_rows
from personascope.applications.finetune.keeping import Run
from personascope.applications.finetune.trained import samples_for, trained_model
from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name
from personascope.core.lineages import Checkpoint
from personascope.core.records import Bar, Sampling
from personascope.core.steering import Steering
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.lab.documents import choice_items, held_out_documents
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.eval_data import load_choices, load_texts
from personascope.tracing.extraction import Method, extract

PLAIN: Final = "plain"


@dataclass(frozen=True)
class Way:
    """A way to train, or to ask a model that was trained plainly.

    ``guard``, ``penalty`` and ``inoculate`` (a prompt that asks for the trait, drawn from the positive instructions,
    before every sample) change training; with ``random`` a random direction takes the vector's place. ``inference``
    steers the plainly trained model while it answers, and ``negative_prompt`` gives it the trait's first negative
    instruction. ``strengths`` are tried in place of the guard's or the steering's strength or the penalty's weight;
    ``like`` names a way whose chosen strength this one takes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    guard: Guarding | None = None
    penalty: Penalising | None = None
    inoculate: bool = False
    inference: Steering | None = None
    negative_prompt: bool = False
    random: bool = False
    strengths: tuple[float, ...] = ()
    like: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "way", StudyError)
        if (self.strengths or self.like) and self.strength is None:
            raise StudyError(
                f"way '{self.name}' has nothing that strengths are of: give a guard that steers, a penalty"
            )
        if self.asks_plain and (self.guard or self.penalty or self.inoculate):
            raise StudyError(
                f"way '{self.name}' changes both training and asking, and what asks is asked of the plainly trained "
                "model: make two ways of it"
            )
        if any(part is not None and part.vectors for part in (self.guard, self.penalty)):
            raise StudyError(
                f"way '{self.name}' names vectors, and a study guards along the one it extracts: leave them out"
            )
        if self.strengths and self.like:
            raise StudyError(f"way '{self.name}' has strengths and takes that of '{self.like}': leave one out")

    @property
    def asks_plain(self) -> bool:
        """Whether it only asks a plainly trained model in another way."""
        return self.inference is not None or self.negative_prompt

    @property
    def strength(self) -> float | None:
        """The strength it is written with; None where it has none."""
        if self.guard is not None:
            return self.guard.strength
        if self.penalty is not None:
            return self.penalty.weight
        return self.inference.strength if self.inference is not None else None

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer it names; none where it says ``"all"``."""
        parts = (each.layers for each in (self.guard, self.penalty, self.inference) if each is not None)
        return tuple(layer for layers in parts if layers != "all" for layer in layers)

    def at(self, strength: float) -> Way:
        """The same way at another strength."""
        if self.guard is not None and self.guard.strength is not None:
            return replace(self, guard=replace(self.guard, strength=strength))
        if self.penalty is not None:
            return replace(self, penalty=replace(self.penalty, weight=strength))
        if self.inference is not None:
            return replace(self, inference=replace(self.inference, strength=strength))
        return self


@dataclass(frozen=True)
class FinetuneStudy(BaseStudy):
    """What a study file of this kind says.

    ``data`` are files, folders or families of the lab, of each at most ``samples``; the lab's are drawn anew by every
    training seed. ``texts`` and ``choices`` are what capability is measured by, as in kind ``capability``. ``limit``
    cuts questions, texts and choices.
    """

    FILES: ClassVar = ("scores.csv", "runs.csv", "ways.csv", "choices.csv", "prevention.png", "prevention.pdf")

    kind: Literal["finetune"]
    name: str
    model: str
    judge: str
    trait: str
    data: tuple[str, ...]
    training: Training
    ways: tuple[Way, ...]
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    form: str = "assistant"
    others: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int | None = None
    texts: str = ""
    choices: str = ""
    bar: Bar = Bar()
    tolerance: Tolerance = Tolerance()
    limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        names = [way.name for way in self.ways]
        if names[:1] != [PLAIN] or len(set(names)) < len(names) or self.ways[0] != Way(PLAIN):
            raise StudyError(
                f"study '{self.name}' compares {names}: let the first be named 'plain', without guard or prompt, and "
                "each other have a name of its own"
            )
        for place, way in enumerate(self.ways):
            if way.like and not any(each.name == way.like and each.strengths for each in self.ways[:place]):
                raise StudyError(
                    f"way '{way.name}' takes the strength of '{way.like}': let that come first, with strengths"
                )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise StudyError(
                f"study '{self.name}' trains from the seeds {list(self.seeds)}: give one or more, all different"
            )

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names lie beside its own."""
        study = super().read(table, source=source)
        found: Any = {name: beside(getattr(study, name), source) for name in ("model", "trait", "texts", "choices")}
        several: Any = {
            name: tuple(beside(each, source) for each in getattr(study, name)) for name in ("data", "others")
        }
        return replace(study, **found, **several)

    def loaded_traits(self) -> list[Trait]:
        """The trait that training is about, then the others."""
        return [load_trait(each, form=self.form).limited(self.limit) for each in (self.trait, *self.others)]

    def run(self, context: RunContext) -> Iterator[Item]:
        """Trains the model in every way, measures each, and chooses strengths."""
        work = _Comparison(self, context)
        vector = work.vector()
        if isinstance(vector, NoVector):
            yield Failure(f"{self.trait}: no vector at {work.checkpoint.label} ({vector.counts})")
            return
        found, chosen = work.compare(vector)
        if context.asks_only:
            return
        scores, runs = score_rows(found), run_rows(found)
        ways = compare_ways(scores)
        choices = pd.DataFrame(
            [(UNTRAINED, np.nan, ""), *((name, *each) for name, each in chosen.items())],
            columns=["way", "strength", "reason"],
        )
        for name, frame in {"scores": scores, "runs": runs, "ways": ways, "choices": choices}.items():
            yield Table(name, frame)

        def draw() -> Any:
            from personascope.applications.finetune.figures import prevention

            return prevention(ways[ways["trait"] == work.trait.name], choices, runs)

        yield Figure("prevention", draw)
        yield _table(self, ways, runs, choices)
        yield _reasons(chosen)


class _Comparison:
    """One study at work: what all of its ways share."""

    def __init__(self, study: FinetuneStudy, context: RunContext) -> None:
        self.study, self.context = study, context
        self.trait, *others = study.loaded_traits()
        self.measures = Measures(self.trait, tuple(others), study.evaluation)
        if not context.asks_only:  # what is read costs no answer
            texts = load_texts(study.texts, limit=study.limit, lab=held_out_documents)
            choices = load_choices(study.choices, limit=study.limit, lab=choice_items)
            self.measures = replace(self.measures, texts=texts, choices=choices)
        self.judge = context.open_judge(study.judge)
        self.engine = context.open_engine(checkpoint_named(study.model, study.revision))
        self.checkpoint = self.engine.checkpoint
        self.plainly: dict[int, Run] = {}
        """The plainly trained models by seed, which several ways ask."""
        for layer in {layer for way in study.ways for layer in way.layers}:
            check_layer(layer, self.engine.last_layer, self.checkpoint.label)

    def vector(self) -> PersonaVector | NoVector:
        """The trait's vector of the untrained model."""
        method = Method(self.study.extraction, self.study.evaluation, self.study.bar)
        return extract(self.engine, self.trait, judge=self.judge, method=method)

    def compare(self, vector: PersonaVector) -> tuple[list[Measured], dict[str, tuple[float, str]]]:
        """Every way at every strength from every seed, the untrained model first; and each way's strength, with why."""
        base = measure(self.engine, Condition(UNTRAINED), self.measures, judge=self.judge)
        self.engine.close()
        found, plain, chosen = [base], list[Measured](), dict[str, tuple[float, str]]()
        for way in self.study.ways:
            written = float("nan") if way.strength is None else way.strength
            strengths = (chosen[way.like][0],) if way.like else way.strengths or (written,)
            mine = [each for strength in strengths for each in self._measured(way, strength, vector)]
            plain = mine if way.name == PLAIN else plain
            if len(strengths) > 1:
                chosen[way.name] = chosen_strength(
                    mine, trait=self.trait.name, base=base, plain=plain, tolerance=self.study.tolerance
                )
            else:
                chosen[way.name] = (strengths[0], f"that of {way.like}" if way.like else "the only one")
            found += mine
        return found, chosen

    def _measured(self, way: Way, strength: float, vector: PersonaVector) -> Iterator[Measured]:
        """A way at a strength, from every seed."""
        at = way if np.isnan(strength) else way.at(strength)
        for seed in self.study.seeds:
            along = random_like(vector, seed) if way.random else vector
            run = self.plainly[seed] if way.asks_plain else self._trained(at, seed, along)
            if way.name == PLAIN:
                self.plainly[seed] = run
            engine = self.context.open_engine(self._checkpoint(run))
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
        samples = samples_for(self.context, study.data, limit=study.samples, seed=seed)
        return trained_model(self.context, config, samples, base=self.checkpoint, vectors=needed)

    def _checkpoint(self, run: Run) -> Checkpoint:
        if (run.folder / "adapter_config.json").is_file():
            return replace(self.checkpoint, adapter=str(run.folder))
        return Checkpoint.at(run.folder)


def _table(study: FinetuneStudy, ways: pd.DataFrame, runs: pd.DataFrame, choices: pd.DataFrame) -> Summary:
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
    return Summary(f"{study.name}: after training, {counted}", columns, tuple(rows))


def _reasons(chosen: dict[str, tuple[float, str]]) -> Summary:
    rows = tuple((name, f"{strength:g}", why) for name, (strength, why) in chosen.items() if not np.isnan(strength))
    return Summary("how strengths were chosen", ("way", "strength", "why"), rows)


def _at(frame: pd.DataFrame, way: str, strength: float) -> pd.DataFrame:
    same = frame["strength"].isna() if np.isnan(strength) else frame["strength"] == strength
    return frame[(frame["way"] == way) & same]


def _shown(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
