"""The verbs over a published study: check, audit, figures and import."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import STORE, Json, StoreFolder

if TYPE_CHECKING:
    import pandas as pd

    from personascope.interop.published import Published

_SHOWN = 5

app = typer.Typer(help="The published study, reproduced and audited from its own data.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The published repository, or a copy of a part of it.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write everything found to this JSON file.")]


@app.callback()
def about() -> None:
    """The published study, reproduced and audited from its own data."""


@app.command()
def check(folder: Folder, json_file: JsonFile = None) -> None:
    """Recompute every row of the published result tables from the published answers, and say what does not follow."""
    from personascope.published.check import check as check_study

    study = _opened(folder, json_file)
    checked = check_study(study)
    _write_json(json_file, checked.to_json())
    groups = ("counts", "descriptives", "paired", "sign_flip_p", "sign_test_p", "corrections")
    for _, row in checked.files.iterrows():
        terminal.out.print(f"[bold]{row['run']}[/bold] ({row['file']})", highlight=False, soft_wrap=True)
        numbers = ", ".join(f"{name} {row[name]:.1e}" for name in groups if not math.isnan(row[name]))
        terminal.out.print(
            f"  {row['reproduced']} of {row['rows']} rows reproduced"
            + (f", {row['partly_checked']} in part" if row["partly_checked"] else "")
            + (f"; greatest differences: {numbers}" if numbers else ""),
            highlight=False,
            soft_wrap=True,
        )
        _show_reasons(checked.rows[checked.rows["file"] == row["file"]])
    totals = checked.rows["verdict"].value_counts(sort=False)
    terminal.out.print("in all: " + ", ".join(f"{count} {name}" for name, count in totals.items()), highlight=False)
    _show_reasons(checked.controls)
    _show_problems(study)


@app.command()
def audit(folder: Folder, json_file: JsonFile = None) -> None:
    """Find every problem in the published data that changes a conclusion, and say what correcting it does."""
    from personascope.published.audit import audit as audit_study

    study = _opened(folder, json_file)
    found = audit_study(study)
    _write_json(json_file, found.to_json())
    for row in found.rows().to_dict("records"):
        head = f"[bold]{row['severity']}: {row['kind']}[/bold]"
        terminal.out.print(f"{head} ({row['where']})", highlight=False, soft_wrap=True)
        terminal.out.print(f"  {row['finding']}", highlight=False, markup=False, soft_wrap=True)
        if row["correction"]:
            terminal.out.print(f"  corrected: {row['correction']}", highlight=False, markup=False, soft_wrap=True)
    terminal.out.print(f"{len(found.findings)} findings", highlight=False)
    _show_problems(study)


@app.command()
def figures(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("published-figures"),
    as_json: Json = False,
) -> None:
    """Draw every figure and table of the paper from the published data, as PNG, PDF, LaTeX and the CSV behind each."""
    from personascope.published.drawing import draw

    study = _opened(folder, None)
    outputs.check_folder(out)
    made: list[Path] = []
    notes = draw(study, out, made=made.append)
    if as_json:
        terminal.print_json({"files": made, "notes": notes, "problems": [vars(each) for each in study.problems]})
        return
    for path in made:
        terminal.out.print(str(path), highlight=False, markup=False, soft_wrap=True)
    for note in notes:
        terminal.err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    _show_problems(study)


def import_published(folder: Folder, store: StoreFolder = STORE, as_json: Json = False) -> None:
    """Import a published study into a store, as ordinary records and vectors that all other commands work on."""
    from dataclasses import asdict

    from personascope.published.importing import import_published as import_study
    from personascope.store import Store

    study = _opened(folder, None)
    outputs.check_folder(store)
    summary = import_study(study, Store(store))
    if as_json:
        terminal.print_json(asdict(summary))
        return
    terminal.out.print(str(summary), highlight=False, markup=False, soft_wrap=True)
    _show_problems(study)


def _opened(folder: Path, json_file: Path | None) -> Published:
    from personascope.interop.published import open_published

    if json_file is not None:
        outputs.check_file(json_file)
    return open_published(folder)


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        outputs.write_text(path, terminal.json_text(value))


def _show_reasons(rows: pd.DataFrame) -> None:
    """How many rows there are for each reason, with the first one's detail."""
    for reason, members in rows[rows["reason"] != ""].groupby("reason", sort=False):
        detail = members["detail"].iloc[0]
        more = "for example " if len(members) > 1 else ""
        terminal.out.print(
            f"  {len(members)} {reason}: {more}row {members['row'].iloc[0]}: {detail}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _show_problems(study: Published) -> None:
    """The files that could not be read: how many, and why the first few could not."""
    for problem in study.problems[:_SHOWN]:
        reason = problem.reason.removeprefix(f"{problem.file}: ")
        terminal.err.print(f"{problem.file}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if (more := len(study.problems) - _SHOWN) > 0:
        terminal.err.print(f"and {more} more files (--json names them all)", highlight=False, markup=False)
