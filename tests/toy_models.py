"""Tiny random models of every supported architecture, with a byte-level tokenizer, in a folder of their own.

Owns: :func:`build`. The one law: the same name and seed give the same weights, so a failure can be run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

HIDDEN = 32
BLOCKS = 3
LIMIT = 4096
WINDOW = 24
SPECIALS = ("<pad>", "<bos>", "<eos>", "<user>", "<system>", "<assistant>")
VOCABULARY = 256 + len(SPECIALS)

# Three blocks put a sliding window, a full one and another sliding one in a row where the architecture mixes them.
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "Olmo3": {"sliding_window": WINDOW, "layer_types": _MIXED},
    "Apertus": {},
    "Qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": _MIXED},
    "Qwen3": {"head_dim": 16},
    "Llama": {},
    "Gemma3Text": {"head_dim": 16, "sliding_window": WINDOW, "layer_types": _MIXED},
    "GPTNeoX": {},
    "Mistral": {"sliding_window": WINDOW},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(
    *, bos: bool = False, template: str | None = None, eos: bool = True, pad: bool = True
) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of one token per byte and no merges: every text encodes, and no boundary moves."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate((*SPECIALS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    names: dict[str, Any] = {"bos_token": "<bos>"}
    names |= {"eos_token": "<eos>"} if eos else {}
    names |= {"pad_token": "<pad>"} if pad else {}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    fast.chat_template = template
    return fast


def build(
    folder: Path, architecture: str = "Olmo3", *, seed: int = 0, eos: bool = True, scale: float = 3.0, **overrides: Any
) -> Path:
    """A checkpoint folder with random weights.

    ``scale`` multiplies the weight matrices: at transformers' own initial scale the logits of a random model are
    almost equal, and a wrong answer could pass for a right one.
    """
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2 if eos else None}
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "max_position_embeddings": LIMIT,
        "tie_word_embeddings": False,
    }
    if architecture != "GPTNeoX":
        sizes["num_key_value_heads"] = 2
    settings = {**sizes, **tokens, **ARCHITECTURES[architecture], **overrides}
    config = getattr(transformers, f"{architecture}Config")(**settings)
    torch.manual_seed(seed)
    name = "Gemma3ForCausalLM" if architecture == "Gemma3Text" else f"{architecture}ForCausalLM"
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    byte_tokenizer(eos=eos).save_pretrained(folder)
    return folder
