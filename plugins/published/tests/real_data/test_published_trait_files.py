"""Every published trait loads, lints and round-trips, and nothing that asks a writer is in the published words.

The files lie in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from personascope.authoring.lint import check_trait
from personascope.cli import app, terminal
from personascope.core.files import bundled
from personascope.core.traits import load_trait, save_trait
from personascope_published.traits import load_published_trait

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}")

EXTRACTED = sorted(path.stem for path in (ROOT / "data" / "trait_data_extract").glob("*.json"))


def form_of(name: str) -> str:
    """The form a published file's name says."""
    known = {"character": "character", "dialogue": "dialogue", "stories": "story"}
    return next((form for word, form in known.items() if word in name), "assistant")


@pytest.mark.parametrize("name", EXTRACTED)
def test_a_published_trait_loads_lints_and_round_trips(name: str, tmp_path: Path) -> None:
    trait = load_published_trait(ROOT, name, form=form_of(name))
    found = [str(each) for each in check_trait(trait)]
    assert not found, f"{name}: {found}"
    save_trait(trait, tmp_path / f"{name}.toml")
    again = load_trait(tmp_path / f"{name}.toml")
    assert again == trait
    theirs = json.loads((ROOT / "data" / "trait_data_extract" / f"{name}.json").read_text(encoding="utf-8"))
    assert list(again.extraction_questions) == theirs["questions"], "word for word"
    assert again.rubric.text == theirs["eval_prompt"]


def test_published_files_are_checked_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [ROOT / "data" / "trait_data_extract" / f"{name}.json" for name in EXTRACTED]
    code = terminal.guarded(lambda: app(["trait", "check", *map(str, paths)], standalone_mode=False))
    said = capsys.readouterr().out
    assert code == 0, said
    assert f"{len(EXTRACTED)} checked, {len(EXTRACTED)} without a finding" in said


def runs_of(text: str, count: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", "").replace("\u2019", ""))
    return {tuple(words[start : start + count]) for start in range(len(words) - count + 1)}


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)


def test_no_prompt_shares_eight_words_in_a_row_with_a_published_trait() -> None:
    theirs = {
        run
        for path in (ROOT / "data").glob("*trait_data*/*.json")
        for text in strings_in(json.loads(path.read_text(encoding="utf-8")))
        for run in runs_of(text)
    }
    assert len(theirs) > 1_000
    for name, path in bundled("prompts").items():
        for text in strings_in(tomllib.loads(path.read_text(encoding="utf-8"))):
            assert not runs_of(text) & theirs, f"{name} shares {runs_of(text) & theirs}: write it afresh"
