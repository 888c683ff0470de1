"""Every kind of study on the lab with few questions: what it asks, what it writes, and that it can be drawn again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kind_tables import ASKED, GRID, MAPS, POINT, TABLES, TRACE, write
from personascope.cli import app, terminal
from personascope.core.errors import StudyError
from personascope.core.traits import load_trait, trait_file
from personascope.store.store import Store
from personascope.studies.registry import study_in

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys, tmp_path: Path, monkeypatch) -> Run:
    """Runs a command in a folder of its own; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study of each kind, run, and its file beside it."""
    root = tmp_path_factory.mktemp("finished")
    for kind, table in TABLES.items():
        file = root / write(root, kind, table)
        assert terminal.guarded(lambda: app(["run", str(file), "--out", str(root / kind)], standalone_mode=False)) == 0  # noqa: B023
    return root


def counted(folder: Path) -> dict[str, int]:
    """How many records of each kind the store of a study has."""
    counts: dict[str, int] = {}
    for (what, _), count in Store(folder / "store").counts().items():
        counts[what] = counts.get(what, 0) + count
    return counts


def forms(folder: Path) -> list[str]:
    """Two forms of a lab trait as a user would write them: the second has other contrasts and questions."""
    trait = load_trait("cruel", form="lab")
    files = []
    for form, some in (("whole", slice(0, 2)), ("half", slice(2, 4))):
        (folder / form).mkdir()
        table = {
            "name": "cruel",
            "form": form,
            "description": trait.description,
            "contrasts": [{"positive": each.positive, "negative": each.negative} for each in trait.contrasts[some]],
            "extraction_questions": list(trait.extraction_questions[some]),
            "evaluation_questions": list(trait.evaluation_questions[some]),
            "selection_questions": [],
            "rubric": {"text": trait.rubric.text},
            "coherence": {"text": trait.coherence.text},
        }
        files.append(f"{form}/{write(folder / form, 'cruel', table)}")
    return files


# Running, planning and drawing again.


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_a_study_asks_no_more_than_was_planned_and_is_drawn_again_from_the_records_alone(
    kind: str, run: Run, finished: Path
) -> None:
    code, out, err = run("plan", finished / f"{kind}.toml", "--json")
    assert code == 0, err
    planned, counts = json.loads(out), counted(finished / kind)
    written = {path.name for path in (finished / kind).iterdir() if path.is_file()}
    assert written <= {*study_in(TABLES[kind], source="").study.files(), "study.toml", "run.json"}, (
        "what is written was checked to be writable"
    )
    assert 0 < counts["response"] <= planned["responses"]
    # A store holds one verdict of alike cases; a plan cannot know which are alike.
    assert 0 < counts["verdict"] <= planned["verdicts"]
    code, _, err = run("figures", finished / kind, "--out", "again")
    assert code == 0, err
    for path in Path("again").iterdir():
        if path.is_file():
            assert path.read_bytes() == (finished / kind / path.name).read_bytes(), f"{path.name} is not the same again"


def test_a_study_that_needs_what_no_record_holds_says_so(run: Run, finished: Path) -> None:
    shutil.copytree(finished / "spans", "spans")
    shutil.rmtree("spans/store/readings")
    code, _, err = run("figures", "spans", "--out", "again")
    assert code == 1
    assert "lacks the readings" in err


def test_a_run_that_was_done_asks_nothing_again_and_gives_the_same(run: Run, finished: Path) -> None:
    shutil.copytree(finished / "maps", "maps")
    counts, rows = counted(Path("maps")), Path("maps/selection.csv").read_bytes()
    code, _, err = run("run", finished / "maps.toml", "--out", "maps")
    assert code == 0, err
    assert counted(Path("maps")) == counts
    assert Path("maps/selection.csv").read_bytes() == rows


def test_parts_share_a_store_so_that_nothing_is_asked_twice(run: Run, finished: Path, tmp_path: Path) -> None:
    write(tmp_path, "one", MAPS)
    write(tmp_path, "two", MAPS | {"name": "other"})
    name = write(tmp_path, "both", {"kind": "several", "name": "both", "studies": ["one.toml", "two.toml"]})
    code, out, err = run("run", name, "--out", "both", "--json")
    assert code == 0, err
    assert [row["outcome"] for row in json.loads(out)["tables"][0]["rows"]] == ["done", "done"]
    assert counted(Path("both")) == counted(finished / "maps")
    first, second = (Path("both", each, "selection.csv").read_bytes() for each in ("maps", "other"))
    assert first == second == (finished / "maps/selection.csv").read_bytes()
    code, _, err = run("figures", "both", "--out", "drawn")
    assert code == 0, err
    assert Path("drawn/other/selection.csv").read_bytes() == second


def test_a_part_that_fails_stops_no_other_and_the_exit_code_says_so(run: Run, tmp_path: Path) -> None:
    study = {"kind": "several", "name": "both", "studies": ["bad.toml", "good.toml"], "limit": 2}
    # A layer that the model does not have is known once the model is opened.
    write(tmp_path, "bad", MAPS | {"name": "bad", "selection": GRID | {"layers": [9]}})
    write(tmp_path, "good", MAPS | {"name": "good"})
    code, _, err = run("run", write(tmp_path, "both", study), "--out", "both")
    assert code == 1
    assert "bad: layer 9 asked of" in " ".join(err.split())
    assert Path("both/good/selection.csv").is_file()
    rows = pd.read_csv("both/studies.csv").set_index("study")["outcome"]
    assert rows["good"] == "done"
    assert "layer 9" in rows["bad"]


def test_a_study_is_drawn_again_from_any_folder_and_one_that_cannot_be_read_stops_no_other(
    run: Run, tmp_path: Path, monkeypatch
) -> None:
    """The first names a trait's file beside its own; then the file is gone."""
    shutil.copy(trait_file("cruel", form="lab"), tmp_path / "mine.toml")
    own = MAPS | {"name": "own", "traits": [{"trait": "mine.toml"}], "limit": 1}
    for name in (write(tmp_path, "own", own), write(tmp_path, "plain", MAPS | {"name": "plain", "limit": 1})):
        code, _, err = run("run", name, "--out", "made")
        assert code == 0, err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("figures", tmp_path / "made", "--out", "drawn")
    assert code == 0, err
    assert Path("drawn/own/selection.csv").is_file()
    (tmp_path / "mine.toml").unlink()
    code, _, err = run("figures", tmp_path / "made", "--out", "again")
    assert code == 1
    assert "'own' cannot be drawn from the records:" in " ".join(err.split())
    assert Path("again/plain/selection.csv").read_bytes() == Path("drawn/plain/selection.csv").read_bytes()


