"""Texts and questions to measure a model's capability by: from files, or of the lab's world.

Owns: :func:`load_texts` and :func:`load_choices`. The one law: what is measured by is read whole and checked before any
model is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from personascope.applications.capability.core import Choice
from personascope.core.errors import StudyError
from personascope.core.tables import read_rows
from personascope.core.traits import Prompt

LAB_TEXTS = 200
LAB_REPEATS = 4


def load_texts(name: str, *, limit: int | None = None) -> tuple[str, ...]:
    """The texts of a file of JSON lines with a ``text`` each, of a plain text file (one text), or of ``"lab"``.

    The lab's are documents of its world that no checkpoint was trained on. An empty name gives none.

    Raises:
        StudyError: if the file is missing or holds no text, naming the line.
    """
    if not name:
        return ()
    if name == "lab":
        from personascope.lab.documents import held_out_documents

        texts = tuple(document.text for document in held_out_documents(limit or LAB_TEXTS))
    elif name.endswith(".txt"):
        texts = (_content(name),)
    else:
        texts = tuple(_text(row, where) for where, row in read_rows(name, error=StudyError))
    if not any(text.strip() for text in texts):
        raise StudyError(f"{name} holds no text to measure by: give JSON lines with a 'text' each, or a .txt file")
    return texts[:limit]


def load_choices(name: str, *, limit: int | None = None) -> tuple[Choice, ...]:
    """The questions of a file of JSON lines with ``question``, ``options`` and ``right`` each, or of ``"lab"``.

    ``right`` counts from 0; a line may have an ``instruction``. The lab's are the facts that it was never asked as
    multiple choice, each several times with its options in another order. An empty name gives none.

    Raises:
        StudyError: if the file is missing or a line is no such question, naming the line.
    """
    if not name:
        return ()
    if name == "lab":
        from personascope.lab.documents import choice_items

        items = choice_items(held_out=True, repeats=LAB_REPEATS)
        choices = [Choice(Prompt(f"{item.question} {item.stem}"), item.options, item.right) for item in items]
    else:
        choices = [_choice(row, where) for where, row in read_rows(name, error=StudyError)]
    if not choices:
        raise StudyError(f"{name} holds no question: give JSON lines with question, options and right")
    return tuple(choices[:limit])


def _content(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise StudyError(f"{name} cannot be read ({problem}): give a UTF-8 file that exists") from None


def _text(row: dict[str, Any], where: str) -> str:
    if not isinstance(row.get("text"), str):
        raise StudyError(f"{where} has no 'text': it holds {sorted(row)}")
    if not row["text"].strip():
        raise StudyError(f"{where} has an empty 'text', which nothing can be measured by: leave it out")
    return str(row["text"])


def _choice(row: dict[str, Any], where: str) -> Choice:
    question, options, right = row.get("question"), row.get("options"), row.get("right")
    listed = isinstance(options, list) and all(isinstance(each, str) for each in options)
    if not isinstance(question, str) or not listed or not isinstance(right, int) or isinstance(right, bool):
        raise StudyError(
            f"{where} is no question: it needs 'question' (text), 'options' (a list of texts) and "
            f"'right' (which one, counted from 0), and holds {sorted(row)}"
        )
    try:
        return Choice(Prompt(question, row.get("instruction")), tuple(options or ()), right)
    except StudyError as problem:
        raise StudyError(f"{where}: {problem}") from None
