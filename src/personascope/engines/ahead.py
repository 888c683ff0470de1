"""Ahead of their use: files of the Hub fetched in a background thread, and files on the disk read into memory.

Owns: :func:`check_disk`, :func:`fetch_quietly` and :func:`read_ahead`. The one law: nobody waits for
what is done ahead, hears of it or depends on it: it can be stopped at any moment, and what it did not do is done when
it is needed.

Files are read into the system's page cache, and not into a model: a second model would take its memory twice, on the
device the present one computes on, while the page cache gives its memory back to whoever asks for it.
"""

from __future__ import annotations

import inspect
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import huggingface_hub

from personascope.engines.host import free_on_host

THREAD: Final = "personascope-ahead"
PIECE: Final = 1 << 24
WORTH_IT: Final = 1 << 25
"""Bytes of files below which reading ahead gains nothing anybody would notice."""


SPARE: Final = 10**9
"""Bytes on the disk that are left to whatever else is written there."""


class Stopped(Exception):
    """Nobody wants it any more, or there is no room for it."""


def check_disk(folder: Path, size: int) -> None:
    """Whether a disk has room for so many bytes and some to spare; the folder on it need not be there yet.

    Raises:
        Stopped: if it has not.
    """
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if shutil.disk_usage(there).free < size + SPARE:
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
