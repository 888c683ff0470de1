"""What the options of a verb stand for: a trait, a sampling, an engine, a judge.

Owns: the defaults that depend on the model. The one law: on the lab everything is the lab's own; elsewhere nothing
that costs money or changes a meaning is chosen silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.cli import terminal

if TYPE_CHECKING:
    from personascope.core.records import Sampling
    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.engines.hub.prefetch import CheckpointCache
    from personascope.judges import Judge
    from personascope.providers.costs import Ledger


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
