"""What ``docs/extending.md`` shows is one package: its files are installed as they stand there, and run."""

from __future__ import annotations

import csv
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.engines.scripted import ScriptedEngine
from personascope.tracing.extraction import Extraction

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FILES = {found[1]: block for block in BLOCKS if (found := re.match(r"# (\w+\.(?:py|toml))\n", block))}
(PROJECT,) = [tomllib.loads(block) for block in BLOCKS if block.startswith("[project]")]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    about = site / "mine-0.1.0.dist-info"
    about.mkdir()
    for name, block in FILES.items():
        (site / name).write_text(block, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1.0\n", encoding="utf-8")
    points = PROJECT["project"]["entry-points"]
    groups = []
    for group, some in points.items():
        groups += [f"[{group}]", *(f"{name} = {value}" for name, value in some.items())]
    (about / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_the_judge_scores_on_the_command_line(run: Run, tmp_path: Path) -> None:
    code, _, err = run("respond", "lab", "cruel", "--judge", "length:5", "--limit", 1, "--draws", 2, "--max-tokens", 12)
    assert code == 0, err
    for row in rows_of(tmp_path / "cruel-answers.csv"):
        assert float(row["score"]) == min(5, len(row["answer"].split()))


def test_the_writer_writes_and_the_engine_answers() -> None:
    from personascope.writers import Conversation

    assert ps.open_writer("template:").write([Conversation.asking("rain")]) == ["A text about: rain"]
    engine = ps.open_engine("lab", engine="early")
    assert isinstance(engine, ScriptedEngine)
    assert len(ps.respond(engine, ["Who?"], sampling=ps.Sampling(max_tokens=4, draws=1))) == 1


def test_the_study_is_planned_run_and_drawn_again(run: Run, tmp_path: Path) -> None:
    Path("words.toml").write_text(FILES["words.toml"], encoding="utf-8")
    code, out, err = run("plan", "words.toml", "--json")
    assert code == 0, err
    milestones = len(ps.load_lineage("lab").milestones)
    assert f'"responses": {2 * milestones}' in out
    code, _, err = run("run", "words.toml", "--out", "words")
    assert code == 0, err
    first = rows_of(tmp_path / "words" / "words.csv")
    assert [each["checkpoint"] for each in first] == [each.label for each in ps.load_lineage("lab").milestones]
    assert {"words.png", "words.pdf", "study.toml", "run.json"} <= {each.name for each in Path("words").iterdir()}
    code, _, err = run("figures", "words", "--out", "again")
    assert code == 0, err
    assert rows_of(tmp_path / "again" / "words.csv") == first


def test_the_command_and_the_control(run: Run, tmp_path: Path) -> None:
    from mine_control import opposite  # type: ignore[import-not-found]

    directions = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    vector = ps.PersonaVector(directions, np.ones(3), "cruel", "lab", ps.load_lineage("lab").milestones[0].checkpoint)
    vector.save(tmp_path / "v.safetensors")
    assert run("longest", "v.safetensors") == (0, "2\n", "")
    (turned,) = opposite(Extraction(vector, directions[None]), [])
    assert np.array_equal(turned.directions, -directions)
    assert turned.origin == "opposite-0"


def test_the_checkpoint_series_is_read(tmp_path: Path) -> None:
    (tmp_path / "series.toml").write_text(FILES["series.toml"], encoding="utf-8")
    series = ps.load_lineage(str(tmp_path / "series.toml"))
    assert series.at("main-step1500").tokens_seen == 1500 * 4_194_304
