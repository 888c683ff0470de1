"""The verb that screens training data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import STORE, Asking, Device, Dtype, Json, MostSpent, Out, Price, StoreFolder, ledger_of

if TYPE_CHECKING:
    from personascope.applications.screen.core import Measure
    from personascope.applications.screen.rules import Rule
    from personascope.applications.screen.run import Screening, Screenings
    from personascope.studies.context import RunContext


def screen(
    datasets: Annotated[list[Path], typer.Argument(help=".jsonl, .csv or .parquet files, or saved datasets' folders.")],
    model: Annotated[str, typer.Option("--model", help="The model to be trained: a folder, a repository, or 'lab'.")],
    vectors: Annotated[list[Path], typer.Option("--vectors", help="Vector files; may be given several times.")],
    layer: Annotated[list[int], typer.Option("--layer", help="The layer to read at; one, or one for each vector.")],
    against: Annotated[str, typer.Option(help="What to compare with: own, last-prompt or nothing.")] = "own",
    drop: Annotated[str | None, typer.Option(help="Drop this share of the samples: 10%, or 0.1.")] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Drop what scores above; one, or one for each vector.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Drop what scores above a percentile of this dataset.")] = None,
    percentile: Annotated[float, typer.Option(help="Which percentile of the reference.")] = 95.0,
    judge: Annotated[str | None, typer.Option(help="Also ask a judge: 'lab', or [ENDPOINT:]MODEL[#READOUT].")] = None,
    bar: Annotated[float | None, typer.Option(help="Drop what the judge scores above, 0 to 100.")] = None,
    combine: Annotated[str, typer.Option("--filter", help="What drops: projection, judge, either or both.")] = "either",
    turn: Annotated[str, typer.Option(help="Which answer of a longer conversation: first or last.")] = "first",
    max_tokens: Annotated[int, typer.Option(help="New tokens of the model's own answers.")] = 256,
    longest: Annotated[int, typer.Option(help="Leave samples of more tokens unmeasured.")] = 2048,
    extremes: Annotated[int, typer.Option(min=0, help="How many samples of either end to show.")] = 20,
    device: Device = None,
    dtype: Dtype = None,
    budget: MostSpent = None,
    price: Price = None,
    out: Out = Path("screened"),
    as_json: Json = False,
) -> None:
    """Score training samples along persona vectors before training on them, and set apart what would teach a trait.

    Writes each dataset with its scores, what is kept and what is dropped, a summary, histograms, and a page of the
    samples that stand highest and lowest. A run that was stopped goes on where it was.
    """
    from personascope.applications.screen.rules import Rule
    from personascope.applications.screen.run import run_screening
    from personascope.core.errors import StudyError
    from personascope.core.files import value_of
    from personascope.store.store import Store
    from personascope.studies.context import RunContext

    table = {
        "share": _share(drop),
        "thresholds": tuple(threshold or ()),
        "reference": str(reference or ""),
        "percentile": percentile,
        "bar": bar,
        "filter": combine,
    }
    rule = value_of(table, Rule, source="personascope screen", error=StudyError)
    measure = _measure(against, turn, max_tokens, longest)
    outputs.check_folder(out)
    asking = Asking(device, dtype, ledger_of(budget, price))
    context = RunContext(out, Store(out / "store"), device, dtype, ledger=asking.ledger)
    screening = _opened(context, (model, judge), (datasets, reference), (vectors, layer), (rule, measure, extremes))
    outputs.check_folder(out, screening.files)
    samples = sum(each.samples for each in (*screening.datasets, *filter(None, [screening.reference])))
    made: list[Path] = []
    try:
        with terminal.progress(samples) as progress:
            found = run_screening(screening, out, context.store, made=made.append, notice=progress)
    finally:
        asking.settle(out / "store" / "costs.jsonl")
    _show(found, rule, as_json=as_json)
    if not as_json:
        terminal.out.print("wrote " + ", ".join(map(str, made)), highlight=False, soft_wrap=True)


def projection(
    context: typer.Context,
    device: Device = None,
    dtype: Dtype = None,
    store: StoreFolder = STORE,
) -> None:
    """Write projections into a file in place, under the published code's arguments and column names.

    --file_path FILE --vector_path_list V... --layer_list L... --model_name M [--projection_type proj] [--overwrite]
    """
    from personascope.applications.screen.published_columns import project_in_place, published_arguments
    from personascope.cli.options import engine_for

    arguments = published_arguments(context.args)
    outputs.check_file(arguments.file_path, option="--file_path")
    engine = engine_for(arguments.model_name, store, _silent, device=device, dtype=dtype)
    written = project_in_place(arguments, engine)
    said = f"wrote {', '.join(written)}" if written else "every column is there already: --overwrite writes them anew"
    terminal.out.print(f"{arguments.file_path}: {said}", highlight=False, soft_wrap=True)


def _opened(
    context: RunContext,
    models: tuple[str, str | None],
    data: tuple[list[Path], Path | None],
    along: tuple[list[Path], list[int]],
    how: tuple[Rule, Measure, int],
) -> Screening:
    """Everything opened and looked through; no weights are loaded and nothing is asked."""
    from personascope.applications.screen.core import gauges_of
    from personascope.applications.screen.datasets import Asked, datasets_at
    from personascope.applications.screen.run import Screening
    from personascope.core.errors import check_layer
    from personascope.interop.tensors import load_any

    (model, judge), (paths, reference), (vectors, layers), (rule, measure, extremes) = models, data, along, how
    rule.check(len(vectors), judged=judge is not None)
    engine = context.open_engine(model)
    gauges = gauges_of([load_any(each, engine.checkpoint) for each in vectors], layers, judged=judge is not None)
    for gauge in gauges:
        check_layer(gauge.probe.layer, engine.last_layer, engine.checkpoint.label)
    found = datasets_at([*paths, *([reference] if reference is not None else [])])
    asked = Asked(engine, gauges, measure, context.open_judge(judge) if judge is not None else None)
    return Screening(tuple(found[: len(paths)]), asked, rule, found[-1] if reference is not None else None, extremes)


def _measure(against: str, turn: str, max_tokens: int, longest: int) -> Measure:
    from dataclasses import asdict

    from personascope.applications.screen.core import Measure
    from personascope.core.errors import StudyError, nearest
    from personascope.core.files import value_of

    for name, given, known in (
        ("against", against, ("own", "last-prompt", "nothing")),
        ("turn", turn, ("first", "last")),
    ):
        if given not in known:
            raise StudyError(f"--{name} '{given}' is not known; {nearest(given, known)}")
    sampling = asdict(Measure().sampling) | {"max_tokens": max_tokens}
    table = {"against": against, "turn": turn, "sampling": sampling, "longest": longest}
    return value_of(table, Measure, source="personascope screen", error=StudyError)


def _silent(kind: str, count: int, fresh: bool) -> None:
    """Shows no progress."""


def _share(given: str | None) -> float | None:
    """A share of samples as people write it: 10% or 0.1."""
    from personascope.core.errors import StudyError

    if given is None:
        return None
    try:
        share = float(given.strip().removesuffix("%")) / (100 if given.strip().endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise StudyError(f"--drop '{given}' is no share of the samples: give 10%, or 0.1")
    return share


def _show(found: Screenings, rule: Rule, *, as_json: bool) -> None:
    decision = found.decision
    if as_json:
        thresholds = None if decision is None else {"projection": decision.thresholds, "judge": decision.bars}
        records = found.summary.to_dict(orient="records")
        terminal.print_json({"summary": records, "thresholds": thresholds, "files": found.files})
        return
    columns = ("dataset", "vector", "samples", "unmeasured", "mean [95 %]", "5 %", "median", "95 %", "dropped")
    rows = [_cells(row) for row in found.summary.to_dict(orient="records")]
    terminal.show_rows("screened samples", columns, rows)


def _cells(row: Mapping[Any, Any]) -> tuple[str, ...]:
    mean = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    dropped = "-" if math.isnan(row["dropped"]) else f"{row['dropped']:,.0f}"
    counts = (f"{row['samples']:,}", f"{row['unmeasured']:,}")
    return (
        row["dataset"],
        row["gauge"],
        *counts,
        mean,
        *(f"{row[name]:.3f}" for name in ("p05", "p50", "p95")),
        dropped,
    )
