"""Files of prompts: what a row may hold, and what is said of one that holds no prompt."""

from __future__ import annotations

import json

import pytest

from personascope.applications.monitor.files import read_prompts
from personascope.core.errors import SampleError
from personascope.core.traits import Prompt

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"prompt": "Why?"}, Prompt("Why?"), None),
        ({"question": "Why?", "instruction": "Be brief.", "answer": "So."}, Prompt("Why?", "Be brief."), "So."),
        ({"text": "Why?", "system": "Be brief.", "completion": ""}, Prompt("Why?", "Be brief."), None),
        ({"prompt": "Why?", "response": None}, Prompt("Why?"), None),
        ({"messages": CHAT}, Prompt("Why?", "Be brief.", (("Who?", "Me."),)), None),
        ({"messages": CHAT[:3]}, Prompt("Who?", "Be brief."), "Me."),
        ({"prompt": CHAT}, Prompt("Why?", "Be brief.", (("Who?", "Me."),)), None),
        ({"conversations": [{"from": "human", "value": "Why?"}]}, Prompt("Why?"), None),
    ],
)
def test_a_row_of_any_common_layout_is_a_prompt_with_or_without_an_answer(tmp_path, row, prompt, answer) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = read_prompts(tmp_path / "p.jsonl")
    assert (found.prompt, found.answer) == (prompt, answer)


def test_rows_are_named_by_their_id_or_else_their_number(tmp_path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n\n{"id": "x", "prompt": "b"}\n{"id": 0, "prompt": "c"}\n')
    found = list(read_prompts(tmp_path / "p.jsonl"))
    assert [each.name for each in found] == ["1", "x", "0"]
    assert found[1].where.endswith("p.jsonl, line 3"), "empty lines count as lines of the file"


def test_a_csv_with_quoted_texts_is_read_too(tmp_path) -> None:
    (tmp_path / "p.csv").write_text('id,prompt,system\n7,"Why, and\nhow?",\n8,What?,Be brief.\n')
    found = list(read_prompts(tmp_path / "p.csv"))
    assert [each.prompt for each in found] == [Prompt("Why, and\nhow?"), Prompt("What?", "Be brief.")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a"}\n{"prompt"\n', "line 2: it is no JSON object"),
        ('{"prompt": "a"}\n{"title": "b"}\n', "line 2: no prompt in it (its columns: title)"),
        ('{"prompt": " "}\n', "line 1: its prompt is empty"),
        ('{"prompt": "a", "system": 3}\n', "line 1: 'system' is no text"),
        ('{"messages": [{"role": "nobody", "content": "a"}]}\n', "line 1: 'messages', turn 1: nobody is called"),
        ('{"messages": []}\n', "no list of turns"),
        ("", "holds no"),
        ("[1]\n", "line 1"),
    ],
)
def test_a_row_without_a_prompt_is_named_by_its_line(tmp_path, text, said) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(SampleError) as caught:
        list(read_prompts(tmp_path / "p.jsonl"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_known_ending(tmp_path) -> None:
    with pytest.raises(SampleError, match="no such file"):
        list(read_prompts(tmp_path / "none.jsonl"))
    (tmp_path / "p.txt").write_text("Why?")
    with pytest.raises(SampleError, match=r"ends in '\.txt'"):
        list(read_prompts(tmp_path / "p.txt"))
