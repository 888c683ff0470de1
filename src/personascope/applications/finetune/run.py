"""One fine-tuning run, from a configuration to a folder.

Everything that can be wrong is looked at before the weights load. The folder is there whole or not at all, and its
passport says what was trained, on what, and under which guard.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import transformers

from personascope.applications.finetune.callback import GuardCallback
from personascope.applications.finetune.config import Finetuning, Vectors, Watching, chosen_layers, samples_named
from personascope.applications.finetune.examples import Example, Prepared, examples_of
from personascope.applications.finetune.guards import Guard
from personascope.applications.finetune.keeping import PASSPORT, Run, check_target
from personascope.applications.finetune.penalty import ProjectionPenalty
from personascope.applications.finetune.trainers import CarefulTrainer, Told, trainable, trainer_for
from personascope.applications.finetune.watch import ProjectionWatch
from personascope.core.errors import VectorError, check_layer
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Sample
from personascope.core.traits import Prompt, load_trait
from personascope.core.vectors import PersonaVector
from personascope.engines import Engine
from personascope.engines.hf import loading, rendering
from personascope.engines.opening import open_engine

_TOKENIZER: Final = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken"),
    *("chat_template.*", "generation_config.json"),
)


def finetune(
    config: Finetuning,
    out: Path,
    *,
    vectors: Vectors | None = None,
    samples: Sequence[Sample] | None = None,
    device: str | None = None,
    told: Told | None = None,
) -> Run:
    """Trains a model as a configuration says, and saves the checkpoint (or the adapter) with its passport in ``out``.

    ``samples`` take the place of the files the configuration names. ``told`` hears (phase, steps done, steps, loss).

    Raises:
        CheckpointError: if the model, or an adapter for it, cannot be had.
        SampleError: if there is nothing to train on.
        LayerError, VectorError: if a vector or a layer does not fit the model.
        StudyError: if ``out`` is there already.
        EngineError: if the loss stops being a number, or a guard did not act.
    """
    check_target(out)
    given, settings = vectors or Vectors(), config.training
    engine = open_engine(config.model, revision=config.revision, adapter=config.adapter, device=device)
    guard = _checked(config, given, engine)
    checkpoint = engine.checkpoint
    folder = loading.text_folder(checkpoint)
    tokenizer = loading.load_tokenizer(checkpoint, folder)
    read = samples if samples is not None else samples_named(config.data, limit=config.limit, seed=settings.seed)
    prepared = examples_of(
        tokenizer, read, max_length=settings.max_length, inoculation=config.inoculation, seed=settings.seed
    )
    learned, held_out = _split(prepared.examples, settings.held_out, settings.seed)
    watch = _watch(config.watch, given.watch, tokenizer) if config.watch is not None else None
    model = trainable(checkpoint, settings, loading.choose_device(device))
    fill = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    use_cache = model.config.use_cache
    with ExitStack() as here:
        scraps = Path(here.enter_context(tempfile.TemporaryDirectory()))
        trainer = trainer_for(model, learned, settings, folder=scraps, fill=fill, told=told)
        if guard is not None:
            trainer.add_callback(here.enter_context(GuardCallback(guard)))
        if config.penalty is not None:
            trainer.compute_loss_func = here.enter_context(_penalty(config, model, given.penalty))
        if watch is not None:
            watch.attach(trainer)
        trainer.train()
        rows: Any = held_out
        held_out_loss = float(trainer.evaluate(rows)["eval_loss"]) if held_out else float("nan")
    model.config.use_cache = use_cache
    passport = _passport(config, checkpoint, prepared) | {
        "guard": guard.identity if guard is not None else None,
        "vectors": {name: [_vector_passport(each) for each in some] for name, some in vars(given).items()},
    }
    run = _run(out, trainer, held_out_loss, watch, passport)
    _save(model, out, texts=folder, passport=run.passport)
    return run


def _run(
    out: Path, trainer: CarefulTrainer, held_out_loss: float, watch: ProjectionWatch | None, passport: dict[str, Any]
) -> Run:
    state = trainer.state
    losses = tuple((int(each["step"]), float(each["loss"])) for each in state.log_history if "loss" in each)
    projections = tuple(watch.history) if watch is not None else ()
    stopped = state.global_step < state.max_steps
    happened = {
        "steps": state.global_step,
        "stopped_early": stopped,
        "losses": losses,
        "held_out_loss": None if math.isnan(held_out_loss) else held_out_loss,
        "projections": projections,
    }
    return Run(out, losses, held_out_loss, projections, stopped, passport | {"run": happened})


def _checked(config: Finetuning, given: Vectors, engine: Engine) -> Guard | None:
    """The guard; and at the door, that every vector and layer fits the model."""
    whose = engine.checkpoint.label
    for some in (given.guard, given.penalty, given.watch):
        for vector in some:
            if vector.directions.shape != (engine.last_layer + 1, engine.hidden_size):
                raise VectorError(
                    f"a {vector.trait} vector {vector.directions.shape} [layer, hidden] was given for {whose}, which "
                    f"is ({engine.last_layer + 1}, {engine.hidden_size}): use a vector of this model"
                )
    if config.penalty is not None:
        if not given.penalty:
            raise VectorError("a penalty needs a vector to measure along: give vectors = ['FILE.safetensors']")
        for layer in chosen_layers(config.penalty.layers, given.penalty[0]):
            check_layer(layer, engine.last_layer, whose)
    if config.watch is not None:
        if not given.watch:
            raise VectorError("a watch needs a vector to look along: give vectors = ['FILE.safetensors']")
        check_layer(config.watch.layer, engine.last_layer, whose)
    if config.guard is None:
        return None
    guard = config.guard.guard(given.guard)
    guard.check(last_layer=engine.last_layer, hidden_size=engine.hidden_size, whose=whose)
    return guard


def _split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """What is trained on and what is held out, drawn by the seed; at least one example is trained on."""
    count = min(len(examples) - 1, round(share * len(examples)))
    order = np.random.default_rng(seed).permutation(len(examples)) if count else np.arange(len(examples))
    away = set(order[:count].tolist())
    return [each for i, each in enumerate(examples) if i not in away], [examples[i] for i in sorted(away)]


def _penalty(config: Finetuning, model: Any, vectors: Sequence[PersonaVector]) -> ProjectionPenalty:
    assert config.penalty is not None
    whole = config.training.method == "full"
    return ProjectionPenalty(
        model,
        vectors,
        layers=chosen_layers(config.penalty.layers, vectors[0]),
        weight=config.penalty.weight,
        reference=copy.deepcopy(model) if whole else None,
    )


def _watch(config: Watching, vectors: Sequence[PersonaVector], tokenizer: Any) -> ProjectionWatch:
    """A watch over the trait's evaluation questions, plain."""
    trait = load_trait(config.trait, form=config.form).limited(config.limit)
    texts = [rendering.render(tokenizer, Prompt(question)) for question in trait.evaluation_questions]
    tokens = rendering.encode(tokenizer, texts)
    names = [vector.trait for vector in vectors]
    labels = [name if names.count(name) == 1 else f"{name}-{place}" for place, name in enumerate(names)]
    return ProjectionWatch(
        dict(zip(labels, vectors, strict=True)),
        [tokens[text] for text in texts],
        layer=config.layer,
        every=config.every,
        bound=config.bound,
        stop=config.stop,
    )


