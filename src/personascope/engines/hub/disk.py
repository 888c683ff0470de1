"""A limit for the weights that are downloaded under it: what was downloaded, who uses it, and what may be deleted.

Only weight files that were downloaded under a budget are deleted, and only while no process uses them. Everything else
in the cache, configuration and tokenizer files included, stays.

The notes of what was downloaded lie in the cache's own folder of locks, so all processes that share the cache share
them. They are read and changed under one lock, before a download begins, and written whole or not at all. A file that
is newer than the notes is not what they describe: somebody deleted that, and downloaded it for himself. A checkpoint in
use is a locked file, and the lock ends with its process, however that ends.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from personascope.core.errors import DiskError
from personascope.core.files import write_text
from personascope.core.lineages import Checkpoint
from personascope.engines.hub import download
from personascope.engines.hub.download import RemoteCheckpoint

if TYPE_CHECKING:
    from filelock import BaseFileLock

_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([KMGT])(I?)B\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """The bytes of a size: ``100GB`` (1000^3), ``100GiB`` (1024^3), ``500MB``, ``1.5TB``.

    Raises:
        DiskError: if it is no size, or none of at least a byte.

    Example:
        >>> parse_size("100GB"), parse_size("1.5 GiB")
        (100000000000, 1610612736)
    """
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise DiskError(f"'{text}' is no size on the disk: give a number and a unit, as in 100GB or 80GiB")
    return size


def format_size(size: int) -> str:
    """A number of bytes for people, in powers of 1000."""
    power = min(4, max(0, len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


class InsufficientSpace(DiskError):
    """A checkpoint does not fit: ``ever``, or until some of what is ``downloading`` or in use is not used any more."""

    def __init__(self, label: str, needed: int, limit: int, blocked: Sequence[_Entry]) -> None:
        self.ever, self.downloading = needed > limit, any(each.coming for each in blocked)
        if self.ever:
            super().__init__(
                f"the weights of {label} take {format_size(needed)} on the disk, and --disk allows "
                f"{format_size(limit)}: allow more"
            )
            return
        names = ", ".join(Checkpoint(each.model, each.commit).label for each in blocked)
        super().__init__(
            f"the weights of {label} take {format_size(needed)}, and of the {format_size(limit)} that --disk allows "
            f"{format_size(_total(blocked))} are in use ({names}): allow more, or wait until they are not"
        )


@dataclass
class CacheLock:
    """Keeps the weights of a checkpoint in the cache until it is closed or lost, or its process ends."""

    lock: BaseFileLock | None = None

    def close(self) -> None:
        if self.lock is not None:
            self.lock.release()


@dataclass
class _Entry:
    """A checkpoint whose weights were downloaded or are ``coming``: by file name, the content and its size."""

    model: str
    commit: str
    files: dict[str, tuple[str, int]]
    used: int
    coming: bool


class DiskBudget:
    """A limit in bytes for all weights together that are downloaded under one; ``None`` is no limit, without notes."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    @property
    def _folder(self) -> Path:
        return download.cache_folder() / ".locks" / "personascope"

    def lock(self, model: str, commit: str) -> CacheLock:
        """Keeps any process from deleting a checkpoint until the lock is closed.

        Raises:
            DiskError: if there is a limit and the cache cannot be written, or has no locks.
        """
        try:
            with self._exclusive():
                return self._lock(_key(model, commit))
        except DiskError:
            if self.limit is None:  # nobody deletes from such a cache
                return CacheLock()
            raise

    @contextmanager
    def fetched(
        self,
        wanted: RemoteCheckpoint,
        fetch: Callable[[], Path],
        *,
        wait: Callable[[InsufficientSpace], None],
        beside: Iterable[RemoteCheckpoint] = (),
    ) -> Iterator[Path]:
        """What ``fetch`` returns once there is space for the weights; they are in use until the block ends.

        Space is made by deleting what nobody uses, the least recently used first, and for what is used ``beside`` them
        too. While that is not enough, ``wait`` is called, which may raise. If ``fetch`` fails, what it left is removed.
        """
        while True:
            try:
                lock = self.lock(wanted.model, wanted.commit) if self.limit is None else self._reserve(wanted, beside)
                break
            except InsufficientSpace as lack:
                wait(lack)
        with closing(lock):
            try:
                folder = fetch()
                if self.limit is not None:
                    with self._notes() as notes:
                        for entry in notes.values():
                            entry.coming &= (entry.model, entry.commit) != (wanted.model, wanted.commit)
            except BaseException:
                lock.close()
                if self.limit is not None:
                    with suppress(DiskError), self._notes():  # opening them cleans up
                        pass
                raise
            yield folder

    def counted(self, wanted: RemoteCheckpoint, notes: dict[str, _Entry] | None = None) -> dict[tuple[str, str], int]:
        """The contents of a checkpoint that count, with their sizes: all but what others downloaded."""
        noted = _contents((self._read() if notes is None else notes).values())
        return {
            (wanted.model, blob): size
            for name, (blob, size) in wanted.weights.items()
            if (wanted.model, blob) in noted or mtime_ns(wanted.model, wanted.commit, name, blob) is None
        }

    def _reserve(self, wanted: RemoteCheckpoint, beside: Iterable[RemoteCheckpoint]) -> CacheLock:
        key = _key(wanted.model, wanted.commit)
        with self._notes() as notes:
            counted = self.counted(wanted, notes)
            needed = {name: size for each in (wanted, *beside) for name, size in self.counted(each, notes).items()}
            self._make_space(notes, wanted, needed)
            if counted or key in notes:
                files = {name: each for name, each in wanted.weights.items() if (wanted.model, each[0]) in counted}
                used = 1 + max((each.used for each in notes.values()), default=0)
                coming = missing_bytes(wanted) > 0
                notes[key] = _Entry(wanted.model, wanted.commit, files, used, coming)
            return self._lock(key)

    def _make_space(
        self, notes: dict[str, _Entry], wanted: RemoteCheckpoint, needed: dict[tuple[str, str], int]
    ) -> None:
        """Deletes what is not in use until what is needed fits, or raises without deleting anything."""
        limit = self.limit or 0
        kept = {key: each for key, each in notes.items() if key != _key(wanted.model, wanted.commit)}
        unused, blocked = list[str](), list[_Entry]()
        for key, entry in sorted(kept.items(), key=lambda item: item[1].used):
            if _total(kept.values(), needed) <= limit:
                break
            if self._in_use(key):
                blocked.append(entry)
            else:
                unused.append(key)
                del kept[key]
        if _total(kept.values(), needed) > limit:
            label = Checkpoint(wanted.model, wanted.commit).label
            raise InsufficientSpace(label, sum(needed.values()), limit, blocked)
        for key in unused:
            _evict(notes.pop(key))

    @contextmanager
    def _notes(self) -> Iterator[dict[str, _Entry]]:
        """The notes, cleaned up, while nobody else changes them; written if the block ends without an error."""
        with self._exclusive():
            found, path = self._read(), self._folder / "notes.json"
            since, before = path.stat().st_mtime_ns if found else 0, _as_json(found)
            notes = {key: each for key, each in found.items() if self._clean_up(key, each, since)}
            yield notes
            if (text := _as_json(notes)) != before:
                write_text(path, text)

    def _clean_up(self, key: str, entry: _Entry, since: int) -> bool:
        """Removes what a killed process left half downloaded, and drops what others deleted; whether any is left."""
        if not self._in_use(key):
            if entry.coming:
                _remove_parts(entry)
                since = sys.maxsize
            times = {name: mtime_ns(entry.model, entry.commit, name, blob) for name, (blob, _) in entry.files.items()}
            entry.files = {name: each for name, each in entry.files.items() if (times[name] or math.inf) <= since}
            entry.coming = False
        return bool(entry.files)

    def _read(self) -> dict[str, _Entry]:
        path = self._folder / "notes.json"
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
            return {_key(each["model"], each["commit"]): _Entry(**each) for each in rows}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, OSError):
            raise DiskError(
                f"{path} cannot be read: delete it; what it says was fetched then counts as somebody else's, and stays"
            ) from None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """While this runs, nobody else begins to use a checkpoint, or changes notes."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with closing(_acquired(self._folder / "notes.lock")):
                yield
        except DiskError:  # which is an OSError
            raise
        except OSError as problem:
            raise DiskError(
                f"--disk needs notes in {self._folder}, which cannot be written and locked ({problem.strerror}): "
                "set HF_HUB_CACHE to a folder where they can, or leave --disk out"
            ) from None

    def _lock(self, key: str) -> CacheLock:
        """A lock of its own for every user of a checkpoint, since filelock has none that several can share."""
        numbered = (_acquired(self._folder / f"{key}.{number}.lock", wait=False) for number in itertools.count())
        return next(lock for lock in numbered if lock is not None)

    def _in_use(self, key: str) -> bool:
        locks = [_acquired(path, wait=False) for path in self._folder.glob(f"{key}.*.lock")]
        for lock in filter(None, locks):
            lock.close()
        return None in locks


@overload
def _acquired(path: Path) -> CacheLock: ...
@overload
def _acquired(path: Path, *, wait: Literal[False]) -> CacheLock | None: ...
def _acquired(path: Path, *, wait: bool = True) -> CacheLock | None:
    from filelock import FileLock, Timeout

    # Not per thread: an engine may be closed in another thread than it was loaded in. Not "soft" either: such a lock
    # outlives a killed process.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    return CacheLock(lock)


def mtime_ns(model: str, commit: str, name: str, blob: str) -> int | None:
    """When a file of a commit, or its content for another commit, was written, in nanoseconds since 1970.

    ``None`` if neither is there.
    """
    for path in (download.snapshot_folder(model, commit) / name, download.repository_folder(model) / "blobs" / blob):
        with suppress(OSError):
            return path.stat().st_mtime_ns
    return None


def missing_bytes(wanted: RemoteCheckpoint) -> int:
    """How much of a checkpoint's weights is to be downloaded."""
    there = {name: mtime_ns(wanted.model, wanted.commit, name, blob) for name, (blob, _) in wanted.weights.items()}
    return sum(size for name, (_, size) in wanted.weights.items() if there[name] is None)


