"""What the house promises: what an import costs, that public names exist, and how long things may be.

Who may import whom is in ``pyproject.toml`` ([tool.importlinter]), and ``make check`` holds every module to it.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import personascope
from personascope.cli import app

ROOT = Path(__file__).parents[2]
SOURCE = Path(personascope.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_and_no_import_is_exempt_from_the_import_rules():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rules = project["tool"]["importlinter"]
    assert not rules.get("exclude_type_checking_imports", False)
    for contract in rules["contracts"]:
        exempt = {"ignore_imports", "exhaustive_ignores", "skip_descendants"} & contract.keys()
        assert not exempt, f"'{contract['name']}' makes exceptions: move what is imported to where it belongs"
    folders = {each.name for each in SOURCE.iterdir() if (each / "__init__.py").is_file()}
    (layers,) = [each["layers"] for each in rules["contracts"] if each.get("containers") == ["personascope"]]
    assert {name for layer in layers for name in layer.split(" | ")} == folders


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("code", ["import personascope", "import personascope.cli"])
def test_importing_loads_nothing_heavy(code):
    heavy = {"torch", "transformers", "pandas", "scipy", "matplotlib", "openai"} & loaded_after(code)
    assert not heavy, f"'{code}' loads {sorted(heavy)}: load them on first use"


def test_help_loads_nothing_heavy():
    code = "import sys\nsys.argv = ['personascope', '--help']\nfrom personascope.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass"
    done = loaded_after(code)
    assert not {"torch", "transformers", "pandas", "scipy", "matplotlib"} & done


def test_importing_is_quick():
    """Under half a second of processor time: the least of three, because the machine is shared."""
    code = "import time; start = time.process_time(); import personascope; print(time.process_time() - start)"
    taken = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) for _ in range(3)
    ]
    assert min(taken) < 0.5, f"import personascope took {taken} CPU seconds"


def test_every_public_name_exists_and_type_checkers_see_the_same():
    for name in personascope.__all__:
        assert getattr(personascope, name) is not None
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {a.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert seen == personascope._PLACE_OF


def test_no_module_bears_a_public_functions_name():
    """``personascope.trace`` is the function, whatever was imported before: no module can take its place."""
    names = {name_of(path) for path in MODULES} | {each.name for each in SOURCE.iterdir() if each.is_dir()}
    assert not names & set(personascope.__all__)


@pytest.mark.parametrize("path", [p for p in MODULES if ">>>" in p.read_text(encoding="utf-8")], ids=name_of)
def test_the_examples_in_docstrings_run(path):
    module = importlib.import_module(f"personascope.{name_of(path)}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_functions_and_files_stay_short():
    too_long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 500:
            too_long.append(f"{name_of(path)} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and (length := node.end_lineno - body[0].lineno + 1) > 50:
                    too_long.append(f"{name_of(path)}.{node.name} has {length} lines")
    assert not too_long, f"functions hold at most 50 lines and files 500: {too_long}"


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a caller may give, keyword-only ones included; ``self`` and ``cls`` are given by nobody."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names[1:] if names[:1] in (["self"], ["cls"]) else names) + sum(map(bool, (given.vararg, given.kwarg)))


def test_functions_take_at_most_seven_parameters():
    """The verbs of the command line are exempt: their parameters are options, each with a help text."""
    apps = [app, *(group.typer_instance for group in app.registered_groups)]
    verbs = {each.callback.__name__ for some in apps for each in some.registered_commands}
    too_many = [
        f"{name_of(path)}.{node.name} takes {count}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, FUNCTIONS)
        and (count := parameters_of(node)) > 7
        and not (name_of(path).startswith("cli.") and node.name in verbs)
    ]
    assert not too_many, f"at most 7 parameters, or a dataclass that names what belongs together: {too_many}"


def test_the_main_path_fits_one_screen_and_knows_no_store():
    text = (SOURCE / "tracing" / "tracing.py").read_text(encoding="utf-8")
    function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "trace")
    assert function.end_lineno - function.lineno + 1 <= 60, "trace must fit one screen of 60 lines"
    words = ast.get_source_segment(text, function).lower()
    for word in ("store", "cache", "exists", "overwrite", "csv"):
        assert word not in words, f"trace speaks of '{word}': memory is a wrapper around a port"
