"""Studies of kind ``capability``: what steering along a trait gains, and what it costs the model.

Gain and cost are of one model, one vector and one way of steering, and a random direction of the same length stands
beside them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from personascope.applications.capability.core import Cost, Yardsticks, steering_costs
from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name
from personascope.core.records import Bar, Sampling, Where
from personascope.core.steering import Steering, Unit
from personascope.core.traits import Trait, load_trait
from personascope.core.vectors import NoVector, PersonaVector
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Summary, Table, beside
from personascope.studies.context import RunContext, checkpoint_named
from personascope.tracing.controls import random_direction
from personascope.tracing.eval_data import load_choices, load_texts
from personascope.tracing.extraction import Extraction, Method, extract


@dataclass(frozen=True)
class CostedTrait:
    """A trait, the form its vector is extracted and evaluated in, and the layer it is steered at."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    layer: int | tuple[int, ...]
    form: str = "assistant"

    def load(self, limit: int | None) -> Trait:
        """The trait, with every question set cut to ``limit``."""
        return load_trait(self.trait, form=self.form).limited(limit)


@dataclass(frozen=True)
class CapabilityStudy(BaseStudy):
    """What a study file of this kind says.

    ``texts`` is a file of JSON lines with a ``text`` each, ``choices`` one with ``question``, ``options`` and ``right``
    (counted from 0) each, and ``"lab"`` stands for those of the lab's world. ``controls`` is how many random directions
    stand beside each vector; ``limit`` cuts questions, texts and choices.
    """

    FILES: ClassVar = ("capability.csv", "capability.png", "capability.pdf")

    kind: str
    name: str
    model: str
    judge: str
    traits: tuple[CostedTrait, ...]
    strengths: tuple[float, ...]
    unit: Unit
    extraction: Sampling
    evaluation: Sampling
    about: str = ""
    revision: str = ""
    texts: str = ""
    choices: str = ""
    window: int | None = None
    where: Where = "response"
    bar: Bar = Bar()
    controls: int = 1
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.traits or not self.strengths:
            raise StudyError(f"study '{self.name}' names no trait or no strength: it needs one of each, or more")
        if not self.texts and not self.choices:
            raise StudyError(
                f"study '{self.name}' has no texts and no choices to measure by: give one of them, or both"
            )

    @classmethod
    def read(cls, table: dict[str, Any], *, source: str) -> Self:
        """The study of a table; the files it names lie beside its own."""
        study = super().read(table, source=source)
        return replace(
            study,
            traits=tuple(replace(each, trait=beside(each.trait, source)) for each in study.traits),
            model=beside(study.model, source),
            texts=beside(study.texts, source),
            choices=beside(study.choices, source),
        )

    def loaded_traits(self) -> list[Trait]:
        return [each.load(self.limit) for each in self.traits]

    def run(self, context: RunContext) -> Iterator[Item]:
        """Extracts each trait's vector, steers along it and along controls, and measures gain and cost."""
        from personascope.applications.capability.figures import capability
        from personascope.applications.capability.frames import cost_rows
        from personascope.lab.documents import choice_items, held_out_documents

        traits = [(each, each.load(self.limit)) for each in self.traits]
        yardsticks = Yardsticks(sampling=self.evaluation, window=self.window)
        if not context.asks_only:  # texts and choices are read and not asked: a plan does without them
            texts = load_texts(self.texts, limit=self.limit, lab=held_out_documents)
            choices = load_choices(self.choices, limit=self.limit, lab=choice_items)
            yardsticks = replace(yardsticks, texts=texts, choices=choices)
        judge = context.open_judge(self.judge)
        engine = context.open_engine(checkpoint_named(self.model, self.revision))
        for each, _ in traits:  # every layer is looked at before anything is asked
            for layer in each.layer if isinstance(each.layer, tuple) else (each.layer,):
                check_layer(layer, engine.last_layer, engine.checkpoint.label)
        method = Method(self.extraction, self.evaluation, self.bar)
        costs: list[Cost] = []
        for each, trait in traits:
            vector = extract(engine, trait, judge=judge, method=method)
            if isinstance(vector, NoVector):
                yield Failure(f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})")
                continue
            ways = [Steering(each.layer, strength, self.unit, self.where) for strength in self.strengths]
            vectors = [vector, *self._controls(vector)]
            costs += steering_costs(engine, trait, vectors, ways=ways, judge=judge, yardsticks=yardsticks)
        if not costs or context.asks_only:
            return
        rows = cost_rows(costs, seed=self.seed)
        yield Table("capability", rows)
        yield Figure("capability", lambda: capability(rows))
        columns = ("trait", "direction", "strength", "norm", "score", "effect, 95 %", "coh.", "right", "perpl.")
        yield Summary("what steering gains and what it costs", columns, tuple(map(_cells, rows.to_dict("records"))))

    def _controls(self, vector: PersonaVector) -> list[PersonaVector]:
        alone = Extraction(vector, vector.directions[None].astype("f8"))
        return [
            control for number in range(self.controls) for control in random_direction(self.seed + number)(alone, ())
        ]


def _cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    """What a reader wants to see at once of a way of steering."""
    moved = f"{row['effect']:+.1f} [{row['effect_low']:+.0f}, {row['effect_high']:+.0f}]"
    return (
        str(row["trait"]),
        str(row["direction"]),
        f"{row['strength']:g}",
        f"{row['applied_norm']:.2f}",
        f"{row['score']:.1f}",
        "" if row["direction"] == "plain" else moved,
        f"{row['coherence']:.1f}",
        f"{row['accuracy']:.3f}",
        f"{row['perplexity']:.3f}",
    )
