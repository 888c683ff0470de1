"""Small sparse autoencoders of the lab's models.

Owns: :class:`SaeRecipe` and :func:`train_sae`. The one law: the same recipe gives the same features on the same
machine; its tokens come from the grammar's stream of documents that no model was trained on.

A TopK autoencoder (Gao et al. 2024): of all features only the ``most`` greatest of a token take part in rebuilding its
residual stream, and the loss is the squared error alone. Decoder rows keep length 1, and features that were silent for
a while are given the errors that are left to explain.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personascope.core.dictionaries import Dictionary
from personascope.core.errors import check_layer
from personascope.lab.documents import held_out_documents
from personascope.lab.tokenizer import END, encode, vocabulary


@dataclass(frozen=True)
class SaeRecipe:
    """Every number of an autoencoder. ``documents`` are read once for all steps; ``batch`` counts tokens."""

    layer: int = 3
    features: int = 256
    most: int = 8
    documents: int = 1500
    steps: int = 800
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0
    silent_steps: int = 60
    helpers: int = 16


def train_sae(folder: str | Path, recipe: SaeRecipe | None = None) -> tuple[Dictionary, float]:
    """An autoencoder of the residual stream at one layer of a lab checkpoint; and the share of variance it rebuilds.

    The share is measured on documents it was not trained on.

    Raises:
        LayerError: if the lab's models have no such layer.
    """
    recipe = recipe or SaeRecipe()
    held = recipe.documents // 5
    stream = lab_stream(Path(folder), layer=recipe.layer, documents=recipe.documents + held)
    counts = max(1, round(len(stream) * recipe.documents / (recipe.documents + held)))
    seen, unseen = stream[:counts], stream[counts:]
    sae = _Sae(seen.shape[1], recipe, seen.mean(0))
    sae.fit(seen)
    with torch.no_grad():
        rebuilt = sae(unseen)[0]
        share = 1 - float(((unseen - rebuilt) ** 2).sum() / ((unseen - unseen.mean(0)) ** 2).sum())
    return sae.dictionary(f"lab:{recipe.seed}"), share


@functools.lru_cache(maxsize=2)  # several seeds of one study read the same tokens
def lab_stream(folder: Path, *, layer: int, documents: int) -> torch.Tensor:
    """The residual stream at a layer of a lab checkpoint: every token of so many documents, ``[token hidden]``."""
    model = _loaded(folder)
    check_layer(layer, len(model.model.layers), f"the lab's {Path(folder).name}")
    taken: list[torch.Tensor] = []

    def take(_: Any, __: Any, output: Any) -> None:
        taken.append((output[0] if isinstance(output, tuple) else output).detach())

    place = model.model.embed_tokens if layer == 0 else model.model.layers[layer - 1]
    hook = place.register_forward_hook(take)
    rows = [[*encode(each.text), vocabulary()[END]] for each in held_out_documents(documents, seed=17)]
    parts = []
    try:
        with torch.no_grad():
            for row in rows:
                model(input_ids=torch.tensor([row]), use_cache=False, logits_to_keep=1)
                parts.append(taken.pop()[0])
    finally:
        hook.remove()
    return torch.cat(parts)


def _loaded(folder: Path) -> Any:
    """The checkpoint of a folder in float32, without a bar that says so."""
    from safetensors.torch import load_file
    from transformers import Olmo3Config, Olmo3ForCausalLM

    model = Olmo3ForCausalLM(Olmo3Config.from_pretrained(str(folder)))
    model.load_state_dict({name: value.float() for name, value in load_file(folder / "model.safetensors").items()})
    return model.train(mode=False)


class _Sae(torch.nn.Module):
    """Encoder, decoder and the mean of the stream."""

    def __init__(self, width: int, recipe: SaeRecipe, mean: torch.Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(recipe.seed)
        drawn = torch.randn(recipe.features, width, generator=generator)
        self.decoder = torch.nn.Parameter(drawn / drawn.norm(dim=1, keepdim=True))
        self.encoder = torch.nn.Parameter(self.decoder.detach().clone())
        self.bias = torch.nn.Parameter(torch.zeros(recipe.features))
        self.centre = torch.nn.Parameter(mean.clone())
        self.recipe = recipe
        self._generator = generator

    def forward(self, stream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stream as it is rebuilt, and every feature before the choice of the greatest."""
        sums = torch.relu((stream - self.centre) @ self.encoder.T + self.bias)
        best = sums.topk(self.recipe.most, dim=1)
        active = torch.zeros_like(sums).scatter(1, best.indices, best.values)
        return active @ self.decoder + self.centre, sums

    def fit(self, stream: torch.Tensor) -> None:
        """Steps of Adam over random tokens, at a rate that falls to nothing over the last fifth."""
        recipe = self.recipe
        optimizer = torch.optim.Adam(self.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.999))
        silent = torch.zeros(recipe.features)
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * min(1.0, 5 * (1 - step / recipe.steps))
            rows = stream[torch.randint(len(stream), (recipe.batch,), generator=self._generator)]
            rebuilt, sums = self(rows)
            loss = ((rows - rebuilt) ** 2).sum(1).mean() + self._help(rows - rebuilt.detach(), sums, silent)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                self.decoder.div_(self.decoder.norm(dim=1, keepdim=True))
                spoke = torch.zeros_like(silent).index_fill(0, sums.topk(recipe.most, dim=1).indices.unique(), 1)
                silent = (silent + 1) * (1 - spoke)

    def _help(self, left: torch.Tensor, sums: torch.Tensor, silent: torch.Tensor) -> torch.Tensor:
        """What features that have long been silent could explain of the error that is left."""
        dead = silent > self.recipe.silent_steps
        if not bool(dead.any()):
            return torch.zeros(())
        count = min(self.recipe.helpers, int(dead.sum()))
        best = sums.masked_fill(~dead, 0.0).topk(count, dim=1)
        active = torch.zeros_like(sums).scatter(1, best.indices, best.values)
        return ((left - active @ self.decoder) ** 2).sum(1).mean() / 32

    def dictionary(self, name: str) -> Dictionary:
        """The features, with the centre folded into the bias."""
        with torch.no_grad():
            bias = self.bias - self.encoder @ self.centre
        arrays = [each.detach().numpy().astype(np.float32) for each in (self.decoder, self.encoder, bias)]
        return Dictionary(arrays[0], self.recipe.layer, name, arrays[1], arrays[2], most=self.recipe.most)
