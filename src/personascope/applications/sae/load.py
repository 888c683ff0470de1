"""Sparse autoencoders by name: the lab's, trained on the spot, and those that others publish.

An architecture whose features cannot be written as directions of the residual stream is refused, and what a file does
not say is never guessed. Known are SAELens' folders (``cfg.json`` and ``sae_weights.safetensors``: standard, jumprelu,
topk, batchtopk, gated), anything SAELens itself can load (``sae_lens:RELEASE/ID``, if it is installed),
``dictionary_learning``'s ``ae.pt`` (the format of the SAEs of "Persona Vectors" M.1), and a safetensors file with one
``decoder [features hidden]``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from personascope.core.dictionaries import Dictionary
from personascope.core.errors import VectorError

WEIGHTS: Final = ("sae_weights.safetensors", "sparsity_autoencoder.safetensors", "sae.safetensors")
ARCHITECTURES: Final = ("standard", "jumprelu", "topk", "batchtopk", "gated")
PREFIX: Final = "sae_lens:"
LAB: Final = "lab"
_PARTS: Final = ("W_enc", "b_enc", "b_dec", "threshold", "r_mag", "b_mag", "b_gate")

Arrays = Mapping[str, np.ndarray]


def open_dictionary(where: str, *, checkpoint: Path | None, layer: int | None) -> Dictionary:
    """The dictionary of a name: a folder, a file, ``sae_lens:RELEASE/ID``, or ``lab`` or ``lab:SEED``, which is trained
    on the spot, on the lab checkpoint in a folder.

    Raises:
        VectorError: if there is none, or the lab's was asked for another model.
    """
    if not check_lab(where, checkpoint):
        return load_dictionary(where)
    assert checkpoint is not None
    return _trained(checkpoint, int(where.partition(":")[2] or 0), layer)


def check_lab(where: str, checkpoint: Path | None) -> bool:
    """Whether an SAE's name is one of the lab's.

    Raises:
        VectorError: if it is, and what it was asked for is no model of the lab.
    """
    kind, _, seed = where.partition(":")
    if kind != LAB or Path(where).exists():
        return False
    if checkpoint is None or not _of_lab(checkpoint) or not (seed or "0").isdigit():
        raise VectorError(
            f"SAE '{where}' is trained on the lab's models: give lab or lab:SEED, for a vector of the lab"
        )
    return True


def _of_lab(folder: Path) -> bool:
    from personascope.lab.tokenizer import vocabulary

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool((config.get("model_type"), config.get("vocab_size")) == ("olmo3", len(vocabulary())))


@functools.lru_cache(maxsize=32)  # every trait of a study is decomposed in the same few
def _trained(checkpoint: Path, seed: int, layer: int | None) -> Dictionary:
    from personascope.lab.sae import SaeRecipe, train_sae

    recipe = SaeRecipe(seed=seed) if layer is None else SaeRecipe(seed=seed, layer=layer)
    return train_sae(checkpoint, recipe)[0]


def load_dictionary(where: str | Path) -> Dictionary:
    """The dictionary in a folder or a file, or the one SAELens knows as ``sae_lens:RELEASE/ID``.

    Raises:
        VectorError: if there is none, its architecture is not one of residual-stream features, or its parts do not fit.
    """
    if str(where).startswith(PREFIX):
        return _from_saelens(str(where).removeprefix(PREFIX))
    path = Path(where)
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".pt":
        return _from_dictionary_learning(path)
    if path.suffix == ".safetensors":
        sibling = path.with_name("cfg.json")
        return _from_folder(path.parent, path) if sibling.is_file() and _has(path, "W_dec") else _from_decoder(path)
    raise VectorError(
        f"{path} is no sparse autoencoder: give a SAELens folder, a .safetensors with a decoder, an ae.pt, or "
        f"{PREFIX}RELEASE/ID"
    )


def save_dictionary(dictionary: Dictionary, folder: str | Path, *, model: str) -> None:
    """Writes a dictionary as a SAELens folder (``topk`` or ``standard``); ``load_dictionary`` reads the same from it.

    Raises:
        VectorError: if it holds a decoder alone, which SAELens has no format for.
    """
    from safetensors.numpy import save_file

    if dictionary.encoder is None or dictionary.layer is None or dictionary.layer < 1:
        raise VectorError(f"{dictionary.name} has no encoder, or no layer after a block: SAELens has no format for it")
    bias = np.zeros(dictionary.count, np.float32) if dictionary.bias is None else dictionary.bias
    arrays = {
        "W_enc": np.ascontiguousarray(dictionary.encoder.T, dtype=np.float32),
        "b_enc": bias.astype(np.float32),
        "W_dec": np.ascontiguousarray(dictionary.decoder, dtype=np.float32),
        "b_dec": np.zeros(dictionary.width, np.float32),
    }
    config = {
        "architecture": "standard" if dictionary.most is None else "topk",
        **({} if dictionary.most is None else {"k": dictionary.most}),
        "d_in": dictionary.width,
        "d_sae": dictionary.count,
        "dtype": "float32",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "metadata": {"model_name": model, "hook_name": f"blocks.{dictionary.layer - 1}.hook_resid_post"},
    }
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_file(arrays, str(place / WEIGHTS[0]))
    (place / "cfg.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _from_folder(folder: Path, weights: Path | None = None) -> Dictionary:
    config_file = folder / "cfg.json"
    file = weights or next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None or not config_file.is_file():
        decoders = sorted(folder.glob("ae.pt")) + sorted(folder.glob("*.safetensors"))
        if len(decoders) == 1:
            return load_dictionary(decoders[0])
        raise VectorError(f"{folder} holds no cfg.json with {WEIGHTS[0]} beside it: give the folder of one SAE")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise VectorError(f"{config_file} is not readable ({problem}): download it again") from None
    return _from_parts(_arrays(file), config, str(folder))


def _from_saelens(name: str) -> Dictionary:
    release, _, sae = name.partition("/")
    try:
        from sae_lens import SAE
    except ImportError:
        raise VectorError(
            f"{PREFIX}{name} was asked for, and sae_lens is not installed: install it, or give the folder of the SAE"
        ) from None
    try:
        loaded = SAE.from_pretrained(release=release, sae_id=sae, device="cpu")
    except Exception as problem:  # its own errors, the Hub's and the network's
        raise VectorError(f"SAELens could not load {name} ({type(problem).__name__}: {problem})") from None
    found = loaded[0] if isinstance(loaded, tuple) else loaded  # before SAELens 6 it gave its configuration too
    arrays = {part: value.detach().float().numpy() for part, value in found.state_dict().items()}
    config = found.cfg.to_dict() if hasattr(found.cfg, "to_dict") else dict(vars(found.cfg))
    return _from_parts(arrays, config, f"{PREFIX}{name}")


def _from_parts(arrays: Arrays, config: Mapping[str, Any], name: str) -> Dictionary:
    """A dictionary from SAELens' arrays and configuration."""
    kind = str(config.get("architecture", "standard")).lower().replace("_", "")
    if (
        kind not in ARCHITECTURES
        or config.get("hook_name_out")
        or config.get("d_out", config.get("d_in")) != config.get("d_in")
    ):
        raise VectorError(f"{name} is of the architecture '{kind}': known are {', '.join(ARCHITECTURES)}")
    if "W_dec" not in arrays:
        raise VectorError(
            f"{name} holds {', '.join(sorted(arrays)) or 'nothing'} and no W_dec: it is no SAE of SAELens"
        )
    decoder = np.asarray(arrays["W_dec"], dtype=np.float32)
    layer = _layer_of(_said(config, "hook_name"))
    scaled = str(config.get("normalize_activations", "none")) not in ("none", "False")
    elsewhere = layer is None and bool(_said(config, "hook_name"))  # an MLP's output, say, or between the two halves
    # Where features read something else than the stream at a layer, their directions alone are taken.
    if scaled or elsewhere or "W_enc" not in arrays:
        return Dictionary(decoder, layer, name)
    return _with_encoder(arrays, config, Dictionary(decoder, layer, name), kind)


