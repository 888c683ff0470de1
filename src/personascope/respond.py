"""Prompts in, answers out: the arrow every other step is made of.

Owns: :func:`respond`, :class:`Arm` and :func:`answer`. The one law: no steering is the same call without an edit,
and everything that is asked together goes to an engine as one batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from personascope.engines import Engine
from personascope.judges import Judge
from personascope.records import UNASKED, Answer, Case, Edit, Request, Response, Sampling, Verdict
from personascope.traits import Prompt, Trait

Name = TypeVar("Name", bound=Hashable)


def respond(
    engine: Engine,
    prompts: Sequence[Prompt | str],
    *,
    sampling: Sampling | None = None,
    edits: tuple[Edit, ...] = (),
) -> list[Response]:
    """What a model says to each prompt, ``sampling.draws`` times: prompt-major, then draw.

    A steered response is the same call with ``edits``; it shares its random numbers with the plain one.

    Example:
        >>> import personascope as ps
        >>> question = ps.load_trait("cruel", form="lab").evaluation_questions[0]
        >>> len(ps.respond(ps.open_engine("lab"), [question], sampling=ps.Sampling(max_tokens=8, draws=2)))
        2
    """
    sampling = sampling or Sampling()
    return engine.generate(_requests(engine, prompts, sampling, edits))


@dataclass(frozen=True, eq=False)
class Arm:
    """Prompts about one trait, put to one engine in one way. Its answers are one point of a curve, or one pole."""

    engine: Engine
    trait: Trait
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    edits: tuple[Edit, ...] = ()


def answer(arms: Mapping[Name, Arm], *, judge: Judge | None, read: bool = False) -> dict[Name, list[Answer]]:
    """The answers of every arm, each with its trait and coherence verdicts; one batch per engine, one for the judge.

    Without a judge the verdicts are ``"unasked"``. The judge sees rubric, question and answer, never the instruction
    (tracing study §1.4). ``read`` says that the answers will be read next.
    """
    responses: dict[Name, list[Response]] = {}
    for engine in dict.fromkeys(id(arm.engine) for arm in arms.values()):
        mine = {name: arm for name, arm in arms.items() if id(arm.engine) == engine}
        requests = {name: _requests(arm.engine, arm.prompts, arm.sampling, arm.edits) for name, arm in mine.items()}
        speaker = next(iter(mine.values())).engine
        said = iter(speaker.generate([request for some in requests.values() for request in some], read=read))
        responses |= {name: [next(said) for _ in some] for name, some in requests.items()}
    rows = [(name, place, response) for name in arms for place, response in enumerate(responses[name])]
    verdicts = iter(_score([(arms[name], place, response) for name, place, response in rows], judge))
    answers: dict[Name, list[Answer]] = {name: [] for name in arms}
    for name, place, response in rows:
        question = _question(arms[name], place)
        answers[name].append(Answer(question, response.request.draw, response, next(verdicts), next(verdicts)))
    return answers


def _requests(
    engine: Engine, prompts: Sequence[Prompt | str], sampling: Sampling, edits: tuple[Edit, ...]
) -> list[Request]:
    texts = [engine.render(Prompt(prompt) if isinstance(prompt, str) else prompt) for prompt in prompts]
    return [Request(text, sampling, draw, edits) for text in texts for draw in range(sampling.draws)]


def _question(arm: Arm, place: int) -> str:
    return arm.prompts[place // arm.sampling.draws].question


def _score(rows: list[tuple[Arm, int, Response]], judge: Judge | None) -> list[Verdict]:
    """The trait and the coherence verdict of each row, one after the other."""
    cases = [
        Case(rubric, _question(arm, place), response.words)
        for arm, place, response in rows
        for rubric in (arm.trait.rubric, arm.trait.coherence)
    ]
    return judge.score(cases) if judge is not None else [UNASKED] * len(cases)
