"""The recipe of the lab lineage: pretraining, then SFT, then DPO on top of it.

Owns: :class:`Recipe`, :func:`train_lab` and pretraining. The one law: the same recipe gives the same weights on
the same machine: every document and every initial weight comes from a seed, and weights are rounded to 16 bits
once, when they are saved.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Olmo3Config, Olmo3ForCausalLM

from personascope.lab.documents import long_document, short_document
from personascope.lab.tokenizer import END, MAX_LENGTH, PAD, encode, save_tokenizer, vocabulary

Progress = Callable[[str, int, int, float], None]
Row = tuple[list[int], list[int]]  # token ids and labels
IGNORED = -100
CONFIG_FIELDS = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "hidden_act", "rms_norm_eps", "attention_bias"),
    *("layer_types", "sliding_window", "rope_parameters", "initializer_range", "tie_word_embeddings"),
    *("pad_token_id", "eos_token_id", "bos_token_id"),
)


@dataclass(frozen=True)
class Recipe:
    """Every number of pretraining. ``milestones`` are the steps at which a checkpoint is saved, beside the last."""

    steps: int = 2000
    seed: int = 0
    batch: int = 56
    long_every: int = 16
    long_batch: int = 4
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    warm_up: int = 50
    decay_share: float = 0.3
    clip: float = 1.0
    milestones: tuple[int, ...] = (40, 113, 226, 283, 400, 640, 1131)

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): linear warm-up, a plateau, a linear decay to a tenth."""
        decay_from = self.steps * (1 - self.decay_share)
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if step < decay_from:
            return self.learning_rate
        return self.learning_rate * (1 - 0.9 * (step - decay_from) / (self.steps - decay_from))

    def texts(self, step: int) -> list[str]:
        """The documents of a step: every ``long_every``-th step reads long ones."""
        if step % self.long_every == self.long_every - 1:
            return [long_document(f"train/{self.seed}/{step}/{row}").text for row in range(self.long_batch)]
        return [short_document(f"train/{self.seed}/{step}/{row}").text for row in range(self.batch)]


def build_model(seed: int) -> Olmo3ForCausalLM:
    """A freshly initialised OLMo-3 of 0.27 M parameters: 4 blocks of width 64, 4 heads, 1,024 positions."""
    torch.manual_seed(seed)
    known = vocabulary()
    config = Olmo3Config(
        vocab_size=len(known),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=False,
        pad_token_id=known[PAD],
        eos_token_id=known[END],
        bos_token_id=None,
    )
    return Olmo3ForCausalLM(config)


def padded(rows: Sequence[Sequence[int]], *, fill: int) -> torch.Tensor:
    """Rows of token ids as one ``[row token]`` tensor, filled on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def optimizer_for(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves norms alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def advance(
    model: torch.nn.Module, optimizer: torch.optim.AdamW, losses: Iterable[torch.Tensor], *, rate: float, clip: float
) -> float:
    """One step of the optimizer along the sum of losses, taken one by one to keep memory small. Returns the sum."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


def language_losses(model: Olmo3ForCausalLM, rows: Sequence[Row]) -> Iterator[torch.Tensor]:
    """Parts that sum to the mean cross-entropy of the labelled tokens, in nats.

    Rows of like length go together, so that little is computed for padding; padding is on the right, where no token
    sees it.
    """
    ordered = sorted(rows, key=lambda row: len(row[0]))
    half = (len(ordered) + 1) // 2
    count = sum(label != IGNORED for _, labels in rows for label in labels[1:])
    for part in (ordered[:half], ordered[half:]):
        if part:
            inputs = padded([ids for ids, _ in part], fill=vocabulary()[PAD])
            targets = padded([labels for _, labels in part], fill=IGNORED)[:, 1:]
            logits = model(input_ids=inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
            summed = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
            yield summed / count


def pretrain(recipe: Recipe, progress: Progress | None = None) -> Iterator[tuple[int, int, Olmo3ForCausalLM]]:
    """Trains, and yields (steps taken, tokens seen, the live model) at every milestone and after the last step.

    ``tokens seen`` counts the tokens of the documents and their end tokens, and no padding.
    """
    model = build_model(recipe.seed)
    optimizer = optimizer_for(model, recipe)
    model.train()
    end, tokens = vocabulary()[END], 0
    for step in range(recipe.steps):
        rows = [[*encode(text), end] for text in recipe.texts(step)]
        tokens += sum(map(len, rows))
        losses = language_losses(model, [(row, row) for row in rows])
        loss = advance(model, optimizer, losses, rate=recipe.rate(step), clip=recipe.clip)
        if progress is not None:
            progress("pretraining", step + 1, recipe.steps, loss)
        if step + 1 in recipe.milestones or step + 1 == recipe.steps:
            yield step + 1, tokens, model


def rounded(model: Olmo3ForCausalLM) -> Olmo3ForCausalLM:
    """A copy with the weights a saved checkpoint holds: what is trained further grows out of what is shipped."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(each.to(torch.bfloat16).to(each.dtype))
    return model


def save_checkpoint(model: Olmo3ForCausalLM, folder: Path, *, chat: bool) -> None:
    """Writes a checkpoint rounded to bfloat16, with its tokenizer, in the layout Hugging Face loads."""
    from safetensors.torch import save_file

    save_tokenizer(folder, chat=chat)
    config = {name: getattr(model.config, name) for name in CONFIG_FIELDS}
    # transformers 4 reads rope_theta, transformers 5 reads rope_parameters: both are said.
    theta = config["rope_parameters"]["full_attention"]["rope_theta"]
    config |= {"architectures": ["Olmo3ForCausalLM"], "dtype": "bfloat16", "rope_theta": theta}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    state = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
