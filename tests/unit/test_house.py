"""The rules of the house: who may import whom, what an import costs, and how long things may be."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import personascope
from personascope.cli import app

SOURCE = Path(personascope.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

VOCABULARY = {
    "errors",
    "identity",
    "files",
    "traits",
    "lineages",
    "edits",
    "records",
    "steering",
    "vectors",
    "wording",
    "samples",
    "dictionaries",
}
PROTOCOLS = {"engines", "judges", "writers"}
STORE = {"store", "readings"}
WRITING = {"drafting", "linting", "trait_writing", "trait_forms"}
SCIENCE = {
    "respond",
    "listening",
    "extract",
    "keeping",
    "controls",
    "outcomes",
    "selection",
    "trace",
    "studies",
    "doctor",
    "applications",
    *WRITING,
}
ADAPTERS = ("engines.", "judges.", "writers.", "providers", "interop", "training", "evals")

LAYERS: list[tuple[str, set[str], tuple[str, ...]]] = [
    # modules, what they may import by name, what by prefix
    ("vocabulary", VOCABULARY, ()),
    ("protocols", VOCABULARY | PROTOCOLS, ()),
    ("store", VOCABULARY | PROTOCOLS | STORE | {"remembering"}, ()),
    ("science", VOCABULARY | PROTOCOLS | SCIENCE, ("linting.", "trait_forms.", "doctor.", "applications.")),
    ("engines", VOCABULARY | PROTOCOLS | {"plugins"}, ("engines.",)),
    # The scripted judge and the scripted engine are two halves of one double; opening knows the lab's judge by name.
    ("judges", VOCABULARY | PROTOCOLS | {"plugins", "engines.scripted", "lab.judge"}, ("judges.", "providers")),
    ("writers", VOCABULARY | PROTOCOLS | {"plugins"}, ("writers.", "providers")),
    ("providers", VOCABULARY, ("providers",)),
    ("lab", VOCABULARY | PROTOCOLS, ("lab",)),
    ("interop", VOCABULARY, ("interop",)),
    ("analysis", VOCABULARY | SCIENCE, ("analysis", "applications.")),  # it reads what a trace gave
    ("figures", VOCABULARY, ("figures",)),
]


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str | None:
    """Which layer a module belongs to; the faces and the package itself may import everything."""
    if module in VOCABULARY:
        return "vocabulary"
    if module in PROTOCOLS:
        return "protocols"
    if module in STORE | {"remembering"}:
        return "store"
    if module.split(".")[0] in SCIENCE:
        return "science"
    for layer in ("lab", "interop", "analysis", "figures", "providers"):
        if module == layer or module.startswith(f"{layer}."):
            return layer
    return module.split(".")[0] if module.startswith(("engines.", "judges.", "writers.")) else None


def imports_of(text: str, package: str) -> set[str]:
    """Every module of ours that a file's text imports, at any depth, type checking included, however it is written.

    ``package`` is the one the file lies in, which relative imports start from. ``from package import name`` imports
    the module of that name where there is one, else the package.
    """
    known = {name_of(path) for path in MODULES}
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            here = f"personascope.{package}".rstrip(".").split(".")
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner.removeprefix("personascope.") in known else base)
    ours = {each for each in found if each.split(".")[0] == "personascope"}
    return {each.removeprefix("personascope").removeprefix(".") for each in ours}


@pytest.mark.parametrize(
    ("line", "package", "imported"),
    [
        ("import personascope.store.store", "judges", {"store"}),
        ("import personascope.store.store as them", "judges", {"store"}),
        ("import personascope", "judges", {""}),
        ("from personascope import store", "judges", {"store"}),
        ("from personascope import store as them, load_trait", "", {"store", ""}),
        ("from personascope.engines import transformers, Engine", "", {"engines.transformers", "engines"}),
        ("from personascope.engines.transformers import TransformersEngine", "", {"engines.transformers"}),
        ("from . import transformers", "engines", {"engines.transformers"}),
        ("from .transformers import TransformersEngine", "engines", {"engines.transformers"}),
        ("from .. import store", "judges", {"store"}),
        ("from ..store import Store", "judges", {"store"}),
        ("from .store import Store", "", {"store"}),
        ("def late():\n    from ..store import Store", "judges", {"store"}),
        ("import numpy, personascoped\nfrom json import dumps", "", set()),
    ],
)
def test_an_import_is_seen_however_it_is_written(line, package, imported):
    assert imports_of(line, package) == imported


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    module = name_of(path)
    layer = layer_of(module)
    if layer is None:
        return
    named, prefixes = next((named, prefixes) for each, named, prefixes in LAYERS if each == layer)
    package = ".".join(path.parent.relative_to(SOURCE).parts)
    for imported in imports_of(path.read_text(encoding="utf-8"), package):
        allowed = imported in named or (bool(prefixes) and imported.startswith(prefixes))
        assert allowed, f"{module} is {layer} and imports {imported}: {layer} may import {sorted(named)} {prefixes}"


@pytest.mark.parametrize("heavy", ["torch", "transformers", "openai", "vllm"])
def test_heavy_packages_are_imported_only_by_adapters(heavy):
    for path in MODULES:
        module = name_of(path)
        if module.startswith(ADAPTERS) or module.startswith("lab."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == heavy for name in names), (
                f"{module} imports {heavy}; only adapters may"
            )


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


@pytest.mark.parametrize("name", ["trace", "extract", "respond"])
def test_a_function_named_like_its_module_stays_a_function(name):
    code = f"import personascope, personascope.studies.trace_study, personascope.{name}\nassert callable(personascope.{name})"
    code += f"\nfrom personascope.{name} import *\nimport personascope as p\nassert callable(p.{name})"
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_trace_fits_one_screen_and_knows_no_store():
    text = (SOURCE / "trace.py").read_text(encoding="utf-8")
    function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "trace")
    assert function.end_lineno - function.lineno + 1 <= 60, "trace must fit one screen of 60 lines"
    words = ast.get_source_segment(text, function).lower()
    for word in ("store", "cache", "exists", "overwrite", "csv"):
        assert word not in words, f"trace speaks of '{word}': memory is a wrapper around a port"
