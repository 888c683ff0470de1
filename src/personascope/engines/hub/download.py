"""Revisions of Hub repositories: which commit a name means, what a commit consists of, and getting its files.

A branch name never becomes part of a key, because tomorrow it may mean other weights. Credentials, cache and offline
mode are huggingface_hub's own. It is imported where it is used: studies on scripted engines run without it.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from personascope.core.errors import CheckpointError, DiskError, LineageError
from personascope.core.lineages import Checkpoint, Lineage, Milestone, natural

SAFE_WEIGHTS: Final = ("model*.safetensors", "model.safetensors.index.json")
PICKLED_WEIGHTS: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
TEXTS: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template.*",
)
"""Configuration and tokenizer files: small, and never deleted."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TOKENS: Final = re.compile(r"(?:^|[-_])tokens?([\d.]+)([KMBT])(?=$|[-_])", re.IGNORECASE)
_STAGE: Final = re.compile(r"(?:^|[-_])stage(\d+)(?=$|[-_])", re.IGNORECASE)
_UNITS: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

WeightProvider = Callable[[Checkpoint], AbstractContextManager[Path]]
"""Returns the folder of a resolved checkpoint's weights, in use until the context ends."""


class _Unreachable(Exception):
    """The Hub did not answer, or cannot answer now: only the cache is left."""


def default_weights(checkpoint: Checkpoint) -> AbstractContextManager[Path]:
    """The folder of a resolved checkpoint's weights: downloaded if necessary, never deleted."""
    return nullcontext(weight_folder(checkpoint))


def weight_folder(checkpoint: Checkpoint) -> Path:
    """The folder of a resolved checkpoint's weights. Pickled weights are downloaded only if there are no others.

    Raises:
        CheckpointError: if the checkpoint has no weights, or they cannot be downloaded.
        DiskError: if the disk is full.
    """
    if checkpoint.path is not None:
        return checkpoint.path
    for patterns in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
        folder = fetch(checkpoint.model, checkpoint.revision, TEXTS + patterns)
        if matching(folder, patterns):
            return folder
    raise CheckpointError(f"{checkpoint.label} has no weights on the Hub or, offline, in the cache: choose another")


def weight_files(folder: Path) -> list[Path]:
    """The weight files in a folder: pickled ones only if there are no others."""
    return matching(folder, SAFE_WEIGHTS) or matching(folder, PICKLED_WEIGHTS)


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files in a folder that match one of the patterns, sorted."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def cache_folder() -> Path:
    """The Hub's local cache, which other programs use too."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().resolve()


def repository_folder(model: str) -> Path:
    """The folder of a repository in the cache."""
    return cache_folder() / f"models--{model.replace('/', '--')}"


def snapshot_folder(model: str, commit: str) -> Path:
    """The folder of a commit in the cache, with its files under their own names."""
    return repository_folder(model) / "snapshots" / commit


def commit_of(model: str, revision: str) -> str:
    """The commit of a revision, according to the Hub or, if it cannot be reached, to the cache.

    Raises:
        CheckpointError: if there is no such repository or revision, or neither the Hub nor the cache knows it.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        # Downloading by name makes huggingface_hub record the commit in its cache, for offline use.
        return _download(model, revision, ["*config.json"]).name
    except _Unreachable:
        if commit := cached_commit(model, revision):
            return commit
        raise _absent(f"{model}@{revision}") from None


def cached_commit(model: str, revision: str) -> str:
    """The commit of a revision according to the cache, without asking the Hub; empty if the cache does not know it."""
    if _COMMIT.fullmatch(revision):
        return revision
    ref = repository_folder(model) / "refs" / revision
    return ref.read_text().strip() if ref.is_file() else ""


