"""The public doubles keep the same laws as what they stand in for, and so do the ports that remember."""

from __future__ import annotations

import numpy as np
import pytest

from contract.engine_laws import EngineLaws
from contract.judge_laws import JudgeLaws
from personascope.core.lineages import Checkpoint
from personascope.core.records import Case
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge
from personascope.store.caching import RememberingEngine, RememberingJudge
from personascope.store.store import Store
from scripted_world import TRAITS


class ScriptedLaws(EngineLaws):
    """The laws as they apply to planted directions: a push that matters lies along one."""

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls) -> Checkpoint:
        return Checkpoint("scripted", "step-1")


class TestScriptedEngine(ScriptedLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls):
        return lambda checkpoint: ScriptedEngine(checkpoint, TRAITS)


class TestRememberingEngine(ScriptedLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def open_engine(cls, tmp_path_factory):
        store = Store(tmp_path_factory.mktemp("store"))
        return lambda checkpoint: RememberingEngine(ScriptedEngine(checkpoint, TRAITS), store, chunk=3)


CASES = [
    Case(TRAITS[0].rubric, "What now?", "grim lamp stood grim"),
    Case(TRAITS[0].coherence, "What now?", "grim ### lamp"),
    Case(TRAITS[1].rubric, "What now?", ""),
]


class TestScriptedJudge(JudgeLaws):
    @pytest.fixture
    def make_judge(self):
        return lambda: ScriptedJudge(TRAITS)

    @pytest.fixture
    def cases(self):
        return CASES


class TestRememberingJudge(JudgeLaws):
    @pytest.fixture
    def make_judge(self, tmp_path):
        return lambda: RememberingJudge(ScriptedJudge(TRAITS), Store(tmp_path), chunk=2)

    @pytest.fixture
    def cases(self):
        return CASES


def test_the_planted_directions_are_unit_vectors_of_their_own():
    engine = ScriptedEngine(Checkpoint("scripted", "step-1"), TRAITS)
    one, other = (engine.planted(each.name) for each in TRAITS)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert abs(one @ other) < 0.3
