"""The verb that trains a model: guarded, watched, and saved with its passport."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import terminal
from personascope.cli.options import Device, Json

if TYPE_CHECKING:
    from personascope.applications.finetune.config import Finetuning


def finetune(
    config: Annotated[Path, typer.Argument(help="A .toml file, or a training.json of the published code.")],
    out: Annotated[Path, typer.Option(help="A new folder for the checkpoint, or the adapter.")],
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the configuration's seed.")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on conversations: LoRA or full, guarded along vectors, and watched."""
    from personascope.applications.finetune.config import read_finetuning, vectors_of
    from personascope.applications.finetune.keeping import check_target

    check_target(out)
    chosen = _seeded(read_finetuning(config), seed)
    vectors = vectors_of(chosen)
    from personascope.applications.finetune.run import (
        finetune as train,  # torch, once the configuration is known to be good
    )

    with terminal.training() as told:
        run = train(chosen, out, vectors=vectors, device=device, told=told)
    found: dict[str, Any] = {
        "folder": run.folder,
        "steps": run.passport["run"]["steps"],
        "first_loss": run.losses[0][1] if run.losses else None,
        "last_loss": run.last_loss(),
        "held_out_loss": run.held_out_loss,
        "examples": run.passport["examples"],
        "examples_dropped_as_too_long": run.passport["examples_dropped_as_too_long"],
        "stopped_early": run.stopped_early,
    }
    if as_json:
        terminal.print_json(found | {"projections": run.projections})
        return
    rows = [
        (name.replace("_", " "), _shown(value)) for name, value in found.items() if name != "folder" and value == value
    ]
    last = run.projections[-1] if run.projections else {}
    rows += [(name, f"{value:+.3f}") for name, value in last.items() if name != "step"]
    terminal.show_rows(f"trained into {out}", ("", ""), rows)


def _seeded(config: Finetuning, seed: int | None) -> Finetuning:
    from dataclasses import replace

    return config if seed is None else replace(config, training=replace(config.training, seed=seed))


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
