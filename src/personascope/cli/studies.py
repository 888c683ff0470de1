"""The verbs over studies: demo, run, trace, plan, show and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.opening import sampling_for
from personascope.cli.options import (
    Device,
    Dtype,
    Form,
    Json,
    JudgeName,
    LayerNumber,
    Limit,
    Out,
    Strength,
    UnitName,
    WhereName,
)

if TYPE_CHECKING:
    from personascope.studies import Study


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
    study: Annotated[str, typer.Argument(help="A bundled study, or a .toml file.")],
    out: Out = Path("run"),
    judge: JudgeName = None,
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Run a study file: trace its traits along its lineage and write tables, figures and vectors."""
    from dataclasses import replace

    from personascope.studies import load_study

    chosen = load_study(study)
    chosen = replace(chosen, judge=judge or chosen.judge, limit=chosen.limit if limit is None else limit)
    _run(chosen, out, device=device, dtype=dtype, as_json=as_json)


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
    judge: JudgeName = None,
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    out: Out = Path("run"),
    as_json: Json = False,
) -> None:
    """Trace traits along a lineage at one way of steering: a study without a file."""
    from dataclasses import asdict

    from personascope.errors import JudgeError
    from personascope.studies import study_of

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
        "controls": {"random": random, "shuffled": shuffled},
    }
    _run(study_of(table, source="personascope trace"), out, device=device, dtype=dtype, as_json=as_json)


