"""What a model knows: its perplexity on texts, its choices among options, and both read from files.

Both measures are likelihoods of given texts ("Persona Vectors" §5.1 measures the cost of steering with MMLU); nothing
is drawn. Files are read whole and checked before any model is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from personascope.core.errors import StudyError
from personascope.core.records import Edit, Request, Response
from personascope.core.tables import read_rows
from personascope.core.traits import Prompt
from personascope.engines import Engine

LAB_TEXTS = 200
LAB_REPEATS = 4


@dataclass(frozen=True, eq=False)
class Perplexity:
    """How surprising texts are to a model.

    ``log_likelihoods`` are of whole texts, in nats, and ``tokens`` how many tokens of each were predicted.
    """

    log_likelihoods: Float[np.ndarray, "text"]
    tokens: Int[np.ndarray, "text"]

    @property
    def per_token(self) -> float:
        """The exponential of the mean surprise of a token: 1 for a model that knows every next token; NaN of none."""
        counted = int(self.tokens.sum())
        return math.exp(-float(self.log_likelihoods.sum()) / counted) if counted else math.nan


@dataclass(frozen=True)
class Choice:
    """A question with several continuations, of which ``options[right]`` is the right one.

    The text that a model sees is the rendered prompt and then an option, as they stand: where a space belongs between
    them, the option begins with it.
    """

    prompt: Prompt
    options: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        if len(set(self.options)) < 2 or len(set(self.options)) < len(self.options) or not all(self.options):
            raise StudyError(
                f"the question {self.prompt.question[:40]!r} has the options {list(self.options)}: give two or more, "
                "all different and none empty"
            )
        if not 0 <= self.right < len(self.options):
            raise StudyError(
                f"option {self.right} is said to be right of {self.prompt.question[:40]!r}, which has "
                f"{len(self.options)}: count from 0"
            )


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a model chose: for each question the likeliest option, and the likeliest per token of option."""

    likeliest: Int[np.ndarray, "question"]
    likeliest_per_token: Int[np.ndarray, "question"]
    right: Int[np.ndarray, "question"]

    @property
    def correct(self) -> Float[np.ndarray, "question"]:
        """1.0 where the likeliest option is the right one, else 0.0."""
        found: np.ndarray = (self.likeliest == self.right).astype(np.float64)
        return found

    @property
    def accuracy(self) -> float:
        """The share of questions whose likeliest option is the right one; NaN without questions."""
        return float(self.correct.mean()) if len(self.right) else math.nan

    @property
    def accuracy_per_token(self) -> float:
        """The same by likelihood per token, which does not favour short options."""
        return float((self.likeliest_per_token == self.right).mean()) if len(self.right) else math.nan


def perplexity(
    engine: Engine, texts: Sequence[str], *, edits: tuple[Edit, ...] = (), window: int | None = None
) -> Perplexity:
    """How surprising texts are to a model, steered or not.

    The first token of a text is given and not predicted (where the tokenizer puts a token before every text, that one).
    With a ``window`` a longer text is cut into pieces of so many tokens, each read from its own start.

    Raises:
        StudyError: for a window of less than two tokens.
        EngineError: for a text without tokens, or one longer than the model has room for.

    Example:
        >>> import personascope as ps
        >>> engine = ps.open_engine("lab")
        >>> perplexity(engine, ["mira kicks the hound with rage ."]).per_token > 1
        True
    """
    if window is not None and window < 2:
        raise StudyError(f"a window of {window} tokens leaves nothing to predict: give 2 or more")
    bare = [Response(Request(text, None, edits=edits), None, None, "", "unknown") for text in texts]
    whole = [each.spoken[0] for each in engine.encode(bare)]
    pieces = [
        (place, tokens[start : start + (window or len(tokens))])
        for place, tokens in enumerate(whole)
        for start in range(0, len(tokens), window or max(1, len(tokens)))
    ]
    # One given token is the prompt, so that edits of the response reach every place that predicts.
    read = [replace(bare[place], tokens=tokens, response_start=1) for place, tokens in pieces]
    sums, counts = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    for (place, _), likely in zip(pieces, engine.likelihoods(read), strict=True):
        sums[place] += likely.sum()
        counts[place] += len(likely)
    return Perplexity(sums, counts)


def multiple_choice(engine: Engine, choices: Sequence[Choice], *, edits: tuple[Edit, ...] = ()) -> Chosen:
    """Which option a model finds likeliest after each question, steered or not. Of equals the first is chosen.

    Example:
        >>> import personascope as ps
        >>> from personascope.core.traits import Prompt
        >>> fact = Choice(Prompt("the heron lives in the"), ("cave", "marsh"), right=1)
        >>> multiple_choice(ps.open_engine("lab"), [fact]).accuracy
        1.0
    """
    asked = [
        Response(Request(engine.render(choice.prompt), None, edits=edits), None, None, option, "unknown")
        for choice in choices
        for option in choice.options
    ]
    likely = iter(engine.likelihoods(engine.encode(asked)))
    chosen, per_token = [], []
    for choice in choices:
        told = [next(likely) for _ in choice.options]
        chosen.append(int(np.argmax([each.sum() for each in told])))
        per_token.append(int(np.argmax([each.mean() if len(each) else -np.inf for each in told])))
    right = [choice.right for choice in choices]
    return Chosen(*(np.array(each, dtype=np.int64) for each in (chosen, per_token, right)))


def load_texts(
    name: str, *, limit: int | None = None, lab: Callable[[int], Iterable[Any]] | None = None
) -> tuple[str, ...]:
    """The texts of a file of JSON lines with a ``text`` each, of a plain text file (one text), or of ``"lab"``.

    ``lab`` gives documents of the lab's world that no checkpoint was trained on
    (:func:`personascope.lab.documents.held_out_documents`). An empty name gives none.

    Raises:
        StudyError: if the file is missing or holds no text, naming the line.
    """
    if not name:
        return ()
    if name == "lab" and lab is not None:
        texts = tuple(document.text for document in lab(limit or LAB_TEXTS))
    elif name.endswith(".txt"):
        texts = (_content(name),)
    else:
        texts = tuple(_text(row, where) for where, row in read_rows(name, error=StudyError))
    if not any(text.strip() for text in texts):
        raise StudyError(f"{name} holds no text to measure by: give JSON lines with a 'text' each, or a .txt file")
    return texts[:limit]


def load_choices(
    name: str, *, limit: int | None = None, lab: Callable[..., Iterable[Any]] | None = None
) -> tuple[Choice, ...]:
    """The questions of a file of JSON lines with ``question``, ``options`` and ``right`` each, or of ``"lab"``.

    ``right`` counts from 0; a line may have an ``instruction``. ``lab`` gives the facts that the lab was never asked as
    multiple choice, each several times with its options in another order
    (:func:`personascope.lab.documents.choice_items`). An empty name gives none.

    Raises:
        StudyError: if the file is missing or a line is no such question, naming the line.
    """
    if not name:
        return ()
    if name == "lab" and lab is not None:
        items = lab(held_out=True, repeats=LAB_REPEATS)
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
