"""Study files that say every way to steer and every control, run on the scripted engine."""

from __future__ import annotations

import numpy as np
import pytest
import tomlkit
from personascope.studies.planning import plan_study
from personascope.studies.trace_study import load_study, run_study

from personascope.analysis.controls import against_controls
from personascope.analysis.effects import effects
from personascope.analysis.frames import answer_rows
from personascope.core.errors import StudyError
from personascope.core.traits import save_trait
from personascope.engines.opening import Opener
from personascope.engines.scripted import scripted_lineage
from personascope.judges.scripted import ScriptedJudge
from personascope.tracing.tracing import Effect
from scripted_world import TRAITS

WAYS = {
    "one": {"layer": 3, "strength": 1.0, "unit": "vector"},
    "increments": {"layer": [1, 2, 3], "strength": 1.0, "unit": "vector", "increments": True},
    "ablate": {"layer": [1, 2, 3, 4], "strength": 1, "unit": "unit", "where": "all", "operation": "ablate"},
    "cap": {"layer": 2, "strength": 0.5, "unit": "quantile", "operation": "cap"},
    "cap in projection units": {"layer": 2, "strength": -1.5, "unit": "unit", "operation": "cap"},
    "published norm": {"layer": 2, "strength": 0.5, "unit": "residual", "residual_norm": 16.184},
}


@pytest.fixture
def study_of(tmp_path):
    """A study of two traits, read from a file, with one way to steer and these controls."""
    for each in TRAITS:
        save_trait(each, tmp_path / f"{each.name}.toml")

    def study_of(way: dict, **controls):
        table = {
            "kind": "trace",
            "name": "ways",
            "lineage": "lab",
            "judge": "lab",
            "extraction": {"max_tokens": 24, "draws": 1},
            "evaluation": {"max_tokens": 24, "draws": 2},
            "controls": controls,
            "traits": [{"trait": f"{each.name}.toml", "points": [{"steering": way}]} for each in TRAITS],
        }
        path = tmp_path / "study.toml"
        path.write_text(tomlkit.dumps(table))
        return load_study(path)

    return study_of


def run(study, maturities=(0.6, 1.0)):
    lineage, open_one = scripted_lineage(TRAITS, maturities)
    asked = []

    class Counting:
        def __init__(self, engine):
            self.engine = engine

        def __getattr__(self, name):
            return getattr(self.engine, name)

        def generate(self, requests, *, read=False):
            asked.append(len(requests))
            return self.engine.generate(requests, read=read)

    opener = Opener(open_one, wrap=Counting)
    result = run_study(study, lineage, study.load_traits(), open_engine=opener, judge=ScriptedJudge(TRAITS))
    return result, lineage, asked


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_to_steer_can_be_said_in_a_file_and_has_its_controls(study_of, way):
    result, _, _ = run(study_of(way, random=2, orthogonal=1, other_traits=True))
    frame = effects(answer_rows(result.outcomes))
    assert frame["effect"].notna().all()
    expected = "add increments" if way.get("increments") else way.get("operation", "add")
    assert set(frame["operation"]) == {expected}
    table = against_controls(frame)
    assert set(table["kind"]) == {"random", "orthogonal", "other"}
    if expected.startswith("add"):
        assert table["matched"].all(), table[["kind", "norm_share_least", "norm_share_greatest"]]
    else:
        assert table["matched"].isna().all()
        assert frame["applied_norm"].isna().all(), "what an ablation changes is another matter at every token"


def test_a_given_residual_norm_is_the_one_that_is_applied_and_reported(study_of):
    result, _, _ = run(study_of(WAYS["published norm"]))
    frame = effects(answer_rows(result.outcomes))
    np.testing.assert_allclose(frame["residual_norm"], 16.184)
    np.testing.assert_allclose(frame["applied_norm"], 0.5 * 16.184, rtol=1e-5)


def test_an_ablation_lowers_what_a_cap_at_a_low_bound_lowers_too(study_of):
    """Plain answers of the scripted engine carry no push, so only a bound below zero changes them."""
    means = {}
    for name in ("ablate", "cap in projection units"):
        result, _, _ = run(study_of(WAYS[name]), maturities=(1.0,))
        means[name] = effects(answer_rows(result.outcomes))["effect"].mean()
    assert means["cap in projection units"] < -2
    assert abs(means["ablate"]) < 4


def test_a_plan_counts_every_control_permutation_and_prompt_exactly(study_of):
    study = study_of(WAYS["one"], random=1, orthogonal=2, renormed=1, other_traits=True, prompted=True, permutations=3)
    result, lineage, asked = run(study)
    plan = plan_study(study, lineage)
    assert plan.responses == sum(asked), "every milestone gives vectors here, so the bound is met"
    assert len(asked) == 3 * len(lineage), "three batches at each milestone, permutations included"
    arms = [each.vector.origin for each in result.outcomes if isinstance(each, Effect)]
    assert arms.count("shuffled-renormed-2") == len(TRAITS), "at one milestone"
    assert arms.count("shuffled-renormed-0") == len(TRAITS) * len(lineage), "a control of every milestone"


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (WAYS["one"] | {"operation": "ablate"}, "give strength 1 and unit 'unit'"),
        (WAYS["one"] | {"unit": "quantile"}, "operation 'cap'"),
        (WAYS["one"] | {"residual_norm": 3.0}, "the unit is 'vector'"),
        (WAYS["one"] | {"operation": "erase"}, "operation"),
        (WAYS["ablate"] | {"increments": True}, "increments of a vector are added"),
    ],
)
def test_a_way_that_means_nothing_is_refused_when_the_file_is_read(study_of, way, said):
    with pytest.raises(StudyError, match=said):
        study_of(way)
