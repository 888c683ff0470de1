"""What tests of training share: toy models, a few samples, stock trainers, and vectors of their width.

Owns: the batches and the arguments. The one law: nothing here knows a guard; what is compared is trained alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import toy_models
from personascope.applications.finetune.examples import IGNORED, Example, collated
from personascope.core.lineages import Checkpoint
from personascope.core.vectors import PersonaVector

TEXTS = ("abcdefgh", "the kettle is on", "no one asked", "so it goes", "a word or two", "quite so")
TARGETS = ("q_proj", "v_proj", "down_proj")


def vector(seed: int = 0, *, length: float = 2.0, layers: int = toy_models.BLOCKS + 1) -> PersonaVector:
    """A vector of the toy models' width, of one length at every layer."""
    drawn = np.random.default_rng(seed).standard_normal((layers, toy_models.HIDDEN))
    drawn *= length / np.linalg.norm(drawn, axis=1, keepdims=True)
    norms = np.full(layers, 3.0)
    return PersonaVector(drawn, norms, "calm", "assistant", Checkpoint("toy"))


def model(folder: Path) -> Any:
    """The toy model in a folder, in training mode."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    loaded.config.use_cache = False
    return loaded.train()


def adapted(folder: Path, *, moved: bool = True) -> Any:
    """The toy model in a folder with a LoRA over it; one that is ``moved`` answers differently from its base."""
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    found = peft.get_peft_model(model(folder), config)
    if moved:
        generator = torch.Generator().manual_seed(1)
        for name, parameter in found.named_parameters():
            if "lora_B" in name:
                parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return found


def examples() -> list[Example]:
    """Texts as byte tokens; the first three are a prompt."""
    tokenizer = toy_models.byte_tokenizer()
    return [Example((*tokenizer(text)["input_ids"], tokenizer.eos_token_id), 3) for text in TEXTS]


def batch(rows: int = 3) -> dict[str, torch.Tensor]:
    """A padded batch with labels."""
    return collated(examples()[:rows], fill=0)


def learned(labels: torch.Tensor) -> torch.Tensor:
    """Where a token is learned."""
    return labels[:, 1:] != IGNORED


def by_its_name_here(name: str) -> str:
    """What this transformers calls something of activation checkpointing; before 5 it was gradient checkpointing."""
    known = "activation_checkpointing" in transformers.TrainingArguments.__dataclass_fields__
    return name if known else name.replace("activation_checkpointing", "gradient_checkpointing")


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of a short run on a CPU, for either library's trainer."""
    usual: dict[str, Any] = {
        "output_dir": str(folder / "scraps"),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "seed": 0,
    }
    return {by_its_name_here(name): value for name, value in (usual | changes).items()}


def stock(which: Any, folder: Path, *, base: type | None = None, **others: Any) -> transformers.Trainer:
    """transformers' own trainer of a model; ``base`` is a class in its place."""
    given = {name: others.pop(name) for name in tuple(others) if name in ("callbacks", "compute_loss_func")}
    trainer = (base or transformers.Trainer)(
        model=which,
        args=transformers.TrainingArguments(**arguments(folder, **others)),
        train_dataset=examples(),
        eval_dataset=examples()[:2],
        data_collator=lambda some: collated(some, fill=0),
        **given,
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def trl(which: Any, folder: Path, *, base: Any = None, **others: Any) -> Any:
    """TRL's supervised trainer of a model, on prompts and completions."""
    import datasets
    import trl

    given = {name: others.pop(name) for name in tuple(others) if name in ("callbacks", "compute_loss_func")}
    rows = [{"prompt": text[:3], "completion": text[3:]} for text in TEXTS]
    trainer = (base or trl.SFTTrainer)(
        model=which,
        args=trl.SFTConfig(**arguments(folder, dataset_num_proc=None, max_length=64, **others)),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=toy_models.byte_tokenizer(),
        **given,
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def weights(which: Any) -> dict[str, torch.Tensor]:
    """Every weight, copied."""
    return {name: value.detach().clone() for name, value in which.state_dict().items()}
