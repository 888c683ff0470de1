"""A page of texts whose tokens are shaded by their projections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from personascope.figures.pages import render
from personascope.figures.style import BLUE, VERMILION

_STEPS = 10  # shades to either side of the middle
_PALEST = 0.92  # the share of white next to the middle; the ends have none of it to spare for dark text
_DARKEST = 0.35


@dataclass(frozen=True, eq=False)
class ShadedText:
    """A text in tokens: ``projections`` has a row per token and a column per vector.

    Tokens from ``response_start`` on are the answer; ``title`` names the text, and ``notes`` stand below it.
    """

    title: str
    tokens: tuple[str, ...]
    projections: Float[np.ndarray, "token vector"]
    response_start: int
    notes: tuple[str, ...] = ()


def token_page(
    texts: Sequence[ShadedText],
    vectors: Sequence[str],
    *,
    title: str,
    thresholds: Mapping[str, float] | None = None,
    about: str = "",
) -> str:
    """Texts in tokens as HTML: every text once per vector, with a legend of that vector's scale.

    Shades go from blue (low) over white (the median token) to vermilion (high); 98 % of tokens are nearer to the median
    than the ends. A token's own figure shows when it is pointed at; in an answer, so does the mean so far.
    """
    scales = [_scale(texts, place) for place in range(len(vectors))]
    limits = thresholds or {}
    legends = [
        (name, middle - reach, middle, middle + reach, limits.get(name))
        for name, (middle, reach) in zip(vectors, scales, strict=True)
    ]
    blocks = [
        (text.title, text.notes, [(name, _tokens(text, place, scales[place])) for place, name in enumerate(vectors)])
        for text in texts
    ]
    shades = {_name(step): _colour(step) for step in range(-_STEPS, _STEPS + 1)}
    return render("tokens", title=title, about=about, shades=shades, legends=legends if texts else [], blocks=blocks)


def shade(value: float, middle: float, reach: float) -> int:
    """Which shade a projection has, -10 (blue) to 10 (vermilion); 0 for one that is not known.

    Example:
        >>> shade(3.0, 1.0, 2.0), shade(1.0, 1.0, 2.0), shade(-9.0, 1.0, 2.0)
        (10, 0, -10)
    """
    if not math.isfinite(value) or reach <= 0:
        return 0
    return max(-_STEPS, min(_STEPS, round(_STEPS * (value - middle) / reach)))


def _scale(texts: Sequence[ShadedText], place: int) -> tuple[float, float]:
    """The middle and the reach of one vector's shades, over all tokens but the first of each text.

    The first token often stands far from all others, whatever the text says.
    """
    columns = [each.projections[1:, place] if len(each.tokens) > 1 else each.projections[:, place] for each in texts]
    values = np.concatenate(columns) if columns else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    middle = float(np.median(values))
    return middle, float(np.quantile(np.abs(values - middle), 0.98)) or 1.0


def _tokens(text: ShadedText, place: int, scale: tuple[float, float]) -> Iterator[tuple[str, str, str]]:
    """The classes, the figures and the text of every token, for one vector."""
    values = text.projections[:, place]
    spoken = values[text.response_start :]
    running = np.cumsum(spoken) / np.arange(1, len(spoken) + 1)
    for number, (token, value) in enumerate(zip(text.tokens, values, strict=True)):
        answered = number - text.response_start
        figures = f"{value:.3f}" + (f", answer so far {running[answered]:.3f}" if answered >= 0 else "")
        kind = "s" if answered >= 0 else "last" if answered == -1 else ""
        yield " ".join(filter(None, (_name(shade(float(value), *scale)), kind))), figures, _shown(token)


def _shown(token: str) -> str:
    """A token's text, its white space visible where nothing else of it is."""
    if not token:
        return "\u00b7"
    marked = token.replace("\n", "\u21b5\n")
    return "\u00a0" * len(token) if token.strip(" ") == "" else marked


def _name(step: int) -> str:
    return f"u{step}" if step >= 0 else f"d{-step}"


def _colour(step: int) -> str:
    """White in the middle, and ever more of one colour to either side, pale enough for dark text to be read."""
    if not step:
        return "#ffffff"
    end = VERMILION if step > 0 else BLUE
    white = _PALEST + (_DARKEST - _PALEST) * (abs(step) - 1) / (_STEPS - 1)
    parts = (int(end[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part * (1 - white) + 255 * white):02x}" for part in parts)
