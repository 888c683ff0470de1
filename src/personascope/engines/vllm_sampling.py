"""What vLLM is told of how an answer is drawn, and what it answers.

Owns: :func:`drawing`, :func:`said_of`, :func:`check_drawing`. The one law: nothing is drawn in another way than was
asked; what vLLM would change without a word is refused. In vLLM too the order is repetition penalty over prompt and
response tokens, temperature, top-p; and greedy takes the lowest id on ties.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from personascope.core.errors import EngineError
from personascope.core.records import Request, Sampling
from personascope.engines.vllm_plan import seed_of

COOLEST: Final = 0.01
"""The lowest temperature but 0 that vLLM takes: it raises lower ones to this and only logs that it did."""

PREFILL: Final[Mapping[str, Any]] = {"temperature": 0.0, "max_tokens": 1, "skip_reading_prefix_cache": True}
"""A text is computed whole, as a prompt, whatever is cached; what would follow is thrown away."""


def check_drawing(sampling: Sampling, *, in_pieces: bool) -> None:
    """Refuses what vLLM would draw in another way: at a temperature it changes, or after a prompt cut ``in_pieces``.

    Raises:
        EngineError: if so.
    """
    if 0 < sampling.temperature < COOLEST:
        raise EngineError(
            f"a temperature of {sampling.temperature} was asked for, and vLLM would raise it to {COOLEST}: "
            "give 0 (greedy) or more, or use the engine transformers"
        )
    if in_pieces and sampling.temperature > 0:
        raise EngineError(
            f"an answer was to be drawn at temperature {sampling.temperature} with enable_chunked_prefill, under which "
            "vLLM loses count of its random numbers: leave that setting out, or ask greedily"
        )


def drawing(request: Request, ends: Collection[int]) -> dict[str, Any]:
    """vLLM's ``SamplingParams`` of a request."""
    sampling = request.drawn_with
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": sampling.max_tokens,
        "seed": seed_of(request),
        "stop_token_ids": sorted(ends),
    }


def said_of(output: Any, ends: Collection[int]) -> tuple[tuple[int, ...], Literal["stop", "length"]]:
    """The tokens of an answer, without the one that ended it, and how it ended.

    Raises:
        EngineError: if vLLM ended it for another reason.
    """
    answer = output.outputs[0]
    tokens = tuple(int(each) for each in answer.token_ids)
    if answer.finish_reason == "length":
        return tokens, "length"
    if answer.finish_reason == "stop" and tokens and tokens[-1] in ends:
        return tokens[:-1], "stop"
    raise EngineError(f"vLLM ended an answer for a reason of its own ({answer.finish_reason}): ask it again")
