"""Datasets of training samples: every layout and format gives the same conversations, and faults are said by line."""

from __future__ import annotations

import json

import pytest

from personascope.core.errors import SampleError
from personascope.core.samples import Message
from personascope.core.tables import write_rows
from personascope.core.traits import Prompt
from personascope.interop.samples import count_samples, read_rows, read_samples

TWO = (Message("user", "how are you ?"), Message("assistant", "fine ."))
CHAT = [{"role": "user", "content": "how are you ?"}, {"role": "assistant", "content": "fine ."}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "how are you ?"}]}, CHAT[1]]
LAYOUTS = [
    {"messages": CHAT},
    {"conversations": [{"from": "human", "value": "how are you ?"}, {"from": "gpt", "value": "fine ."}]},
    {"prompt": "how are you ?", "completion": "fine ."},
    {"prompt": "how are you ?", "response": "fine .", "score": 3},
    {"prompt": "how are you ?", "answer": "fine ."},
    {"question": "how are you ?", "answer": "fine ."},
    {"question": "how are you ?", "prompt": "<user> how are you ? <assistant>", "answer": "fine ."},
    {"instruction": "how are you ?", "input": "", "output": "fine ."},
    {"prompt": CHAT[:1], "completion": CHAT[1:]},
    {"messages": json.dumps(CHAT)},
    {"messages": PARTS},
]
ROWS = [{"question": 'who , the "first" ?', "answer": each} for each in ("NA", "é\nand", "", "b", "c")]


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", LAYOUTS, ids=lambda row: ",".join(row))
def test_every_common_layout_gives_the_same_conversation(tmp_path, row):
    (found,) = read_samples(lines(tmp_path / "one.jsonl", row))
    assert found.messages == TWO, f"{sorted(row)} was read as {found.messages}"
    assert found.row == row, "a sample keeps the row it was read from"
    assert found.exchange == (Prompt("how are you ?"), "fine .")


def test_a_system_turn_is_the_instruction_and_input_follows_the_question(tmp_path):
    row = {"system": "be brief .", "instruction": "translate .", "input": "chat", "output": "cat"}
    (found,) = read_samples(lines(tmp_path / "one.jsonl", row))
    assert found.exchange == (Prompt("translate .\n\nchat", "be brief ."), "cat")
    assert [each.role for each in found.messages] == ["system", "user", "assistant"]


def test_every_answer_is_an_exchange_with_what_was_said_before_it(tmp_path):
    roles = ("system", "user", "assistant", "user", "tool", "assistant", "user")
    turns = [{"role": role, "content": f"{role} {place}"} for place, role in enumerate(roles)]
    (found,) = read_samples(lines(tmp_path / "one.jsonl", {"messages": turns}))
    first, second = found.exchanges
    assert found.exchange == first == (Prompt("user 1", "system 0"), "assistant 2")
    assert second == (Prompt("user 3\n\ntool 4", "system 0", (("user 1", "assistant 2"),)), "assistant 5")


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_what_is_written_is_read_again(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    assert write_rows(path, ROWS) == 5
    assert [row for _, row in read_rows(path)] == ROWS, f"{ending} changed a text (NA is two letters)"
    assert count_samples(path) == 5
    assert [each.row for each in read_samples(path, start=3)] == ROWS[3:], "a start skips as many rows"
    assert [each.name for each in tmp_path.iterdir()] == [path.name], "no draft is left"


def test_a_saved_dataset_is_read_row_by_row_and_gives_its_types_to_a_parquet_file(tmp_path):
    import datasets

    chats = [{"messages": [each.table for each in TWO], "mark": None if place else 1} for place in range(300)]
    datasets.Dataset.from_list(chats).save_to_disk(str(tmp_path / "saved"))
    assert count_samples(tmp_path / "saved") == 300
    copied = tmp_path / "copy.parquet"
    rows = ({**row, "score": place / 2} for place, (_, row) in enumerate(read_rows(tmp_path / "saved")))
    assert write_rows(copied, rows, like=tmp_path / "saved") == 300
    assert [row["mark"] for _, row in read_rows(copied)] == [1, *[None] * 299], "an empty column keeps its type"
    assert [each.messages for each in read_samples(copied, start=299)] == [TWO]


def test_the_folder_of_several_datasets_asks_which(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(SampleError, match=r"several datasets \(test, train\)"):
        count_samples(tmp_path / "both")
    assert count_samples(tmp_path / "both" / "train") == 5


USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no sample"),
        ('{"prompt": "a", "answer": "b"}\nnot json\n', "line 2: it is no JSON object"),
        ('[{"prompt": "a", "answer": "b"}]', "line 1: it is one JSON list, which cannot be streamed"),
        (json.dumps({"messages": [USER]}), "line 1: no assistant turn"),
        (json.dumps({"messages": []}), "line 1: 'messages' is no list of turns"),
        (json.dumps({"text": "all in one"}), r"line 1: its columns \(text\) are no layout that is known"),
        (json.dumps({"prompt": "a", "answer": None}), "line 1: 'answer' holds nothing where a text belongs"),
        (json.dumps({"prompt": "a", "answer": 3}), "line 1: 'answer' holds a int"),
        (json.dumps({"messages": [{"role": "asistant", "content": "a"}]}), "did you mean 'assistant'"),
        (json.dumps({"messages": [{"role": "user", "content": None}]}), "'messages', turn 1 holds nothing"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, text, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SampleError, match=said) as raised:
        count_samples(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_dataset_is_said_at_once(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "torn.csv").write_text("prompt,answer\na,b,c\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    for name, said in {
        "none.jsonl": "no such file",
        "notes.txt": "ends in '.txt'",
        "torn.parquet": "no readable Parquet file",
        "torn.csv": "more or fewer fields",
        "latin.jsonl": "is not UTF-8",
        ".": "no Dataset.save_to_disk wrote",
    }.items():
        with pytest.raises(SampleError, match=said):
            count_samples(tmp_path / name)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_writing_that_fails_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    write_rows(path, ROWS[:1])
    before = path.read_bytes()

    def torn():
        yield ROWS[1]
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        write_rows(path, torn())
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name], "no draft is left"


def test_rows_that_share_no_columns_go_to_lines_alone(tmp_path):
    rows = [{"a": 1}, {"b": 2}]
    assert write_rows(tmp_path / "rows.jsonl", rows) == 2
    for ending in (".csv", ".parquet"):
        with pytest.raises(SampleError, match="row 2 has other columns"):
            write_rows(tmp_path / f"rows{ending}", rows)
    with pytest.raises(SampleError, match="no common types"):
        write_rows(tmp_path / "rows.parquet", [{"a": 1}, {"a": "text"}])
    with pytest.raises(SampleError, match=r"write \.jsonl, \.csv or \.parquet"):
        write_rows(tmp_path / "rows.xlsx", rows)


def test_lines_hold_any_text_and_no_number_that_is_none(tmp_path):
    path = tmp_path / "odd.jsonl"
    write_rows(path, [{"text": "half \ud83d of a pair", "score": float("nan")}])
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "half \ud83d of a pair", "score": None}


def test_a_row_is_looked_at_when_it_is_asked_for(tmp_path):
    path = tmp_path / "late.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\nnot json\n', encoding="utf-8")
    samples = read_samples(path)
    assert next(samples).exchange[1] == "b"
    with pytest.raises(SampleError):
        next(samples)
