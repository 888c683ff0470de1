"""The published study in a store: every row a record, every vector with a passport, and the ordinary commands work."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from personascope.studies.trace_study import Study, run_study, study_of

import naive_statistics as naive
import published_world as world_of
from personascope.analysis.effects import effects
from personascope.analysis.frames import ANSWER, ARM
from personascope.cli import app, terminal
from personascope.core.errors import EngineError, PublishedError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Bar, Pair, Request, Response, Verdict
from personascope.core.traits import load_trait
from personascope.core.vectors import load_vector
from personascope.engines import rendering
from personascope.engines.scripted import ScriptedEngine, scripted_lineage
from personascope.interop.published import open_published
from personascope.judges.scripted import ScriptedJudge
from personascope.published.import_rows import UNSCORED
from personascope.published.import_vectors import filtered
from personascope.published.imported import Imported, answer_rows, imported_answers
from personascope.published.importing import import_published
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from personascope.studies.run import drawable, drawable_again, finished_studies
from personascope.tracing.extraction import Method, extraction, residual_norms
from published_damage import damage
from published_world import MODEL, REVISIONS, TARGETS, TRAITS, World, column, steered_file, write_csv
from scripted_world import TRAITS as SCRIPTED

DATABASE = "records.sqlite"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A published repository; its first baseline also holds the same row twice, and one file was never judged."""
    world = world_of.build(tmp_path_factory.mktemp("published"))
    file = world_of.baseline_file(TRAITS[1], REVISIONS[0])
    answers = world.answers[file]
    world_of.write_answers(world, file, column(TRAITS[1]), [*answers, answers[-1]])
    unjudged = steered_file(TRAITS[1], "main", REVISIONS[2])
    write_csv(world.path(unjudged), ["question", "prompt", "answer", "question_id"], [["Q", "Q", "unheard", "q_0"]])
    return world


@pytest.fixture(scope="module")
def store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store the world was imported into, whole."""
    store = Store(tmp_path_factory.mktemp("store"))
    import_published(open_published(world.root), store)
    return store


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows as a plain reader gives them. A lone carriage return is always quoted in these files."""
    with path.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def response_files(world: World) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for path in sorted((world.root / "data/model_responses").rglob("*.csv")):
        yield path.relative_to(world.root).as_posix(), read_csv(path)


def trait_columns(row: dict[str, str]) -> list[str]:
    return [name for name in row if name not in ("question", "prompt", "answer", "question_id", "coherence", "method")]


def everything(store: Store) -> list[tuple[Any, ...]]:
    return store._database.execute("SELECT * FROM records ORDER BY key").fetchall()


def by_place(store: Store, kind: str) -> dict[tuple[Any, ...], Row]:
    """The records of a kind by file, row and column (responses: None)."""
    found: dict[tuple[Any, ...], Row] = {}
    for key, each, value, by in everything(store):
        if each == kind:
            said = json.loads(by)
            place = (said["file"], said["row"], said.get("column"))
            assert place not in found, f"{place} has two records"
            found[place] = {"key": key, "value": json.loads(value), "by": said}
    return found


def emergence(store: Store, *, target: str = "") -> Imported:
    return next(
        each
        for each in finished_studies(store)
        if isinstance(each, Imported) and each.study.target == target and each.study.model == MODEL
    )


# Rows.


def test_every_published_row_is_a_response_with_its_own_text_prompt_and_place(world: World, store: Store) -> None:
    responses = by_place(store, "response")
    expected = 0
    for file, rows in response_files(world):
        asked: Counter[str] = Counter()
        for number, row in enumerate(rows, start=1):
            expected += 1
            record = responses[file, number, None]
            assert record["value"]["text"] == row.get("answer"), f"{file}:{number} was not taken as it was written"
            assert record["value"]["tokens"] is None, "nobody published tokens"
            assert record["by"]["request"] == {
                "text": row.get("prompt"),
                "sampling": None,
                "draw": asked[row["question_id"]],
            }
            assert record["by"]["question_id"] == row["question_id"]
            asked[row["question_id"]] += 1
    assert len(responses) == expected
    texts = {record["value"]["text"] for record in responses.values()}
    assert set(world_of.AWKWARD) <= texts, "NA, empty answers, line breaks and lone carriage returns are answers"


