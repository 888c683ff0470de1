"""Opening engines: from the name of a model to an engine, and how many stay loaded.

Owns: :func:`open_engine`, :func:`open_lineage` and :class:`Opener`. The one law: opening is free, loading is not, so
engines open where they are named and weights stay loaded only while they are in use.

What computes a model is an entry point of the group ``personascope.engines``: a function or class that takes a
:class:`~personascope.core.lineages.Checkpoint` and the keywords ``device``, ``dtype`` and ``device_map`` (each a
string or None), and returns an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from personascope.core.errors import EngineError, nearest
from personascope.core.lineages import Checkpoint, Lineage, Milestone, load_lineage
from personascope.core.plugins import ENGINES, entry_points, load
from personascope.engines import Engine


def open_engine(
    where: str | Path | Checkpoint | Milestone,
    *,
    revision: str | None = None,
    adapter: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
    engine: str = "transformers",
) -> Engine:
    """The engine of a checkpoint: a folder, a Hub repository, a milestone, or ``"lab"`` (the lab's last checkpoint).

    ``dtype`` is ``"float32"`` or ``"bfloat16"``, by default the former on a CPU and the latter on a GPU. ``engine`` is
    ``"transformers"``, ``"vllm"`` where that package is installed, or one that another package adds.

    Raises:
        CheckpointError: if there is no such checkpoint.
        EngineError: if the engine is unknown, or not installed.

    Example:
        >>> open_engine("lab").last_layer
        4
    """
    kinds = entry_points(ENGINES)
    if engine not in kinds:
        raise EngineError(f"engine '{engine}' is unknown; {nearest(engine, kinds)}")
    if str(where) == "lab" and not Path("lab").is_dir():
        lineage = load_lineage("lab")
        where = lineage.only((revision,)).milestones[0] if revision else lineage.milestones[-1]
    if isinstance(where, Milestone):
        where = where.checkpoint
    if not isinstance(where, Checkpoint):
        where = Checkpoint.at(where, revision=revision, adapter=adapter)
    opened: Engine = load(ENGINES, engine)(where, device=device, dtype=dtype, device_map=device_map)
    return opened


def open_transformers(checkpoint: Checkpoint, **how: Any) -> Engine:
    """The engine on transformers."""
    from personascope.engines.transformers import TransformersEngine

    return TransformersEngine(checkpoint, **how)


def open_vllm(checkpoint: Checkpoint, *, device: str | None, dtype: str | None, device_map: str | None) -> Engine:
    """The engine on vLLM.

    Raises:
        EngineError: if a ``device_map`` is given.
    """
    from personascope.engines.vllm import VLLMEngine

    if device_map is not None:
        raise EngineError(
            f"device_map={device_map!r} was given to the engine vllm, which runs on one device: leave it out"
        )
    return VLLMEngine(checkpoint, device=device, dtype=dtype)


def open_scripted(checkpoint: Checkpoint, **how: Any) -> Engine:
    """The test double, whose traits are the bundled ones; it has no device and no dtype."""
    from personascope.core.files import bundled
    from personascope.core.traits import load_trait
    from personascope.engines.scripted import ScriptedEngine

    return ScriptedEngine(checkpoint, [load_trait(name) for name in bundled("traits/assistant")])


def open_lineage(name: str) -> Lineage:
    """A lineage by name, file or folder, or else every revision of the Hub repository of that name.

    Raises:
        LineageError: if there is no such lineage.
        CheckpointError: if it looks like a repository and the Hub does not know it.
    """
    if name.count("/") == 1 and not name.endswith(".toml") and not Path(name).exists():
        from personascope.engines.hub import list_lineage

        return list_lineage(name)
    return load_lineage(name)


class Opener:
    """Opens each checkpoint once and keeps at most ``keep`` of them loaded, the most recently asked for.

    ``wrap`` puts something around each engine, a memory for instance.
    """

    def __init__(
        self, open_one: Callable[[Checkpoint], Engine], *, keep: int = 1, wrap: Callable[[Engine], Engine] | None = None
    ) -> None:
        self._open_one = open_one
        self._keep = keep
        self._wrap = wrap or (lambda engine: engine)
        self._engines: dict[tuple[Checkpoint, Path | None, str | None], Engine] = {}

    def __call__(self, checkpoint: Checkpoint) -> Engine:
        # A folder's revision is not known before it opens, so its path tells unopened folders apart.
        name = (checkpoint, checkpoint.path, checkpoint.adapter)
        engine = self._engines.pop(name, None) or self._wrap(self._open_one(checkpoint))
        self._engines[name] = engine
        for stale in list(self._engines)[: -self._keep]:
            self._engines.pop(stale).close()
        return engine
