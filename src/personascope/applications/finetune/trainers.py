"""The model to train and the trainer that trains it.

Owns: :func:`trainable` and :func:`trainer_for`. The one law: every argument that changes a weight is given, because the
libraries' own defaults differ from each other and from version to version.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from personascope.applications.finetune.config import Training
from personascope.applications.finetune.examples import Example, collated
from personascope.core.errors import EngineError, StudyError, nearest
from personascope.core.lineages import Checkpoint
from personascope.engines.hf import loading

Told = Callable[[str, int, int, float], None]


def trainable(checkpoint: Checkpoint, settings: Training, device: torch.device) -> Any:
    """The model of a resolved checkpoint with what is to be trained of it set free: all of it, or an adapter.

    A full fine-tuning is in float32 unless the settings say otherwise: steps of 1e-5 are lost in the 8 bits that
    bfloat16 has for a number. A checkpoint with an adapter has that one trained further.

    Raises:
        CheckpointError: if weights or adapter cannot be had, or the adapter is of another model.
        StudyError: if the model has none of the modules an adapter is asked for.
    """
    whole = settings.method == "full" and settings.dtype is None
    dtype = torch.float32 if whole else loading.choose_dtype(settings.dtype, device)
    model: Any = loading.load_model(checkpoint, device=device, dtype=dtype)
    torch.manual_seed(settings.seed)  # a new adapter begins at random
    if settings.method == "full":
        model.requires_grad_(True)
    elif checkpoint.adapter is not None:
        for config in model.peft_config.values():
            config.inference_mode = False
        model.set_adapter(model.active_adapter)
    else:
        model = _adapted(model, checkpoint, settings)
    model.train()
    return model


def _adapted(model: nn.Module, checkpoint: Checkpoint, settings: Training) -> Any:
    import peft

    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rank_stabilised,
        target_modules=list(settings.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=loading.RENAMED, category=FutureWarning)
            adapted: Any = peft.get_peft_model(model, config)
    except ValueError:
        known = {name.rsplit(".", 1)[-1] for name, each in model.named_modules() if isinstance(each, nn.Linear)}
        raise StudyError(
            f"{checkpoint.label} has none of the modules {list(settings.targets)}; "
            f"{nearest(str(settings.targets[0]) if settings.targets else '', known)}"
        ) from None
    if checkpoint.path is None:  # the name that others know, not the place of a cache
        adapted.peft_config["default"].base_model_name_or_path = checkpoint.model
    return adapted


class CarefulTrainer(transformers.Trainer):
    """The stock trainer, but a loss that is no number ends the run instead of being averaged away."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch forward and backward, as ever."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not math.isfinite(float(loss)):
            raise EngineError(
                f"the loss is {float(loss)} in step {self.state.global_step + 1}: lower the learning rate or the "
                "guard's strength, or train in float32; nothing was saved"
            )
        return loss


class _Reporting(transformers.TrainerCallback):
    """Tells how far a run is."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def on_log(self, args: Any, state: Any, control: Any, *, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._told("fine-tuning", state.global_step, state.max_steps, float(logs["loss"]))


def _checkpointing(settings: Training) -> dict[str, Any]:
    """Whether activations are checkpointed, by the name this transformers has for it."""
    known = transformers.TrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    how = {f"{name}_kwargs": {"use_reentrant": False}} if settings.activation_checkpointing else {}
    return {name: settings.activation_checkpointing, **how}


def trainer_for(
    model: Any, examples: Sequence[Example], settings: Training, *, folder: Path, fill: int, told: Told | None = None
) -> CarefulTrainer:
    """A trainer of a model on examples, with every argument from the settings; ``folder`` is for its scraps."""
    device = next(model.parameters()).device
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.decline,
        warmup_steps=settings.warm_up_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        optim=settings.optimizer,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=False,
        fp16=False,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="steps",
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        **_checkpointing(settings),
    )
    if device.type == "cuda":
        arguments._n_gpu = min(1, arguments.n_gpu)  # else several visible GPUs would each get a copy of the model
    model.config.use_cache = False
    trainer = CarefulTrainer(
        model=model,
        args=arguments,
        train_dataset=list(examples),
        data_collator=lambda some: collated(some, fill=fill),
        callbacks=[_Reporting(told)] if told is not None else None,
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer
