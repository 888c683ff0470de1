"""The options that verbs share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A folder, a Hub repository, or 'lab'.")]
TraitName = Annotated[str, typer.Argument(help="A bundled trait, or a .toml file.")]
Form = Annotated[str | None, typer.Option(help="assistant, character, ...; by default assistant, on the lab lab.")]
Revision = Annotated[str | None, typer.Option(help="A branch, tag or commit on the Hub; a milestone of the lab.")]
Adapter = Annotated[str | None, typer.Option(help="A PEFT adapter: a folder or a Hub repository.")]
EngineName = Annotated[str, typer.Option("--engine", help="What computes the model: transformers or vllm.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default a GPU if there is one.")]
Dtype = Annotated[str | None, typer.Option(help="float32 or bfloat16; by default bfloat16 on a GPU, else float32.")]
JudgeName = Annotated[
    str | None, typer.Option("--judge", help="'lab', [ENDPOINT:]MODEL[#SETTING,...], or engine:MODEL on this machine.")
]
NoJudge = Annotated[
    bool, typer.Option("--no-judge", help="Ask no judge: every pair is kept, and the passport says so.")
]
Limit = Annotated[int | None, typer.Option(help="At most so many questions of each set.")]
Draws = Annotated[int, typer.Option(help="Answers per prompt.")]
Tokens = Annotated[int | None, typer.Option("--max-tokens", help="New tokens per answer; by default 64.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreFolder = Annotated[Path, typer.Option("--store", help="Where answers are remembered.")]
Out = Annotated[Path, typer.Option(help="The folder to write to; the store is kept inside it.")]
Temperature = Annotated[float | None, typer.Option(help="0 is greedy; by default 0.5.")]
Seed = Annotated[int, typer.Option(help="The seed of the answers.")]
LayerNumber = Annotated[int, typer.Option("--layer", help="0 (embedding) to the number of blocks.")]
Strength = Annotated[float, typer.Option(help="A multiple of the unit; negative steers against.")]
UnitName = Annotated[str, typer.Option("--unit", help="vector, unit or residual.")]
WhereName = Annotated[str, typer.Option("--where", help="response, prompt or all.")]
MostSpent = Annotated[
    str | None, typer.Option("--budget", help="Let calls take no more: 5.00 (US dollars), or '200000 tokens'.")
]
MostOnDisk = Annotated[
    str | None,
    typer.Option("--disk", help="Let weights that are fetched with it take no more: 100GB. The oldest of them go."),
]
Price = Annotated[str | None, typer.Option(help="IN,OUT in US dollars per million tokens, if none is noted.")]

STORE = Path("personascope-store")