def fetch(model: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder of a commit in the cache, with all files of the repository that match a pattern.

    Raises:
        CheckpointError: if the repository is gated, or the Hub cannot be reached and the cache has nothing of it.
        DiskError: if the disk is full.
    """
    try:
        return _download(model, commit, patterns)
    except _Unreachable:
        folder = snapshot_folder(model, commit)
        if folder.is_dir():
            return folder
        raise _absent(f"{model}@{commit[:12]}") from None


def _download(model: str, revision: str, patterns: Sequence[str]) -> Path:
    import huggingface_hub

    with _hub_errors(f"{model}@{revision}"):
        # A short request first: a download waits half a minute for a Hub that is not there.
        huggingface_hub.HfApi().model_info(model, revision=revision)
        return Path(huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=list(patterns)))


@dataclass(frozen=True)
class RemoteCheckpoint:
    """What a checkpoint consists of on the Hub: its weight files with their contents and sizes, and its small files.

    A content is named as in the cache, where commits share it.
    """

    model: str
    commit: str
    weights: Mapping[str, tuple[str, int]]
    texts: Sequence[str]


def describe(model: str, revision: str) -> RemoteCheckpoint | None:
    """What a revision consists of, without downloading anything; ``None`` if the Hub cannot be reached.

    Raises:
        CheckpointError: if there is no such repository or revision, or it is gated.
    """
    import huggingface_hub

    try:
        with _hub_errors(f"{model}@{revision}"):
            info = huggingface_hub.HfApi().model_info(model, revision=revision, files_metadata=True)
    except _Unreachable:
        return None
    files = {
        each.rfilename: (each.lfs.sha256 if each.lfs else str(each.blob_id), each.size or 0)
        for each in info.siblings or ()
    }
    # Files are deleted by name, so no name may lead out of the cache's folders.
    names = [name for name, (blob, _) in files.items() if not {"", ".", ".."} & {*name.split("/"), *blob.split("/")}]
    weights = _selected(names, SAFE_WEIGHTS) or _selected(names, PICKLED_WEIGHTS)
    return RemoteCheckpoint(model, str(info.sha), {name: files[name] for name in weights}, _selected(names, TEXTS))


def _selected(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


@contextmanager
def _hub_errors(requested: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into an error that says what to do, or into :class:`_Unreachable`."""
    from huggingface_hub import errors

    advice = {  # the first that fits
        errors.GatedRepoError: "is gated: accept its terms on the Hub, then run `hf auth login`",
        errors.RepositoryNotFoundError: "is unknown: the Hub has no such repository; check the name, or log in",
        errors.RevisionNotFoundError: "is unknown: the repository has no such revision; list them with list_lineage",
        errors.HFValidationError: "is neither a folder nor the name of a Hub repository: check it",
    }
    try:
        yield
    except Exception as problem:  # each version of huggingface_hub has its own HTTP client, with its own errors
        for kind, text in advice.items():
            if isinstance(problem, kind):
                raise CheckpointError(f"{requested} {text}") from None
        if any(os.strerror(each) in str(problem) for each in (errno.ENOSPC, errno.EDQUOT)):
            raise DiskError(
                f"{requested} does not fit on the disk of {cache_folder()}: make room, or give a smaller --disk"
            ) from None
        raise _Unreachable from problem


def _absent(requested: str) -> CheckpointError:
    return CheckpointError(
        f"{requested} is not in the local cache and the Hub cannot be reached: go online, or give a folder"
    )


def list_lineage(model: str, *, pattern: str | None = None) -> Lineage:
    """Every revision of a Hub repository as a lineage, in the natural order of their names, ``main`` last.

    ``pattern`` is a shell pattern over revision names (``"stage1-*"``). ``tokens_seen`` is known only where a name
    holds it (``step50000-tokens210B``), and not in a second or later stage, where such names count anew.

    Raises:
        CheckpointError: if the Hub cannot be reached and the cache has no revision.
        LineageError: if no revision matches the pattern.
    """
    names = [name for name in _revisions(model) if pattern is None or fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise LineageError(f"no revision of {model} matches '{pattern}': use a shell pattern such as 'stage1-*'")
    ordered = sorted(names, key=lambda name: (name == "main", natural(name)))
    return Lineage(model, tuple(_milestone(model, name) for name in ordered))


def _revisions(model: str) -> Sequence[str]:
    import huggingface_hub

    try:
        with _hub_errors(model):
            return [branch.name for branch in huggingface_hub.HfApi().list_repo_refs(model).branches]
    except _Unreachable:
        # Offline, only revisions that the cache knows can be used.
        refs = repository_folder(model) / "refs"
        if names := [path.relative_to(refs).as_posix() for path in sorted(refs.rglob("*")) if path.is_file()]:
            return names
        raise _absent(f"the list of revisions of {model}") from None


def _milestone(model: str, name: str) -> Milestone:
    stage = _STAGE.search(name)
    tokens = _TOKENS.search(name)
    first_stage = stage is None or stage[1] == "1"
    seen = round(float(tokens[1]) * _UNITS[tokens[2].upper()]) if tokens and first_stage else None
    return Milestone(Checkpoint(model, name), name, seen, stage[1] if stage else "")
