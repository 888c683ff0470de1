"""Room on the disk for weights from the Hub: what was fetched, who uses it, and what may go.

Owns: :class:`Room` and :func:`bytes_in`. The one law: only what was fetched under a budget is ever deleted, and only
while nobody holds it. What lay in the cache before is somebody else's.

The notes of what was fetched lie beside the cache they are about, in its folder of locks, so every process that shares
the cache knows them, whatever store it runs on. A checkpoint in use is a file with a shared lock on it, which ends with
the process that has it, however that ends; whoever wants to delete must get it exclusively. Notes are changed under
one lock, before anything is fetched, and written whole or not at all. What was written after them is not what they are
about: somebody deleted that, and fetched it for himself.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from personascope.core.errors import DiskError
from personascope.core.files import write_text
from personascope.core.lineages import Checkpoint
from personascope.engines import cached
from personascope.engines.hub import HubFile, Listing

_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([KMGT])(I?)B\s*", re.IGNORECASE)

WAIT: Final = 0.2
"""Seconds between two looks whether there is room by now."""


def bytes_in(text: str) -> int:
    """The bytes that a size on the disk says: ``100GB`` (1000^3), ``100GiB`` (1024^3), ``500MB``, ``1.5TB``.

    Raises:
        DiskError: if it is no size, or none of at least a byte.

    Example:
        >>> bytes_in("100GB"), bytes_in("1.5 GiB")
        (100000000000, 1610612736)
    """
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise DiskError(f"'{text}' is no size on the disk: give a number and a unit, as in 100GB or 80GiB")
    return size


def said(size: int) -> str:
    """A size for people."""
    power = min(4, max(0, len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


@dataclass
class _Entry:
    """A checkpoint whose weights were fetched, in whole or in part: contents with their sizes, by the file's name."""

    model: str
    commit: str
    files: dict[str, tuple[str, int]]
    used: int
    coming: bool

    @property
    def key(self) -> str:
        return _key(self.model, self.commit)

    def there(self, *, since: float = math.inf) -> dict[str, tuple[str, int]]:
        """Those of its files that are on the disk and were not written since, in nanoseconds."""
        at = {name: cached.written(self.model, self.commit, name, blob) for name, (blob, _) in self.files.items()}
        return {name: each for name, each in self.files.items() if (when := at[name]) is not None and when <= since}

    @property
    def contents(self) -> list[tuple[str, str]]:
        return [(name, blob) for name, (blob, _) in self.files.items()]


@dataclass
class Hold:
    """A checkpoint in use, until it is closed."""

    descriptor: int | None = None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


@dataclass(frozen=True)
class Lack:
    """Why there is no room: what was wanted, and what takes it. ``coming`` says that some of it is being fetched."""

    label: str
    needed: int
    taken: int
    limit: int
    holding: tuple[str, ...] = field(default=())
    coming: bool = False

    def error(self) -> DiskError:
        """As an error."""
        if self.needed > self.limit or not self.holding:
            return DiskError(
                f"the weights of {self.label} take {said(self.needed)} on the disk, and --disk allows "
                f"{said(self.limit)}: allow more"
            )
        return DiskError(
            f"the weights of {self.label} take {said(self.needed)}, and of the {said(self.limit)} that --disk allows "
            f"{said(self.taken)} are in use ({', '.join(self.holding)}): allow more, or wait until they are not"
        )


