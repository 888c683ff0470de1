"""The verb norms: how long the residual stream is, layer by layer along a lineage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import (
    STORE,
    Device,
    Draws,
    Dtype,
    Form,
    Json,
    Limit,
    MostOnDisk,
    Seed,
    StoreFolder,
    Temperature,
    Tokens,
    checkpoint_cache_of,
    load_chosen,
    sampling_for,
)
from personascope.core.tables import write_csv

if TYPE_CHECKING:
    from personascope.tracing.norms import Norm


def norms(
    lineage: Annotated[str, typer.Argument(help="A bundled lineage, a .toml file, a folder, or a Hub repository.")],
    traits: Annotated[list[str], typer.Argument(help="Traits whose evaluation questions are answered.")],
    out: Annotated[Path, typer.Option(help="The CSV; a .json of the same beside it.")] = Path("norms.csv"),
    milestone: Annotated[list[str] | None, typer.Option(help="Only this milestone; may be given again.")] = None,
    form: Form = None,
    device: Device = None,
    dtype: Dtype = None,
    limit: Limit = None,
    draws: Draws = 3,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    store: StoreFolder = STORE,
    disk: MostOnDisk = None,
    as_json: Json = False,
) -> None:
    """Measure mean residual norms: the scale of strengths in unit residual.

    They are taken over the response tokens of plain answers to the traits' evaluation questions, at every layer and
    milestone.
    """
    from personascope.core.files import write_text
    from personascope.engines.opening import Opener, open_engine, open_lineage
    from personascope.store.caching import RememberingEngine
    from personascope.store.store import Store
    from personascope.tracing.norms import measure_norms

    cache = checkpoint_cache_of(disk)
    path = outputs.check_file(out)
    beside = outputs.check_file(path.with_name(f"{path.stem}.json"))
    along = open_lineage(lineage)
    along = along.only(tuple(milestone)) if milestone else along
    chosen = [load_chosen(trait, lineage, form, limit) for trait in traits]
    sampling = sampling_for(lineage, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    asked = len(along) * draws * sum(len(trait.questions("evaluation")) for trait in chosen)
    cache.prefetch_order([each.checkpoint for each in along])
    with terminal.progress(asked) as bar:
        opener = Opener(
            lambda checkpoint: cache.attach(open_engine(checkpoint, device=device, dtype=dtype)),
            wrap=lambda engine: RememberingEngine(engine, Store(store), notice=bar),
        )
        found = measure_norms(along, chosen, open_engine=opener, sampling=sampling)
    rows = [_row(each) for each in found]
    write_csv(path, rows)
    write_text(beside, terminal.json_text({"lineage": along.name, "sampling": vars(sampling), "norms": rows}))
    if as_json:
        terminal.print_json(rows)
        return
    _show(found)
    terminal.out.print(f"wrote {path}, {beside}", highlight=False, soft_wrap=True)


def _row(norm: Norm) -> dict[str, Any]:
    milestone = norm.milestone
    about = {
        "trait": norm.trait,
        "form": norm.form,
        "milestone": milestone.label,
        "tokens_seen": milestone.tokens_seen,
        "stage": milestone.stage,
    }
    return {
        **about,
        **{name: value for name, value in vars(norm).items() if name not in ("trait", "form", "milestone")},
    }


def _show(found: list[Norm]) -> None:
    """Every milestone's mean norms, the traits' averaged, one column per layer up to eight of them."""
    last = max((each.layer for each in found), default=0)
    shown = sorted({round(last * place / 7) for place in range(8)})
    rows = []
    for label in dict.fromkeys(each.milestone.label for each in found):
        mine = [each for each in found if each.milestone.label == label]
        means = []
        for layer in shown:
            heard = [each.mean for each in mine if each.layer == layer and not math.isnan(each.mean)]
            means.append(f"{sum(heard) / len(heard):.4g}" if heard else "")
        rows.append((label, *means, next((each.reason for each in mine if each.reason), "")))
    terminal.show_rows("mean residual norm by layer", ("milestone", *map(str, shown), ""), rows)
