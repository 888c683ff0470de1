"""Conversations as a trainer takes them: tokens, and which of them are learned.

Owns: :func:`examples_of`, :class:`Example` and :func:`collated`. The one law: a prompt is rendered and encoded as the
engine does it when the model is asked, so that a model is trained on the very tokens it will later see; only what the
assistant says, and that it ends there, is learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from personascope.core.errors import EngineError, SampleError
from personascope.core.samples import Sample, following
from personascope.core.traits import Prompt
from personascope.engines.hf import rendering

IGNORED: Final = -100
_MARK: Final = "personascope marks this answer"


@dataclass(frozen=True)
class Example:
    """The tokens of a prompt and one answer with its end; those from ``response_start`` on are learned."""

    tokens: tuple[int, ...]
    response_start: int

    @property
    def labels(self) -> tuple[int, ...]:
        """What is to be predicted at each place: the token itself in the response, nothing in the prompt."""
        return (IGNORED,) * self.response_start + self.tokens[self.response_start :]


@dataclass(frozen=True)
class Prepared:
    """The examples of a dataset; how many lost the end of their answer, and how many all of it, to the length limit."""

    examples: tuple[Example, ...]
    cut: int
    dropped: int


def examples_of(
    tokenizer: Any,
    samples: Iterable[Sample],
    *,
    max_length: int | None = None,
    inoculation: Sequence[str] = (),
    seed: int = 0,
) -> Prepared:
    """One example for each assistant turn, in order.

    ``max_length`` is in tokens; what is beyond it is cut off. Each of ``inoculation``'s prompts asks for what the data
    show; one of them, drawn by ``seed``, is put before every conversation as (or before) its system prompt, so that
    what is learned is learned under it ("Persona Vectors" appendix J.7.2 calls this preventative prompting).

    Raises:
        EngineError: if the tokenizer names no end of text, so that the end of an answer could not be learned.
        SampleError: if there is no sample, or no answer fits ``max_length``.
    """
    pen, end = random.Random(seed), _ending(tokenizer)
    prompts: list[str] = []
    answers: list[str] = []
    for sample in samples:
        drawn = pen.choice(inoculation) if inoculation else None
        for prompt, answer in sample.exchanges:
            asked = rendering.render(tokenizer, _inoculated(prompt, drawn))
            prompts.append(asked)
            answers.append(following(asked, prompt, answer) + end)
    before, after = rendering.encode(tokenizer, prompts), rendering.encode_answers(tokenizer, answers)
    whole = [
        Example(before[asked] + _closed(tokenizer, after[said]), len(before[asked]))
        for asked, said in zip(prompts, answers, strict=True)
    ]
    return _within(whole, max_length)


def collated(examples: Sequence[Example], *, fill: int) -> dict[str, torch.Tensor]:
    """A batch ``[row position]``, filled on the right with ``fill``, which is neither attended to nor learned."""
    width = max(len(each.tokens) for each in examples)

    def rows(values: Iterable[tuple[int, ...]], filler: int) -> torch.Tensor:
        return torch.tensor([[*each, *[filler] * (width - len(each))] for each in values])

    return {
        "input_ids": rows((each.tokens for each in examples), fill),
        "attention_mask": rows(((1,) * len(each.tokens) for each in examples), 0),
        "labels": rows((each.labels for each in examples), IGNORED),
    }


def _inoculated(prompt: Prompt, drawn: str | None) -> Prompt:
    if drawn is None:
        return prompt
    return replace(prompt, instruction=drawn if prompt.instruction is None else f"{drawn}\n\n{prompt.instruction}")


def _ending(tokenizer: Any) -> str:
    """What a chat template writes after an answer; nothing without a template."""
    if tokenizer.eos_token_id is None:
        raise EngineError(f"{tokenizer.name_or_path} names no end-of-text token: an answer's end cannot be learned")
    if not tokenizer.chat_template:
        return ""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False)
    return text.partition(_MARK)[2].rstrip()


def _closed(tokenizer: Any, answer: tuple[int, ...]) -> tuple[int, ...]:
    """The answer with an end: the one its template wrote, or the tokenizer's."""
    ends = {tokenizer.eos_token_id, *tokenizer.all_special_ids}
    return answer if answer and answer[-1] in ends else (*answer, tokenizer.eos_token_id)


def _within(examples: Sequence[Example], max_length: int | None) -> Prepared:
    if not examples:
        raise SampleError("there is nothing to train on: give a dataset with at least one assistant turn")
    limit = max_length or max(len(each.tokens) for each in examples)
    kept = [replace(each, tokens=each.tokens[:limit]) for each in examples if each.response_start < limit]
    if not kept:
        raise SampleError(
            f"no answer of {len(examples)} begins within {limit} tokens: raise max_length, or give shorter prompts"
        )
    return Prepared(tuple(kept), sum(len(each.tokens) > limit for each in examples), len(examples) - len(kept))
