"""The page of models set against their base: tables and figures in one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import pandas as pd

from personascope.applications.shift.frames import Shifted

_LOOK = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } img { max-width: 100%; }
table { border-collapse: collapse; font-size: .85rem; } th, td { padding: .25rem .7rem; text-align: right; }
th { border-bottom: 2px solid #1a1a1a; } td { border-bottom: 1px solid #e6e6e6; } .note { color: #6e6e6e; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
"""


def page_of(found: Shifted, pictures: Sequence[bytes]) -> str:
    """The page as HTML; ``pictures`` are the figures of models and of the matrix across traits, as PNG."""
    shown = html.escape
    images = [
        f'<p><img alt="figure" src="data:image/png;base64,{base64.b64encode(each).decode("ascii")}"></p>'
        for each in pictures
    ]
    title = f"Finetuning shift from {found.base}"
    parts = [
        f"<h1>{shown(title)}</h1>",
        *(f'<p class="note">{shown(each)}</p>' for each in found.about),
        f"<h2>Over models</h2>{_table(found.null)}{images[0]}",
        f"<h2>Across traits</h2>{images[1]}{_table(found.correlations)}",
        f"<h2>Every model</h2>{_table(found.shifts)}",
    ]
    head = f'<meta charset="utf-8"><title>{shown(title)}</title><style>{_LOOK}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _table(frame: pd.DataFrame) -> str:
    text: str = frame.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.3g}")
    return text
