"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from command_line import run
from writing_endpoint import Turn, WritingEndpoint

__all__ = ["endpoint", "run"]


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
