"""What is shown on a terminal: one progress bar, tables, and errors in one line.

Owns: :class:`Progress`, the tables and :func:`guarded`. The one law: results go to standard output and everything else
to standard error, so that a result can be piped.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from personascope.core.errors import PersonascopeError

if TYPE_CHECKING:
    pass

# Piped output has no width of its own; rich would cut tables at 80 columns.
out = Console(width=None if sys.stdout.isatty() else 100)
err = Console(stderr=True)

INTERRUPTED = 130
# Newer typers carry a click of their own, so its usage errors are named by what typer's public one is made of.
USAGE_ERROR: Any = typer.BadParameter.__base__


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(value))


def json_text(value: Any) -> str:
    """A value as a JSON document, in ASCII so that any text of a model is valid; NaN is null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


class _Remaining(ProgressColumn):
    """Time left at the rate of what had to be asked for: what was remembered took no time and promises none."""

    def render(self, task: Task) -> Text:
        fresh, seconds = task.fields["fresh"], time.monotonic() - task.fields["began"]
        if task.finished or not fresh or task.total is None:
            return Text("--:--" if not task.finished else "")
        left = (task.total - task.completed) * seconds / fresh
        return Text(f"{int(left) // 60:d}:{int(left) % 60:02d} left")


class Progress:
    """One bar over everything a study asks for, responses and verdicts alike; call it with what was done."""

    def __init__(self, bar: RichProgress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("asking", total=total, fresh=0, began=time.monotonic())
        self._counting = threading.Lock()  # a judge tells of verdicts while an engine tells of responses

    def __call__(self, kind: str, count: int, fresh: bool) -> None:
        with self._counting:
            task = self._bar.tasks[0]
            news = {"fresh": task.fields["fresh"] + count} if fresh else {}
            self._bar.update(
                self._task, advance=count, description="reading" if kind == "reading" else "asking", **news
            )

    def expect_more(self, count: int) -> None:
        """What is asked turned out to be more by so many."""
        self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + count)


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """A bar on standard error for as long as something runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Remaining())
    with RichProgress(*columns, console=err, transient=True) as bar:
        yield Progress(bar, total)


@contextmanager
def training() -> Iterator[Callable[[str, int, int, float], None]]:
    """One bar per phase of training, with the loss."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=err) as bar:
        phases: dict[str, TaskID] = {}

        def told(phase: str, done: int, steps: int, loss: float) -> None:
            if phase not in phases:
                phases[phase] = bar.add_task(phase, total=steps)
            bar.update(phases[phase], completed=done, description=f"{phase} (loss {loss:.3f})")

        yield told


def plain_table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


_COUNTED = {
    "instructed": "instructed responses (they make the vectors)",
    "plain": "plain responses (the baseline)",
    "steered": "steered responses (controls included)",
    "selection": "responses to choose how to steer",
    "responses": "responses in all",
    "verdicts": "verdicts of the judge",
    "loads": "model loads",
    "tokens": "new tokens",
}


def show_plan(name: str, counts: Mapping[str, int], *, seconds: float, assumption: str) -> None:
    """What a study will ask for, at most, and how long that takes under an assumption that is said."""
    table = Table(title=f"plan of '{name}' (at most; milestones without a vector ask for less)", title_justify="left")
    table.add_column("what")
    table.add_column("how many", justify="right")
    for what, count in counts.items():
        table.add_row(_COUNTED.get(what, what.replace("_", " ")), f"{count:,}")
    out.print(table)
    out.print(f"roughly {_duration(seconds)} at {assumption}", highlight=False)


def show_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under a title; the texts of models are shown as they are, never as markup."""
    table = plain_table(title)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(made_printable(cell)) for cell in row))
    out.print(table)


def made_printable(text: str) -> str:
    """Text that any terminal takes: control characters and lone surrogates are shown as escapes."""
    return "".join(
        letter
        if letter == "\n" or (letter.isprintable() and not "\ud800" <= letter <= "\udfff")
        else ascii(letter)[1:-1]
        for letter in text
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def guarded(run: Callable[[], Any]) -> int:
    """Runs a command and gives its exit code: what the user can mend is one line on standard error, and the code is 1.

    ``run`` is a typer application called with ``standalone_mode=False``: it gives back the code of an exit.
    """
    try:
        code = run()
        if code == INTERRUPTED:  # typer takes the interrupt and makes this exit of it; older ones abort
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except PersonascopeError as problem:
        return _refused(str(problem))
    except USAGE_ERROR as problem:
        problem.show()
        return int(problem.exit_code)
    except OSError as problem:
        place = f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem)
        return _refused(f"{place}; check the path, its permissions and the free space, and run again")
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped; everything recorded stays: run the same command again and it goes on", highlight=False)
        return INTERRUPTED


def escaped(message: str) -> str:
    """A message as one line that any terminal takes, and no markup."""
    from rich.markup import escape

    return escape(made_printable(message).replace("\n", "\\n"))


def _refused(message: str) -> int:
    err.print(f"[bold red]error:[/bold red] {escaped(message)}", soft_wrap=True, highlight=False)
    return 1
