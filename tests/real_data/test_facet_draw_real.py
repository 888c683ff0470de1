"""The published sycophantic answers: what the first 100 of a file cover, and what an even draw covers.

The files lie in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from personascope.applications.facets.core import annotate
from personascope.core.facets import load_facets
from personascope.core.records import Bar, Case, Verdict

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[3] / "shared" / "published"))
FOLDER = ROOT / "data/model_responses/extract/Olmo-3-1025-7B"
COLUMN = "sycophantic_character_neutral_q"
FILES = sorted(FOLDER.glob(f"*/{COLUMN}_pos_instruct.csv"))
pytestmark = pytest.mark.skipif(not FILES, reason=f"the published answers are not at {FOLDER}")


class Nobody:
    """A judge that is not there."""

    name = "nobody"
    waits = False

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict("unasked", reason="nobody is there")] * len(cases)

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        return verdict


def answers_in(path: Path) -> pd.DataFrame:
    """The scores of a file; of most files only the names of the questions are published, so answers are numbered."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = {name: pd.to_numeric(rows[column]) for name, column in (("score", COLUMN), ("coherence", "coherence"))}
    questions = rows["question_id"].str.extract(r"_q_(\d+)_", expand=False)
    return rows.assign(**numbers, question=questions, answer=[f"answer {at}" for at in range(len(rows))])


def test_an_even_draw_of_as_many_answers_covers_the_questions_that_the_first_hundred_leave_out() -> None:
    covered: dict[str, tuple[int, int, int]] = {}
    for path in FILES:
        rows = answers_in(path)
        high = rows[rows["score"] > 50]
        found = annotate(rows, load_facets("sycophancy"), judge=Nobody(), bar=Bar(50, None), per_question=5)
        drawn = found[found["standing"] == "unasked"]
        assert len(drawn) <= 100
        first = high.head(100)["question"].nunique()
        covered[path.parent.name] = first, drawn["question"].nunique(), high["question"].nunique()
    assert all(drawn == there for _, drawn, there in covered.values()), f"a question was left out: {covered}"
    if "stage2-step47684" in covered:
        assert covered["stage2-step47684"] == (6, 20, 20), "tracing study §1.9: 20 questions at first, 6 at the end"
