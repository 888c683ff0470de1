"""The verb ``eval``: what a model can do, plainly and steered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Adapter, Device, Dtype, Json, Limit, Model, Revision, UnitName, WhereName
from personascope.core.tables import write_csv

if TYPE_CHECKING:
    from personascope.core.records import Edit
    from personascope.engines import Engine


def evaluate(
    model: Model,
    texts: Annotated[
        str, typer.Option(help="Perplexity of these: JSON lines with a 'text', a .txt file, or 'lab'.")
    ] = "",
    choices: Annotated[
        str, typer.Option(help="Multiple choice: JSON lines with 'question', 'options' and 'right', or 'lab'.")
    ] = "",
    tasks: Annotated[str, typer.Option(help="Tasks of lm-evaluation-harness, with commas: mmlu,hellaswag.")] = "",
    include: Annotated[Path | None, typer.Option(help="A folder with task files of your own.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples before each question of a task.")] = None,
    vector: Annotated[
        Path | None, typer.Option("--steer", help="Also measure the model steered along this vector.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="0 (embedding) to the number of blocks.")] = None,
    strength: Annotated[float | None, typer.Option(help="A multiple of the unit; negative steers against.")] = None,
    unit: UnitName = "",
    where: WhereName = "response",
    window: Annotated[int | None, typer.Option(min=2, help="Cut longer texts into pieces of so many tokens.")] = None,
    revision: Revision = None,
    adapter: Adapter = None,
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what a model can do, and what steering costs it: perplexity, multiple choice, and any harness task."""
    from personascope.core.errors import StudyError
    from personascope.engines import check_edits
    from personascope.engines.opening import open_engine
    from personascope.lab.documents import choice_items, held_out_documents
    from personascope.tracing.eval_data import load_choices, load_texts

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not texts and not choices and not names:
        raise StudyError("nothing was named to measure by: give --texts, --choices or --tasks")
    path = outputs.check_file(out) if out is not None else None
    edits = _edits(vector, layer, strength, unit, where)
    by = (
        load_texts(texts, limit=limit, lab=held_out_documents),
        load_choices(choices, limit=limit, lab=choice_items),
    )
    if names:
        _harness().known_tasks(names, include=include)
    engine = open_engine(model, revision=revision, adapter=adapter, device=device, dtype=dtype)
    check_edits(engine, edits)
    rows: list[dict[str, Any]] = []
    for way, mine in {"plain": (), **({"steered": edits} if edits else {})}.items():
        rows += [{"model": way, **row} for row in _measured(engine, *by, edits=mine, window=window)]
        if names:
            rows += [{"model": way, **row} for row in _tasks(engine, names, mine, limit, shots, include)]
    if path is not None:
        write_csv(path, rows)
    if as_json:
        terminal.print_json(rows)
        return
    shown = [(row["model"], row["task"], row["metric"], f"{row['value']:.4f}") for row in rows]
    terminal.show_rows(engine.checkpoint.label, ("model", "task", "metric", "value"), shown)


def _edits(vector: Path | None, layer: int | None, strength: float | None, unit: str, where: str) -> tuple[Edit, ...]:
    """The edits that the options ask for; none without a vector."""
    from personascope.core.errors import StudyError
    from personascope.core.files import value_of
    from personascope.core.steering import Steering
    from personascope.core.vectors import load_vector

    given = {"layer": layer, "strength": strength, "unit": unit or None}
    if vector is None:
        if named := [f"--{name}" for name, value in given.items() if value is not None]:
            raise StudyError(f"{', '.join(named)} was given without a vector to steer along: give --steer FILE")
        return ()
    if missing := [f"--{name}" for name, value in given.items() if value is None]:
        raise StudyError(f"--steer {vector} needs {', '.join(missing)} too: a vector has no strength of its own")
    steering = value_of({**given, "where": where}, Steering, source="personascope eval", error=StudyError)
    return steering.along(load_vector(vector))


def _measured(
    engine: Engine, texts: Any, choices: Any, *, edits: tuple[Edit, ...], window: int | None
) -> list[dict[str, Any]]:
    """Perplexity and multiple choice, of what was named."""
    from personascope.tracing.eval_data import multiple_choice, perplexity

    rows = []
    if texts:
        found = perplexity(engine, texts, edits=edits, window=window)
        rows.append({"task": "texts", "metric": "perplexity", "value": found.per_token, "count": len(texts)})
    if choices:
        chosen = multiple_choice(engine, choices, edits=edits)
        measures = {"accuracy": chosen.accuracy, "accuracy per token": chosen.accuracy_per_token}
        rows += [
            {"task": "choices", "metric": name, "value": value, "count": len(choices)}
            for name, value in measures.items()
        ]
    return rows


def _tasks(
    engine: Engine,
    names: list[str],
    edits: tuple[Edit, ...],
    limit: int | None,
    shots: int | None,
    include: Path | None,
) -> list[dict[str, Any]]:
    """The harness's numbers, task by task."""
    found = _harness().evaluate(engine, names, edits=edits, limit=limit, shots=shots, include=include)
    return [
        {"task": task, "metric": metric.removesuffix(",none"), "value": value, "count": limit}
        for task, metrics in found.items()
        for metric, value in metrics.items()
        if isinstance(value, float)
    ]


def _harness() -> Any:
    """The adapter of lm-evaluation-harness.

    Raises:
        StudyError: if the harness is not installed.
    """
    from personascope.core.errors import StudyError

    try:
        from personascope.applications.capability import lm_eval as harness
    except ModuleNotFoundError as problem:
        raise StudyError(
            f"--tasks needs lm-evaluation-harness, which is not installed ({problem}): pip install 'personascope[eval]'"
        ) from None
    return harness
