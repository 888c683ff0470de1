"""The verbs of traits: new, transform and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Device, Dtype, Json, MostSpent, Price, Revision, ledger_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from personascope.authoring.lint import Finding
    from personascope.authoring.traits import WrittenTrait
    from personascope.providers.costs import Ledger
    from personascope.writers import Writer

app = typer.Typer(help="Traits: write a new one, turn one into another form, check any.", no_args_is_help=True)

WriterName = Annotated[
    str, typer.Option("--writer", help="A chat model: [ENDPOINT:]MODEL, or engine:MODEL on this machine.")
]
Url = Annotated[str | None, typer.Option(help="The endpoint's base URL, if not the usual one.")]
TraitFile = Annotated[Path | None, typer.Option(help="A new .toml file.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="New tokens per answer of the writer.")]
WriterTemperature = Annotated[
    float | None, typer.Option(help="Of the writer; 0 is greedy. By default 1, on this machine 0.8.")
]


@app.callback()
def about() -> None:
    """Traits: write a new one, turn one into another form, check any."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A word for the trait, such as cautious.")],
    description: Annotated[str, typer.Argument(help="What it means, in a sentence or two.")],
    writer: WriterName,
    url: Url = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    out: TraitFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Splits the questions; the writer gets it too.")] = 0,
    max_tokens: MaxTokens = None,
    temperature: WriterTemperature = None,
    budget: MostSpent = None,
    price: Price = None,
    as_json: Json = False,
) -> None:
    """Have a chat model write a trait: five contrasts, 40 questions split in two sets, and a rubric.

    What is wrong with a draft is sent back, twice at most. The result is one file to review before it is used.
    """
    from personascope.authoring.traits import write_trait

    path = _new_file(out or Path(f"{name}.toml"))
    ledger = ledger_of(budget, price)
    hand = writer_for(writer, url, (revision, device, dtype), (max_tokens, temperature, seed), ledger=ledger)
    _keep(lambda: write_trait(name, description, writer=hand, seed=seed), path, ledger, as_json=as_json)


@app.command()
def transform(
    trait: Annotated[str, typer.Argument(help="A trait of the form assistant: a bundled one, or a .toml file.")],
    to: Annotated[str, typer.Option(help="character, dialogue or story.")],
    writer: WriterName,
    url: Url = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    person: Annotated[str, typer.Option(help="Who a character or a scene is about.")] = "Dana",
    situations: Annotated[
        Path | None, typer.Option(help="For stories: a text file with a situation to tell on from in every line.")
    ] = None,
    out: TraitFile = None,
    seed: Annotated[int, typer.Option(min=0, help="The writer's.")] = 0,
    max_tokens: MaxTokens = None,
    temperature: WriterTemperature = None,
    budget: MostSpent = None,
    price: Price = None,
    as_json: Json = False,
) -> None:
    """Turn a trait of the form assistant into a character, into dialogue or into stories.

    What a template can make is made by it; the rest is written by a chat model, and sent back while it is not right.
    """
    from personascope.authoring.forms import transform_trait
    from personascope.core.traits import load_trait

    source = load_trait(trait)
    path = _new_file(out or Path(f"{source.name}-{to}.toml"))
    told = _lines(situations) if situations is not None else None
    ledger = ledger_of(budget, price)
    hand = writer_for(writer, url, (revision, device, dtype), (max_tokens, temperature, seed), ledger=ledger)
    _keep(
        lambda: transform_trait(source, to=to, writer=hand, person=person, situations=told),
        path,
        ledger,
        as_json=as_json,
    )


