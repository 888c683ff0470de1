"""Weights for one engine after the other: the next checkpoint is downloaded while the present one is in use.

This changes when weights are there, and nothing else. What is prefetched can be interrupted at any moment; what fails
is silent, and is done again, with its error, when the checkpoint is opened.

Files are read ahead into the system's page cache and not into a model: a second model would take memory twice, while
the page cache gives way to whoever needs memory.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from personascope.core.errors import CheckpointError, DiskError
from personascope.core.lineages import Checkpoint
from personascope.engines import Engine
from personascope.engines.hub import disk, download
from personascope.engines.hub.disk import CacheLock, DiskBudget, InsufficientSpace
from personascope.engines.hub.download import RemoteCheckpoint, WeightProvider

THREAD_NAME: Final = "personascope-prefetch"
POLL_SECONDS: Final = 0.2
"""Between two looks whether there is space."""
MIN_READ_AHEAD: Final = 1 << 25
"""Bytes of weight files below which reading them ahead saves nothing anybody would notice."""
FREE_DISK: Final = 10**9
"""Bytes of the disk that prefetching leaves free."""


@runtime_checkable
class TakesWeights(Protocol):
    """An engine that asks for the folder of its weights."""

    weights: WeightProvider


Opened = TypeVar("Opened", bound=Engine)


class CheckpointCache:
    """Provides engines with their weights, prefetches the next checkpoint, and limits the disk that weights take.

    ``disk`` is a number of bytes; ``None`` is no limit, and nothing is deleted. Under a limit space is made before a
    download: of what was downloaded under one before and is not in use, the least recently used is deleted. A
    checkpoint is in use from when its weights begin to load until its engine is closed.

    Example:
        >>> cache = CheckpointCache()
        >>> cache.prefetch_order([Checkpoint("allenai/Olmo-3-1025-7B", "stage1-step0")])
    """

    def __init__(self, *, disk: int | None = None) -> None:
        self._budget = DiskBudget(disk)
        self._order: tuple[Checkpoint, ...] = ()
        self._next: Prefetcher | None = None
        self._changing = threading.Lock()
        self._beside: tuple[RemoteCheckpoint, ...] = ()
        self._beside_locks: list[CacheLock] = []

    def prefetch_order(self, order: Sequence[Checkpoint], *, beside: Sequence[Checkpoint] = ()) -> None:
        """Sets the order in which checkpoints will be opened, and which stay in use ``beside`` each of them.

        Checkpoints of the order that are also beside it are not prefetched. Prefetching for the order before ends, so
        an empty order ends it.

        Raises:
            DiskError: if one of them, with those beside it, takes more than the limit.
        """
        with self._changing:
            if self._next is not None:
                self._next.stop.set()
            staying = {(each, each.path) for each in beside}
            self._order, self._next = tuple(each for each in order if (each, each.path) not in staying), None
        for lock in self._beside_locks:
            lock.close()
        self._beside, self._beside_locks = (), []
        if self._budget.limit is not None:
            self._check_sizes(self._budget.limit, self._order, beside)

    def attach(self, engine: Opened) -> Opened:
        """The engine, which takes its weights from here from now on."""
        if isinstance(engine, TakesWeights):
            engine.weights = self
        return engine

    @contextmanager
    def __call__(self, checkpoint: Checkpoint) -> Iterator[Path]:
        """The folder of a resolved checkpoint's weights, in use until the block ends; the next one is prefetched.

        Raises:
            CheckpointError: if they cannot be downloaded.
            DiskError: if there is no space for them.
        """
        position = next((index for index, each in enumerate(self._order) if _same(each, checkpoint)), None)
        if position is not None and self._next is not None and self._next.position not in (position, position + 1):
            self._next.stop.set()
        # A prefetch of this checkpoint goes on: huggingface_hub locks each file, so it is downloaded once.
        with self._weights(checkpoint) as folder:
            if position is not None:
                self._begin(position + 1)
            yield folder

    @contextmanager
    def _weights(self, checkpoint: Checkpoint) -> Iterator[Path]:
        if checkpoint.path is not None:
            yield checkpoint.path
            return
        remote = None if self._budget.limit is None else download.describe(checkpoint.model, checkpoint.revision)
        if remote is None:
            with closing(self._budget.lock(checkpoint.model, checkpoint.revision)):
                # Offline nobody knows how large they are, so that under a limit only cached ones can be used.
                yield download.weight_folder(checkpoint) if self._budget.limit is None else _cached_weights(checkpoint)
            return
        gc.collect()  # an engine that nobody holds any more uses nothing
        with self._budget.fetched(remote, lambda: download.weight_folder(checkpoint), wait=self._wait) as folder:
            yield folder

    def _wait(self, lack: InsufficientSpace) -> None:
        """Waits for space that only prefetching takes, here or elsewhere."""
        ahead = self._next
        prefetching = ahead is not None and ahead.is_alive()
        if ahead is not None:
            ahead.stop.set()
        if lack.ever or not (prefetching or lack.downloading):
            raise lack
        time.sleep(POLL_SECONDS)

    def _begin(self, position: int) -> None:
        with self._changing:
            ahead = self._next
            if position >= len(self._order) or (ahead and ahead.position == position and not ahead.stop.is_set()):
                return
            self._next = Prefetcher(position, self._order[position], budget=self._budget, beside=self._beside)
            self._next.start()

    def _check_sizes(self, limit: int, order: Sequence[Checkpoint], beside: Sequence[Checkpoint]) -> None:
        every = [each for each in dict.fromkeys((*order, *beside)) if each.path is None]
        with ThreadPoolExecutor(max_workers=8) as pool:
            found = zip(every, pool.map(_describe_if_there, every), strict=True)
        known = {each: remote for each, remote in found if remote is not None}
        counted = {each: self._budget.counted(remote) for each, remote in known.items()}
        self._beside = tuple(known[each] for each in beside if each in known)
        # They must not be deleted, and downloaded again, before they are opened.
        self._beside_locks = [self._budget.lock(each.model, each.commit) for each in self._beside]
        for each in order or beside:
            together = [other for other in dict.fromkeys((each, *beside)) if other in counted]
            size = sum({key: size for other in together for key, size in counted[other].items()}.values())
            if size > limit:
                labels = " and ".join(other.label for other in together)
                raise DiskError(
                    f"the weights of {labels} take {disk.format_size(size)} on the disk at once, and --disk allows "
                    f"{disk.format_size(limit)}: allow more"
                )


def _same(ordered: Checkpoint, resolved: Checkpoint) -> bool:
    """Whether a checkpoint of the order is the resolved one. The cache knows its commit since it was resolved."""
    if ordered.path is not None or resolved.path is not None:
        return ordered.path == resolved.path
    commit = download.cached_commit(ordered.model, ordered.revision)
    return (ordered.model, commit) == (resolved.model, resolved.revision)


def _cached_weights(checkpoint: Checkpoint) -> Path:
    folder = download.snapshot_folder(checkpoint.model, checkpoint.revision)
    if not download.weight_files(folder):
        raise CheckpointError(
            f"the weights of {checkpoint.label} are not in the local cache, and the Hub cannot be reached: go online"
        )
    return folder


def _describe_if_there(checkpoint: Checkpoint) -> RemoteCheckpoint | None:
    try:
        return download.describe(checkpoint.model, checkpoint.revision)
    except CheckpointError:  # raised again when it is opened, where an analysis can go on without it
        return None


class Cancelled(Exception):
    """The prefetched checkpoint is not wanted any more, or there is no space for it."""


class Prefetcher(threading.Thread):
    """Downloads one checkpoint, and reads it into memory, until ``stop`` is set. A program that ends does not wait."""

    def __init__(
        self, position: int, checkpoint: Checkpoint, *, budget: DiskBudget, beside: Sequence[RemoteCheckpoint]
    ) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self.position, self.stop = position, threading.Event()
        self._checkpoint, self._budget, self._beside = checkpoint, budget, beside

    def run(self) -> None:
        atexit.register(self._end)
        try:
            files = download.weight_files(self._fetch())
            if sum(path.stat().st_size for path in files) >= MIN_READ_AHEAD:
                read_ahead(files, stop=self.stop)
        except Exception:
            pass  # it is raised again when the checkpoint is opened
        finally:
            atexit.unregister(self._end)

    def _end(self) -> None:
        """At the end of the program: removes what is half downloaded, if that takes no time."""
        self.stop.set()
        self.join(timeout=1)

    def _fetch(self) -> Path:
        wanted = self._checkpoint
        if wanted.path is not None:
            return wanted.path
        remote = download.describe(wanted.model, wanted.revision)
        if remote is None:  # offline, what is cached can still be read into memory
            return download.snapshot_folder(wanted.model, download.cached_commit(wanted.model, wanted.revision))
        with self._budget.fetched(
            remote, partial(self._download, remote), wait=self._wait, beside=self._beside
        ) as folder:
            return folder

    def _wait(self, lack: InsufficientSpace) -> None:
        """Waits until a checkpoint that is now in use is closed."""
        if lack.ever or self.stop.is_set():
            raise Cancelled
        self.stop.wait(POLL_SECONDS)

    def _download(self, remote: RemoteCheckpoint) -> Path:
        cache = download.cache_folder()
        nearest = next(each for each in (cache, *cache.parents) if each.exists())
        if shutil.disk_usage(nearest).free < disk.missing_bytes(remote) + FREE_DISK:
            raise Cancelled
        names = sorted({*remote.texts, *remote.weights})
        return download_interruptibly(remote.model, remote.commit, names, stop=self.stop)


def download_interruptibly(model: str, commit: str, names: Sequence[str], *, stop: threading.Event) -> Path:
    """The folder of a commit with files downloaded into it, one after the other, silently and in this thread alone.

    ``snapshot_download`` cannot be interrupted: a program that ends waits for its worker threads.

    Raises:
        Cancelled: once ``stop`` is set; also whatever huggingface_hub raises.
    """
    import huggingface_hub
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Interrupter(tqdm):
        """A progress bar that shows nothing, and that ends the download that reports to it."""

        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__(disable=True)  # type: ignore[no-untyped-call]

        def update(self, *_: object) -> None:
            if stop.is_set():
                raise Cancelled

    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_not_prefetching)
    accepted = inspect.signature(huggingface_hub.hf_hub_download).parameters  # a bar: since huggingface_hub 1.0
    quiet: dict[str, Any] = {"tqdm_class": Interrupter} if "tqdm_class" in accepted else {}
    for name in names:
        if stop.is_set():
            raise Cancelled
        huggingface_hub.hf_hub_download(model, name, revision=commit, **quiet)
    return download.snapshot_folder(model, commit)


def _not_prefetching(record: logging.LogRecord) -> bool:
    return record.threadName != THREAD_NAME


def read_ahead(
    paths: Iterable[Path], *, stop: threading.Event, free: Callable[[], int] | None = None, piece: int = 1 << 24
) -> int:
    """Reads files into the page cache while memory for them and for the model they make is free; the bytes read.

    ``free`` returns the bytes of memory that no program uses. It is called before every ``piece`` of so many bytes.
    """
    from personascope.engines.memory import free_on_host

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
