"""Prompts in: files of what a model is asked, with or without what it answered.

Owns: :class:`AskedPrompt` and :func:`read_prompts`. The one law: a file is streamed, never held, and a row that holds
no prompt is an error that names its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from personascope.core.errors import SampleError
from personascope.core.samples import Message, Sample
from personascope.core.traits import Prompt
from personascope.interop.samples import CHATS, read_rows, turns_of

QUESTIONS: Final = ("prompt", "question", "text")
INSTRUCTIONS: Final = ("system", "instruction")
ANSWERS: Final = ("answer", "response", "completion", "output")


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt of a file, the answer that followed it (``None`` if the file has none), its ``id`` and its place."""

    prompt: Prompt
    answer: str | None
    name: str
    where: str


def read_prompts(path: str | Path) -> Iterator[AskedPrompt]:
    """The prompts of a JSON lines, CSV or Parquet file, one after another.

    A row has a ``prompt`` (or ``question``, or ``text``) and may have a ``system`` turn (or ``instruction``) and an
    ``answer`` (or ``response``, ``completion``, ``output``); or it has ``messages``, a chat list: earlier turns stay
    turns, and a last one of the assistant is the answer. ``id`` names a row; else its number, from 1, does.

    Raises:
        SampleError: naming file and line, when that row is reached: no such file, no such format, no row at all, a line
            that is no JSON object, or a row without a prompt.
    """
    for number, (where, row) in enumerate(read_rows(path), 1):
        prompt, answer = _exchange(row, where)
        if not prompt.question.strip():
            raise SampleError(f"{where}: its prompt is empty: give it some text, or leave the row out")
        yield AskedPrompt(prompt, answer, str(row.get("id") if row.get("id") not in (None, "") else number), where)


def _exchange(row: Mapping[str, Any], where: str) -> tuple[Prompt, str | None]:
    column = next((name for name in QUESTIONS if isinstance(row.get(name), str)), None)
    chat = next((name for name in CHATS if row.get(name) is not None), None)
    if chat is None and column is not None:
        said = _text(row, INSTRUCTIONS, where), _text(row, ANSWERS, where)
        return Prompt(row[column], said[0]), said[1]
    if chat is None and not any(isinstance(row.get(name), list) for name in QUESTIONS):
        columns = ", ".join(map(str, row)) or "none"
        raise SampleError(
            f"{where}: no prompt in it (its columns: {columns}): give a text named {', '.join(QUESTIONS)}, or messages"
        )
    messages = turns_of(row if chat is not None else {"messages": _listed(row)}, where)
    answered = messages[-1].role == "assistant"
    prompt, answer = Sample(messages if answered else (*messages, Message("assistant", ""))).exchanges[-1]
    return prompt, (answer or None) if answered else None


def _listed(row: Mapping[str, Any]) -> Any:
    return next(row[name] for name in QUESTIONS if isinstance(row.get(name), list))


def _text(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str | None:
    """The first text there is under the names; ``None`` where there is none, or an empty one."""
    for name in names:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise SampleError(f"{where}: '{name}' is no text: mend it, or leave the row out")
        if value:
            return str(value)
    return None
