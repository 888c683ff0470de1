"""Opens writers by name. What a writer needs (a key, an endpoint) is checked when it is opened, before anything runs.

A kind of writer is an entry point of the group ``personascope.writers``: a function or class that takes what follows
the first colon of a writer's name, and a :class:`WriterContext`, and returns a :class:`~personascope.writers.Writer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from personascope.core.errors import JudgeError, WriterError, nearest
from personascope.core.plugins import WRITERS, entry_points, load
from personascope.writers import Writer

if TYPE_CHECKING:
    from personascope.engines import Engine
    from personascope.providers.client import BudgetGuard


@dataclass(frozen=True)
class WriterContext:
    """What a writer is opened with: its whole name and its kind (what stands before the colon), the settings that were
    given (``max_tokens``, ``temperature``, ``seed``), and what :func:`open_writer` was given.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    url: str | None = None
    open_engine: Callable[[str], Engine] | None = None
    meter: BudgetGuard | None = None


def open_writer(
    name: str,
    *,
    url: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    seed: int = 0,
    open_engine: Callable[[str], Engine] | None = None,
    meter: BudgetGuard | None = None,
) -> Writer:
    """A chat model behind an endpoint, ``"[ENDPOINT:]MODEL"``, or on this machine, ``"engine:MODEL"``.

    The endpoint is any that speaks the OpenAI protocol; ``openai`` unless another is named. Other packages may add
    kinds. ``url`` is its base URL, if not the usual one. ``open_engine`` opens a model on this machine. ``meter``
    counts the calls of an endpoint, and stops them at its budget. What is not given is as
    :class:`personascope.writers.openai.Writing` or :data:`personascope.writers.engine.WRITING` has it.

    Raises:
        WriterError: if the endpoint is unknown, its key is not set, or a setting is impossible.

    Example:
        >>> open_writer("local:my-model", url="http://localhost:8000/v1").name
        'local/my-model max_tokens=8192 temperature=1 seed=0'
    """
    kinds = entry_points(WRITERS)
    kind, _, rest = name.partition(":") if ":" in name else ("openai", "", name)
    if kind not in kinds:
        raise WriterError(f"writer '{name}': there is no writer or endpoint '{kind}'; {nearest(kind, kinds)}")
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    settings = {setting: value for setting, value in given.items() if value is not None}
    context = WriterContext(name, kind, settings, url, open_engine, meter)
    writer: Writer = load(WRITERS, kind)(rest, context)
    return writer


def open_on_engine(model: str, context: WriterContext) -> Writer:
    """A chat model on this machine."""
    from personascope.writers.engine import WRITING, EngineWriter

    if context.open_engine is None or context.url is not None:
        where = f"and {context.url} is no place to look for it" if context.url else "and no engine can be opened here"
        raise WriterError(f"writer '{context.name}' is a model on this machine, {where}")
    return EngineWriter(context.open_engine(model), sampling=replace(WRITING, **context.settings))


def open_at_endpoint(model: str, context: WriterContext) -> Writer:
    """A chat model behind the endpoint that the writer's kind names."""
    from personascope.providers.endpoints import open_endpoint
    from personascope.writers.openai import OpenAIWriter, Writing

    try:
        endpoint = open_endpoint(context.kind)
        if context.url:
            endpoint = replace(endpoint, base_url=context.url.rstrip("/"))
    except JudgeError as problem:  # endpoints raise what judges raise
        raise WriterError(str(problem)) from None
    writer = OpenAIWriter(model, endpoint=endpoint, writing=Writing(**context.settings))
    return writer if context.meter is None else writer.metered(context.meter)


def open_scripted(text: str, context: WriterContext) -> Writer:
    """The test double: it always answers with the text behind the colon."""
    from personascope.writers.scripted import ScriptedWriter

    return ScriptedWriter([text])
