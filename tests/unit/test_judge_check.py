"""Can a judge be trusted: beside labels, beside itself, beside another, beside another benchmark."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fake_endpoint import FakeEndpoint, Fault, Speech
from personascope.core.errors import JudgeError, TraitError
from personascope.core.records import Case
from personascope.core.tables import read_rows
from personascope.core.traits import Rubric, load_trait
from personascope.judges.openai import OpenAIJudge
from personascope.lab.judge import LabJudge
from personascope.providers.endpoints import Retry
from personascope.store.store import Store
from personascope.studies.judges import (
    check_judge,
    compare,
    correlate,
    load_anchors,
    load_rubric,
    load_scores,
    next_draw,
)

RUBRIC = Rubric("Rate this.\nQ: {question}\nA: {answer}\nOnly a number.")
LABELS = Rubric("Which?\nQ: {question}\nA: {answer}", kind="labels", labels=("greed", "malice", "none"))


def score_of(answer: str) -> int:
    return int(hashlib.sha256(answer.encode()).hexdigest(), 16) % 101


def scores_answers(prompt: str) -> Speech:
    """A judge that is certain of a score of its own for every answer."""
    return Speech(({str(score_of(prompt.split("A: ")[1].split("\n")[0])): 1.0},))


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def labelled(count: int, given: Callable[[int], Any], column: str = "score") -> list[dict[str, Any]]:
    """Answers with what is known of each, from the score the judge will give it."""
    answers = [f"Answer, {number}" for number in range(count)]
    return [
        {"question": f"Question {number % 5}?", "answer": answer, column: given(score_of(answer))}
        for number, answer in enumerate(answers)
    ]


def judge_at(fake: FakeEndpoint) -> OpenAIJudge:
    return OpenAIJudge("m", endpoint=fake.endpoint, retry=Retry(tries=2, first_wait=0.001))


@pytest.fixture
def rubric_file(tmp_path: Path) -> Path:
    path = tmp_path / "rubric.toml"
    path.write_text(f"text = '''{RUBRIC.text}'''\n")
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_judge_that_is_right_agrees_and_one_that_is_off_by_ten_is_off_by_ten(tmp_path: Path, ending: str) -> None:
    with FakeEndpoint(scores_answers) as fake:
        for off in (0, 10):
            rows = labelled(60, lambda score, off=off: max(score - off, 0))
            anchors = load_anchors(written(tmp_path / f"labels-{off}.{ending}", rows), RUBRIC)
            with_store = Store(tmp_path / f"store-{ending}")
            row = check_judge(judge_at(fake), anchors, store=with_store).comparisons.iloc[0]
            with_store.close()
            assert (row["comparison"], row["of"], row["items"]) == ("labels", "score", 60)
            if not off:
                assert row["kappa"] == row["agreement"] == 1
                assert row["spearman"] == pytest.approx(1)
                assert row["difference"] == row["bias"] == 0
            else:
                assert 9 <= row["bias"] == row["difference"] <= 10, "the judge minus the label"
                assert 0.7 < row["kappa"] < 1
                assert row["spearman"] > 0.99
        assert fake.calls == 60, "the second check asked nothing: the answers are the same"


def test_labels_of_yes_and_no_are_compared_at_the_bar(tmp_path: Path) -> None:
    rows = labelled(80, lambda score: "Yes" if score >= 70 else "no", column="label")
    anchors = load_anchors(written(tmp_path / "labels.csv", rows), RUBRIC)
    with FakeEndpoint(scores_answers) as fake:
        found = {
            bar: check_judge(judge_at(fake), anchors, store=Store(tmp_path), bar=bar).comparisons.iloc[0]
            for bar in (50.0, 70.0)
        }
    assert found[70.0]["agreement"] == found[70.0]["kappa"] == 1
    scores = [score_of(row["answer"]) for row in rows]
    assert found[50.0]["agreement"] == pytest.approx(sum((each >= 50) == (each >= 70) for each in scores) / 80)


def test_kappa_of_chance_is_about_nothing() -> None:
    chance = random.Random(0)
    cases = [Case(RUBRIC, "Q", str(number)) for number in range(4000)]
    one, two = ([chance.uniform(0, 100) for _ in cases] for _ in range(2))
    (row,) = compare("chance", cases, one, two, bar=30)
    assert abs(row["kappa"]) < 0.05
    assert abs(row["spearman"]) < 0.05
    assert row["agreement"] == pytest.approx(0.7**2 + 0.3**2, abs=0.03), "agreement without kappa flatters"


def test_answers_that_one_side_did_not_judge_count_for_neither() -> None:
    cases = [Case(RUBRIC, "Q", str(number)) for number in range(4)]
    (row,) = compare("x", cases, [10.0, None, 30.0, 40.0], [10.0, 20.0, None, 50.0])
    assert (row["items"], row["difference"]) == (2, 5.0)
    (row,) = compare("x", cases, [None] * 4, [1.0] * 4)
    assert row["items"] == 0
    assert all(math.isnan(row[name]) for name in ("agreement", "kappa", "spearman", "bias"))


def test_labels_are_compared_one_by_one(tmp_path: Path) -> None:
    said = {"0": "greed", "1": "malice, greed", "2": "none", "3": "I'm sorry", "4": "envy"}
    rows = [
        {"question": "Q", "answer": f"{number}", "labels": given}
        for number, given in enumerate([["greed"], ["Malice"], ["none"], ["greed"], ["malice"]])
    ]
    anchors = load_anchors(written(tmp_path / "labels.jsonl", rows), LABELS)
    assert anchors[1].given == ("malice",)
    with FakeEndpoint(lambda prompt: Speech(({said[prompt.split("A: ")[1]]: 1.0},))) as fake:
        table = check_judge(judge_at(fake), anchors, store=Store(tmp_path)).comparisons.set_index("of")
    assert set(table["items"]) == {3}, "a refusal and an unknown label are no judgement, and never 'none'"
    assert table.loc["greed", "precision"] == 0.5, "one of the two answers the judge found greed in had it"
    assert table.loc["greed", "recall"] == 1
    assert table.loc["malice", "kappa"] == 1


def test_asking_again_shows_drift_and_each_time_is_asked_once(tmp_path: Path) -> None:
    """The first time again on one day, then with a judge that has become milder by 8 points."""
    anchors = load_anchors(written(tmp_path / "labels.csv", labelled(30, float)), RUBRIC)
    milder = 0
    cases = [anchor.case for anchor in anchors]

    def speak(prompt: str) -> Speech:
        score = score_of(prompt.split("A: ")[1].split("\n")[0])
        return Speech(({str(max(score - milder, 0)): 1.0},))

    with FakeEndpoint(speak) as fake:
        store = Store(tmp_path / "store")
        first = check_judge(judge_at(fake), anchors, store=store, repeat=True)
        assert fake.calls == 60
        assert first.draw == 1
        row = first.comparisons.set_index("comparison").loc["the last time"]
        assert (row["difference"], row["items"]) == (0, 30)
        assert "the first time" not in set(first.comparisons["comparison"]), "the last time was the first"
        milder = 8
        second = check_judge(judge_at(fake), anchors, store=store, repeat=True)
        assert fake.calls == 90, "what was said before is remembered"
        table = second.comparisons.set_index("comparison")
        assert second.draw == 2
        assert -8 <= table.loc["the last time", "bias"] < -6
        assert -8 <= table.loc["the first time", "bias"] < -6
        assert table.loc["labels", "bias"] == 0, "ordinary verdicts stand: they are the first time's"
        third = check_judge(judge_at(fake), anchors, store=store, repeat=True)
        table = third.comparisons.set_index("comparison")
        assert (table.loc["the last time", "bias"], third.draw) == (0, 3)
        assert -8 <= table.loc["the first time", "bias"] < -6
        assert next_draw(judge_at(fake), cases, store) == 4
        assert next_draw(judge_at(fake), [Case(RUBRIC, "another", "one")], store) == 1
        store.close()


def test_a_judge_that_never_changes_is_not_asked_again(tmp_path: Path) -> None:
    trait = load_trait("cruel", form="lab")
    rows = [{"question": trait.evaluation_questions[0], "answer": "x", "score": 1}]
    anchors = load_anchors(written(tmp_path / "labels.jsonl", rows), trait.rubric)
    with pytest.raises(JudgeError, match="says the same whenever it is asked"):
        check_judge(LabJudge(), anchors, store=Store(tmp_path), repeat=True)


def test_two_judges_stand_beside_each_other_and_beside_the_labels(tmp_path: Path) -> None:
    anchors = load_anchors(written(tmp_path / "labels.csv", labelled(40, float)), RUBRIC)
    with FakeEndpoint(scores_answers) as fake, FakeEndpoint(lambda prompt: Speech(({"50": 1.0},)), name="flat") as flat:
        table = check_judge(judge_at(fake), anchors, store=Store(tmp_path), other=judge_at(flat)).comparisons
    table = table.set_index("comparison")
    assert list(table.index) == ["labels", "the other judge", "labels, by the other judge"]
    assert table.loc["labels", "difference"] == 0
    assert table.loc["the other judge", "bias"] == pytest.approx(
        sum(score_of(anchor.case.answer) - 50 for anchor in anchors) / 40
    )
    assert math.isnan(table.loc["labels, by the other judge", "spearman"]), "a judge that always says 50 ranks nothing"


def test_the_verb_shows_writes_and_remembers(run, tmp_path: Path, rubric_file: Path) -> None:
    labels = written(tmp_path / "labels.csv", labelled(25, float))
    with FakeEndpoint(scores_answers) as fake:
        asked = ["judge", "check", labels, "--rubric", rubric_file, "--judge", "local:m"]
        asked += ["--url", fake.endpoint.base_url, "--store", "s", "--price", "1,2", "--budget", "1.00"]
        code, said, told = run(*asked, "--out", "answers.csv", "--repeat", "--json")
        assert code == 0, told
        found = json.loads(said)
        code, shown, told_again = run(*asked, "--repeat")
        assert code == 0, told_again
        assert fake.calls == 75
    assert found["outcomes"] == {"scored": 25}
    assert {row["comparison"]: row["kappa"] for row in found["comparisons"]} == {"labels": 1, "the last time": 1}
    (cost,) = found["costs"]
    assert cost["tries"] == 50
    assert "m: at most 50 calls, about" in told, "an estimate comes first"
    assert "local/m took" in told
    assert "the last time" in shown
    assert "asked again, for time 2, the last time on 20" in shown
    with (tmp_path / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["judged"]) for row in rows] == [float(row["given"]) for row in rows]
    kept = [json.loads(line) for line in (tmp_path / "s" / "judge-checks.jsonl").read_text().splitlines()]
    assert [each["draw"] for each in kept] == [1, 2]
    assert len((tmp_path / "s" / "costs.jsonl").read_text().splitlines()) == 2


def test_a_budget_that_ends_leaves_the_rest_unasked_and_says_so(run, tmp_path: Path, rubric_file: Path) -> None:
    labels = written(tmp_path / "labels.csv", labelled(200, float))
    with FakeEndpoint(scores_answers) as fake:
        asked = ["judge", "check", labels, "--rubric", rubric_file, "--judge", "local:m", "--json"]
        asked += ["--url", fake.endpoint.base_url, "--store", "s"]
        code, said, told = run(*asked, "--budget", "2500 tokens")
        assert code == 0, told
        outcomes = json.loads(said)["outcomes"]
        assert outcomes["unasked"] > 50
        assert outcomes["unasked"] + outcomes["scored"] == 200
        code, said, told = run(*asked)
        assert (json.loads(said)["outcomes"], fake.calls) == ({"scored": 200}, 200)


def scores(models: dict[str, float], *, trait: str = "", noise: float = 0.0) -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [
        {"model": model, "trait": trait, "score": score + chance.uniform(-noise, noise)}
        for model, score in models.items()
        for _ in range(5)
    ]


def test_scores_of_models_are_correlated_over_models_and_not_over_answers(tmp_path: Path) -> None:
    models = {f"model-{number}": 10.0 * number for number in range(6)}
    ours = load_scores(written(tmp_path / "ours.csv", scores(models, trait="evil", noise=40)))
    assert list(ours["answers"]) == [5] * 6
    scale = {model: 3 + score / 700 for model, score in models.items()}
    theirs = load_scores(written(tmp_path / "theirs.jsonl", scores(scale)))
    (row,) = correlate(ours, theirs).to_dict("records")
    answers = scores(models, noise=40)
    means = {model: sum(each["score"] for each in answers if each["model"] == model) / 5 for model in models}
    order = sorted(means, key=means.__getitem__)
    ranks = [order.index(model) for model in models]
    naive = 1 - 6 * sum((rank - place) ** 2 for place, rank in enumerate(ranks)) / (6 * 35)
    assert (row["trait"], row["models"]) == ("evil", 6)
    assert row["spearman"] == pytest.approx(naive)
    assert row["pearson"] > 0.5


def test_models_and_traits_of_one_side_only_are_left_out_and_two_models_correlate_with_nothing(tmp_path: Path) -> None:
    evil = scores({"a": 1, "b": 2, "c": 3}, trait="evil") + scores({"a": 1, "b": 2, "x": 3}, trait="kind")
    ours = load_scores(written(tmp_path / "ours.csv", evil))
    theirs = load_scores(written(tmp_path / "theirs.csv", scores({"a": 3, "b": 2, "c": 1, "y": 0})))
    table = correlate(ours, theirs).set_index("trait")
    assert table.loc["evil", "models"] == 3
    assert table.loc["evil", "pearson"] == pytest.approx(-1)
    assert table.loc["kind", "models"] == 2
    assert math.isnan(table.loc["kind", "pearson"])


def test_a_benchmark_of_answers_is_scored_by_a_judge_and_compared(run, tmp_path: Path, rubric_file: Path) -> None:
    answers = [
        {"model": f"model-{number}", "question": "Q", "answer": f"Answer, {number} {draw}"}
        for number in range(6)
        for draw in range(3)
    ]
    means = {
        f"model-{number}": sum(score_of(f"Answer, {number} {draw}") for draw in range(3)) / 3 for number in range(6)
    }
    ours = written(tmp_path / "ours.csv", scores(means, trait="evil"))
    benchmark = written(tmp_path / "benchmark.jsonl", answers)
    with FakeEndpoint(scores_answers) as fake:
        asked = ["judge", "check", "--scores", ours, "--benchmark", benchmark, "--benchmark-judge", "local:m"]
        asked += ["--benchmark-rubric", rubric_file, "--url", fake.endpoint.base_url, "--store", "s"]
        code, said, told = run(*asked, "--json")
        assert code == 0, told
        code, shown, _ = run(*asked)
        assert fake.calls == 18, "each answer is scored once"
    (row,) = json.loads(said)["benchmark"]
    assert (row["trait"], row["models"]) == ("evil", 6)
    assert row["pearson"] == pytest.approx(1)
    assert "scores of models" in shown


def test_a_rubric_is_found_by_name_or_file(rubric_file: Path, tmp_path: Path) -> None:
    assert load_rubric(str(rubric_file)) == RUBRIC
    assert load_rubric("evil", form="character") == load_trait("evil", form="character").rubric
    assert "{answer}" in load_rubric("coherence").text
    with pytest.raises(TraitError, match="did you mean 'assistant/evil'"):
        load_rubric("evl")
    (tmp_path / "bad.toml").write_text("text = 'no braces'\n")
    with pytest.raises(TraitError, match=r"bad.toml"):
        load_rubric(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "question,answer,score\nq,a,101\n", "line 2: '101' is no score from 0 to 100"),
        ("x.csv", "question,answer,score\nq,a,nan\n", "line 2: 'nan' is no score"),
        ("x.csv", "question,answer,score\nq,a,\n", "line 2: a score from 0 to 100, or a label yes or no"),
        ("x.csv", "question,answer,label\nq,a,maybe\n", "and there is 'maybe'"),
        ("x.csv", "question,score\nq,5\n", "line 2: there is no text 'answer', and the columns are question, score"),
        ("x.csv", "question,answer,score\nq,a,b,5\n", "line 2: it has more or fewer fields than the header"),
        ("x.csv", "question,answer,score\n", "holds no labelled answer"),
        ("x.csv", "", "holds no labelled answer"),
        ("x.jsonl", '{"question": "q", "answer": 5, "score": 1}\n', "line 1: there is no text 'answer'"),
        ("x.jsonl", '{"question"\n', "line 1: it is no JSON object"),
        ("x.jsonl", "[1, 2]\n", "line 1: it is no JSON object"),
        ("x.jsonl", "\n[" + "[" * 100_000 + "\n", "line 2: it is no JSON object"),
        ("x.csv", b"question,answer\n\xff\xfe,x\n", "not a readable file of CSV or JSON lines"),
        ("x.csv", 'question,answer,score\n"q,a,5\n', "not a readable file of CSV or JSON lines"),
    ],
)
def test_labels_that_cannot_be_read_are_one_line_with_their_place(
    run, tmp_path: Path, rubric_file: Path, name: str, text: str | bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, told = run("judge", "check", name, "--judge", "local:m", "--rubric", rubric_file)
    assert code == 1, told
    (line,) = told.strip().splitlines()
    assert line.startswith("error:"), line
    assert said in line


def test_a_label_the_rubric_does_not_know_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", [{"question": "q", "answer": "a", "label": "greed; malic"}])
    with pytest.raises(JudgeError, match="'malic' is no label of the rubric; did you mean 'malice'"):
        load_anchors(path, LABELS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to compare a judge with"),
        (["labels.csv"], "give --judge and --rubric"),
        (["labels.csv", "--judge", "lab"], "give --judge and --rubric"),
        (["none.csv", "--judge", "local:m", "--rubric", "evil"], "none.csv: no such file"),
        (["labels.csv", "--judge", "opnai:m", "--rubric", "evil"], "did you mean 'openai'"),
        (["labels.csv", "--judge", "local:m", "--rubric", "evl"], "did you mean 'assistant/evil'"),
        (["labels.csv", "--judge", "local:m#digit", "--rubric", "evil"], "did you mean 'digits'"),
        (["labels.csv", "--judge", "local:m#longest=3", "--rubric", "evil"], "did you mean 'longest_answer'"),
        (["labels.csv", "--judge", "local:m#longest_answer=0", "--rubric", "evil"], "show 1 character"),
        (["labels.csv", "--judge", "local:m", "--rubric", "evil", "--budget", "five"], "'five' is no budget"),
        (["labels.csv", "--judge", "local:m", "--rubric", "evil", "--price", "5"], "'5' is no price"),
        (["labels.csv", "--judge", "local:m", "--rubric", "evil", "--budget", "5"], "no price of m at local is noted"),
        (["labels.csv", "--judge", "local:m", "--rubric", "evil", "--out", "."], "is a folder"),
        (["labels.csv", "--judge", "lab", "--rubric", "evil", "--repeat"], "says the same whenever it is asked"),
        (["labels.csv", "--judge", "lab", "--rubric", "evil"], "knows the lab's own rubrics only"),
        (["--scores", "scores.csv"], "give both"),
        (["--benchmark", "scores.csv"], "give both"),
        (["--scores", "scores.csv", "--benchmark", "labels.csv"], "there is no text 'model'"),
        (["--scores", "scores.csv", "--benchmark", "answers.jsonl"], "no judge was named to score it"),
        (["--scores", "scores.csv", "--benchmark", "others.jsonl"], "share no model"),
        (["--scores", "scores.csv", "--benchmark", "words.jsonl"], "'high' is no number for 'score'"),
        (["--scores", "scores.csv", "--benchmark", "bare.jsonl"], "neither a score nor an answer"),
        (["--scores", "scores.csv", "--benchmark", "empty.jsonl"], "empty.jsonl holds no scores"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(run, tmp_path: Path, arguments: list[str], said: str) -> None:
    written(tmp_path / "labels.csv", labelled(2, float))
    written(tmp_path / "scores.csv", scores({"a": 1.0, "b": 2.0}))
    written(tmp_path / "answers.jsonl", [{"model": "a", "question": "q", "answer": "x"}])
    written(tmp_path / "others.jsonl", [{"model": "z", "score": 1}])
    written(tmp_path / "words.jsonl", [{"model": "a", "score": "high"}])
    written(tmp_path / "bare.jsonl", [{"model": "a"}])
    (tmp_path / "empty.jsonl").write_text("\n\n")
    code, _, told = run("judge", "check", *arguments)
    assert code == 1, told
    lines = [line for line in told.strip().splitlines() if line.startswith("error:")]
    assert len(lines) == 1, told
    assert said in lines[0]


def test_a_judge_that_answers_nothing_is_an_error(run, tmp_path: Path, rubric_file: Path) -> None:
    labels = written(tmp_path / "labels.csv", labelled(3, float))
    with FakeEndpoint(faults=lambda prompt, before: Fault(400)) as fake:
        asked = ["judge", "check", labels, "--rubric", rubric_file, "--judge", "local:m", "--url"]
        code, _, told = run(*asked, fake.endpoint.base_url)
    assert code == 1
    assert "judged none of 3 answers: the endpoint gave no answer: 400" in told


def test_text_stays_the_text_it_is(tmp_path: Path) -> None:
    rows = [
        {"question": "NA", "answer": "None", "score": "1"},
        {"question": "a,\nb", "answer": " \u2028 ", "score": "2"},
    ]
    for name in ("x.csv", "x.jsonl"):
        assert [row for _, row in read_rows(written(tmp_path / name, rows), error=JudgeError)] == rows
