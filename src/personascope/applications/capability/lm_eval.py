"""A model of ours for EleutherAI's lm-evaluation-harness: every task it knows, under steering.

Owns: :class:`HarnessModel` and :func:`evaluate`. The one law: unsteered, it gives the log-likelihoods that the
harness's own Hugging Face model gives for the same weights.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from personascope.applications.capability.evals import Draws, cut, prompt_of
from personascope.core.errors import EngineError, StudyError, nearest
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Request, Response, Sampling
from personascope.engines import Engine

NEW_TOKENS = 256
"""How many tokens an answer has at most where a task does not say: the harness's own default."""


class HarnessModel(LM):
    """An engine and the edits under which it speaks, as the harness wants a model to be.

    ``prefix`` is the text that stands for "nothing before": texts without context are read after its tokens.
    """

    def __init__(self, engine: Engine, *, edits: tuple[Edit, ...] = (), prefix: str) -> None:
        super().__init__()
        self.engine = engine
        self.edits = edits
        self._prefix = prefix

    @property
    def tokenizer_name(self) -> str:
        """Whose chat template it is: part of the name under which the harness keeps what it asked."""
        return self.engine.checkpoint.label.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """A mark that ours is used: rendering is the engine's own."""
        return "personascope" if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text the model sees for a conversation that ends with a question.

        Raises:
            EngineError: for a conversation that does not, or has turns other than system, user and assistant.
        """
        if not add_generation_prompt:
            raise EngineError("a conversation was to be rendered without its answer's beginning: no engine does that")
        return self.engine.render(prompt_of([(each["role"], each["content"]) for each in chat_history]))

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """For each context and continuation: the continuation's log-likelihood, and whether it is the greedy one."""
        asked = [self._split(*each.args) for each in requests]
        likely = self.engine.likelihoods([response for _, response in asked])
        return [(float(each.sum()), same) for each, same in zip(likely, self._greedy(asked), strict=True)]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """The log-likelihood of each whole text after the prefix.

        Raises:
            EngineError: for a text longer than the model has room for: it is not cut.
        """
        asked = [self._split("", each.args[0])[1] for each in requests]
        return [float(each.sum()) for each in self.engine.likelihoods(asked)]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What the model says to each context, up to the first of the texts that end it."""
        asked, ends, draws = [], [], Draws()
        for each in requests:
            context, options = each.args
            until = options.get("until") or []
            ends.append([until] if isinstance(until, str) else list(until))
            sampling = _sampling(options)
            asked.append(Request(context, sampling, draws.next(context, sampling), self.edits))
        said = self.engine.generate(asked)
        return [cut(response.words, until) for response, until in zip(said, ends, strict=True)]

    def _split(self, context: str, continuation: str) -> tuple[str, Response]:
        """The context, and both as a response: encoded together and cut where the context alone ends.

        So the harness does it: spaces at the end of the context belong to the continuation.
        """
        kept = context.rstrip()
        if kept:
            continuation = context[len(kept) :] + continuation
            before, whole = self._tokens(kept), self._tokens(kept + continuation)
        else:
            before, whole = self._first, self._tokens(continuation)
            whole = whole if self._puts_first else before + whole
        if len(whole) <= len(before):
            raise EngineError(f"the continuation {continuation[:40]!r} has no token of its own: it cannot be scored")
        request = Request(kept + continuation, None, edits=self.edits)
        return kept or self._prefix, Response(request, whole, len(before), continuation, "unknown")

    @functools.cached_property
    def _puts_first(self) -> bool:
        """Whether the tokenizer itself puts a token before every text."""
        return len(self._tokens(self._prefix)) > 1

    @functools.cached_property
    def _first(self) -> tuple[int, ...]:
        return self._tokens(self._prefix)[:1]

    def _tokens(self, text: str) -> tuple[int, ...]:
        bare = Response(Request(text, None), None, None, "", "unknown")
        return self.engine.encode([bare])[0].spoken[0]

    def _greedy(self, asked: Sequence[tuple[str, Response]]) -> list[bool]:
        """Whether each continuation is what taking the likeliest token every time would say.

        Continuations of one context are asked about together.
        """
        longest: dict[str, int] = {}
        for context, response in asked:
            longest[context] = max(longest.get(context, 0), response.length)
        requests = [Request(text, _greedy(count), 0, self.edits) for text, count in longest.items()]
        said = dict(zip(longest, self.engine.generate(requests), strict=True))
        return [_answer(said[context])[: response.length] == _answer(response) for context, response in asked]


def prefix_of(checkpoint: Checkpoint) -> str:
    """The text of the token that begins a text, or else of the one that ends it: what stands for "nothing before"."""
    from personascope.engines.hf import loading

    tokenizer = loading.load_tokenizer(checkpoint, loading.text_folder(checkpoint))
    return str(tokenizer.bos_token or tokenizer.eos_token)


def evaluate(
    engine: Engine,
    tasks: Sequence[str],
    *,
    edits: tuple[Edit, ...] = (),
    limit: int | None = None,
    shots: int | None = None,
    include: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """The harness's results by task: its metrics, and their standard errors as the harness gives them.

    ``include`` is a folder with further task files; ``limit`` cuts every task; ``shots`` is the number of examples.

    Raises:
        StudyError: for a task that the harness does not know, naming the nearest.
    """
    from lm_eval import simple_evaluate

    known = known_tasks(tasks, include=include)
    model = HarnessModel(engine, edits=edits, prefix=prefix_of(engine.checkpoint))
    found = simple_evaluate(
        model, tasks=list(tasks), limit=limit, num_fewshot=shots, task_manager=known, log_samples=False
    )
    results: dict[str, dict[str, Any]] = dict(found["results"])
    return results


def known_tasks(tasks: Sequence[str], *, include: Path | None = None) -> Any:
    """The harness's own manager of tasks, which knows all of these; no model is needed.

    Raises:
        StudyError: for a task that the harness does not know, naming the nearest, or a folder that is not there.
    """
    from lm_eval.tasks import TaskManager

    if include is not None and not include.is_dir():
        raise StudyError(f"{include} is no folder: give one with task files (.yaml)")
    known = TaskManager(include_path=str(include) if include else None)
    for task in tasks:
        if task not in known.all_tasks:
            raise StudyError(f"task '{task}' is not known to lm-evaluation-harness; {nearest(task, known.all_tasks)}")
    return known


def _greedy(count: int) -> Sampling:
    return Sampling(max_tokens=count, temperature=0.0, repetition_penalty=1.0, draws=1)


def _answer(response: Response) -> tuple[int, ...]:
    tokens, start = response.spoken
    return tokens[start:]


def _sampling(options: Mapping[str, Any]) -> Sampling:
    """How a task wants its answers drawn; greedy unless it says that it samples.

    Raises:
        EngineError: for ways of drawing that no engine has.
    """
    drawn = bool(options.get("do_sample", False)) and float(options.get("temperature", 1.0)) > 0
    unheard = {"num_beams": 1, **({"top_k": 0, "min_p": 0.0, "typical_p": 1.0} if drawn else {})}
    for name, neutral in unheard.items():
        if options.get(name) not in (None, neutral):
            raise EngineError(f"a task asks for {name} = {options[name]}, which no engine has: choose another task")
    return Sampling(
        max_tokens=int(options.get("max_gen_toks", options.get("max_new_tokens", NEW_TOKENS))),
        temperature=float(options.get("temperature", 1.0)) if drawn else 0.0,
        top_p=float(options.get("top_p", 1.0)) if drawn else 1.0,
        repetition_penalty=1.0,
        draws=1,
    )
