"""Judges, writers and engines that another package brings, and ``engine:MODEL``, wherever a judge is named."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from personascope.core.errors import EngineError, JudgeError, PersonascopeError, WriterError
from personascope.core.lineages import load_lineage
from personascope.core.records import Case
from personascope.core.traits import load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines.opening import open_engine
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.opening import JudgeContext, open_judge
from personascope.writers import Conversation
from personascope.writers.opening import open_writer
from refusals import refused

Run = Callable[..., tuple[int, str, str]]

SOURCE = """
from personascope.core.records import Verdict

class Length:
    '''Scores an answer by its length, up to the number behind the colon.'''
    waits = False
    def __init__(self, rest, context):
        self.most, self.context = int(rest or 100), context
        self.name = f"length/{self.most}"
    def score(self, cases):
        return [Verdict("scored", float(min(len(case.answer), self.most))) for case in cases]
    def reread(self, case, verdict):
        return verdict

def engine(checkpoint, *, device, dtype, device_map):
    from personascope.engines.scripted import ScriptedEngine
    return ScriptedEngine(checkpoint, [], maturity=0.25)

def writer(rest, context):
    from personascope.writers.scripted import ScriptedWriter
    return ScriptedWriter([f"{rest} {context.settings['seed']}"])
"""
POINTS = """
[personascope.judges]
length = yardstick:Length
broken = yardstick:Missing
[personascope.engines]
idle = yardstick:engine
[personascope.writers]
echo = yardstick:writer
"""


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package of one file that adds a judge, an engine and a writer."""
    site = tmp_path_factory.mktemp("site")
    (site / "yardstick.py").write_text(SOURCE)
    about = site / "yardstick-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: yardstick\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("yardstick", None)


@pytest.fixture
def vector(tmp_path: Path) -> str:
    checkpoint = load_lineage("lab").milestones[-1].checkpoint
    directions = np.random.default_rng(0).standard_normal((5, 64))
    PersonaVector(directions, np.full(5, 20.0), "cruel", "lab", checkpoint).save(tmp_path / "cruel.safetensors")
    return "cruel.safetensors"


def test_what_a_package_brings_is_opened_by_name(package: None) -> None:
    judge = open_judge("length:7", url="http://h/v1", asking=False)
    assert judge.name == "length/7"
    assert judge.context == JudgeContext("length:7", "length", "http://h/v1", False)  # type: ignore[attr-defined]
    assert open_judge("length").name == "length/100"
    engine = open_engine("lab", engine="idle")
    assert isinstance(engine, ScriptedEngine)
    assert open_writer("echo:hello", seed=3).write([Conversation.asking("Write.")]) == ["hello 3"]


def test_an_unknown_or_broken_one_is_refused_with_what_exists(package: None) -> None:
    with pytest.raises(JudgeError, match="did you mean 'length'"):
        open_judge("lenght:7")
    with pytest.raises(PersonascopeError, match="yardstick brings 'broken' and cannot be imported"):
        open_judge("broken")
    with pytest.raises(EngineError, match="did you mean 'idle'"):
        open_engine("lab", engine="idel")
    with pytest.raises(WriterError, match="did you mean 'echo'"):
        open_writer("ecko:x")


def test_our_own_doubles_open_by_the_same_contract() -> None:
    trait = load_trait("evil")
    (verdict,) = open_judge("scripted:evil").score([Case(trait.rubric, "Q", "evil lamp")])
    assert verdict.score == 50
    with pytest.raises(JudgeError, match="name the traits"):
        open_judge("scripted")
    assert open_writer("scripted:A text.").write([Conversation.asking("Write.")]) == ["A text."]
    assert isinstance(open_engine("lab", engine="scripted"), ScriptedEngine)
    with pytest.raises(EngineError, match="did you mean 'transformers'"):
        open_engine("lab", engine="transformer")


@pytest.mark.parametrize("judge", ["length:50", "engine:lab#text,max_tokens=4"])
def test_a_judge_of_any_kind_works_wherever_one_is_named(
    judge: str, package: None, run: Run, tmp_path: Path, vector: str
) -> None:
    tuned = load_lineage("lab").targets[0].checkpoint.path
    short = ("--limit", 1, "--draws", 1, "--max-tokens", 6)
    for command in (
        ("extract", "lab", "cruel", "--judge", judge, *short),
        ("respond", "lab", "cruel", "--judge", judge, *short),
        ("shift", "lab", tuned, "--vectors", vector, "--layer", 3, "--judge", judge, *short),
        ("sae", vector, "lab", "--model", "lab", "--judge", judge, "--tested", 1, "--random", 0, *short),
    ):
        code, _, err = run(*command)
        assert code in (0, 3), f"{command}: {err}"  # a judge that is no good gives no vector, which is code 3
    with (tmp_path / "cruel-answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["outcome"] == ("scored" if judge == "length:50" else row["outcome"])
        if judge == "length:50":
            assert float(row["score"]) == min(len(row["answer"]), 50)
        else:
            assert row["outcome"] in ("scored", "unreadable"), "the lab's model was asked, and said what it could"


def test_a_judge_nobody_knows_is_refused_in_one_line(run: Run) -> None:
    for verb in ("extract", "respond"):
        refused(run(verb, "lab", "cruel", "--judge", "nobody:x"), "nobody")