def _evict(entry: _Entry) -> None:
    """Deletes the files of an entry. A content that another commit has stays, and so do all other files."""
    import huggingface_hub

    folder, repository = download.snapshot_folder(entry.model, entry.commit), download.repository_folder(entry.model)
    paths = {folder / name for name in entry.files}
    info = huggingface_hub.scan_cache_dir(download.cache_folder())
    if hasattr(info, "delete_files"):
        every = (file for repo in info.repos for revision in repo.revisions for file in revision.files)
        info.delete_files(*(file for file in every if file.file_path in paths)).execute()
    # huggingface_hub before 1.0 cannot delete single files, and no version scans a damaged repository or a content
    # without a name, which a download leaves that is killed between its last two steps.
    for path in paths:
        path.unlink(missing_ok=True)
    named = {path.readlink().name for path in folder.parent.rglob("*") if path.is_symlink()}
    for blob, _ in entry.files.values():
        if blob not in named:
            (repository / "blobs" / blob).unlink(missing_ok=True)
    _remove_parts(entry)


def _remove_parts(entry: _Entry) -> None:
    """Removes partial downloads, but not those that some program is at: huggingface_hub locks them."""
    folder = download.repository_folder(entry.model)
    for blob, _ in entry.files.values():
        path = download.cache_folder() / ".locks" / folder.name / f"{blob}.lock"
        if path.is_file() and (lock := _acquired(path, wait=False)) is not None:
            with closing(lock):
                for part in (folder / "blobs").glob(f"{blob}*.incomplete"):
                    part.unlink(missing_ok=True)


def _key(model: str, commit: str) -> str:
    return f"{model.replace('/', '--')}@{commit}"


def _as_json(notes: dict[str, _Entry]) -> str:
    return json.dumps([vars(each) for each in notes.values()], indent=1) + "\n"


def _contents(entries: Iterable[_Entry]) -> dict[tuple[str, str], int]:
    return {(entry.model, blob): size for entry in entries for blob, size in entry.files.values()}


def _total(entries: Iterable[_Entry], needed: dict[tuple[str, str], int] | None = None) -> int:
    """The bytes of all distinct contents."""
    return sum((_contents(entries) | (needed or {})).values())
