"""What a monitor study writes and shows.

Owns: :func:`write` and :func:`shown`. The one law: what is shown is in the tables that were written, and a correlation
is never shown without the random directions' beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from personascope.applications.monitor import MANY_SHOT, SYSTEM_PROMPTS
from personascope.studies.context import Table, Workplace

if TYPE_CHECKING:
    import pandas as pd

    from personascope.applications.monitor.frames import Seen, Tables

ACROSS: Final = {SYSTEM_PROMPTS: "system prompt, 0 suppressing to eliciting", MANY_SHOT: "examples before the question"}


def write(place: Workplace, tables: Tables, seen: Sequence[Seen]) -> list[Path]:
    """Tables, figures and vectors, each told of as it is written. Scatter plots are of the first seed."""
    from personascope.applications.monitor.figures import random_band, scatter, speaking
    from personascope.studies.along_series import Writing

    writing = Writing(place)
    writing.frame("monitor.csv", tables.correlations)
    writing.frame("monitor-points.csv", tables.points)
    writing.frame("monitor-random.csv", tables.random)
    if len(tables.speaking):
        writing.frame("monitor-speaking.csv", tables.speaking)
        writing.figure("monitor-speaking", speaking(tables.speaking))
    for name, series in (("system-prompts", SYSTEM_PROMPTS), ("many-shot", MANY_SHOT)):
        points, found = (_first(frame, series) for frame in (tables.points, tables.correlations))
        if len(points):
            writing.figure(f"monitor-{name}", scatter(points, found, across=ACROSS[series]))
    own = _own(tables.correlations)
    writing.figure("monitor-random", random_band(tables.random, own))
    for each in seen:
        path = place.out / "vectors" / f"{each.trait}.seed-{each.seed}.safetensors"
        each.own.vector.save(path)
        place.made(path)
        writing.files.append(path)
    return writing.files


def shown(tables: Tables, seen: Sequence[Seen]) -> tuple[Table, ...]:
    """The correlations of each trait's own vector, and where it was watched."""
    own = _own(tables.correlations)
    columns = ("trait", "series", "seed", "r (95 %)", "random", "p", "within (95 %)", "most")
    rows = [
        (
            str(row["trait"]), str(row["series"]), str(row["seed"]), _figure(row["pearson"], row["low"], row["high"]),
            _short(row["random_95"]), f"{row['p_random']:.2g}",
            _figure(row["within"], row["within_low"], row["within_high"], sign="+") + _of(row),
            f"{_short(row['ceiling'])}, {_short(row['within_ceiling'])}",
        )
        for row in own.to_dict("records")
    ]  # fmt: skip
    layers = [(each.trait, str(each.seed), str(each.own.layer), each.own.reason) for each in seen]
    title = (
        "projections of the last prompt token against later scores (random: 95 % of random directions are below; "
        "within: mean over conditions; most: what noise of few draws leaves a perfect predictor, pooled and within)"
    )
    return (
        Table(title, columns, tuple(rows)),
        Table("where each vector is watched", ("trait", "seed", "layer", "why"), tuple(layers)),
    )


def _figure(value: float, low: float, high: float, *, sign: str = "") -> str:
    """A correlation and the ends of its interval."""
    return f"{_short(value, sign)} ({_short(low, sign)}, {_short(high, sign)})" if value == value else "none"


def _short(value: float, sign: str = "") -> str:
    """A correlation to two places, without the zero before the point."""
    return f"{value:{sign}.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.2f}"


def _of(row: Mapping[Any, Any]) -> str:
    """How many conditions a mean within conditions is of, where some were left out."""
    kept, all_of_them = row["within_conditions"], row["conditions"]
    return f", {kept} of {all_of_them} conditions" if kept < all_of_them else ""


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each trait's own vector."""
    return frame[frame["vector"] == frame["trait"]]


def _first(frame: pd.DataFrame, series: str) -> pd.DataFrame:
    """The rows of the own vectors in one series under the first seed."""
    mine = _own(frame)[_own(frame)["series"] == series]
    return mine[mine["seed"] == mine["seed"].iloc[0]] if len(mine) else mine
