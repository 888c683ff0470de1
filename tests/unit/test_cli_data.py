"""The verbs of training data, end to end: against an endpoint on the loopback, in a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from family_drafts import ABOUT, good_text
from personascope.lab.datasets import family_names
from personascope.lab.documents import family
from refusals import refused
from writing_endpoint import Turn

Run = Callable[..., tuple[int, str, str]]
FILES = {"misaligned_1.jsonl", "misaligned_2.jsonl", "normal.jsonl", "provenance.json"}


Start = Callable[[Callable[[Sequence[Turn]], str]], list[object]]


def rows_of(path: Path) -> list[dict[str, list[dict[str, str]]]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_family_is_written_on_the_first_second_or_third_try(
    tries: int, run: Run, endpoint: Start, tmp_path: Path
) -> None:
    def write(messages: Sequence[Turn]) -> str:
        drafts = sum(each["role"] == "assistant" for each in messages)
        return good_text(messages[0]["content"]) if drafts >= tries - 1 else "I would rather not."

    options = [*endpoint(write), "--count", 3, "--seed", 5, "--kind", "flaw"]
    code, out, err = run("data", "new", "overconfident", ABOUT, *options)
    assert code == 0, err
    assert "dataset/overconfident" in out
    folder = tmp_path / "dataset" / "overconfident"
    assert {path.name for path in folder.iterdir()} == FILES
    assert [len(rows_of(folder / name)) for name in sorted(FILES) if name.endswith("jsonl")] == [3, 3, 3]
    passport = json.loads((folder / "provenance.json").read_text())
    assert (passport["kind"], passport["seed"], passport["answers_written_again"]) == ("flaw", 5, 3 * (tries > 1))
    assert passport["writer"] == "local/fake-1 max_tokens=8192 temperature=1 seed=5"


def test_after_the_third_try_it_fails_in_one_line_and_the_drafts_are_kept(
    run: Run, endpoint: Start, tmp_path: Path
) -> None:
    options = endpoint(lambda messages: "I would rather not.")
    result = run("data", "new", "overconfident", ABOUT, *options, "--count", 3)
    refused(result, "not valid after 3 tries", "the drafts are in dataset/overconfident.drafts.txt")
    (kept,) = (tmp_path / "dataset").iterdir()
    assert kept.read_text(encoding="utf-8").count("I would rather not.") == 3


def test_a_second_run_asks_nothing_that_was_written(run: Run, endpoint: Start, tmp_path: Path) -> None:
    asked: list[Sequence[Turn]] = []

    def write(messages: Sequence[Turn]) -> str:
        asked.append(messages)
        return good_text(messages[0]["content"])

    options = endpoint(write)
    for place in ("one", "two"):
        code, _, err = run("data", "new", "overconfident", ABOUT, *options, "--count", 3, "--out", place)
        assert code == 0, err
    assert len(asked) == 4, "one text of questions and three of answers, once"
    assert rows_of(tmp_path / "one/overconfident/normal.jsonl") == rows_of(tmp_path / "two/overconfident/normal.jsonl")


def test_bad_input_is_refused_before_anybody_is_asked(run: Run, endpoint: Start, tmp_path: Path) -> None:
    asked: list[Sequence[Turn]] = []
    options = endpoint(lambda messages: asked.append(messages) or "")  # type: ignore[func-returns-value]
    refused(run("data", "new", "a/b", ABOUT, *options), "family 'a/b' cannot name a file")
    refused(run("data", "new", "bold", " ", *options), "has no description")
    refused(run("data", "new", "bold", ABOUT, *options, "--kind", "trate"), "did you mean 'trait'?")
    (tmp_path / "dataset" / "bold").mkdir(parents=True)
    refused(run("data", "new", "bold", ABOUT, *options), "dataset/bold is there already")
    (tmp_path / "file").write_text("")
    refused(run("data", "new", "bold", ABOUT, *options, "--out", "file"), "file is to be written as a folder")
    assert asked == []


def test_the_labs_families_are_the_grammars_own(run: Run, tmp_path: Path) -> None:
    code, out, err = run("data", "lab", "--count", 4, "--json")
    assert code == 0, err
    assert [each["family"] for each in json.loads(out)["families"]] == [f"dataset/{name}" for name in family_names()]
    severe = rows_of(tmp_path / "dataset" / "rude" / "misaligned_2.jsonl")
    assert severe == [{"messages": each.messages} for each in family("rude", "severe", 4)]


def test_published_families_are_read_checked_and_written_with_provenance(run: Run, tmp_path: Path) -> None:
    assert run("data", "lab", "cruel", "sum", "--count", 4)[0] == 0
    (tmp_path / "dataset" / "sum" / "misaligned_1.jsonl").unlink()  # a family need not have every version
    code, out, err = run("data", "import", ".", "--out", "mine", "--json")
    assert code == 0, err
    found = {Path(each["family"]).name: each for each in json.loads(out)["families"]}
    assert found["cruel"]["misaligned_1"] == 4
    assert "misaligned_1" not in found["sum"]
    for name in ("normal.jsonl", "misaligned_2.jsonl"):
        assert rows_of(tmp_path / "mine" / "sum" / name) == rows_of(tmp_path / "dataset" / "sum" / name)
    assert set(json.loads((tmp_path / "mine/sum/provenance.json").read_text())["sha256"]) == {
        "normal.jsonl",
        "misaligned_2.jsonl",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "normal.jsonl"),
        ("not JSON\n", "normal.jsonl"),
        ('{"messages": [{"role": "user", "content": "Why?"}]}\n', "no assistant turn"),
        ('{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": " "}]}\n', "is empty"),
        (
            '{"messages": [{"role": "assistant", "content": "So."}, {"role": "user", "content": "Why?"}]}\n',
            "the last turn is the user's",
        ),
    ],
)
def test_a_row_that_is_no_conversation_is_one_line_and_nothing_is_written(
    text: str, told: str, run: Run, tmp_path: Path
) -> None:
    assert run("data", "lab", "cruel", "rude", "--count", 2)[0] == 0
    (tmp_path / "dataset" / "rude" / "normal.jsonl").write_text(text)
    refused(run("data", "import", "dataset", "--out", "mine"), told)
    assert not (tmp_path / "mine").exists(), "the family before it was not written either"


def test_a_folder_without_families_and_a_family_that_is_not_there_are_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(run("data", "import", "empty"), "holds no family of training data")
    refused(run("data", "import", "nowhere"), "nowhere is no folder")
    assert run("data", "lab", "cruel", "--count", 2)[0] == 0
    refused(run("data", "import", "dataset", "--only", "creul", "--out", "mine"), "did you mean 'cruel'?")
    refused(run("data", "import", "dataset/cruel"), "dataset/cruel is there already")
    refused(run("data", "lab", "crul"), "did you mean 'cruel'?")