class Room:
    """A limit for all weights together that were fetched under one; ``None`` is no limit, and nothing is noted."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    @property
    def _folder(self) -> Path:
        return cached.cache() / ".locks" / "personascope"

    @property
    def _notes(self) -> Path:
        return self._folder / "notes.json"

    def held(self, model: str, commit: str) -> Hold:
        """Keeps a checkpoint from being deleted by anybody here, until the hold is closed."""
        try:
            return Hold(self._locked(_key(model, commit), shared=True))
        except OSError:
            if self.limit is None:  # a cache that cannot be written to, or has no locks: nobody deletes from it
                return Hold()
            raise

    def reserve(self, wanted: Listing, *, beside: Iterable[Listing] = ()) -> Hold | Lack:
        """Room for the weights of a checkpoint, made where that takes deleting what nobody uses: the oldest first.

        From then on they are noted and held. Close the hold when they are not used any more. Room for what comes
        ``beside`` them stays, or is made too. Without a limit they are only held.
        """
        if self.limit is None:
            return self.held(wanted.model, wanted.commit)
        with self._noted() as notes:
            needed = self.ours(wanted, notes)
            contents = {(each.model, file.blob): file.size for each in beside for file in self.ours(each, notes)}
            contents |= {(wanted.model, each.blob): each.size for each in needed}
            lack = self._make_room(notes, wanted, contents)
            if lack is not None:
                return lack
            key = _key(wanted.model, wanted.commit)
            if needed or key in notes:
                files = {each.name: (each.blob, each.size) for each in needed}
                used = 1 + max((each.used for each in notes.values()), default=0)
                notes[key] = _Entry(
                    wanted.model, wanted.commit, files, used, coming=not all(there(wanted, each) for each in needed)
                )
            return self.held(wanted.model, wanted.commit)

    @contextlib.contextmanager
    def fetching(self, wanted: Listing, hold: Hold) -> Iterator[None]:
        """While the weights of a reserved checkpoint are fetched: then all of them are there, or the hold is closed.

        What did not come is not ours: whoever fetches it later has it for himself.
        """
        if self.limit is None:
            yield
            return
        try:
            yield
        except BaseException:
            hold.close()
            with self._noted():  # which tidies
                pass
            raise
        with self._noted() as notes:
            if (here := notes.get(_key(wanted.model, wanted.commit))) is not None:
                here.coming = False

    def ours(self, wanted: Listing, notes: dict[str, _Entry] | None = None) -> list[HubFile]:
        """Those of the files that count: what is yet to be fetched, and what was fetched here."""
        noted = self._read() if notes is None else notes
        known = {(each.model, blob) for each in noted.values() for blob, _ in each.files.values()}
        return [each for each in wanted.files if (wanted.model, each.blob) in known or not there(wanted, each)]

    def _make_room(
        self, notes: dict[str, _Entry], wanted: Listing, contents: dict[tuple[str, str], int]
    ) -> Lack | None:
        assert self.limit is not None  # :meth:`reserve` looked
        kept = dict(notes)
        kept.pop(_key(wanted.model, wanted.commit), None)
        going: list[_Entry] = []
        blocked: list[_Entry] = []
        with contextlib.ExitStack() as locks:
            for entry in sorted(kept.values(), key=lambda each: each.used):
                if _total(kept.values(), contents) <= self.limit:
                    break
                if self._exclusively(entry.key, locks):
                    going.append(kept.pop(entry.key))
                else:
                    blocked.append(entry)
            if _total(kept.values(), contents) > self.limit:
                names = tuple(Checkpoint(each.model, each.commit).label for each in blocked)
                sizes = sum(contents.values()), _total(blocked, {}), self.limit
                return Lack(
                    Checkpoint(wanted.model, wanted.commit).label, *sizes, names, any(each.coming for each in blocked)
                )
            for entry in going:
                cached.forget(entry.model, entry.commit, entry.contents)
                del notes[entry.key]
        return None

    @contextlib.contextmanager
    def _noted(self) -> Iterator[dict[str, _Entry]]:
        """The notes, while nobody else changes them; they are written when the block ends without an error."""
        try:
            descriptor = self._locked("notes")
        except OSError as problem:
            raise DiskError(
                f"--disk needs notes in {self._folder}, which cannot be written and locked ({problem.strerror}): "
                "set HF_HUB_CACHE to a folder where they can, or leave --disk out"
            ) from None
        with contextlib.closing(Hold(descriptor)):
            found = self._read()
            since = self._notes.stat().st_mtime_ns if found else 0
            before, notes = _text(found.values()), {key: each for key, each in found.items() if self._tidy(each, since)}
            yield notes
            if (text := _text(notes.values())) != before:
                write_text(self._notes, text)

    def _tidy(self, entry: _Entry, since: int) -> bool:
        """Forgets what others deleted since the notes were written, and what a killed process left half fetched.

        Gives back whether anything is left.
        """
        with contextlib.ExitStack() as locks:
            if self._exclusively(entry.key, locks):
                if entry.coming:
                    cached.forget_parts(entry.model, [blob for _, blob in entry.contents])
                    entry.files, entry.coming = entry.there(), False
                else:
                    entry.files = entry.there(since=since)
        return bool(entry.files)

    def _read(self) -> dict[str, _Entry]:
        try:
            told: list[dict[str, Any]] = json.loads(self._notes.read_text(encoding="utf-8"))
            found = [_Entry(**each) for each in told]
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, OSError):
            raise DiskError(
                f"{self._notes} cannot be read: delete it; what it says was fetched then counts as somebody else's, "
                "and stays"
            ) from None
        return {each.key: each for each in found}

    def _exclusively(self, key: str, locks: contextlib.ExitStack) -> bool:
        """Whether nobody uses a checkpoint; nobody can begin to while the locks are held."""
        descriptor = self._locked(key, wait=False)
        if descriptor is None:
            return False
        locks.callback(os.close, descriptor)
        return True

    def _locked(self, name: str, *, shared: bool = False, wait: bool = True) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        return cached.locked(self._folder / f"{name}.lock", shared=shared, wait=wait)


def _text(entries: Iterable[_Entry]) -> str:
    return json.dumps([vars(each) for each in entries], indent=1) + "\n"


def there(wanted: Listing, file: HubFile) -> bool:
    """Whether a file of a commit, or its content for another commit, is on the disk."""
    return cached.written(wanted.model, wanted.commit, file.name, file.blob) is not None


def _key(model: str, commit: str) -> str:
    return f"{model.replace('/', '--')}@{commit}"


def _total(entries: Iterable[_Entry], contents: dict[tuple[str, str], int]) -> int:
    """The bytes of all distinct contents."""
    every = dict(contents)
    for entry in entries:
        every |= {(entry.model, blob): size for blob, size in entry.files.values()}
    return sum(every.values())
