"""What a study gave, on a terminal: the one place that knows how each kind's report is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personascope.cli import terminal

if TYPE_CHECKING:
    import pandas as pd

    from personascope.studies.context import Report
    from personascope.studies.trace import TraceReport


def show_report(report: Report, *, as_json: bool) -> None:
    """Shows the tables of a report; of a trace, its effects, controls, growth and onsets."""
    from personascope.studies.trace import TraceReport

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
    from personascope.studies.artifacts import by_target

    assert report.effects is not None  # a trace report has both
    assert report.result is not None
    terminal.show_effects(report.effects, report.result)
    _show_controls(report.effects)
    answers = answer_rows(report.result.outcomes)
    grown = growth(answers)
    _show_growth(grown.assign(trait=by_target(grown.rename(columns={"trait": "curve"}))["curve"]))
    _show_onsets(by_target(onset(answers)))


def _show_controls(effects: pd.DataFrame) -> None:
    """Every kind of arm, averaged over traits and milestones: vectors, their controls and other places in the text."""
    from personascope.analysis.frames import kinds_of

    shown = effects[effects["effect"].notna()].copy()
    if shown.empty:
        return
    kind = kinds_of(shown["direction"])
    shown["arm"] = kind.where(shown["chosen"], kind + ", " + _other_ways(shown))
    table = terminal.plain_table("all arms, averaged over the traits and milestones that gave vectors")
    for name in ("arm", "rows", "effect", "least", "most", "norm", "coh."):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for arm, rows in shown.groupby("arm", sort=False):
        effect = rows["effect"]
        table.add_row(
            str(arm),
            str(len(rows)),
            *(f"{value:+.1f}" for value in (effect.mean(), effect.min(), effect.max())),
            f"{rows['applied_norm'].mean():.2f}",
            f"{rows['steered_coherence'].mean():.0f}",
        )
    terminal.out.print(table)


def _other_ways(arms: pd.DataFrame) -> pd.Series:
    """What tells a way to steer from the chosen one: its place in the text, or if there is more, all of it."""
    import pandas as pd

    further = arms[~arms["chosen"].astype(bool)]
    if further.groupby("trait")[["operation", "layer", "strength"]].nunique().le(1).all(axis=None):
        return "where = " + arms["where"].astype(str)
    sizes = pd.Series([f"{each:g}" for each in arms["strength"]], index=arms.index) + " x " + arms["unit"].astype(str)
    how = arms["operation"].astype(str) + " " + sizes.where(arms["operation"] != "ablate", "")
    return how.str.strip() + " at " + arms["layer"].astype(str) + ", " + arms["where"].astype(str)


def _show_growth(growth: pd.DataFrame) -> None:
    """How much the effect grew from the first third of the milestones that gave vectors to the last."""
    if growth.empty:
        return
    table = terminal.plain_table("growth: last third minus first third of the milestones that gave vectors")
    for name in ("trait", "first third", "last third", "growth, 95 % interval", "p (greater)"):
        table.add_column(name, justify="left" if name == "trait" else "right", no_wrap=True)
    for row in growth.itertuples():
        change = f"{row.growth:+.1f}  {row.low:+.1f} to {row.high:+.1f}"
        table.add_row(str(row.trait), f"{row.first:+.1f}", f"{row.last:+.1f}", change, f"{row.p_greater:.1g}")
    terminal.out.print(table)


def _show_onsets(onsets: pd.DataFrame) -> None:
    """From which milestone on each trait shows, with the interval over questions and the rule."""
    if onsets.empty:
        return
    table = terminal.plain_table("onset: the milestone from which on the trait shows at every later one")
    for name in ("trait", "onset", "95 % interval", "before it", "rule"):
        table.add_column(name, overflow="fold")
    for row in onsets.itertuples():
        ends = " to ".join(str(end) or "none" for end in (row.low_milestone, row.high_milestone))
        table.add_row(str(row.curve), str(row.milestone) or "none", ends, str(row.last_not_shown), str(row.rule))
    terminal.out.print(table)
