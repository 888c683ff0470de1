"""Judging what was said while engines go on speaking.

Owns: :class:`Listener` and its :class:`Verdicts`. The one law: a verdict is the one the judge would have given anyway,
only sooner. A judge that waits for another machine hears in a thread of its own, one batch after another, each of what
was said since the last; a judge that computes on this machine would be in the engine's way, and is asked at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Final, TypeVar, overload

from personascope.judges import Judge
from personascope.records import UNASKED, Case, Verdict

Item = TypeVar("Item")

AT_ONCE: Final = 1024
"""Cases a judge is given at once: enough that its calls seldom run dry, few enough that what is under way when a study
is interrupted ends soon."""

FEWEST, MOST, SOON = 32, 512, 2.0
"""Answers of the first part that is judged and of the largest, and the seconds in which a part is too small."""


class Verdicts(Sequence[Verdict]):
    """One verdict per case, in order. Looking at one waits until the judge has given it, or raises what it raised."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases: Sequence[Case] = cases
        """What is still to be judged: nothing, once it was."""
        self.given: Future[list[Verdict]] = Future()
        self._count = len(cases)

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> list[Verdict]: ...
    def __getitem__(self, place: int | slice) -> Verdict | list[Verdict]:
        return self.given.result()[place]

    def __len__(self) -> int:
        return self._count


class Listener:
    """Puts cases to a judge, or to none, as they come up; use it in a ``with`` block.

    Where the block is left by an error or an interruption, nothing more is asked. The batch under way then ends by
    itself, and what a judge remembers of it is remembered.
    """

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge
        self._part = FEWEST
        self._pace = float("inf")
        self._pending: list[Verdicts] = []
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._left = False
        self._problem: BaseException | None = None

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._left = True
            if problem is not None:
                for each in self._pending:
                    each.given.cancel()
                self._pending.clear()
            self._changed.notify()

    def hear(self, cases: Sequence[Case]) -> Sequence[Verdict]:
        """One verdict per case, in order. From a judge that waits they are still to come: see :class:`Verdicts`.

        Raises:
            JudgeError: what the judge raised, be it at cases that it was given before.
        """
        if self.judge is None:
            return [UNASKED] * len(cases)
        if not self.judge.waits:
            return self.judge.score(cases)
        verdicts = Verdicts(cases)
        with self._changed:
            if self._problem is not None:
                raise self._problem
            self._pending.append(verdicts)
            if self._worker is None:
                # A daemon: a program that is interrupted ends, whatever calls are under way.
                self._worker = threading.Thread(target=self._work, name="personascope-judging", daemon=True)
                self._worker.start()
            self._changed.notify()
        return verdicts

    def parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """What an engine is asked, in parts between which the judge hears; all at once where it does not wait.

        Small parts let the judge begin early, large ones suit an engine, and how much is the machine's secret. So a
        part is twice the last one while that took less than two seconds, or made each answer a quarter cheaper.
        """
        if self.judge is None or not self.judge.waits:
            yield items
            return
        place = 0
        while place < len(items):
            part = items[place : place + self._part]
            began = time.monotonic()
            yield part
            seconds, place = time.monotonic() - began, place + len(part)
            pace, self._pace = self._pace, seconds / len(part)
            if seconds < SOON or self._pace < 0.75 * pace:
                self._part = min(2 * self._part, MOST)

    def _work(self) -> None:
        """Judges what is pending until the block is left and nothing is."""
        assert self.judge is not None
        while some := self._next():
            try:
                given = iter(self.judge.score([case for each in some for case in each.cases]))
                for each in some:
                    each.given.set_result([next(given) for _ in each.cases])
                    each.cases = ()
            except BaseException as problem:
                with self._changed:
                    self._problem, pending = problem, [*some, *self._pending]
                for each in pending:
                    if not each.given.done():
                        each.given.set_exception(problem)
                return

    def _next(self) -> list[Verdicts]:
        """What the judge is given next: all that is pending, within bounds; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._left)
            count = size = 0
            while count < len(self._pending) and (not count or size + len(self._pending[count]) <= AT_ONCE):
                size, count = size + len(self._pending[count]), count + 1
            some, self._pending = self._pending[:count], self._pending[count:]
            return some
