"""The verbs over a published study, on a small repository of another family: whole, damaged, and something else."""

from __future__ import annotations

import json
import sqlite3

import pytest

from personascope_published.audits.findings import SEVERITIES
from published_damage import damage
from published_world import build

# Every damage is read in test_published_reading; here is one of each kind that the verbs must live with.
DAMAGED = ("cut inside quotes", "code in a vector", "no coherence", "two trait columns", "results cut inside a row")
VERBS = (("published", "check"), ("published", "audit"), ("published", "figures"), ("import",))


@pytest.fixture
def world(tmp_path):
    return build(tmp_path / "repository")


def one_line(said: str) -> str:
    lines = said.strip().splitlines()
    assert len(lines) == 1, f"an error is one line: {said!r}"
    assert lines[0].startswith("error: ")
    return lines[0]


def test_check_says_per_file_what_is_reproduced_and_why_the_rest_is_not(run, world, tmp_path):
    code, out, _ = run("published", "check", world.root, "--json", tmp_path / "check.json")
    assert code == 0
    said = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    verdicts = {(row["file"], row["row"]): row for row in said["rows"]}
    for reason in ("duplicated rows", "overwritten baseline", "missing file"):
        assert reason in out, f"the summary names no '{reason}': {out}"
    assert out.count("rows reproduced") == len(said["files"])
    assert sum(row["verdict"] == "reproduced" for row in verdicts.values()) > 10
    assert f"{sum(row['verdict'] == 'not reproduced' for row in verdicts.values())} not reproduced" in out


def test_check_has_a_line_per_table_also_for_families_controls_and_rows_without_p_values(run, world):
    _, out, _ = run("published", "check", world.root)
    lines = [line for line in out.splitlines() if line.endswith("/combined_significance.csv:")]
    assert len(lines) == 3
    assert "10 of 10 rows are corrected for 5 tests, the rows of its target" in out
    combined = [line for line in out.splitlines() if "gloomy_diagonal_v1/combined.csv" in line]
    assert len(combined) == 1, "one line tells of a table without p-values"
    assert "1 partly checked (1 no vector)" in combined[0]
    assert "18 not reproduced (18 raw absent, consistent)" in out


def test_check_without_tables_says_that_there_is_nothing_to_recompute(run, world, tmp_path):
    (world.root / "results").rename(tmp_path / "moved")
    code, out, _ = run("published", "check", world.root)
    assert code == 0
    assert "no table with p-values" in out


def test_a_name_with_brackets_is_printed_as_it_is(run, world):
    folder = world.root / "results/Apertus-8B-2509/checkpoint_grid/gloomy_diagonal_v1"
    folder.rename(folder.with_name("gloomy[bold]_v1"))
    _, out, _ = run("published", "check", world.root)
    assert "gloomy[bold]_v1/combined_significance.csv:" in out


def test_audit_prints_each_finding_with_what_correcting_it_does(run, world, tmp_path):
    code, out, _ = run("published", "audit", world.root, "--json", tmp_path / "audit.json")
    said = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert code == 0
    assert said["findings"], "the world is built with problems"
    assert f"{len(said['findings'])} findings" in out
    brief = [line.split(maxsplit=2) for line in out.partition("\n\n")[0].splitlines()[1:]]
    assert sum(int(count) for _, count, _ in brief) == len(said["findings"]), "every finding is in the overview"
    assert [severity for severity, _, _ in brief] == sorted((each[0] for each in brief), key=SEVERITIES.index)
    assert ["number", "1", "rows counted twice"] in brief
    assert out.count("  corrected: ") == sum(bool(each["correction"]) for each in said["findings"])


def test_figures_are_drawn_with_the_frame_behind_each(run, world, tmp_path):
    code, out, _ = run("published", "figures", world.root, "--out", tmp_path / "drawn", "--json")
    assert code == 0
    files = [tmp_path / each for each in json.loads(out)["files"]]
    assert all(each.is_file() for each in files)
    names = {each.name for each in files}
    assert {"emergence.png", "emergence.pdf", "emergence.tex", "emergence.csv"} <= names
    folder = next(each.parent for each in files if each.name == "emergence.png")
    drawn = {each.stem for each in folder.glob("*.png")}
    assert drawn == {each.stem for each in folder.glob("*.pdf")}, "every picture is there for screen and for print"


def test_what_was_imported_is_shown_and_drawn_by_the_ordinary_verbs(run, world, tmp_path):
    code, out, _ = run("import", world.root, "--store", tmp_path / "store")
    assert code == 0
    assert "62 files with 1,632 answers: 4,960 new records" in out
    assert "ImportSummary" not in out, "a summary is sentences"
    _, out, _ = run("show", tmp_path / "store", "--json")
    shown = json.loads(out)
    assert shown["studies"], "an import keeps what can be drawn again"
    assert {"response", "verdict"} <= {row["kind"] for row in shown["records"]}
    code, out, _ = run("figures", tmp_path / "store", "--out", tmp_path / "again", "--json")
    assert code == 0
    assert any(name.endswith("emergence.png") for name in json.loads(out)["files"])
    with sqlite3.connect(tmp_path / "store" / "records.sqlite") as database:
        (key,) = database.execute("SELECT key FROM records WHERE kind = 'verdict' LIMIT 1").fetchone()
    _, out, _ = run("show", tmp_path / "store", "--key", key)
    behind = json.loads(out)["by"]
    assert behind["file"].endswith(".csv"), "a verdict is traced to its file"
    assert behind["row"] >= 1, "and to its row"


def test_importing_twice_adds_nothing(run, world, tmp_path):
    run("import", world.root, "--store", tmp_path / "store", "--json")
    code, out, _ = run("import", world.root, "--store", tmp_path / "store", "--json")
    assert (code, json.loads(out)["new_records"]) == (0, 0)


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_named_and_the_rest_still_processed(run, world, tmp_path, what):
    file = damage(world, what)
    code, out, err = run("published", "check", world.root, "--json", tmp_path / "check.json")
    assert code == 0, f"{what}: {err}"
    assert "rows reproduced" in out
    code, _, err = run("published", "audit", world.root, "--json", tmp_path / "audit.json")
    assert code == 0, f"{what}: {err}"
    said = json.loads((tmp_path / "check.json").read_text()), json.loads((tmp_path / "audit.json").read_text())
    told = [problem["file"] for each in said for problem in each["problems"]]
    assert file in told or any(file in json.dumps(each) for each in said), f"{what}: nobody names {file}"
    assert not (world.root / "executed").exists(), "a pickle was executed"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_folder_that_is_something_else_is_one_line(run, tmp_path, verb):
    for folder in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "file"):
        if folder.name == "empty":
            folder.mkdir()
        if folder.name == "file":
            folder.write_text("not a folder", encoding="utf-8")
        code, out, err = run(*verb, folder)
        assert (code, out) == (1, "")
        assert str(folder) in one_line(err)


@pytest.mark.parametrize("verb", VERBS[:2], ids=" ".join)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(run, world, tmp_path, verb):
    code, out, err = run(*verb, world.root, "--json", tmp_path)
    assert (code, out) == (1, "")
    assert "is a folder" in one_line(err)


def test_figures_and_import_refuse_a_file_for_a_folder(run, world, tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    for arguments in (("published", "figures", world.root, "--out"), ("import", world.root, "--store")):
        code, out, err = run(*arguments, tmp_path / "taken")
        assert (code, out) == (1, "")
        assert "is a file" in one_line(err)