def _with_encoder(arrays: Arrays, config: Mapping[str, Any], bare: Dictionary, kind: str) -> Dictionary:
    """The same dictionary with what makes its features active, written as one line per feature."""
    if kind == "gated" and any(part not in arrays for part in ("r_mag", "b_mag", "b_gate")):
        raise VectorError(f"{bare.name} is gated and has no r_mag, b_mag or b_gate: download it again")
    held = {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items() if name != "W_dec"}
    lengths = {"W_enc": (bare.width, bare.count), "b_dec": (bare.width,)}
    for name, value in held.items():
        if value.ndim and value.shape != lengths.get(name, (bare.count,)) and name in _PARTS:
            wanted = list(lengths.get(name, (bare.count,)))
            raise VectorError(f"{name} of {bare.name} is {list(value.shape)}, not {wanted}: check the file")
    encoder, bias = held["W_enc"].T, held.get("b_enc", np.zeros(bare.count))
    threshold = held.get("threshold")
    if kind == "gated":  # a gate above zero is a magnitude above some threshold, for both read along one direction
        scale = np.exp(held["r_mag"])
        encoder, bias, threshold = encoder * scale[:, None], held["b_mag"], held["b_mag"] - scale * held["b_gate"]
    if config.get("apply_b_dec_to_input", True) and "b_dec" in held:
        bias = bias - encoder @ held["b_dec"]
    if config.get("rescale_acts_by_decoder_norm"):
        encoder, bias = encoder * bare.lengths[:, None], bias * bare.lengths
    return replace(
        bare,
        encoder=encoder.astype(np.float32),
        bias=bias.astype(np.float32),
        threshold=None if threshold is None else np.broadcast_to(threshold, (bare.count,)).astype(np.float32),
        most=int(config["k"]) if kind == "topk" and config.get("k") else None,
    )


