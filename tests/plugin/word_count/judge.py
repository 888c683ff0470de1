"""A judge that scores an answer by its length: ``words:N`` gives 100 points from N words on."""

from __future__ import annotations

from collections.abc import Sequence

from personascope.core.records import Case, Verdict
from personascope.judges import Judge
from personascope.judges.opening import JudgeContext


class WordJudge:
    """Scores the share of ``most`` words that an answer has, 0 to 100 points."""

    waits = False

    def __init__(self, most: int) -> None:
        self.most = most
        self.name = f"words {most}"

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict("scored", min(100.0, 100.0 * len(each.answer.split()) / self.most)) for each in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict


def open_judge(rest: str, context: JudgeContext) -> Judge:
    """The judge of a name ``words:N``; what follows the colon is ``rest``."""
    return WordJudge(int(rest or 10))
