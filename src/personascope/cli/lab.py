"""The verbs of the lab."""

from __future__ import annotations

import typer

app = typer.Typer(help="The lab: the tiny pretraining lineage that ships with personascope.", no_args_is_help=True)
