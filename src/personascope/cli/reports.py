"""What a study gave, on a terminal: the one place that knows how each kind's report is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personascope.cli import terminal

if TYPE_CHECKING:
    from personascope.kinds.trace import TraceReport
    from personascope.kinds.workplace import Report


def show_report(report: Report, *, as_json: bool) -> None:
    """Shows the tables of a report; of a trace, its effects, controls, growth and onsets."""
    from personascope.kinds.trace import TraceReport

    if isinstance(report, TraceReport) and report.effects is not None:
        if as_json:
            terminal.print_json(report.effects.to_dict(orient="records"))
        else:
            _show_trace(report)
    elif as_json:
        tables = [
            {"title": each.title, "rows": [dict(zip(each.columns, row, strict=True)) for row in each.rows]}
            for each in report.tables
        ]
        terminal.print_json({"tables": tables, "files": report.files, "failed": report.failed})
    else:
        for each in report.tables:
            terminal.show_rows(each.title, each.columns, each.rows)
    for why in report.failed:
        terminal.err.print(f"[bold red]failed:[/bold red] {terminal.escaped(why)}", highlight=False, soft_wrap=True)


def _show_trace(report: TraceReport) -> None:
    from personascope.analysis.effects import growth
    from personascope.analysis.frames import answer_rows
    from personascope.analysis.onset import onset
    from personascope.drawables import by_target
    from personascope.results import unasked_verdicts

    assert report.effects is not None  # a trace report has both
    assert report.result is not None
    terminal.show_effects(report.effects, report.result)
    terminal.show_controls(report.effects)
    answers = answer_rows(report.result.outcomes)
    grown = growth(answers)
    terminal.show_growth(grown.assign(trait=by_target(grown.rename(columns={"trait": "curve"}))["curve"]))
    terminal.show_onsets(by_target(onset(answers)))
    if unasked := unasked_verdicts(report.result):
        terminal.err.print(f"{unasked} verdicts could not be had and count as unscored: run again to ask for them")
