"""Facets: what kinds of a trait an answer can show, and how a judge is asked for them.

Owns: :class:`FacetSet`, :class:`Facet` and :func:`load_facets`. The one law: that an answer shows no facet is something
a judge says; where it said nothing that can be read, nobody knows, and nothing is assumed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from personascope.core.errors import TraitError, nearest
from personascope.core.files import bundled, check_name, read_toml, value_of
from personascope.core.records import Verdict
from personascope.core.traits import Rubric

YES, NO = "yes", "no"
TAKEN = frozenset(
    ("question", "answer", "draw", "score", "coherence", "response_key", "facet_set", "milestone", "group", "place",
     "tokens_seen", "stage", "standing", "because", "verdict_keys")
)  # fmt: skip
"""What no facet can be called: columns of the frames in which facets are columns too."""


@dataclass(frozen=True)
class Facet:
    """One kind of a trait. ``name`` is the word a judge answers with, ``meaning`` what it is told about it."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    meaning: str = ""


@dataclass(frozen=True)
class FacetSet:
    """Kinds of a trait that are told apart, and how.

    ``asked`` is ``"together"`` (one question, answered with the names of all facets that are shown, or with the word
    ``none``) or ``"apart"`` (a yes or no to each). An ``exclusive`` set allows one facet at most. ``trait`` says of
    which trait they are, where they are of one. ``text`` is what the judge reads: ``{question}`` and ``{answer}`` in
    it, and ``{facets}`` and ``{none}``, or asked apart ``{name}`` and ``{meaning}``. With an empty ``none`` the judge
    has no word for no facet: that suits a text which asks for the likeliest one.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    facets: tuple[Facet, ...]
    text: str
    about: str = ""
    trait: str = ""
    asked: Literal["together", "apart"] = "together"
    exclusive: bool = False
    none: str = "none"

    def __post_init__(self) -> None:
        check_name(self.name, "facet set", TraitError)
        words = [name.casefold() for name in self.names]
        if not words or len(set(words)) < len(words):
            raise TraitError(f"facet set '{self.name}' needs facets, each with a name of its own; it has {self.names}")
        for name in self.names:
            check_name(name, "facet", TraitError)
            if name in TAKEN:
                raise TraitError(f"facet set '{self.name}': '{name}' is the name of a column: call the facet otherwise")
        if self.none.casefold() in words:
            raise TraitError(f"facet set '{self.name}': '{self.none}' is a facet and the word for none: change 'none'")
        if self.exclusive and self.asked == "apart":
            raise TraitError(f"facet set '{self.name}': facets asked apart cannot exclude each other: ask together")
        if len({rubric.text for rubric in self.rubrics}) < len(self.rubrics):
            raise TraitError(f"facet set '{self.name}': its text asks for all facets alike: put {{meaning}} in it")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the facets, in the order of the set."""
        return tuple(facet.name for facet in self.facets)

    @property
    def may_be_none(self) -> bool:
        """Whether a judge can say that an answer shows no facet."""
        return self.asked == "apart" or bool(self.none)

    @functools.cached_property
    def rubrics(self) -> tuple[Rubric, ...]:
        """What a judge is asked about each answer: one question, or one per facet."""
        if self.asked == "apart":
            fillings = ({"name": facet.name, "meaning": facet.meaning} for facet in self.facets)
            return tuple(Rubric(_filled(self.text, **each), "labels", (YES, NO)) for each in fillings)
        listed = "\n".join(f"- {facet.name}: {facet.meaning}".removesuffix(": ") for facet in self.facets)
        labels = (*self.names, *filter(None, [self.none]))
        return (Rubric(_filled(self.text, facets=listed, none=self.none), "labels", labels),)

    def shown(self, verdicts: Sequence[Verdict]) -> tuple[str, ...] | Verdict:
        """The facets that the verdicts on one answer give, one verdict per rubric; none of them is an empty tuple.

        Where they cannot be had it is the verdict that says why: the first that is not scored, or an
        ``"unreadable"`` one where a judge contradicts itself.
        """
        whose = self.names if self.asked == "apart" else ("",) * len(verdicts)
        for name, verdict in zip(whose, verdicts, strict=True):
            scored = verdict.outcome == "scored"
            fault = self._fault(verdict) if scored else verdict.reason or "the judge gave no reason"
            if fault:
                told = f"{name}: {fault}" if name else fault
                return Verdict("unreadable" if scored else verdict.outcome, reason=told, key=verdict.key)
        if self.asked == "apart":
            return tuple(name for name, each in zip(self.names, verdicts, strict=True) if each.labels == (YES,))
        return tuple(name for name in self.names if name in verdicts[0].labels)

    def _fault(self, verdict: Verdict) -> str:
        """Why labels that were read say nothing after all; empty if they do."""
        if not verdict.labels:
            return "no label was said"
        several = len(verdict.labels) > 1
        if several and (self.asked == "apart" or (self.none and self.none in verdict.labels)):
            return f"the judge contradicts itself: {', '.join(verdict.labels)}"
        return f"one facet was asked for, and {', '.join(verdict.labels)} said" if several and self.exclusive else ""


def load_facets(name: str | Path) -> FacetSet:
    """A bundled set of facets by name, or the one in a TOML file.

    A set without a ``text`` is asked with the bundled one, which needs the meaning of every facet.

    Raises:
        TraitError: if there is no such set, or the file does not describe one.

    Example:
        >>> load_facets("roots-of-evil").names
        ('instrumentality', 'threatened_egotism', 'idealism', 'sadism')
    """
    known = bundled("facets")
    if not str(name).endswith(".toml") and str(name) not in known:
        raise TraitError(f"facet set '{name}' is neither bundled nor a .toml file; {nearest(str(name), known)}")
    path = known.get(str(name), Path(name))
    table = read_toml(path, error=TraitError)
    if "text" not in table:
        _check_told(table, path)
        texts = read_toml(bundled("rubrics")["facets"], error=TraitError)
        asked = str(table.get("asked", "together"))
        table["text"] = texts.get("exclusive" if table.get("exclusive") and asked == "together" else asked, "")
    return value_of(table, FacetSet, source=str(path), error=TraitError)


def _check_told(table: dict[str, Any], path: Path) -> None:
    """The bundled texts tell a judge what facets mean, and say a word for none."""
    facets = table.get("facets")
    for facet in facets if isinstance(facets, list) else ():
        if isinstance(facet, dict) and not str(facet.get("meaning", "")).strip():
            raise TraitError(f"{path}: facet '{facet.get('name')}' has no meaning: say it, or give the set a text")
    if not str(table.get("none", "none")).strip():
        raise TraitError(f"{path}: with an empty 'none' the judge must be asked in other words: give the set a text")


def _filled(text: str, **values: str) -> str:
    """A text with its own places filled; braces in what fills them stay braces when question and answer are put in."""
    place = re.compile(rf"(?<!\{{)\{{({'|'.join(values)})\}}(?!\}})")
    return place.sub(lambda found: values[found[1]].replace("{", "{{").replace("}", "}}"), text)