def plan(
    study: Annotated[str, typer.Argument(help="A bundled study, or a .toml file.")],
    speed: Annotated[
        float | None, typer.Option(help="New tokens per second; by default 10,000 on the lab and 1,000 elsewhere.")
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Say what a study will ask for, before anything runs."""
    from dataclasses import asdict, replace

    from personascope.engines.opening import open_lineage
    from personascope.errors import StudyError
    from personascope.plans import plan_study
    from personascope.studies import load_study

    if speed is not None and not (speed > 0 and math.isfinite(speed)):
        raise StudyError(f"a speed of {speed:g} tokens per second gives no time: give a number above 0")
    chosen = load_study(study)
    counted = plan_study(replace(chosen, limit=chosen.limit if limit is None else limit), open_lineage(chosen.lineage))
    assumed, source = _speed(speed, chosen)
    seconds = counted.seconds(assumed)
    if as_json:
        totals = {"responses": counted.responses, "verdicts": counted.verdicts}
        terminal.print_json(
            {**asdict(counted), **totals, "seconds": seconds, "tokens_per_second": assumed, "speed_is": source}
        )
    else:
        terminal.show_plan(counted, seconds=seconds, assumption=f"{assumed:,.0f} new tokens per second, {source}")


def _speed(given: float | None, study: Study) -> tuple[float, str]:
    """New tokens per second, and where the figure comes from."""
    if given is not None:
        return given, "as given"
    if study.lineage == "lab":
        return LAB_SPEED, "measured over the lab's whole study on two shared CPU cores"
    return OTHER_SPEED, "assumed and not measured: give --speed for your machine"


def show(
    what: Annotated[Path, typer.Argument(help="A store, an output folder that holds one, or a vector file.")],
    key: Annotated[str | None, typer.Option(help="One record of the store, with everything behind it.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a store or a vector holds; with --key, one record and everything it was made from."""
    if what.is_file():
        _show_vector(what, as_json)
        return
    store = _existing_store(what)
    if key is not None:
        record = store.provenance(key)
        # A published verdict names the records of its response and its rubric.
        behind = list(store.entries(each for each in record["by"].values() if isinstance(each, str)).values())
        terminal.print_json({**record, "behind": behind} if behind else record)
        return
    counts, studies = store.counts(), [each["study"]["name"] for each in store.studies()]
    if as_json:
        rows = [{"kind": kind, "by": giver, "records": count} for (kind, giver), count in counts.items()]
        terminal.print_json({"store": str(store.path), "studies": list(studies), "records": rows})
        return
    rows_of_text = [(kind, giver, f"{count:,}") for (kind, giver), count in counts.items()]
    terminal.show_rows(
        f"{store.path}: studies {', '.join(studies) or '(none)'}", ("kind", "by", "records"), rows_of_text
    )


def figures(
    store: Annotated[Path, typer.Argument(help="A store, or an output folder that holds one.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default beside the store.")] = None,
    as_json: Json = False,
) -> None:
    """Draw every figure and table a store has data for; asks nothing and loads no model."""
    from personascope.errors import StoreError
    from personascope.results import drawable_again, finished_studies, write_results

    opened = _existing_store(store)
    studies = finished_studies(opened)
    if not studies:
        raise StoreError(
            f"{opened.path} keeps no finished study, so there is nothing to draw: run one with `personascope run`"
        )
    root = out or opened.path.parent
    names = [each.study.name for each in studies]
    made: list[Path] = []
    for place, each in enumerate(studies):
        # Studies of one name are told apart by their order, which is that of their content's digest.
        again = names[:place].count(each.study.name)
        name = f"{each.study.name}-{again + 1}" if again else each.study.name
        folder = outputs.check_folder(root / (name if len(studies) > 1 else ""), outputs.STUDY_FILES)
        write_results(drawable_again(opened, each), folder, made=made.append)
    if as_json:
        terminal.print_json({"files": made})
        return
    for path in made:
        terminal.out.print(str(path), highlight=False, soft_wrap=True)


def _run(study: Study, out: Path, *, device: str | None, dtype: str | None, as_json: bool) -> None:
    """Runs a study in a folder and shows what it gave."""
    from personascope.analysis.effects import growth
    from personascope.analysis.frames import answer_rows
    from personascope.analysis.onset import onset
    from personascope.engines.opening import open_lineage
    from personascope.plans import plan_study
    from personascope.results import run_in, unasked_verdicts, write_results
    from personascope.store import Store

    outputs.check_folder(out, outputs.STUDY_FILES)
    counted = plan_study(study, open_lineage(study.lineage))
    terminal.err.print(
        f"{study.name}: {counted.milestones} milestones, {counted.traits} traits; at most {counted.responses:,} "
        f"responses and {counted.verdicts:,} verdicts, {counted.loads} loads; the store is {out / 'store'}",
        highlight=False,
    )
    with terminal.progress(counted.responses + counted.verdicts) as bar:
        result = run_in(Store(out / "store"), study, device=device, dtype=dtype, notice=bar)
    made: list[Path] = []
    summary = write_results(result, out, made=made.append)
    if as_json:
        terminal.print_json(summary.to_dict(orient="records"))
        return
    terminal.show_effects(summary, result)
    terminal.show_controls(summary)
    answers = answer_rows(result.outcomes)
    terminal.show_growth(growth(answers))
    terminal.show_onsets(onset(answers))
    if unasked := unasked_verdicts(result):
        terminal.err.print(f"{unasked} verdicts could not be had and count as unscored: run again to ask for them")
    terminal.out.print("wrote " + ", ".join(str(path) for path in made if path.parent == out), highlight=False)


def _existing_store(path: Path) -> Any:
    from personascope.errors import StoreError
    from personascope.store import Store

    for folder in (path, path / "store"):
        if (folder / "records.sqlite").is_file():
            return Store(folder)
    raise StoreError(f"{path} holds no store (records.sqlite): give the folder a study was run in")


def _show_vector(path: Path, as_json: bool) -> None:
    from personascope.vectors import load_vector

    vector = load_vector(path)
    passport = {key: value for key, value in vector.passport.items() if key != "sources"}
    passport |= {"digest": vector.digest, "responses behind it": len(vector.sources)}
    if as_json:
        norms = {"lengths": vector.lengths, "residual_norms": vector.residual_norms}
        terminal.print_json({**passport, **norms, "sources": vector.sources})
        return
    terminal.show_rows(str(path), ("passport", ""), [(name, str(value)) for name, value in passport.items()])
    layers = [
        (str(layer), f"{length:.4g}", f"{norm:.4g}")
        for layer, (length, norm) in enumerate(zip(vector.lengths, vector.residual_norms, strict=True))
    ]
    terminal.show_rows("by layer", ("layer", "length", "residual norm"), layers)
