"""The verbs over studies: demo, run, trace and plan."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import (
    COSTS,
    Asking,
    Device,
    Dtype,
    EngineName,
    Form,
    Json,
    JudgeName,
    LayerNumber,
    Limit,
    MostOnDisk,
    MostSpent,
    Out,
    Price,
    Strength,
    UnitName,
    WhereName,
    checkpoint_cache_of,
    ledger_of,
    sampling_for,
)

if TYPE_CHECKING:
    from personascope.studies.registry import StudyFile
    from personascope.studies.run import Report


# New tokens per second where nobody gives --speed. On the lab: the 696,320 tokens its study plans, over the 70 s it
# took on two shared CPU cores, everything included. Elsewhere the machine is unknown: a round figure.
LAB_SPEED = 10_000.0
OTHER_SPEED = 1_000.0


def demo(
    out: Out = Path("demo"), device: Device = None, dtype: Dtype = None, limit: Limit = None, as_json: Json = False
) -> None:
    """The main job on the lab: trace four traits through a tiny model's pretraining, with controls."""
    run("lab", out=out, device=device, dtype=dtype, limit=limit, as_json=as_json)


def run(
    study: Annotated[str, typer.Argument(help="A bundled study of any kind, or a .toml file.")],
    out: Out = Path("run"),
    judge: JudgeName = None,
    on: EngineName = "transformers",
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    budget: MostSpent = None,
    price: Price = None,
    disk: MostOnDisk = None,
    as_json: Json = False,
) -> None:
    """Run a study file of any kind: ask what it asks, and write its tables and figures."""
    from personascope.studies.registry import open_study

    chosen = open_study(study).changed(judge=judge, limit=limit)
    _run(
        chosen,
        out,
        Asking(device, dtype, ledger_of(budget or chosen.budget, price), on, checkpoint_cache_of(disk)),
        as_json=as_json,
    )


def trace(
    lineage: Annotated[str, typer.Argument(help="A bundled lineage, a .toml file, a folder, or a Hub repository.")],
    traits: Annotated[list[str], typer.Argument(help="Bundled traits, or .toml files.")],
    layer: LayerNumber,
    strength: Strength,
    unit: UnitName,
    where: WhereName = "response",
    form: Form = None,
    evaluate: Annotated[str, typer.Option(help="The form to evaluate with, if another one.")] = "",
    target: Annotated[str, typer.Option(help="Steer this post-trained target of the lineage instead.")] = "",
    random: Annotated[int, typer.Option(min=0, help="Random directions of the same norm.")] = 2,
    shuffled: Annotated[int, typer.Option(min=0, help="Label-shuffled vectors.")] = 2,
    orthogonal: Annotated[int, typer.Option(min=0, help="Random directions with no part along the vector.")] = 0,
    renormed: Annotated[int, typer.Option(min=0, help="Label-shuffled vectors at the vector's norm.")] = 0,
    other_traits: Annotated[bool, typer.Option("--other-traits", help="The other traits' vectors, too.")] = False,
    prompted: Annotated[bool, typer.Option("--prompted", help="The traits' instructions alone, too.")] = False,
    permutations: Annotated[int, typer.Option(min=0, help="Label shuffles at the last milestone with a vector.")] = 0,
    judge: JudgeName = None,
    on: EngineName = "transformers",
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    budget: MostSpent = None,
    price: Price = None,
    disk: MostOnDisk = None,
    out: Out = Path("run"),
    as_json: Json = False,
) -> None:
    """Trace traits along a lineage at one way of steering: a study without a file."""
    from dataclasses import asdict

    from personascope.core.errors import JudgeError
    from personascope.studies.registry import study_in

    if judge is None and lineage != "lab":
        raise JudgeError(f"no judge was named for {lineage}: give --judge [ENDPOINT:]MODEL")
    extract = form or ("lab" if lineage == "lab" else "character")
    way = {"layer": layer, "strength": strength, "unit": unit, "where": where}
    table: dict[str, Any] = {
        "kind": "trace",
        "name": f"trace-{Path(lineage).name}",
        "lineage": lineage,
        "judge": judge or ("lab" if lineage == "lab" else ""),
        "target": target,
        "limit": limit,
        "traits": [
            {"trait": trait, "extract": extract, "evaluate": evaluate, "points": [{"steering": way}]}
            for trait in traits
        ],
        "extraction": asdict(sampling_for(lineage, draws=4, max_tokens=None, temperature=None, seed=0)),
        "evaluation": asdict(sampling_for(lineage, draws=3, max_tokens=None, temperature=None, seed=0)),
        "controls": {
            "random": random,
            "shuffled": shuffled,
            "orthogonal": orthogonal,
            "renormed": renormed,
            "other_traits": other_traits,
            "prompted": prompted,
            "permutations": permutations,
        },
    }
    chosen = study_in(table, source="personascope trace")
    _run(chosen, out, Asking(device, dtype, ledger_of(budget, price), on, checkpoint_cache_of(disk)), as_json=as_json)


