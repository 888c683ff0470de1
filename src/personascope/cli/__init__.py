"""The command line: a verb per public function.

Owns: the list of verbs. The one law: the command line knows no science. Each verb reads its options, calls the
functions of the same names, and shows what they give.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

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
    sae,
    screen,
    shift,
    steering,
    stores,
    studies,
    terminal,
    traits,
)


class WithPlugins(TyperGroup):
    """The commands of this package, and after them those of the installed plugins, each imported when it is needed.

    A plugin that cannot be imported keeps its line in the list, and its command says what is wrong.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        from personascope.core import plugins

        own = super().list_commands(ctx)
        return [*own, *(name for name in plugins.entry_points(plugins.COMMANDS) if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; ``None`` if there is none."""
        return super().get_command(ctx, cmd_name) or _brought(cmd_name)


def _brought(name: str) -> Any:
    """The command that a plugin brings, or one that says why it cannot; ``None`` where no plugin is known to."""
    from personascope.core import plugins
    from personascope.core.errors import PluginError

    if not plugins.known(plugins.COMMANDS, name):
        return None
    host = typer.Typer(add_completion=False)
    try:
        brought = plugins.load(plugins.COMMANDS, name)
    except PluginError as problem:
        error = problem

        def fail(context: typer.Context) -> None:
            raise error

        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        host.command(name, help=terminal.escaped(str(error)), context_settings=anything)(fail)
    else:
        host.add_typer(brought, name=name) if isinstance(brought, typer.Typer) else host.command(name)(brought)
    return get_group(host).commands[name]


app = typer.Typer(
    cls=WithPlugins,
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
app.command("eval")(evals.evaluate)
app.add_typer(traits.app, name="trait")
app.add_typer(data.app, name="data")
app.add_typer(judges.app, name="judge")
app.add_typer(lab.app, name="lab")


def main() -> None:
    """The entry point: errors the user can mend are one line, and the exit code says whether all went well."""
    sys.exit(terminal.guarded(lambda: app(standalone_mode=False)))
