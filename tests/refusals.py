"""What a refused command looks like."""

from __future__ import annotations


def refused(result: tuple[int, str, str], *said: str) -> None:
    """The exit code is 1, and standard error holds one line: an error that says all of these."""
    code, _, message = result
    assert code == 1, f"exit code {code}: {message}"
    (line,) = message.strip().splitlines()
    assert line.startswith("error:"), line
    for text in said:
        assert text in line, line
