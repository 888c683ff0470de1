"""The verb that sets fine-tuned models against their base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import (
    Asking,
    Device,
    Draws,
    Dtype,
    Form,
    Json,
    JudgeName,
    Limit,
    MostSpent,
    Out,
    Price,
    Revision,
    Seed,
    Tokens,
    ledger_of,
    sampling_for,
)

if TYPE_CHECKING:
    from personascope.applications.shift.core import Tuned, Watched
    from personascope.applications.shift.frames import Shifted
    from personascope.engines import Engine


def shift(
    base: Annotated[str, typer.Argument(help="The base: a folder, a Hub repository, or 'lab'.")],
    tuned: Annotated[
        list[str], typer.Argument(help="Tuned models: folders, repositories, PEFT adapters, or folders of checkpoints.")
    ],
    vectors: Annotated[list[Path], typer.Option("--vectors", help="Vector files; may be given several times.")],
    layer: Annotated[list[int], typer.Option("--layer", help="The layer to read at; one, or one for each vector.")],
    judge: JudgeName = None,
    form: Form = None,
    span: Annotated[str, typer.Option(help="What is read: last_prompt, as in the paper, or response.")] = "last_prompt",
    directions: Annotated[int, typer.Option(min=1, help="Random directions for the null.")] = 1000,
    limit: Limit = None,
    draws: Draws = 3,
    max_tokens: Tokens = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; by default 0.5.")] = None,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    budget: MostSpent = None,
    price: Price = None,
    out: Out = Path("shift"),
    as_json: Json = False,
) -> None:
    """Say how far fine-tuning moved models along persona vectors, and what that did to what they say.

    Writes the shift and the judged change of every model and trait, the matrix across traits, correlations over models
    beside those of random directions, and a report of one page.
    """
    from personascope.applications.shift import core
    from personascope.applications.shift.frames import shifted
    from personascope.applications.shift.study import ShiftStudy, items_of
    from personascope.core.errors import JudgeError, StudyError, nearest
    from personascope.engines.opening import open_engine
    from personascope.judges.opening import open_judge
    from personascope.store.caching import RememberingEngine
    from personascope.store.store import Store
    from personascope.studies.context import RunContext
    from personascope.studies.run import write_all

    spans = ("last_prompt", "response", "prompt")
    if span not in spans:
        raise StudyError(f"--span '{span}' is not known; {nearest(span, spans)}")
    if judge is None and base != "lab":
        raise JudgeError(f"no judge was named for {base}: give --judge [ENDPOINT:]MODEL")
    asking = Asking(device, dtype, ledger_of(budget, price))
    outputs.check_folder(out, ShiftStudy.FILES)
    engine, models = _opened(base, revision, tuned, device=device, dtype=dtype)
    watched = _watched(vectors, layer, form, limit, engine)
    core.check_related(engine, [each for _, each in models], watched)
    open_judge(  # what is wrong with it is said before anything is written
        judge or "lab",
        meter=asking.ledger,
        open_engine=lambda model: open_engine(model, device=device, dtype=dtype),
    )
    context = RunContext(out, Store(out / "store"), device, dtype, ledger=asking.ledger)
    sampling = sampling_for(base, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    questions = sum(len(each.trait.questions("evaluation")) for each in watched)
    with terminal.progress(3 * questions * draws * (1 + len(models))) as bar:
        kept = [RememberingEngine(each, context.store, notice=bar) for each in (engine, *(one for _, one in models))]
        scoring = context.open_judge(judge or "lab")
        how = core.Asking(scoring, sampling, span, directions, seed)  # type: ignore[arg-type]
        try:
            tuned_engines = list(zip((one for one, _ in models), kept[1:], strict=True))
            standings = core.stand_all(kept[0], tuned_engines, watched, how)
        finally:
            asking.settle(out / "store" / "costs.jsonl")
    found = shifted(standings, watched, how, base=engine.checkpoint.label)
    made = write_all(items_of(found, out), out).files
    _show(found, as_json=as_json)
    if not as_json:
        terminal.out.print("wrote " + ", ".join(map(str, made)), highlight=False, soft_wrap=True)


def _opened(
    base: str, revision: str | None, tuned: list[str], *, device: str | None, dtype: str | None
) -> tuple[Engine, list[tuple[Tuned, Engine]]]:
    """The base and every tuned model, opened; no weights load."""
    from personascope.applications.shift.core import tuned_models
    from personascope.engines.opening import open_engine

    engine = open_engine(base, revision=revision, device=device, dtype=dtype)
    found = tuned_models(engine.checkpoint, tuned)
    return engine, [(each, open_engine(each.checkpoint, device=device, dtype=dtype)) for each in found]


def _watched(
    paths: list[Path], layers: list[int], form: str | None, limit: int | None, engine: Engine
) -> list[Watched]:
    """Every vector with its trait's questions, at its layer."""
    from personascope.applications.shift.core import Watched
    from personascope.core.errors import LayerError
    from personascope.core.traits import load_trait
    from personascope.interop.tensors import load_any

    if len(layers) not in (1, len(paths)):
        raise LayerError(f"{len(layers)} layers were given for {len(paths)} vectors: give one, or one for each")
    each_layer = layers * len(paths) if len(layers) == 1 else layers
    loaded = [load_any(path, engine.checkpoint) for path in paths]
    return [
        Watched(load_trait(vector.trait, form=form or vector.form).limited(limit), vector, layer)
        for vector, layer in zip(loaded, each_layer, strict=True)
    ]


def _show(found: Shifted, *, as_json: bool) -> None:
    """Every model's shift and change, and where there are enough models the correlations."""
    from personascope.applications.shift.study import table_of

    if as_json:
        frames = {"shifts": found.shifts, "correlations": found.correlations, "null": found.null}
        terminal.print_json({name: frame.to_dict(orient="records") for name, frame in frames.items()})
        return
    rows = [
        (
            str(row["model"]),
            str(row["trait"]),
            f"{row['shift']:+.3f}",
            f"{row['before']:.1f}",
            f"{row['after']:.1f}",
            f"{row['change']:+.1f} [{row['low']:+.0f}, {row['high']:+.0f}]",
            f"{row['coherence_after']:.0f}",
        )
        for row in found.shifts.to_dict(orient="records")
    ]
    columns = ("model", "trait", "shift", "before", "after", "change, 95 %", "coherence")
    terminal.show_rows(f"against {found.base}", columns, rows)
    if found.null["pearson"].notna().any():
        table = table_of(found)
        terminal.show_rows(table.title, table.columns, table.rows)