def test_every_score_is_a_verdict_and_an_empty_one_says_what_is_not_known(world: World, store: Store) -> None:
    verdicts = by_place(store, "verdict")
    expected = 0
    for file, rows in response_files(world):
        for number, row in enumerate(rows, start=1):
            for name in [*trait_columns(row), *(["coherence"] if "coherence" in row else [])]:
                expected += 1
                value = verdicts[file, number, name]["value"]
                if row[name]:
                    assert (value["outcome"], value["score"]) == ("scored", float(row[name]))
                else:
                    assert (value["outcome"], value["score"], value["reason"]) == ("unreadable", None, UNSCORED)
                assert value["distribution"] == [], "no distribution was published, and none is made up"
    assert len(verdicts) == expected
    judges = {record["by"]["judge"] for record in verdicts.values()}
    assert judges == {"as published"}, "the tables name no judge"


def test_the_same_row_twice_is_two_records(world: World, store: Store) -> None:
    file = world_of.baseline_file(TRAITS[1], REVISIONS[0])
    count = len(read_csv(world.path(file)))
    responses = by_place(store, "response")
    last, one = responses[file, count, None], responses[file, count - 1, None]
    assert last["key"] != one["key"]
    assert last["value"] == one["value"]


def test_a_verdict_names_its_response_and_the_rubric_of_its_trait_file(world: World, store: Store) -> None:
    verdicts = by_place(store, "verdict")
    file = steered_file(TRAITS[0], REVISIONS[1], REVISIONS[1])
    of_trait, of_coherence = verdicts[file, 1, column(TRAITS[0])], verdicts[file, 1, "coherence"]
    rubric = store.provenance(of_trait["by"]["rubric"])
    trait_file = world.path(f"data/trait_data_eval/{column(TRAITS[0])}.json")
    assert rubric["value"]["text"] == json.loads(trait_file.read_text())["eval_prompt"]
    assert "rubric" not in of_coherence["by"], "the coherence prompt is not among the published data"
    for record in (of_trait, of_coherence):
        behind = store.provenance(record["by"]["response"])["by"]
        assert (behind["file"], behind["row"]) == (file, 1)


def test_an_answer_nobody_judged_is_a_response_without_a_verdict(store: Store) -> None:
    (answer,) = imported_answers(store, steered_file(TRAITS[1], "main", REVISIONS[2]))
    assert answer.response.text == "unheard"
    assert (answer.trait.outcome, answer.coherence.outcome) == ("unasked", "unasked")


def test_a_second_import_adds_nothing_and_a_killed_one_goes_on(world: World, store: Store, tmp_path: Path) -> None:
    before = everything(store)
    again = import_published(open_published(world.root), store)
    assert again.new_records == 0
    assert everything(store) == before
    assert len(finished_studies(store)) == len(again.studies), "the same curves twice are one study"

    class Killed(BaseException):
        """Stands for the end of the process: no handler of ours knows it."""

    told = []

    def notice(kind: str, count: int, fresh: bool) -> None:
        told.append(fresh)
        if len(told) == 21:
            raise Killed

    other = Store(tmp_path / "killed")
    with pytest.raises(Killed):
        import_published(open_published(world.root), other, notice=notice)
    assert 0 < len(everything(other)) < len(before)
    assert finished_studies(other) == [], "curves are kept when all that they need is there"
    rest = import_published(open_published(world.root), other)
    assert 0 < rest.new_records < len(before), "what was there was imported again, or what was missing was not"
    assert everything(other) == before, "a killed import and its end give what one import gives"
    assert [each.study.name for each in finished_studies(other)] == [
        each.study.name for each in finished_studies(store)
    ]