@app.command()
def check(
    traits: Annotated[
        list[str],
        typer.Argument(help="Bundled traits ([FORM/]NAME), .toml files, or files that a plugin reads, such as .json."),
    ],
    form: Annotated[
        str | None,
        typer.Option(help="Of bundled names, by default assistant; of .json files, which have none of their own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with traits, before any model is asked; the exit code is 1 if something must be mended."""
    found = {trait: _findings(trait, form) for trait in traits}
    wrong = [each for some in found.values() for each in some if each.severity == "error"]
    if as_json:
        terminal.print_json({trait: [vars(each) for each in some] for trait, some in found.items()})
    else:
        rows = [(trait, *(each.severity, each.place, each.what)) for trait, some in found.items() for each in some]
        if rows:
            terminal.show_rows("", ("trait", "", "where", "what"), rows)
        clean, warnings = sum(not some for some in found.values()), len(rows) - len(wrong)
        terminal.out.print(
            f"{len(found)} checked, {clean} without a finding; {len(wrong)} to mend, {warnings} to look at",
            highlight=False,
        )
    if wrong:
        raise typer.Exit(1)


def writer_for(
    name: str,
    url: str | None,
    where: tuple[str | None, str | None, str | None],
    settings: tuple[int | None, float | None, int],
    *,
    ledger: Ledger | None = None,
) -> Writer:
    """The writer a verb was given: behind an endpoint, whose calls a ledger may count, or a model on this machine."""
    from personascope.core.errors import WriterError
    from personascope.engines.opening import open_engine
    from personascope.writers.opening import open_writer

    if any(where) and not name.startswith("engine:"):
        raise WriterError(f"--revision, --device and --dtype are of a model on this machine, which {name} is not")
    revision, device, dtype = where
    max_tokens, temperature, seed = settings
    writer = open_writer(
        name,
        url=url,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        open_engine=lambda model: open_engine(model, revision=revision, device=device, dtype=dtype),
        meter=ledger,
    )
    if ledger is not None:
        ledger.check(writer)
    return writer


def _new_file(path: Path) -> Path:
    """The path, if a trait can be written there and nothing is yet."""
    from personascope.core.errors import TraitError

    if path.suffix != ".toml":
        raise TraitError(f"{path} was given for a trait, whose file ends in .toml: give --out such a name")
    outputs.check_file(path)
    if path.exists():
        raise TraitError(f"{path} is there already and is not written over: give --out another name, or move it away")
    return path


def _keep(write: Callable[[], WrittenTrait], path: Path, ledger: Ledger, *, as_json: bool) -> None:
    """Writes what a writer wrote: the trait, or the drafts of one that was never right; and says what it took."""
    from personascope.core.errors import DraftError, TraitError
    from personascope.core.files import write_new

    try:
        written = write()
        written.save(path)
    except DraftError as problem:
        drafts = free_name(path.with_suffix(".drafts.txt"))
        write_new(drafts, problem.drafts.encode("utf-8", "backslashreplace").decode("utf-8"), error=TraitError)
        raise DraftError(f"{problem}: the drafts are in {drafts}", problem.drafts) from problem
    finally:
        if ledger.accounts and (ledger.budget is not None or path.exists()):  # an error is one line
            terminal.err.print(str(ledger), highlight=False, soft_wrap=True)
    trait, origin = written.trait, written.provenance
    if as_json:
        terminal.print_json({"trait": str(path), "form": trait.form, **vars(origin)})
        return
    counts = f"{len(trait.contrasts)} contrasts, {len(trait.extraction_questions)} questions to extract with and "
    counts += f"{len(trait.evaluation_questions)} to evaluate with"
    tries = "at the first try" if origin.tries == 1 else f"in {origin.tries} tries"
    terminal.out.print(
        f"{path}: {counts}, written {tries} by {origin.writer}. Review it before you use it.",
        highlight=False,
        soft_wrap=True,
    )


def free_name(path: Path) -> Path:
    """The path, or if something is there one with a number."""
    number, free = 2, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _lines(path: Path) -> list[str]:
    """The lines of a text file that say something; those that start with # are remarks."""
    from personascope.core.errors import TraitError

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise TraitError(f"{path}: not a text file ({problem}): give one with a situation in every line") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _findings(trait: str, form: str | None) -> list[Finding]:
    """What is wrong with a trait: bundled, in a TOML file, or in a file that a plugin reads."""
    from personascope.authoring.lint import check_trait
    from personascope.core import plugins
    from personascope.core.errors import PluginError

    ending = Path(trait).suffix.removeprefix(".")
    if not plugins.known(plugins.TRAITS, ending):
        return check_trait(trait, form=form or "assistant")
    try:
        read = plugins.load(plugins.TRAITS, ending)
    except PluginError as problem:
        raise PluginError(f"{trait}: {problem}") from None
    return check_trait(read(trait, form=form or "unknown"))  # a form nobody named has no rules of its own