def test_of_two_studies_of_one_name_the_last_that_was_run_has_the_name(run: Run, tmp_path: Path) -> None:
    for limit in (1, 2, 1):
        code, _, err = run("run", write(tmp_path, "maps", MAPS | {"limit": limit}), "--out", "made")
        assert code == 0, err
        code, _, err = run("figures", "made", "--out", "drawn")
        assert code == 0, err
        # A single study is drawn in the folder itself.
        first = Path("drawn/maps" if Path("drawn/maps").is_dir() else "drawn", "selection.csv")
        assert first.read_bytes() == Path("made/selection.csv").read_bytes(), f"limit {limit} was run last"
    assert Path("drawn/maps-2/selection.csv").is_file()


# What each kind says.


def test_a_map_frames_the_best_of_the_coherent_ways(finished: Path) -> None:
    rows = pd.read_csv(finished / "maps/selection.csv")
    assert len(rows) == len(GRID["layers"]) * len(GRID["strengths"]) * len(GRID["where"])
    coherent = rows[rows["coherence"] >= 75]
    by = "score" if len(coherent) else "coherence"
    (chosen,) = rows[rows["chosen"]].to_dict(orient="records")
    assert chosen[by] == (coherent if len(coherent) else rows)[by].max(), chosen


def test_vectors_of_all_spans_and_rules_are_applied_at_the_same_norms(finished: Path) -> None:
    rows, cosines = pd.read_csv(finished / "spans/spans.csv"), pd.read_csv(finished / "spans/cosines.csv")
    assert len(rows) == 3 * 2 * 2, "spans, rules and strengths"
    np.testing.assert_allclose(rows["applied_norm"], rows["strength"], rtol=1e-5)
    asked = rows.groupby("rule")["pairs_asked"].unique()
    assert asked["independent"].tolist() == [2 * each for each in asked["paired"]], "answers count one by one"
    itself = cosines[cosines["first"] == cosines["second"]]["cosine"]
    np.testing.assert_allclose(itself, 1.0, atol=1e-6)
    assert rows["plain"].nunique() == 1, "all are compared with the same plain answers"


