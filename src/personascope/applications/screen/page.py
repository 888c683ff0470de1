"""A page that people read: a screening's figures, and the samples that stand highest and lowest.

Owns: :func:`page_of`. The one law: the page is one file that asks for nothing else, and whatever a sample says is shown
as text, never as part of the page.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from personascope.core.traits import Prompt

_LONGEST = 2000
_LOOK = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; color: #444; }
table { border-collapse: collapse; font-size: .85rem; } th, td { padding: .25rem .7rem; text-align: right; }
th { border-bottom: 2px solid #1a1a1a; } td { border-bottom: 1px solid #e6e6e6; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
img { max-width: 100%; } .where { color: #6e6e6e; font-size: .8rem; } .note { color: #6e6e6e; }
article { border-left: 4px solid #0072B2; margin: 1rem 0; padding: .2rem 1rem; background: #f7f8fa; }
article.high { border-color: #D55E00; } pre { white-space: pre-wrap; font: inherit; margin: .2rem 0 .6rem; }
b.who { display: block; font-size: .75rem; text-transform: uppercase; letter-spacing: .04em; color: #555; }
"""


@dataclass(frozen=True, eq=False)
class Extreme:
    """One of the samples that stand highest (or lowest) along a vector, and what the model itself answers."""

    gauge: str
    high: bool
    score: float
    exchange: tuple[Prompt, str]
    where: str
    own_answer: str = ""
    dropped: bool = False


def page_of(
    title: str, about: Sequence[str], summary: pd.DataFrame, picture: bytes, extremes: Sequence[Extreme]
) -> str:
    """The page as HTML: what was done, the table, the histograms (a PNG), and the samples of every vector."""
    parts = [f"<h1>{_shown(title)}</h1>", *(f"<p>{_shown(each)}</p>" for each in about), _table(summary)]
    parts.append(f'<p><img alt="histograms of scores" src="data:image/png;base64,{_coded(picture)}"></p>')
    for gauge in dict.fromkeys(each.gauge for each in extremes):
        for high, called in ((True, "highest"), (False, "lowest")):
            some = [each for each in extremes if each.gauge == gauge and each.high == high]
            if some:
                parts.append(f"<h2>{_shown(gauge)}: the {len(some)} {called}</h2>")
                parts += map(_article, some)
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{_shown(title)}</title><style>{_LOOK}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _article(each: Extreme) -> str:
    prompt, answer = each.exchange
    turns = [("system", prompt.instruction), ("prompt", prompt.question), ("training answer", answer)]
    turns.append(("the model's own answer", each.own_answer))
    said = "".join(f'<b class="who">{who}</b><pre>{_cut(text)}</pre>' for who, text in turns if text)
    fate = ", dropped" if each.dropped else ""
    head = f'<p class="where">{each.score:+.3f}{fate} · {_shown(each.where)}</p>'
    return f'<article class="{"high" if each.high else "low"}">{head}{said}</article>'


def _table(summary: pd.DataFrame) -> str:
    head = "".join(f"<th>{_shown(name)}</th>" for name in summary.columns)
    rows = ("".join(f"<td>{_shown(_number(cell))}</td>" for cell in row) for row in summary.itertuples(index=False))
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _number(cell: object) -> str:
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:,.0f}" if cell.is_integer() else f"{cell:.3f}"
    return str(cell)


def _cut(text: str) -> str:
    more = len(text) - _LONGEST
    tail = f' <span class="note">… and {more:,} characters more</span>' if more > 0 else ""
    return _shown(text[:_LONGEST]) + tail


def _shown(text: str) -> str:
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def _coded(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")
