"""Ahead of their use: files of the Hub fetched in a background thread, and files on the disk read into memory.

Owns: :class:`Ahead`, :func:`fetch_quietly` and :func:`read_ahead`. The one law: nobody waits for what is done ahead,
hears of it or depends on it: it can be stopped at any moment, and what it did not do is done when it is needed.

Files are read into the system's page cache, and not into a model: a second model would take its memory twice, on the
device the present one computes on, while the page cache gives its memory back to whoever asks for it.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import huggingface_hub

from personascope.core.lineages import Checkpoint
from personascope.engines import cached, hub
from personascope.engines.host import free_on_host
from personascope.engines.hub import Listing
from personascope.engines.room import WAIT, Hold, Lack, Room, there

THREAD: Final = "personascope-ahead"
PIECE: Final = 1 << 24
WORTH_IT: Final = 1 << 25
"""Bytes of files below which reading ahead gains nothing anybody would notice."""
SPARE: Final = 10**9
"""Bytes on the disk that are left to whatever else is written there."""


class Stopped(Exception):
    """Nobody wants it any more, or there is no room for it."""


class Ahead(threading.Thread):
    """One checkpoint that is fetched, and read into memory, ahead of its use: silently, and while nobody objects."""

    def __init__(self, place: int, checkpoint: Checkpoint, *, room: Room, beside: Sequence[Listing]) -> None:
        super().__init__(name=THREAD, daemon=True)
        self.place = place
        self.stop, self.fetched = threading.Event(), threading.Event()
        self.started = False
        """Whether it is being fetched: it has room."""
        self._checkpoint, self._room, self._beside = checkpoint, room, beside
        self._reserving = threading.Lock()

    def cancel(self) -> None:
        """Ends it soon; what it had fetched whole stays."""
        with self._reserving:
            self.stop.set()

    def run(self) -> None:
        """Fetches, tells it, and reads."""
        from personascope.engines.hf import loading

        atexit.register(self._ended)
        try:
            files = loading.weight_files(self._fetch())
            self.fetched.set()
            if sum(path.stat().st_size for path in files) >= WORTH_IT:
                read_ahead(files, stop=self.stop)
        except Exception:
            pass  # it comes up again, and is told, when the checkpoint is asked for
        finally:
            self.fetched.set()
            atexit.unregister(self._ended)

    def _ended(self) -> None:
        """At the end of the program: what is half fetched is taken away, if that takes no time."""
        self.stop.set()
        self.join(timeout=1)

    def _fetch(self) -> Path:
        from personascope.engines.hf import loading

        asked = self._checkpoint
        if asked.path is not None:
            self.started = True
            return asked.path
        listing = hub.list_files(asked.model, asked.revision)
        if listing is None:  # what the cache has can still be read
            return cached.snapshot_of(asked.model, hub.noted_commit(asked.model, asked.revision))
        weights, texts = loading.needed_among(listing.names)
        wanted = listing.only(weights)
        with closing(self._reserved(wanted)) as hold, self._room.fetching(wanted, hold):
            check_disk(cached.cache(), sum(each.size for each in wanted.files if not there(wanted, each)))
            fetch_quietly(listing.model, listing.commit, sorted(texts | weights), stop=self.stop)
        return cached.snapshot_of(listing.model, listing.commit)

    def _reserved(self, wanted: Listing) -> Hold:
        """Waits for room: what is in use now will be closed before these are asked for, or they will not be awaited."""
        while True:
            with self._reserving:
                if self.stop.is_set():
                    raise Stopped
                found = self._room.reserve(wanted, beside=self._beside)
                self.started = not isinstance(found, Lack)
            if not isinstance(found, Lack):
                return found
            if found.needed > found.limit:
                raise found.error()
            self.stop.wait(WAIT)


def check_disk(folder: Path, size: int) -> None:
    """Looks whether a disk has room for so many bytes, and some to spare; the folder on it need not be there yet.

    Raises:
        Stopped: if it has not.
    """
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if shutil.disk_usage(nearest).free < size + SPARE:
        raise Stopped


def fetch_quietly(model: str, commit: str, names: Sequence[str], *, stop: threading.Event) -> None:
    """Fetches files of a commit into the cache, one after the other, in this thread and in no other.

    huggingface_hub's own ``snapshot_download`` has worker threads that a program waits for when it ends.

    Raises:
        Stopped: if it was stopped; also whatever huggingface_hub raises.
    """

    class Silent:
        """Takes a progress bar's place: shows nothing, and is where a download can be stopped."""

        def __init__(self, *_: Any, **__: Any) -> None:
            self.total = self.n = 0

        def __enter__(self) -> Silent:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, *_: object) -> None:
            if stop.is_set():
                raise Stopped

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: None

    _unheard()
    accepted = inspect.signature(huggingface_hub.hf_hub_download).parameters
    quiet: dict[str, Any] = {"tqdm_class": Silent} if "tqdm_class" in accepted else {}
    for name in names:
        if stop.is_set():
            raise Stopped
        huggingface_hub.hf_hub_download(model, name, revision=commit, **quiet)


def _unheard() -> None:
    """What huggingface_hub would print from this thread is not printed: the same fault is told when it matters."""

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.threadName != THREAD

    for handler in logging.getLogger("huggingface_hub").handlers:
        if not any(getattr(each, "__name__", "") == elsewhere.__name__ for each in handler.filters):
            handler.addFilter(elsewhere)


def read_ahead(
    paths: Iterable[Path], *, stop: threading.Event, free: Callable[[], int] | None = None, piece: int = PIECE
) -> int:
    """Reads files into the page cache while memory for them and for the model they make is free; the bytes read.

    ``free`` says how many bytes nobody needs. It is asked before every piece: what computes beside this comes first.
    """
    free = free or free_on_host
    files = [path for path in paths if path.is_file()]
    needed = 2 * sum(path.stat().st_size for path in files)
    buffer, done = bytearray(piece), 0
    for path in files:
        with path.open("rb", buffering=0) as stream:
            while not stop.is_set() and free() >= needed:
                count = stream.readinto(buffer)
                if not count:
                    break
                done += count
            else:
                return done
    return done
