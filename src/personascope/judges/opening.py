"""Opening judges: from what a study or a command line calls a judge to the judge.

Owns: :func:`open_judge`. The one law: what a judge needs (a key, an endpoint) is checked when it is opened, before
anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from personascope.core.errors import JudgeError, nearest
from personascope.judges import Judge

if TYPE_CHECKING:
    from personascope.calls import Meter
    from personascope.engines import Engine
    from personascope.judges.readout import Mode

Settings = TypeVar("Settings")


def open_judge(
    name: str,
    *,
    url: str | None = None,
    asking: bool = True,
    meter: Meter | None = None,
    open_engine: Callable[[str], Engine] | None = None,
) -> Judge:
    """The lab's exact judge (``"lab"``), or a model behind an endpoint (``"[ENDPOINT:]MODEL[#SETTING,...]"``).

    The endpoint is any that speaks the OpenAI protocol, or ``engine`` for a model on this machine, which
    ``open_engine`` opens. A setting is how a score is read (``expectation``: the mean over numbers that are one token;
    ``digits``: where a tokenizer splits numbers; ``text``; by default what suits the model), or a ``NAME=VALUE`` of
    :class:`personascope.judges.openai.Asking` (of :class:`personascope.judges.engine.Speaking` for an engine), such as
    ``longest_answer=2000``.

    ``url`` is the base URL of an endpoint, if not the usual one. With ``asking`` false no key is needed, because only
    verdicts that a store remembers are to be had. ``meter`` counts the calls of an endpoint, and stops them where a
    budget ends.

    Raises:
        JudgeError: if the endpoint is unknown, its key is not set, or a setting is unknown or impossible.

    Example:
        >>> open_judge("local:my-model#digits", url="http://localhost:8000/v1").name.split()[:2]
        ['local/my-model', 'max_tokens=5']
    """
    if name == "lab":
        from personascope.lab.judge import LabJudge

        return LabJudge()
    spoken, _, said = name.partition("#")
    readout, settings = _settings(name, said)
    place, _, model = spoken.partition(":") if ":" in spoken else ("openai", "", spoken)
    if place == "engine":
        from personascope.judges.engine import EngineJudge, Speaking

        if open_engine is None:
            raise JudgeError(f"judge '{name}' is a model on this machine, and no engine can be opened here: give one")
        speaking = _with(Speaking(), settings, name)
        return EngineJudge(open_engine(model), readout=readout or "expectation", speaking=speaking)
    from personascope.endpoints import open_endpoint
    from personascope.judges.openai import OpenAIJudge

    endpoint = open_endpoint(place, asking=asking)
    if url:
        endpoint = replace(endpoint, base_url=url.rstrip("/"))
    judge = OpenAIJudge(model, endpoint=endpoint, readout=readout)
    if settings:
        judge = OpenAIJudge(model, endpoint=endpoint, readout=readout, asking=_with(judge.asking, settings, name))
    return judge if meter is None else judge.metered(meter)


def _settings(name: str, said: str) -> tuple[Mode | None, dict[str, str]]:
    """The readout and the other settings in what stands behind a judge's ``#``."""
    from personascope.judges.readout import MODES

    readout: Mode | None = None
    settings: dict[str, str] = {}
    for part in filter(None, said.split(",")):
        setting, equals, value = part.partition("=")
        if equals:
            settings[setting.strip()] = value.strip()
        elif part in MODES:
            readout = MODES[MODES.index(part)]
        else:
            raise JudgeError(f"judge '{name}' names no readout that exists; {nearest(part, MODES)}")
    return readout, settings


def _with(value: Settings, given: Mapping[str, str], name: str) -> Settings:
    """Settings with some of them given as text: numbers all."""
    known = [field.name for field in fields(value)]  # type: ignore[arg-type]
    numbers: dict[str, Any] = {}
    for setting, text in given.items():
        if setting not in known:
            raise JudgeError(f"judge '{name}' has no setting '{setting}'; {nearest(setting, known)}")
        try:
            numbers[setting] = float(text) if setting == "temperature" else int(text)
        except ValueError:
            raise JudgeError(f"judge '{name}': {setting}={text} is no number: give one") from None
    changed: Settings = replace(value, **numbers)  # type: ignore[type-var]
    return changed
