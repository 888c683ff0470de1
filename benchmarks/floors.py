"""The arithmetic that has to be done, and the best rates at which products of as many rows were seen to be done.

Owns: :func:`work` and :func:`rates`. The one law: the work is that of the task and not of the engine, and a rate is the
best of many on the same machine, so nothing that computes these answers can be quicker than the one over the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import bench_model
import torch


def work(prompts: Iterable[tuple[int, ...]], said: int) -> float:
    """Gflop: every weight once per distinct prompt token and per token said, every head once per token said.

    ``prompts`` are their tokens. Attention, norms and sampling are left out.
    """
    size = bench_model.SIZES
    hidden, wide = size["hidden_size"], size["intermediate_size"]
    body = 2 * size["num_hidden_layers"] * (4 * hidden**2 + 3 * hidden * wide)
    head = 2 * hidden * size["vocab_size"]
    distinct = {tokens[: place + 1] for tokens in prompts for place in range(len(tokens))}
    return (body * len(distinct) + said * (body + head)) / 1e9


def rates(rows: int) -> dict[str, float]:
    """Gflop/s of torch's own product and of oneDNN's: the best of 30 of ``[rows, 512] x [512, 2048]``."""
    left, right = torch.randn(rows, 512), torch.randn(512, 2048)
    turned = right.t().contiguous()
    products = {
        "torch": lambda: left @ right,
        "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(left, turned, None, "none", [], ""),
    }
    best = dict.fromkeys(products, 0.0)
    with torch.inference_mode():
        for name in list(products) * 30:
            before = time.process_time()
            for _ in range(10):
                products[name]()
            best[name] = max(best[name], 10 * 2 * rows * 512 * 2048 / (time.process_time() - before) / 1e9)
    return best
