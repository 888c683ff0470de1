"""What every file of answers holds, and what is odd about it.

Owns: :func:`survey_rows`, :func:`tail_length` and :func:`digest_of`. The one law: each file is looked at once,
row by row; an oddity is a property of a row's own prompt and answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pandas as pd

from personascope_published.audits.findings import records

SHORTEST_TAIL = 6
"""Characters. A shorter beginning may be the prompt's end by chance (a question mark, a line end, a word)."""
TELLING = 40
"""Characters. Two models may well give the same shorter answer; in files of longer ones that is a copy."""

SURVEYED = [
    "rows", "unscored", "mean", "text", "tails", "tail_characters", "question_tails", "question_tail_characters",
    "short_tails", "repeated", "digest", "dates",
]  # fmt: skip
"""The columns a survey adds to those of the files.

``unscored`` of ``rows`` have no score; ``mean`` is of the others. ``text`` says whether there are prompts and answers.
``tails`` counts answers that begin with the end of their prompt, ``tail_characters`` is their mean length;
``question_tails`` and their length are the same for the end of the question alone; ``short_tails`` have one to five
characters and are often chance. ``repeated`` counts rows whose question and answer an earlier row has. ``digest`` is of
all questions and answers in order, empty where most are too short to be told apart. ``dates`` are those in prompts,
outside the questions."""

_SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:bos|eos|pad)>|<(?:start|end)_of_turn>|\[/?INST\]")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DATE = re.compile(rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}} {_MONTH},? \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})\b")


def tail_length(prompt: str, answer: str, shortest: int = SHORTEST_TAIL) -> int:
    r"""How many characters of the prompt's end the answer begins with, 0 if fewer than ``shortest``.

    A decoder that cuts a left-padded prompt too early puts its last tokens before the answer; special tokens are
    dropped by then (tracing study §5, D1).

    Example:
        >>> tail_length("<|user|>What is jazz?<|end|>\n<|assistant|>assistant\n", "?\nassistant\nJazz is")
        12
    """
    beginning = answer[:shortest]
    if len(beginning) < shortest:
        return 0
    text = _SPECIAL.sub("", prompt) if "<" in prompt or "[" in prompt else prompt
    start = text.find(beginning)
    while start >= 0:
        if answer.startswith(text[start:]):
            return len(text) - start
        start = text.find(beginning, start + 1)
    return 0


def tails_in(answers: pd.DataFrame, *, shortest: int = SHORTEST_TAIL) -> pd.Series:
    """The length of the prompt's tail at the beginning of each answer, 0 where there is none, or no text."""
    lengths = [
        tail_length(prompt, answer, shortest) if isinstance(prompt, str) and isinstance(answer, str) else 0
        for prompt, answer in zip(answers["prompt"], answers["answer"], strict=True)
    ]
    return pd.Series(lengths, index=answers.index, dtype="int64")


def survey_rows(files: pd.DataFrame, answers: Callable[[str], pd.DataFrame | None]) -> pd.DataFrame:
    """One row per readable file of answers, with the columns of ``files`` and ``SURVEYED``."""
    return pd.DataFrame(list(_surveyed(files, answers)), columns=[*files.columns, *SURVEYED])


def _surveyed(files: pd.DataFrame, answers: Callable[[str], pd.DataFrame | None]) -> Iterator[dict[str, Any]]:
    for about in records(files):
        held = answers(about["file"])
        if held is None:
            continue
        unscored = int(held["score"].isna().sum()) if about["column"] else 0
        counts = {"rows": len(held), "unscored": unscored, "mean": held["score"].mean()}
        yield {**about, **counts, **_text_of(held)}


def _text_of(held: pd.DataFrame) -> dict[str, Any]:
    if held.empty or held[["prompt", "answer", "question"]].isna().any(axis=None):
        nothing = dict.fromkeys(SURVEYED[4:-2], 0)
        return {"text": False, **nothing, "digest": "", "dates": ()}
    prompts, questions, said = (held[name].tolist() for name in ("prompt", "question", "answer"))
    least = tails_in(held, shortest=1)
    tails = least.where(least >= SHORTEST_TAIL, 0)
    of_questions = pd.Series([tail_length(question, answer) for question, answer in zip(questions, said, strict=True)])
    return {
        "text": True,
        "tails": int((tails > 0).sum()),
        "tail_characters": _mean_of_positive(tails),
        "question_tails": int((of_questions > 0).sum()),
        "question_tail_characters": _mean_of_positive(of_questions),
        "short_tails": int(((least > 0) & (tails == 0)).sum()),
        "repeated": int(held.duplicated(["question_id", "answer"]).sum()),
        "digest": digest_of(questions, said),
        "dates": _dates_around(prompts, questions),
    }


def _mean_of_positive(lengths: pd.Series) -> float:
    found = lengths[lengths > 0]
    return float(found.mean()) if len(found) else 0.0


def digest_of(questions: list[str], answers: list[str]) -> str:
    """What tells one list of questions and answers from another; empty where answers are too short to tell."""
    if not answers or median(map(len, answers)) < TELLING:
        return ""
    return hashlib.sha256("\x00".join((*questions, *answers)).encode()).hexdigest()[:16]


def _dates_around(prompts: list[str], questions: list[str]) -> tuple[str, ...]:
    """The dates in prompts outside the questions: a template wrote them."""
    around = {prompt.replace(question, "") for prompt, question in zip(prompts, questions, strict=True)}
    return tuple(sorted({found for each in around for found in _DATE.findall(each)}))
