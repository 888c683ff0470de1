"""The emergence figure: when along its training a model can be steered along a trait."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from personascope.figures.style import BLUE, GREY, ORANGE, VERMILION, look, panels, tokens

_MARKS = {"no vector": "x", "no checkpoint": "+", "no scale": "1", "no scores": "2"}


def emergence(curves: pd.DataFrame, *, level: float = 0.05, ax: Axes | None = None) -> Figure:
    """One panel per curve: steered minus plain score against tokens seen.

    Takes :func:`~personascope.analysis.effects.curves`. A dot is an effect with its 95 % interval, filled where the
    two-sided sign-flip p is below ``level``; a mark on the zero line is a milestone that shows none, and the legend
    says what was missing. The band spans the random directions of the same norm; diamonds are label-shuffled vectors at
    their own norm. With ``ax`` only the first curve is drawn, into those axes.
    """
    with look():
        names = list(dict.fromkeys(curves["curve"]))
        if ax is not None:
            figure, axes, names = cast(Figure, ax.figure), [ax], names[:1]
        else:
            figure, axes = panels(len(names))
        for panel, name in zip(axes, names, strict=True):
            _draw(panel, curves[curves["curve"] == name], level)
            panel.set_title(name, loc="left", fontweight="bold")
        for place, panel in enumerate(axes):
            if place % 2 == 0:
                panel.set_ylabel("effect (score points)")
            if place >= len(axes) - 2:
                panel.set_xlabel(_along(curves)[1])
        if axes and ax is None:
            entries = {text: h for panel in axes for h, text in zip(*panel.get_legend_handles_labels(), strict=True)}
            handles, labels = list(entries.values()), list(entries)
            figure.legend(handles, labels, loc="outside lower center", ncols=min(5, max(1, len(handles))))
    return figure


def _draw(panel: Axes, curve: pd.DataFrame, level: float) -> None:
    along, _ = _along(curve)
    if along == "tokens_seen":
        panel.set_xscale("log")
        if curve[along].max() / curve[along].min() < 200:
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda count, _: tokens(count)))
        panel.xaxis.set_minor_formatter(NullFormatter())
    shown = curve[curve["absence"] == ""]
    controlled = shown[shown["control_low"].notna()]
    panel.axhline(0, color="#404040", linewidth=0.8)
    panel.fill_between(
        controlled[along], controlled["control_low"], controlled["control_high"], color=ORANGE, alpha=0.3, linewidth=0,
        label="random, same norm",
    )  # fmt: skip
    panel.plot(controlled[along], controlled["control_mean"], color=ORANGE, linestyle="--", linewidth=1)
    panel.plot(shown[along], shown["shuffled_mean"], "D", color=GREY, markersize=3.5, label="shuffled, own norm")
    # An interval of too few questions has no ends; it is drawn as a dot without whiskers.
    reach = np.nan_to_num(
        np.vstack([shown["effect"] - shown["low"], shown["high"] - shown["effect"]]).astype(float), posinf=0.0
    )
    panel.errorbar(shown[along], shown["effect"], yerr=np.maximum(reach, 0), color=BLUE, capsize=2, elinewidth=1)
    sure = (shown["p_two_sided"] < level).to_numpy(dtype=bool)
    panel.plot(shown[along][sure], shown["effect"][sure], "o", color=BLUE, label=f"steered, p < {level:g}")
    panel.plot(
        shown[along][~sure], shown["effect"][~sure], "o", color=BLUE, markerfacecolor="white", label=f"p ≥ {level:g}"
    )
    for absence, mark in _MARKS.items():
        absent = curve[curve["absence"] == absence]
        if len(absent):
            panel.plot(absent[along], np.zeros(len(absent)), mark, color=VERMILION, markersize=6, label=absence)


def _along(curve: pd.DataFrame) -> tuple[str, str]:
    """What the horizontal axis is: tokens where every milestone has them, else the order of the milestones."""
    known = curve["tokens_seen"].notna().all() and (curve["tokens_seen"] > 0).all()
    return ("tokens_seen", "tokens seen in training") if known else ("place", "milestone")
