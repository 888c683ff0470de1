"""The verb steer: plain and steered answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import terminal
from personascope.cli.options import (
    STORE,
    Adapter,
    Device,
    Draws,
    Dtype,
    EngineName,
    Json,
    Model,
    Revision,
    Seed,
    StoreFolder,
    Temperature,
    Tokens,
    WhereName,
    engine_for,
    sampling_for,
)

if TYPE_CHECKING:
    from personascope.core.records import Readings, Sampling
    from personascope.core.steering import Steering
    from personascope.core.vectors import PersonaVector
    from personascope.engines import Engine


def steer(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(help="What to ask, as the model is to see it.")],
    vector: Annotated[Path, typer.Option(help="A vector file.")],
    layer: Annotated[list[int], typer.Option(help="0 (embedding) to the number of blocks; may be given again.")],
    strength: Annotated[
        float | None, typer.Option(help="A multiple of the unit; negative steers against. An ablation has none.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="vector, unit, residual or, for a cap, quantile. An ablation has none.")
    ] = None,
    where: WhereName = "response",
    operation: Annotated[
        str, typer.Option(help="add; ablate (take the projection away); cap (lower it to the strength where higher).")
    ] = "add",
    increments: Annotated[
        bool, typer.Option("--increments", help="Add at every layer what it adds to the one below, not the whole.")
    ] = False,
    residual_norm: Annotated[
        list[float] | None,
        typer.Option(help="For --unit residual: the norm at each layer, in the place of the measured one."),
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="A text that precedes every prompt.")] = None,
    trait: Annotated[
        str | None,
        typer.Option(help="For --unit residual or quantile: measure it on this trait's questions; by default the "
                     "vector's trait."),
    ] = None,
    revision: Revision = None,
    adapter: Adapter = None,
    on: EngineName = "transformers",
    device: Device = None,
    dtype: Dtype = None,
    draws: Draws = 1,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Print plain and steered answers side by side."""
    from personascope.core.traits import Prompt
    from personascope.core.vectors import load_vector
    from personascope.tracing.generation import respond as respond_to

    steering = _steering(layer, strength, unit, where=where, operation=operation, increments=increments,
                         residual_norm=residual_norm)  # fmt: skip
    _check_trait(trait, steering)
    loaded = load_vector(vector)
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    asked = [Prompt(text, instruction) for text in prompts]
    with terminal.progress(2 * len(asked) * draws) as bar:
        how = {"revision": revision, "adapter": adapter, "device": device, "dtype": dtype}
        engine = engine_for(model, store, bar, engine=on, **how)
        questions = _measured_on(engine, loaded, steering, trait)
        bar.expect_more(len(questions) * draws)
        edits = steering.along(loaded, **_measured(engine, questions, sampling))
        plain = respond_to(engine, asked, sampling=sampling)
        steered = respond_to(engine, asked, sampling=sampling, edits=edits)
    rows = [
        {"prompt": asked[place // draws].question, "plain": before.words, "steered": after.words}
        for place, (before, after) in enumerate(zip(plain, steered, strict=True))
    ]
    if as_json:
        terminal.print_json(rows)
    else:
        terminal.show_rows(_title(steering), ("prompt", "plain", "steered"), [tuple(row.values()) for row in rows])


def _steering(layers: list[int], strength: float | None, unit: str | None, **ways: Any) -> Steering:
    """The way to steer that the options say."""
    from personascope.core.errors import StudyError
    from personascope.core.files import value_of
    from personascope.core.steering import Steering

    if ways["operation"] == "ablate":
        strength, unit = 1.0 if strength is None else strength, unit or "unit"
    if strength is None or unit is None:
        raise StudyError("steering needs a --strength and its --unit (vector, unit or residual), and one is missing")
    way = {"layer": layers[0] if len(layers) == 1 else layers, "strength": strength, "unit": unit}
    given = {name: value for name, value in ways.items() if value is not None and value != []}
    return value_of({**way, **given}, Steering, source="personascope steer", error=StudyError)


def _title(steering: Steering) -> str:
    layers = ", ".join(map(str, steering.layers))
    at = f"layer{'s' if len(steering.layers) > 1 else ''} {layers}, where {steering.where}"
    if steering.operation == "ablate":
        return f"{at}: the projection ablated"
    how = "projection capped at " if steering.operation == "cap" else ""
    return f"{at}: {how}strength {steering.strength:g} x {steering.unit}{', increments' * steering.increments}"


def _check_trait(trait: str | None, steering: Steering) -> None:
    from personascope.core.errors import StudyError

    if trait is not None and steering.unit not in ("residual", "quantile"):
        raise StudyError(
            f"--trait {trait} measures what --unit residual needs, not --unit {steering.unit}: leave it out"
        )


def _measured_on(engine: Engine, vector: PersonaVector, steering: Steering, trait: str | None) -> Sequence[str]:
    """The questions whose plain answers give the steered model's scale; none where the vector's own will do.

    They are the evaluation questions of the vector's trait, unless another trait is named.
    """
    from personascope.core.errors import TraitError
    from personascope.core.traits import load_trait

    own = trait is None and engine.checkpoint == vector.checkpoint
    measured = steering.unit == "residual" and steering.residual_norm is None and not own
    if not measured and steering.unit != "quantile":
        return ()
    try:
        return load_trait(trait or vector.trait, form=vector.form).questions("evaluation")
    except TraitError as problem:
        if trait is not None:
            raise
        raise TraitError(
            f"unit '{steering.unit}' on {engine.checkpoint.label} is measured on the questions of the vector's trait, "
            f"'{vector.form}/{vector.trait}', which is not bundled: give --trait FILE_OR_NAME, or another --unit"
        ) from problem


def _measured(engine: Engine, questions: Sequence[str], sampling: Sampling) -> dict[str, Any]:
    """Residual norms and mean activations of a model's plain answers; nothing without a question."""
    from personascope.tracing.extraction import mean_norms
    from personascope.tracing.generation import respond as respond_to

    if not questions:
        return {}
    said = respond_to(engine, questions, sampling=sampling)
    readings: Readings = engine.read([each for each in said if not each.empty])
    return {"residual_norms": mean_norms(readings), "plain": readings.response}