def plan(
    study: Annotated[str, typer.Argument(help="A bundled study of any kind, or a .toml file.")],
    speed: Annotated[
        float | None, typer.Option(help="New tokens per second; by default 10,000 on the lab and 1,000 elsewhere.")
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Say what a study will ask for and what its judge will cost, before anything runs."""
    from personascope.core.errors import StudyError
    from personascope.studies.registry import open_study

    if speed is not None and not (speed > 0 and math.isfinite(speed)):
        raise StudyError(f"a speed of {speed:g} tokens per second gives no time: give a number above 0")
    chosen = open_study(study).changed(limit=limit)
    counted = chosen.study.counts()
    assumed, source = _speed(speed, chosen)
    seconds = counted.get("tokens", 0) / assumed
    cost = chosen.cost()
    if as_json:
        timing = {"seconds": seconds, "tokens_per_second": assumed, "speed_is": source}
        terminal.print_json({"study": chosen.name, "kind": chosen.kind, **counted, **timing, "judge_cost": cost})
        return
    terminal.show_plan(
        chosen.name, counted, seconds=seconds, assumption=f"{assumed:,.0f} new tokens per second, {source}"
    )
    terminal.out.print(f"the judge: {cost}", highlight=False, soft_wrap=True)


def _speed(given: float | None, chosen: StudyFile) -> tuple[float, str]:
    """New tokens per second, and where the figure comes from."""
    if given is not None:
        return given, "as given"
    if getattr(chosen.study, "lineage", "") == "lab" or chosen.table.get("model") == "lab":
        return LAB_SPEED, "measured over the lab's whole study on two shared CPU cores"
    return OTHER_SPEED, "assumed and not measured: give --speed for your machine"


def _run(chosen: StudyFile, out: Path, asking: Asking, *, as_json: bool) -> None:
    """Runs a study in a folder and shows what it gave."""
    from personascope.store.store import Store
    from personascope.studies.context import RunContext
    from personascope.studies.run import RUN, STUDY, folder_for, run

    folder, store = folder_for(out, chosen.study), out / "store"
    if folder != out:
        told = f"{out} holds the files of another study: those of '{chosen.name}' go to {folder}, the store is shared"
        terminal.err.print(told, highlight=False, soft_wrap=True)
    outputs.check_folder(folder, (*chosen.study.files(), STUDY, RUN))
    counted = chosen.study.counts()
    terminal.err.print(f"{chosen.name}: {_counted(counted)}; the store is {store}", highlight=False, soft_wrap=True)
    try:
        with terminal.progress(counted.get("responses", 0) + counted.get("verdicts", 0)) as bar:
            where = (folder, Store(store), asking.device, asking.dtype, bar)
            cache = asking.checkpoint_cache or checkpoint_cache_of(None)
            context = RunContext(*where, ledger=asking.ledger, engine=asking.engine, checkpoint_cache=cache)
            report = run(chosen, context, command=tuple(sys.argv))
    finally:
        asking.settle(store / COSTS)
    _show(chosen, report, as_json=as_json)
    if context.unasked:
        told = f"{context.unasked:,} verdicts could not be had and count as unscored: run again to ask for them"
        terminal.err.print(told, highlight=False, soft_wrap=True)
    if not as_json:
        written = ", ".join(str(path) for path in report.files if path.parent == folder)
        terminal.out.print("wrote " + written, highlight=False)
    if report.failures:
        raise typer.Exit(1)


def _show(chosen: StudyFile, report: Report, *, as_json: bool) -> None:
    """Shows the summaries of a report, and what could not be done."""
    if as_json and chosen.study.JSON_TABLE:
        terminal.print_json(report.tables[chosen.study.JSON_TABLE].to_dict(orient="records"))
    elif as_json:
        tables = [
            {"title": each.title, "rows": [dict(zip(each.columns, row, strict=True)) for row in each.rows]}
            for each in report.summaries
        ]
        terminal.print_json({"tables": tables, "files": report.files, "failed": report.failures})
    else:
        for each in report.summaries:
            terminal.show_rows(each.title, each.columns, each.rows)
    for why in report.failures:
        terminal.err.print(f"[bold red]failed:[/bold red] {terminal.escaped(why)}", highlight=False, soft_wrap=True)


def _counted(counts: Mapping[str, int]) -> str:
    """What a study asks for, in a line."""
    about = [f"{counts[name]:,} {name}" for name in ("studies", "milestones", "traits") if name in counts]
    most = [f"{counts[name]:,} {name}" for name in ("responses", "verdicts", "loads") if name in counts]
    return "; ".join(filter(None, (", ".join(about), f"at most {', '.join(most)}" if most else "")))
