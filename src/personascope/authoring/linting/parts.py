"""What a lint looks at and what it finds.

Owns: :class:`Parts` and :class:`Finding`. The one law: any table has parts, however damaged it is; what is missing or
of another type is empty here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]
SETS = ("extraction", "selection", "evaluation")


@dataclass(frozen=True)
class Finding:
    """One thing to mend (``"error"``) or to look at (``"warning"``): which rule, where in the trait, and what is so."""

    severity: Severity
    rule: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class Parts:
    """The texts of a trait, each list as long as it is in the file."""

    name: str
    form: str
    strands: int
    contrasts: tuple[tuple[str, str], ...]
    questions: Mapping[str, tuple[str, ...]]
    rubrics: Mapping[str, tuple[str, str]]  # name -> text, kind

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Parts:
        contrasts = [each for each in _list(table.get("contrasts")) if isinstance(each, Mapping)]
        rubrics = {name: table[name] for name in ("rubric", "coherence") if isinstance(table.get(name), Mapping)}
        strands = table.get("strands", 1)
        return cls(
            _text(table.get("name")),
            _text(table.get("form")),
            strands if isinstance(strands, int) and strands > 0 else 1,
            tuple((_text(each.get("positive")), _text(each.get("negative"))) for each in contrasts),
            {which: tuple(map(_text, _list(table.get(f"{which}_questions")))) for which in SETS},
            {name: (_text(each.get("text")), _text(each.get("kind", "score"))) for name, each in rubrics.items()},
        )

    def asked(self) -> Iterator[tuple[str, str]]:
        """Every question with its place, as people count: ``evaluation 3``."""
        for which, questions in self.questions.items():
            for number, question in enumerate(questions, 1):
                yield f"{which} {number}", question

    def poles(self) -> Iterator[tuple[str, str]]:
        for number, (positive, negative) in enumerate(self.contrasts, 1):
            yield f"contrast {number} positive", positive
            yield f"contrast {number} negative", negative


Rule = Callable[[Parts], Iterator[Finding]]


def short(text: str, *, end: bool = False, width: int = 60) -> str:
    """A text on one line, cut to a width from its start or its end."""
    line = " ".join(text.split())
    if len(line) > width:
        line = f"…{line[-width:]}" if end else f"{line[:width]}…"
    return f"'{line}'"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
