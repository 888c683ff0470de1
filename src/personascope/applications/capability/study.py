"""Studies of kind ``capability``: what steering along a trait gains, and what it costs the model.

Owns: :class:`CapabilityStudy`. The one law: gain and cost are of one model, one vector and one way of steering, and a
random direction of the same length stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from personascope.core.errors import StudyError, check_layer
from personascope.core.files import check_name, value_of
from personascope.core.records import Bar, Sampling, Where
from personascope.core.tables import write_csv
from personascope.core.vectors import NoVector, Steering, Unit
from personascope.studies.context import Report, Table, Workplace, checkpoint_named
from personascope.studies.registry import beside

if TYPE_CHECKING:
    import pandas as pd

    from personascope.applications.capability.core import Cost, Yardsticks
    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.judges import Judge

FILES: Final = ("capability.csv", "capability.png", "capability.pdf")


@dataclass(frozen=True)
class CostedTrait:
    """A trait, the form its vector is extracted and evaluated in, and the layer it is steered at."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    layer: int | tuple[int, ...]
    form: str = "assistant"


@dataclass(frozen=True)
class CapabilityStudy:
    """What a study file of this kind says.

    ``texts`` is a file of JSON lines with a ``text`` each, ``choices`` one with ``question``, ``options`` and ``right``
    (counted from 0) each, and ``"lab"`` stands for those of the lab's world. ``controls`` is how many random directions
    stand beside each vector; ``limit`` cuts questions, texts and choices.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

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


def read(table: dict[str, Any], *, source: str) -> CapabilityStudy:
    """The study of a table; the files it names lie beside its own."""
    from dataclasses import replace

    study = value_of(table, CapabilityStudy, source=source, error=StudyError)
    return replace(
        study,
        traits=tuple(replace(each, trait=beside(each.trait, source)) for each in study.traits),
        model=beside(study.model, source),
        texts=beside(study.texts, source),
        choices=beside(study.choices, source),
    )


def counts(study: CapabilityStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most; texts and choices are read and not asked."""
    from personascope.core.traits import load_trait

    instructed = plain = 0
    for each in study.traits:
        trait = load_trait(each.trait, form=each.form).limited(study.limit)
        instructed += 2 * len(trait.instructed("positive")) * study.extraction.draws
        arms = 1 + len([s for s in study.strengths if s]) * (1 + study.controls)
        plain += arms * len(trait.questions("evaluation")) * study.evaluation.draws
    tokens = instructed * study.extraction.max_tokens + plain * study.evaluation.max_tokens
    return {"responses": instructed + plain, "verdicts": 2 * (instructed + plain), "tokens": tokens, "loads": 1}


def run(study: CapabilityStudy, place: Workplace) -> Report:
    """Extracts each trait's vector, steers along it and along controls, and measures gain and cost."""
    from personascope.applications.capability.figures import capability
    from personascope.applications.capability.frames import cost_rows
    from personascope.core.traits import load_trait
    from personascope.figures.style import save

    traits = [(each, load_trait(each.trait, form=each.form).limited(study.limit)) for each in study.traits]
    yardsticks, judge = _yardsticks(study), place.open_judge(study.judge)
    engine = place.open_engine(checkpoint_named(study.model, study.revision))
    for each, _ in traits:  # every layer is looked at before anything is asked
        for layer in each.layer if isinstance(each.layer, tuple) else (each.layer,):
            check_layer(layer, engine.last_layer, engine.checkpoint.label)
    costs: list[Cost] = []
    absent: list[str] = []
    for each, trait in traits:
        found = _costs(study, each, trait, engine=engine, judge=judge, yardsticks=yardsticks)
        absent += [found] if isinstance(found, str) else []
        costs += [] if isinstance(found, str) else found
    if not costs:
        return Report(failed=tuple(absent))
    rows = cost_rows(costs, seed=study.seed)
    files = [place.out / name for name in FILES]
    write_csv(files[0], rows)
    for path in files[1:]:
        save(capability(rows), path)
    for path in files:
        place.made(path)
    return Report((_table(rows),), tuple(files), tuple(absent))


def _costs(
    study: CapabilityStudy, asked: CostedTrait, trait: Trait, *, engine: Engine, judge: Judge, yardsticks: Yardsticks
) -> list[Cost] | str:
    """The costs of one trait, or why it has no vector."""
    from personascope.applications.capability.core import steering_costs
    from personascope.tracing.controls import random_direction
    from personascope.tracing.extraction import Extraction, Method, extract

    method = Method(study.extraction, study.evaluation, study.bar)
    vector = extract(engine, trait, judge=judge, method=method)
    if isinstance(vector, NoVector):
        return f"{trait.name}: no vector at {engine.checkpoint.label} ({vector.counts})"
    alone = Extraction(vector, vector.directions[None].astype("f8"))
    controls = [
        control for number in range(study.controls) for control in random_direction(study.seed + number)(alone, ())
    ]
    ways = [Steering(asked.layer, strength, study.unit, study.where) for strength in study.strengths]
    return steering_costs(engine, trait, [vector, *controls], ways=ways, judge=judge, yardsticks=yardsticks)


def _yardsticks(study: CapabilityStudy) -> Yardsticks:
    from personascope.applications.capability.core import Yardsticks
    from personascope.lab.documents import choice_items, held_out_documents
    from personascope.tracing.eval_data import load_choices, load_texts

    texts = load_texts(study.texts, limit=study.limit, lab=held_out_documents)
    choices = load_choices(study.choices, limit=study.limit, lab=choice_items)
    return Yardsticks(texts, choices, study.evaluation, study.window)


def _table(rows: pd.DataFrame) -> Table:
    """What a reader wants to see at once."""
    shown = []
    for row in rows.to_dict(orient="records"):
        moved = f"{row['effect']:+.1f} [{row['effect_low']:+.0f}, {row['effect_high']:+.0f}]"
        plain = row["direction"] == "plain"
        shown.append(
            (
                str(row["trait"]),
                str(row["direction"]),
                f"{row['strength']:g}",
                f"{row['applied_norm']:.2f}",
                f"{row['score']:.1f}",
                "" if plain else moved,
                f"{row['coherence']:.1f}",
                f"{row['accuracy']:.3f}",
                f"{row['perplexity']:.3f}",
            )
        )
    columns = (
        "trait", "direction", "strength", "norm", "score", "effect, 95 %", "coh.", "right", "perpl.",
    )  # fmt: skip
    return Table("what steering gains and what it costs", columns, tuple(shown))
