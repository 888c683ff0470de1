"""Matrix products by oneDNN: the same numbers, in any batch the same bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from personascope.engines.hf import cpu

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="torch has no oneDNN here",
)


def quickened(*, bias: bool, inputs: int = 512, outputs: int = 1360) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, outputs, bias=bias)).requires_grad_(False)
    cpu.quicken(model)
    layer = model[0]
    assert isinstance(layer, nn.Linear)
    return layer


@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_torch_up_to_rounding(bias: bool) -> None:
    layer, rows = quickened(bias=bias), torch.randn(1, 33, 512)
    with torch.inference_mode():
        told = layer(rows)
    exact = nn.functional.linear(rows.double(), layer.weight.double(), layer.bias.double() if bias else None)
    assert told.shape == exact.shape
    torch.testing.assert_close(told.double(), exact, rtol=0, atol=2e-6 * float(exact.abs().max()))


@pytest.mark.parametrize("shape", [(512, 1360), (1360, 512), (384, 1000)])
def test_a_rows_product_has_the_same_bits_in_any_batch(shape: tuple[int, int]) -> None:
    layer, rows = quickened(bias=True, inputs=shape[0], outputs=shape[1]), torch.randn(700, shape[0])
    with torch.inference_mode():
        many = layer(rows)
        for count in (4, 5, 17, 64, 100, 129, 460, 512, 699):
            assert torch.equal(layer(rows[:count]), many[:count]), f"{count} rows give other bits than 700"
            assert torch.equal(layer(rows[-count:]), many[-count:]), f"the last {count} rows of 700 give other bits"


def test_weights_give_the_same_bits_whether_memory_has_room_for_a_second_copy_or_not() -> None:
    layer, rows = quickened(bias=False), torch.randn(100, 512)
    with torch.inference_mode():
        unordered = torch.ops.mkldnn._linear_pointwise(rows, layer.weight, None, "none", [], "")
        assert torch.equal(layer(rows), unordered)


def test_outside_inference_and_for_small_weights_torch_multiplies() -> None:
    layer, rows = quickened(bias=False), torch.randn(100, 512)
    assert torch.equal(layer(rows), nn.functional.linear(rows, layer.weight)), "gradients need torch's own product"
    small, few = quickened(bias=False, inputs=64, outputs=64), torch.randn(100, 64)
    with torch.inference_mode():
        assert torch.equal(small(few), nn.functional.linear(few, small.weight))