def test_another_version_of_a_file_overwrites_none(world: World, tmp_path: Path) -> None:
    root = tmp_path / "published"
    shutil.copytree(world.root, root)
    store = Store(tmp_path / "store")
    import_published(open_published(root), store)
    file = steered_file(TRAITS[0], REVISIONS[1], REVISIONS[1])
    path = root / file
    path.write_text(path.read_text().replace("plain.", "changed."))
    summary = import_published(open_published(root), store)
    assert summary.new_records == 3 * len(world.answers[file]) + 1, "a response, two verdicts, and the file itself"
    with pytest.raises(PublishedError, match="holds 2 versions"):
        imported_answers(store, file)


def test_damaged_files_are_named_and_the_rest_is_imported(tmp_path: Path) -> None:
    """One file of every kind is broken at once."""
    world = world_of.build(tmp_path / "published")
    kinds = ("cut inside quotes", "empty file", "code in a vector", "damaged status", "norms without a column",
             "damaged trait", "results without output_path")  # fmt: skip
    files = [damage(world, what) for what in kinds]
    assert len(set(files)) == len(kinds)
    store = Store(tmp_path / "store")
    summary = import_published(open_published(world.root), store)
    named = {each.file for each in summary.problems}
    assert set(files) <= named, f"nobody is told of {set(files) - named}"
    assert not world.path("executed").exists(), "a file was executed"
    answers = {path.relative_to(world.root).as_posix() for path in world.root.glob("data/model_responses/**/*.csv")}
    imported = {each["by"]["file"] for each in store.files()}
    assert imported == answers - set(files)
    assert summary.vectors == 2 * len(REVISIONS) - 2, "one vector is none, and one was never extracted"
    assert f"{MODEL}-onto-instruct" in summary.studies
    norms = load_vector(store.path / "vectors" / MODEL / "main" / f"{column(TRAITS[1])}.safetensors").residual_norms
    assert np.isnan(norms).all(), "what was not measured, as far as anybody can read, is not known"


# Vectors.


def test_a_vector_is_the_published_tensor_with_what_is_known_of_it(world: World, store: Store) -> None:
    import torch

    for trait in TRAITS:
        for revision in REVISIONS:
            file = world_of.vector_file(trait, revision)
            path = store.path / "vectors" / MODEL / revision / f"{column(trait)}.safetensors"
            assert path.exists() == world.path(file).exists()
            if not path.exists():
                continue
            vector = load_vector(path)
            published = torch.load(world.path(file), weights_only=True).numpy()
            np.testing.assert_array_equal(vector.directions, published)
            assert (vector.trait, vector.form, vector.span) == (trait, "character", "response")
            assert vector.checkpoint == Checkpoint(f"swiss-ai/{MODEL}", revision), (
                "the repository of the bundled lineage"
            )
            assert vector.residual_norms[2] == pytest.approx(world_of.norm_of(revision))
            assert vector.judge == "as published"
            responses, kept = by_file(store, trait, revision), naive_pairs(world, trait, revision)
            assert vector.counts.asked == world_of.QUESTIONS * 2 * 2
            assert vector.counts.kept == len(kept)
            assert list(vector.sources) == [responses[pole][row] for row in kept for pole in ("pos", "neg")], (
                f"the sources of {file} are the answers that cleared the bar, in their order"
            )