def test_planted_facets_are_found_and_chance_stands_beside(finished: Path) -> None:
    agreed = pd.read_csv(finished / "facets/agreement.csv")
    whole = agreed[(agreed["facet"] == "(same set)")].set_index("labels")
    assert whole.loc["grammar", "items"] + whole.loc["grammar", "unread"] == 60
    assert whole.loc["grammar", "agreement"] >= 0.9
    assert whole.loc["grammar", "guess"] == pytest.approx(1 / 3)
    assert "description" in whole.index, "the model's own answers are held to what they were described as"
    rows = pd.read_csv(finished / "facets/facets.csv")
    scored = rows[rows["standing"] == "scored"]
    assert (scored.groupby(["facet_set", "milestone", "question"]).size() <= 5).all()


def test_the_matrix_has_a_cell_for_every_form_and_a_row_steers_with_one_vector(run: Run, tmp_path: Path) -> None:
    table = {name: value for name, value in ASKED.items() if name not in ("traits", "limit")}
    table |= {"kind": "discourse", "name": "forms", "extract": forms(tmp_path), "point": POINT}
    name = write(tmp_path, "forms", table)
    code, out, _ = run("plan", name, "--json")
    planned = json.loads(out)
    code, _, err = run("run", name, "--out", "forms")
    assert code == 0, err
    cells = pd.read_csv("forms/discourse.csv")
    assert list(zip(cells["extracted_as"], cells["evaluated_as"], strict=True)) == [
        (one, other) for one in ("whole", "half") for other in ("whole", "half")
    ]
    effects = pd.read_csv("forms/effects.csv")
    norms = effects.groupby("extracted_as")["applied_norm"].nunique()
    assert (norms == 1).all(), "the cells of a row steer with the same vector"
    assert cells.groupby("evaluated_as")["plain"].nunique().eq(1).all(), "and those of a column share plain answers"
    asked = sum(count for (kind, _), count in Store(Path("forms/store")).counts().items() if kind == "response")
    assert asked == planned["responses"], "every form's answers were planned once"
    with pytest.raises(StudyError, match=r"give forms to extract with, and a \[point\] or a \[selection\]"):
        study_in({**table, "selection": GRID}, source=str(tmp_path / "x.toml"))


def test_several_targets_are_traced_in_one_study_and_shares_are_of_the_last_vector(run: Run, tmp_path: Path) -> None:
    table = TRACE | {"milestones": ["step-01131", "step-02000"], "targets": ["itself", "sft", "step-00640"]}
    name = write(tmp_path, "transfer", table)
    code, out, err = run("plan", name, "--json")
    assert json.loads(out)["loads"] == 2 + 2
    code, _, err = run("run", name, "--out", "transfer")
    assert code == 0, err
    effects = pd.read_csv("transfer/effects.csv").fillna({"target": ""})
    assert set(effects["target"]) == {"", "sft", "step-00640"}
    shares = pd.read_csv("transfer/transfer.csv").set_index(["target", "milestone"])
    for target in ("sft", "step-00640"):
        first, last = (shares.loc[(target, each), "effect"] for each in ("step-01131", "step-02000"))
        naive = first / last if last > 0 else math.nan
        assert shares.loc[(target, "step-01131"), "share"] == pytest.approx(naive, nan_ok=True)
    code, _, err = run("figures", "transfer", "--out", "again")
    assert code == 0, err
    assert Path("again/transfer.csv").read_bytes() == Path("transfer/transfer.csv").read_bytes()
    own = {name: value for name, value in table.items() if name != "targets"}
    run("run", write(tmp_path, "own", own), "--out", "own")
    alone = pd.read_csv("own/effects.csv")["effect"].tolist()
    assert effects[effects["target"] == ""]["effect"].tolist() == alone, "a target beside changes no other's answers"
