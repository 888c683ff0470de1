"""Judges: what scores.

Owns: the :class:`Judge` protocol, and :func:`scored`, which holds a judge to it. The one law: a batch of cases in, as
many verdicts out, in the same order, and a case that cannot be scored is a verdict that says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from personascope.core.errors import JudgeError
from personascope.core.records import Case, Verdict


@runtime_checkable
class Judge(Protocol):
    """Scores answers. ``name`` is the model snapshot and every setting that changes what is said: part of the key.

    ``waits`` says that scoring is mostly waiting for another machine: an engine may go on speaking meanwhile, and the
    judge is then asked from another thread, one batch at a time.
    """

    @property
    def name(self) -> str: ...

    @property
    def waits(self) -> bool: ...

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case, in order."""
        ...

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        """The same words under this judge's present reading rule: asks nobody, costs nothing."""
        ...


def scored(judge: Judge, cases: Sequence[Case]) -> list[Verdict]:
    """What a judge scores cases with: one verdict per case.

    Raises:
        JudgeError: if the judge gives more or fewer, beside what it raises itself.
    """
    verdicts = judge.score(cases)
    if len(verdicts) != len(cases):
        raise JudgeError(
            f"judge {judge.name} gave {len(verdicts)} verdicts on {len(cases)} cases: its score must give one for each"
        )
    return verdicts
