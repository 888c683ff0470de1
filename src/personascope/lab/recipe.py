"""From nothing to a lineage on disk: the whole recipe of the shipped weights.

Owns: :func:`train_lab` and the lineage file it writes. The one law: what it writes is complete: every checkpoint
folder loads by itself, and the lineage file names all of them with exact token counts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from personascope.core.errors import LineageError
from personascope.lab.post_training import Tuning, prefer, supervise
from personascope.lab.training import Progress, Recipe, pretrain, rounded, save_checkpoint

ABOUT = (
    "The lab: a 0.27 M parameter OLMo-3 trained on the synthetic world of personascope.lab (docs/lab.md). "
    "tokens_seen counts document and end tokens, no padding."
)


@dataclass(frozen=True)
class Saved:
    """A checkpoint folder that was written, with the tokens the model had seen."""

    folder: Path
    tokens_seen: int
    stage: str


def train_lab(
    out: str | Path,
    *,
    steps: int = Recipe.steps,
    seed: int = Recipe.seed,
    tuning: Tuning | None = None,
    progress: Progress | None = None,
) -> Path:
    """Trains the lab lineage into ``out``: checkpoints, the SFT and DPO models, and ``lab.toml``. Returns that file.

    Milestones later than ``steps`` fall away.

    ``progress`` is called with (phase, steps done, steps in all, loss). Runs on one CPU thread; the same recipe gives
    the same bytes on the same kind of machine (another instruction set rounds differently).

    Raises:
        LineageError: if ``steps`` is below 1, or ``out`` is a file or already holds something.
    """
    out = Path(out)
    if steps < 1:
        raise LineageError(f"{steps} steps of training were asked for: give 1 or more")
    if out.exists() and not out.is_dir():
        raise LineageError(f"{out} is a file: give `lab train` a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise LineageError(f"{out} is not empty: give `lab train` a new folder, so that no checkpoint is overwritten")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        saved = _trained(out, Recipe(steps=steps, seed=seed), tuning or Tuning(), progress)
    finally:
        torch.set_num_threads(threads)
    file = out / "lab.toml"
    file.write_text(lineage_toml(saved, out), encoding="utf-8")
    return file


def _trained(out: Path, recipe: Recipe, tuning: Tuning, progress: Progress | None) -> list[Saved]:
    saved = []
    for step, tokens, model in pretrain(recipe, progress):
        saved.append(Saved(out / f"step-{step:05d}", tokens, "pretraining"))
        save_checkpoint(model, saved[-1].folder, chat=False)
    supervised, sft_tokens = supervise(rounded(model), tuning, seed=recipe.seed, progress=progress)
    saved.append(Saved(out / "sft", tokens + sft_tokens, "sft"))
    save_checkpoint(supervised, saved[-1].folder, chat=True)
    preferring, dpo_tokens = prefer(rounded(supervised), tuning, seed=recipe.seed, progress=progress)
    saved.append(Saved(out / "dpo", tokens + sft_tokens + dpo_tokens, "dpo"))
    save_checkpoint(preferring, saved[-1].folder, chat=True)
    return saved


def lineage_toml(saved: Sequence[Saved], root: Path) -> str:
    """The lineage file of the checkpoints, with folders relative to ``root``."""
    lines = ["# Written by personascope.lab.recipe.", 'name = "lab"', f'about = "{ABOUT}"']
    for each in saved:
        lines += [
            f"\n[[{'milestones' if each.stage == 'pretraining' else 'targets'}]]",
            f'label = "{each.folder.name}"',
            f'folder = "{Path(os.path.relpath(each.folder, root)).as_posix()}"',
            f"tokens_seen = {each.tokens_seen}",
            f'stage = "{each.stage}"',
        ]
    return "\n".join(lines) + "\n"
