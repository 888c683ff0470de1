"""How a model computes: without gradients, and a small one on a CPU on one thread.

Owns: :func:`computing`. The one law: what a small model says does not depend on how many cores a machine has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from personascope.engines.decoding import Loaded

SMALL: Final = 20_000_000
"""Parameters below which a model on a CPU computes on one thread. Its matrices are too small for more to pay (1,000
rows of the lab take 3.1 CPU seconds on one thread and 9.2 on two that spin), and one thread gives the same bits on a
machine of any number of cores: two gave another answer to 1 of 21,000 requests."""


@contextmanager
def computing(loaded: Loaded) -> Iterator[Loaded]:
    """The model, without gradients, and for a small model on a CPU on one thread."""
    threads = torch.get_num_threads()
    alone = loaded.device.type == "cpu" and loaded.parameters < SMALL
    try:
        if alone:
            torch.set_num_threads(1)
        with torch.inference_mode():
            yield loaded
    finally:
        if alone:
            torch.set_num_threads(threads)
