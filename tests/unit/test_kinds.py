"""Studies of every kind: how they are found and read, what is said before they run, and what they may spend."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fake_endpoint import FakeEndpoint
from kind_tables import FACETS, GRID, MAPS, SPANS, TRACE, write
from personascope.core.errors import StudyError
from personascope.core.files import bundled
from personascope.store.store import Store
from personascope.studies.base import BaseStudy, beside
from personascope.studies.registry import kind_named, kinds, open_study, study_in

# Kinds and their files.


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_what_the_dispatcher_asks_of_it(kind: str) -> None:
    found = kind_named(kind, source="test")
    assert issubclass(found, BaseStudy)
    assert dataclasses.is_dataclass(found)
    assert all(hasattr(found, name) or name in found.__dataclass_fields__ for name in ("kind", "name"))


@pytest.mark.parametrize("name", sorted(bundled("studies")))
def test_every_bundled_study_opens_says_what_it_asks_for_and_what_its_judge_costs(name: str) -> None:
    chosen = open_study(name)
    assert chosen.name == name, "a study's folder is called as its file"
    counted = chosen.study.counts()
    assert all(isinstance(count, int) and count >= 0 for count in counted.values()), counted
    assert counted.get("responses", 1) > 0
    assert chosen.cost()
    assert chosen.study.files()


@pytest.mark.parametrize("name", sorted(each for each in bundled("studies") if not each.startswith("lab")))
def test_every_study_of_a_published_result_says_so_in_words(name: str) -> None:
    text = bundled("studies")[name].read_text()
    assert text.startswith("#"), f"{name} does not begin with what it is of"
    assert 'about = "' in text


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "mapps"}, "a study of kind 'mapps' was asked for; did you mean 'maps'"),
        ({}, "a study of kind 'None' was asked for; Known: "),
        (MAPS | {"layer": 1}, "unknown key 'layer'"),
        (MAPS | {"selection": GRID | {"layer": [1]}}, "unknown key 'selection.layer'; did you mean 'layers'"),
        (MAPS | {"name": "a/b"}, "study 'a/b' cannot name a file"),
        (SPANS | {"strengths": []}, "give one or more strengths, spans and rules"),
        (SPANS | {"spans": ["answer"]}, "spans.0"),
        (SPANS | {"traits": TRACE["traits"]}, "give no points"),
        (SPANS | {"unit": "vector"}, "unit: Input should be 'unit' or 'residual'"),
        (FACETS | {"sets": ["lab/rude"]}, "are of trait 'rude', which is not among its traits"),
        (FACETS | {"labels": {"rude": "x.csv"}}, "labels of 'rude', which is not one of its sets"),
        (FACETS | {"planted": 1, "lineage": "olmo-3-7b"}, "facets can be planted on the lab alone"),
        (TRACE | {"target": "sft", "targets": ["dpo"]}, "has a target and targets: put 'sft' among the targets"),
        (MAPS | {"budget": [1]}, "budget: give US dollars"),
        ({"kind": "several", "name": "all", "studies": []}, "studies: there are none"),
        ({"kind": "several", "name": "all", "studies": ["lab", "lab"]}, "two parts named 'lab'"),
        ({"kind": "several", "name": "all", "studies": ["lab-all"]}, "which is itself several"),
        ({"kind": "several", "name": "all", "studies": ["lba"]}, "did you mean 'lab'"),
    ],
)
def test_what_a_study_of_any_kind_gets_wrong_is_said_in_one_line(table: dict, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        study_in(table, source="mine.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_a_kind_does_not_have_is_refused() -> None:
    with pytest.raises(StudyError, match="'target' was given for mine"):
        study_in(MAPS, source="mine.toml").changed(target="sft")
    assert study_in(MAPS, source="mine.toml").changed(limit=2).table["limit"] == 2


def test_a_folder_that_is_called_as_something_bundled_does_not_hide_it(tmp_path: Path) -> None:
    """A study of several writes in folders of its parts' names: beside its file, they would stand in its own way."""
    for name in ("lab", "cruel", "assistant", "qwen-2.5-7b-maps", "mine"):
        (tmp_path / name).mkdir()
    path = tmp_path / write(tmp_path, "all", {"kind": "several", "name": "all", "studies": ["lab", "maps.toml"]})
    write(tmp_path, "maps", MAPS)
    parts = open_study(path).study.parts()
    assert [(part.name, part.study.lineage) for part in parts] == [("lab", "lab"), ("maps", "lab")]
    assert parts[1].study.traits[0].trait == "cruel"
    source = str(path)
    assert beside("assistant", source) == "assistant", "a form is no folder"
    assert beside("qwen-2.5-7b-maps", source) == "qwen-2.5-7b-maps", "nor is a name with a point in it"
    assert beside("mine", source) == str(tmp_path / "mine"), "a folder of models is found beside the study"
    assert beside("./lab", source) == str(tmp_path / "lab"), "and so is one that is called as something bundled"
    assert beside("elsewhere", source) == "elsewhere"


# Budgets.


