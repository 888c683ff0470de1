"""The command line: a verb per public function.

Owns: the list of verbs. The one law: the command line knows no science. Each verb reads its options, calls the
functions of the same names, and shows what they give.
"""

from __future__ import annotations

import sys

import typer

from personascope.cli import (
    data,
    doctor,
    evals,
    facets,
    finetune,
    judges,
    lab,
    models,
    monitor,
    norms,
    published,
    sae,
    screen,
    shift,
    steering,
    stores,
    studies,
    terminal,
    traits,
)

app = typer.Typer(
    help="Persona vectors: extract them, steer with them, and trace them through training.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for verb in (
    studies.demo,
    models.extract,
    models.respond,
    steering.steer,
    norms.norms,
    studies.trace,
    studies.run,
    studies.plan,
    stores.show,
    stores.figures,
    doctor.doctor,
    facets.facets,
    finetune.finetune,
    monitor.monitor,
    screen.screen,
    sae.sae,
    shift.shift,
):
    app.command()(verb)
app.command("import")(published.import_published)
app.command("eval")(evals.evaluate)
published.app.command("projection", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    screen.projection
)
app.add_typer(published.app, name="published")
app.add_typer(traits.app, name="trait")
app.add_typer(data.app, name="data")
app.add_typer(judges.app, name="judge")
app.add_typer(lab.app, name="lab")


def main() -> None:
    """The entry point: errors the user can mend are one line, and the exit code says whether all went well."""
    sys.exit(terminal.guarded(lambda: app(standalone_mode=False)))
