"""The Hub path, against a stand-in for the Hub on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

import hub_stand_in
import toy_models
from hub_stand_in import ADAPTER, MODEL, commit
from personascope.core.lineages import Checkpoint
from personascope.core.records import Request, Sampling
from personascope.engines.hf.engine import TransformersEngine

transformers.utils.logging.disable_progress_bar()
EARLY = "stage1-step10-tokens2B"


def publish(root: Path) -> None:
    """A model with three branches, and an adapter for it."""
    import peft

    for seed, branch in enumerate(("main", EARLY)):
        toy_models.build(root / MODEL / branch, seed=seed)
    shutil.copytree(root / MODEL / EARLY, root / MODEL / "stage2-step4-tokens1.5T")
    model = transformers.AutoModelForCausalLM.from_pretrained(root / MODEL / "main")
    settings = peft.LoraConfig(target_modules=["o_proj"], init_lora_weights=False, r=8, lora_alpha=64)
    peft.get_peft_model(model, settings).save_pretrained(root / ADAPTER / "main")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("hub")
    publish(root)
    return root


@pytest.fixture(scope="module")
def seen(published: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process saw of the Hub, and what it still saw when the Hub was gone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, hub_stand_in.__file__, str(published), str(tmp_path_factory.mktemp("cache"))],
        capture_output=True,
        text=True,
        timeout=300,
        env=kept,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_folder(folder: Path) -> list[int]:
    request = Request("who is there?", Sampling(max_tokens=6, temperature=0))
    return list(TransformersEngine(Checkpoint.at(folder)).generate([request])[0].tokens)


@pytest.mark.parametrize("when", ["online", "offline"])
def test_a_branch_becomes_its_commit_and_gives_the_answers_of_its_own_weights(
    seen: dict[str, Any], published: Path, when: str
) -> None:
    main, early = in_folder(published / MODEL / "main"), in_folder(published / MODEL / EARLY)
    assert main != early, "the two branches must be told apart for this to show anything"
    assert seen[when]["main"] == [commit(MODEL, "main"), "", main]
    assert seen[when]["early"] == [commit(MODEL, EARLY), "", early]
    assert seen[when]["by_commit"] == seen[when]["main"]


@pytest.mark.parametrize("when", ["online", "offline"])
def test_an_adapter_on_the_hub_becomes_its_commit_too(seen: dict[str, Any], when: str) -> None:
    revision, adapter_revision, tokens = seen[when]["adapted"]
    assert (revision, adapter_revision) == (commit(MODEL, "main"), commit(ADAPTER, "main"))
    assert tokens != seen[when]["main"][2], "the adapter changed nothing"


def test_a_lineage_lists_every_revision_in_order_with_the_tokens_its_name_holds(seen: dict[str, Any]) -> None:
    assert seen["online"]["lineage"] == [
        [EARLY, 2 * 10**9, "1", EARLY],
        ["stage2-step4-tokens1.5T", None, "2", "stage2-step4-tokens1.5T"],
        ["main", None, "", "main"],
    ]
    assert seen["online"]["some"] == [EARLY]


def test_without_the_hub_a_lineage_lists_what_the_cache_holds(seen: dict[str, Any]) -> None:
    assert [label for label, *_ in seen["offline"]["lineage"]] == [EARLY, "main"]
    assert seen["offline_seconds"] < 60, "an absent Hub must not be waited for"


@pytest.mark.parametrize(
    ("asked", "online", "offline"),
    [
        ("no_repository", "the Hub has no such repository", "not in the local cache and the Hub cannot be reached"),
        ("no_revision", "the repository has no such revision", "not in the local cache and the Hub cannot be reached"),
        ("no_name", "neither a folder nor the name of a Hub repository", "neither a folder nor the name"),
        ("not_an_adapter", "holds no PEFT adapter", "holds no PEFT adapter"),
        ("no_pattern", "LineageError: no revision of toys/tiny matches 'stage9-*'", "LineageError: no revision"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line_that_says_what_to_do(
    seen: dict[str, Any], asked: str, online: str, offline: str
) -> None:
    assert online in seen["online"][asked]
    assert offline in seen["offline"][asked]
    assert "\n" not in seen["online"][asked] + seen["offline"][asked]
