"""How a model computes on a CPU: a small one on one thread, large float32 products by oneDNN.

What a model says depends neither on how many cores a machine has, nor on a row's batch mates or the memory that happens
to be free: which product is used depends on the shape of a weight alone.

torch multiplies float32 by MKL, which keeps half the width of an AMD processor idle. Measured on one core of an EPYC
with AVX-512 (torch 2.13, 4 to 4,096 rows, weights 512 to 2,048 wide): MKL 80 to 95 Gflop/s, oneDNN 180 to 225. It is
also the steadier one: from 2 rows on a row's product has the same bits in any batch, on one thread or two; MKL's only
from 4 on one thread and from 12 on two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from personascope.engines.hf.decoding import Loaded
from personascope.engines.memory import free_on_host

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


SMALLEST: Final = 2**17
"""Weights of fewer numbers stay with torch. A product of another size costs oneDNN half a millisecond the first time,
and with 64 x 256 numbers it is no faster after that either."""


def quicken(model: nn.Module) -> None:
    """Has the large float32 products of a model on a CPU done by oneDNN, where torch has it.

    Weights are also kept in the order oneDNN reads them in, if memory has ample room for a second copy; if not they are
    put in order at every call, which gives the same bits and takes about a twentieth more time with 400 rows.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    large = [each for each in model.modules() if type(each) is nn.Linear and _is_large(each.weight)]
    room = sum(4 * each.weight.numel() for each in large) < free_on_host() // 4
    for each in large:
        weight = each.weight.detach()
        ordered = torch.ops.mkldnn._reorder_linear_weight(weight, None) if room else weight
        plain: Any = each.forward
        each.forward = partial(_product, ordered, each.bias, plain)  # type: ignore[method-assign]


def _is_large(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= SMALLEST


def _product(weight: torch.Tensor, bias: torch.Tensor | None, plain: Any, rows: torch.Tensor) -> torch.Tensor:
    if not torch.is_inference_mode_enabled() or rows.dtype != torch.float32:
        told: torch.Tensor = plain(rows)
        return told
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product
