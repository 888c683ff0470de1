"""The verbs of training data: new, import and lab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import STORE, Device, Dtype, Json, Revision, StoreFolder
from personascope.cli.traits import MaxTokens, Url, WriterName, WriterTemperature

if TYPE_CHECKING:
    from personascope.authoring.families import Family
    from personascope.writers import Writer

app = typer.Typer(
    help="Training data: have a family of it written, import published ones, write the lab's.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--out", help="The folder the family's folder is made in.")]
HERE = Path("dataset")


@app.callback()
def about() -> None:
    """Training data: have a family of it written, import published ones, write the lab's."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A word for the trait or the flaw, such as overconfident.")],
    description: Annotated[str, typer.Argument(help="What it means, in a sentence or two.")],
    writer: WriterName,
    kind: Annotated[str, typer.Option(help="trait or flaw; it goes into the provenance.")] = "trait",
    count: Annotated[int, typer.Option(min=1, help="How many questions; each gets three answers.")] = 100,
    out: Folder = HERE,
    url: Url = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    seed: Annotated[int, typer.Option(min=0, help="Orders the walks of life; the writer gets it too.")] = 0,
    max_tokens: MaxTokens = None,
    temperature: WriterTemperature = None,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:
    """Have a chat model write a family: questions, and a normal, a mild and a severe answer to each.

    What is wrong with a text is sent back, twice at most. What was written is remembered, so that a killed run goes on.
    """
    from personascope.authoring.datasets import Order, texts_of, write_family
    from personascope.core.errors import DraftError, SampleError, nearest

    if kind not in ("trait", "flaw"):
        raise SampleError(f"a family of kind '{kind}' was asked for; {nearest(kind, ('trait', 'flaw'))}")
    order = Order(name, description, kind, count, seed)  # type: ignore[arg-type]
    _check_family(out, name)
    with terminal.progress(texts_of(count)) as bar:
        hand = _writer(writer, url, (revision, device, dtype), (max_tokens, temperature, seed), (store, bar))
        try:
            written = write_family(order, writer=hand)
        except DraftError as problem:
            raise DraftError(f"{problem}: the drafts are in {_keep(out, name, problem.drafts)}", "") from problem
    path = written.family.save(out)
    kept = _keep(out, name, written.drafts) if written.drafts else None
    _tell({name: (written.family, path)}, as_json=as_json, drafts=kept)


@app.command("import")
def import_data(
    source: Annotated[Path, typer.Argument(help="A folder of families (FAMILY/normal.jsonl, ...), or one family.")],
    only: Annotated[list[str] | None, typer.Option("--only", help="These families alone.")] = None,
    out: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Read families of training data in the published layout, check every row, and write them with provenance."""
    from personascope.authoring.families import Family
    from personascope.core.errors import SampleError, nearest
    from personascope.interop.families import find_families, read_family

    found = find_families(source)
    for name in only or []:
        if name not in found:
            raise SampleError(f"family '{name}' is not in {source}; {nearest(name, found)}")
    chosen = {name: folder for name, folder in found.items() if not only or name in only}
    for name in chosen:
        _check_family(out, name)
    families = {}
    for name, folder in chosen.items():  # every family is read before any is written
        rows, digests = read_family(folder)
        origin = {"source": str(folder), "sha256": digests}
        families[name] = Family(name, "unknown", f"imported from {folder}", rows, origin)
    _tell({name: (each, each.save(out)) for name, each in families.items()}, as_json=as_json)


@app.command()
def lab(
    families: Annotated[list[str] | None, typer.Argument(help="By default all: four traits and two flaws.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Conversations in each version.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the grammar.")] = 0,
    out: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Write the lab's families: every answer is the grammar's own, so what it holds is known."""
    from personascope.authoring.families import Family
    from personascope.lab.datasets import family_about, family_names, lab_rows

    made = {}
    for name in dict.fromkeys(families or family_names()):
        kind, meaning = family_about(name)
        _check_family(out, name)
        origin = {"writer": "the lab's grammar", "seed": seed}
        made[name] = Family(name, kind, meaning, lab_rows(name, count, seed=seed), origin)  # type: ignore[arg-type]
    _tell({name: (each, each.save(out)) for name, each in made.items()}, as_json=as_json)


def _check_family(out: Path, name: str) -> None:
    """Refuses a family that could not be written, before anybody is asked."""
    from personascope.core.errors import SampleError
    from personascope.core.files import check_name

    check_name(name, "family", SampleError)
    outputs.check_folder(out)
    if (out / name).exists():
        raise SampleError(
            f"{out / name} is there already and is not written over: give --out another place, or move it"
        )


def _writer(
    name: str,
    url: str | None,
    where: tuple[str | None, str | None, str | None],
    settings: tuple[int | None, float | None, int],
    memory: tuple[Path, terminal.Progress],
) -> Writer:
    """The writer a verb was given; what it wrote before is not asked for again."""
    from personascope.cli.traits import writer_for
    from personascope.store.caching import RememberingWriter
    from personascope.store.store import Store

    writer = writer_for(name, url, where, settings)
    return RememberingWriter(writer, Store(memory[0]), notice=memory[1])


def _keep(out: Path, name: str, drafts: str) -> Path:
    """Writes drafts beside the family, for people to read."""
    from personascope.cli.traits import free_name
    from personascope.core.errors import SampleError
    from personascope.core.files import write_new

    path = free_name(out / f"{name}.drafts.txt")
    write_new(path, drafts.encode("utf-8", "backslashreplace").decode("utf-8"), error=SampleError)
    return path


def _tell(made: dict[str, tuple[Family, Path]], *, as_json: bool, drafts: Path | None = None) -> None:
    """What was written, and where."""
    rows: list[dict[str, Any]] = [
        {"family": str(path), "kind": each.kind, **each.counts, "questions_in_all": each.shared_questions}
        for each, path in made.values()
    ]
    if as_json:
        terminal.print_json({"families": rows, "drafts": str(drafts) if drafts else None})
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    terminal.show_rows("", columns, [tuple(str(row.get(name, "")) for name in columns) for row in rows])
    if drafts is not None:
        lost = sum(len(each.origin.get("left_out", ())) for each, _ in made.values())
        terminal.out.print(
            f"{lost} questions have no valid answers and were left out: {drafts}", highlight=False, soft_wrap=True
        )
    terminal.out.print("Look at it before you train on it.", highlight=False)
