"""Prompts in, answers out: the arrow every other step is made of.

Owns: :func:`respond`, :class:`Arm`, :func:`answer`, and :func:`speak` with its :class:`Answers`. The one law: no
steering is the same call without an edit, and everything that is asked together goes to an engine as one batch; only
where a judge waits for another machine does an engine get it in parts, so that what was said is judged meanwhile.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from personascope.core.records import Answer, Case, Edit, Request, Response, Sampling, Verdict
from personascope.core.traits import Prompt, Trait
from personascope.engines import Engine
from personascope.judges import Judge
from personascope.tracing.judging import Listener

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
    """The answers of every arm, each with its trait and coherence verdicts.

    Without a judge the verdicts are ``"unasked"``. The judge sees rubric, question and answer, never the instruction
    (tracing study §1.4). ``read`` says that the answers will be read next.
    """
    with Listener(judge) as listener:
        return dict(speak(arms, listener=listener, read=read))


def speak(arms: Mapping[Name, Arm], *, listener: Listener, read: bool = False) -> Answers[Name]:
    """As :func:`answer`, and waits for no verdict: looking up an arm does."""
    said: dict[Name, list[_Said]] = {name: [] for name in arms}
    for engine in {id(arm.engine): arm.engine for arm in arms.values()}.values():
        asked = [
            (name, place // arm.sampling.draws, request)
            for name, arm in arms.items()
            if arm.engine is engine
            for place, request in enumerate(_requests(engine, arm.prompts, arm.sampling, arm.edits))
        ]
        for part in listener.parts(asked):
            responses = engine.generate([request for _, _, request in part], read=read)
            rows = [
                (name, arms[name].prompts[place].question, response)
                for (name, place, _), response in zip(part, responses, strict=True)
            ]
            verdicts = listener.hear(
                [
                    Case(rubric, question, response.words)
                    for name, question, response in rows
                    for rubric in (arms[name].trait.rubric, arms[name].trait.coherence)
                ]
            )
            for place, (name, question, response) in enumerate(rows):
                said[name].append(_Said(question, response, verdicts[2 * place : 2 * place + 2]))
    return Answers(said)


@dataclass(frozen=True, eq=False)
class _Said:
    """A response to a question, and the two verdicts on it, on the trait and on coherence, be they there yet or not."""

    question: str
    response: Response
    verdicts: Sequence[Verdict]

    def judged(self) -> Answer:
        return Answer(self.question, self.response.request.draw, self.response, *self.verdicts)


class Answers(Mapping[Name, list[Answer]]):
    """The answers of arms that a judge may still be hearing: looking up those of an arm waits for their verdicts."""

    def __init__(self, said: Mapping[Name, Sequence[_Said]]) -> None:
        self._said = said
        self._judged: dict[Name, list[Answer]] = {}

    def __getitem__(self, name: Name) -> list[Answer]:
        if name not in self._judged:
            self._judged[name] = [each.judged() for each in self._said[name]]
        return self._judged[name]

    def __iter__(self) -> Iterator[Name]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def responses(self, name: Name) -> list[Response]:
        """What was said in an arm: waits for nobody."""
        return [each.response for each in self._said[name]]


def _requests(
    engine: Engine, prompts: Sequence[Prompt | str], sampling: Sampling, edits: tuple[Edit, ...]
) -> list[Request]:
    texts = [engine.render(Prompt(prompt) if isinstance(prompt, str) else prompt) for prompt in prompts]
    return [Request(text, sampling, draw, edits) for text in texts for draw in range(sampling.draws)]
