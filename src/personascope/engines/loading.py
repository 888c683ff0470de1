"""From a checkpoint to its config, tokenizer and weights.

Owns: resolving a checkpoint, choosing device and dtype, and loading. The one law: what is loaded is exactly what the
resolved checkpoint names, tokenizer included, and a fault is found before any weight is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn

from personascope.core.errors import CheckpointError, EngineError, nearest
from personascope.core.lineages import Checkpoint
from personascope.engines import products
from personascope.engines.blocks import ResidualStream
from personascope.engines.decoding import Loaded
from personascope.engines.hub.download import (
    PICKLED_WEIGHTS,
    SAFE_WEIGHTS,
    TEXTS,
    WeightProvider,
    commit_of,
    fetch,
    matching,
    weight_folder,
)

_WEIGHTS: Final = SAFE_WEIGHTS + PICKLED_WEIGHTS
_ADAPTER: Final = ("adapter_config.json", "adapter_model*")
RENAMED: Final = "`is_gradient_checkpointing` is deprecated"
"""What transformers warns of where peft reads an attribute that was renamed; nothing a user could mend."""
_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its revisions made exact: a folder's as the sha256 of its files, the Hub's as the commit.

    Raises:
        CheckpointError: if there is no such checkpoint, it holds no weights, or a folder no longer holds what the
            checkpoint's revision says.
    """
    if checkpoint.path is None:
        resolved = replace(checkpoint, revision=commit_of(checkpoint.model, checkpoint.revision))
    else:
        resolved = replace(checkpoint, model="folder", revision=_folder_revision(checkpoint.path))
        if checkpoint.revision not in ("", resolved.revision):
            raise CheckpointError(
                f"{checkpoint.path} was to hold revision {checkpoint.revision[:12]}, but its files are now "
                f"{resolved.revision[:12]}: put the old files back, or leave the revision out"
            )
    if checkpoint.adapter is None:
        return resolved
    return replace(resolved, adapter_revision=_adapter_revision(checkpoint))


def _folder_revision(folder: Path) -> str:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder: check the path of the checkpoint")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise CheckpointError(f"{folder} is a PEFT adapter: open its base model with this folder as adapter")
        raise CheckpointError(f"{folder} has no config.json, so it is not a checkpoint: check the path")
    if not matching(folder, _WEIGHTS):
        raise CheckpointError(f"{folder} holds no weights (model.safetensors or the like): save or download them")
    return _digest(matching(folder, TEXTS + _WEIGHTS + _ADAPTER))


def _adapter_revision(checkpoint: Checkpoint) -> str:
    folder = Path(str(checkpoint.adapter))
    if not folder.is_dir():
        commit = commit_of(str(checkpoint.adapter), checkpoint.adapter_revision or "main")
        adapter_folder(replace(checkpoint, adapter_revision=commit))  # small, and refused now if it is none
        return commit
    return _digest(matching(adapter_folder(checkpoint), _ADAPTER))


def text_folder(checkpoint: Checkpoint) -> Path:
    """Where the config and the tokenizer of a resolved checkpoint lie: fetched from the Hub if they must be.

    Raises:
        CheckpointError: if they cannot be had.
    """
    if checkpoint.path is not None:
        return checkpoint.path
    folder = fetch(checkpoint.model, checkpoint.revision, TEXTS)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{checkpoint.model} has no config.json, so it is not a checkpoint: check the name")
    return folder


def adapter_folder(checkpoint: Checkpoint) -> Path:
    """Where the adapter of a resolved checkpoint lies."""
    folder = Path(str(checkpoint.adapter))
    if not folder.is_dir():
        folder = fetch(str(checkpoint.adapter), checkpoint.adapter_revision, _ADAPTER)
    if not (folder / "adapter_config.json").is_file() or not matching(folder, ("adapter_model*",)):
        raise CheckpointError(
            f"{checkpoint.adapter} holds no PEFT adapter (adapter_config.json and its weights): check the name"
        )
    return folder


def _digest(files: list[Path]) -> str:
    """The sha256 over names and bytes: a file is hashed in pieces, however large."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            whole.update(f"{path.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def choose_device(name: str | None) -> torch.device:
    """The device asked for, or the best there is: CUDA, MPS, CPU.

    Raises:
        EngineError: if torch knows or finds no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name is None:
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"device '{name}' is unknown; {nearest(name, ('cpu', 'cuda', 'mps'))}") from None
    there = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count(), "mps": mps}
    if not there.get(device.type, False):
        have = [kind for kind, present in (("cpu", True), ("cuda", cuda), ("mps", mps)) if present]
        raise EngineError(f"device '{name}' was asked for, but torch finds only {', '.join(have)} here: choose one")
    return device


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The dtype asked for; by default bfloat16 on CUDA and float32 elsewhere.

    Raises:
        EngineError: if it is not one of float32, bfloat16 and float16.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise EngineError(f"dtype '{name}' is unknown; {nearest(name, _DTYPES)}")
    return _DTYPES[name]


def load_config(checkpoint: Checkpoint, folder: Path) -> Any:
    """The config in the folder of a resolved checkpoint."""
    with _as_checkpoint_error(checkpoint, "config"):
        return transformers.AutoConfig.from_pretrained(str(folder))