def _passport(config: Finetuning, checkpoint: Checkpoint, prepared: Prepared) -> dict[str, Any]:
    """What was trained, on what, and how: plain JSON."""
    digest = hashlib.sha256()
    for each in prepared.examples:
        digest.update(json.dumps([each.tokens, each.response_start]).encode())
    model = {
        name: str(getattr(checkpoint, name) or "") for name in ("model", "revision", "adapter", "adapter_revision")
    }
    return {
        "personascope": metadata.version("personascope"),
        "model": {**model, "label": checkpoint.label},
        "configuration": json.loads(json.dumps(asdict(config))),
        "examples": len(prepared.examples),
        "examples_cut_short": prepared.cut,
        "examples_dropped_as_too_long": prepared.dropped,
        "examples_sha256": digest.hexdigest(),
    }


def _vector_passport(vector: PersonaVector) -> dict[str, str]:
    return {"trait": vector.trait, "origin": vector.origin, "of": vector.checkpoint.label, "sha256": vector.digest}


def _save(model: Any, out: Path, *, texts: Path, passport: dict[str, Any]) -> None:
    """Writes a model (or the adapter on it), the tokenizer files of the folder ``texts``, and the passport."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(draft), save_embedding_layers=False)
            (draft / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
        else:
            model.save_pretrained(str(draft))
            for file in sorted({each for pattern in _TOKENIZER for each in texts.glob(pattern)}):
                shutil.copy(file, draft / file.name)
        (draft / PASSPORT).write_text(json.dumps(passport, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if shown:
            logging.enable_progress_bar()
