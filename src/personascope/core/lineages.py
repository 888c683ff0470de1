"""Lineages: the same model at successive moments of its training.

Owns: :class:`Checkpoint`, :class:`Milestone`, :class:`Stage`, :class:`Lineage`, :func:`load_lineage` and
:func:`tokens_in`. The one law: which weights they are is identity; when in training they were saved, and what we call
them, is annotation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from personascope.core.errors import CheckpointError, LineageError, nearest
from personascope.core.files import bundled, read_toml, value_of
from personascope.core.identity import annotation


@dataclass(frozen=True)
class Checkpoint:
    """Which weights: a model and a revision of it.

    For the Hub, ``model`` is the repository and ``revision`` a branch, tag or commit (resolved to the commit
    when the engine opens). For a folder, ``model`` is ``"folder"``, ``revision`` the sha256 of its files (filled
    in when the engine opens) and ``path`` where it lies. ``adapter`` names a PEFT adapter (a folder or a
    repository) laid over the weights; ``adapter_revision`` is its commit or sha256.
    """

    model: str
    revision: str = "main"
    adapter_revision: str = ""
    path: Path | None = annotation(None)
    adapter: str | None = annotation(None)

    @property
    def label(self) -> str:
        """A name for people: the folder's name, or the repository's with its revision."""
        name = self.path.name if self.path is not None else f"{self.model.rsplit('/', 1)[-1]}@{self.revision}"
        return f"{name}+{Path(self.adapter).name}" if self.adapter else name

    @classmethod
    def at(cls, where: str | Path, *, revision: str | None = None, adapter: str | None = None) -> Checkpoint:
        """The checkpoint in a folder, if there is such a folder, else the one on the Hub.

        Raises:
            CheckpointError: if a revision of a folder is asked for.
        """
        if Path(where).is_dir():
            if revision:
                raise CheckpointError(
                    f"revision '{revision}' asked of {where}, which is a folder and has one set of weights: "
                    "leave the revision out, or give the folder that holds that revision"
                )
            return cls(model="folder", revision="", path=Path(where), adapter=adapter)
        return cls(model=str(where), revision=revision or "main", adapter=adapter)


@dataclass(frozen=True)
class Milestone:
    """A checkpoint with its place in training: annotation throughout, part of no key.

    ``tokens_seen`` is a count of tokens, ``None`` where nobody knows it. ``same_weights_as`` names another
    milestone's label, for a revision that is an alias.
    """

    checkpoint: Checkpoint
    label: str
    tokens_seen: int | None = None
    stage: str = ""
    same_weights_as: str = ""


@dataclass(frozen=True)
class Stage:
    """A stretch of training whose revisions are named by their step: enough to count the tokens of any of them.

    ``begins`` is what a revision's name has before the step. ``tokens_before`` had been seen when the stage began.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    begins: str
    tokens_before: int
    tokens_per_step: int


@dataclass(frozen=True)
class Lineage:
    """Ordered milestones, and the post-trained models that grew out of the last one (``targets``).

    ``stages`` say how many tokens the revisions that are not listed had seen.
    """

    name: str
    milestones: tuple[Milestone, ...]
    targets: tuple[Milestone, ...] = field(default=())
    stages: tuple[Stage, ...] = annotation(())

    def __post_init__(self) -> None:
        if not self.milestones:
            raise LineageError(f"lineage '{self.name}' has no milestones: give it at least one checkpoint")
        for kind in (self.milestones, self.targets):
            labels = [milestone.label for milestone in kind]
            if twice := sorted({label for label in labels if labels.count(label) > 1}):
                raise LineageError(f"lineage '{self.name}' has two milestones labelled '{twice[0]}': rename one")

    def __iter__(self) -> Iterator[Milestone]:
        return iter(self.milestones)

    def __len__(self) -> int:
        return len(self.milestones)

    def every(self, step: int) -> Lineage:
        """Every ``step``-th milestone, counted back from the last, which always stays."""
        if step < 1:
            raise LineageError(f"every {step}th milestone of lineage '{self.name}' means nothing: give 1 or more")
        return self._keeping(self.milestones[::-1][::step][::-1])

    def until(self, tokens: int) -> Lineage:
        """The milestones that had seen at most so many tokens."""
        kept = tuple(m for m in self.milestones if m.tokens_seen is not None and m.tokens_seen <= tokens)
        if not kept:
            counts = [m.tokens_seen for m in self.milestones if m.tokens_seen is not None]
            true = f"the first count is {min(counts):,}" if counts else "none of its milestones has a count"
            raise LineageError(f"lineage '{self.name}' has no milestone at or before {tokens:,} tokens; {true}")
        return self._keeping(kept)

    def stage(self, name: str) -> Lineage:
        """The milestones of one training stage."""
        kept = tuple(m for m in self.milestones if m.stage == name)
        if not kept:
            known = {m.stage for m in self.milestones if m.stage}
            raise LineageError(f"lineage '{self.name}' has no stage '{name}'; {nearest(name, known)}")
        return self._keeping(kept)

    def only(self, labels: tuple[str, ...]) -> Lineage:
        """The milestones with these labels, in the lineage's order."""
        known = [milestone.label for milestone in self.milestones]
        for label in labels:
            if label not in known:
                raise LineageError(f"milestone '{label}' is not in lineage '{self.name}'; {nearest(label, known)}")
        return self._keeping(tuple(m for m in self.milestones if m.label in labels))

    def at(self, revision: str) -> Milestone:
        """The milestone of any revision of the model, listed or not.

        The tokens of one that is not listed come from its name where the name says them, else from its stage's steps;
        they are ``None`` where neither does.

        Example:
            >>> load_lineage("olmo-3-7b").at("stage2-step1000").tokens_seen
            5932062867456
        """
        for milestone in self.milestones:
            if revision in (milestone.checkpoint.revision, milestone.label):
                return milestone
        checkpoint = Checkpoint(self.milestones[-1].checkpoint.model, revision)
        for stage in self.stages:
            step = revision.removeprefix(stage.begins)
            if step != revision and step.isdecimal():
                tokens = stage.tokens_before + int(step) * stage.tokens_per_step
                return Milestone(checkpoint, revision, tokens, stage.name)
        return Milestone(checkpoint, revision, tokens_in(revision))

    def target(self, label: str) -> Milestone:
        """One of the post-trained models."""
        for milestone in self.targets:
            if milestone.label == label:
                return milestone
        known = [milestone.label for milestone in self.targets]
        raise LineageError(f"target '{label}' is not one of lineage '{self.name}'; {nearest(label, known)}")

    def _keeping(self, milestones: tuple[Milestone, ...]) -> Lineage:
        return replace(self, milestones=milestones)


@dataclass(frozen=True)
class _Entry:
    """One milestone in a lineage file. ``folder`` is relative to the file; ``model`` overrides the lineage's."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    label: str = ""
    model: str = ""
    revision: str = ""
    folder: str = ""
    tokens_seen: int | None = None
    stage: str = ""
    same_weights_as: str = ""


@dataclass(frozen=True)
class _LineageFile:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    milestones: tuple[_Entry, ...]
    model: str = ""
    targets: tuple[_Entry, ...] = ()
    stages: tuple[Stage, ...] = ()
    about: str = ""


def load_lineage(name: str | Path) -> Lineage:
    """A lineage: a bundled one by name, one in a TOML file, or the checkpoints in the subfolders of a folder.

    A folder that is itself a checkpoint is a lineage of one. For every revision of a Hub repository see
    :func:`personascope.engines.hub.download.list_lineage`.

    Raises:
        LineageError: if there is no such lineage, or it holds no checkpoint.

    Example:
        >>> len(load_lineage("olmo-3-7b"))
        16
    """
    path = Path(name)
    known = bundled("lineages")
    if str(name).endswith(".toml"):
        return _from_file(path)
    if str(name) in known:
        return _from_file(known[str(name)])
    if path.is_dir():
        return _from_folder(path)
    raise LineageError(f"lineage '{name}' is neither bundled, a .toml file nor a folder; {nearest(str(name), known)}")


def _from_file(path: Path) -> Lineage:
    file = value_of(read_toml(path, error=LineageError), _LineageFile, source=str(path), error=LineageError)
    return Lineage(
        file.name,
        tuple(_milestone(entry, file, path.parent) for entry in file.milestones),
        tuple(_milestone(entry, file, path.parent) for entry in file.targets),
        file.stages,
    )


def _milestone(entry: _Entry, file: _LineageFile, root: Path) -> Milestone:
    model = entry.model or file.model
    if entry.folder:
        checkpoint = Checkpoint("folder", "", path=(root / entry.folder).resolve())
    elif model:
        checkpoint = Checkpoint(model, entry.revision or "main")
    else:
        raise LineageError(f"{file.name}: milestone '{entry.label}' has neither a folder nor a model: give it one")
    label = entry.label or entry.revision or Path(entry.folder).name or model
    return Milestone(checkpoint, label, entry.tokens_seen, entry.stage, entry.same_weights_as)


def _from_folder(path: Path) -> Lineage:
    if (path / "config.json").is_file():
        return Lineage(path.name, (Milestone(Checkpoint.at(path), path.name),))
    found = [each for each in path.iterdir() if (each / "config.json").is_file()]
    if not found:
        raise LineageError(f"{path} holds no checkpoint (a subfolder with a config.json): give a folder that does")
    return Lineage(
        path.name,
        tuple(Milestone(Checkpoint.at(each), each.name) for each in sorted(found, key=lambda each: natural(each.name))),
    )


_COUNTED = re.compile(r"tokens(\d+(?:\.\d+)?)([KMBT])(?![A-Za-z0-9])")
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def tokens_in(name: str) -> int | None:
    """The tokens seen that a revision's name says, ``None`` if it says none.

    Example:
        >>> tokens_in("step2627139-tokens15T")
        15000000000000
        >>> tokens_in("stage1-step3000") is None
        True
    """
    found = _COUNTED.search(name)
    return round(Fraction(found[1]) * _UNITS[found[2]]) if found else None


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sorting key that puts step-1000 after step-200: digits compare as numbers."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part)
