"""Tables for papers: LaTeX, in the booktabs style."""

from __future__ import annotations

import numpy as np
import pandas as pd

from personascope.figures.style import tokens


def emergence_table(curves: pd.DataFrame) -> str:
    """A LaTeX table of effects: milestones down, curves across, each with its 95 % interval.

    Takes :func:`~personascope.analysis.effects.curves`. Stars are two-sided sign-flip p below .05, .01 and .001,
    uncorrected; a dash is a milestone that shows no effect.
    """
    names = list(dict.fromkeys(curves["curve"]))
    milestones = curves.drop_duplicates("milestone").sort_values("place")
    cells = {(row.curve, row.milestone): _cell(row) for row in curves.itertuples()}
    lines = [
        r"\begin{tabular}{lr" + "l" * len(names) + "}",
        r"\toprule",
        " & ".join(["milestone", "tokens", *map(_escaped, names)]) + r" \\",
        r"\midrule",
        *(
            " & ".join(
                [_escaped(str(row.milestone)), _tokens(float(str(row.tokens_seen)))]
                + [cells.get((name, row.milestone), "") for name in names]
            )
            + r" \\"
            for row in milestones.itertuples()
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: object) -> str:
    effect, low, high, p = (getattr(row, name) for name in ("effect", "low", "high", "p_two_sided"))
    if np.isnan(effect):
        return "--"
    stars = "*" * sum(p < level for level in (0.05, 0.01, 0.001))
    return f"${effect:+.1f}$ [{_end(low)}, {_end(high)}]" + (rf"$^{{{stars}}}$" if stars else "")


def _end(value: float) -> str:
    return f"${value:+.1f}$" if np.isfinite(value) else (r"$\infty$" if value > 0 else r"$-\infty$")


def _tokens(count: float) -> str:
    return "--" if np.isnan(count) else tokens(count).replace(" ", r"\,")


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "&%$#_{}" else letter for letter in text)