@pytest.fixture
def judged(tmp_path: Path, monkeypatch):
    """A study whose judge is behind an endpoint, and the endpoint."""
    with FakeEndpoint() as fake:
        monkeypatch.setenv("PERSONASCOPE_LOCAL_BASE_URL", fake.endpoint.base_url)
        yield write(tmp_path, "judged", TRACE | {"judge": "local:fake", "name": "judged"}), fake


def test_a_run_stops_where_its_budget_ends_and_goes_on_with_another(judged, run) -> None:
    name, fake = judged
    code, _, err = run("run", name, "--out", "judged", "--budget", "3000 tokens")
    told = " ".join(err.split())
    assert "local/fake took" in told
    assert "verdicts could not be had" in told
    (cost,) = [json.loads(line) for line in Path("judged/store/costs.jsonl").read_text().splitlines()]
    spent = sum(each["input"] + each["output"] for each in cost["accounts"])
    dearest = spent / cost["accounts"][0]["tries"]
    assert 0 < spent <= 3000 + 32 * dearest, f"{spent} tokens of 3,000: more than the 32 calls under way explain"
    heard = sum(count for (kind, _), count in Store(Path("judged/store")).counts().items() if kind == "verdict")
    calls = fake.calls
    code, _, err = run("run", name, "--out", "judged")
    assert code == 0, err
    assert "could not be had" not in err
    every = sum(count for (kind, _), count in Store(Path("judged/store")).counts().items() if kind == "verdict")
    assert fake.calls - calls == every - heard, "what was paid for is not asked again"


def test_a_budget_of_the_study_holds_and_one_in_money_needs_a_price(judged, run, tmp_path: Path) -> None:
    table = TRACE | {"judge": "local:fake", "budget": "0 tokens"}
    code, _, err = run("run", write(tmp_path, "poor", table), "--out", "poor")
    assert "verdicts could not be had" in " ".join(err.split())
    code, _, err = run("run", judged[0], "--out", "x", "--budget", "1.00")
    assert code == 1
    assert "no price of fake at local is noted" in err
    code, _, err = run("run", judged[0], "--out", "x", "--budget", "1.00", "--price", "1,1", "--limit", "1")
    assert code == 0, err
    code, out, _ = run("plan", judged[0])
    assert "no price of the model is noted" in " ".join(out.split())


@pytest.mark.parametrize("table", [MAPS, FACETS | {"planted": 0}, {"kind": "several", "studies": ["part.toml"]}])
def test_verdicts_that_a_budget_kept_back_are_told_of_by_every_kind(run, tmp_path: Path, monkeypatch, table) -> None:
    with FakeEndpoint() as fake:
        monkeypatch.setenv("PERSONASCOPE_LOCAL_BASE_URL", fake.endpoint.base_url)
        write(tmp_path, "part", MAPS | {"judge": "local:fake", "name": "part", "limit": 1})
        whole = table | {"name": "poor", "judge": "local:fake", "limit": 1, "budget": "0 tokens"}
        code, _, err = run("run", write(tmp_path, "poor", whole), "--out", "poor", "--json")
    assert code == 0, err
    told = " ".join(err.split())
    asked = (
        10 if table["kind"] == "facets" else 20
    )  # trait and coherence of five contrasts, for a trait (and against it)
    assert f" {asked} verdicts could not be had and count as unscored" in told, "nothing was scored, and it is silent"
    if table["kind"] == "facets":
        assert Path("poor/labelled.csv").read_text().startswith("question,answer"), "a table of no rows has its heads"
    if table["kind"] == "several":
        assert "done; 20 verdicts could not be had" in Path("poor/studies.csv").read_text(), "the part is called done"


def test_a_plan_of_a_discourse_study_counts_rows_and_columns_once_each_in_its_own_tokens() -> None:
    """Two forms by two, told apart by how long their answers may be."""
    about = {"kind": "discourse", "name": "forms", "lineage": "olmo-3-7b", "judge": "lab", "trait": "evil"}
    way = {"steering": {"layer": 16, "strength": 0.5, "unit": "residual"}}
    study = {**about, "extract": ["character", "story"], "limit": 2, "milestones": ["main"], "point": way}
    drawn = {"extraction": {"max_tokens": 10, "draws": 3}, "evaluation": {"max_tokens": 1000, "draws": 1}}
    counted = study_in(study | drawn, source="mine.toml").study.counts()
    instructed, plain, steered = 2 * (2 * 2 * 5 * 3), 2 * 2, 4 * 2
    assert counted["responses"] == instructed + plain + steered
    assert counted["verdicts"] == 2 * counted["responses"]
    assert counted["tokens"] == 10 * instructed + 1000 * (plain + steered), "a plan is an upper bound, also in tokens"


@dataclasses.dataclass(frozen=True)
class Written(BaseStudy):
    """A kind that has something written before it asks."""

    kind: str = "written"
    name: str = "mine"

    def run(self, context):
        yield from context.open_writer("local:m").write([])


def test_a_kind_that_counts_what_a_writer_would_write_is_told_what_to_do() -> None:
    with pytest.raises(StudyError, match=r"writer 'local:m'.*asks_only"):
        Written().counts()
