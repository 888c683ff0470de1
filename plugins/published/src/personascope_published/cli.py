"""The verbs over a published study: check, audit, figures and import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from personascope.cli import outputs, screen, terminal
from personascope.cli.options import STORE, Json, StoreFolder
from personascope.core.files import write_text

if TYPE_CHECKING:
    import pandas as pd

    from personascope_published.reading import Published

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
    from personascope_published.check import check as check_study

    study = _opened(folder, json_file)
    with _busy("recomputing"):
        checked = check_study(study)
    _write_json(json_file, checked.to_json())
    for _, file in checked.files.iterrows():
        _show_checked_file(file, checked.rows[checked.rows["file"] == file["file"]])
    _show_in_brief("tables without p-values", checked.combined)
    _show_in_brief("controls", checked.controls)
    if len(checked.rows):
        _line(f"in all, of {len(checked.rows)} rows with p-values: {_in_brief(checked.rows)}")
    else:
        _line("no table with p-values (combined_significance.csv) is there, so nothing could be recomputed")
    _show_problems(study)


@app.command()
def audit(folder: Folder, json_file: JsonFile = None) -> None:
    """Find every problem in the published data that changes a conclusion, and say what correcting it does."""
    from personascope_published.audit import audit as audit_study

    study = _opened(folder, json_file)
    with _busy("auditing"):
        found = audit_study(study)
    _write_json(json_file, found.to_json())
    _line(f"{len(found.findings)} findings", ", by what they touch:" if found.findings else "")
    for row in found.overview().to_dict("records"):
        _line(f"  {row['severity']:<10} {row['findings']:>3}  {row['kind']}")
    for row in found.rows().to_dict("records"):
        _line("")
        _line(f"{row['severity']}: {row['kind']}", f" ({row['where']})")
        _indented(row["finding"])
        if row["correction"]:
            _indented(f"corrected: {row['correction']}")
    _show_problems(study)


@app.command()
def figures(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("published-figures"),
    as_json: Json = False,
) -> None:
    """Draw every figure and table of the paper from the published data, as PNG, PDF, LaTeX and the CSV behind each."""
    from personascope_published.drawing import draw

    study = _opened(folder, None)
    outputs.check_folder(out)
    made: list[Path] = []

    def told(path: Path) -> None:
        made.append(path)
        if not as_json:
            _line(str(path))

    with _busy("drawing"):
        notes = draw(study, out, made=told)
    if as_json:
        terminal.print_json({"files": made, "notes": notes, "problems": [vars(each) for each in study.problems]})
        return
    _show_notes(notes)
    _show_problems(study)


app.command("projection", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    screen.projection
)


def import_published(folder: Folder, store: StoreFolder = STORE, as_json: Json = False) -> None:
    """Import a published study into a store, as ordinary records and vectors that all other commands work on."""
    from dataclasses import asdict

    from personascope.store.store import Store
    from personascope_published.importing import import_published as import_study

    study = _opened(folder, None)
    outputs.check_folder(store, option="--store")
    with _busy("importing"):
        summary = import_study(study, Store(store))
    if as_json:
        terminal.print_json(asdict(summary))
        return
    _line(f"{summary.files:,} files with {summary.rows:,} answers: {summary.new_records:,} new records in {store}")
    norms = ", ".join(f"{count} {name}" for name, count in summary.norms.items())
    _line(f"{summary.vectors} vectors" + (f" (residual norms: {norms})" if norms else ""))
    _line(f"{len(summary.studies)} studies: {', '.join(summary.studies) or 'none, because no table says what was run'}")
    _show_notes(summary.notes)
    _show_problems(study)


def _opened(folder: Path, json_file: Path | None) -> Published:
    from personascope_published.reading import open_published

    if json_file is not None:
        outputs.check_file(json_file, option="--json")
    return open_published(folder)


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        write_text(path, terminal.json_text(value))


def _busy(doing: str) -> AbstractContextManager[object]:
    """A sign on a terminal that something runs; nothing is printed where standard error is no terminal."""
    return terminal.err.status(doing)


def _line(text: str, more: str = "") -> None:
    """One line, as wide as it is: ``text`` is bold where ``more`` follows it."""
    terminal.out.print(Text(text, style="bold" if more else "") + Text(more), highlight=False, soft_wrap=True)


def _indented(text: str) -> None:
    """A paragraph: one line where it is piped, so that it can be searched, and indented lines on a terminal."""
    if terminal.out.is_terminal:
        terminal.out.print(Padding(Text(text), (0, 0, 0, 2)))
    else:
        _line(f"  {text}")


def _show_checked_file(file: pd.Series, rows: pd.DataFrame) -> None:
    """What became of one results file: its rows, its families where they are not its own rows, and its reasons."""
    from personascope_published.agreement import GROUPS
    from personascope_published.check import INHERITED

    _line(file["file"], ":")
    if not len(rows):
        _line(f"  {', '.join(file['reasons'])}")
        return
    held = [name for name in (*GROUPS, "corrections") if not math.isnan(file[name])]
    numbers = ", ".join(f"{name.replace('_', ' ')} {file[name]:.2g}" for name in held)
    part = f", {file['partly_checked']} in part" if file["partly_checked"] else ""
    worst = f"; greatest differences: {numbers}" if numbers else ""
    _line(f"  {file['reproduced']} of {len(rows)} rows reproduced{part}{worst}")
    others = rows[rows["family_is"].isin(INHERITED)]
    for (number, whose), members in others.groupby(["family", "family_is"], sort=False):
        _line(f"  {len(members)} of {len(rows)} rows are corrected for {number:.0f} tests, {INHERITED[str(whose)]}")
    for reason, members in rows[~rows["reason"].isin(["", "inherited correction"])].groupby("reason", sort=False):
        first = "for example " if len(members) > 1 else ""
        _line(f"  {len(members)} {reason}: {first}row {members['row'].iloc[0]}: {members['detail'].iloc[0]}")


def _show_in_brief(title: str, rows: pd.DataFrame) -> None:
    """One line per file for tables without p-values to recompute."""
    if len(rows):
        _line(title, ":")
    for file, members in rows.groupby("file", sort=False):
        _line(f"  {file}: {_in_brief(members)}")


def _in_brief(rows: pd.DataFrame) -> str:
    """How many rows got each verdict, and for which reasons."""
    from personascope_published.verdicts import NOT, PARTLY, REPRODUCED

    told = []
    for verdict in (REPRODUCED, PARTLY, NOT):
        mine = rows.loc[rows["verdict"] == verdict, "reason"]
        reasons = mine[mine != ""].value_counts(sort=False)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        told += [f"{len(mine)} {verdict}" + (f" ({why})" if why else "")] if len(mine) else []
    return "; ".join(told)


def _show_notes(notes: Sequence[str]) -> None:
    _show_some([f"note: {note}" for note in notes], "notes")


def _show_problems(study: Published) -> None:
    """The files that could not be read, and why."""
    told = [f"{each.file}: {each.reason.removeprefix(f'{each.file}: ')}" for each in study.problems]
    _show_some(told, "files")


def _show_some(lines: Sequence[str], what: str) -> None:
    """The first few lines on standard error, and how many more there are."""
    for line in lines[:_SHOWN]:
        terminal.err.print(line, highlight=False, markup=False, soft_wrap=True)
    if (more := len(lines) - _SHOWN) > 0:
        terminal.err.print(f"and {more} more {what} (--json names them all)", highlight=False, markup=False)
