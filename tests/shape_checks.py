"""Checks every shape annotation of personascope while the tests run: the pytest plugin of `make shapes`.

jaxtyping's import hook hands each function and dataclass to :func:`check_arrays`, which has beartype check those
arguments and results that are annotated with an array; their dimensions must agree within one call. Where a test hands
over a wrong shape on purpose, to see the error that a user gets, :func:`unchecked` lets it pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from beartype import beartype
from jaxtyping import install_import_hook

ARRAY = re.compile(r"\b(Float|Int|Bool|Shaped)\[")
_paused: list[None] = []


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its array annotations checked, and no other annotation."""
    arrays = {name: hint for name, hint in function.__annotations__.items() if ARRAY.search(str(hint))}
    if not arrays:
        return function
    plain = function.__annotations__
    function.__annotations__ = arrays
    checked: Callable[..., Any] = beartype(function)
    function.__annotations__ = plain

    @functools.wraps(function)
    def either(*arguments: Any, **named: Any) -> Any:
        return (function if _paused else checked)(*arguments, **named)

    return either


@contextmanager
def unchecked() -> Iterator[None]:
    """No shape is checked within the block."""
    _paused.append(None)
    try:
        yield
    finally:
        _paused.pop()


def pytest_addoption() -> None:
    """Installs the hook when pytest loads this plugin, before anything imports personascope."""
    install_import_hook(["personascope", "personascope_published"], "shape_checks.check_arrays")
