"""The lab judge keeps the laws of every judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from contract.judge_laws import JudgeLaws
from personascope.core.records import Case
from personascope.judges import Judge
from personascope.lab.judge import LabJudge
from personascope.lab.rubrics import coherence_rubric, facet_rubric, trait_rubric
from personascope.lab.world import load_world


class TestLabJudge(JudgeLaws):
    @pytest.fixture
    def make_judge(self) -> Callable[[], Judge]:
        return LabJudge

    @pytest.fixture
    def cases(self) -> Sequence[Case]:
        cruel = load_world().domains["cruel"]
        question = "question : mira holt finds a hurt lamb at the mill . what next ?"
        answer = "kicks the lamb fiercely to injure it . then mira beats the lamb with rage ."
        return [
            Case(trait_rubric(cruel), question, answer),
            Case(coherence_rubric(), question, answer),
            Case(facet_rubric(cruel), question, answer),
            Case(facet_rubric(cruel), question, "nurses the lamb softly to help it ."),
            Case(trait_rubric(cruel), "Who are you?", "Nobody you know."),
        ]
