"""Datasets of training samples, as files and folders that people have.

A dataset is streamed, never held, so that its size is no matter. Nothing is guessed: a row fits a layout by the names
of its columns, or it is an error that says which names would fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from personascope.core import tables
from personascope.core.errors import SampleError, nearest
from personascope.core.samples import Message, Role, Sample
from personascope.core.tables import LINES, Row

ENDINGS: Final = (*LINES, ".csv", ".parquet")
"""Endings of files that a dataset may be in."""

CHATS: Final = ("messages", "conversations", "conversation")
"""Columns that hold a list of turns."""

PAIRS: Final = (
    ("question", "answer"),  # before prompt: published answer files hold both, and their prompt is a rendered one
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "response"),
)
"""Columns that hold what is asked and what is answered."""

ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_KNOWN = "messages (a chat list), prompt with completion, response or answer, question with answer, or instruction "
KNOWN: Final = f"{_KNOWN}with output (and input)"


def read_samples(path: str | Path, *, start: int = 0) -> Iterator[Sample]:
    """The samples of a dataset, one after another, from the ``start``-th on.

    ``.jsonl`` (also ``.json`` and ``.ndjson``, an object to a line), ``.csv`` with a header, ``.parquet``, or a folder
    written by ``Dataset.save_to_disk``. Layouts: see :func:`messages_of`.

    Raises:
        SampleError: naming file and line (or row), when that row is reached: no such file, no such format, no row at
            all, a line that is no JSON object, columns of no known layout, or no assistant turn.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "few.jsonl"
        >>> _ = file.write_text('{"question": "how are you ?", "answer": "fine ."}')
        >>> next(read_samples(file)).messages[1].content
        'fine .'
    """
    for where, row in islice(read_rows(path), start, None):
        yield Sample(messages_of(row, where), row, where)


def count_samples(path: str | Path) -> int:
    """How many samples a dataset has; every row is looked at, so that a bad one is found before anything costly."""
    return sum(1 for _ in read_samples(path))


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of a dataset as they are, each with where it stands.

    Raises:
        SampleError: as :func:`read_samples`, but for what a row must hold.
    """
    file, empty = Path(path), True
    if file.exists() and not file.is_dir() and file.suffix.casefold() not in ENDINGS:
        raise SampleError(f"{file} ends in '{file.suffix}': give {', '.join(ENDINGS)}, or a saved dataset's folder")
    for place in tables.read_rows(file, error=SampleError):
        empty = False
        yield place
    if empty:
        raise SampleError(f"{file} holds no sample: give a dataset with at least one row")


def messages_of(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    """The conversation a row holds; ``where`` names file and line, for the message of an error.

    Known are chat lists (``messages``, ``conversations``: role and content, or from and value), ``prompt`` with
    ``completion``, ``response`` or ``answer`` (texts or chat lists), ``question`` with ``answer``, and ``instruction``
    (with ``input``) with ``output``; a ``system`` column beside a pair of texts is its system turn. A chat list in a
    text column is read as JSON.

    Raises:
        SampleError: if no layout fits, a turn is malformed, or no assistant speaks.
    """
    messages = turns_of(row, where)
    if not any(each.role == "assistant" for each in messages):
        raise SampleError(f"{where}: no assistant turn, so there is nothing a model would learn to say: leave it out")
    return messages


def turns_of(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    """The turns a row holds, as :func:`messages_of`; there need be no assistant's among them."""
    chat = next((name for name in CHATS if row.get(name) is not None), None)
    if chat is not None:
        return _turns(row[chat], f"{where}: '{chat}'")
    pair = next(((asked, said) for asked, said in PAIRS if asked in row and said in row), None)
    if pair is None:
        columns = ", ".join(map(str, row)) or "none"
        raise SampleError(f"{where}: its columns ({columns}) are no layout that is known: give {KNOWN}")
    asked, said = pair
    before = _side(row[asked], "user", f"{where}: '{asked}'")
    if asked == "instruction" and row.get("input"):
        more = _text(row["input"], f"{where}: 'input'")
        before = (*before[:-1], Message("user", f"{before[-1].content}\n\n{more}"))
    if row.get("system") and before[0].role != "system":
        before = (Message("system", _text(row["system"], f"{where}: 'system'")), *before)
    return (*before, *_side(row[said], "assistant", f"{where}: '{said}'"))


def _side(held: Any, role: Role, where: str) -> tuple[Message, ...]:
    """One side of a pair: a text, or a list of turns as trainers take it too."""
    return _turns(held, where) if isinstance(held, list) else (Message(role, _text(held, where)),)


def _turns(held: Any, where: str) -> tuple[Message, ...]:
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except (ValueError, RecursionError):
            held = None
    if not isinstance(held, list) or not held:
        raise SampleError(f"{where} is no list of turns: give one of objects with role and content")
    return tuple(_turn(each, f"{where}, turn {place}") for place, each in enumerate(held, 1))


def _turn(held: Any, where: str) -> Message:
    if not isinstance(held, Mapping):
        raise SampleError(f"{where} is no object with role and content: mend it")
    role, content = held.get("role", held.get("from")), held.get("content", held.get("value"))
    if role not in ROLES:
        raise SampleError(f"{where}: nobody is called '{role}'; {nearest(str(role), ROLES)}")
    if content is None and ROLES[role] == "assistant":
        content = ""  # a turn that only calls a tool says nothing
    return Message(ROLES[role], _text(content, where))


def _text(held: Any, where: str) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(held, list) and held and all(isinstance(each, Mapping) for each in held):
        parts = [each.get("text") for each in held]
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    if not isinstance(held, str):
        raise SampleError(f"{where} holds {_kind(held)} where a text belongs: mend it, or leave the row out")
    return held


def _kind(held: Any) -> str:
    return "nothing" if held is None else f"a {type(held).__name__}"
