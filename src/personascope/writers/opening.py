"""Opening writers: from what a command line calls a writer to the writer.

Owns: :func:`open_writer`. The one law: what a writer needs (a key, an endpoint) is checked when it is opened, before
anything is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from personascope.core.errors import JudgeError, WriterError
from personascope.writers import Writer

if TYPE_CHECKING:
    from personascope.calls import Meter
    from personascope.engines import Engine


def open_writer(
    name: str,
    *,
    url: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    seed: int = 0,
    open_engine: Callable[[str], Engine] | None = None,
    meter: Meter | None = None,
) -> Writer:
    """A chat model behind an endpoint, ``"[ENDPOINT:]MODEL"``, or on this machine, ``"engine:MODEL"``.

    The endpoint is any that speaks the OpenAI protocol; ``openai`` unless another is named. ``url`` is its base URL, if
    not the usual one. ``open_engine`` opens a model on this machine. ``meter`` counts the calls of an endpoint, and
    stops them where a budget ends. What is not given is as
    :class:`personascope.writers.openai.Writing` or :data:`personascope.writers.engine.WRITING` has it.

    Raises:
        WriterError: if the endpoint is unknown, its key is not set, or a setting is impossible.

    Example:
        >>> open_writer("local:my-model", url="http://localhost:8000/v1").name
        'local/my-model max_tokens=8192 temperature=1 seed=0'
    """
    from dataclasses import replace

    place, _, model = name.partition(":") if ":" in name else ("openai", "", name)
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    settings = {setting: value for setting, value in given.items() if value is not None}
    if place == "engine":
        from personascope.writers.engine import WRITING, EngineWriter

        if open_engine is None or url is not None:
            told = f"and {url} is no place to look for it" if url else "and no engine can be opened here: give one"
            raise WriterError(f"writer '{name}' is a model on this machine, {told}")
        return EngineWriter(open_engine(model), sampling=replace(WRITING, **settings))  # type: ignore[arg-type]
    from personascope.endpoints import open_endpoint
    from personascope.writers.openai import OpenAIWriter, Writing

    try:
        endpoint = open_endpoint(place)
        if url:
            endpoint = replace(endpoint, base_url=url.rstrip("/"))
    except JudgeError as problem:  # endpoints speak as judges do
        raise WriterError(str(problem)) from None
    writer = OpenAIWriter(model, endpoint=endpoint, writing=Writing(**settings))  # type: ignore[arg-type]
    return writer if meter is None else writer.metered(meter)
