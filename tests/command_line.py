"""Commands run in the test's own process."""

from __future__ import annotations

import pytest

from personascope.cli import app, terminal


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in this process, in a folder of its own; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, *capsys.readouterr()

    return run
