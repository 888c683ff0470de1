"""Opening writers: from what a command line calls a writer to the writer.

Owns: :func:`open_writer`. The one law: what a writer needs (a key, an endpoint) is checked when it is opened, before
anything is asked.
"""

from __future__ import annotations

from personascope.writers import Writer


def open_writer(
    name: str, *, url: str | None = None, max_tokens: int = 8192, temperature: float | None = 1.0, seed: int | None = 0
) -> Writer:
    """A chat model behind an endpoint: ``"[ENDPOINT:]MODEL"``.

    The endpoint is any that speaks the OpenAI protocol; ``openai`` unless another is named. ``url`` is its base URL, if
    not the usual one. ``None`` for ``temperature`` or ``seed`` sends none, for models that take none.

    Raises:
        WriterError: if the endpoint is unknown, its key is not set, or a setting is impossible.

    Example:
        >>> open_writer("local:my-model", url="http://localhost:8000/v1").name
        'local/my-model max_tokens=8192 temperature=1 seed=0'
    """
    from dataclasses import replace

    from personascope.endpoints import open_endpoint
    from personascope.errors import JudgeError, WriterError
    from personascope.writers.openai import OpenAIWriter, Writing

    endpoint_name, _, model = name.partition(":") if ":" in name else ("openai", "", name)
    try:
        endpoint = open_endpoint(endpoint_name)
        if url:
            endpoint = replace(endpoint, base_url=url.rstrip("/"))
    except JudgeError as problem:  # endpoints speak as judges do
        raise WriterError(str(problem)) from None
    return OpenAIWriter(model, endpoint=endpoint, writing=Writing(max_tokens, temperature, seed))
