"""The Hugging Face Hub: which commit a name means, its files, and which revisions there are.

Owns: resolving a revision to its commit, the files of a commit, fetching them, and :func:`list_lineage`. The one law: a
branch name never becomes part of a key, because tomorrow it may mean other weights. Credentials, cache and offline mode
are huggingface_hub's own.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import huggingface_hub
from huggingface_hub import errors

from personascope.core.errors import CheckpointError, DiskError, LineageError, PersonascopeError
from personascope.core.lineages import Checkpoint, Lineage, Milestone, natural
from personascope.engines.cached import cache, cache_of, snapshot_of

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TOKENS: Final = re.compile(r"(?:^|[-_])tokens?([\d.]+)([KMBT])(?=$|[-_])", re.IGNORECASE)
_STAGE: Final = re.compile(r"(?:^|[-_])stage(\d+)(?=$|[-_])", re.IGNORECASE)
_UNITS: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class _Unreachable(Exception):
    """The Hub did not answer, or answered that it cannot now: the cache is what there is."""


def commit_of(model: str, revision: str) -> str:
    """The commit a revision of a repository means: asked of the Hub or, when it cannot be reached, of the local cache.

    Raises:
        CheckpointError: if there is no such repository or revision, or neither the Hub nor the cache can tell.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        # By name, so that huggingface_hub notes in its cache which commit the name meant, for when it is offline.
        return _downloaded(model, revision, ["*config.json"]).name
    except _Unreachable:
        known = noted_commit(model, revision)
        if known:
            return known
        raise _absent(f"{model}@{revision}") from None


def fetch(model: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder of a commit in the local cache, with every file of the repository that matches a pattern in it.

    Raises:
        CheckpointError: if the repository is gated, or the Hub cannot be reached and the cache has nothing of it.
        DiskError: if the disk is full.
    """
    try:
        return _downloaded(model, commit, patterns)
    except _Unreachable:
        held = snapshot_of(model, commit)
        if held.is_dir():
            return held
        raise _absent(f"{model}@{commit[:12]}") from None


@dataclass(frozen=True)
class HubFile:
    """A file of a commit: its name, its bytes, and what the cache calls its content, whichever commits have it."""

    name: str
    size: int
    blob: str


@dataclass(frozen=True)
class Listing:
    """The files of a commit."""

    model: str
    commit: str
    files: tuple[HubFile, ...]

    def only(self, names: Iterable[str]) -> Listing:
        """The same commit with some of its files."""
        kept = set(names)
        return Listing(self.model, self.commit, tuple(each for each in self.files if each.name in kept))

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.files]


def list_files(model: str, revision: str) -> Listing | None:
    """The files of a revision, without fetching any; ``None`` where the Hub cannot be reached.

    Raises:
        CheckpointError: if there is no such repository or revision, or it is gated.
    """
    try:
        with _answering(f"{model}@{revision}"):
            told = huggingface_hub.HfApi().model_info(model, revision=revision, files_metadata=True)
            files = [
                HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else str(each.blob_id))
                for each in told.siblings or ()
            ]
    except _Unreachable:
        return None
    return Listing(model, str(told.sha), tuple(filter(_within, files)))


def _within(file: HubFile) -> bool:
    """Whether a file lies in the folder it is said to: it may be deleted by its name."""
    return not {"", ".", ".."} & {*file.name.split("/"), file.blob} and "/" not in file.blob


def chosen(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Those of the names that match one of the patterns."""
    return {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}


def noted_commit(model: str, revision: str) -> str:
    """The commit a revision last meant, as the local cache notes it; empty where it does not know. Asks nobody."""
    if _COMMIT.fullmatch(revision):
        return revision
    known = cache_of(model) / "refs" / revision
    return known.read_text().strip() if known.is_file() else ""


def _downloaded(model: str, revision: str, patterns: Sequence[str]) -> Path:
    with _answering(f"{model}@{revision}"):
        # One quick question first: a download waits half a minute for a Hub that is not there.
        huggingface_hub.HfApi().model_info(model, revision=revision)
        return Path(huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=list(patterns)))


@contextmanager
def _answering(asked: str) -> Iterator[None]:
    """What the Hub refuses and what does not fit, as an error to mend; what keeps it from answering, as
    :class:`_Unreachable`.
    """
    try:
        yield
    except errors.GatedRepoError:
        raise CheckpointError(f"{asked} is gated: accept its terms on the Hub, then run `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(f"{asked}: the Hub has no such repository: check the name, or log in to see it") from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{asked}: the repository has no such revision: list them with list_lineage") from None
    except errors.HFValidationError:
        raise CheckpointError(f"'{asked}' is neither a folder nor the name of a Hub repository: check it") from None
    except PersonascopeError:
        raise
    except Exception as problem:  # each version of huggingface_hub has its own HTTP client, with its own errors
        if any(os.strerror(each) in str(problem) for each in (errno.ENOSPC, errno.EDQUOT)):
            raise DiskError(
                f"{asked} does not fit on the disk of {cache()}: make room, or give a smaller --disk"
            ) from None
        raise _Unreachable from problem


def _absent(asked: str) -> CheckpointError:
    return CheckpointError(
        f"{asked} is not in the local cache and the Hub cannot be reached: go online, or give a folder"
    )


def list_lineage(model: str, *, pattern: str | None = None) -> Lineage:
    """Every revision of a Hub repository as a lineage, in the natural order of their names, ``main`` last.

    ``pattern`` is a shell pattern over revision names (``"stage1-*"``). ``tokens_seen`` is known only where a name
    holds it (``step50000-tokens210B``), and not in a second or later stage, where such names count anew.

    Raises:
        CheckpointError: if the Hub cannot tell.
        LineageError: if no revision matches the pattern.
    """
    names = [name for name in _revisions(model) if pattern is None or fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise LineageError(f"no revision of {model} matches '{pattern}': use a shell pattern such as 'stage1-*'")
    ordered = sorted(names, key=lambda name: (name == "main", natural(name)))
    return Lineage(model, tuple(_milestone(model, name) for name in ordered))


def _revisions(model: str) -> Sequence[str]:
    try:
        with _answering(model):
            return [branch.name for branch in huggingface_hub.HfApi().list_repo_refs(model).branches]
    except _Unreachable:
        # Offline, the only revisions that can be used are those the cache knows.
        root = cache_of(model) / "refs"
        held = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
        if held:
            return held
        raise _absent(f"the list of revisions of {model}") from None


def _milestone(model: str, name: str) -> Milestone:
    stage = _STAGE.search(name)
    tokens = _TOKENS.search(name)
    first_stage = stage is None or stage[1] == "1"
    seen = round(float(tokens[1]) * _UNITS[tokens[2].upper()]) if tokens and first_stage else None
    return Milestone(Checkpoint(model, name), name, seen, stage[1] if stage else "")
