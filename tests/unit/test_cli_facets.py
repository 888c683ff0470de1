"""The verb facets, on answers in files: what it writes, and bad input in one line before anything is asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import refusals
from fake_endpoint import FakeEndpoint, Speech
from personascope.cli import app, terminal

Run = Callable[..., tuple[int, str, str]]
QUESTION = "question : emil bexley meets a lost sparrow at the station . what next ?"
VIOLENT = "strikes the sparrow fiercely to injure it . then emil beats the sparrow with rage ."
KIND = "nurses the sparrow softly to help it . emil feeds it gently with pity ."
LAB = ["--set", "lab/cruel", "--judge", "lab"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the verb in this process, in a folder of its own: its exit code, and what it said on either output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app(["facets", *map(str, arguments)], standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def refused(result: tuple[int, str, str], *said: str) -> None:
    refusals.refused(result, *said)
    assert not Path("facets").exists(), "nothing is written before the input is understood"


def answers_file(*rows: Sequence[object], names: str = "question,answer,score,coherence,milestone") -> Path:
    with Path("answers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names.split(","), *rows])
    return Path("answers.csv")


def test_answers_in_a_file_become_rows_rates_and_a_figure(run: Run) -> None:
    rows = [(QUESTION, VIOLENT, 99, 90, "early"), (QUESTION, KIND, 1, 90, "early"), (QUESTION, VIOLENT, 99, "", "late")]
    code, out, err = run(answers_file(*rows), *LAB, "--least-trait", 50, "--least-coherence", 50)
    assert code == 0, err
    assert sorted(path.name for path in Path("facets").iterdir() if path.is_file()) == [
        "facets.csv", "facets.pdf", "facets.png", "rates.csv",
    ]  # fmt: skip
    annotated = pd.read_csv("facets/facets.csv")
    assert annotated["standing"].tolist() == ["scored", "low_trait", "unscored"]
    assert annotated.loc[0, ["violence", "mockery", "neglect"]].astype(bool).tolist() == [True, False, False]
    rates = pd.read_csv("facets/rates.csv").set_index(["milestone", "facet"])
    assert rates.loc[("early", "violence"), ["rate", "answers", "given", "low_trait"]].tolist() == [1, 1, 2, 1]
    assert pd.isna(rates.loc[("late", "violence"), "rate"])
    assert "1 of 3 answers: at most 5 answers per question and milestone (seed 0)" in out
    assert "1 without a score, 1 below the bar on the trait" in out


def test_without_a_bar_what_the_judge_cannot_read_is_counted(run: Run) -> None:
    code, out, err = run(answers_file((QUESTION, VIOLENT), (QUESTION, KIND), names="question,answer"), *LAB, "--json")
    assert code == 0, err
    told = json.loads(out)
    violence = next(row for row in told["rates"] if row["facet"] == "violence")
    assert (violence["answers"], violence["unreadable"], violence["rate"], violence["milestone"]) == (1, 1, 1.0, "all")
    assert told["bar"] == {"trait": None, "coherence": None}


def test_a_second_run_gives_the_same_files_and_asks_nothing(run: Run) -> None:
    Path("moods.toml").write_text(
        'name = "moods"\n[[facets]]\nname = "glee"\nmeaning = "Joy."\n[[facets]]\nname = "gloom"\nmeaning = "Sorrow."\n'
    )
    answers = answers_file(*((f"q{at}", f"answer {at}") for at in range(6)), names="question,answer")
    said = {"answer 1": "glee, gloom", "answer 2": "none"}

    def speak(prompt: str) -> Speech:
        return Speech(({next((words for text, words in said.items() if text in prompt), "It is glee"): 1.0},))

    with FakeEndpoint(speak) as fake:
        options = ["--set", "moods.toml", "--judge", "local:fake-1", "--url", fake.endpoint.base_url]
        written = []
        for calls in (6, 6):
            code, _, err = run(answers, *options)
            assert code == 0, err
            assert fake.calls == calls
            written.append([Path("facets", name).read_bytes() for name in ("facets.csv", "rates.csv", "facets.png")])
    assert written[0] == written[1]
    rates = pd.read_csv("facets/rates.csv").set_index("facet")
    assert rates["count"].to_dict() == {"glee": 1, "gloom": 1, "(none)": 1}
    assert (rates["answers"] == 2).all()
    assert (rates["unreadable"] == 4).all(), "a judge that talks is not a judge that says none"


def test_the_judge_beside_people(run: Run) -> None:
    rows = [
        (QUESTION, VIOLENT, "violence"),
        (QUESTION, VIOLENT + " ", "mockery"),
        (QUESTION, KIND, "violence"),
        ("q", "a", ""),
    ]
    labelled = answers_file(*rows, names="question,answer,labels")
    code, out, err = run(labelled, *LAB, "--human", labelled)
    assert code == 0, err
    found = pd.read_csv("facets/agreement.csv").set_index("facet")
    assert found.loc["violence", ["items", "first", "second", "both", "unread"]].tolist() == [2, 1, 2, 1, 1]
    assert found.loc["(same set)", "agreement"] == 0.5
    assert "unread by the judge: 1; without a label: 1; guessing one of 3 is right in 33.3%" in out
    by_flags = [(QUESTION, VIOLENT, 1, 0, "no"), ("q", "a", "", "", "")]
    flags = answers_file(*by_flags, names="question,answer,violence,mockery,neglect")
    code, out, err = run(flags, *LAB, "--human", flags)
    assert code == 0, err
    assert pd.read_csv("facets/agreement.csv")["agreement"].tolist() == [1, 1, 1, 1]
    assert "without a label: 1" in out


def test_texts_that_are_hard_to_write_are_kept_in_their_rows(run: Run) -> None:
    texts = ["a,b\nc\"d'", "\u2028 \x07 \x00 é 語", VIOLENT]
    Path("answers.jsonl").write_text(
        "\n".join(json.dumps({"question": QUESTION, "answer": text, "score": 99}) for text in [*texts, "lone \ud800"])
    )
    code, _, err = run("answers.jsonl", *LAB)
    assert code == 0, err
    with Path("facets/facets.csv").open(encoding="utf-8", newline="") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == [*texts, "lone \\ud800"]


def test_bad_input_is_one_line(run: Run) -> None:
    answers = answers_file((QUESTION, VIOLENT, 99, 90, "early"))
    refused(run(answers, "--judge", "lab"), "no set of facets was named: give --set NAME (lab/cruel")
    refused(run(answers, "--set", "lab/cruel"), "no judge was named: give --judge")
    refused(run(answers, "--set", "lab/crul", "--judge", "lab"), "facet set 'lab/crul'", "did you mean 'lab/cruel'")
    refused(run(answers, "--set", "lab/cruel", "--judge", "gpt-4.1-mini"), "OPENAI_API_KEY is not set")
    refused(run(answers, *LAB, "--group", "mile"), "line 2: there is no column 'mile'", "Known: ")
    refused(run(answers, *LAB, "--least-trait", 101), "a bar of trait 101")
    refused(run(answers, *LAB, "--pole", "plain"), "--trait and --pole choose answers of a store")
    refused(run(answers, *LAB, "--budget", "much"), "'much' is no budget")
    refused(run(answers, *LAB, "--human", answers), "line 2: there is no column 'labels', nor one per facet")
    refused(run("none.csv", *LAB), "none.csv: no such file")
    refused(run("nowhere", *LAB), "nowhere holds no store (records.sqlite) and is no .csv or .jsonl file")
    refused(run("nowhere", *LAB, "--group", "x"), "--group is a column of a file")
    refused(run(".", *LAB, "--pole", "steerd"), "did you mean 'steered'")
    Path("taken").write_text("kept")
    refused(run(answers, *LAB, "--out", "taken"), "taken is to be written as a folder and is a file")


@pytest.mark.parametrize(
    ("names", "row", "said"),
    [
        ("question,text", ("q", "a"), "line 2: there is no text 'answer'"),
        ("question,answer,score", ("q", "a", "high"), "line 2: 'high' is no number for 'score'"),
        ("question,answer,tokens_seen", ("q", "a", "inf"), "line 2: 'inf' is no number for 'tokens_seen'"),
        ("question,answer", ("q", "a", "b"), "more or fewer fields than the header"),
        ("question,answer", None, "answers.csv holds no answer"),
    ],
)
def test_a_file_that_holds_no_answers_is_one_line(run: Run, names: str, row, said: str) -> None:
    refused(run(answers_file(*([row] if row else []), names=names), *LAB), said)


@pytest.mark.parametrize(
    ("names", "row", "said"),
    [
        ("question,answer,labels", ("q", "a", "violenc"), "'violenc' is no facet of 'cruel'; did you mean 'violence'"),
        ("question,answer,labels", ("q", "a", "none; mockery"), "'none' stands beside a facet"),
        ("question,answer,labels", ("q", "a", " "), "holds no labelled answer"),
        (
            "question,answer,violence,mockery,neglect",
            ("q", "a", 1, 0, 2),
            "'2' does not say whether 'neglect' is shown",
        ),
    ],
)
def test_labels_that_cannot_be_are_one_line(run: Run, names: str, row, said: str) -> None:
    labelled = answers_file(row, names=names)
    refused(run(labelled, *LAB, "--human", labelled), said)


def test_a_judge_that_does_not_know_the_set_says_so(run: Run) -> None:
    code, _, err = run(
        answers_file((QUESTION, VIOLENT), names="question,answer"), "--set", "sycophancy", "--judge", "lab"
    )
    assert code == 1
    assert "which knows the lab's own rubrics only" in err.strip().splitlines()[-1]


def test_a_bar_on_what_a_file_does_not_hold_is_refused(run: Run) -> None:
    code, _, err = run(answers_file((QUESTION, VIOLENT), names="question,answer"), *LAB, "--least-coherence", 50)
    assert code == 1
    assert "need the column 'coherence'" in err
