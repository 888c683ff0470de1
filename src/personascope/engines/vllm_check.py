"""What an engine on vLLM has to show before it may run.

Owns: :func:`prove`. The one law: hooks that do nothing are found here and nowhere later: a compiled model never calls
them, and says nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from personascope.core.edits import Edit
from personascope.core.errors import EngineError
from personascope.core.records import Request, Response
from personascope.engines import Engine

MISSED: Final = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""How far a reading may be from what was added, relative to both lengths: rounding. An edit not made misses by 1."""

LEAST_MOVED: Final = 1e-3
"""What a push eight times as long as the stream must change of some token's log-probability, at least."""

TOKENS: Final = 6


def prove(engine: Engine) -> None:
    """Adds a long vector at the first, a middle and the last layer: it has to read back there, and to move the logits.

    Raises:
        EngineError: if an edit is not read back where it was made, or leaves every log-probability as it was.
    """
    last = engine.last_layer
    plain = Response(Request("", None), tuple(range(1, TOKENS + 1)), 2, "", "length")
    layers = sorted({0, (last + 1) // 2, last})
    before = engine.read([plain])
    drawn = np.random.default_rng(0).normal(size=engine.hidden_size)
    pushes = [drawn / np.linalg.norm(drawn) * 8 * float(max(before.norms[0, layer], 1e-6)) for layer in layers]
    edits = [Edit(push, layer, "all") for push, layer in zip(pushes, layers, strict=True)]
    edited = [replace(plain, request=replace(plain.request, edits=(edit,))) for edit in edits]
    after = engine.read([plain, *edited])
    chances = engine.likelihoods([plain, *edited])
    allowed = MISSED.get(engine.identity["dtype"], MISSED["bfloat16"])
    for row, edit in enumerate(edits, start=1):
        for span in ("response", "prompt", "last_prompt"):
            there = after.span(span)[row] - after.span(span)[0]
            missed = np.linalg.norm(there[edit.layer] - edit.direction) / np.linalg.norm(edit.direction)
            early = np.abs(there[: edit.layer]).max(initial=0.0)
            if not (missed <= allowed and early <= allowed * np.abs(edit.direction).max()):
                _refuse(engine, f"a vector added at layer {edit.layer} was not found there ({missed:.2g} of it is off)")
        moved = float(np.abs(chances[row] - chances[0]).max())
        if not moved >= LEAST_MOVED:
            _refuse(engine, f"a long vector added at layer {edit.layer} moves no logit (at most {moved:.2g})")


def _refuse(engine: Engine, fault: str) -> None:
    raise EngineError(
        f"the engine vllm does not steer {engine.checkpoint.label}: {fault}; nothing was answered, "
        "use the engine transformers"
    )
