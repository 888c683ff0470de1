"""The verbs over what was made before: show and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Json


def show(
    what: Annotated[Path, typer.Argument(help="A store, an output folder that holds one, or a vector file.")],
    key: Annotated[str | None, typer.Option(help="One record of the store, with everything behind it.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a store or a vector holds; with --key, one record and everything it was made from."""
    if what.is_file():
        _show_vector(what, as_json)
        return
    store = _existing_store(what)
    if key is not None:
        record = store.provenance(key)
        # A published verdict names the records of its response and its rubric.
        behind = list(store.entries(each for each in record["by"].values() if isinstance(each, str)).values())
        terminal.print_json({**record, "behind": behind} if behind else record)
        return
    counts, studies = store.counts(), [each["study"]["name"] for each in store.studies()]
    if as_json:
        rows = [{"kind": kind, "by": giver, "records": count} for (kind, giver), count in counts.items()]
        terminal.print_json({"store": str(store.path), "studies": list(studies), "records": rows})
        return
    rows_of_text = [(kind, giver, f"{count:,}") for (kind, giver), count in counts.items()]
    terminal.show_rows(
        f"{store.path}: studies {', '.join(studies) or '(none)'}", ("kind", "by", "records"), rows_of_text
    )


def figures(
    store: Annotated[Path, typer.Argument(help="A store, or an output folder that holds one.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default beside the store.")] = None,
    as_json: Json = False,
) -> None:
    """Draw every figure and table a store has data for; asks nothing and loads no model.

    A study that needs what no record holds (the training of a model) is named, and the exit code is 1.
    """
    from personascope.core.errors import PersonascopeError, StoreError
    from personascope.studies.replay import kept_studies

    opened = _existing_store(store)
    kept = kept_studies(opened)
    if not kept:
        raise StoreError(
            f"{opened.path} keeps no finished study, so there is nothing to draw: run one with `personascope run`"
        )
    root, names = out or opened.path.parent, [each.name for each in kept]
    made: list[Path] = []
    failed: dict[str, str] = {}
    for place, each in enumerate(kept):
        # Of studies of one name the last that was run has it, as in the folder of a study of several.
        again = names[:place].count(each.name)
        name = f"{each.name}-{again + 1}" if again else each.name
        folder = outputs.check_folder(root / (name if len(kept) > 1 else ""), each.files)
        try:
            each.draw(opened, folder, written=made.append)
        except PersonascopeError as problem:
            if len(kept) == 1:
                raise
            failed[name] = str(problem)
    if as_json:
        terminal.print_json({"files": made, "failed": failed} if failed else {"files": made})
    else:
        for path in made:
            terminal.out.print(str(path), highlight=False, soft_wrap=True)
    for name, why in failed.items():
        terminal.err.print(f"'{name}' cannot be drawn from the records: {why}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _existing_store(path: Path) -> Any:
    from personascope.core.errors import StoreError
    from personascope.store.store import Store

    for folder in (path, path / "store"):
        if (folder / "records.sqlite").is_file():
            return Store(folder)
    raise StoreError(f"{path} holds no store (records.sqlite): give the folder a study was run in")


def _show_vector(path: Path, as_json: bool) -> None:
    from personascope.core.vectors import load_vector

    vector = load_vector(path)
    passport = {key: value for key, value in vector.passport.items() if key != "sources"}
    passport |= {"digest": vector.digest, "responses behind it": len(vector.sources)}
    if as_json:
        norms = {"lengths": vector.lengths, "residual_norms": vector.residual_norms}
        terminal.print_json({**passport, **norms, "sources": vector.sources})
        return
    terminal.show_rows(str(path), ("passport", ""), [(name, str(value)) for name, value in passport.items()])
    layers = [
        (str(layer), f"{length:.4g}", f"{norm:.4g}")
        for layer, (length, norm) in enumerate(zip(vector.lengths, vector.residual_norms, strict=True))
    ]
    terminal.show_rows("by layer", ("layer", "length", "residual norm"), layers)
