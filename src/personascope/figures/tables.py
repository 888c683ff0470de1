"""Tables for papers: LaTeX, in the booktabs style.

Owns: a table per kind of figure. The one law: a dash is what is unknown or absent, and never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from personascope.figures.marks import line_names
from personascope.figures.style import tokens

DASH = "--"
_ABOVE = {  # what LaTeX has a macro for
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
}  # fmt: skip


def emergence_table(curves: pd.DataFrame) -> str:
    """A LaTeX table of effects: milestones down, curves across, each with its 95 % interval.

    Takes :func:`~personascope.analysis.effects.curves`. Stars are two-sided sign-flip p below .05, .01 and .001,
    uncorrected; a dash is a milestone that shows no effect.
    """
    names = list(dict.fromkeys(curves["curve"]))
    return _tabular("lr" + "l" * len(names), ["milestone", "tokens", *map(_escaped, names)], _effects(curves, names))


def transfer_table(curves: pd.DataFrame) -> str:
    """A LaTeX table of transferred effects: a block per target, in it milestones down and curves across.

    Takes :func:`~personascope.analysis.effects.curves` of vectors that steered targets; stars and dashes as in
    :func:`emergence_table`.
    """
    names = list(dict.fromkeys(curves["curve"]))
    rows: list[Sequence[str]] = []
    for target in dict.fromkeys(curves["target"]):
        rows += [_block(f"on {target}", 2 + len(names)), *_effects(curves[curves["target"] == target], names)]
    return _tabular("lr" + "l" * len(names), ["milestone", "tokens", *map(_escaped, names)], rows)


def controls_table(curves: pd.DataFrame) -> str:
    """A LaTeX table of real vectors beside their controls: a block per curve, milestones down.

    Takes :func:`~personascope.analysis.effects.curves` with controls: the effect of the vector, the mean of the random
    directions with the least and the greatest, and the mean of the label-shuffled vectors.
    """
    rows: list[Sequence[str]] = []
    for name in dict.fromkeys(curves["curve"]):
        rows.append(_block(str(name), 5))
        for row in curves[curves["curve"] == name].sort_values("place", kind="stable").to_dict("records"):
            ends = f" [{_signed(row['control_low'])}, {_signed(row['control_high'])}]"
            random = _signed(row["control_mean"])
            cells = [_effect(row), random + (ends if random != DASH else ""), _signed(row["shuffled_mean"])]
            rows.append([_escaped(str(row["milestone"])), _tokens(row["tokens_seen"]), *cells])
    return _tabular("lrlll", ["milestone", "tokens", "vector", "random", "shuffled"], rows)


def geometry_table(trajectories: pd.DataFrame) -> str:
    """A LaTeX table of lengths and cosines: a block per trait, milestones down.

    Takes :func:`~personascope.analysis.geometry.trajectory`. A revision with the weights of another says so.
    """
    names, rows = line_names(trajectories), list[Sequence[str]]()
    for name in dict.fromkeys(names):
        mine = trajectories[names == name].sort_values("place", kind="stable").to_dict("records")
        rows.append(_block(f"{name}, cosines to {mine[0]['reference']}", 7))
        for row in mine:
            same = f" (= {row['same_weights_as']})" if row["same_weights_as"] else ""
            numbers = [_number(row[name], 2) for name in ("length", "residual_norm")]
            numbers += [_number(row[name], 3) for name in ("relative_norm", "to_reference", "to_previous")]
            rows.append([_escaped(f"{row['milestone']}{same}"), _tokens(row["tokens_seen"]), *numbers])
    header = ["milestone", "tokens", "vector", "residual", "quotient", "reference", "previous"]
    return _tabular("lrrrrrr", header, rows)


def facets_table(rates: pd.DataFrame) -> str:
    """A LaTeX table of facet rates in per cent with Wilson intervals: a block per set, milestones down, facets across.

    Takes the columns facet_set, milestone, place, tokens_seen, facet, rate, low, high, answers and questions.
    """
    widest = int(rates.groupby("facet_set")["facet"].nunique().max()) if len(rates) else 0
    rows: list[Sequence[str]] = []
    for name in dict.fromkeys(rates["facet_set"]):
        mine = rates[rates["facet_set"] == name].sort_values("place", kind="stable")
        facets = list(dict.fromkeys(mine["facet"]))
        empty = [""] * (widest - len(facets))
        rows.append(_block(str(name), 4 + widest))
        rows.append(["", "", "answers", "questions", *(_escaped(str(facet)) for facet in facets), *empty])
        for milestone, group in mine.groupby("milestone", sort=False):
            one = group.iloc[0]
            cells = {row["facet"]: _rate(row) for row in group.to_dict("records")}
            about = [_escaped(str(milestone)), _tokens(one["tokens_seen"]), f"{one['answers']}", f"{one['questions']}"]
            rows.append([*about, *(cells.get(facet, DASH) for facet in facets), *empty])
    return _tabular("lrrr" + "l" * widest, ["milestone", "tokens", *[""] * (2 + widest)], rows)


def discourse_table(cells: pd.DataFrame) -> str:
    """A LaTeX table of the effects of every vector on every set of questions: a block per judge.

    Takes the columns judge, extracted_as, evaluated_as, effect, low, high and p_two_sided; stars as in
    :func:`emergence_table`.
    """
    columns = list(dict.fromkeys(cells["evaluated_as"]))
    rows: list[Sequence[str]] = []
    for judge in dict.fromkeys(cells["judge"]):
        mine = cells[cells["judge"] == judge].to_dict("records")
        found = {(row["extracted_as"], row["evaluated_as"]): _effect(row) for row in mine}
        rows.append(_block(str(judge), 1 + len(columns)))
        for vector in dict.fromkeys(row["extracted_as"] for row in mine):
            rows.append([_escaped(str(vector)), *(found.get((vector, column), DASH) for column in columns)])
    return _tabular("l" * (1 + len(columns)), ["vector", *(_escaped(str(each)) for each in columns)], rows)


def plain_table(frame: pd.DataFrame) -> str:
    """A LaTeX table of a frame as it is: words to the left, numbers to the right with at most four digits.

    A column whose name ends in ``tokens_seen`` has counts for people; truth values are yes and no.
    """
    columns = []
    for name in frame:
        values = frame[name]
        if values.dtype == bool:
            columns.append(["yes" if value else "no" for value in values])
        elif pd.api.types.is_numeric_dtype(values):
            write = _tokens if str(name).endswith("tokens_seen") else _plain
            columns.append([write(float(value)) for value in values])
        else:
            columns.append([_escaped(str(value)) for value in values])
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool for name in frame]
    rows = [list(row) for row in zip(*columns, strict=True)]
    spec = "".join("r" if number else "l" for number in numeric)
    return _tabular(spec, [_escaped(str(name).replace("_", " ")) for name in frame], rows)


def _tabular(columns: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(header) + r" \\"]
    for number, row in enumerate(rows):
        if number == 0 or len(row) == 1:  # the head of a block is one cell over all columns
            lines.append(r"\midrule")
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _block(name: str, columns: int) -> list[str]:
    """The head of a block: one cell over all columns."""
    return [rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_escaped(name)}}}}}"]


def _effects(curves: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """Milestones down, curves across."""
    milestones = curves.drop_duplicates("milestone").sort_values("place", kind="stable").to_dict("records")
    cells = {(row["curve"], row["milestone"]): _effect(row) for row in curves.to_dict("records")}
    return [
        [_escaped(str(row["milestone"])), _tokens(row["tokens_seen"])]
        + [cells.get((name, row["milestone"]), "") for name in names]
        for row in milestones
    ]


def _effect(row: Mapping[Any, Any]) -> str:
    effect, low, high, p = (float(row[name]) for name in ("effect", "low", "high", "p_two_sided"))
    if math.isnan(effect):
        return DASH
    stars = "*" * sum(p < level for level in (0.05, 0.01, 0.001))
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{_end(low)}, {_end(high)}]"
    return f"{_signed(effect)}{interval}" + (rf"$^{{{stars}}}$" if stars else "")


def _rate(row: Mapping[Any, Any]) -> str:
    rate, low, high = (100 * float(row[name]) for name in ("rate", "low", "high"))
    return DASH if math.isnan(rate) else f"{rate:.0f} [{low:.0f}, {high:.0f}]"


def _signed(value: float) -> str:
    return DASH if math.isnan(value) else f"${value:+.1f}$"


def _number(value: float, places: int) -> str:
    return DASH if math.isnan(value) else f"${value:.{places}f}$" if abs(value) < 1e4 else f"${value:.4g}$"


def _plain(value: float) -> str:
    return DASH if math.isnan(value) else f"${value:.4g}$"


def _end(value: float) -> str:
    return f"${value:+.1f}$" if math.isfinite(value) else (r"$\infty$" if value > 0 else r"$-\infty$")


def _tokens(count: float) -> str:
    return DASH if math.isnan(count) else tokens(count).replace(" ", r"\,")


def _escaped(text: str) -> str:
    return "".join(_ABOVE.get(letter, letter) for letter in text)
