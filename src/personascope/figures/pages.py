"""Pages that people read: one file each, no network, any browser; the HTML is in ``templates``.

Every text of a model or a user is escaped, so that what it says is shown and never done.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    import pandas as pd


def render(template: str, **values: Any) -> str:
    """A page as HTML: ``templates/TEMPLATE.html.j2`` filled in.

    Beside what jinja2 has there are the filters ``number`` (a cell), ``frame`` (a data frame as a table) and ``png``
    (the bytes of a picture as the address of an image).
    """
    return _environment().get_template(f"{template}.html.j2").render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("personascope.figures"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": _number, "png": _png, "frame": _frame}
    return found


def _clean(value: Any) -> Any:
    """What is no character is shown as a replacement mark."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def _number(cell: object) -> str:
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:,.0f}" if cell.is_integer() else f"{cell:.3f}"
    return str(cell)


def _png(picture: bytes) -> str:
    """A picture as the address of an image, so that the page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _frame(frame: pd.DataFrame) -> str:
    """A frame as a table; pandas escapes what stands in it."""
    from markupsafe import Markup

    text: str = frame.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.3g}")
    return Markup(text)
