"""One problem in published data, as a value.

Owns: :class:`Finding`, :class:`Kind` and the words for severity. The one law: a finding's sentences are made from its
numbers, and it says what correcting it does, or why it cannot be corrected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

Severity = Literal["conclusion", "number", "record"]
SEVERITIES: tuple[Severity, ...] = ("conclusion", "number", "record")
"""What is at stake, worst first: a conclusion drawn from the data, a number in them, or only what can be checked."""


@dataclass(frozen=True)
class Finding:
    """A problem in the data.

    Attributes:
        kind: The family, the same words for every finding of it.
        where: The files, each with its rows where only some are concerned.
        what: What is true, in one sentence with numbers.
        severity: What is at stake, a word of ``SEVERITIES``.
        correction: What correcting it does, with numbers before and after, or why nothing can be done with these data.
        numbers: The numbers behind the sentences; values that can be written as JSON.
        details: One mapping per file, row or milestone concerned.
    """

    kind: str
    where: tuple[str, ...]
    what: str
    severity: Severity
    correction: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    details: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", plain(dict(self.numbers)))
        object.__setattr__(self, "details", tuple(plain(dict(each)) for each in self.details))

    def to_json(self) -> dict[str, Any]:
        """The finding as values that JSON has; what is not known is ``None``."""
        said = {name: getattr(self, name) for name in ("kind", "severity", "what", "correction")}
        listed = {"where": list(self.where), "details": [dict(each) for each in self.details]}
        return said | {"numbers": dict(self.numbers)} | listed


@dataclass(frozen=True)
class Kind:
    """A family of findings: its name, and its two sentences with the names of numbers in braces.

    Sentences are in the past tense, which is the same for one and for many.
    """

    name: str
    what: str
    correction: str

    def found(
        self,
        where: Iterable[str],
        severity: Severity,
        numbers: Mapping[str, Any],
        *,
        words: Mapping[str, str] | None = None,
        details: Iterable[Mapping[str, Any]] = (),
    ) -> Finding:
        """A finding of this family. ``words`` are what the sentences hold beside numbers."""
        told = {**numbers, **(words or {})}
        sentences = [sentence.format(**told) for sentence in (self.what, self.correction)]
        files = tuple(dict.fromkeys(where))
        return Finding(self.name, files, sentences[0], severity, sentences[1], numbers, tuple(details))


def plain(value: Any) -> Any:
    """The value with nothing in it but what JSON has: no NaN, no numpy, no tuple."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(each) for each in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return None if value is None or value is pd.NA else str(value)


def records(frame: pd.DataFrame, columns: Sequence[str] | None = None) -> tuple[dict[str, Any], ...]:
    """The rows of a frame as plain mappings."""
    chosen = frame if columns is None else frame[[name for name in columns if name in frame]]
    return tuple({str(name): value for name, value in row.items()} for row in chosen.to_dict("records"))


def greatest(frame: pd.DataFrame, by: pd.Series) -> pd.Series:
    """The row of a frame at which a series as long as the frame is greatest."""
    return frame.iloc[int(np.nanargmax(by.to_numpy(dtype=np.float64)))]


def places(frame: pd.DataFrame) -> tuple[str, ...]:
    """The files of rows with ``file`` and ``row``, each with its row numbers: ``results/x.csv rows 1, 4-6``."""
    return tuple(
        f"{file} {'row' if len(group) == 1 else 'rows'} {ranges(group['row'])}"
        for file, group in frame.groupby("file", sort=False)
    )


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, runs of three and more joined.

    Example:
        >>> ranges([6, 1, 4, 5])
        '1, 4-6'
    """
    runs: list[list[int]] = []
    for number in sorted({int(each) for each in numbers}):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    joined = [[str(low)] if low == high else [str(low), str(high)] for low, high in runs]
    return ", ".join("-".join(each) if int(each[-1]) - int(each[0]) > 1 else ", ".join(each) for each in joined)


def span(values: Iterable[float], form: str = ".3g") -> str:
    """The least and the greatest of some numbers, once if they are alike; ``unknown`` where there are none.

    Example:
        >>> span([0.5, 2, 1]), span([3.0])
        ('0.5 to 2', '3')
    """
    held = [float(each) for each in values if math.isfinite(each)]
    if not held:
        return "unknown"
    low, high = format(min(held), form), format(max(held), form)
    return low if low == high else f"{low} to {high}"


def named(names: Iterable[object], most: int = 4) -> str:
    """Names in a row, the first few of many.

    Example:
        >>> named(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    held = list(dict.fromkeys(map(str, names)))
    return ", ".join(held) if len(held) <= most else f"{', '.join(held[:most])} and {len(held) - most} more"


def several(count: int, one: str) -> str:
    """A count with its noun.

    Example:
        >>> several(1, "row"), several(2000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{count:,} {one if count == 1 else f'{one}s'}"


def last(file: str, parts: int = 1) -> str:
    """The last parts of a path.

    Example:
        >>> last("results/model/run/combined.csv", 2)
        'run/combined.csv'
    """
    return "/".join(file.split("/")[-parts:])