def _from_dictionary_learning(path: Path) -> Dictionary:
    from personascope.interop.tensors import load_tensors

    arrays = load_tensors(path)
    wanted = ("decoder.weight", "encoder.weight", "encoder.bias", "b_dec")
    if lacking := [part for part in wanted if part not in arrays]:
        raise VectorError(f"{path} has no '{lacking[0]}': give an ae.pt of dictionary_learning, or a SAELens folder")
    encoder = arrays["encoder.weight"].astype(np.float64)
    bias = arrays["encoder.bias"].astype(np.float64) - encoder @ arrays["b_dec"].astype(np.float64)
    decoder = np.ascontiguousarray(arrays["decoder.weight"].T, dtype=np.float32)
    limit = float(arrays["threshold"]) if "threshold" in arrays else 0.0
    threshold = np.full(len(decoder), max(limit, 0.0), np.float32)
    found = re.search(r"resid_post_layer_(\d+)", str(path))
    layer = int(found.group(1)) + 1 if found else None
    return Dictionary(decoder, layer, str(path), encoder.astype(np.float32), bias.astype(np.float32), threshold)


def _from_decoder(path: Path) -> Dictionary:
    arrays = _arrays(path)
    decoder = arrays.get("decoder", arrays.get("W_dec"))
    if decoder is None:
        raise VectorError(f"{path} holds {', '.join(sorted(arrays)) or 'nothing'} and no 'decoder [features hidden]'")
    return Dictionary(np.asarray(decoder, dtype=np.float32), None, str(path))


def _said(config: Mapping[str, Any], key: str) -> str:
    held = config.get("metadata") or {}
    return str(config.get(key) or (held.get(key) if isinstance(held, Mapping) else "") or "")


def _layer_of(hook: str) -> int | None:
    """The layer an SAE reads, from the name of its hook; ``None`` if that names no place of the residual stream."""
    if found := re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook):
        return int(found.group(1)) + (found.group(2) == "post")
    found = re.fullmatch(r"(?:model\.layers|gpt_neox\.layers|transformer\.h)\.(\d+)", hook)
    return int(found.group(1)) + 1 if found else None


def _has(path: Path, name: str) -> bool:
    return name in _arrays(path, only=())


def _arrays(path: Path, *, only: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file as float32; with ``only``, the names of all and the arrays of those."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            if only is not None:
                return {name: np.zeros(0) for name in names}
            return {name: file.get_tensor(name).float().numpy() for name in names}
    except FileNotFoundError:
        raise VectorError(f"{path}: no such file; check the path") from None
    except (SafetensorError, OSError) as problem:
        raise VectorError(f"{path} is not a readable safetensors file ({problem}): download it again") from None
