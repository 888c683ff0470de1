"""The verb that takes a vector apart in a sparse dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import (
    Asking,
    Device,
    Draws,
    Dtype,
    Form,
    Json,
    JudgeName,
    Limit,
    MostSpent,
    Out,
    Price,
    Seed,
    Tokens,
    ledger_of,
    sampling_for,
)

if TYPE_CHECKING:
    from personascope.applications.sae.frames import Tables
    from personascope.core.dictionaries import Dictionary
    from personascope.core.steering import Steering
    from personascope.core.traits import Trait
    from personascope.core.vectors import PersonaVector
    from personascope.providers.costs import Ledger


def sae(
    vector: Annotated[Path, typer.Argument(help="A vector file.")],
    dictionary: Annotated[
        str,
        typer.Argument(
            metavar="SAE",
            help="A SAELens folder, sae_lens:RELEASE/ID, a .safetensors decoder, an ae.pt, or lab[:SEED].",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Also try the features on this model: a folder, a repository, or 'lab'."),
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="By default the layer that the SAE reads.")] = None,
    trait: Annotated[
        str | None, typer.Option(help="What is scored, by default the vector's trait: a bundled one, or a .toml file.")
    ] = None,
    form: Form = None,
    judge: JudgeName = None,
    strength: Annotated[float, typer.Option(help="In lengths of the vector; features get the same norm.")] = 1.0,
    where: Annotated[str, typer.Option(help="Where features are added: response, prompt or all.")] = "response",
    top: Annotated[int, typer.Option(min=1, help="So many best aligned features are listed.")] = 50,
    tested: Annotated[int, typer.Option(min=1, help="So many of them are steered with, and left out.")] = 10,
    random: Annotated[int, typer.Option(min=0, help="So many random features beside them.")] = 20,
    taken: Annotated[int, typer.Option(min=1, help="Rebuild the vector with up to so many features.")] = 32,
    corpus: Annotated[
        Path | None, typer.Option(help="List the samples of this dataset that activate them most.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="So many samples of each feature.")] = 5,
    limit: Limit = None,
    draws: Draws = 3,
    max_tokens: Tokens = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; by default 0.5.")] = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    budget: MostSpent = None,
    price: Price = None,
    out: Out = Path("features"),
    as_json: Json = False,
) -> None:
    """Take a vector apart in a sparse autoencoder, and try what each of its features does.

    Without --model it only reads files: cosines, and how few features rebuild the vector. With it, every best aligned
    feature is steered with at the vector's norm and left out of the vector, beside random features.
    """
    from personascope.applications.sae.core import Bench, Trial, explain, fitting
    from personascope.applications.sae.frames import Tables
    from personascope.applications.sae.load import open_dictionary
    from personascope.applications.sae.study import SaeStudy, items
    from personascope.core.vectors import load_vector
    from personascope.interop.samples import read_samples
    from personascope.store.store import Store
    from personascope.studies.context import RunContext
    from personascope.studies.run import write_item

    found = load_vector(vector)
    loaded = open_dictionary(dictionary, checkpoint=found.checkpoint.path, layer=layer)
    at = fitting(loaded, found, layer)
    outputs.check_folder(out, SaeStudy.FILES)
    _check_asked(model, judge, corpus)
    trial = Trial(top, taken, min(tested, top), random, keep, seed)
    asking = Asking(device, dtype, ledger_of(budget, price))
    asked, way = (trait, form, limit), (strength, where, at)
    fitted = _fitting(found, (model, judge), asked, way, asking.ledger) if model else None
    with terminal.progress(0) as bar:
        bench = None
        if fitted is not None:
            context = RunContext(out, Store(out / "store"), device, dtype, ledger=asking.ledger, notice=bar)
            sampling = sampling_for(str(model), draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
            engine, scoring = context.open_engine(str(model)), context.open_judge(judge or "lab")
            bench = Bench(engine, fitted[0], scoring, fitted[1], sampling)
            arms = 3 + 2 * min(trial.tested, loaded.count) + random
            bar.expect_more(3 * arms * draws * len(bench.trait.questions("evaluation")))
        samples = None if corpus is None else read_samples(corpus)
        try:
            explained = explain(found, loaded, layer=at, trial=trial, bench=bench, corpus=samples)
        finally:
            asking.settle(out / "store" / "costs.jsonl")
    tables = Tables((explained,))
    made = [path for item in items(tables, coherence=75.0) for path in write_item(item, out)]
    _show(tables, found, loaded, at, as_json=as_json)
    if not as_json:
        terminal.out.print("wrote " + ", ".join(map(str, made)), highlight=False, soft_wrap=True)


def _check_asked(model: str | None, judge: str | None, corpus: Path | None) -> None:
    """Refuses what cannot be done together, before anything is opened."""
    from personascope.core.errors import JudgeError, SampleError, StudyError

    if model is None and (judge is not None or corpus is not None):
        given = "--judge" if judge is not None else "--corpus"
        raise StudyError(f"{given} was given, and no model to ask: give --model, or leave it out")
    if model is not None and model != "lab" and judge is None:
        raise JudgeError(f"no judge was named for {model}: give --judge [ENDPOINT:]MODEL, or leave --model out")
    if corpus is not None:
        from personascope.interop.samples import read_samples

        if next(read_samples(corpus), None) is None:
            raise SampleError(f"{corpus} holds no sample: give a dataset with at least one row")


def _fitting(
    vector: PersonaVector,
    models: tuple[str, str | None],
    what: tuple[str | None, str | None, int | None],
    way: tuple[float, str, int],
    ledger: Ledger | None,
) -> tuple[Trait, Steering]:
    """What is scored and how is steered; trait, steering, judge and model are looked at before anything is written."""
    from personascope.core.errors import StudyError, VectorError
    from personascope.core.files import value_of
    from personascope.core.steering import Steering
    from personascope.core.traits import load_trait
    from personascope.engines.opening import open_engine
    from personascope.judges.opening import open_judge

    (model, judge), (trait, form, limit), (strength, where, layer) = models, what, way
    chosen = load_trait(trait or vector.trait, form=form or vector.form).limited(limit)
    said = {"layer": layer, "strength": strength, "unit": "vector", "where": where}
    steering = value_of(said, Steering, source="personascope sae", error=StudyError)
    open_judge(judge or "lab", meter=ledger, open_engine=open_engine)
    engine = open_engine(model)
    if engine.hidden_size != vector.directions.shape[1] or engine.last_layer != vector.last_layer:
        raise VectorError(
            f"the {vector.trait} vector of {vector.checkpoint.label} has {vector.last_layer} blocks of width "
            f"{vector.directions.shape[1]}, and {engine.checkpoint.label} has {engine.last_layer} of "
            f"{engine.hidden_size}: give --model a model like the vector's"
        )
    return chosen, steering


def _show(found: Tables, vector: PersonaVector, loaded: Dictionary, layer: int, *, as_json: bool) -> None:
    """The features in a table: what they do, or without a model how they are aligned."""
    tried, rebuilt = found.features, found.rebuilding
    rows = (tried if len(tried) else found.cosines).to_dict(orient="records")
    if as_json:
        rebuilding = rebuilt["cosine"].tolist()
        terminal.print_json({"sae": loaded.name, "layer": layer, "rows": rows, "cosine_rebuilt": rebuilding})
        return
    title = f"{vector.trait} at layer {layer} in {loaded.name} ({loaded.count} features)"
    names = (
        ("kind", "feature", "cosine", "effect", "coherence", "lost") if len(tried) else ("rank", "feature", "cosine")
    )
    terminal.show_rows(title, names, [tuple(_cell(row[name]) for name in names) for row in rows])
    for count in (1, 5, 10, 20, 32):
        if count <= len(rebuilt):
            cosine = rebuilt["cosine"].iloc[count - 1]
            terminal.out.print(f"{count} features rebuild it to a cosine of {cosine:.3f}", highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.2f}"
    return "" if str(value) == "<NA>" else str(value)
