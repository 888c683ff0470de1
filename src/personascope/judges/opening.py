"""Opening judges: from what a study or a command line calls a judge to the judge.

Owns: :func:`open_judge`. The one law: what a judge needs (a key, an endpoint) is checked when it is opened, before
anything runs.
"""

from __future__ import annotations

from personascope.errors import JudgeError, nearest
from personascope.judges import Judge


def open_judge(name: str, *, url: str | None = None, asking: bool = True) -> Judge:
    """The lab's exact judge (``"lab"``), or a model behind an endpoint (``"[ENDPOINT:]MODEL[#READOUT]"``).

    The endpoint is any that speaks the OpenAI protocol. The readout is how a score is read: ``expectation`` (unless
    another is named: the mean over numbers that are one token), ``digits`` (where a tokenizer splits numbers) or
    ``text``. ``url`` is the base URL of an endpoint, if not the usual one. With ``asking`` false no key is needed,
    because only verdicts that a store remembers are to be had.

    Raises:
        JudgeError: if the endpoint is unknown, or its key is not set.

    Example:
        >>> open_judge("local:my-model#digits", url="http://localhost:8000/v1").name.split()[:2]
        ['local/my-model', 'max_tokens=5']
    """
    if name == "lab":
        from personascope.lab.judge import LabJudge

        return LabJudge()
    from dataclasses import replace

    from personascope.endpoints import open_endpoint
    from personascope.judges.openai import OpenAIJudge
    from personascope.judges.readout import MODES

    spoken, _, readout = name.partition("#")
    if readout and readout not in MODES:
        raise JudgeError(f"judge '{name}' names no readout that exists; {nearest(readout, MODES)}")
    endpoint_name, _, model = spoken.partition(":") if ":" in spoken else ("openai", "", spoken)
    endpoint = open_endpoint(endpoint_name, asking=asking)
    if url:
        endpoint = replace(endpoint, base_url=url.rstrip("/"))
    return OpenAIJudge(model, endpoint=endpoint, readout=MODES[MODES.index(readout)] if readout else "expectation")
