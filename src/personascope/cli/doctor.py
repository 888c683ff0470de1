"""The verb that examines an engine with a model before a long run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import terminal
from personascope.cli.options import Adapter, Device, Dtype, Json, Model, Revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from personascope.doctor.findings import Finding
    from personascope.engines import Engine


def doctor(
    model: Model,
    revision: Revision = None,
    adapter: Adapter = None,
    engine: Annotated[str, typer.Option(help="The engine to examine: transformers, vllm or naive.")] = "transformers",
    against: Annotated[str | None, typer.Option(help="A second engine, to be compared with the first.")] = None,
    long_prompt: Annotated[
        int, typer.Option(min=1, help="Tokens of the longest prompt; more than a sliding window examines that too.")
    ] = 512,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Prove, before a long run, that an engine does with this model what a study takes for granted.

    Edits land where asked, batch mates do not matter, and readings and answers are those of a naive pass. The exit code
    is 1 if anything is found wrong.
    """
    from personascope.doctor import examine

    how = {"revision": revision, "adapter": adapter, "device": device, "dtype": dtype}
    examined = _open(engine, model, how)
    second = None if against is None else _open(against, model, how)
    findings = []
    oracle = _open("naive", model, how)
    with terminal.err.status("examining") as status:
        for finding in examine(examined, against=second, oracle=oracle, long_prompt=long_prompt):
            findings.append(finding)
            status.update(f"examining: {finding.name} done")
    passed = all(finding.passed for finding in findings)
    label = examined.checkpoint.label
    if as_json:
        about = {"checkpoint": label, "revision": examined.checkpoint.revision, **examined.identity}
        terminal.print_json({**about, "passed": passed, "findings": list(map(asdict, findings))})
    else:
        title = f"{label} on {', '.join(f'{name} {said}' for name, said in examined.identity.items())}"
        terminal.show_rows(title, ("", "examined", "found", "allowed", "what was measured"), _rows(findings))
        wrong = [finding.name for finding in findings if not finding.passed]
        verdict = f"found wrong: {', '.join(wrong)}" if wrong else "nothing found wrong"
        terminal.out.print(verdict, highlight=False)
    if not passed:
        raise typer.Exit(1)


def _open(name: str, model: str, how: dict[str, str | None]) -> Any:
    """An engine by name; the weights load when it is asked."""
    from personascope.core.errors import EngineError, nearest
    from personascope.core.plugins import ENGINES, entry_points
    from personascope.engines.opening import open_engine

    known = (*entry_points(ENGINES), "naive")
    if name not in known:
        raise EngineError(f"engine '{name}' is unknown; {nearest(name, known)}")
    engine: Engine = open_engine(model, engine="transformers" if name == "naive" else name, **how)
    if name != "naive":
        return engine
    from personascope.engines.naive import NaiveEngine

    return NaiveEngine(engine.checkpoint, device=how["device"], dtype=how["dtype"])


def _rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    return [
        ("ok" if each.passed else "WRONG", each.name, f"{each.measured:.2g}", f"{each.allowed:.2g}", each.what)
        for each in findings
    ]
