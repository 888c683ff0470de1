"""The training configuration of the published code: one JSON file for a run.

Owns: :func:`read_training`. The one law: every key is taken over, answered for, or refused by name; none is dropped in
silence, because a run that was steered there must not run unsteered here.

Format: ``training.py``'s JSON, extra keys forbidden, whose own defaults are not those of the paper (rank 16, rate 1e-4,
seed 3407). Layers count from 1, as here.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from personascope.core.errors import StudyError, nearest

DEFAULTS: Final = {
    "is_peft": True,
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "epochs": 1,
    "max_steps": None,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "warmup_steps": 5,
    "learning_rate": 1e-4,
    "logging_steps": 1,
    "optim": "adamw_8bit",
    "weight_decay": 0.01,
    "lr_scheduler_type": "linear",
    "seed": 3407,
    "max_seq_length": 2048,
    "loss": "sft",
    "lora_bias": "none",
    "load_in_4bit": False,
    "train_on_responses_only": False,
}
"""What the published code takes where its file says nothing."""

_NEEDED: Final = ("model", "training_file")
_UNUSED: Final = (
    *("test_file", "finetuned_model_id", "merge_before_push", "push_to_private", "beta", "save_steps", "output_dir"),
    *("no_test_split", "steering_config", "enable_steering_during_training"),
)
# The 8-bit optimizer needs CUDA and bitsandbytes; the numbers it keeps are the same, only shorter.
_OPTIMIZERS: Final = {"adamw_8bit": "adamw_torch", "adamw": "adamw_torch", "adam": "adamw_torch", "sgd": "sgd"}
_SCHEDULES: Final = ("linear", "cosine", "constant", "constant_with_warmup")
_TEST_SHARE: Final = 0.1


def read_training(path: str | Path) -> dict[str, Any]:
    """The table of a :class:`~personascope.applications.finetune.config.Finetuning` that a published file stands for.

    As there, a tenth of the samples is held out where no ``test_file`` is named. For ``adamw_8bit`` stands its 32 bits.
    A steering vector stays the path it is, a ``.pt`` file beside the configuration or where the path says.

    Raises:
        StudyError: naming the file and what is missing, unknown, or cannot be done here.
    """
    file = Path(path)
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{file}: no such file; check the path") from None
    except (OSError, ValueError) as problem:
        raise StudyError(f"{file}: not a readable JSON file ({problem}); mend it and run again") from None
    if not isinstance(said, dict):
        raise StudyError(f"{file} holds no JSON object: give a training configuration")
    known = (*_NEEDED, *_UNUSED, *DEFAULTS)
    for key in said:
        if key not in known:
            raise StudyError(f"{file}: unknown key '{key}'; {nearest(key, known)}")
    for key in _NEEDED:
        if not said.get(key):
            raise StudyError(f"{file} names no {key}: add it")
    _check(said, file)
    given: dict[str, Any] = DEFAULTS | said
    data = given["training_file"]
    guard = _guard(said, file)
    return {
        "model": given["model"],
        "data": [data] if isinstance(data, str) else list(data),
        "training": _training(given, file),
        **({"guard": guard} if guard is not None else {}),
    }


def _check(said: dict[str, Any], file: Path) -> None:
    """Refuses what would train another model than the file says."""
    done = {"loss": ("sft",), "lora_bias": ("none",), "load_in_4bit": (False, None), "train_on_responses_only": (True,)}
    given = DEFAULTS | said
    for key, allowed in done.items():
        if given[key] not in allowed:
            raise StudyError(f"{file}: {key} = {given[key]!r} is not done here: set it to {allowed[0]!r}")
    if given["optim"] not in _OPTIMIZERS:
        raise StudyError(f"{file}: optim '{given['optim']}' is unknown; {nearest(str(given['optim']), _OPTIMIZERS)}")
    if given["lr_scheduler_type"] not in _SCHEDULES:
        raise StudyError(
            f"{file}: lr_scheduler_type '{given['lr_scheduler_type']}' is unknown; "
            f"{nearest(str(given['lr_scheduler_type']), _SCHEDULES)}"
        )


def _training(given: dict[str, Any], file: Path) -> dict[str, Any]:
    return {
        "method": "lora" if given["is_peft"] else "full",
        "epochs": given["epochs"],
        "max_steps": given["max_steps"] or 0,
        "batch": given["per_device_train_batch_size"],
        "accumulation": given["gradient_accumulation_steps"],
        "learning_rate": _rate(given["learning_rate"], file),
        "decline": given["lr_scheduler_type"],
        "warm_up_steps": given["warmup_steps"],
        "weight_decay": given["weight_decay"],
        "optimizer": _OPTIMIZERS[given["optim"]],
        "max_length": given["max_seq_length"],
        "seed": given["seed"],
        "held_out": 0.0 if given.get("test_file") else _TEST_SHARE,
        "rank": given["r"],
        "alpha": given["lora_alpha"],
        "dropout": given["lora_dropout"],
        "rank_stabilised": given["use_rslora"],
        "targets": given["target_modules"],
        "log_every": given["logging_steps"],
    }


def _rate(value: Any, file: Path) -> float:
    """A learning rate: a number above 0; a text of one; one below 0 is a power of ten. Nothing is evaluated."""
    text = str(value).strip()
    power = re.fullmatch(r"10\s*\*\*\s*\(?\s*(-\s*\d+(?:\.\d+)?)\s*\)?", text)
    try:
        number = 10 ** float(power[1].replace(" ", "")) if power else float(text)
    except ValueError:
        number = math.nan
    rate = 10**number if number < 0 else number
    if isinstance(value, bool) or not (math.isfinite(rate) and rate > 0):
        raise StudyError(f"{file}: learning_rate {value!r} is none: give a number above 0, or a power of ten below 0")
    return float(rate)


def _guard(said: dict[str, Any], file: Path) -> dict[str, Any] | None:
    """The guard of a ``steering_config``; None where there is none."""
    config, enabled = said.get("steering_config"), said.get("enable_steering_during_training", False)
    if not enabled and not config:
        return None
    if not enabled or not isinstance(config, dict):
        raise StudyError(
            f"{file}: steering_config and enable_steering_during_training = {enabled} do not go together: "
            "give both, or neither"
        )
    known = ("steering_vector_path", "type", "steering_coef", "layers")
    for key in config:
        if key not in known:
            raise StudyError(f"{file}: unknown key 'steering_config.{key}'; {nearest(key, known)}")
    kind, layers = config.get("type", "steer"), config.get("layers")
    if kind not in ("steer", "ablate") or not layers or not config.get("steering_vector_path"):
        raise StudyError(f"{file}: steering_config needs steering_vector_path, layers, and a type of steer or ablate")
    guard = {"kind": kind, "layers": layers, "vectors": [config["steering_vector_path"]]}
    if kind == "ablate":
        return guard
    if config.get("steering_coef") is None:
        raise StudyError(f"{file}: steering_config of type steer needs a steering_coef: add it")
    return guard | {"strength": config["steering_coef"]}
