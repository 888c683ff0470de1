"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from personascope.cli import app, terminal
from writing_endpoint import Turn, WritingEndpoint


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in this process, in a folder of its own; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def endpoint() -> Iterator[Callable[[Callable[[Sequence[Turn]], str]], list[object]]]:
    """Starts an endpoint that writes as it is told, and gives the options that name it as the writer."""
    running: list[WritingEndpoint] = []

    def start(write: Callable[[Sequence[Turn]], str]) -> list[object]:
        running.append(WritingEndpoint(write).__enter__())
        return ["--writer", "local:fake-1", "--url", running[-1].endpoint.base_url]

    yield start
    for each in running:
        each.__exit__()
