"""Opens judges by name. What a judge needs (a key, an endpoint) is checked when it is opened, before anything runs.

A kind of judge is an entry point of the group ``personascope.judges``: a function or class that takes what follows the
first colon of a judge's name, and a :class:`JudgeContext`, and returns a :class:`~personascope.judges.Judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from personascope.core.errors import JudgeError, nearest
from personascope.core.plugins import JUDGES, entry_points, load
from personascope.judges import Judge

if TYPE_CHECKING:
    from personascope.engines import Engine
    from personascope.judges.readout import Mode
    from personascope.providers.client import BudgetGuard

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class JudgeContext:
    """What a judge is opened with: its whole name and its kind (what stands before the colon), and what
    :func:`open_judge` was given.
    """

    name: str
    kind: str
    url: str | None = None
    asking: bool = True
    meter: BudgetGuard | None = None
    open_engine: Callable[[str], Engine] | None = None


def open_judge(
    name: str,
    *,
    url: str | None = None,
    asking: bool = True,
    meter: BudgetGuard | None = None,
    open_engine: Callable[[str], Engine] | None = None,
) -> Judge:
    """A judge by name: ``"KIND:MODEL[#SETTING,...]"``, ``"KIND"`` alone, or a model at OpenAI.

    ``lab`` is the lab's exact judge, ``engine:MODEL`` a model on this machine, which ``open_engine`` opens, and
    ``scripted`` a test double; ``openai``, ``anthropic``, ``gemini``, ``deepseek``, ``local``, ``vllm`` and
    ``llamacpp`` are endpoints that speak the OpenAI protocol. Other packages may add kinds. A setting is how a score
    is read (``expectation``: the mean over numbers that are one token; ``digits``: where a tokenizer splits numbers;
    ``text``; by default what suits the model), or a ``NAME=VALUE`` of :class:`personascope.judges.openai.Asking` (of
    :class:`personascope.judges.engine.Speaking` for an engine), such as ``longest_answer=2000``.

    ``url`` is the base URL of an endpoint, if not the usual one. With ``asking`` false no key is needed, because only
    verdicts that a store remembers are wanted. ``meter`` counts the calls of an endpoint, and stops them at its budget.

    Raises:
        JudgeError: if the kind is unknown, its key is not set, or a setting is unknown or impossible.

    Example:
        >>> open_judge("local:my-model#digits", url="http://localhost:8000/v1").name.split()[:2]
        ['local/my-model', 'max_tokens=5']
    """
    kinds = entry_points(JUDGES)
    kind, _, rest = name.partition(":")
    if ":" not in name.partition("#")[0]:
        kind, rest = (name, "") if name in kinds else ("openai", name)
    if kind not in kinds:
        raise JudgeError(f"judge '{name}': there is no judge or endpoint '{kind}'; {nearest(kind, kinds)}")
    judge: Judge = load(JUDGES, kind)(rest, JudgeContext(name, kind, url, asking, meter, open_engine))
    return judge


def open_on_engine(rest: str, context: JudgeContext) -> Judge:
    """A model on this machine."""
    from personascope.judges.engine import EngineJudge, Speaking

    if context.open_engine is None:
        raise JudgeError(f"judge '{context.name}' is a model on this machine, and no engine can be opened here")
    model, readout, settings = _parsed(rest, context.name)
    speaking = _with(Speaking(), settings, context.name)
    return EngineJudge(context.open_engine(model), readout=readout or "expectation", speaking=speaking)


def open_at_endpoint(rest: str, context: JudgeContext) -> Judge:
    """A model behind the endpoint that the judge's kind names."""
    from personascope.judges.openai import OpenAIJudge
    from personascope.providers.endpoints import open_endpoint

    model, readout, settings = _parsed(rest, context.name)
    endpoint = open_endpoint(context.kind, asking=context.asking)
    if context.url:
        endpoint = replace(endpoint, base_url=context.url.rstrip("/"))
    judge = OpenAIJudge(model, endpoint=endpoint, readout=readout)
    if settings:
        judge = OpenAIJudge(
            model, endpoint=endpoint, readout=readout, asking=_with(judge.asking, settings, context.name)
        )
    return judge if context.meter is None else judge.metered(context.meter)


def open_scripted(rest: str, context: JudgeContext) -> Judge:
    """The test double, for the traits that are named, separated by commas: bundled ones or .toml files."""
    from personascope.core.traits import load_trait
    from personascope.judges.scripted import ScriptedJudge

    if not rest:
        raise JudgeError(f"judge '{context.name}': name the traits that it scores, as in scripted:evil,humorous")
    return ScriptedJudge([load_trait(each) for each in rest.split(",")])


def _parsed(rest: str, name: str) -> tuple[str, Mode | None, dict[str, str]]:
    """A model, the readout, and the other settings, of ``"MODEL[#SETTING,...]"``."""
    from personascope.judges.readout import MODES

    model, _, given = rest.partition("#")
    readout: Mode | None = None
    settings: dict[str, str] = {}
    for part in filter(None, given.split(",")):
        setting, equals, value = part.partition("=")
        if equals:
            settings[setting.strip()] = value.strip()
        elif part in MODES:
            readout = MODES[MODES.index(part)]
        else:
            raise JudgeError(f"judge '{name}' names no readout that exists; {nearest(part, MODES)}")
    return model, readout, settings


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
