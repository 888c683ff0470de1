"""The Hub's local cache, which this program shares with others: what lies where, and taking it away.

Owns: the folders of the cache, :func:`written`, :func:`forget` and :func:`forget_parts`, and the locks in it. The one
law: a file is taken away by its name in one commit, and its content only with the last commit that has it, as
huggingface_hub does it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants


def cache() -> Path:
    """The cache."""
    return Path(constants.HF_HUB_CACHE).expanduser().resolve()


def cache_of(model: str) -> Path:
    """The folder of a repository."""
    return cache() / f"models--{model.replace('/', '--')}"


def snapshot_of(model: str, commit: str) -> Path:
    """The folder of a commit's files, by their names."""
    return cache_of(model) / "snapshots" / commit


def written(model: str, commit: str, name: str, blob: str) -> int | None:
    """When a file of a commit, or its content for another commit, was written, in nanoseconds since 1970.

    ``None`` where neither is there.
    """
    for path in (snapshot_of(model, commit) / name, cache_of(model) / "blobs" / blob):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime_ns
    return None


def locked(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """A descriptor of a file that is locked until it is closed; ``None`` if others have it and nobody is to wait.

    Two descriptors of one process are told apart like those of two, and the lock ends with its process, killed or not.

    Raises:
        OSError: if the file cannot be opened, or system or file system have no such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOSYS, "this system has no flock") from None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def forget(model: str, commit: str, files: Iterable[tuple[str, str]]) -> None:
    """Takes files of a commit away, each a name and a content; a content that another commit has stays.

    The commit's other files stay, and what its name on the Hub means.
    """
    files, folder = list(files), snapshot_of(model, commit)
    paths = [folder / name for name, _ in files]
    found = huggingface_hub.scan_cache_dir(cache())
    if hasattr(found, "delete_files"):  # newer versions keep some contents where repositories share them
        every = (file for repository in found.repos for revision in repository.revisions for file in revision.files)
        found.delete_files(*(file for file in every if file.file_path in paths)).execute()
    # Older ones cannot; none looks at a repository where something is amiss, or at a content that no commit has because
    # a download was killed between its last two steps.
    for path in paths:
        path.unlink(missing_ok=True)
    pointed = {path.readlink().name for path in folder.parent.rglob("*") if path.is_symlink()}
    for _, blob in files:
        if blob not in pointed:
            (cache_of(model) / "blobs" / blob).unlink(missing_ok=True)
    forget_parts(model, [blob for _, blob in files])


def forget_parts(model: str, blobs: Iterable[str]) -> None:
    """Takes away what is left of downloads of contents that nobody is at any more."""
    folder = cache_of(model) / "blobs"
    for blob in blobs:
        lock = cache() / ".locks" / cache_of(model).name / f"{blob}.lock"
        if not lock.is_file():
            continue
        descriptor = locked(lock, wait=False)  # as huggingface_hub does while it fetches
        if descriptor is None:
            continue
        try:
            for part in folder.glob(f"{blob}*.incomplete"):
                part.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
