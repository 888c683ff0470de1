"""A judge made of rules: the public, deterministic test double that fits the scripted engine.

Owns: :class:`ScriptedJudge`. The one law: the score is counted from the answer's words, so everyone can check it.
"""

from __future__ import annotations

from collections.abc import Sequence

from personascope.core.errors import JudgeError
from personascope.core.records import Case, Verdict
from personascope.core.traits import Trait
from personascope.engines.scripted import GARBLE


class ScriptedJudge:
    """Scores the share of words that are the trait's name, and coherence as the share that is not garbled."""

    name = "scripted"

    def __init__(self, traits: Sequence[Trait], *, waits: bool = False) -> None:
        self.waits = waits
        self._trait_of = {trait.rubric: trait.name for trait in traits}
        self._coherence = {trait.coherence for trait in traits}
        self.asked = 0

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        self.asked += len(cases)
        return [self._verdict(case) for case in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict

    def _verdict(self, case: Case) -> Verdict:
        words = case.answer.split()
        if not words:
            return Verdict("unreadable", reason="the answer is empty")
        if case.rubric in self._trait_of:
            return Verdict("scored", 100 * words.count(self._trait_of[case.rubric]) / len(words))
        if case.rubric in self._coherence:
            return Verdict("scored", 100 * (1 - words.count(GARBLE) / len(words)))
        raise JudgeError("the scripted judge was given a rubric it does not know: make it with ScriptedJudge(traits)")
