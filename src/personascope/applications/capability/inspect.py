"""A model of ours for Inspect: every evaluation it knows, under steering.

Owns: :class:`InspectModel`. The one law: what Inspect asks at the same moment is answered as one batch.

Inspect finds it by the entry point of this package:

    inspect eval TASK --model personascope/MODEL -M vector=cruel.safetensors -M layer=2 -M strength=1.5 -M unit=vector
"""

from __future__ import annotations

import asyncio
from typing import Any

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

from personascope.applications.capability.evals import Draws, cut, prompt_of
from personascope.core.errors import EngineError, StudyError
from personascope.core.files import value_of
from personascope.core.records import Edit, Request, Response, Sampling
from personascope.core.steering import Steering
from personascope.core.vectors import load_vector
from personascope.engines import Engine
from personascope.engines.opening import open_engine

NEW_TOKENS = 256
"""How many tokens an answer has at most where neither task nor command line says."""

UNHEARD = (
    "top_k", "frequency_penalty", "presence_penalty", "logit_bias", "num_choices", "best_of", "logprobs",
    "response_schema",
)  # fmt: skip
"""Ways of drawing that Inspect has and no engine does."""

TOGETHER = 0.02
"""For how many seconds requests are collected before they are answered as one batch."""


class InspectModel(ModelAPI):
    """An engine and the edits under which it speaks, as Inspect wants a model to be.

    Without ``vector`` it is not steered; with it ``layer``, ``strength`` and ``unit`` must be given too.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  Inspect's own signature
        **arguments: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        opening = {
            name: arguments.pop(name) for name in ("revision", "adapter", "device", "dtype") if name in arguments
        }
        self.edits = edits_of(arguments)
        self.engine: Engine = open_engine(model_name, **opening)
        self._draws = Draws()
        self._waiting: list[tuple[Request, asyncio.Future[Response]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """What the model says next.

        Raises:
            EngineError: for tools, which no engine has, or turns that do not take turns.
        """
        if tools:
            raise EngineError("tools were given to a personascope model, which has none: choose a task without tools")
        text, sampling = self.engine.render(prompt_of([(each.role, each.text) for each in input])), sampling_of(config)
        response = await self._answered(Request(text, sampling, self._draws.next(text, sampling), self.edits))
        said = cut(response.words, config.stop_seqs or ())
        ended = {"stop": "stop", "length": "max_tokens"}
        reason = "stop" if said != response.words else ended.get(response.finish, "unknown")
        return ModelOutput.from_content(self.model_name, said, stop_reason=reason)

    def max_connections(self) -> int:
        """How many requests Inspect sends at once: they become one batch."""
        return 64

    async def _answered(self, request: Request) -> Response:
        """The answer of one request, which waits a moment for others to be answered with."""
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(TOGETHER)
            batch, self._waiting = self._waiting, []
            try:
                said = await asyncio.to_thread(self.engine.generate, [request for request, _ in batch])
            except Exception as problem:  # whoever waits must hear of it, whatever it is
                for _, future in batch:
                    if not future.done():
                        future.set_exception(problem)
                continue
            for (_, future), response in zip(batch, said, strict=True):
                if not future.done():  # who gave up waiting (a sample's time ran out) must not keep it from the others
                    future.set_result(response)


@modelapi(name="personascope")
def personascope() -> type[ModelAPI]:
    """What Inspect finds by the entry point."""
    return InspectModel


def edits_of(arguments: dict[str, Any]) -> tuple[Edit, ...]:
    """The edits that model arguments ask for: none without a ``vector``.

    Raises:
        StudyError: for an argument that is not known, or one that is missing.
    """
    vector = arguments.pop("vector", None)
    if vector is None:
        if arguments:
            raise StudyError(f"{sorted(arguments)} were given without a vector to steer along: give -M vector=FILE")
        return ()
    steering = value_of(arguments, Steering, source="model arguments", error=StudyError)
    return steering.along(load_vector(vector))


def sampling_of(config: GenerateConfig) -> Sampling:
    """How Inspect wants answers drawn; its defaults are ours for what it does not say: temperature 1, no penalty.

    Raises:
        EngineError: for ways of drawing that no engine has.
    """
    for name in UNHEARD:
        value = getattr(config, name, None)
        if value and (name, value) not in (("num_choices", 1), ("best_of", 1)):
            raise EngineError(
                f"{name} = {value!r} was asked of a personascope model, which has no such thing: leave it"
            )
    return Sampling(
        max_tokens=config.max_tokens or NEW_TOKENS,
        temperature=1.0 if config.temperature is None else config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        repetition_penalty=1.0,
        seed=config.seed or 0,
        draws=1,
    )
