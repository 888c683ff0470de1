"""What is measured: a random model of OLMo-3's architecture, real prompts, and a judge that costs nothing.

Owns: the sizes, the prompts and the scores that both sides of a benchmark share. The one law: nothing here knows how
an answer is computed, so neither side can be favoured.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import personascope as ps
from personascope.core.records import Case, Verdict
from personascope_published.traits import load_published_trait

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 512,
    "intermediate_size": 1360,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 2048,
    "sliding_window": 1024,
}
NEW_TOKENS = 32
LAYER = 4
STRENGTH = 0.5
TRAITS = ("evil", "sycophantic", "impolite", "humorous")
PUBLISHED = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[2] / "shared" / "published"))


def traits(count: int) -> list[ps.Trait]:
    """Traits of 20 extraction and 20 evaluation questions and 5 contrasts: published, or bundled where they are absent.

    The published prompts are the ones the study steered base models with (character, neutral questions).
    """
    if PUBLISHED.is_dir():
        names = [f"{name}_character_neutral_q" for name in TRAITS[:count]]
        return [load_published_trait(PUBLISHED, name, form="character") for name in names]
    return [ps.load_trait(name, form="character") for name in TRAITS[:count]]


def prompts(trait: ps.Trait) -> list[str]:
    """Every prompt of a trait, as a base model sees it."""
    instructed = [each for pole in ("positive", "negative") for each in trait.instructed(pole)]
    return [f"{each.instruction} {each.question}" for each in instructed] + list(trait.questions("evaluation"))


def build(folder: Path, *, seed: int = 0, dtype: str = "float32", sizes: Mapping[str, int] = SIZES) -> Path:
    """A checkpoint folder with random weights and a byte-level tokenizer of 4,096 tokens trained on the prompts."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [text for trait in traits(len(TRAITS)) for text in prompts(trait)]
    specials = ["<pad>", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=SIZES["vocab_size"], special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    model = transformers.Olmo3ForCausalLM(
        transformers.Olmo3Config(**sizes, pad_token_id=0, bos_token_id=None, eos_token_id=1, tie_word_embeddings=False)
    )
    torch.set_default_dtype(torch.float32)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", clean_up_tokenization_spaces=False
    )
    fast.save_pretrained(folder)
    return folder


def score_of(answer: str, rubric: str) -> float:
    """A score between 0 and 100 that is a function of the words alone: a quarter of all pairs clears the usual bar."""
    return hashlib.sha256(f"{rubric}\0{answer}".encode("utf-8", "replace")).digest()[0] / 2.55


class CheapJudge:
    """A judge that costs nothing: every answer is coherent, and half of them show the trait."""

    name = "cheap"
    waits = False

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict("scored", self._score(case)) for case in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict

    def _score(self, case: Case) -> float:
        return 80.0 if "coheren" in case.rubric.text.lower() else score_of(case.answer, "trait")


def method(draws: int) -> ps.Method:
    """The study's numbers (tracing study §1.3), with ``draws`` of every instructed prompt."""
    sampling = ps.Sampling(max_tokens=NEW_TOKENS, temperature=0.5, repetition_penalty=1.1)
    return ps.Method(extraction=replace(sampling, draws=draws), evaluation=replace(sampling, draws=3))
