"""The examples in the package's docstrings run, and its functions stay short."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import personascope_published

SOURCE = Path(personascope_published.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", [p for p in MODULES if ">>>" in p.read_text(encoding="utf-8")], ids=lambda p: p.stem)
def test_the_examples_in_docstrings_run(path: Path) -> None:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    result = doctest.testmod(importlib.import_module(".".join(parts)))
    assert result.attempted > 0
    assert result.failed == 0


def test_functions_have_at_most_50_lines() -> None:
    too_long = [
        f"{path.stem}.{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (body := node.body[1:] if ast.get_docstring(node) else node.body)
        and node.end_lineno - body[0].lineno + 1 > 50
    ]
    assert not too_long
