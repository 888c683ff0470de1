"""What an installed package brings: a command, a kind of kept study and a reader of trait files; and what it breaks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import personascope
from kept_runs import run_in
from personascope.core import plugins
from personascope.core.errors import PluginError, StudyError
from personascope.core.outcomes import OperatingPoint
from personascope.core.steering import Steering
from personascope.store.store import Store
from personascope.studies.replay import kept_studies
from personascope.studies.trace import load_study
from personascope.tracing.controls import Controls

ROOT = Path(__file__).parents[2]
PACKAGE = '''
from dataclasses import dataclass

import pandas as pd
import typer

from personascope.core.traits import load_trait
from personascope.studies.base import BaseStudy, Table

app = typer.Typer(help="Count things.")


@app.command()
def words(text: str) -> None:
    """Count words."""
    print(len(text.split()))


@app.command()
def letters(text: str) -> None:
    """Count letters."""
    print(len(text))


def greet(name: str) -> None:
    """Greet someone."""
    print(f"hello {name}")


@dataclass(frozen=True)
class Tally(BaseStudy):
    kind: str
    name: str
    counted: int

    def run(self, context):
        yield Table("tally", pd.DataFrame({"counted": [self.counted]}))


def read_trait(path, *, form):
    return load_trait("evil")
'''
POINTS = """
[personascope.commands]
tally = tallies:app
greet = tallies:greet
torn = tallies:nothing
gone = no_such_module_at_all:app

[personascope.studies]
tally = tallies:Tally

[personascope.traits]
txt = tallies:read_trait
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small package that looks as if it were installed."""
    site = tmp_path / "site"
    about = site / "tallies-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tallies\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (site / "tallies.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "tallies", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which a study of the package's kind is kept."""
    store = Store(tmp_path / "store")
    table = {"kind": "tally", "name": "sheep", "counted": 3}
    store.keep_study("sheep", {"study": {"kind": "tally", "name": "sheep", "table": table, "source": "x.toml"}})
    return store


Run = Callable[..., tuple[int, str, str]]


def test_a_group_of_commands_and_a_single_command_are_run_and_listed(installed: None, run: Run) -> None:
    assert run("tally", "words", "one two") == (0, "2\n", "")
    assert run("tally", "letters", "one") == (0, "3\n", "")
    assert run("greet", "you") == (0, "hello you\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert "Count things." in out
    assert "Greet someone." in out


@pytest.mark.parametrize("name", ["torn", "gone"])
def test_a_broken_command_names_its_package_in_one_line_and_the_others_work(
    installed: None, run: Run, name: str
) -> None:
    code, out, err = run(name, "--any", "thing")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "tallies" in err
    assert run("greet", "you")[0] == 0
    code, out, _ = run("--help")
    assert code == 0
    assert name in out


def test_a_command_of_personascope_is_not_replaced(
    installed: None, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "tallies-1.0.dist-info" / "entry_points.txt").write_text(
        "[personascope.commands]\nshow = tallies:greet\n"
    )
    code, out, err = run("show", "nowhere")
    assert code == 1
    assert "hello" not in out
    assert "nowhere holds no store" in err


def test_a_kept_study_of_the_packages_kind_is_drawn(installed: None, store: Store, tmp_path: Path) -> None:
    (kept,) = kept_studies(store)
    assert kept.name == "sheep"
    assert kept.draw(store, tmp_path / "again").tables["tally"]["counted"].tolist() == [3]


def test_a_kept_study_that_nothing_reads_says_so_and_the_others_are_still_drawn(
    store: Store, run: Run, tmp_path: Path
) -> None:
    (kept,) = kept_studies(store)
    with pytest.raises(StudyError, match="kind 'tally'"):
        kept.draw(store, tmp_path / "again")
    study = load_study("lab")
    way = Steering(layer=3, strength=1.5, unit="vector", where="all")
    trait = replace(study.traits[0], points=(OperatingPoint(way),))
    study = replace(study, traits=(trait,), milestones=("step-02000",), selection=None, controls=Controls(), limit=2)
    run_in(store, study)
    code, out, err = run("figures", store.path, "--out", "again", "--json")
    assert code == 1
    assert list(json.loads(out)["failed"]) == ["sheep"]
    assert "'sheep' cannot be drawn from the records" in err
    assert Path("again/lab/effects.csv").is_file()


def test_trait_files_are_read_by_their_ending(installed: None, run: Run) -> None:
    code, out, err = run("trait", "check", "mine.txt", "--json")
    assert code == 0, err
    assert list(json.loads(out)) == ["mine.txt"]


def test_what_no_package_brings_is_said_with_what_there_is(installed: None) -> None:
    with pytest.raises(PluginError, match="did you mean 'tally'"):
        plugins.load(plugins.STUDIES, "taly")


def test_a_package_that_is_known_and_not_installed_is_named_with_its_install_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: {})
    for package, about in plugins._catalogue().items():
        for name in about[plugins.COMMANDS]:
            code, _, err = run(name, "x")
            assert code == 1
            assert package in err
            assert about["install"] in err
            assert name not in [line.split()[1] for line in run("--help")[1].splitlines() if line.startswith("│ ")]


def test_the_catalogue_says_what_the_packages_bring() -> None:
    for package, about in plugins._catalogue().items():
        folder = ROOT / about["install"].split()[-1]
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["name"] == package
        brought = {group: sorted(points) for group, points in project["entry-points"].items()}
        assert brought == {name: sorted(value) for name, value in about.items() if name != "install"}


def test_the_core_imports_no_plugin() -> None:
    source = Path(personascope.__file__).parent
    importing = re.compile(r"^\s*(from|import) personascope_", re.MULTILINE)
    assert not [path.name for path in source.rglob("*.py") if importing.search(path.read_text(encoding="utf-8"))]


def test_a_command_of_personascope_looks_for_no_plugin() -> None:
    code = "import sys; sys.argv = ['personascope', 'show', 'nowhere']\nfrom personascope.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    print('personascope.core.plugins' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
