"""The verbs of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Json

app = typer.Typer(help="The lab: the tiny pretraining lineage that ships with personascope.", no_args_is_help=True)


@app.callback()
def about() -> None:
    """The lab: the tiny pretraining lineage that ships with personascope."""


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Pretraining steps; by default those of the shipped weights.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="By default the seed of the shipped weights.")] = None,
    as_json: Json = False,
) -> None:
    """Train a lab lineage by the recipe of the shipped one, and write its lineage file."""
    from personascope.lab.recipe import train_lab
    from personascope.lab.training import Recipe

    outputs.check_folder(out)
    recipe = Recipe()
    steps = recipe.steps if steps is None else steps
    seed = recipe.seed if seed is None else seed
    with terminal.training() as told:
        lineage = train_lab(out, steps=steps, seed=seed, progress=told)
    if as_json:
        terminal.print_json({"lineage": lineage, "steps": steps, "seed": seed})
        return
    terminal.out.print(f"{lineage}: trace it with `personascope trace {lineage} ...`", highlight=False)