def load_tokenizer(checkpoint: Checkpoint, folder: Path) -> Any:
    """The tokenizer in the folder of a resolved checkpoint."""
    with _as_checkpoint_error(checkpoint, "tokenizer"):
        return transformers.AutoTokenizer.from_pretrained(str(folder))


def end_tokens(folder: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a response: those of the generation config (else of the config) and the tokenizer's own.

    The one thing a model's generation config is asked for. May be empty: such a model can be read, and not asked.
    """
    said = None
    file = folder / "generation_config.json"
    if file.is_file():
        try:
            said = transformers.GenerationConfig.from_pretrained(str(folder)).eos_token_id
        except (OSError, ValueError, TypeError) as problem:
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise CheckpointError(f"{file} cannot be read ({reason}): fetch it again, or mend it") from None
    if said is None:
        said = getattr(config, "eos_token_id", None)
    several = said if isinstance(said, (list, tuple)) else [said]
    return frozenset(int(each) for each in (*several, tokenizer.eos_token_id) if each is not None)


def load_model(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    device_map: str | None = None,
    folder: Path | None = None,
) -> nn.Module:
    """The weights of a resolved checkpoint, ready to be asked, with its adapter over them.

    They lie in ``folder``, by default where :func:`personascope.engines.hub.download.weight_folder` says.

    An adapter is applied and not merged: merging rounds the sum of both to the weights' dtype, which the adapter was
    never trained with.

    Raises:
        CheckpointError: if weights are missing or of another shape: transformers would fill them with random numbers.
    """
    folder = weight_folder(checkpoint) if folder is None else folder
    adapter = None if checkpoint.adapter is None else adapter_folder(checkpoint)
    placed = {"device_map": device_map} if device_map else {}
    with _as_checkpoint_error(checkpoint, "weights"), _quiet():
        load: Any = transformers.AutoModelForCausalLM.from_pretrained
        model, report = load(str(folder), **placed, dtype=dtype, output_loading_info=True)
    absent = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if absent:
        raise CheckpointError(
            f"{checkpoint.label} lacks {len(absent)} of the weights its config names (first: {absent[0]}): "
            "the files are incomplete or of another model; fetch them again"
        )
    _check_blocks(checkpoint, model, report["unexpected_keys"])
    if adapter is not None:
        import peft  # only where there is an adapter: it takes a second to import

        with _as_checkpoint_error(checkpoint, "adapter"), warnings.catch_warnings():
            # peft only warns where an adapter's weights fit nothing in the model, and then applies zeros.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            warnings.filterwarnings("ignore", message=RENAMED, category=FutureWarning)
            model = peft.PeftModel.from_pretrained(model, str(adapter))
    if not device_map:
        model = model.to(device)
    model.requires_grad_(False)
    model.eval()
    return model  # type: ignore[no-any-return]


def load_weights(
    weights: WeightProvider,
    checkpoint: Checkpoint,
    *,
    config: Any,
    end_tokens: frozenset[int],
    device: torch.device,
    dtype: torch.dtype,
    device_map: str | None = None,
) -> tuple[Loaded, contextlib.ExitStack]:
    """The model of a resolved checkpoint, and a stack to close when it is no longer needed.

    The folder of the weights is in use from before the first one is read until the stack is closed.

    Raises:
        CheckpointError, EngineError: as :func:`load_model`.
    """
    with contextlib.ExitStack() as held:
        folder = held.enter_context(weights(checkpoint))
        model: Any = load_model(checkpoint, folder=folder, device=device, dtype=dtype, device_map=device_map)
        products.quicken(model)
        text = config.get_text_config(decoder=True)
        blocks, width = int(text.num_hidden_layers), int(text.hidden_size)
        loaded = Loaded(
            model=model,
            stream=ResidualStream(model, blocks=blocks, hidden_size=width),
            config=config,
            hidden_size=width,
            last_layer=blocks,
            end_tokens=end_tokens,
            parameters=sum(each.numel() for each in model.parameters()),
            dtype=model.dtype,
            device=model.get_input_embeddings().weight.device,
        )
        return loaded, held.pop_all()


def _check_blocks(checkpoint: Checkpoint, model: Any, unexpected: Iterable[str]) -> None:
    """Refuses weights of more blocks than the config names: the model would be cut short without a word."""
    blocks = int(model.config.get_text_config(decoder=True).num_hidden_layers)
    named = {int(number) for key in unexpected for number in re.findall(r"\.(\d+)\.", key)[:1]}
    beyond = {number for number in named if number >= blocks}
    if beyond:
        raise CheckpointError(
            f"{checkpoint.label} has weights of block {max(beyond) + 1}, and its config names {blocks} blocks: "
            "config and weights are of two models; fetch them again"
        )


@contextlib.contextmanager
def _as_checkpoint_error(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise EngineError(
            f"{checkpoint.label} does not fit the device's memory: choose bfloat16, or device_map='auto' over several"
        ) from None
    except Exception as problem:  # what a damaged file raises depends on who reads it: safetensors, tokenizers, json
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise CheckpointError(
            f"the {what} of {checkpoint.label} cannot be loaded ({said}): check the files, or choose another checkpoint"
        ) from problem


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bar: ours is the only one."""
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
