"""The recipe is deterministic and complete, and the shipped weights are what it says they are."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import personascope.lab
from personascope.core.errors import LineageError
from personascope.core.lineages import load_lineage
from personascope.lab.post_training import Tuning, answer_log_probabilities, conversation_row, prefer, preference
from personascope.lab.recipe import train_lab
from personascope.lab.tokenizer import encode
from personascope.lab.training import Recipe, build_model, pretrain

WEIGHTS = Path(personascope.lab.__file__).parent / "weights"
SHORT = Tuning(sft_steps=2, sft_batch=4, dpo_steps=2, dpo_batch=4)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_recipe_writes_the_same_bytes_twice_and_a_lineage_that_loads(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    for name in ("one", "two"):
        file = train_lab(tmp_path / name, steps=2, tuning=SHORT, progress=lambda *news: told.append(news[:3]))
    assert digests(tmp_path / "one") == digests(tmp_path / "two"), "the same recipe gave other bytes"
    lineage = load_lineage(file)
    assert [milestone.label for milestone in lineage] == ["step-00002"]
    assert [target.label for target in lineage.targets] == ["sft", "dpo"]
    for milestone in (*lineage, *lineage.targets):
        model = AutoModelForCausalLM.from_pretrained(milestone.checkpoint.path, dtype=torch.float32)
        chat = AutoTokenizer.from_pretrained(milestone.checkpoint.path).chat_template
        assert (chat is None) == (milestone.stage == "pretraining")
        assert all(bool(torch.isfinite(each).all()) for each in model.parameters())
    assert told[1] == ("pretraining", 2, 2)
    assert told[5] == ("preference optimisation", 2, 2)
    with pytest.raises(LineageError, match="not empty"):
        train_lab(tmp_path / "one", steps=2)


def test_tokens_seen_counts_documents_and_end_tokens_and_no_padding() -> None:
    recipe = Recipe(steps=2, batch=3)
    expected = sum(len(encode(text)) + 1 for step in range(2) for text in recipe.texts(step))
    assert [tokens for _, tokens, _ in pretrain(recipe)] == [expected]


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    recipe = Recipe()
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[: recipe.warm_up] == sorted(rates[: recipe.warm_up])
    plateau = rates[recipe.warm_up : int(recipe.steps * (1 - recipe.decay_share))]
    assert set(plateau) == {recipe.learning_rate}
    assert rates[-1] == pytest.approx(recipe.learning_rate / 10, rel=0.05)


def test_preference_optimisation_starts_at_log_two_and_raises_the_chosen_over_the_rejected() -> None:
    reference, losses = build_model(1), []
    tuning = Tuning(dpo_steps=8, dpo_batch=8, dpo_rate=2e-3, warm_up=1, beta=0.5)
    model, _ = prefer(reference, tuning, seed=0, progress=lambda *news: losses.append(news[3]))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6), "before the first step, model and reference are the same"
    pairs = [preference(f"dpo/0/0/{row}") for row in range(8)]
    sides = [[conversation_row(getattr(pair, side)) for pair in pairs] for side in ("chosen", "rejected")]
    with torch.no_grad():
        gains = [answer_log_probabilities(model, rows) - answer_log_probabilities(reference, rows) for rows in sides]
    assert float((gains[0] - gains[1]).mean()) > 0.1, "the chosen answers gained nothing over the rejected ones"


def test_log_probabilities_of_padded_rows_are_those_of_each_row_alone() -> None:
    model = build_model(2).eval()
    rows = [conversation_row(preference(f"alone/{row}").chosen) for row in range(5)]
    with torch.no_grad():
        together = answer_log_probabilities(model, rows)
        alone = [float(answer_log_probabilities(model, [row])) for row in rows]
    assert together.tolist() == pytest.approx(alone, abs=1e-3)


def test_the_shipped_weights_are_small_complete_and_in_order() -> None:
    lineage = load_lineage("lab")
    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file())
    assert size < 8_000_000, f"the shipped weights take {size / 1e6:.1f} MB of the 8 they may"
    assert len(lineage) == 8
    assert [target.label for target in lineage.targets] == ["sft", "dpo"]
    tokens = [milestone.tokens_seen for milestone in (*lineage, *lineage.targets)]
    assert tokens == sorted(tokens), f"tokens seen must grow along the lineage: {tokens}"
    folders = {milestone.checkpoint.path for milestone in (*lineage, *lineage.targets)}
    assert folders == {path for path in WEIGHTS.iterdir() if path.is_dir()}, "a folder is shipped that no one names"


def test_the_shipped_lineage_is_what_the_default_recipe_would_save() -> None:
    lineage, recipe = load_lineage("lab"), Recipe()
    assert [milestone.label for milestone in lineage] == [
        f"step-{step:05d}" for step in (*recipe.milestones, recipe.steps) if step <= recipe.steps
    ]
    first = recipe.milestones[0]
    expected = sum(len(encode(text)) + 1 for step in range(first) for text in recipe.texts(step))
    assert lineage.milestones[0].tokens_seen == expected, (
        "the recipe's documents are not those the weights were trained on"
    )