def test_norms_that_lack_a_layer_and_a_threshold_that_is_none_are_not_taken(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    norms = copy / f"results/{MODEL}/activation_norms/main_shared_norms.csv"
    norms.write_text("".join(norms.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    file = world_of.vector_file(TRAITS[0], REVISIONS[1]).replace(".pt", ".status.json")
    (copy / file).write_text(json.dumps({"status": "complete", "threshold": 500}), encoding="utf-8")
    store = Store(tmp_path / "store")
    summary = import_published(open_published(copy), store)
    last = load_vector(store.path / "vectors" / MODEL / "main" / f"{column(TRAITS[0])}.safetensors")
    assert np.isnan(last.residual_norms).all(), "norms of other layers would pass for these"
    assert [problem.file for problem in summary.problems] == [file]


def by_file(store: Store, trait: str, revision: str) -> dict[str, dict[int, str]]:
    """The keys of the extraction responses by pole and row."""
    found = by_place(store, "response")
    files = {pole: extraction_file(trait, revision, pole) for pole in ("pos", "neg")}
    return {
        pole: {row: each["key"] for (place, row, _), each in found.items() if place == file}
        for pole, file in files.items()
    }


def extraction_file(trait: str, revision: str, pole: str) -> str:
    return f"data/model_responses/extract/{MODEL}/{revision}/{column(trait)}_{pole}_instruct.csv"


def naive_pairs(world: World, trait: str, revision: str) -> list[int]:
    """The rows, from 1, whose pair clears the published bar."""
    high, low = (read_csv(world.path(extraction_file(trait, revision, pole))) for pole in ("pos", "neg"))
    name = column(trait)
    kept = []
    for number, (up, down) in enumerate(zip(high, low, strict=True), start=1):
        scores = [up[name], down[name], up["coherence"], down["coherence"]]
        if all(scores):
            strong, weak, *coherent = map(float, scores)
            if strong >= 50 and weak < 50 and min(coherent) >= 50:
                kept.append(number)
    return kept


def test_the_filter_gives_the_reasons_that_our_bar_gives() -> None:
    """Over random scores with ties at the bar and holes: the published rule and ours are one rule."""
    chance = np.random.default_rng(5)
    options = [np.nan, 0.0, 49.999, 50.0, 50.001, 100.0]
    frames = [
        pd.DataFrame({"score": chance.choice(options, 400), "coherence": chance.choice(options, 400)}) for _ in range(2)
    ]
    faults: Counter[str] = Counter()
    kept = []
    for place, (up, down) in enumerate(zip(*(frame.itertuples() for frame in frames), strict=True), start=1):
        fault = Bar().fault(Pair(heard(up.score, up.coherence), heard(down.score, down.coherence)))
        faults[fault] += 1
        kept += [] if fault else [place]
    pairs = filtered(*frames)
    assert list(pairs.rows) == kept
    assert pairs.counts.kept == faults.pop("")
    assert {name: getattr(pairs.counts, name) for name in faults} == dict(faults)
    assert filtered(frames[0][:0], frames[1]).counts.asked == 0, "no row, no pair"


def heard(score: float, coherence: float) -> Any:
    from personascope.core.records import Answer

    def verdict(points: float) -> Verdict:
        return Verdict("unreadable" if math.isnan(points) else "scored", points)

    response = Response(Request("Q", None), None, None, "words", "unknown")
    return Answer("Q", 0, response, verdict(score), verdict(coherence))


def test_an_answer_without_words_is_empty_and_one_that_was_not_published_is_not() -> None:
    high, low = heard(90.0, 90.0), heard(10.0, 90.0)
    silent = replace(high, response=replace(high.response, text=""))
    unseen = replace(high, response=replace(high.response, text=None))
    assert Bar().fault(Pair(high, low)) == ""
    assert Bar().fault(Pair(silent, low)) == "empty", "nothing was said, so there is nothing to read"
    assert Bar().fault(Pair(unseen, low)) == "", "it was judged: what it said is not known"
    with pytest.raises(EngineError, match="only its text is known"):
        _ = high.response.length


def test_a_recorded_count_that_the_answers_do_not_give_leaves_the_sources_open(world: World, tmp_path: Path) -> None:
    """The answers were published again, with other rows than those the vector was made from."""
    root = tmp_path / "published"
    shutil.copytree(world.root, root)
    status = root / world_of.vector_file(TRAITS[0], REVISIONS[2]).replace(".pt", ".status.json")
    said = json.loads(status.read_text()) | {"effective_rows": 7, "pos_rows": 20, "neg_rows": 20}
    status.write_text(json.dumps(said))
    store = Store(tmp_path / "store")
    summary = import_published(open_published(root), store)
    vector = load_vector(store.path / "vectors" / MODEL / REVISIONS[2] / f"{column(TRAITS[0])}.safetensors")
    assert (vector.counts.asked, vector.counts.kept, vector.sources) == (20, 7, ())
    assert any("was made from 7 pairs" in note and REVISIONS[2] in note for note in summary.notes)


# Curves.


def test_effects_are_those_of_the_files_each_answer_once(world: World, store: Store) -> None:
    frame = effects(answer_rows(store, emergence(store)))
    assert list(answer_rows(store, emergence(store)).columns) == ARM + ANSWER
    for trait in TRAITS:
        mine = frame[(frame["trait"] == trait) & frame["chosen"]].set_index("milestone")
        for revision in REVISIONS:
            if revision not in world_of.grid_revisions(trait):
                assert mine.loc[revision, "absence"] == "no vector"
                assert mine.loc[revision, "pairs_asked"] == 32, "the answers say how many were asked for"
                continue
            plain = world.answers[world_of.baseline_file(trait, revision)]
            steered = world.answers[steered_file(trait, revision, revision)]
            if trait == TRAITS[0] and revision == REVISIONS[2]:
                steered = (
                    steered + world.answers[steered_file(trait, revision, revision).replace(".csv", "_extended.csv")]
                )
            expected = naive.compared(*([(a[0], a[3], a[4]) for a in side] for side in (plain, steered)))
            assert mine.loc[revision, "effect"] == pytest.approx(expected["paired_trait_mean_diff"], abs=1e-12)
            assert mine.loc[revision, "p_two_sided"] == pytest.approx(
                expected["trait_sign_flip_p_two_sided"], abs=1e-15
            )
            assert mine.loc[revision, "residual_norm"] == world_of.norm_of(revision)
            strength = 0.2 if trait == TRAITS[0] else 0.3
            assert mine.loc[revision, "applied_norm"] == pytest.approx(strength * world_of.norm_of(revision))
            assert mine.loc[revision, "tokens_seen"] > 1e11


def test_the_answers_of_an_arm_are_counted_once_whatever_a_row_counted(world: World, store: Store) -> None:
    rows = answer_rows(store, emergence(store))
    mine = rows[(rows["trait"] == TRAITS[0]) & (rows["milestone"] == REVISIONS[2]) & (rows["pole"] == "steered")]
    assert mine["response_key"].is_unique
    assert len(mine) == world_of.QUESTIONS * (3 + 7), "the row counted the extension twice; the arm holds it once"
    assert mine["verdict_key"].map(store.provenance).map(lambda each: each["kind"]).eq("verdict").all()


def test_a_transfer_is_a_study_of_its_own_and_a_vector_on_its_own_checkpoint_is_none(
    world: World, store: Store
) -> None:
    names = {each.study.target for each in finished_studies(store) if isinstance(each, Imported)}
    assert names == {"", "main", "instruct", TARGETS[1]}, (
        "a target is called as its lineage calls it, else by its folder"
    )
    frame = effects(answer_rows(store, emergence(store, target=TARGETS[1])))
    assert (frame["evaluated_as"] == "assistant").all()
    for revision in REVISIONS:
        plain, steered = (world.answers[file] for file in world_of.transfer_files(TARGETS[1], revision))
        expected = naive.compared(*([(a[0], a[3], a[4]) for a in side] for side in (plain, steered)))
        row = frame[frame["milestone"] == revision].iloc[0]
        assert row["effect"] == pytest.approx(expected["paired_trait_mean_diff"], abs=1e-12)
        assert (row["residual_norm"], row["unit"], row["target"]) == (9.5, "residual", TARGETS[1])
    onto_main = effects(answer_rows(store, emergence(store, target="main")))
    assert "main" not in set(onto_main["milestone"]), "main on main is a point of the emergence curve"
    missing = onto_main[onto_main["trait"] == TRAITS[1]]
    assert set(missing["absence"]) == {"no scores", "no vector"}
    assert missing["reason"].str.contains(steered_file(TRAITS[1], "main", REVISIONS[1])).any(), "the file is named"


def test_what_was_written_over_is_noted_and_another_traits_baseline_is_never_compared(
    world: World, tmp_path: Path
) -> None:
    root = tmp_path / "published"
    shutil.copytree(world.root, root)
    shared = root / world_of.baseline_file(TRAITS[1], REVISIONS[1])
    shutil.copy(root / world_of.baseline_file(TRAITS[0], REVISIONS[1]), shared)
    store = Store(tmp_path / "store")
    summary = import_published(open_published(root), store)
    overwritten = [world_of.baseline_file(TRAITS[1], "main"), steered_file(TRAITS[1], REVISIONS[2], REVISIONS[2])]
    for file in overwritten:
        assert any(file in note and "written over" in note for note in summary.notes)
    frame = effects(answer_rows(store, emergence(store)))
    (row,) = frame[(frame["trait"] == TRAITS[1]) & (frame["milestone"] == REVISIONS[1])].to_dict("records")
    assert row["absence"] == "no scores"
    assert f"holds the scores of {column(TRAITS[0])}" in row["reason"]


def test_only_what_is_named_is_imported(world: World, tmp_path: Path) -> None:
    store = Store(tmp_path)
    summary = import_published(open_published(world.root), store, models=[MODEL], traits=[TRAITS[1]])
    columns = {each["value"]["column"] for each in store.files()}
    assert columns == {column(TRAITS[1])}
    assert set(summary.studies) == {f"{MODEL}-emergence", f"{MODEL}-onto-main"}
    assert summary.vectors == len(REVISIONS) - 1


# Everything else goes on working.


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, *capsys.readouterr()

    return run


def test_the_ordinary_commands_work_on_the_store_alone(world: World, tmp_path: Path, run: Any) -> None:
    root = tmp_path / "published"
    shutil.copytree(world.root, root)
    store = Store(tmp_path / "store")
    import_published(open_published(root), store)
    shutil.rmtree(root)
    code, said, message = run("show", store.path, "--json")
    assert code == 0, message
    assert {f"{MODEL}-emergence", f"{MODEL}-onto-instruct"} <= set(json.loads(said)["studies"])
    verdict = by_place(store, "verdict")[steered_file(TRAITS[0], REVISIONS[1], REVISIONS[1]), 3, column(TRAITS[0])]
    code, said, message = run("show", store.path, "--key", verdict["key"])
    assert code == 0, message
    shown = json.loads(said)
    assert (shown["by"]["file"], shown["by"]["row"]) == (steered_file(TRAITS[0], REVISIONS[1], REVISIONS[1]), 3)
    assert {each["kind"] for each in shown["behind"]} == {"response", "rubric"}
    code, _, message = run("figures", store.path, "--out", tmp_path / "out")
    assert code == 0, message
    folder = tmp_path / "out" / f"{MODEL}-emergence"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"effects.csv", "answers.csv", "emergence.tex", "emergence.png", "emergence.pdf"} <= made
    assert {f"vectors/{TRAITS[0]}.{revision}.safetensors" for revision in REVISIONS} <= made
    assert not (tmp_path / "out" / f"{MODEL}-onto-main" / "vectors").exists(), "they are the same vectors"
    again = pd.read_csv(folder / "effects.csv", keep_default_na=False)
    assert len(again[again["absence"] == ""]) >= 9


def test_a_study_of_ours_on_the_same_store_is_what_it_is_alone(world: World, tmp_path: Path) -> None:
    def ours(store: Store) -> str:
        lineage, open_one = scripted_lineage(SCRIPTED, (0.2, 1.0))
        study = small_study()
        result = run_study(
            study,
            lineage,
            [(each, each) for each in SCRIPTED],
            open_engine=lambda checkpoint: RememberingEngine(open_one(checkpoint), store),
            judge=RememberingJudge(ScriptedJudge(SCRIPTED), store),
        )
        return effects(drawable(result).answers).to_csv()

    alone, both = Store(tmp_path / "alone"), Store(tmp_path / "both")
    import_published(open_published(world.root), both)
    count = len(everything(both))
    assert ours(both) == ours(alone)
    assert len(everything(both)) == count + len(everything(alone)), "records of the two do not meet"
    for kept in finished_studies(both):
        assert len(drawable_again(both, kept).answers), "the imported curves are drawn as before"


def small_study() -> Study:
    way = {"layer": 2, "strength": 1.0, "unit": "vector"}
    sampling = {"max_tokens": 8, "draws": 1}
    table = {
        "kind": "trace",
        "name": "ours",
        "lineage": "scripted",
        "judge": "lab",
        "traits": [{"trait": each.name, "points": [{"steering": way}]} for each in SCRIPTED],
        "extraction": sampling,
        "evaluation": sampling,
    }
    return study_of(table, source="test")


def test_an_engine_reads_imported_answers_and_a_bar_judges_them(world: World, store: Store) -> None:
    """A vector can be extracted again from published answers, by an engine of their checkpoint."""
    engine = ScriptedEngine(Checkpoint("scripted", "step-1"), SCRIPTED)
    remembering = RememberingEngine(engine, store)
    trait = load_trait("evil", form="character")
    poles = [imported_answers(store, extraction_file(TRAITS[0], REVISIONS[2], pole)) for pole in ("pos", "neg")]
    found = extraction(remembering, trait, *poles, Method(), judge="as published")
    kept = naive_pairs(world, TRAITS[0], REVISIONS[2])
    assert found.vector.counts.kept == len(kept)
    assert (
        found.vector.sources
        == load_vector(store.path / "vectors" / MODEL / REVISIONS[2] / f"{column(TRAITS[0])}.safetensors").sources
    ), "the answers that made the published vector"
    bare = [each.response for each in poles[0]]
    with_tokens = remembering.read(engine.encode(bare))
    loads = engine.loads
    engine.close()
    np.testing.assert_array_equal(remembering.read(bare).response, with_tokens.response)
    assert engine.loads == loads, "what was read is tokens: the same tokens are not read twice"
    plain = [each.response for each in imported_answers(store, world_of.baseline_file(TRAITS[0], REVISIONS[0]))]
    said = [each for each in plain if each.text]
    assert len(said) < len(plain), "one of these answers is empty"
    np.testing.assert_array_equal(residual_norms(engine, plain), residual_norms(engine, said))


def test_an_answer_whose_words_were_not_published_is_refused_by_file_and_row(store: Store) -> None:
    file = extraction_file(TRAITS[0], REVISIONS[1], "pos")
    poles = [imported_answers(store, extraction_file(TRAITS[0], REVISIONS[1], pole)) for pole in ("pos", "neg")]
    assert all(each.response.text is None for each in poles[0])
    assert not poles[0][0].response.empty, "it was judged: it is unseen, not empty"
    engine = ScriptedEngine(Checkpoint("scripted", "step-1"), SCRIPTED)
    with pytest.raises(EngineError, match=rf"{file}:\d+ was asked for, which was not published"):
        extraction(engine, load_trait("evil", form="character"), *poles, Method())
    with pytest.raises(PublishedError, match="holds none of it"):
        imported_answers(store, "data/model_responses/eval/none.csv")


def test_prompt_and_answer_are_encoded_apart_where_a_tokenizer_would_merge_them() -> None:
    import transformers
    from tokenizers import Tokenizer, models

    vocabulary = {symbol: index for index, symbol in enumerate(["x", "a", "b", "ab", "<bos>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert fast("xabx")["input_ids"] == [0, 3, 0], "together, a and b are one token across the boundary"
    prompt, answer = rendering.encode(fast, ["xa"])["xa"], rendering.encode_answers(fast, ["bx", ""])
    assert (prompt, answer) == ((0, 1), {"bx": (2, 0), "": ()})
    response = Response(Request("xa", None), None, None, "bx", "unknown").as_spoken(prompt, answer["bx"])
    assert response.spoken == ((0, 1, 2, 0), 2), "the boundary is the count of the prompt's own tokens"
