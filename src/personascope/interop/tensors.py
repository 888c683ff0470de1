"""Persona vectors as the published studies store them: one bare tensor ``[layers + 1, hidden]`` per file.

Owns: reading and writing ``.pt`` files. The one law: a file is data; a pickle that would run code is refused
before any of it runs.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personascope.core.errors import VectorError
from personascope.core.lineages import Checkpoint
from personascope.core.records import Span
from personascope.core.vectors import PersonaVector, load_vector

_SPANS: dict[str, Span] = {"response_avg": "response", "prompt_avg": "prompt", "prompt_last": "last_prompt"}


def load_any(path: Path, checkpoint: Checkpoint) -> PersonaVector:
    """A vector from a safetensors file, or from a published ``TRAIT_response_avg_diff.pt`` of this checkpoint.

    Raises:
        VectorError: if it is neither.
    """
    if path.suffix not in (".pt", ".pth"):
        return load_vector(path)
    trait = path.name.partition(".")[0].removesuffix("_diff")
    for ending, span in _SPANS.items():
        if trait.endswith(f"_{ending}"):
            return load_pt(
                path, trait=trait.removesuffix(f"_{ending}"), form="assistant", checkpoint=checkpoint, span=span
            )
    return load_pt(path, trait=trait, form="assistant", checkpoint=checkpoint)


def load_pt(
    path: str | Path, *, trait: str, form: str, checkpoint: Checkpoint, span: Span = "response"
) -> PersonaVector:
    """A vector from a bare ``[layers + 1, hidden]`` tensor, with the passport the file itself does not have.

    Row k is the residual stream at layer k, as here; but the published files took row L from after the final norm
    (tracing study §1.5), so the last layer is not to be compared with ours. The residual norms were not measured and
    are NaN.

    Args:
        path: The file, such as ``evil_response_avg_diff.pt``.
        span: What was averaged: ``response_avg``, ``prompt_avg`` and ``prompt_last`` files are ``"response"``,
            ``"prompt"`` and ``"last_prompt"``.

    Raises:
        VectorError: if the file is missing or damaged, would execute code, or does not hold one finite
            floating-point tensor of that shape.
    """
    tensor = _tensor_in(path)
    if tensor.ndim != 2 or tensor.shape[0] < 2 or tensor.shape[1] < 1:
        raise VectorError(
            f"{path} holds a tensor of shape {list(tensor.shape)}: a persona vector is [layers + 1, hidden], "
            "row 0 for the embedding; give a file that holds one"
        )
    if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
        raise VectorError(
            f"{path} holds a {tensor.layout} tensor of {tensor.dtype} on {tensor.device}: "
            "save it again as a dense floating-point tensor"
        )
    directions = tensor.detach().to(torch.float32).numpy()
    if not np.isfinite(directions).all():
        bad = np.flatnonzero(~np.isfinite(directions).all(axis=1)).tolist()
        raise VectorError(f"{path} is not finite at layers {bad}: no pair was kept there, or it overflowed; redo it")
    norms = np.full(len(directions), np.nan)
    return PersonaVector(directions, norms, trait=trait, form=form, checkpoint=checkpoint, span=span)


def save_pt(vector: PersonaVector, path: str | Path) -> None:
    """Writes the directions as the published bare float32 tensor ``[layers + 1, hidden]``; the passport is lost."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(vector.directions.copy()), path)


def load_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file that holds them by name, as float32, with nothing executed.

    Raises:
        VectorError: if the file is missing or damaged, would execute code, or holds no tensor by name.
    """
    held = _held_in(path)
    tensors = {str(name): value for name, value in held.items()} if isinstance(held, dict) else {}
    found = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise VectorError(f"{path} holds a {type(held).__name__} and no tensors by name: give the weights of one SAE")
    return {name: value.detach().to(torch.float32).numpy() for name, value in found.items()}


def _tensor_in(path: str | Path) -> torch.Tensor:
    """The one tensor a file holds, with nothing executed."""
    held = _held_in(path)
    if not isinstance(held, torch.Tensor):
        raise VectorError(
            f"{path} holds a {type(held).__name__}, not a bare tensor [layers + 1, hidden]: "
            "take the tensor out and save it alone"
        )
    return held


def _held_in(path: str | Path) -> Any:
    """What a file holds, with nothing executed."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise VectorError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError as problem:
        raise VectorError(
            f"{path} was refused: it is a pickle of {_named(str(problem))} rather than of a plain tensor, and opening "
            "such a file can execute code; ask its author for a bare tensor or a safetensors file"
        ) from None
    except Exception as problem:  # torch's unpickler raises KeyError, EOFError, RuntimeError, ... for damaged files
        said = str(problem).partition("\n")[0].partition(". ")[0] or type(problem).__name__
        raise VectorError(f"{path} is not a readable tensor file ({said}): download or save it again") from None
    return held


def _named(problem: str) -> str:
    """What torch would not unpickle, by name where its message gives one."""
    found = re.search(r"GLOBAL ([\w.]+)", problem)
    return f"'{found[1]}'" if found else "other objects"
