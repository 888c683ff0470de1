"""Opening judges: from what a study or a command line calls a judge to the judge.

Owns: :func:`open_judge`. The one law: what a judge needs (a key, an endpoint) is checked when it is opened, before
anything runs.
"""

from __future__ import annotations

from personascope.judges import Judge


def open_judge(name: str, *, url: str | None = None, asking: bool = True) -> Judge:
    """The lab's exact judge (``"lab"``), or a model behind an OpenAI-compatible endpoint (``"[ENDPOINT:]MODEL"``).

    ``url`` is the base URL of an endpoint, if it is not the usual one. With ``asking`` false no key is needed, because
    only verdicts that a store remembers are to be had.

    Raises:
        JudgeError: if the endpoint is unknown, or its key is not set.

    Example:
        >>> open_judge("local:my-model", url="http://localhost:8000/v1").name.split()[0]
        'local/my-model'
    """
    if name == "lab":
        from personascope.lab.judge import LabJudge

        return LabJudge()
    from dataclasses import replace

    from personascope.endpoints import open_endpoint
    from personascope.judges.openai import OpenAIJudge

    endpoint_name, _, model = name.rpartition(":") if name.count(":") == 1 else name.partition(":")
    endpoint = open_endpoint(endpoint_name or "openai", asking=asking)
    return OpenAIJudge(model, endpoint=replace(endpoint, base_url=url.rstrip("/")) if url else endpoint)
