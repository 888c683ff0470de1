"""How the lab's last checkpoint becomes a chat model: SFT, then DPO on top of it.

Owns: :class:`Tuning`, supervised fine-tuning and direct preference optimisation on the chat form. The one law: only
what the assistant says is learned; the turns of system and user carry no loss.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Olmo3ForCausalLM

from personascope.lab.documents import Document, answer_text, chat_document
from personascope.lab.grammar import Character, Pole, RandomPen, choose_question, describe
from personascope.lab.tokenizer import END, PAD, encode, vocabulary
from personascope.lab.training import IGNORED, Progress, Recipe, Row, advance, language_losses, optimizer_for, padded
from personascope.lab.world import load_world


@dataclass(frozen=True)
class Tuning:
    """Every number of post-training. ``beta`` is DPO's weight of the divergence from the frozen SFT model."""

    sft_steps: int = 300
    sft_batch: int = 32
    sft_rate: float = 1.5e-3
    dpo_steps: int = 40
    dpo_batch: int = 24
    dpo_rate: float = 1e-4
    beta: float = 0.1
    warm_up: int = 20


@dataclass(frozen=True)
class Preference:
    """One question, with or without a description, and the answer that is preferred to another."""

    chosen: Document
    rejected: Document


def conversation_row(document: Document) -> Row:
    """The token ids of a conversation, and its labels: the assistant's words and end tokens, the rest ignored."""
    ids: list[int] = []
    labels: list[int] = []
    for message in document.messages:
        said = encode(message["content"])
        spoken = message["role"] == "assistant"
        ids += [vocabulary()[f"<|{message['role']}|>"], *said]
        labels += [IGNORED, *(said if spoken else [IGNORED] * len(said))]
        if spoken:
            ids.append(vocabulary()[END])
            labels.append(vocabulary()[END])
    return ids, labels


def supervise(
    model: Olmo3ForCausalLM, tuning: Tuning, *, seed: int, progress: Progress | None = None
) -> tuple[Olmo3ForCausalLM, int]:
    """A copy of the model, fine-tuned on conversations of the world; and the tokens it saw, padding apart."""
    model, tokens = copy.deepcopy(model), 0
    optimizer = optimizer_for(model, Recipe())
    model.train()
    for step in range(tuning.sft_steps):
        rows = [conversation_row(chat_document(f"sft/{seed}/{step}/{row}")) for row in range(tuning.sft_batch)]
        tokens += sum(len(ids) for ids, _ in rows)
        rate = _rate(tuning.sft_rate, step, tuning.sft_steps, tuning.warm_up)
        loss = advance(model, optimizer, language_losses(model, rows), rate=rate, clip=Recipe.clip)
        if progress is not None:
            progress("supervised fine-tuning", step + 1, tuning.sft_steps, loss)
    return model, tokens


def prefer(
    reference: Olmo3ForCausalLM, tuning: Tuning, *, seed: int, progress: Progress | None = None
) -> tuple[Olmo3ForCausalLM, int]:
    """A copy of the SFT model, optimised to prefer; and the tokens it saw (each pair's two conversations).

    Direct preference optimisation (Rafailov et al. 2023): the loss is -log sigmoid(beta * (gain of the chosen answer
    - gain of the rejected one)), a gain being the log-probability over that of the frozen SFT model.
    """
    model, tokens = copy.deepcopy(reference), 0
    reference.requires_grad_(requires_grad=False)
    optimizer = optimizer_for(model, Recipe(weight_decay=0.0))
    model.train()
    for step in range(tuning.dpo_steps):
        pairs = [preference(f"dpo/{seed}/{step}/{row}") for row in range(tuning.dpo_batch)]
        rows = [conversation_row(document) for document in _flat(pairs)]
        tokens += sum(len(ids) for ids, _ in rows)
        with torch.no_grad():
            before = answer_log_probabilities(reference, rows)
        gains = answer_log_probabilities(model, rows) - before
        count = len(pairs)
        loss = -torch.nn.functional.logsigmoid(tuning.beta * (gains[:count] - gains[count:])).mean()
        rate = _rate(tuning.dpo_rate, step, tuning.dpo_steps, tuning.warm_up)
        said = advance(model, optimizer, [loss], rate=rate, clip=Recipe.clip)
        if progress is not None:
            progress("preference optimisation", step + 1, tuning.dpo_steps, said)
    return model, tokens


def preference(seed: str) -> Preference:
    """A pair on one question of one trait.

    Half are plain: the answer in the trait's opposite mode is preferred to the one with the trait. The other half have
    a description, and the answer that follows it is preferred: the model stays one that can be told who to be.
    """
    pen, world = RandomPen(seed), load_world()
    domain = pen.choose(tuple(world.domains.values()))
    facet = pen.choose(range(len(domain.facets)))
    orders: tuple[tuple[Pole, Pole], ...] = (("opposite", "trait"), ("trait", "opposite"))
    order, description = orders[0], ""
    if pen.choose((True, False)):
        order = pen.choose(orders)
        description = describe(pen, world, domain, pole=order[0], frequency="always", facet=facet)
    question = choose_question(pen, world, domain)
    answers = [answer_text(pen, world, question, Character(facets={domain.name: facet}), pole) for pole in order]
    chosen, rejected = (Document(description, [(question.text, answer)]) for answer in answers)
    return Preference(chosen, rejected)


def answer_log_probabilities(model: Olmo3ForCausalLM, rows: Sequence[Row]) -> torch.Tensor:
    """The summed log-probability of each row's labelled tokens, in nats: ``[row]``."""
    inputs = padded([ids for ids, _ in rows], fill=vocabulary()[PAD])
    targets = padded([labels for _, labels in rows], fill=IGNORED)[:, 1:]
    logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return -losses.sum(dim=1)


def _flat(pairs: Sequence[Preference]) -> list[Document]:
    return [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]


def _rate(peak: float, step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up, then linear decay to nothing."""
    return peak * min((step + 1) / warm_up, 1.0) * (1 - step / steps)
