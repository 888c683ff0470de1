"""A page of texts whose tokens are shaded by their projections: one file, no network, any browser.

Owns: :class:`ShadedText` and :func:`token_page`. The one law: every text of a model or a user is escaped, so that what
it says is shown and never done.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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
    """The page as HTML: every text once per vector, with a legend of that vector's scale.

    Shades go from blue (low) over white (the median token) to vermilion (high); 98 % of tokens are nearer to the median
    than the ends. A token's own figure shows when it is pointed at; in an answer, so does the mean so far.
    """
    scales = [_scale(texts, place) for place in range(len(vectors))]
    limits = thresholds or {}
    legends = "".join(
        _legend(name, *scale, limits.get(name)) for name, scale in zip(vectors, scales, strict=True) if texts
    )
    blocks = "".join(_block(text, vectors, scales) for text in texts)
    empty = "" if texts else "<p>No text to show.</p>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_safe(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_style()}</style></head>\n'
        f"<body><h1>{_safe(title)}</h1><p>{_safe(about)}</p>\n<section>{legends}</section>\n{blocks}{empty}"
        "</body></html>\n"
    )


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


def _block(text: ShadedText, vectors: Sequence[str], scales: Sequence[tuple[float, float]]) -> str:
    lines = "".join(
        f'<div class="row"><b>{_safe(name)}</b><p>{_spans(text, place, scale)}</p></div>'
        for place, (name, scale) in enumerate(zip(vectors, scales, strict=True))
    )
    notes = "".join(f"<li>{_safe(note)}</li>" for note in text.notes)
    return f"<article><h2>{_safe(text.title)}</h2>{f'<ul>{notes}</ul>' if notes else ''}{lines}</article>\n"


def _spans(text: ShadedText, place: int, scale: tuple[float, float]) -> str:
    values = text.projections[:, place]
    spoken = values[text.response_start :]
    running = np.cumsum(spoken) / np.arange(1, len(spoken) + 1)
    parts = []
    for number, (token, value) in enumerate(zip(text.tokens, values, strict=True)):
        said = number - text.response_start
        told = f"{value:.3f}" + (f", answer so far {running[said]:.3f}" if said >= 0 else "")
        kind = "s" if said >= 0 else "last" if said == -1 else ""
        classes = " ".join(filter(None, (_name(shade(float(value), *scale)), kind)))
        parts.append(f'<span class="{classes}" title="{told}">{_shown(token)}</span>')
    return "".join(parts)


def _shown(token: str) -> str:
    """A token's text, its white space visible where nothing else of it is."""
    if not token:
        return "\u00b7"
    marked = token.replace("\n", "\u21b5\n")
    return _safe("\u00a0" * len(token) if token.strip(" ") == "" else marked)


def _legend(name: str, middle: float, reach: float, threshold: float | None) -> str:
    boxes = "".join(f'<i class="{_name(step)}"></i>' for step in range(-_STEPS, _STEPS + 1))
    flagged = f"; a prompt is flagged above {threshold:.2f} at its last token" if threshold is not None else ""
    ends = f"<span>{middle - reach:.2f}</span>{boxes}<span>{middle + reach:.2f}</span>"
    return f'<div class="legend"><b>{_safe(name)}</b>{ends}<em>middle {middle:.2f}{flagged}</em></div>'


def _name(step: int) -> str:
    return f"u{step}" if step >= 0 else f"d{-step}"


def _style() -> str:
    rules = [f".{_name(step)}{{background:{_colour(step)}}}" for step in range(-_STEPS, _STEPS + 1)]
    return (
        "body{font:15px/1.6 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
        "background:#fff}h1{font-size:1.3rem}h2{font-size:1rem;margin:0 0 .3rem}article{border-top:1px solid #ddd;"
        "padding:.8rem 0}ul{margin:.2rem 0;padding-left:1.2rem;color:#555}.row{display:flex;gap:.8rem}"
        ".row b{flex:0 0 8rem;overflow-wrap:anywhere}.row p{margin:.2rem 0;white-space:pre-wrap;overflow-wrap:anywhere;"
        "font-family:ui-monospace,monospace;font-size:14px}.s{border-bottom:2px solid #888}"
        ".last{outline:2px solid #1a1a1a}.legend{display:flex;align-items:center;gap:.4rem;margin:.3rem 0}"
        ".legend b{flex:0 0 8rem}.legend i{width:1.1rem;height:1rem}.legend em{color:#555;font-style:normal}"
        + "".join(rules)
    )


def _colour(step: int) -> str:
    """White in the middle, and ever more of one colour to either side, pale enough for dark text to be read."""
    if not step:
        return "#ffffff"
    end = VERMILION if step > 0 else BLUE
    white = _PALEST + (_DARKEST - _PALEST) * (abs(step) - 1) / (_STEPS - 1)
    parts = (int(end[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part * (1 - white) + 255 * white):02x}" for part in parts)


def _safe(text: str) -> str:
    """Text as HTML: markup escaped, and what is no character shown as a replacement mark."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    return html.escape(clean, quote=True)
