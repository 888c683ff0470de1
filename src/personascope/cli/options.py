"""The options that commands share, each described once, and what they open: a trait, a sampling, an engine, a judge.

On the lab everything is the lab's own. Elsewhere nothing that costs money or changes a meaning is chosen silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import terminal

if TYPE_CHECKING:
    from personascope.core.records import Sampling
    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.engines.hub.prefetch import CheckpointCache
    from personascope.judges import Judge
    from personascope.providers.costs import Ledger


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


COSTS = "costs.jsonl"


@dataclass(frozen=True)
class Asking:
    """How models are computed, and the ledger that counts what calls take."""

    device: str | None
    dtype: str | None
    ledger: Ledger
    engine: str = "transformers"
    checkpoint_cache: CheckpointCache | None = None
    """Where weights come from; without one they come when they are asked for, and stay."""

    def settle(self, path: Path) -> None:
        """Keeps what calls took in a file of runs, and says it."""
        if self.ledger.accounts:
            self.ledger.append_to(path)
            terminal.err.print(str(self.ledger), highlight=False, soft_wrap=True)


def ledger_of(budget: str | None, price: str | None) -> Ledger:
    """The ledger of a budget and a price as a command line gives them; without a budget it only counts."""
    from personascope.providers.costs import Budget, Ledger, price_given

    return Ledger(
        budget=Budget.parse(budget) if budget else None, price=price_given(price) if price is not None else None
    )


def checkpoint_cache_of(disk: str | None) -> CheckpointCache:
    """The cache of checkpoints under the most that weights may take on disk; without a limit they stay."""
    from personascope.engines.hub.prefetch import CheckpointCache

    if disk is None:
        return CheckpointCache()
    from personascope.engines.hub.disk import parse_size

    return CheckpointCache(disk=parse_size(disk))


def load_chosen(name: str, model: str, form: str | None, limit: int | None) -> Trait:
    """The trait a verb was given, in the form that fits the model unless one is named."""
    from personascope.core.traits import load_trait

    return load_trait(name, form=form or ("lab" if model == "lab" else "assistant")).limited(limit)


def sampling_for(model: str, *, draws: int, max_tokens: int | None, temperature: float | None, seed: int) -> Sampling:
    """The sampling a verb was given; what was not given is the published setting, or on the lab the lab study's."""
    from dataclasses import replace

    from personascope.core.records import Sampling
    from personascope.studies.trace import load_study

    usual = load_study("lab").evaluation if model == "lab" else Sampling()
    return replace(
        usual,
        draws=draws,
        seed=seed,
        max_tokens=usual.max_tokens if max_tokens is None else max_tokens,
        temperature=usual.temperature if temperature is None else temperature,
    )


def engine_for(model: str, store: Path, notice: Any, *, engine: str = "transformers", **how: str | None) -> Engine:
    """The engine of a model, remembering in a store; ``engine`` is what computes it."""
    from personascope.engines.opening import open_engine
    from personascope.store.caching import RememberingEngine
    from personascope.store.store import Store

    return RememberingEngine(open_engine(model, engine=engine, **how), Store(store), notice=notice)


def judge_for(name: str | None, model: str, store: Path, notice: Any, **how: Any) -> Judge:
    """The judge a verb was given, remembering in a store; the lab has its own. ``how`` is for a model on this machine:
    its ``engine``, ``device`` and ``dtype``.
    """
    from personascope.core.errors import JudgeError
    from personascope.engines.opening import open_engine
    from personascope.judges.opening import open_judge
    from personascope.store.caching import RememberingJudge
    from personascope.store.store import Store

    if name is None and model != "lab":
        raise JudgeError(f"no judge was named for {model}: give --judge [ENDPOINT:]MODEL, engine:MODEL or --no-judge")
    judge = open_judge(name or "lab", open_engine=lambda other: open_engine(other, **how))
    return RememberingJudge(judge, Store(store), notice=notice)
