"""vLLM on a CPU, for models whose attention heads are of a size its kernels do not have.

Owns: :class:`PaddedHeadsWorker`. The one law: a head filled up with zeros attends and tells as it did. The lab's heads
have 16 numbers; the least that vLLM's kernels on a CPU take is 32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from vllm.model_executor.models.transformers import vllm_attention_forward
from vllm.model_executor.models.transformers.base import VLLM_ATTN_ATTR
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
from vllm.v1.worker.cpu_worker import CPUWorker

from personascope.engines.vllm.worker import ResidualWorker


class PaddedHeadsWorker(CPUWorker, ResidualWorker):  # type: ignore[misc]
    """vLLM's own worker on a CPU; the cache and the kernels see heads of the next size they have.

    Our hooks are named among its bases, because vLLM mixes them into the class above once it has opened another model,
    and then takes them for a clash of names.
    """

    def load_model(self, *args: Any, **named: Any) -> None:
        """Loads the model with wider heads in its cache; its own computations, rotary ones too, stay as they are."""
        architecture = self.model_config.model_arch_config
        sizes = CPUAttentionBackend.get_supported_head_sizes()
        architecture.head_size = min(size for size in sizes if size >= architecture.head_size)
        ALL_ATTENTION_FUNCTIONS.register("vllm", _attention)
        super().load_model(*args, **named)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """vLLM's attention for transformers' models, ``[1 head token size]``, with zeros where heads are too narrow."""
    narrow = query.shape[-1]
    more = int(getattr(module, VLLM_ATTN_ATTR).head_size) - narrow
    if more <= 0:
        told: tuple[torch.Tensor, None] = vllm_attention_forward(module, query, key, value, attention_mask, **named)
        return told
    wide = [functional.pad(each, (0, more)) for each in (query, key, value)]
    out, _ = vllm_attention_forward(module, *wide, attention_mask, **named)
    return out.reshape(len(out), -1, narrow + more)[..., :narrow].reshape(len(out), -1), None
