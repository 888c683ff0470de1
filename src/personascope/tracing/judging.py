"""Judging what was said while engines go on speaking.

Owns: :class:`Listener` and its :class:`Verdicts`. The one law: a verdict is the one the judge would have given anyway,
only sooner. A judge that waits for another machine hears in a thread of its own, one batch after another, each of what
was said since the last; a judge that computes on this machine would be in the engine's way, and is asked at once.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Final, TypeVar, overload

from personascope.core.records import UNASKED, Case, Verdict
from personascope.judges import Judge, scored

Item = TypeVar("Item")

AT_ONCE: Final = 1024
"""Cases a judge is given at once: enough that its calls seldom run dry, few enough that what is under way when a study
is interrupted ends soon."""

FEWEST, MOST, SOON = 32, 512, 2.0
"""Answers of the first part that is judged and of the largest, and the seconds in which a part is too small."""


class Verdicts(Sequence[Verdict]):
    """One verdict per case, in order. Looking at one waits until the judge has given it, or raises what it raised.

    A slice is of the same kind, and waits for nobody.
    """

    def __init__(self, given: Future[list[Verdict]], places: range) -> None:
        self._given = given
        self._places = places

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> Verdicts: ...
    def __getitem__(self, place: int | slice) -> Verdict | Verdicts:
        if isinstance(place, slice):
            return Verdicts(self._given, self._places[place])
        return self._given.result()[self._places[place]]

    def __len__(self) -> int:
        return len(self._places)


class Listener:
    """Puts cases to a judge, or to none, as they come up; use it in a ``with`` block.

    The end of the block waits until all is judged, and raises what the judge raised. Where an error ends it, nothing
    more is asked, and what is under way is waited for: it was paid for. Nothing is where an interruption does. In a
    program that goes on, a notebook say, the batch under way then ends by itself, and what a judge remembers of it is
    remembered.
    """

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge
        self._part = FEWEST
        self._pace = float("inf")
        self._pending: list[tuple[Sequence[Case], Future[list[Verdict]]]] = []
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._left = False
        self._problem: BaseException | None = None

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave(drop=problem is not None)
            if self._worker is not None and isinstance(problem, Exception | None):
                self._worker.join()
        except BaseException:  # an interruption while waiting
            self._leave(drop=True)
            raise
        if problem is None:
            self._check()

    def hear(self, cases: Sequence[Case]) -> Sequence[Verdict]:
        """One verdict per case, in order. From a judge that waits they are still to come: see :class:`Verdicts`.

        Raises:
            JudgeError: what the judge raised, be it at cases that it was given before.
        """
        if self.judge is None:
            return [UNASKED] * len(cases)
        if not self.judge.waits:
            return scored(self.judge, cases)
        given: Future[list[Verdict]] = Future()
        with self._changed:
            self._check()
            self._pending.append((cases, given))
            if self._worker is None:
                # A daemon: a program that is interrupted ends, whatever calls are under way.
                self._worker = threading.Thread(target=self._work, name="personascope-judging", daemon=True)
                self._worker.start()
            self._changed.notify()
        return Verdicts(given, range(len(cases)))

    def parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """What an engine is asked, in parts between which the judge hears; all at once where it does not wait.

        Small parts let the judge begin early, large ones suit an engine, and how much is the machine's secret: see
        :func:`following`.

        Raises:
            JudgeError: what the judge raised meanwhile: an engine is not asked, nor its weights loaded, in vain.
        """
        if self.judge is None or not self.judge.waits:
            yield items
            return
        place = 0
        while place < len(items):
            self._check()
            left = len(items) - place
            # A rest of a few would cost an engine about as much time as a part does.
            part = items[place : place + (self._part if left >= 1.5 * self._part else left)]
            began = time.monotonic()
            yield part
            seconds, place = time.monotonic() - began, place + len(part)
            before, self._pace = self._pace, seconds / len(part)
            self._part = following(self._part, seconds=seconds, pace=self._pace, before=before)

    def _check(self) -> None:
        """Raises what the judge raised."""
        if self._problem is not None:
            raise self._problem

    def _leave(self, *, drop: bool) -> None:
        """Lets the thread end when nothing is pending: with ``drop`` that is at once."""
        with self._changed:
            self._left = True
            if drop:
                for _, given in self._pending:
                    given.cancel()
                self._pending.clear()
            self._changed.notify()

    def _work(self) -> None:
        """Judges what is pending until the block is left and nothing is, or the judge fails: then so does all of it."""
        assert self.judge is not None
        while some := self._next():
            try:
                verdicts = iter(scored(self.judge, [case for cases, _ in some for case in cases]))
            except BaseException as problem:
                with self._changed:
                    self._problem, some, self._pending = problem, [*some, *self._pending], []
                for _, given in some:
                    given.set_exception(problem)
                return
            for cases, given in some:
                given.set_result(list(itertools.islice(verdicts, len(cases))))

    def _next(self) -> list[tuple[Sequence[Case], Future[list[Verdict]]]]:
        """What the judge is given next: all that is pending, within bounds; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._left)
            count = size = 0
            while count < len(self._pending) and (not count or size + len(self._pending[count][0]) <= AT_ONCE):
                size, count = size + len(self._pending[count][0]), count + 1
            some, self._pending = self._pending[:count], self._pending[count:]
            return some


def following(size: int, *, seconds: float, pace: float, before: float) -> int:
    """How large the part after one of a size is: twice that, while it is quick or made answers a quarter cheaper.

    ``pace`` is the seconds that each answer of the part took, and ``before`` that of the part before it.
    """
    return min(2 * size, MOST) if seconds < SOON or pace < 0.75 * before else size
