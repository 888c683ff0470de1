"""The Hugging Face Hub: which commit a name means, and which revisions there are.

Owns: resolving a revision to its commit, and :func:`list_lineage`. The one law: a branch name never becomes part of a
key, because tomorrow it may mean other weights. Credentials, cache and offline mode are huggingface_hub's own.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import huggingface_hub
from huggingface_hub import constants, errors

from personascope.errors import CheckpointError, LineageError
from personascope.lineages import Checkpoint, Lineage, Milestone

_TOKENS: Final = re.compile(r"(?:^|[-_])tokens?([\d.]+)([KMBT])(?=$|[-_])", re.IGNORECASE)
_STAGE: Final = re.compile(r"(?:^|[-_])stage(\d+)(?=$|[-_])", re.IGNORECASE)
_UNITS: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def commit_of(model: str, revision: str, *, file: str = "config.json") -> str:
    """The commit a revision of a repository means, asked of the Hub, or of the local cache when offline.

    ``file`` is one the repository must hold: it is fetched, for it is needed next anyway.

    Raises:
        CheckpointError: if there is no such repository, revision or file, or the Hub cannot be reached and the cache
            does not know.
    """
    asked = f"{model}@{revision}"
    try:
        found = Path(huggingface_hub.hf_hub_download(model, file, revision=revision))
    except errors.GatedRepoError:
        raise CheckpointError(f"{asked} is gated: accept its terms on the Hub, then run `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(f"{asked}: the Hub has no such repository: check the name, or log in to see it") from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{asked}: the repository has no such revision: list them with list_lineage") from None
    except errors.EntryNotFoundError as problem:
        if isinstance(problem, errors.LocalEntryNotFoundError):
            raise CheckpointError(
                f"{asked} is not in the local cache and the Hub cannot be reached: go online, or give a folder"
            ) from None
        raise CheckpointError(f"{asked} has no {file}, so it is not such a checkpoint: check the name") from None
    except errors.HFValidationError:
        raise CheckpointError(f"'{model}' is neither a folder nor the name of a Hub repository: check it") from None
    except (errors.HfHubHTTPError, OSError) as problem:
        said = str(problem).splitlines()[0]
        raise CheckpointError(f"{asked} could not be fetched ({said}): check the connection and the name") from None
    return found.parent.name


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
    ordered = sorted(names, key=lambda name: (name == "main", _natural(name)))
    return Lineage(model, tuple(_milestone(model, name) for name in ordered))


def _revisions(model: str) -> Sequence[str]:
    try:
        return [branch.name for branch in huggingface_hub.HfApi().list_repo_refs(model).branches]
    except errors.RepositoryNotFoundError:
        raise CheckpointError(f"{model}: the Hub has no such repository: check the name, or log in to see it") from None
    except errors.HFValidationError:
        raise CheckpointError(f"'{model}' is not the name of a Hub repository: check it") from None
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError):
        held = _cached_revisions(model)
        if held:
            return held
        raise CheckpointError(
            f"the revisions of {model} cannot be listed: the Hub cannot be reached, and the cache has none"
        ) from None


def _cached_revisions(model: str) -> list[str]:
    """What the local cache knows: offline, the only revisions that can be used."""
    root = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "refs"
    return [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]


def _milestone(model: str, name: str) -> Milestone:
    stage = _STAGE.search(name)
    tokens = _TOKENS.search(name)
    first_stage = stage is None or stage[1] == "1"
    seen = round(float(tokens[1]) * _UNITS[tokens[2].upper()]) if tokens and first_stage else None
    return Milestone(Checkpoint(model, name), name, seen, stage[1] if stage else "")


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts step-1000 after step-200: digits compare as numbers."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part)
