"""Against the published study's files: its traits and tensors load, and our traits are not its traits.

The files lie in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from personascope.core.files import bundled
from personascope.core.lineages import Checkpoint
from personascope.core.traits import load_trait
from personascope.interop import load_pt, save_pt
from personascope_published.traits import load_published_trait

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}")

CHARACTER = [f"{name}_character_neutral_q" for name in ("evil", "humorous", "impolite", "sycophantic")]
UPSTREAM = ["evil", "humorous", "impolite", "sycophantic"]
OTHER = ["evil_dialogue_neutral_q", "evil_stories_neutral_q"]


def trait_files() -> list[Path]:
    return sorted((ROOT / "data").glob("*trait_data*/*.json"))


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)


def runs_of(text: str, count: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", "").replace("\u2019", ""))
    return {tuple(words[start : start + count]) for start in range(len(words) - count + 1)}


@pytest.mark.parametrize("name", CHARACTER + UPSTREAM + OTHER)
def test_a_published_trait_loads_with_its_own_words_in_their_own_order(name: str) -> None:
    trait = load_published_trait(ROOT, name, form="assistant" if name in UPSTREAM else "character")
    extract = json.loads((ROOT / "data" / "trait_data_extract" / f"{name}.json").read_text(encoding="utf-8"))
    assert list(trait.extraction_questions) == extract["questions"]
    assert len(trait.contrasts) == 5
    assert len(trait.evaluation_questions) == 20
    assert trait.rubric.text == extract["eval_prompt"]
    said = [
        (text if isinstance(text, str) else "\n".join(text))
        for each in extract["instruction"]
        for text in each.values()
    ]
    assert [text for each in trait.contrasts for text in (each.positive, each.negative)] == said


def test_nothing_that_ships_shares_eight_words_in_a_row_with_a_published_trait() -> None:
    theirs: dict[tuple[str, ...], str] = {}
    for path in trait_files():
        for text in strings_in(json.loads(path.read_text(encoding="utf-8"))):
            theirs.update(dict.fromkeys(runs_of(text), f"{path.parent.name}/{path.name}"))
    assert len(theirs) > 1_000, f"too little was read from {ROOT} to compare with"
    for wanted, path in bundled("traits").items():
        for text in strings_in(tomllib.loads(path.read_text(encoding="utf-8"))):
            for run in runs_of(text):
                assert run not in theirs, f"{wanted} shares '{' '.join(run)}' with {theirs[run]}: write it afresh"


def words_of(question: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", question.lower().replace("alex", "dana")))


def test_no_shipped_question_is_a_published_one_with_other_words_put_in() -> None:
    theirs = {question for path in trait_files() for question in json.loads(path.read_text("utf-8"))["questions"]}
    assert len(theirs) >= 200
    said = [(question, words_of(question)) for question in theirs]
    for wanted in bundled("traits"):
        form, _, name = wanted.partition("/")
        trait = load_trait(name, form=form)
        for ours in trait.extraction_questions + trait.evaluation_questions:
            mine = words_of(ours)
            for question, words in said:
                shared = len(mine & words) / len(mine | words)
                assert shared < 0.55, f"{wanted}: {ours!r} shares {shared:.0%} of its words with {question!r}"


def published_tensors() -> list[Path]:
    return sorted((ROOT / "data" / "persona_vectors").rglob("*_response_avg_diff.pt"))


def test_every_published_tensor_loads_as_a_vector() -> None:
    found = published_tensors()
    assert len(found) >= 50
    for path in found:
        vector = load_pt(path, trait="any", form="character", checkpoint=Checkpoint("x", path.parent.name))
        assert vector.directions.shape == (33, 4096), path
        assert vector.lengths[16] > 0, path


def test_a_published_tensor_survives_the_round_trip_to_the_bit(tmp_path: Path) -> None:
    path = next(each for each in published_tensors() if each.name.startswith("evil_character"))
    checkpoint = Checkpoint("allenai/Olmo-3-1025-7B", path.parent.name)
    vector = load_pt(path, trait="evil", form="character", checkpoint=checkpoint)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    np.testing.assert_array_equal(vector.directions, theirs.numpy())
    save_pt(vector, tmp_path / "v.pt")
    ours = torch.load(tmp_path / "v.pt", weights_only=True)
    assert ours.dtype == theirs.dtype == torch.float32
    assert torch.equal(ours, theirs)


def test_the_published_cosine_to_the_final_checkpoint_is_found_again() -> None:
    folder = ROOT / "data" / "persona_vectors" / "Olmo-3-1025-7B"
    wanted = {"evil": 0.170, "impolite": 0.084, "sycophantic": 0.003}  # tracing study, fact 6: layer 16, step 3000
    for trait, cosine in wanted.items():
        first, last = (
            load_pt(
                folder / revision / f"{trait}_character_neutral_q_response_avg_diff.pt",
                trait=trait,
                form="character",
                checkpoint=Checkpoint("allenai/Olmo-3-1025-7B", revision),
            )
            for revision in ("stage1-step3000", "main")
        )
        assert first.cosine(last)[16] == pytest.approx(cosine, abs=6e-4), trait
